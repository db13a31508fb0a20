// Package enroll creates, changes and finds enrollments, enrollment groups and CA
// certificates.
package enroll

import (
	"context"
	"errors"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

// Store is the storage of this package. A missing record is an error with a NotFound
// code, never a zero value. A write fails with ConcurrentChange when the etag of the
// stored record is not ifMatch ("" means that it must not exist).
type Store interface {
	EnrollmentStore
	ImportStore
	CertificateStore
	IdentityStore
}

// EnrollmentStore stores individual enrollments and groups.
type EnrollmentStore interface {
	// Enrollment fails with EnrollmentNotFound or GroupNotFound.
	Enrollment(ctx context.Context, in dps.InstanceID, ref dps.EntryRef) (dps.Enrollment, error)

	// PutEnrollment fails also with Conflict when a certificate or a group's CA
	// reference belongs to another enrollment, which it names, and with
	// CertificateNotFound when a referenced CA certificate does not exist.
	PutEnrollment(ctx context.Context, e dps.Enrollment, ifMatch dps.ETag) error

	// QueryEnrollments returns up to limit enrollments that q selects, behind the
	// cursor (nil: from the start), in q's order. Paging neither skips nor repeats a
	// record that does not change.
	QueryEnrollments(
		ctx context.Context,
		in dps.InstanceID,
		kind dps.EntryKind,
		q query.Query,
		limit int,
		after *dps.Cursor,
	) ([]dps.Enrollment, error)

	// DeleteEnrollment removes the enrollment; registration records stay.
	DeleteEnrollment(ctx context.Context, in dps.InstanceID, ref dps.EntryRef, ifMatch dps.ETag) error
}

// CertificateStore stores CA certificates.
type CertificateStore interface {
	// CACertificate fails with CertificateNotFound.
	CACertificate(ctx context.Context, in dps.InstanceID, name dps.CAName) (dps.CACertificate, error)

	// CACertificates returns all, sorted by name.
	CACertificates(ctx context.Context, in dps.InstanceID) ([]dps.CACertificate, error)

	// PutCACertificate fails also with Conflict when a group refers to it and the
	// new certificate belongs to another enrollment.
	PutCACertificate(ctx context.Context, c dps.CACertificate, ifMatch dps.ETag) error

	// DeleteCACertificate fails also with Conflict while enrollments refer to it,
	// and names them.
	DeleteCACertificate(ctx context.Context, in dps.InstanceID, name dps.CAName, ifMatch dps.ETag) error
}

// Service enrolls. It is safe for concurrent use.
type Service struct {
	store    Store
	now      func() time.Time
	webhooks dps.WebhookRules
}

// New returns a Service over store that takes the time from now.
func New(store Store, now func() time.Time) *Service {
	return &Service{store: store, now: now}
}

// Allowing returns a Service that takes the webhooks that rules allow; without it they
// are https, and not on this machine or next to it.
func (s *Service) Allowing(rules dps.WebhookRules) *Service {
	return &Service{store: s.store, now: s.now, webhooks: rules}
}

// maxAttempts bounds the retries of an unconditional write after concurrent changes.
const maxAttempts = 8

// retry repeats write while it fails with ConcurrentChange. With an exact etag in cond
// the first conflict is final.
func retry(cond dps.Condition, write func() error) error {
	var err error
	for range maxAttempts {
		err = write()
		if dps.CodeOf(err) != dps.ConcurrentChange {
			return err
		}
		if cond.Set && !cond.Any {
			return changed()
		}
	}
	return err
}

// changed is the error for an etag that does not match.
func changed() error {
	return dps.Errorf(dps.PreconditionFailed, "Precondition failed: the etag of the record is not the one in If-Match.")
}

// Get returns an enrollment. It fails with EnrollmentNotFound or GroupNotFound.
func (s *Service) Get(ctx context.Context, in dps.InstanceID, ref dps.EntryRef) (dps.Enrollment, error) {
	return s.store.Enrollment(ctx, in, ref)
}

// Delete removes an enrollment if it meets cond. It fails with EnrollmentNotFound,
// GroupNotFound or PreconditionFailed.
func (s *Service) Delete(ctx context.Context, in dps.InstanceID, ref dps.EntryRef, cond dps.Condition) error {
	return retry(cond, func() error {
		stored, err := s.store.Enrollment(ctx, in, ref)
		if err != nil {
			return err
		}
		if !cond.Holds(stored.ETag) {
			return changed()
		}
		return s.store.DeleteEnrollment(ctx, in, ref, stored.ETag)
	})
}

// Put creates an enrollment, or replaces it if the client says which version it
// replaces:
//
//	stored  cond         outcome
//	no      none         created
//	no      any, etag    PreconditionFailed
//	yes     none         EnrollmentExists or GroupExists
//	yes     any          replaced
//	yes     etag         replaced if it is the current one, else PreconditionFailed
//
// Certificates that the draft only describes and keys that it leaves out stay as they
// are, because clients cannot read them back.
//
// It fails also with Invalid and Conflict.
func (s *Service) Put(ctx context.Context, draft dps.EnrollmentDraft, cond dps.Condition) (dps.Enrollment, error) {
	if err := s.check(draft.Enrollment); err != nil {
		return dps.Enrollment{}, err
	}
	found, err := s.referred(ctx, draft)
	if err != nil {
		return dps.Enrollment{}, err
	}
	var written dps.Enrollment
	err = retry(cond, func() error {
		stored, err := s.stored(ctx, draft.Instance, draft.Ref)
		if err != nil {
			return err
		}
		if err := mayReplace(draft.Ref, stored, cond); err != nil {
			return err
		}
		if err := found.check(draft, stored); err != nil {
			return err
		}
		if written, err = s.complete(draft, stored); err != nil {
			return err
		}
		return missingCA(s.store.PutEnrollment(ctx, written, etagOf(stored)))
	})
	if err != nil {
		return dps.Enrollment{}, err
	}
	return written, nil
}

// stored returns the stored enrollment, nil if there is none.
func (s *Service) stored(ctx context.Context, in dps.InstanceID, ref dps.EntryRef) (*dps.Enrollment, error) {
	e, err := s.store.Enrollment(ctx, in, ref)
	switch dps.CodeOf(err) {
	case dps.EnrollmentNotFound, dps.GroupNotFound:
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &e, nil
}

func etagOf(stored *dps.Enrollment) dps.ETag {
	if stored == nil {
		return ""
	}
	return stored.ETag
}

func mayReplace(ref dps.EntryRef, stored *dps.Enrollment, cond dps.Condition) error {
	switch {
	case stored != nil && !cond.Set && ref.Kind == dps.Group:
		return dps.Errorf(dps.GroupExists, "EnrollmentGroup already exists.")
	case stored != nil && !cond.Set:
		return dps.Errorf(dps.EnrollmentExists, "Enrollment already exists.")
	case stored == nil && cond.Set:
		return dps.Errorf(dps.PreconditionFailed, "Precondition failed: If-Match is set, but the %s does not exist.", ref)
	case !cond.Holds(etagOf(stored)):
		return changed()
	default:
		return nil
	}
}

// complete returns the record to write: the draft with the parts that only the store has.
func (s *Service) complete(draft dps.EnrollmentDraft, stored *dps.Enrollment) (dps.Enrollment, error) {
	e := draft.Enrollment
	now := s.now()
	e.ETag, e.Created, e.Updated = dps.NewETag(), now, now
	if stored != nil {
		e.Created = stored.Created
		e.Ref = stored.Ref // the first spelling stays
	}
	if e.Status == "" {
		e.Status = dps.StatusEnabled
	}
	if e.Placement.Custom != nil && stored != nil {
		unmasked := e.Placement.Custom.Unmask(stored.Placement.Custom)
		e.Placement.Custom = &unmasked
	}
	if err := unmasked(e); err != nil {
		return dps.Enrollment{}, err
	}
	var err error
	e.Attestation, err = completeAttestation(draft, stored)
	return e, err
}

func completeAttestation(draft dps.EnrollmentDraft, stored *dps.Enrollment) (dps.Attestation, error) {
	a := draft.Attestation
	switch a.Type {
	case dps.SymmetricKey:
		keys := a.SymmetricKey.Fill(storedKeys(stored))
		a.SymmetricKey = &keys
	case dps.X509:
		x, err := keepCertificates(draft, stored)
		if err != nil {
			return a, err
		}
		a.X509 = &x
	}
	return a, nil
}

func storedKeys(stored *dps.Enrollment) dps.KeyPair {
	if stored == nil || stored.Attestation.SymmetricKey == nil {
		return dps.KeyPair{}
	}
	return *stored.Attestation.SymmetricKey
}

// keepCertificates puts stored certificates where the draft only describes them.
func keepCertificates(draft dps.EnrollmentDraft, stored *dps.Enrollment) (dps.X509Attestation, error) {
	x := *draft.Attestation.X509
	var err error
	if draft.KeepPrimary != "" {
		if x.Primary, err = keep(draft.Ref.Kind, "primary", draft.KeepPrimary, stored); err != nil {
			return x, err
		}
	}
	if draft.KeepSecondary != "" {
		if x.Secondary, err = keep(draft.Ref.Kind, "secondary", draft.KeepSecondary, stored); err != nil {
			return x, err
		}
	}
	return x, nil
}

func keep(kind dps.EntryKind, slot, thumbprint string, stored *dps.Enrollment) (*dps.Certificate, error) {
	if stored != nil && stored.Attestation.X509 != nil {
		for _, c := range stored.Attestation.X509.Certificates() {
			if c.HasThumbprint(thumbprint) {
				return &c, nil
			}
		}
	}
	member := "attestation.x509.clientCertificates."
	if kind == dps.Group {
		member = "attestation.x509.signingCertificates."
	}
	return nil, dps.Invalidf(member+slot, "has only info, and no stored certificate has the thumbprint %s; send the certificate", thumbprint)
}

// missingCA turns a reference to a missing CA certificate into an error of the member.
func missingCA(err error) error {
	if e, ok := errors.AsType[*dps.Error](err); ok && e.Code == dps.CertificateNotFound {
		return dps.Invalidf("attestation.x509.caReferences", "%s", e.Message)
	}
	return err
}
