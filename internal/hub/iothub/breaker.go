package iothub

import (
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// When a hub counts as down, and how often it is tried then.
const (
	failuresToOpen = 5 // in a row
	firstProbe     = time.Second
	lastProbe      = 30 * time.Second
	tryMeanwhile   = time.Second // when somebody else is trying: look again after this
)

// breaker keeps callers away from a hub that is down, and is what is known of its
// health.
//
// It is not sony/gobreaker, whose open state lasts for a time fixed in advance and ends
// by calls alone: here the time between trials grows, a prober ends it as well as a
// call, callers are told when the next trial is, and the state is shown with its cause.
type breaker struct {
	mu       sync.Mutex
	state    dps.HubState
	since    time.Time
	problem  string        // the last failure, or what the hub said; "" when all is well
	refusing bool          // problem is what the hub said of the link itself
	failures int           // in a row
	wait     time.Duration // between the last trial and the next, while down
	next     time.Time     // when down: the next trial
	trying   bool          // a trial is under way
}

// change is a state that was entered.
type change struct {
	state   dps.HubState
	problem string
}

// allow says whether a call may be sent. While the hub is down it lets one through
// for each trial that is due; trial then has to go into failed or given back.
func (b *breaker) allow(now time.Time) (trial bool, wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != dps.HubDown {
		return false, 0, true
	}
	if wait := b.waitLocked(now); wait > 0 {
		return false, wait, false
	}
	b.trying = true
	return true, 0, true
}

// closed is allow for those who have not come to their call yet: it takes no trial.
func (b *breaker) closed(now time.Time) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != dps.HubDown {
		return 0, true
	}
	wait = b.waitLocked(now)
	return wait, wait <= 0
}

// waitLocked returns how long a caller should wait for the next trial; 0 if it is due.
func (b *breaker) waitLocked(now time.Time) time.Duration {
	if b.trying {
		return tryMeanwhile
	}
	return max(b.next.Sub(now), 0)
}

// answered records that the hub answered; problem is "" where it said nothing bad of
// the link itself. The result is nil unless state or problem began with this answer.
func (b *breaker) answered(now time.Time, problem string) *change {
	b.mu.Lock()
	defer b.mu.Unlock()
	news := b.state != dps.HubUp || b.refusing != (problem != "")
	b.failures, b.trying, b.problem, b.refusing = 0, false, problem, problem != ""
	if !news {
		return nil
	}
	if b.state != dps.HubUp {
		b.state, b.since = dps.HubUp, now
	}
	return &change{dps.HubUp, problem}
}

// failed records that the hub did not answer, or failed by itself. The result is nil
// unless the hub is down since this very failure.
func (b *breaker) failed(now time.Time, problem string, trial bool) *change {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	b.problem = problem
	if b.state == dps.HubDown {
		if trial {
			b.trying = false
			b.wait = min(2*b.wait, lastProbe)
			b.next = now.Add(b.wait)
		}
		return nil
	}
	if b.failures < failuresToOpen {
		return nil
	}
	b.state, b.since, b.trying, b.refusing = dps.HubDown, now, false, false
	b.wait = firstProbe
	b.next = now.Add(b.wait)
	return &change{dps.HubDown, problem}
}

// giveBack ends a call that says nothing about the hub, because its caller gave up.
func (b *breaker) giveBack(trial bool) {
	if !trial {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
}

// due returns when the next trial is, and false where there is none to wait for.
func (b *breaker) due() (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next, b.state == dps.HubDown && !b.trying
}

// health fills in what the breaker knows.
func (b *breaker) health(h *dps.HubHealth) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h.State, h.Since, h.LastError = b.state, b.since, b.problem
}

// lastProblem returns the last failure.
func (b *breaker) lastProblem() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problem
}
