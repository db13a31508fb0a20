package register

import (
	"context"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

func keyEvidence(req Request) attest.KeyEvidence {
	return attest.KeyEvidence{Scope: req.Scope, ID: req.ID, Token: req.Evidence.Token}
}

// proveKey attests by a SAS token: the device's own enrollment decides; without one
// the group does under which its key is derived.
func (s *Service) proveKey(ctx context.Context, in dps.Instance, req Request) (proof, error) {
	p := proof{kind: dps.SymmetricKey, decision: &dps.Decision{}}
	token := attest.Token(p.decision, keyEvidence(req), s.now())
	if p.decision.Refused() {
		return p, nil
	}
	e, err := s.store.Enrollment(ctx, in.ID, dps.EntryRef{Kind: dps.Individual, ID: string(req.ID)})
	switch {
	case err == nil:
		p.individualKey(token, e)
	case dps.CodeOf(err) == dps.EnrollmentNotFound:
		err = s.proveGroupKey(ctx, in, req, token, &p)
	}
	if err != nil {
		return proof{}, err
	}
	if !p.decision.Refused() {
		attest.Enabled(p.decision, p.entry)
	}
	return p, nil
}

func (p *proof) individualKey(token sas.Token, e dps.Enrollment) {
	attest.IndividualKey(p.decision, token, e)
	if !p.decision.Refused() {
		p.entry, p.hubAuth = e, hubKeys(*e.Attestation.SymmetricKey)
	}
}

// hubKeys is the authentication of a device that has keys: the same at its hub.
func hubKeys(keys dps.KeyPair) dps.HubAuthentication {
	return dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: keys}
}

// proveGroupKey finds the group of a device that names none: that of its last
// registration, which nearly always is the one, then every other.
func (s *Service) proveGroupKey(ctx context.Context, in dps.Instance, req Request, token sas.Token, p *proof) error {
	last, err := s.lastGroup(ctx, in.ID, req.ID)
	if err != nil {
		return err
	}
	if last != nil {
		trial := *p.decision
		if p.groupKey(token, req, []dps.Enrollment{*last}, &trial); !trial.Refused() {
			*p.decision = trial
			return nil
		}
	}
	groups, err := s.store.KeyGroups(ctx, in.ID)
	if err != nil {
		return err
	}
	p.groupKey(token, req, groups, p.decision)
	return nil
}

func (p *proof) groupKey(token sas.Token, req Request, groups []dps.Enrollment, d *dps.Decision) {
	group, keys := attest.GroupKey(d, token, req.ID, groups)
	if !d.Refused() {
		p.entry, p.hubAuth = group, hubKeys(keys)
	}
}

// lastGroup returns the group of the device's last registration, nil if there is
// none any more.
func (s *Service) lastGroup(ctx context.Context, in dps.InstanceID, id dps.RegistrationID) (*dps.Enrollment, error) {
	prev, err := s.previous(ctx, in, id)
	if err != nil || prev.Entry.Kind != dps.Group {
		return nil, err
	}
	group, err := s.store.Enrollment(ctx, in, prev.Entry)
	if dps.CodeOf(err) == dps.GroupNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &group, nil
}

// proveAgain checks that a poll shows what its registration was made with: the same
// certificate, or a token under the same enrollment.
func (s *Service) proveAgain(ctx context.Context, in dps.Instance, req Request, reg dps.Registration) (*dps.Decision, error) {
	if reg.Attestation != dps.SymmetricKey {
		return attest.SameProof(fingerprint(req.Evidence), reg.Evidence), nil
	}
	d := &dps.Decision{}
	if req.Evidence.Token == "" {
		attest.NoEvidence(d)
		return d, nil
	}
	token := attest.Token(d, keyEvidence(req), s.now())
	if d.Refused() {
		return d, nil
	}
	e, err := s.store.Enrollment(ctx, in.ID, reg.Entry)
	switch dps.CodeOf(err) {
	case dps.EnrollmentNotFound, dps.GroupNotFound:
		attest.Gone(d, reg.Entry)
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	if reg.Entry.Kind == dps.Group {
		attest.GroupKey(d, token, req.ID, []dps.Enrollment{e})
	} else {
		attest.IndividualKey(d, token, e)
	}
	return d, nil
}
