package decision_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
)

const in = dps.DefaultInstance

// store keeps entries in memory. It fails with err while that is set.
type store struct {
	mu      sync.Mutex
	entries map[decision.Key]decision.Entry
	batches []int
	expired time.Time
	err     error
	seq     int64
}

func (s *store) RecordDecisions(_ context.Context, entries []decision.Entry, _ decision.Caps) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.batches = append(s.batches, len(entries))
	for _, e := range entries {
		before, again := s.entries[e.Key()]
		if again {
			e.Seq, e.Count, e.First = before.Seq, e.Count+before.Count, before.First
		} else {
			s.seq++
			e.Seq = s.seq
		}
		s.entries[e.Key()] = e
	}
	return nil
}

func (s *store) ExpireDecisions(_ context.Context, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = before
	return s.err
}

func (s *store) Decisions(
	_ context.Context,
	_ dps.InstanceID,
	f decision.Filter,
	limit int,
	after *decision.Cursor,
) ([]decision.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []decision.Entry
	for _, e := range s.entries {
		if f.ID == "" || f.ID.Key() == e.ID.Key() {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b decision.Entry) int { return int(b.Seq - a.Seq) })
	if after != nil {
		all = slices.DeleteFunc(all, func(e decision.Entry) bool { return e.Seq >= after.Seq })
	}
	return all[:min(limit, len(all))], nil
}

func (s *store) Decision(_ context.Context, _ dps.InstanceID, trackingID string) (decision.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.TrackingID == trackingID {
			return e, nil
		}
	}
	return decision.Entry{}, dps.Errorf(dps.DecisionNotFound, "Decision not found.")
}

// fail makes the store fail, or work again.
func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// expiry returns before when entries expired.
func (s *store) expiry() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expired
}

// written returns the sizes of the batches.
func (s *store) written() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// observer adds up.
type observer struct {
	mu                sync.Mutex
	recorded, dropped int64
	refused           map[string]int // by transport and reason
}

func (o *observer) Refused(transport, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refused == nil {
		o.refused = make(map[string]int)
	}
	o.refused[transport+" "+reason]++
}

func (o *observer) DecisionsRecorded(n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.recorded += n
}

func (o *observer) DecisionsDropped(n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropped += n
}

// world is a log over a store in memory.
type world struct {
	*decision.Log
	store    *store
	observer *observer
	lines    *bytes.Buffer // read it when nothing runs
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{store: &store{entries: make(map[decision.Key]decision.Entry)}, observer: &observer{}, lines: &bytes.Buffer{}}
	w.Log = decision.New(decision.Options{
		Store: w.store, Observer: w.observer, Log: slog.New(slog.NewTextHandler(w.lines, nil)), Now: time.Now,
		Retention: time.Hour, Limit: 1000,
	})
	return w
}

// run runs the log until the returned function is called.
func (w *world) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// refusal returns one of a device, with a tracking ID that says which.
func refusal(id string, n int) dps.Refusal {
	return dps.Refusal{
		Instance: in, TrackingID: fmt.Sprintf("%s-%d", id, n), Time: time.Now(), ID: dps.RegistrationID(id), Transport: dps.HTTPS,
		Remote: "192.0.2.1:4711",
		Decision: dps.Decision{
			Checks: []dps.Check{{Name: "enrollment", Detail: "none"}}, Reason: dps.ReasonNoEnrollment, Answer: "Unauthorized", Remedy: "enroll it",
		},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
