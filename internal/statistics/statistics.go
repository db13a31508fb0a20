// Package statistics counts how registrations ended, minute by minute and hour by hour.
//
// Counts are kept in memory for a moment and added to those in the store by a
// background task: a crash loses the last second's. Minutes are kept for a day, hours
// for 90 days, so the number of rows is bounded whatever devices do.
package statistics

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Counts says how many registrations ended how.
type Counts struct {
	Assigned int64
	Failed   int64
	Refused  int64 // those of disabled enrollments too
}

func (c Counts) plus(other Counts) Counts {
	return Counts{c.Assigned + other.Assigned, c.Failed + other.Failed, c.Refused + other.Refused}
}

// Bucket is the counts of a span of time.
type Bucket struct {
	Start time.Time
	Counts
}

// Widths of the spans that are stored, and how long each is kept.
const (
	Minute = time.Minute
	Hour   = time.Hour

	KeepMinutes = 24 * time.Hour
	KeepHours   = 90 * 24 * time.Hour
)

// Row is the counts of one span of one instance.
type Row struct {
	Instance dps.InstanceID
	Width    time.Duration // Minute or Hour
	Bucket
}

// Store keeps counts.
type Store interface {
	// AddCounts adds to what is stored of each span, or nothing of it.
	AddCounts(ctx context.Context, rows []Row) error

	// Counts returns the spans of a width that begin at or after from and before to,
	// oldest first, without those that have no counts.
	Counts(ctx context.Context, in dps.InstanceID, width time.Duration, from, to time.Time) ([]Bucket, error)

	// ExpireCounts removes the spans of a width that begin before a time.
	ExpireCounts(ctx context.Context, width time.Duration, before time.Time) error
}

// How counts are written.
const (
	writeEvery  = time.Second
	expireEvery = time.Minute
	maxWaiting  = 512 // minutes, where the store does not take them
)

// Options are what a Counter needs; all are required.
type Options struct {
	Store Store
	Log   *slog.Logger
	Now   func() time.Time
}

// Counter counts. It is safe for concurrent use.
type Counter struct {
	store Store
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex // guards waiting
	waiting map[span]Counts

	writing sync.Mutex // held while counts are written; guards failing
	failing bool
}

// span is one minute of an instance, in Unix time.
type span struct {
	instance dps.InstanceID
	start    int64
}

// New returns a Counter. Run writes what it counts.
func New(o Options) *Counter {
	return &Counter{store: o.Store, log: o.Log, now: o.Now, waiting: make(map[span]Counts)}
}

// Registered counts one registration by its outcome; one that has none yet counts once
// it has.
func (c *Counter) Registered(in dps.InstanceID, status dps.RegistrationStatus) {
	var one Counts
	switch status {
	case dps.Assigned:
		one.Assigned = 1
	case dps.Failed:
		one.Failed = 1
	case dps.Disabled, dps.Unassigned:
		one.Refused = 1
	default:
		return
	}
	c.add(span{in, c.now().Truncate(Minute).Unix()}, one)
}

// add lets counts wait. Those of a minute more than there is room for are lost: it means
// that the store has taken nothing for hours.
func (c *Counter) add(s span, n Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.waiting[s]; known || len(c.waiting) < maxWaiting {
		c.waiting[s] = c.waiting[s].plus(n)
	}
}

// Run writes what is counted, and removes what has expired, until ctx ends. What waits
// then is for Flush.
func (c *Counter) Run(ctx context.Context) error {
	write, expire := time.NewTicker(writeEvery), time.NewTicker(expireEvery)
	defer write.Stop()
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-write.C:
			c.report(c.Flush(ctx))
		case <-expire.C:
			c.report(c.expire(ctx))
		}
	}
}

// Flush writes what waits.
func (c *Counter) Flush(ctx context.Context) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = make(map[span]Counts)
	c.mu.Unlock()
	if len(waiting) == 0 {
		return nil
	}
	rows := make([]Row, 0, 2*len(waiting))
	for s, n := range waiting {
		start := time.Unix(s.start, 0).UTC()
		rows = append(rows,
			Row{s.instance, Minute, Bucket{start, n}},
			Row{s.instance, Hour, Bucket{start.Truncate(Hour), n}})
	}
	err := c.store.AddCounts(ctx, rows)
	if err != nil {
		for s, n := range waiting {
			c.add(s, n)
		}
		return err
	}
	c.failing = false
	return nil
}

func (c *Counter) expire(ctx context.Context) error {
	now := c.now()
	return errors.Join(
		c.store.ExpireCounts(ctx, Minute, now.Add(-KeepMinutes)),
		c.store.ExpireCounts(ctx, Hour, now.Add(-KeepHours)))
}

// report logs the first of failures that follow each other.
func (c *Counter) report(err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err == nil || errors.Is(err, context.Canceled) || c.failing {
		return
	}
	c.failing = true
	c.log.Warn("cannot store registration counts; retrying", "err", err)
}

// MaxBuckets is how many buckets a series has at most: 90 days of hours.
const MaxBuckets = int(KeepHours / Hour)

// Series returns the counts of an instance from since to until, in buckets of a step
// that begin at whole steps in UTC; the first one holds since, and those without counts
// are there too. It fails with Invalid where minutes are asked for that are not kept,
// or too many buckets.
func (c *Counter) Series(ctx context.Context, in dps.InstanceID, since, until time.Time, step time.Duration) ([]Bucket, error) {
	from := since.UTC().Truncate(step)
	width, err := c.width(from, until, step)
	if err != nil {
		return nil, err
	}
	c.report(c.Flush(ctx))
	found, err := c.store.Counts(ctx, in, width, from, until)
	if err != nil {
		return nil, err
	}
	var series []Bucket
	for at := from; at.Before(until); at = at.Add(step) {
		series = append(series, Bucket{Start: at})
	}
	for _, b := range found {
		i := int(b.Start.Sub(from) / step)
		series[i].Counts = series[i].Counts.plus(b.Counts)
	}
	return series, nil
}

// width returns the width of the stored spans that a series is made of.
func (c *Counter) width(from, until time.Time, step time.Duration) (time.Duration, error) {
	switch {
	case !until.After(from):
		return 0, dps.Invalidf("until", "must be later than since")
	case step < Minute || step%Minute != 0 || step > Hour && step%Hour != 0:
		return 0, dps.Invalidf("step", "must be whole minutes up to an hour, or whole hours")
	case until.Sub(from) > time.Duration(MaxBuckets)*step:
		return 0, dps.Invalidf("step", "gives more than %d buckets between since and until", MaxBuckets)
	case step%Hour == 0:
		return Hour, nil
	case from.Before(c.now().Add(-KeepMinutes - step)):
		return 0, dps.Invalidf("since", "is more than 24 hours ago, where only hourly counts exist; use step 1h")
	default:
		return Minute, nil
	}
}
