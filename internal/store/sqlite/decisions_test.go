package sqlite_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
)

// refusedBy returns an entry of one refusal of a device.
func refusedBy(id string, at time.Time) decision.Entry {
	return decision.Entry{First: at, Count: 1, Refusal: dps.Refusal{
		Instance: dps.DefaultInstance, TrackingID: "t-" + id, Time: at, ID: dps.RegistrationID(id), Remote: "192.0.2.1:1",
		Decision: dps.Decision{Reason: dps.ReasonDisabled, Entry: dps.EntryRef{Kind: dps.Group, ID: "line"}},
	}}
}

// What writing and finding a decision costs must not grow with their number.
func TestDecisionsSeek(t *testing.T) {
	p := newPlace(t)
	s := p.openWith(t, newSetup())
	must(
		t,
		s.RecordDecisions(
			t.Context(),
			[]decision.Entry{refusedBy("a", start), refusedBy("b", start)},
			decision.Caps{Total: 1, PerDevice: 9, PerSource: 9},
		),
	)
	must(t, s.ExpireDecisions(t.Context(), start))
	_, err := s.Decision(t.Context(), dps.DefaultInstance, "t-a")
	if dps.CodeOf(err) != dps.DecisionNotFound && err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, text := range s.Statements() {
		for name, index := range map[string]string{
			"LIMIT $3 OFFSET $4)": "", "ORDER BY time, seq LIMIT $2": "decisions_time (instance=?", "tracking_id = $1": "decisions_tracking", "time < $1 LIMIT $2": "decisions_time (instance=? AND time<?)",
		} {
			if !strings.Contains(text, "FROM decisions") || !strings.Contains(text, name) {
				continue
			}
			if strings.Contains(text, "id_key = $2") {
				index = "sqlite_autoindex_decisions_1 (instance=? AND id_key=?)"
			}
			if strings.Contains(text, "source = $2") {
				index = "decisions_source (instance=? AND source=?)"
			}
			texts[text] = index
		}
	}
	if len(texts) != 5 {
		t.Fatalf("%d statements of 5 were found: %q", len(texts), texts)
	}
	for name, index := range map[string]string{
		"": "decisions_time (instance=?", "id": "sqlite_autoindex_decisions_1 (instance=? AND id_key=?)", "enrollment": "decisions_entry (instance=? AND entry_kind=? AND entry_key=?",
		"group": "decisions_entry (instance=? AND entry_kind=? AND entry_key=?", "reason": "decisions_reason (instance=? AND reason=?", "source": "decisions_source (instance=? AND source=?",
		"since": "decisions_time (instance=? AND time>?",
	} {
		f := map[string]decision.Filter{
			"": {}, "id": {ID: "a"}, "enrollment": {Enrollment: "a"}, "group": {Group: "a"}, "reason": {Reason: dps.ReasonDisabled},
			"source": {Source: "192.0.2.1"}, "since": {Since: start},
		}[name]
		texts[s.DecisionsText(f, nil)] = index
		texts[s.DecisionsText(f, &decision.Cursor{Time: start, Seq: 1})] = index
	}
	must(t, s.Close())
	db := migrateTo(t, p.path+".plan", 6)
	for text, index := range texts {
		if steps := plan(t, db, text); !slices.ContainsFunc(steps, func(step string) bool { return strings.Contains(step, index) }) {
			t.Errorf("no step by %s: %s\n%s", index, strings.Join(steps, "; "), text)
		}
	}
}

func BenchmarkRecordDecisions(b *testing.B) {
	p := newPlace(b)
	s := p.openWith(b, newSetup())
	const size = 200
	n := 0
	for b.Loop() {
		batch := make([]decision.Entry, size)
		for i := range batch {
			batch[i] = refusedBy(fmt.Sprint(n), start.Add(time.Duration(n)))
			n++
		}
		if err := s.RecordDecisions(b.Context(), batch, decision.CapsOf(20_000)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/entry")
}

// TestDecisionsAreLimited holds that a page has as many decisions as asked for, the latest first.
func TestDecisionsAreLimited(t *testing.T) {
	s := newPlace(t).openWith(t, newSetup())
	must(t, s.RecordDecisions(t.Context(),
		[]decision.Entry{refusedBy("a", start), refusedBy("b", start.Add(time.Second)), refusedBy("c", start.Add(2*time.Second))},
		decision.Caps{Total: 9, PerDevice: 9, PerSource: 9}))
	got, err := s.Decisions(t.Context(), dps.DefaultInstance, decision.Filter{}, 2, nil)
	must(t, err)
	if len(got) != 2 || got[0].ID != "c" || got[1].ID != "b" {
		t.Errorf("decisions = %+v, want those of c and b", got)
	}
}
