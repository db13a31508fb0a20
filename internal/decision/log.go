package decision

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Bounds of what waits, and how it is written: at most batchSize entries each
// writeEvery, which is 1,000 in a second, and in the long run perSecond. Registrations
// need the store too, and of a flood the first ten thousand say enough.
const (
	maxWaiting  = 4096           // some 8 MB, 33 MB at the worst
	maxOfSource = maxWaiting / 2 // of one source: there is room for others too
	batchSize   = 100
	writeEvery  = 100 * time.Millisecond
	perSecond   = 200
	burst       = 10_000
	patience    = time.Second // how long a few wait for more
	retryAfter  = time.Second // after a failure
	expireEvery = time.Minute
)

// Observer hears what becomes of refusals.
type Observer interface {
	// Refused is called with each refusal, whether it is kept or not.
	Refused(transport, reason string)

	// DecisionsRecorded is called with how many refusals were written.
	DecisionsRecorded(refusals int64)

	// DecisionsDropped is called with how many were not kept, for want of room.
	DecisionsDropped(refusals int64)
}

// Options are what a Log needs; all but Retention are required.
type Options struct {
	Store     Store
	Observer  Observer
	Log       *slog.Logger
	Now       func() time.Time
	Retention time.Duration // how long entries are kept after their latest refusal; 0 is for ever
	Limit     int           // how many entries an instance has at most
}

// Log is all entries. It is safe for concurrent use.
type Log struct {
	store     Store
	observer  Observer
	log       *slog.Logger
	now       func() time.Time
	retention time.Duration
	caps      Caps

	dropped atomic.Int64 // refusals since the start

	mu       sync.Mutex // guards what follows
	waiting  map[Key]Entry
	order    []Key          // of waiting, in the order of arrival
	bySource map[string]int // how many of waiting are of each source; absent is none

	writing sync.Mutex // held while a batch is under way; guards what follows
	pace    *rate.Limiter
	failing bool
	failed  time.Time // when the store last refused a batch
}

// New returns the Log over a store. Run writes what it is told.
func New(o Options) *Log {
	return &Log{
		store: o.Store, observer: o.Observer, log: o.Log, now: o.Now, retention: o.Retention, caps: CapsOf(o.Limit),
		waiting: make(map[Key]Entry), bySource: make(map[string]int), pace: rate.NewLimiter(perSecond, burst),
	}
}

// Refused queues a refusal to be written soon. It does not block.
func (l *Log) Refused(r dps.Refusal) {
	l.observer.Refused(string(r.Transport), string(r.Decision.Reason))
	if !l.keep(Entry{Refusal: bounded(r), First: r.Time, Count: 1}) {
		l.drop(1)
	}
}

// keep lets an entry wait, and reports whether there was room for it.
func (l *Log) keep(e Entry) bool {
	key := e.Key()
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, again := l.waiting[key]; again {
		l.waiting[key] = merged(before, e)
		return true
	}
	if len(l.order) >= maxWaiting || l.bySource[key.Source] >= maxOfSource {
		return false
	}
	l.bySource[key.Source]++
	l.waiting[key] = e
	l.order = append(l.order, key)
	return true
}

func (l *Log) drop(refusals int64) {
	l.dropped.Add(refusals)
	l.observer.DecisionsDropped(refusals)
}

// Dropped returns how many refusals were not kept since the start, for want of room.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// Run writes what waits, and removes what has expired, until ctx ends. What waits then
// is for Flush.
func (l *Log) Run(ctx context.Context) error {
	write, expire := time.NewTicker(writeEvery), time.NewTicker(expireEvery)
	defer write.Stop()
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-write.C:
			if l.due() {
				l.report(l.writeBatch(ctx, true))
			}
		case <-expire.C:
			l.report(l.expire(ctx))
		}
	}
}

// due reports whether there is a batch to write: a whole one, or one that has waited.
func (l *Log) due() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.order) == 0 || len(l.order) >= batchSize {
		return len(l.order) > 0
	}
	waited := l.now().Sub(l.waiting[l.order[0]].First)
	return waited >= patience || waited < 0
}

// Flush writes what waits when it is called.
func (l *Log) Flush(ctx context.Context) error {
	l.mu.Lock()
	waiting := len(l.order)
	l.mu.Unlock()
	for done := 0; done < waiting; done += batchSize {
		if err := l.writeBatch(ctx, false); err != nil {
			return err
		}
	}
	// A batch that was under way when this was called is done too.
	l.writing.Lock()
	defer l.writing.Unlock()
	return nil
}

// writeBatch writes the entries that have waited longest. A polite one keeps the pace, and
// leaves a store alone that has just refused. What cannot be written now waits on; what never can is
// dropped.
func (l *Log) writeBatch(ctx context.Context, polite bool) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if polite && !l.mayWrite() {
		return nil
	}
	batch := l.take()
	if len(batch) == 0 {
		return nil
	}
	err := l.store.RecordDecisions(ctx, batch, l.caps)
	if err == nil {
		l.observer.DecisionsRecorded(refusals(batch))
		l.working()
		return nil
	}
	l.failed = l.now()
	if dps.CodeOf(err) != dps.Unavailable && ctx.Err() == nil {
		l.drop(refusals(batch))
		return err
	}
	for _, e := range batch {
		if !l.keep(e) {
			l.drop(e.Count)
		}
	}
	return err
}

// mayWrite reports whether a batch may be written that nobody waits for.
func (l *Log) mayWrite() bool {
	now := l.now()
	if since := now.Sub(l.failed); since >= 0 && since < retryAfter {
		return false
	}
	l.mu.Lock()
	n := min(len(l.order), batchSize)
	l.mu.Unlock()
	return l.pace.AllowN(now, n)
}

// take removes a batch from what waits.
func (l *Log) take() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.order), batchSize)
	batch := make([]Entry, n)
	for i, key := range l.order[:n] {
		batch[i] = l.waiting[key]
		delete(l.waiting, key)
		if l.bySource[key.Source]--; l.bySource[key.Source] == 0 {
			delete(l.bySource, key.Source)
		}
	}
	l.order = append(l.order[:0], l.order[n:]...)
	return batch
}

func refusals(entries []Entry) int64 {
	var n int64
	for _, e := range entries {
		n += e.Count
	}
	return n
}

func (l *Log) expire(ctx context.Context) error {
	if l.retention == 0 {
		return nil
	}
	return l.store.ExpireDecisions(ctx, l.now().Add(-l.retention))
}

// report logs the first of failures that follow each other.
func (l *Log) report(err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err == nil || errors.Is(err, context.Canceled) || l.failing {
		return
	}
	l.failing = true
	l.log.Warn("refusals cannot be stored; they are queued in memory until the queue is full", "err", err)
}

// working ends a row of failures.
func (l *Log) working() {
	if l.failing {
		l.log.Info("refusals can be stored again", "dropped", l.Dropped())
	}
	l.failing, l.failed = false, time.Time{}
}

// Entries returns up to top entries that f selects, the latest first, older than the
// cursor, and where to go on; next is nil at the end. It sees what waits, unless the
// store cannot write at the moment.
func (l *Log) Entries(ctx context.Context, in dps.InstanceID, f Filter, top int, after *Cursor) (page []Entry, next *Cursor, err error) {
	l.report(l.Flush(ctx))
	page, err = l.store.Decisions(ctx, in, f, top+1, after)
	if err != nil || len(page) <= top {
		return page, nil, err
	}
	page = page[:top]
	last := page[top-1]
	return page, &Cursor{Time: last.Time, Seq: last.Seq}, nil
}

// Entry returns the entry whose latest refusal has a tracking ID. It fails with
// DecisionNotFound.
func (l *Log) Entry(ctx context.Context, in dps.InstanceID, trackingID string) (Entry, error) {
	l.report(l.Flush(ctx))
	return l.store.Decision(ctx, in, trackingID)
}
