package sqlite

import (
	"context"
	"strconv"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

const caColumns = `SELECT instance, name, der, verified, code, code_expires, etag, created, updated FROM ca_certificates`

// CACertificate returns a CA certificate. It fails with CertificateNotFound.
func (s *Store) CACertificate(ctx context.Context, in dps.InstanceID, name dps.CAName) (dps.CACertificate, error) {
	c, err := scanCA(s.readers.row(ctx, caColumns+` WHERE instance = $1 AND name_key = $2`, string(in), name.Key()))
	return c, notFound(err, dps.CertificateNotFound, "There is no CA certificate %s.", name)
}

// CACertificates returns all CA certificates, sorted by name.
func (s *Store) CACertificates(ctx context.Context, in dps.InstanceID) ([]dps.CACertificate, error) {
	rows, err := s.readers.rows(ctx, caColumns+` WHERE instance = $1 ORDER BY name_key`, string(in))
	return collect(rows, err, scanCA)
}

func scanCA(row scanner) (dps.CACertificate, error) {
	var in, name, code, etag string
	var c dps.CACertificate
	var expires, created, updated int64
	if err := row.Scan(&in, &name, &c.Certificate.DER, &c.Verified, &code, &expires, &etag, &created, &updated); err != nil {
		return c, err
	}
	c.Instance, c.Name, c.ETag = dps.InstanceID(in), dps.CAName(name), dps.ETag(etag)
	c.Created, c.Updated = fromNanos(created), fromNanos(updated)
	if code != "" {
		c.Challenge = &dps.Challenge{Code: code, Expires: fromNanos(expires)}
	}
	return c, nil
}

// PutCACertificate writes a CA certificate if the stored one is at version
// ifMatch, "" for none. It fails with ConcurrentChange or Conflict.
func (s *Store) PutCACertificate(ctx context.Context, c dps.CACertificate, ifMatch dps.ETag) error {
	subject, err := subjectOf(c.Certificate)
	if err != nil {
		return err
	}
	return s.managed(ctx, ifMatch, c.ETag, func(t tx) error {
		if err := writeCA(t, c, subject, ifMatch); err != nil {
			return err
		}
		return s.checkReferrers(t, c)
	})
}

func writeCA(t tx, c dps.CACertificate, subject []byte, ifMatch dps.ETag) error {
	print256 := c.Certificate.Thumbprint()
	var code string
	var expires int64
	if c.Challenge != nil {
		code, expires = c.Challenge.Code, c.Challenge.Expires.UnixNano()
	}
	if ifMatch == "" {
		return unlessExists(
			t.affect(
				`INSERT INTO ca_certificates (instance, name_key, name, der, thumbprint, subject, verified, code, code_expires, etag, created, updated)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING`,
				string(c.Instance),
				c.Name.Key(),
				string(c.Name),
				c.Certificate.DER,
				print256[:],
				subject,
				c.Verified,
				code,
				expires,
				string(c.ETag),
				c.Created.UnixNano(),
				c.Updated.UnixNano(),
			),
		)
	}
	return unlessExists(
		t.affect(`UPDATE ca_certificates SET der = $1, thumbprint = $2, subject = $3, verified = $4, code = $5, code_expires = $6,
		etag = $7, updated = $8 WHERE instance = $9 AND name_key = $10 AND etag = $11`,
			c.Certificate.DER, print256[:], subject, c.Verified, code, expires, string(c.ETag), c.Updated.UnixNano(),
			string(c.Instance), c.Name.Key(), string(ifMatch)),
	)
}

// checkReferrers keeps the rule "one certificate, one enrollment" when a CA
// certificate that groups refer to becomes another certificate.
func (s *Store) checkReferrers(t tx, c dps.CACertificate) error {
	rows, err := t.rows(
		context.Background(),
		`SELECT r.kind, r.id FROM ca_references r JOIN ca_certificates c ON c.instance = r.instance AND c.name_key = r.ca_key
		WHERE c.instance = $1 AND c.thumbprint = $2 AND r.kind = 'group'
		UNION SELECT kind, id FROM enrollment_certificates WHERE instance = $1 AND thumbprint = $2`,
		string(c.Instance),
		thumbprintBytes(c.Certificate),
	)
	owners, err := collect(rows, err, plainRef)
	if err != nil {
		return err
	}
	if len(owners) > 1 {
		return dps.Errorf(
			dps.Conflict,
			"The certificate would belong to the %s and the %s; one certificate belongs to one enrollment.",
			owners[0],
			owners[1],
		)
	}
	return nil
}

func thumbprintBytes(c dps.Certificate) []byte {
	t := c.Thumbprint()
	return t[:]
}

func plainRef(row scanner) (dps.EntryRef, error) {
	ref, _, err := scanRef(row)
	return ref, err
}

// maxNamed bounds how many enrollments an error names.
const maxNamed = 10

// DeleteCACertificate removes a CA certificate at version ifMatch. It fails with
// ConcurrentChange, or with Conflict while enrollments refer to it.
func (s *Store) DeleteCACertificate(ctx context.Context, in dps.InstanceID, name dps.CAName, ifMatch dps.ETag) error {
	return s.managed(ctx, ifMatch, "", func(t tx) error {
		rows, err := t.rows(ctx, `SELECT kind, id FROM ca_references WHERE instance = $1 AND ca_key = $2 ORDER BY kind, id LIMIT $3`,
			string(in), name.Key(), maxNamed+1)
		users, err := collect(rows, err, plainRef)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return inUse(name, users)
		}
		return unlessExists(t.affect(`DELETE FROM ca_certificates WHERE instance = $1 AND name_key = $2 AND etag = $3`,
			string(in), name.Key(), string(ifMatch)))
	})
}

func inUse(name dps.CAName, users []dps.EntryRef) error {
	var names []string
	for _, u := range users[:min(len(users), maxNamed)] {
		names = append(names, u.String())
	}
	if len(users) > maxNamed {
		names = append(names, "others")
	}
	return dps.Errorf(dps.Conflict, "The CA certificate %s is in use by %s; change or delete these first.", name, strings.Join(names, ", "))
}

// SignerChanges counts the changes of what Anchors returns: while it is the same, Anchors
// returns the same.
func (s *Store) SignerChanges(ctx context.Context, in dps.InstanceID) (int64, error) {
	var changes int64
	err := s.readers.row(ctx, `SELECT coalesce(max(changes), 0) FROM signer_changes WHERE instance = $1`, string(in)).Scan(&changes)
	return changes, storeError(err)
}

// Anchors returns the stored certificates that have one of the subjects (DER): CA
// certificates and the certificates of groups, each certificate once.
func (s *Store) Anchors(ctx context.Context, in dps.InstanceID, subjects [][]byte) ([]dps.Anchor, error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	args := []any{string(in)}
	marks := make([]string, len(subjects))
	for i, raw := range subjects {
		args = append(args, subjectKey(raw))
		marks[i] = "$" + strconv.Itoa(i+2)
	}
	set := strings.Join(marks, ", ")
	rows, err := s.readers.rows(context.WithoutCancel(ctx), `SELECT c.der, c.name, c.verified, coalesce(r.id, '') FROM ca_certificates c
			LEFT JOIN ca_references r ON r.instance = c.instance AND r.ca_key = c.name_key AND r.kind = 'group'
			WHERE c.instance = $1 AND c.subject IN (`+set+`)
		UNION ALL SELECT der, '', 0, id FROM enrollment_certificates WHERE instance = $1 AND subject IN (`+set+`)`, args...)
	found, err := collect(rows, err, scanAnchor)
	if err != nil {
		return nil, err
	}
	return mergeAnchors(found), nil
}

func scanAnchor(row scanner) (dps.Anchor, error) {
	var a dps.Anchor
	var name string
	err := row.Scan(&a.Certificate.DER, &name, &a.Verified, &a.Group)
	a.CA = dps.CAName(name)
	return a, err
}

// mergeAnchors makes one anchor of a certificate that is there in several roles.
// Uploaded twice, it counts as verified if one upload is.
func mergeAnchors(found []dps.Anchor) []dps.Anchor {
	at := make(map[dps.Thumbprint]int, len(found))
	var merged []dps.Anchor
	for _, a := range found {
		i, seen := at[a.Certificate.Thumbprint()]
		if !seen {
			at[a.Certificate.Thumbprint()] = len(merged)
			merged = append(merged, a)
			continue
		}
		m := &merged[i]
		switch {
		case a.CA == "" || a.CA == m.CA:
		case m.CA == "":
			m.CA, m.Verified = a.CA, a.Verified
		case a.Verified && !m.Verified:
			m.CA, m.Verified, m.Also = a.CA, true, append(m.Also, m.CA)
		default:
			m.Also = append(m.Also, a.CA)
		}
		if m.Group == "" {
			m.Group = a.Group
		}
	}
	return merged
}
