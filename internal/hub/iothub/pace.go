package iothub

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pacer keeps one hub's writes to their rate, and remembers until when the hub asked
// to be left alone. Links to the same hub, of two instances or with an old and a new
// key, share it: the hub counts them together.
//
// A write takes a turn (with the caller, who may have things to do before it sends),
// and is held back once more at the door, so that turns which were taken in time and
// used late never leave closer together than the rate allows. Both allow bursts of
// one: in no minute are there more writes than the rate.
type pacer struct {
	perMinute int // 0 is no limit
	now       func() time.Time
	queue     chan struct{} // who holds it is next; the others wait behind it in order
	turns     *rate.Limiter
	door      *rate.Limiter

	mu    sync.Mutex
	until time.Time // zero unless the hub asked to be left alone
}

func newPacer(perMinute int, now func() time.Time) *pacer {
	limit := rate.Inf
	if perMinute > 0 {
		interval := (time.Minute + time.Duration(perMinute) - 1) / time.Duration(perMinute)
		// Limiters reckon in floats and cut off fractions of nanoseconds. A millionth
		// more keeps what they lose inside the rate.
		limit = rate.Every(interval + interval/1e6 + 1)
	}
	return &pacer{
		perMinute: perMinute, now: now, queue: make(chan struct{}, 1),
		turns: rate.NewLimiter(limit, 1), door: rate.NewLimiter(limit, 1),
	}
}

// turn waits behind those who came before.
func (p *pacer) turn(ctx context.Context) error {
	select {
	case p.queue <- struct{}{}:
		defer func() { <-p.queue }()
		return p.next(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next waits for the next turn, before those who queue: what was begun is ended first.
func (p *pacer) next(ctx context.Context) error {
	if err := p.awaitPause(ctx); err != nil {
		return err
	}
	if err := p.await(ctx, p.turns); err != nil {
		return err
	}
	return p.awaitPause(ctx) // that began meanwhile
}

// depart holds a write back until its distance to the one before is right.
func (p *pacer) depart(ctx context.Context) error { return p.await(ctx, p.door) }

// await takes a token of l. Unlike l.Wait it does not give up early where ctx has a
// deadline: the wait may be cut short, but what it ends with is ctx's own error.
func (p *pacer) await(ctx context.Context, l *rate.Limiter) error {
	now := p.now()
	r := l.ReserveN(now, 1)
	if err := sleep(ctx, r.DelayFrom(now)); err != nil {
		r.CancelAt(p.now())
		return err
	}
	return nil
}

func (p *pacer) awaitPause(ctx context.Context) error {
	for {
		left := p.paused()
		if left <= 0 {
			return ctx.Err()
		}
		if err := sleep(ctx, left); err != nil {
			return err
		}
	}
}

// paused returns how long the hub still wants to be left alone.
func (p *pacer) paused() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until.IsZero() {
		return 0
	}
	left := p.until.Sub(p.now())
	if left <= 0 {
		p.until = time.Time{}
	}
	return left
}

// pause leaves the hub alone for d; a longer pause that is under way stays.
func (p *pacer) pause(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := p.now().Add(d); until.After(p.until) {
		p.until = until
	}
}

// pausedUntil returns the end of the pause, zero if there is none.
func (p *pacer) pausedUntil() time.Time {
	if p.paused() <= 0 {
		return time.Time{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
