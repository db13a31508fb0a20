package register

import (
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

// Refused records a call that its transport refused before the service saw it. A call
// without a registration ID is filed under the common name of the device's certificate.
func (s *Service) Refused(req Request, d dps.Decision) {
	if len(req.Evidence.Chain) > 0 && req.ID == "" {
		if id, err := dps.ParseRegistrationID(req.Evidence.Chain[0].Subject.CommonName); err == nil {
			req.ID = id
		}
	}
	s.keep(s.refusal(s.home, req, &d))
}

// Failed records a call that ends with err, where the device is at fault and there is no
// decision yet. answer is what the device receives.
func (s *Service) Failed(req Request, err error, answer string) {
	if reason := dps.ReasonOf(err); reason != dps.ReasonNone {
		detail, remedy := dps.ExplanationOf(err)
		s.Refused(req, dps.RefusedFor(reason, "request", detail, answer, remedy))
	}
}

// keep hands a refusal to whoever keeps them.
func (s *Service) keep(r dps.Refusal) {
	if s.decisions != nil {
		s.decisions.Refused(r)
	}
}

// refusal describes a call that was refused.
func (s *Service) refusal(in dps.InstanceID, req Request, d *dps.Decision) dps.Refusal {
	r := dps.Refusal{
		Instance: in, TrackingID: req.TrackingID, Time: s.now(), ID: req.ID, Attestation: req.Evidence.shown(),
		Transport: req.Transport, Remote: req.Remote, Decision: *d, Evidence: req.Evidence.summary(),
	}
	if d.Reason == dps.ReasonDisabled {
		r.Decision.Answer = string(dps.Disabled) // an outcome, which the device polls
	}
	return r
}

// shown returns what kind of proof e is, "" of none.
func (e Evidence) shown() dps.AttestationType {
	switch {
	case e.Token != "":
		return dps.SymmetricKey
	case len(e.Chain) > 0:
		return dps.X509
	default:
		return ""
	}
}

// summary describes e without what could be used again.
func (e Evidence) summary() dps.EvidenceSummary {
	s := dps.SummarizeChain(e.Chain)
	if token, err := sas.Parse(e.Token); err == nil {
		s.Token = &dps.TokenInfo{Resource: ownField(token.Resource), KeyName: ownField(token.KeyName), Expiry: token.Expiry.UTC()}
	}
	return s
}

// ownField returns a field of a token up to where another one would begin, had the
// token been escaped as a whole: that may be the signature.
func ownField(text string) string {
	field, _, _ := strings.Cut(text, "&")
	return field
}
