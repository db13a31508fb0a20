package mooringapi

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/wire"
)

func (s *server) decisionRoutes() []route.Route {
	read := func(handle route.Handler) route.Handler { return s.guarded(dps.RegistrationStatusRead, handle) }
	return []route.Route{
		{Method: "GET", Pattern: wire.DecisionsPath, Handle: read(s.listDecisions)},
		{Method: "GET", Pattern: wire.DecisionReasonsPath, Handle: read(listReasons)},
		{Method: "GET", Pattern: wire.DecisionsPath + "/{trackingId}", Handle: read(s.showDecision)},
	}
}

// listDecisions answers with a page of refusals.
func (s *server) listDecisions(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	given, err := parameters(r, "registrationId", "enrollmentId", "group", "reason", "remote", "since", "until", "top", "continuation")
	if err != nil {
		return err
	}
	filter, err := readDecisionFilter(given)
	if err != nil {
		return err
	}
	top, err := readTop(given["top"])
	if err != nil {
		return err
	}
	after, err := readDecisionToken(given["continuation"])
	if err != nil {
		return err
	}
	entries, next, err := s.Decisions.Entries(r.Context(), s.Instance, filter, top, after)
	if err != nil {
		return err
	}
	page := wire.DecisionPage{Value: make([]wire.Decision, len(entries)), Dropped: s.Decisions.Dropped()}
	for i, e := range entries {
		page.Value[i] = decisionOf(e)
	}
	if next != nil {
		if page.Continuation, err = writeToken(pageToken{Time: next.Time.UnixNano(), Seq: next.Seq}); err != nil {
			return err
		}
	}
	return httpio.WriteJSON(w, http.StatusOK, page)
}

func readDecisionFilter(given map[string]string) (f decision.Filter, err error) {
	if text := given["registrationId"]; text != "" {
		if f.ID, err = dps.ParseRegistrationID(text); err != nil {
			return f, err
		}
	}
	for _, id := range []struct {
		field string
		kind  dps.EntryKind
		to    *string
	}{{"enrollmentId", dps.Individual, &f.Enrollment}, {"group", dps.Group, &f.Group}} {
		text := given[id.field]
		if text == "" {
			continue
		}
		if _, err := dps.ParseEntryID(id.kind, id.field, text); err != nil {
			return f, err
		}
		*id.to = text
	}
	if text := given["reason"]; text != "" {
		if f.Reason, err = decision.ParseReason(text); err != nil {
			return f, err
		}
	}
	if text := given["remote"]; text != "" {
		if f.Source, err = readSource(text); err != nil {
			return f, err
		}
	}
	if text := given["since"]; text != "" {
		if f.Since, err = readTime("since", text); err != nil {
			return f, err
		}
	}
	if text := given["until"]; text != "" {
		f.Until, err = readTime("until", text)
	}
	return f, err
}

// readSource reads an address, with or without a port.
func readSource(text string) (string, error) {
	_, err := netip.ParseAddr(text)
	if err != nil {
		_, err = netip.ParseAddrPort(text)
	}
	if err != nil {
		return "", dps.Invalidf("remote", "must be an IP address, with or without a port")
	}
	return dps.SourceOf(text), nil
}

func readDecisionToken(text string) (*decision.Cursor, error) {
	t, err := readToken(text)
	if err != nil || t == nil {
		return nil, err
	}
	return &decision.Cursor{Time: time.Unix(0, t.Time), Seq: t.Seq}, nil
}

// showDecision answers with the refusal that a device was told the tracking ID of.
func (s *server) showDecision(w http.ResponseWriter, r *http.Request, p route.Params) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	e, err := s.Decisions.Entry(r.Context(), s.Instance, p["trackingId"])
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, decisionOf(e))
}

// listReasons answers with what each reason means.
func listReasons(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	var all wire.DecisionReasons
	for _, reason := range dps.Reasons() {
		text := reason.Text()
		all.Value = append(all.Value, wire.DecisionReason{Reason: string(reason), Summary: text.Summary, Remedy: text.Remedy})
	}
	return httpio.WriteJSON(w, http.StatusOK, all)
}

func decisionOf(e decision.Entry) wire.Decision {
	d := wire.Decision{
		TrackingID: e.TrackingID, RegistrationID: string(e.ID), Time: moment(e.Time), FirstTime: moment(e.First), Count: e.Count,
		Attestation: string(e.Attestation), Transport: string(e.Transport), Remote: e.Remote,
		Reason: string(e.Decision.Reason), Summary: e.Decision.Reason.Text().Summary, Remedy: e.Decision.Remedy, Answer: e.Decision.Answer,
		Checks: make([]wire.DecisionCheck, len(e.Decision.Checks)), Evidence: evidenceOf(e.Evidence), Move: moveOf(e.Move),
	}
	switch e.Decision.Entry.Kind {
	case dps.Individual:
		d.EnrollmentID = e.Decision.Entry.ID
	case dps.Group:
		d.EnrollmentGroupID = e.Decision.Entry.ID
	}
	for i, c := range e.Decision.Checks {
		d.Checks[i] = wire.DecisionCheck(c)
	}
	return d
}

func moveOf(m *dps.IdentityMove) *wire.DecisionMove {
	if m == nil {
		return nil
	}
	return &wire.DecisionMove{HostName: string(m.HostName), DeviceID: string(m.DeviceID), From: holderOf(m.From), To: holderOf(m.To)}
}

func holderOf(h dps.Holder) wire.DecisionHolder {
	out := wire.DecisionHolder{RegistrationID: string(h.ID)}
	switch h.Entry.Kind {
	case dps.Individual:
		out.EnrollmentID = h.Entry.ID
	case dps.Group:
		out.EnrollmentGroupID = h.Entry.ID
	}
	return out
}

func evidenceOf(e dps.EvidenceSummary) wire.DecisionEvidence {
	out := wire.DecisionEvidence{Presented: e.Presented}
	for _, c := range e.Chain {
		out.Chain = append(out.Chain, wire.DecisionCertificate{
			SubjectName: c.Subject, IssuerName: c.Issuer, SHA1Thumbprint: c.SHA1, SHA256Thumbprint: c.SHA256,
			SerialNumber: c.Serial, NotBeforeUTC: c.NotBefore.Format(time.RFC3339), NotAfterUTC: c.NotAfter.Format(time.RFC3339),
		})
	}
	if h := e.Hello; h != nil {
		out.ClientHello = &wire.DecisionClientHello{
			ServerName: h.ServerName, Versions: h.Versions, CipherSuites: h.CipherSuites, Groups: h.Groups,
			SignatureAlgorithms: h.SignatureSchemes, ApplicationProtocols: h.Protocols,
		}
	}
	if e.Token != nil {
		out.Token = &wire.DecisionToken{Resource: e.Token.Resource, KeyName: e.Token.KeyName, Expiry: e.Token.Expiry.Format(time.RFC3339)}
	}
	return out
}
