package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/mooring-iot/mooring/internal/dps"
)

// enrollmentRow is the JSON of an enrollment. Members are named as on the wire.
type enrollmentRow struct {
	DeviceID     string          `json:"deviceId,omitempty"`
	Attestation  attestationRow  `json:"attestation"`
	Status       string          `json:"provisioningStatus"`
	Policy       string          `json:"allocationPolicy,omitempty"`
	IotHubs      []dps.HostName  `json:"iotHubs,omitempty"`
	HubHostName  string          `json:"iotHubHostName,omitempty"`
	Custom       *customRow      `json:"customAllocationDefinition,omitempty"`
	Reprovision  *reprovisionRow `json:"reprovisionPolicy,omitempty"`
	Capabilities *capabilityRow  `json:"capabilities,omitempty"`

	// As text, because JSON inside JSON would be compacted and escaped anew.
	InitialTwin *string `json:"initialTwin,omitempty"`
	DeviceInfo  *string `json:"optionalDeviceInformation,omitempty"`
}

type attestationRow struct {
	Type        string   `json:"type"`
	Endorsement string   `json:"endorsementKey,omitempty"`
	StorageRoot string   `json:"storageRootKey,omitempty"`
	Primary     []byte   `json:"primary,omitempty"` // DER
	Secondary   []byte   `json:"secondary,omitempty"`
	CAPrimary   string   `json:"caPrimary,omitempty"`
	CASecondary string   `json:"caSecondary,omitempty"`
	_           struct{} // keys are sealed apart
}

// customRow has the webhook's URL sealed apart: its query may hold a key.
type customRow struct {
	APIVersion string `json:"apiVersion"`
}

type reprovisionRow struct {
	Update  bool `json:"updateHubAssignment"`
	Migrate bool `json:"migrateDeviceData"`
}

type capabilityRow struct {
	IotEdge bool `json:"iotEdge"`
}

// Enrollment returns an individual enrollment or a group. It fails with
// EnrollmentNotFound or GroupNotFound.
func (s *Store) Enrollment(ctx context.Context, in dps.InstanceID, ref dps.EntryRef) (dps.Enrollment, error) {
	e, err := s.scanEnrollment(s.readers.row(ctx, `SELECT instance, kind, id_key, id, body, secrets, etag, created, updated FROM enrollments
		WHERE instance = $1 AND kind = $2 AND id_key = $3`, string(in), string(ref.Kind), ref.Key()))
	if ref.Kind == dps.Group {
		return e, notFound(err, dps.GroupNotFound, "EnrollmentGroup not found.")
	}
	return e, notFound(err, dps.EnrollmentNotFound, "Enrollment not found.")
}

// KeyGroups returns the groups that attest by symmetric keys, sorted by ID.
func (s *Store) KeyGroups(ctx context.Context, in dps.InstanceID) ([]dps.Enrollment, error) {
	rows, err := s.readers.rows(ctx, `SELECT instance, kind, id_key, id, body, secrets, etag, created, updated FROM enrollments
		WHERE instance = $1 AND kind = 'group' AND secrets IS NOT NULL ORDER BY id_key`, string(in))
	groups, err := collect(rows, err, s.scanEnrollment)
	return slices.DeleteFunc(groups, func(e dps.Enrollment) bool { return e.Attestation.Type != dps.SymmetricKey }), err
}

// GroupChanges counts the changes of enrollment groups: while it is the same, KeyGroups
// returns the same.
func (s *Store) GroupChanges(ctx context.Context, in dps.InstanceID) (int64, error) {
	var changes int64
	err := s.readers.row(ctx, `SELECT coalesce(max(changes), 0) FROM group_changes WHERE instance = $1`, string(in)).Scan(&changes)
	return changes, storeError(err)
}

func (s *Store) scanEnrollment(row scanner) (dps.Enrollment, error) {
	var r enrollmentColumns
	if err := row.Scan(&r.Instance, &r.Kind, &r.Key, &r.ID, &r.Body, &r.Secrets, &r.ETag, &r.Created, &r.Updated); err != nil {
		return dps.Enrollment{}, err
	}
	return s.enrollmentOf(r)
}

// enrollmentColumns is a row of an enrollment as it is stored.
type enrollmentColumns struct {
	Instance, Kind, Key, ID string
	Body                    string // JSON of an enrollmentRow
	Secrets                 []byte // sealed
	ETag                    string
	Created, Updated        int64
}

// keyed returns c with its key, for a row that was read without.
func (c enrollmentColumns) keyed() enrollmentColumns {
	c.Key = dps.EntryRef{Kind: dps.EntryKind(c.Kind), ID: c.ID}.Key()
	return c
}

// enrollmentOf reads a row whole.
func (s *Store) enrollmentOf(c enrollmentColumns) (dps.Enrollment, error) {
	secrets, err := s.unsealed(c.Secrets, label("enrollment", c.Instance, c.Kind, c.Key))
	if err != nil {
		return dps.Enrollment{}, fmt.Errorf("opening the keys of enrollment %q: %w", c.ID, err)
	}
	return c.enrollment(secrets)
}

// bare returns what stands in columns of its own.
func (c enrollmentColumns) bare() dps.Enrollment {
	return dps.Enrollment{
		Instance: dps.InstanceID(c.Instance), Ref: dps.EntryRef{Kind: dps.EntryKind(c.Kind), ID: c.ID},
		ETag: dps.ETag(c.ETag), Created: fromNanos(c.Created), Updated: fromNanos(c.Updated),
	}
}

func (c enrollmentColumns) enrollment(secrets secretsRow) (dps.Enrollment, error) {
	var r enrollmentRow
	if err := json.Unmarshal([]byte(c.Body), &r); err != nil {
		return dps.Enrollment{}, fmt.Errorf("reading enrollment %q: %w", c.ID, err)
	}
	e := c.bare()
	e.DeviceID, e.Status = dps.DeviceID(r.DeviceID), dps.ProvisioningStatus(r.Status)
	e.Attestation, e.Placement = attestationOf(r.Attestation, secrets), placementOf(r, secrets)
	e.Capabilities, e.InitialTwin, e.DeviceInfo = (*dps.Capabilities)(r.Capabilities), rawJSON(r.InitialTwin), rawJSON(r.DeviceInfo)
	return e, nil
}

func attestationOf(r attestationRow, secrets secretsRow) dps.Attestation {
	a := dps.Attestation{Type: dps.AttestationType(r.Type)}
	switch a.Type {
	case dps.TPM:
		a.TPM = &dps.TPMAttestation{EndorsementKey: r.Endorsement, StorageRootKey: r.StorageRoot}
	case dps.SymmetricKey:
		keys := secrets.keys()
		a.SymmetricKey = &keys
	case dps.X509:
		a.X509 = &dps.X509Attestation{
			Primary: certificateOf(r.Primary), Secondary: certificateOf(r.Secondary),
			CAPrimary: dps.CAName(r.CAPrimary), CASecondary: dps.CAName(r.CASecondary),
		}
	}
	return a
}

func certificateOf(der []byte) *dps.Certificate {
	if der == nil {
		return nil
	}
	return &dps.Certificate{DER: der}
}

func placementOf(r enrollmentRow, secrets secretsRow) dps.Placement {
	p := dps.Placement{Policy: dps.AllocationPolicy(r.Policy), IotHubs: r.IotHubs, HubHostName: dps.HostName(r.HubHostName)}
	if r.Custom != nil {
		p.Custom = &dps.CustomAllocation{WebhookURL: secrets.Webhook, APIVersion: r.Custom.APIVersion}
	}
	if r.Reprovision != nil {
		p.Reprovision = &dps.ReprovisionPolicy{UpdateHubAssignment: r.Reprovision.Update, MigrateDeviceData: r.Reprovision.Migrate}
	}
	return p
}

func rowOf(e dps.Enrollment) (enrollmentRow, secretsRow) {
	r := enrollmentRow{
		DeviceID: string(e.DeviceID), Attestation: attestationRow{Type: string(e.Attestation.Type)}, Status: string(e.Status),
		Policy: string(e.Placement.Policy), IotHubs: e.Placement.IotHubs, HubHostName: string(e.Placement.HubHostName),
		Capabilities: (*capabilityRow)(e.Capabilities), InitialTwin: jsonText(e.InitialTwin), DeviceInfo: jsonText(e.DeviceInfo),
	}
	var secrets secretsRow
	a := &r.Attestation
	switch {
	case e.Attestation.TPM != nil:
		a.Endorsement, a.StorageRoot = e.Attestation.TPM.EndorsementKey, e.Attestation.TPM.StorageRootKey
	case e.Attestation.SymmetricKey != nil:
		secrets = keysRow(*e.Attestation.SymmetricKey)
	case e.Attestation.X509 != nil:
		x := e.Attestation.X509
		a.Primary, a.Secondary = derOf(x.Primary), derOf(x.Secondary)
		a.CAPrimary, a.CASecondary = string(x.CAPrimary), string(x.CASecondary)
	}
	if c := e.Placement.Custom; c != nil {
		r.Custom, secrets.Webhook = &customRow{APIVersion: c.APIVersion}, c.WebhookURL
	}
	if p := e.Placement.Reprovision; p != nil {
		r.Reprovision = &reprovisionRow{Update: p.UpdateHubAssignment, Migrate: p.MigrateDeviceData}
	}
	return r, secrets
}

func derOf(c *dps.Certificate) []byte {
	if c == nil {
		return nil
	}
	return c.DER
}

// PutEnrollment writes an enrollment if the stored one is at version ifMatch, ""
// for none. It fails with ConcurrentChange, Conflict or CertificateNotFound.
func (s *Store) PutEnrollment(ctx context.Context, e dps.Enrollment, ifMatch dps.ETag) error {
	row, secrets := rowOf(e)
	body, err := json.Marshal(row)
	if err != nil {
		return err
	}
	sealed, err := s.sealed(secrets, label("enrollment", string(e.Instance), string(e.Ref.Kind), e.Ref.Key()))
	if err != nil {
		return err
	}
	return s.managed(ctx, ifMatch, e.ETag, func(t tx) error {
		if err := writeEnrollment(t, e, string(body), sealed, ifMatch); err != nil {
			return err
		}
		stored := e
		var err error
		if stored.Ref.ID, err = spelling(t, e); err != nil {
			return err
		}
		return index(t, stored)
	})
}

func writeEnrollment(t tx, e dps.Enrollment, body string, sealed []byte, ifMatch dps.ETag) error {
	if ifMatch == "" {
		return unlessExists(t.affect(`INSERT INTO enrollments (instance, kind, id_key, id, body, secrets, etag, created, updated)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
			string(e.Instance), string(e.Ref.Kind), e.Ref.Key(), e.Ref.ID, body, sealed, string(e.ETag), e.Created.UnixNano(), e.Updated.UnixNano()))
	}
	return unlessExists(t.affect(`UPDATE enrollments SET body = $1, secrets = $2, etag = $3, updated = $4
		WHERE instance = $5 AND kind = $6 AND id_key = $7 AND etag = $8`,
		body, sealed, string(e.ETag), e.Updated.UnixNano(), string(e.Instance), string(e.Ref.Kind), e.Ref.Key(), string(ifMatch)))
}

// spelling returns the ID of a stored enrollment as it was first spelled.
func spelling(t tx, e dps.Enrollment) (string, error) {
	var id string
	err := t.row(context.Background(), `SELECT id FROM enrollments WHERE instance = $1 AND kind = $2 AND id_key = $3`,
		string(e.Instance), string(e.Ref.Kind), e.Ref.Key()).Scan(&id)
	return id, err
}

// index rewrites which certificates and CA references an enrollment has.
func index(t tx, e dps.Enrollment) error {
	owner := []any{string(e.Instance), string(e.Ref.Kind), e.Ref.Key()}
	if err := t.exec(`DELETE FROM enrollment_certificates WHERE instance = $1 AND kind = $2 AND id_key = $3`, owner...); err != nil {
		return err
	}
	if err := t.exec(`DELETE FROM ca_references WHERE instance = $1 AND kind = $2 AND id_key = $3`, owner...); err != nil {
		return err
	}
	return addIndex(t, e)
}

// addIndex writes which certificates and CA references an enrollment has.
func addIndex(t tx, e dps.Enrollment) error {
	if e.Attestation.X509 == nil {
		return nil
	}
	for _, c := range e.Attestation.X509.Certificates() {
		if err := indexCertificate(t, e, c); err != nil {
			return err
		}
	}
	for _, name := range e.Attestation.X509.CAReferences() {
		if err := indexReference(t, e, name); err != nil {
			return err
		}
	}
	return nil
}

func indexCertificate(t tx, e dps.Enrollment, c dps.Certificate) error {
	print256 := c.Thumbprint()
	other, taken, err := owner(context.Background(), t, e.Instance, print256)
	if err != nil {
		return err
	}
	if !taken {
		other, taken, err = referrer(t, e.Instance, print256)
		if err != nil {
			return err
		}
	}
	if taken && !(other.Kind == e.Ref.Kind && other.Key() == e.Ref.Key()) {
		return dps.Errorf(
			dps.Conflict,
			"The certificate %s already belongs to the %s; one certificate belongs to one enrollment.",
			print256,
			other,
		)
	}
	var subject, der []byte
	if e.Ref.Kind == dps.Group {
		if subject, err = subjectOf(c); err != nil {
			return err
		}
		der = c.DER
	}
	return t.exec(`INSERT INTO enrollment_certificates (instance, thumbprint, kind, id_key, id, subject, der)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		string(e.Instance), print256[:], string(e.Ref.Kind), e.Ref.Key(), e.Ref.ID, subject, der)
}

func subjectOf(c dps.Certificate) ([]byte, error) {
	parsed, err := c.Parse()
	if err != nil {
		return nil, err
	}
	return subjectKey(parsed.RawSubject), nil
}

// subjectKey is the same for names that are equal, however they are encoded.
func subjectKey(raw []byte) []byte {
	sum := dps.ThumbprintOf([]byte(dps.NameKey(raw)))
	return sum[:]
}

// indexReference records that e refers to a CA certificate. Two groups cannot
// refer to one, nor can one hold what another refers to: which would decide?
func indexReference(t tx, e dps.Enrollment, name dps.CAName) error {
	ca, err := scanCA(t.row(context.Background(), caColumns+` WHERE instance = $1 AND name_key = $2`, string(e.Instance), name.Key()))
	if err != nil {
		return notFound(err, dps.CertificateNotFound, "there is no CA certificate %s", name)
	}
	if e.Ref.Kind == dps.Group {
		if err := freeForGroup(t, e, ca); err != nil {
			return err
		}
	}
	return t.exec(`INSERT INTO ca_references (instance, ca_key, kind, id_key, id) VALUES ($1, $2, $3, $4, $5)`,
		string(e.Instance), name.Key(), string(e.Ref.Kind), e.Ref.Key(), e.Ref.ID)
}

func freeForGroup(t tx, e dps.Enrollment, ca dps.CACertificate) error {
	other, taken, err := referrer(t, e.Instance, ca.Certificate.Thumbprint())
	if err != nil {
		return err
	}
	if !taken {
		if other, taken, err = owner(context.Background(), t, e.Instance, ca.Certificate.Thumbprint()); err != nil {
			return err
		}
	}
	if taken && !(other.Kind == e.Ref.Kind && other.Key() == e.Ref.Key()) {
		return dps.Errorf(
			dps.Conflict,
			"The CA certificate %s already belongs to the %s; one certificate belongs to one enrollment.",
			ca.Name,
			other,
		)
	}
	return nil
}

// owner returns the enrollment that holds a certificate.
func owner(ctx context.Context, q querier, in dps.InstanceID, t dps.Thumbprint) (dps.EntryRef, bool, error) {
	return scanRef(q.row(ctx, `SELECT kind, id FROM enrollment_certificates WHERE instance = $1 AND thumbprint = $2`, string(in), t[:]))
}

// referrer returns the group that refers to a CA certificate with a thumbprint.
func referrer(t tx, in dps.InstanceID, print256 dps.Thumbprint) (dps.EntryRef, bool, error) {
	return scanRef(t.row(context.Background(), `SELECT r.kind, r.id FROM ca_certificates c
		JOIN ca_references r ON r.instance = c.instance AND r.ca_key = c.name_key
		WHERE c.instance = $1 AND c.thumbprint = $2 AND r.kind = 'group' LIMIT 1`, string(in), print256[:]))
}

func scanRef(row scanner) (dps.EntryRef, bool, error) {
	var kind, id string
	err := row.Scan(&kind, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return dps.EntryRef{}, false, nil
	}
	return dps.EntryRef{Kind: dps.EntryKind(kind), ID: id}, err == nil, err
}

// CertificateOwner returns the enrollment that holds a certificate; ok is false
// when none does.
func (s *Store) CertificateOwner(ctx context.Context, in dps.InstanceID, t dps.Thumbprint) (dps.EntryRef, bool, error) {
	ref, ok, err := owner(ctx, s.readers, in, t)
	return ref, ok, storeError(err)
}

// DeleteEnrollment removes an enrollment at version ifMatch; registration records
// stay. It fails with ConcurrentChange.
func (s *Store) DeleteEnrollment(ctx context.Context, in dps.InstanceID, ref dps.EntryRef, ifMatch dps.ETag) error {
	return s.managed(ctx, ifMatch, "", func(t tx) error {
		return unlessExists(t.affect(`DELETE FROM enrollments WHERE instance = $1 AND kind = $2 AND id_key = $3 AND etag = $4`,
			string(in), string(ref.Kind), ref.Key(), string(ifMatch)))
	})
}
