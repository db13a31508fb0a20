package register

import (
	"context"
	"fmt"

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
// registration, which nearly always is the one, else one of the others.
//
// It fails with Throttled when the others were not all tried.
func (s *Service) proveGroupKey(ctx context.Context, in dps.Instance, req Request, token sas.Token, p *proof) error {
	last, err := s.lastGroup(ctx, in.ID, req.ID)
	if err != nil {
		return err
	}
	if last != nil && p.groupKey(token, req, *last) {
		return nil
	}
	for range 2 { // the second time if the group was changed after it was found
		found, err := s.keyring.find(ctx, in.ID, req, token)
		switch {
		case err != nil:
			return err
		case !found.done:
			return dps.Explained(dps.ReasonGroupSearch, throttled(searchPause),
				fmt.Sprintf("no individual enrollment %q, and %d of %d enrollment groups with symmetric keys were tried so far",
					req.ID, found.tried, found.groups), "")
		case found.group.ID == "":
			attest.NoGroup(p.decision, req.ID, found.groups)
			return nil
		}
		group, err := s.store.Enrollment(ctx, in.ID, found.group)
		if err == nil && p.groupKey(token, req, group) {
			return nil
		}
		if err != nil && dps.CodeOf(err) != dps.GroupNotFound {
			return err
		}
	}
	return dps.Explained(dps.ReasonGroupSearch, throttled(searchPause), "the device's enrollment group was changed while it was checked", "")
}

// groupKey attests the device by the key of a group, and reports whether that one decides.
func (p *proof) groupKey(token sas.Token, req Request, group dps.Enrollment) bool {
	trial := *p.decision
	keys := attest.GroupKey(&trial, token, req.ID, group)
	if trial.Refused() {
		return false
	}
	*p.decision, p.entry, p.hubAuth = trial, group, hubKeys(keys)
	return true
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
	d := &dps.Decision{}
	switch shown := req.Evidence.shown(); {
	case shown == "" && reg.Attestation == dps.SymmetricKey:
		attest.NoEvidence(d)
		return d, nil
	case shown != "" && shown != reg.Attestation:
		attest.OtherKindOfProof(d, shown, reg.Attestation)
		return d, nil
	case reg.Attestation != dps.SymmetricKey:
		return attest.SameProof(fingerprint(req.Evidence), reg.Evidence), nil
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
		attest.GroupKey(d, token, req.ID, e)
	} else {
		attest.IndividualKey(d, token, e)
	}
	return d, nil
}
