package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
)

// trimBatch is how many decisions one call removes at most for one cap, so that
// registrations hardly wait for it.
const trimBatch = 1000

// tally is how many decisions there are: counting a hundred thousand rows with every
// batch would cost more than writing it.
type tally struct {
	mu     sync.Mutex // held while decisions are written
	known  map[dps.InstanceID]int
	gained map[source]int // entries since a source was last brought within its cap
}

// source is where refusals of an instance come from.
type source struct {
	instance dps.InstanceID
	address  string
}

// unnamed stands in a tally for all whose device is unknown. It is no address.
const unnamed = "unnamed"

// maxSources is how many sources are remembered. One that is not costs a look at its
// entries with its next one.
const maxSources = 10_000

// RecordDecisions writes entries with different keys, or none of them, and removes the
// oldest ones beyond caps.
func (s *Store) RecordDecisions(ctx context.Context, entries []decision.Entry, caps decision.Caps) error {
	s.decisions.mu.Lock()
	defer s.decisions.mu.Unlock()
	b := decisionBatch{caps: caps, count: maps.Clone(s.decisions.known), gained: s.decisions.gained}
	if b.count == nil {
		b.count = make(map[dps.InstanceID]int)
	}
	if b.gained == nil || len(b.gained) > maxSources {
		b.gained = make(map[source]int)
	}
	err := s.change(ctx, func(t tx) error {
		b.tx = t
		return b.write(entries)
	})
	if err != nil {
		s.decisions.known, s.decisions.gained = nil, nil // counted anew: what b has counted is not there
		return err
	}
	s.decisions.known, s.decisions.gained = b.count, b.gained
	return nil
}

// ExpireDecisions removes the entries whose latest refusal was before a time.
func (s *Store) ExpireDecisions(ctx context.Context, before time.Time) error {
	s.decisions.mu.Lock()
	defer s.decisions.mu.Unlock()
	s.decisions.known = nil
	return s.removeBatches(ctx, `DELETE FROM decisions WHERE seq IN (SELECT seq FROM decisions
		WHERE instance IN (SELECT id FROM instances) AND time < $1 LIMIT $2)`, before)
}

// decisionBatch is what one transaction writes.
type decisionBatch struct {
	tx
	caps   decision.Caps
	count  map[dps.InstanceID]int // entries of each instance; absent where nobody counted
	gained map[source]int         // as in tally; absent where nobody looked
}

func (b *decisionBatch) write(entries []decision.Entry) error {
	var added []decision.Entry
	for _, e := range entries {
		if err := b.countUp(e.Instance); err != nil {
			return err
		}
		isNew, err := b.put(e)
		if err != nil {
			return err
		}
		if isNew {
			b.count[e.Instance]++
			added = append(added, e)
		}
	}
	if err := b.trimDevices(added); err != nil {
		return err
	}
	if err := b.trimSources(added); err != nil {
		return err
	}
	if err := b.trimUnnamed(added); err != nil {
		return err
	}
	for in, n := range b.count {
		if n <= b.caps.Total {
			continue
		}
		if err := b.remove(in, oldest, string(in), min(n-b.caps.Total, trimBatch)); err != nil {
			return err
		}
	}
	return nil
}

// trimDevices removes what the devices of added entries have beyond their cap.
func (b *decisionBatch) trimDevices(added []decision.Entry) error {
	seen := make(map[source]bool, len(added)) // devices, in the place of addresses
	for _, e := range added {
		device := source{e.Instance, e.ID.Key()}
		if seen[device] || e.ID == "" {
			continue
		}
		seen[device] = true
		if err := b.remove(e.Instance, beyondDevice, string(e.Instance), e.ID.Key(), trimBatch, b.caps.PerDevice); err != nil {
			return err
		}
	}
	return nil
}

// trimSources removes what the sources of added entries have beyond their cap. To find
// that means to walk through all that a source has: it is done when the source may have
// reached the cap, and leaves room for a tenth of it, which may then come unlooked at.
func (b *decisionBatch) trimSources(added []decision.Entry) error {
	slack := b.caps.PerSource / 10
	due := make(map[source]bool)
	for _, e := range added {
		from := source{e.Instance, dps.SourceOf(e.Remote)}
		_, known := b.gained[from]
		b.gained[from]++
		if !known || b.gained[from] > slack {
			due[from] = true
		}
	}
	for from := range due {
		if err := b.remove(from.instance, beyondSource, string(from.instance), from.address, trimBatch, b.caps.PerSource-slack); err != nil {
			return err
		}
		b.gained[from] = 0
	}
	return nil
}

// trimUnnamed removes what is beyond the cap of entries whose device is unknown: whoever
// reaches the port can add one for each address. It looks as rarely as trimSources does.
func (b *decisionBatch) trimUnnamed(added []decision.Entry) error {
	slack := b.caps.Unnamed / 10
	due := make(map[dps.InstanceID]bool)
	for _, e := range added {
		if e.ID != "" {
			continue
		}
		all := source{e.Instance, unnamed}
		_, known := b.gained[all]
		b.gained[all]++
		if !known || b.gained[all] > slack {
			due[e.Instance] = true
		}
	}
	for in := range due {
		if err := b.remove(in, beyondDevice, string(in), "", trimBatch, b.caps.Unnamed-slack); err != nil {
			return err
		}
		b.gained[source{in, unnamed}] = 0
	}
	return nil
}

// What is removed: the oldest of one device or source beyond a number, or of all.
const (
	beyondDevice = `DELETE FROM decisions WHERE seq IN (SELECT seq FROM decisions
		WHERE instance = $1 AND id_key = $2 ORDER BY +time DESC, seq DESC LIMIT $3 OFFSET $4)` // see byTime
	beyondSource = `DELETE FROM decisions WHERE seq IN (SELECT seq FROM decisions
		WHERE instance = $1 AND source = $2 ORDER BY time DESC, seq DESC LIMIT $3 OFFSET $4)`
	oldest = `DELETE FROM decisions WHERE seq IN (SELECT seq FROM decisions
		WHERE instance = $1 ORDER BY time, seq LIMIT $2)`
)

// countUp counts the entries of an instance once.
func (b *decisionBatch) countUp(in dps.InstanceID) error {
	if _, known := b.count[in]; known {
		return nil
	}
	var n int
	err := b.row(context.Background(), `SELECT count(*) FROM decisions WHERE instance = $1`, string(in)).Scan(&n)
	b.count[in] = n
	return err
}

func (b *decisionBatch) remove(in dps.InstanceID, text string, args ...any) error {
	removed, err := b.affect(text, args...)
	b.count[in] -= int(removed)
	return err
}

// put writes an entry and reports whether it is a new one. A repetition never has the
// count of a new one.
func (b *decisionBatch) put(e decision.Entry) (added bool, err error) {
	body, err := marshalDecision(e)
	if err != nil {
		return false, err
	}
	d := e.Decision
	var count int64
	err = b.row(context.Background(), `INSERT INTO decisions (
		instance, id_key, reason, source, time, first, count, tracking_id, registration_id,
		entry_kind, entry_key, entry_id, attestation, transport, remote, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
		ON CONFLICT (instance, id_key, reason, source) DO UPDATE SET time = excluded.time, first = min(first, excluded.first),
		count = count + excluded.count, tracking_id = excluded.tracking_id, registration_id = excluded.registration_id,
		entry_kind = excluded.entry_kind, entry_key = excluded.entry_key, entry_id = excluded.entry_id,
		attestation = excluded.attestation, transport = excluded.transport, remote = excluded.remote, body = excluded.body
		RETURNING count`,
		string(e.Instance), e.ID.Key(), string(d.Reason), dps.SourceOf(e.Remote), e.Time.UnixNano(), e.First.UnixNano(), e.Count,
		e.TrackingID, string(e.ID), string(d.Entry.Kind), d.Entry.Key(), d.Entry.ID, string(e.Attestation), string(e.Transport),
		e.Remote, body).
		Scan(&count)
	return count == e.Count, err
}

const decisionColumns = `SELECT seq, instance, reason, time, first, count, tracking_id, registration_id,
	entry_kind, entry_id, attestation, transport, remote, body FROM decisions`

// Decisions returns up to limit entries that f selects, those with the latest refusals
// first, older than the cursor.
func (s *Store) Decisions(
	ctx context.Context,
	in dps.InstanceID,
	f decision.Filter,
	limit int,
	after *decision.Cursor,
) ([]decision.Entry, error) {
	st := decisionsStatement(in, f, limit, after)
	// Texts are not prepared for good: there are as many as sets of filters.
	rows, err := s.readers.db.QueryContext(ctx, st.text(), st.args...)
	return collect(rows, err, scanDecision)
}

func decisionsStatement(in dps.InstanceID, f decision.Filter, limit int, after *decision.Cursor) statement {
	column := byTime(f)
	st := statement{from: decisionColumns, order: ` ORDER BY ` + column + ` DESC, seq DESC`}
	st.and("instance = " + st.arg(string(in)))
	st.selectDecisions(f)
	if after != nil {
		st.and("(" + column + ", seq) < (" + st.arg(after.Time.UnixNano()) + ", " + st.arg(after.Seq) + ")")
	}
	st.order += ` LIMIT ` + st.arg(limit)
	return st
}

// byTime returns the column of time as an expression. A device has a few entries, which
// the key of the table finds: the plus keeps the planner from walking through the index
// by time instead, where it need not sort.
func byTime(f decision.Filter) string {
	if f.ID != "" {
		return "+time"
	}
	return "time"
}

func (s *statement) selectDecisions(f decision.Filter) {
	if f.ID != "" {
		s.and("id_key = " + s.arg(f.ID.Key()))
	}
	for kind, id := range map[dps.EntryKind]string{dps.Individual: f.Enrollment, dps.Group: f.Group} {
		if id != "" {
			s.and("entry_kind <> ''")
			s.and("entry_kind = " + s.arg(string(kind)))
			s.and("entry_key = " + s.arg(strings.ToLower(id)))
		}
	}
	if f.Reason != "" {
		s.and("reason = " + s.arg(string(f.Reason)))
	}
	if f.Source != "" {
		s.and("source = " + s.arg(f.Source))
	}
	if !f.Since.IsZero() {
		s.and(byTime(f) + " >= " + s.arg(f.Since.UnixNano()))
	}
	if !f.Until.IsZero() {
		s.and(byTime(f) + " < " + s.arg(f.Until.UnixNano()))
	}
}

// Decision returns the entry whose latest refusal has a tracking ID. It fails with
// DecisionNotFound.
func (s *Store) Decision(ctx context.Context, in dps.InstanceID, trackingID string) (decision.Entry, error) {
	e, err := scanDecision(s.readers.row(ctx, decisionColumns+` WHERE tracking_id = $1 AND instance = $2 LIMIT 1`, trackingID, string(in)))
	return e, notFound(err, dps.DecisionNotFound, "Decision not found.")
}

// decisionBody is what no column has.
type decisionBody struct {
	Checks    []decisionCheck       `json:"checks"`
	Answer    string                `json:"answer"`
	Remedy    string                `json:"remedy"`
	Presented int                   `json:"presented,omitempty"`
	Chain     []decisionCertificate `json:"chain,omitempty"`
	Token     *decisionToken        `json:"token,omitempty"`
	Hello     *decisionHello        `json:"hello,omitempty"`
	Move      *decisionMove         `json:"move,omitempty"`
}

type decisionHello struct {
	ServerName   string   `json:"n,omitempty"`
	Versions     []string `json:"v,omitempty"`
	CipherSuites []string `json:"c,omitempty"`
	Groups       []string `json:"g,omitempty"`
	Signatures   []string `json:"s,omitempty"`
	Protocols    []string `json:"p,omitempty"`
}

// decisionMove is an identity that changed hands, or was not to.
type decisionMove struct {
	HostName string         `json:"host"`
	DeviceID string         `json:"device"`
	From     decisionHolder `json:"from"`
	To       decisionHolder `json:"to"`
}

type decisionHolder struct {
	ID   string `json:"id,omitempty"` // '' for an operator
	Kind string `json:"kind,omitempty"`
	Name string `json:"entry,omitempty"`
}

func decisionHolderOf(h dps.Holder) decisionHolder {
	return decisionHolder{ID: string(h.ID), Kind: string(h.Entry.Kind), Name: h.Entry.ID}
}

func (h decisionHolder) holder() dps.Holder {
	return dps.Holder{ID: dps.RegistrationID(h.ID), Entry: dps.EntryRef{Kind: dps.EntryKind(h.Kind), ID: h.Name}}
}

type decisionCheck struct {
	Name   string `json:"n"`
	OK     bool   `json:"ok,omitempty"`
	Detail string `json:"d"`
}

type decisionCertificate struct {
	Subject   string `json:"s"`
	Issuer    string `json:"i"`
	SHA1      string `json:"t1"`
	SHA256    string `json:"t2"`
	Serial    string `json:"n"`
	NotBefore int64  `json:"f"` // Unix seconds, which certificates have
	NotAfter  int64  `json:"u"`
	Version   int    `json:"v"`
}

type decisionToken struct {
	Resource string `json:"r"`
	KeyName  string `json:"k,omitempty"`
	Expiry   int64  `json:"e"` // Unix seconds, which tokens have
}

func marshalDecision(e decision.Entry) (string, error) {
	d, ev := e.Decision, e.Evidence
	body := decisionBody{Answer: d.Answer, Remedy: d.Remedy, Presented: ev.Presented}
	for _, c := range d.Checks {
		body.Checks = append(body.Checks, decisionCheck(c))
	}
	for _, c := range ev.Chain {
		body.Chain = append(body.Chain, decisionCertificate{
			Subject: c.Subject, Issuer: c.Issuer, SHA1: c.SHA1, SHA256: c.SHA256, Serial: c.Serial,
			NotBefore: c.NotBefore.Unix(), NotAfter: c.NotAfter.Unix(), Version: c.Version,
		})
	}
	if ev.Token != nil {
		body.Token = &decisionToken{Resource: ev.Token.Resource, KeyName: ev.Token.KeyName, Expiry: ev.Token.Expiry.Unix()}
	}
	if h := ev.Hello; h != nil {
		body.Hello = &decisionHello{h.ServerName, h.Versions, h.CipherSuites, h.Groups, h.SignatureSchemes, h.Protocols}
	}
	if m := e.Move; m != nil {
		body.Move = &decisionMove{
			HostName: string(m.HostName), DeviceID: string(m.DeviceID), From: decisionHolderOf(m.From), To: decisionHolderOf(m.To),
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it makes six bytes of one
	err := enc.Encode(body)
	return b.String(), err
}

func scanDecision(row scanner) (decision.Entry, error) {
	var e decision.Entry
	var in, reason, id, kind, entry, attestation, transport, text string
	var at, first int64
	err := row.Scan(&e.Seq, &in, &reason, &at, &first, &e.Count, &e.TrackingID, &id, &kind, &entry, &attestation, &transport, &e.Remote, &text)
	if err != nil {
		return e, err
	}
	var body decisionBody
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		return e, err
	}
	e.Instance, e.ID, e.Time, e.First = dps.InstanceID(in), dps.RegistrationID(id), fromNanos(at), fromNanos(first)
	e.Attestation, e.Transport = dps.AttestationType(attestation), dps.Transport(transport)
	e.Decision = body.decision()
	e.Decision.Reason, e.Decision.Entry = dps.Reason(reason), dps.EntryRef{Kind: dps.EntryKind(kind), ID: entry}
	e.Evidence = body.evidence()
	if m := body.Move; m != nil {
		e.Move = &dps.IdentityMove{
			HostName: dps.HostName(m.HostName), DeviceID: dps.DeviceID(m.DeviceID),
			From: m.From.holder(), To: m.To.holder(),
		}
	}
	return e, nil
}

func (b decisionBody) decision() dps.Decision {
	d := dps.Decision{Answer: b.Answer, Remedy: b.Remedy}
	for _, c := range b.Checks {
		d.Checks = append(d.Checks, dps.Check(c))
	}
	return d
}

func (b decisionBody) evidence() dps.EvidenceSummary {
	e := dps.EvidenceSummary{Presented: b.Presented}
	for _, c := range b.Chain {
		e.Chain = append(e.Chain, dps.CertificateInfo{
			Subject: c.Subject, Issuer: c.Issuer, SHA1: c.SHA1, SHA256: c.SHA256, Serial: c.Serial,
			NotBefore: fromSeconds(c.NotBefore), NotAfter: fromSeconds(c.NotAfter), Version: c.Version,
		})
	}
	if b.Token != nil {
		e.Token = &dps.TokenInfo{Resource: b.Token.Resource, KeyName: b.Token.KeyName, Expiry: fromSeconds(b.Token.Expiry)}
	}
	if h := b.Hello; h != nil {
		e.Hello = &dps.ClientHello{
			ServerName: h.ServerName, Versions: h.Versions, CipherSuites: h.CipherSuites, Groups: h.Groups,
			SignatureSchemes: h.Signatures, Protocols: h.Protocols,
		}
	}
	return e
}

func fromSeconds(n int64) time.Time { return time.Unix(n, 0).UTC() }
