package register

import (
	"context"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// proof is the outcome of attestation.
type proof struct {
	kind     dps.AttestationType
	entry    dps.Enrollment        // the enrollment that decides; zero when refused
	hubAuth  dps.HubAuthentication // how the device will prove itself to its hub
	evidence string                // what a poll has to show again
	decision *dps.Decision
}

// refused reports whether the device could not prove itself.
func (p proof) refused() bool { return p.decision.Refused() && !p.disabled() }

// disabled reports whether the device proved itself towards a disabled enrollment.
func (p proof) disabled() bool { return p.decision.Reason == dps.ReasonDisabled }

// fingerprint condenses evidence to what a later call can be compared with. A token
// leaves none: it is checked anew each time.
func fingerprint(e Evidence) string {
	if e.Token != "" || len(e.Chain) == 0 {
		return ""
	}
	return fingerprintScheme + dps.ThumbprintOf(e.Chain[0].Raw).String()
}

// fingerprintScheme begins the fingerprint of a certificate: its SHA-256 follows.
const fingerprintScheme = "x509:"

// prove attests the device. An error is a failure of ours; a refusal is a proof. A
// device that brings a token means it, whatever its TLS stack shows beside.
func (s *Service) prove(ctx context.Context, in dps.Instance, req Request) (proof, error) {
	switch {
	case req.Evidence.Token != "":
		return s.proveKey(ctx, in, req)
	case len(req.Evidence.Chain) > 0:
		return s.proveX509(ctx, in, req)
	default:
		p := proof{decision: &dps.Decision{}}
		attest.NoEvidence(p.decision)
		return p, nil
	}
}

func (s *Service) proveX509(ctx context.Context, in dps.Instance, req Request) (proof, error) {
	p := proof{
		kind: dps.X509, evidence: fingerprint(req.Evidence),
		hubAuth: dps.SelfSigned(dps.ThumbprintOf(req.Evidence.Chain[0].Raw)),
	}
	known, err := s.known(ctx, in.ID, req)
	if err != nil {
		return proof{}, err
	}
	ref, decision := attest.X509(attest.X509Evidence{ID: req.ID, Chain: req.Evidence.Chain}, known, s.now())
	p.decision = decision
	if decision.Refused() {
		return p, nil
	}
	p.entry, err = s.entry(ctx, in.ID, ref, known)
	if dps.CodeOf(err) == dps.GroupNotFound {
		attest.Gone(decision, ref)
		return p, nil
	}
	if err != nil {
		return proof{}, err
	}
	attest.Enabled(decision, p.entry)
	return p, nil
}

func (s *Service) entry(ctx context.Context, in dps.InstanceID, ref dps.EntryRef, known attest.Known) (dps.Enrollment, error) {
	if ref.Kind == dps.Individual {
		return *known.Individual, nil
	}
	return s.store.Enrollment(ctx, in, ref)
}

// known collects what the store says about a device with this evidence.
func (s *Service) known(ctx context.Context, in dps.InstanceID, req Request) (attest.Known, error) {
	known := attest.Known{Links: s.links}
	chain := req.Evidence.Chain
	if len(chain) > attest.MaxChain {
		return known, nil // refused by length: nothing else is looked at
	}
	e, err := s.store.Enrollment(ctx, in, dps.EntryRef{Kind: dps.Individual, ID: string(req.ID)})
	switch {
	case err == nil:
		known.Individual = &e
	case dps.CodeOf(err) != dps.EnrollmentNotFound:
		return known, err
	}
	if known.Individual == nil {
		owner, ok, err := s.store.CertificateOwner(ctx, in, dps.ThumbprintOf(chain[0].Raw))
		if err != nil {
			return known, err
		}
		if ok {
			known.LeafOwner = &owner
		}
	}
	known.Anchors, err = s.signers.above(ctx, in, chain)
	return known, err
}
