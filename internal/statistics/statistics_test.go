package statistics_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/statistics"
)

const in = dps.DefaultInstance

var start = time.Date(2026, 3, 1, 12, 10, 30, 0, time.UTC)

// span is the key of a row.
type span struct {
	instance dps.InstanceID
	width    time.Duration
	start    time.Time
}

// store keeps counts in memory. It fails with err while that is set.
type store struct {
	mu      sync.Mutex
	rows    map[span]statistics.Counts
	expired map[time.Duration]time.Time
	writes  int
	err     error
}

func (s *store) AddCounts(_ context.Context, rows []statistics.Row) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.writes++
	for _, r := range rows {
		at := span{r.Instance, r.Width, r.Start}
		c := s.rows[at]
		s.rows[at] = statistics.Counts{Assigned: c.Assigned + r.Assigned, Failed: c.Failed + r.Failed, Refused: c.Refused + r.Refused}
	}
	return nil
}

func (s *store) Counts(_ context.Context, id dps.InstanceID, width time.Duration, from, to time.Time) ([]statistics.Bucket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []statistics.Bucket
	for at, c := range s.rows {
		if at.instance == id && at.width == width && !at.start.Before(from) && at.start.Before(to) {
			all = append(all, statistics.Bucket{Start: at.start, Counts: c})
		}
	}
	return all, nil
}

func (s *store) ExpireCounts(_ context.Context, width time.Duration, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired[width] = before
	return nil
}

// done returns how often counts were written, and before when they expired.
func (s *store) done() (writes int, minutes, hours time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes, s.expired[statistics.Minute], s.expired[statistics.Hour]
}

func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func newStore() *store {
	return &store{rows: make(map[span]statistics.Counts), expired: make(map[time.Duration]time.Time)}
}

// world is a counter with a clock that the test moves.
type world struct {
	*statistics.Counter
	store *store
	now   time.Time
	log   bytes.Buffer
}

func newWorld() *world {
	w := &world{store: newStore(), now: start}
	w.Counter = statistics.New(
		statistics.Options{Store: w.store, Log: slog.New(slog.NewTextHandler(&w.log, nil)), Now: func() time.Time { return w.now }},
	)
	return w
}

func TestSeries(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for _, status := range []dps.RegistrationStatus{dps.Assigned, dps.Assigned, dps.Failed, dps.Disabled, dps.Unassigned, dps.Assigning} {
		w.Registered(in, status)
	}
	w.now = start.Add(3 * time.Minute)
	w.Registered(in, dps.Assigned)
	w.Registered("another", dps.Assigned)
	w.now = start.Add(time.Hour)
	w.Registered(in, dps.Unassigned)
	first, second, third := statistics.Counts{
		Assigned: 2,
		Failed:   1,
		Refused:  2,
	}, statistics.Counts{
		Assigned: 1,
	}, statistics.Counts{
		Refused: 1,
	}
	at := func(hour, minute int) time.Time { return time.Date(2026, 3, 1, hour, minute, 0, 0, time.UTC) }
	for name, tt := range map[string]struct {
		since, until time.Time
		step         time.Duration
		want         []statistics.Bucket
	}{
		"minutes": {at(12, 9), at(12, 15), time.Minute, []statistics.Bucket{
			{Start: at(12, 9)}, {Start: at(12, 10), Counts: first}, {Start: at(12, 11)}, {Start: at(12, 12)}, {Start: at(12, 13), Counts: second}, {Start: at(12, 14)},
		}},
		"five minutes, from within one": {at(12, 12).Add(time.Second), at(12, 19), 5 * time.Minute, []statistics.Bucket{
			{Start: at(12, 10), Counts: statistics.Counts{Assigned: 3, Failed: 1, Refused: 2}}, {Start: at(12, 15)},
		}},
		"hours": {at(11, 59), at(13, 30), time.Hour, []statistics.Bucket{
			{Start: at(11, 0)}, {Start: at(12, 0), Counts: statistics.Counts{Assigned: 3, Failed: 1, Refused: 2}}, {Start: at(13, 0), Counts: third},
		}},
		"days": {at(12, 0), at(13, 1), 24 * time.Hour, []statistics.Bucket{{Start: at(0, 0), Counts: statistics.Counts{Assigned: 3, Failed: 1, Refused: 3}}}},
	} {
		got, err := w.Series(t.Context(), in, tt.since, tt.until, tt.step)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestSeriesThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for name, tt := range map[string]struct {
		since, until time.Time
		step         time.Duration
		field        string
	}{
		"nothing":           {start, start.Truncate(time.Hour), time.Hour, "until"},
		"backwards":         {start, start.Add(-time.Hour), time.Minute, "until"},
		"seconds":           {start.Add(-time.Hour), start, time.Second, "step"},
		"90 s":              {start.Add(-time.Hour), start, 90 * time.Second, "step"},
		"90 minutes":        {start.Add(-time.Hour), start, 90 * time.Minute, "step"},
		"none":              {start.Add(-time.Hour), start, 0, "step"},
		"too many":          {start.Add(-91 * 24 * time.Hour), start, time.Hour, "step"},
		"minutes last week": {start.Add(-25 * time.Hour), start.Add(-24 * time.Hour), time.Minute, "since"},
	} {
		step := max(tt.step, 0)
		_, err := w.Series(t.Context(), in, tt.since, tt.until, step)
		if dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(dps.MessageOf(err), tt.field+":") {
			t.Errorf("%s: %v, want Invalid of %s", name, err, tt.field)
		}
	}
	if got, err := w.Series(t.Context(), in, start.Add(-24*time.Hour), start, time.Minute); err != nil || len(got) != 24*60+1 {
		t.Errorf("a day of minutes: %d, %v", len(got), err)
	}
	if got, err := w.Series(t.Context(), in, start.Add(-89*24*time.Hour), start, time.Hour); err != nil || len(got) != 89*24+1 {
		t.Errorf("89 days of hours: %d, %v", len(got), err)
	}
}

func TestWrittenInTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		var log bytes.Buffer
		c := statistics.New(statistics.Options{Store: s, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		for range 1000 {
			c.Registered(in, dps.Assigned)
		}
		time.Sleep(90 * time.Second) //nolint:forbidigo // in a bubble, where it takes no time
		writes, minutes, hours := s.done()
		if writes != 1 {
			t.Errorf("%d writes, want one", writes)
		}
		if age := time.Since(minutes); age < 24*time.Hour || age > 25*time.Hour {
			t.Errorf("minutes expire after %v", age)
		}
		if age := time.Since(hours); age < 90*24*time.Hour || age > 91*24*time.Hour {
			t.Errorf("hours expire after %v", age)
		}
		s.fail(errors.New("disk full"))
		c.Registered(in, dps.Failed)
		time.Sleep(time.Minute) //nolint:forbidigo // as above
		s.fail(nil)
		time.Sleep(2 * time.Second) //nolint:forbidigo // as above
		c.Registered(in, dps.Unassigned)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := c.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		var sum statistics.Counts
		for at, n := range s.rows {
			if at.width != statistics.Hour {
				continue
			}
			sum.Assigned, sum.Failed, sum.Refused = sum.Assigned+n.Assigned, sum.Failed+n.Failed, sum.Refused+n.Refused
		}
		if sum != (statistics.Counts{Assigned: 1000, Failed: 1, Refused: 1}) {
			t.Errorf("counted %+v", sum)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings:\n%s", n, &log)
		}
	})
}
