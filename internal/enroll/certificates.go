package enroll

import (
	"context"

	"github.com/mooring-iot/mooring/internal/dps"
)

// CACertificate returns a CA certificate. It fails with CertificateNotFound.
func (s *Service) CACertificate(ctx context.Context, in dps.InstanceID, name dps.CAName) (dps.CACertificate, error) {
	return s.store.CACertificate(ctx, in, name)
}

// CACertificates returns all CA certificates, sorted by name.
func (s *Service) CACertificates(ctx context.Context, in dps.InstanceID) ([]dps.CACertificate, error) {
	return s.store.CACertificates(ctx, in)
}

// Upload is a CA certificate as a client sends it.
type Upload struct {
	Name        dps.CAName
	Certificate *dps.Certificate // nil keeps the stored one
	Verified    *bool            // true skips the proof of possession; nil keeps the current state
}

// PutCACertificate stores an upload, under the same conditions as Put. Another
// certificate under the name, or verified set to false, asks for a new proof of
// possession.
//
// It fails with CertificateExists, PreconditionFailed, Invalid or Conflict.
func (s *Service) PutCACertificate(ctx context.Context, in dps.InstanceID, up Upload, cond dps.Condition) (dps.CACertificate, error) {
	return s.changeCA(ctx, in, up.Name, cond, func(stored *dps.CACertificate) (dps.CACertificate, error) {
		if stored != nil && !cond.Set {
			return dps.CACertificate{}, dps.Errorf(dps.CertificateExists, "Certificate %s already exists; send If-Match to replace it.", stored.Name)
		}
		if stored == nil {
			return s.newCA(in, up)
		}
		return replaceCA(*stored, up), nil
	})
}

func (s *Service) newCA(in dps.InstanceID, up Upload) (dps.CACertificate, error) {
	if up.Certificate == nil {
		return dps.CACertificate{}, dps.Invalidf("certificate", "is required")
	}
	verified := up.Verified != nil && *up.Verified
	return dps.CACertificate{Instance: in, Name: up.Name, Certificate: *up.Certificate, Verified: verified, Created: s.now()}, nil
}

func replaceCA(c dps.CACertificate, up Upload) dps.CACertificate {
	if up.Certificate != nil && !up.Certificate.Equal(c.Certificate) {
		c.Certificate, c.Verified, c.Challenge = *up.Certificate, false, nil
	}
	if up.Verified != nil {
		c.Verified = *up.Verified
	}
	return c
}

// GenerateCode starts a proof of possession with a new code, which replaces an earlier
// one. It fails with CertificateNotFound or PreconditionFailed.
func (s *Service) GenerateCode(ctx context.Context, in dps.InstanceID, name dps.CAName, cond dps.Condition) (dps.CACertificate, error) {
	return s.changeCA(ctx, in, name, cond, func(stored *dps.CACertificate) (dps.CACertificate, error) {
		if stored == nil {
			return dps.CACertificate{}, noCA(name)
		}
		challenge := dps.NewChallenge(s.now())
		stored.Challenge = &challenge
		return *stored, nil
	})
}

// Verify completes a proof of possession: proof is a certificate for the current code,
// signed by the CA. It fails with CertificateNotFound, PreconditionFailed,
// or Invalid, which says what is wrong with proof.
func (s *Service) Verify(
	ctx context.Context,
	in dps.InstanceID,
	name dps.CAName,
	proof dps.Certificate,
	cond dps.Condition,
) (dps.CACertificate, error) {
	return s.changeCA(ctx, in, name, cond, func(stored *dps.CACertificate) (dps.CACertificate, error) {
		if stored == nil {
			return dps.CACertificate{}, noCA(name)
		}
		if err := stored.Answer(proof, s.now()); err != nil {
			return dps.CACertificate{}, err
		}
		stored.Verified, stored.Challenge = true, nil
		return *stored, nil
	})
}

// DeleteCACertificate removes a CA certificate that no enrollment refers to. It
// fails with CertificateNotFound, PreconditionFailed or Conflict.
func (s *Service) DeleteCACertificate(ctx context.Context, in dps.InstanceID, name dps.CAName, cond dps.Condition) error {
	return retry(cond, func() error {
		stored, err := s.store.CACertificate(ctx, in, name)
		if err != nil {
			return err
		}
		if !cond.Holds(stored.ETag) {
			return changed()
		}
		return s.store.DeleteCACertificate(ctx, in, name, stored.ETag)
	})
}

// changeCA replaces the stored certificate with the result of edit, under a new etag.
// edit gets nil if there is none.
func (s *Service) changeCA(ctx context.Context, in dps.InstanceID, name dps.CAName, cond dps.Condition,
	edit func(*dps.CACertificate) (dps.CACertificate, error),
) (dps.CACertificate, error) {
	var written dps.CACertificate
	err := retry(cond, func() error {
		stored, err := s.storedCA(ctx, in, name)
		if err != nil {
			return err
		}
		var version dps.ETag
		if stored != nil {
			version = stored.ETag
		}
		if stored != nil && !cond.Holds(version) {
			return changed()
		}
		if written, err = edit(stored); err != nil {
			return err
		}
		if stored == nil && cond.Set {
			return dps.Errorf(dps.PreconditionFailed, "Precondition failed: If-Match is set, but the certificate %s does not exist.", name)
		}
		written.ETag, written.Updated = dps.NewETag(), s.now()
		return s.store.PutCACertificate(ctx, written, version)
	})
	return written, err
}

func (s *Service) storedCA(ctx context.Context, in dps.InstanceID, name dps.CAName) (*dps.CACertificate, error) {
	c, err := s.store.CACertificate(ctx, in, name)
	if dps.CodeOf(err) == dps.CertificateNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

func noCA(name dps.CAName) error {
	return dps.Errorf(dps.CertificateNotFound, "CA certificate %s does not exist.", name)
}
