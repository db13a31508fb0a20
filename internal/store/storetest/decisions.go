package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
)

// generous caps remove nothing.
var generous = decision.Caps{Total: 1000, PerDevice: 1000, PerSource: 1000, Unnamed: 1000}

// refusal returns an entry of one refusal, now, that is not stored yet.
func (w *world) refusal(id string, reason dps.Reason, address string) decision.Entry {
	now := w.clock.Now().UTC()
	return decision.Entry{
		First: now, Count: 1,
		Refusal: dps.Refusal{
			Instance: here, TrackingID: fmt.Sprintf("t-%s-%s-%d", id, address, now.UnixNano()), Time: now, ID: dps.RegistrationID(id),
			Attestation: dps.X509, Transport: dps.MQTT, Remote: address + ":4711",
			Decision: dps.Decision{
				Checks: []dps.Check{{Name: "chain length", OK: true, Detail: "1 certificate"}, {Name: "enrollment", Detail: "none"}},
				Reason: reason, Answer: "Unauthorized", Remedy: "enroll it",
			},
			Evidence: dps.EvidenceSummary{Presented: 12, Chain: []dps.CertificateInfo{{
				Subject: "CN=" + id, Issuer: "CN=Root", SHA1: "A1", SHA256: "B2", Serial: "0C", Version: 3,
				NotBefore: start.Truncate(time.Second), NotAfter: start.Truncate(time.Second).AddDate(1, 0, 0),
			}}},
		},
	}
}

func (w *world) recordDecisions(t *testing.T, caps decision.Caps, entries ...decision.Entry) {
	t.Helper()
	must(t, w.RecordDecisions(t.Context(), entries, caps))
}

// decisions returns what a filter selects, without the numbers that the store gave.
func (w *world) decisions(t *testing.T, f decision.Filter) []decision.Entry {
	t.Helper()
	all := read[[]decision.Entry](t)(w.Decisions(t.Context(), here, f, 1000, nil))
	for i := range all {
		if all[i].Seq == 0 {
			t.Errorf("entry %d has no number", i)
		}
		all[i].Seq = 0
	}
	return all
}

// devices names the entries.
func devices(entries []decision.Entry) string {
	var names []string
	for _, e := range entries {
		names = append(names, string(e.ID))
	}
	return strings.Join(names, " ")
}

var decisionCases = []testCase{
	{"entries are read back, newest first", func(t *testing.T, w *world) {
		same(t, "none", w.decisions(t, decision.Filter{}), []decision.Entry(nil))
		_, err := w.Decision(t.Context(), here, "t-ghost")
		fails(t, "none", err, dps.DecisionNotFound)
		one := w.refusal("Sensor-7", dps.ReasonNoEnrollment, "192.0.2.1")
		one.Decision.Entry = group("Line-7")
		w.recordDecisions(t, generous, one)
		w.clock.Advance(time.Second)
		two := w.refusal("\x00\"'; DROP TABLE decisions; --\u202e\nü<script>", dps.ReasonTokenExpired, "2001:db8::1")
		two.Evidence = dps.EvidenceSummary{
			Token: &dps.TokenInfo{Resource: "a/registrations/b", KeyName: "<k>", Expiry: start.Truncate(time.Second)},
		}
		two.Attestation, two.Transport = dps.SymmetricKey, dps.HTTPS
		three := w.refusal("bare", dps.ReasonNoEvidence, "not an address")
		three.Evidence, three.Attestation = dps.EvidenceSummary{Hello: &dps.ClientHello{
			ServerName: "name", Versions: []string{"TLS 1.0"}, CipherSuites: []string{"0xC028"}, Groups: []string{"P-256"},
			SignatureSchemes: []string{"PKCS1WithSHA1"}, Protocols: []string{"h2", "mqtt"},
		}}, ""
		three.Time = three.Time.Add(time.Millisecond)
		w.recordDecisions(t, generous, two, three)
		same(t, "all", w.decisions(t, decision.Filter{}), []decision.Entry{three, two, one})
		got := read[decision.Entry](t)(w.Decision(t.Context(), here, one.TrackingID))
		got.Seq = 0
		same(t, "by tracking ID", got, one)
		_, err = w.Decision(t.Context(), there, one.TrackingID)
		fails(t, "of the other instance", err, dps.DecisionNotFound)
		same(
			t,
			"the other instance",
			read[[]decision.Entry](t)(w.Decisions(t.Context(), there, decision.Filter{}, 10, nil)),
			[]decision.Entry(nil),
		)
	}},
	{"repetitions are one entry", decisionRepeats},
	{"a batch is written whole or not at all", func(t *testing.T, w *world) {
		bad := w.refusal("b", dps.ReasonDisabled, "192.0.2.1")
		bad.Instance = "ghost"
		if err := w.RecordDecisions(t.Context(), []decision.Entry{w.refusal("a", dps.ReasonDisabled, "192.0.2.1"), bad}, generous); err == nil {
			t.Error("recorded for an instance that does not exist")
		}
		same(t, "nothing", devices(w.decisions(t, decision.Filter{})), "")
		w.recordDecisions(t, decision.Caps{Total: 1, PerDevice: 9, PerSource: 9}, w.refusal("c", dps.ReasonDisabled, "192.0.2.1"))
		same(t, "what failed is not counted", devices(w.decisions(t, decision.Filter{})), "c")
	}},
	{"decision filters", decisionFilters},
	{"caps for each device, each source, and all", decisionCaps},
	{"a cap for all whose device is unknown", unnamedDecisions},
	{"caps that were lowered", func(t *testing.T, w *world) {
		for i := range 20 {
			w.recordDecisions(t, generous, w.refusal(fmt.Sprint(i), dps.ReasonDisabled, fmt.Sprintf("192.0.2.%d", i)))
			w.clock.Advance(time.Second)
		}
		w.recordDecisions(t, decision.Caps{Total: 3, PerDevice: 9, PerSource: 9}, w.refusal("x", dps.ReasonDisabled, "198.51.100.1"))
		same(t, "the newest", devices(w.decisions(t, decision.Filter{})), "x 19 18")
	}},
	{"expired entries are removed", func(t *testing.T, w *world) {
		w.recordDecisions(t, generous, w.refusal("old", dps.ReasonDisabled, "192.0.2.1"), w.refusal("again", dps.ReasonDisabled, "192.0.2.1"))
		w.clock.Advance(time.Hour)
		w.recordDecisions(t, generous, w.refusal("again", dps.ReasonDisabled, "192.0.2.1"))
		must(t, w.ExpireDecisions(t.Context(), start.Add(time.Minute)))
		same(t, "left", devices(w.decisions(t, decision.Filter{})), "again")
		w.recordDecisions(t, decision.Caps{Total: 2, PerDevice: 9, PerSource: 9}, w.refusal("new", dps.ReasonDisabled, "192.0.2.1"))
		same(t, "what expired is not counted", devices(w.decisions(t, decision.Filter{})), "new again")
	}},
	{"pages of decisions go on while entries are written", decisionPages},
}

func decisionRepeats(t *testing.T, w *world) {
	one := w.refusal("Sensor", dps.ReasonDisabled, "192.0.2.1")
	one.Count = 3
	w.recordDecisions(t, generous, one)
	w.clock.Advance(time.Minute)
	two := w.refusal("sENSOR", dps.ReasonDisabled, "192.0.2.1")
	two.Decision.Entry, two.Transport, two.Count = individual("sensor"), dps.MQTTWebSocket, 2
	w.recordDecisions(t, generous, two)
	want := two
	want.Count, want.First = 5, one.First
	same(t, "one entry", w.decisions(t, decision.Filter{}), []decision.Entry{want})
	_, err := w.Decision(t.Context(), here, one.TrackingID)
	fails(t, "the tracking ID of an earlier one", err, dps.DecisionNotFound)

	other := w.refusal("sensor", dps.ReasonWrongKey, "192.0.2.1")
	far := w.refusal("sensor", dps.ReasonDisabled, "192.0.2.2")
	near := w.refusal("sensor", dps.ReasonDisabled, "192.0.2.2")
	near.Instance = there
	w.recordDecisions(t, generous, other, far, near)
	same(t, "others", len(w.decisions(t, decision.Filter{})), 3)
}

func decisionFilters(t *testing.T, w *world) {
	a := w.refusal("Sensor", dps.ReasonDisabled, "192.0.2.1")
	a.Decision.Entry = individual("Sensor")
	w.recordDecisions(t, generous, a)
	w.clock.Advance(time.Minute)
	b := w.refusal("other", dps.ReasonWrongKey, "2001:db8::1")
	b.Remote, b.Decision.Entry = "[2001:db8::1]:4711", group("Sensor")
	w.recordDecisions(t, generous, b)
	for name, tt := range map[string]struct {
		f    decision.Filter
		want string
	}{
		"ID in other case":  {decision.Filter{ID: "sENSOR"}, "Sensor"},
		"no pattern":        {decision.Filter{ID: "s%"}, ""},
		"enrollment":        {decision.Filter{Enrollment: "SENSOR"}, "Sensor"},
		"group":             {decision.Filter{Group: "SENSOR"}, "other"},
		"neither":           {decision.Filter{Group: "sensor", Enrollment: "sensor"}, ""},
		"no SQL":            {decision.Filter{Group: "' OR 1=1 --", Source: "' OR 1=1 --"}, ""},
		"reason":            {decision.Filter{Reason: dps.ReasonWrongKey}, "other"},
		"source":            {decision.Filter{Source: dps.SourceOf("192.0.2.1")}, "Sensor"},
		"network":           {decision.Filter{Source: dps.SourceOf("2001:db8::ffff")}, "other"},
		"since":             {decision.Filter{Since: b.Time}, "other"},
		"after the last":    {decision.Filter{Since: b.Time.Add(1)}, ""},
		"until":             {decision.Filter{Until: b.Time}, "Sensor"},
		"two members":       {decision.Filter{ID: "sensor", Reason: dps.ReasonWrongKey}, ""},
		"reason and source": {decision.Filter{Reason: dps.ReasonDisabled, Source: "192.0.2.1"}, "Sensor"},
	} {
		same(t, name, devices(w.decisions(t, tt.f)), tt.want)
	}
}

func decisionCaps(t *testing.T, w *world) {
	caps := decision.Caps{Total: 8, PerDevice: 2, PerSource: 3}
	for i, r := range []dps.Reason{dps.ReasonDisabled, dps.ReasonWrongKey, dps.ReasonTokenExpired} {
		w.recordDecisions(t, caps, w.refusal("one", r, fmt.Sprintf("192.0.2.%d", i)))
		w.clock.Advance(time.Second)
	}
	got := w.decisions(t, decision.Filter{})
	if len(got) != 2 || got[0].Decision.Reason != dps.ReasonTokenExpired || got[1].Decision.Reason != dps.ReasonWrongKey {
		t.Errorf("of a device there are %+v, want the latest two", got)
	}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		w.recordDecisions(t, caps, w.refusal(id, dps.ReasonDisabled, "198.51.100.1"))
		w.clock.Advance(time.Second)
	}
	same(t, "of a source the latest three", devices(w.decisions(t, decision.Filter{})), "e d c one one")
	w.recordDecisions(t, caps, w.refusal("c", dps.ReasonDisabled, "198.51.100.1"))
	same(t, "a repetition removes nothing", devices(w.decisions(t, decision.Filter{})), "c e d one one")
	var batch []decision.Entry
	for i := range 20 {
		w.clock.Advance(time.Second)
		batch = append(batch, w.refusal(fmt.Sprint(i), dps.ReasonDisabled, fmt.Sprintf("203.0.113.%d", i)))
	}
	w.recordDecisions(t, caps, batch...)
	same(t, "of all the latest eight", devices(w.decisions(t, decision.Filter{})), "19 18 17 16 15 14 13 12")
}

// What nobody vouched for with a name may not displace the refusals of devices.
func unnamedDecisions(t *testing.T, w *world) {
	caps := decision.Caps{Total: 30, PerDevice: 2, PerSource: 30, Unnamed: 5}
	w.recordDecisions(t, caps, w.refusal("device", dps.ReasonDisabled, "192.0.2.1"))
	for i := range 40 {
		w.clock.Advance(time.Second)
		w.recordDecisions(t, caps, w.refusal("", dps.ReasonDisabled, fmt.Sprintf("203.0.113.%d", i)))
	}
	all := w.decisions(t, decision.Filter{})
	if len(all) != 6 || all[5].ID != "device" || all[0].Remote != "203.0.113.39:4711" {
		t.Errorf("%d entries, the oldest of %q; want the latest 5 and the device's", len(all), all[len(all)-1].ID)
	}
}

func decisionPages(t *testing.T, w *world) {
	const count, size = 40, 7
	var want []string
	for i := range count {
		w.recordDecisions(t, generous, w.refusal(fmt.Sprint(i), dps.ReasonDisabled, "192.0.2.1"))
		want = append(want, fmt.Sprint(i))
		if i%3 == 0 {
			w.clock.Advance(time.Second)
		}
	}
	slices.Reverse(want)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i := range 3 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_ = w.RecordDecisions(ctx, []decision.Entry{w.refusal(fmt.Sprintf("new-%d-%d", i, n%5), dps.ReasonDisabled, "192.0.2.2")}, generous)
			}
		})
	}
	defer writers.Wait()
	defer stop()

	var got []string
	var after *decision.Cursor
	for more := true; more; more = after != nil {
		w.clock.Advance(time.Second)
		page := read[[]decision.Entry](t)(w.Decisions(t.Context(), here, decision.Filter{}, size, after))
		after = nil
		for _, e := range page {
			if !strings.HasPrefix(string(e.ID), "new-") {
				got = append(got, string(e.ID))
			}
		}
		if len(page) == size {
			after = &decision.Cursor{Time: page[size-1].Time, Seq: page[size-1].Seq}
		}
	}
	same(t, "every entry that did not change once, in order", got, want)
}
