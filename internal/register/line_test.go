package register_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// interrupted is a store with something that happens right after the open work was read.
type interrupted struct {
	register.Store
	then func()
}

func (i *interrupted) OpenWork(ctx context.Context) ([]dps.Work, error) {
	open, err := i.Store.OpenWork(ctx)
	if i.then != nil {
		i.then()
	}
	return open, err
}

// A device that comes while the service starts is not left waiting.
func TestRegistrationWhileTheLineBegins(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.stop()
		req := w.request("sensor", w.leaf(t, "sensor"))
		s := &interrupted{Store: w.store}
		w.Service = w.remote(s)
		var ticket register.Ticket
		s.then = func() {
			var err error
			ticket, err = w.Register(t.Context(), req)
			must(t, err)
		}
		w.start(t)
		synctest.Wait()
		if rec := w.polled(t, req, ticket); rec.Status != dps.Assigned {
			t.Errorf("record = %+v", rec)
		}
	})
}

// A run that cannot read what is open ends, and leaves nobody working.
func TestLineThatCannotBegin(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.stop()
		broken := errors.New("the disk is gone")
		s := w.remote(&overlay{Store: w.store, fail: map[string]error{"OpenWork": broken}})
		if err := s.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("Run: %v", err)
		}
		_, err := s.Register(t.Context(), w.request("sensor", w.leaf(t, "sensor")))
		must(t, err)
		pass(time.Minute)
		if len(w.hubs["a"].ids()) != 0 {
			t.Error("the line is worked")
		}
	})
}

// A device that comes exactly when it is told to is never told that it comes too often,
// however long its hub takes.
func TestPollsAsToldAreWelcome(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.hubs["a"].set(func(h *fakeHub) { h.slow = 18 * time.Second })
		req := w.request("sensor", w.leaf(t, "sensor"))
		if rec := w.finished(t, req); rec.Status != dps.Assigned {
			t.Errorf("record = %+v, %+v", rec, rec.Failure)
		}
	})
}

// A registration whose hub becomes another one while it is under way goes on in the lane
// of that hub: it holds up nobody in the old one.
func TestHubChangesUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.hubs["a"].turn, w.hubs["b"].turn = make(chan struct{}), make(chan struct{})
		w.to(t, nil, "a")
		_, err := w.Register(t.Context(), w.request("sensor", w.leaf(t, "sensor")))
		must(t, err)
		synctest.Wait() // it waits for its turn at a
		w.to(t, nil, "b")
		req := w.request("sensor", w.leaf(t, "sensor"))
		ticket, err := w.Register(t.Context(), req)
		must(t, err)
		w.hubs["a"].turn <- struct{}{}
		pass(time.Second)
		health, err := w.HubHealth(t.Context(), in)
		must(t, err)
		if health["a"].Waiting != 0 || health["b"].Waiting != 1 {
			t.Errorf("waiting at a: %d, at b: %d", health["a"].Waiting, health["b"].Waiting)
		}
		close(w.hubs["b"].turn)
		if rec := w.polled(t, req, ticket); rec.Hub != "b.example.com" {
			t.Errorf("record = %+v, %+v", rec, rec.Failure)
		}
		close(w.hubs["a"].turn)
		w.settled(t)
		if got := w.stands(t, "sensor"); len(got) != 1 {
			t.Errorf("stands at %v", got)
		}
	})
}

// Registrations that wait to try again take room too, and give it back.
func TestRoom(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.SetRoom(5)
		w.hubs["a"].set(func(h *fakeHub) { h.before = func(string) error { return unavailable("no answer") } })
		for i := range 5 {
			_, err := w.Register(t.Context(), w.request(deviceName(i), w.leaf(t, deviceName(i))))
			must(t, err)
			pass(100 * time.Millisecond)
		}
		late := w.request("late", w.leaf(t, "late"))
		_, err := w.Register(t.Context(), late)
		fails(t, "the sixth", err, dps.Throttled)
		health, err := w.HubHealth(t.Context(), in)
		must(t, err)
		if health["a"].Waiting != 5 {
			t.Errorf("waiting: %d", health["a"].Waiting)
		}
		w.hubs["a"].set(func(h *fakeHub) { h.before = nil })
		pass(time.Minute)
		if rec := w.finished(t, late); rec.Status != dps.Assigned {
			t.Errorf("record = %+v, %+v", rec, rec.Failure)
		}
		if health, err = w.HubHealth(t.Context(), in); err != nil || health["a"].Waiting != 0 {
			t.Errorf("waiting: %d, %v", health["a"].Waiting, err)
		}
	})
}

// Whether there is room is found out under the lock of the queue: the hub is asked how
// long the wait is while the lock is held.
func TestRoomIsCheckedUnderTheLock(t *testing.T) {
	w := newRemoteWorld(t)
	w.stop() // nothing but the call below uses the queue
	w.to(t, nil, "a")
	w.SetRoom(0)
	locked := false
	w.hubs["a"].asked = func() { locked = locked || w.LineLocked() }
	_, err := w.Register(t.Context(), w.request("sensor", w.leaf(t, "sensor")))
	fails(t, "no room", err, dps.Throttled)
	if !locked {
		t.Error("the capacity is checked without the lock")
	}
}

// After a restart devices hear as honestly as before how long it will take.
func TestWaitAfterARestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.hubs["a"].set(func(h *fakeHub) { h.turn = make(chan struct{}); h.health.PerMinute = 60 })
		var last register.Request
		var ticket register.Ticket
		for i := range 100 {
			last = w.request(deviceName(i), w.leaf(t, deviceName(i)))
			var err error
			ticket, err = w.Register(t.Context(), last)
			must(t, err)
			pass(time.Millisecond)
		}
		w.stop()
		w.Service = w.remote(w.store)
		w.start(t)
		synctest.Wait()
		rec, err := w.Poll(t.Context(), last, ticket.Operation)
		must(t, err)
		if rec.RetryAfter < 60*time.Second || rec.RetryAfter > 110*time.Second {
			t.Errorf("told to come after %v", rec.RetryAfter)
		}
	})
}

// Storage that takes no writes is not asked ever faster, and neither is the hub.
func TestStoreThatFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		var broken atomic.Bool
		var asked atomic.Int64
		s := &overlay{Store: w.store, commit: func(c dps.RegistrationChange) error {
			if broken.Load() && c.Work == nil {
				asked.Add(1)
				return dps.Errorf(dps.Unavailable, "the disk is full")
			}
			return nil
		}}
		w.stop()
		w.Service = w.remote(s)
		w.start(t)
		broken.Store(true)
		req := w.request("sensor", w.leaf(t, "sensor"))
		ticket, err := w.Register(t.Context(), req)
		must(t, err)
		pass(10 * time.Minute)
		if n := asked.Load(); n < 10 || n > 70 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		broken.Store(false)
		if rec := w.polled(t, req, ticket); rec.Status != dps.Assigned || rec.Assignment.Substatus != dps.InitialAssignment {
			t.Errorf("record = %+v, %+v, %+v", rec, rec.Assignment, rec.Failure)
		}
		w.settled(t)
	})
}

// Devices that leave a hub which is down do not use up the turns of the one that they
// go to.
func TestOldHubIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, migrate, "a")
		req := w.request("sensor", w.leaf(t, "sensor"))
		w.finished(t, req)
		w.to(t, migrate, "b")
		w.hubs["a"].set(func(h *fakeHub) {
			h.health.State = dps.HubDown
			h.before = func(string) error { return unavailable("hub a.example.com is down") }
		})
		start := time.Now()
		rec := w.finished(t, req)
		if rec.Status != dps.Failed || rec.Failure.Message != "hub a.example.com is down" || rec.Failure.Code != dps.HubUnavailable {
			t.Errorf("record = %+v, %+v", rec, rec.Failure)
		}
		if took := time.Since(start); took < 45*time.Second || took > 75*time.Second {
			t.Errorf("took %v", took)
		}
		if w.hubs["b"].turns != 0 {
			t.Errorf("%d turns were taken", w.hubs["b"].turns)
		}
		w.hubs["a"].set(func(h *fakeHub) { h.before = nil }) // it answers, and is thought to be down
		if rec = w.finished(t, req); rec.Status != dps.Assigned || rec.Assignment.Substatus != dps.DeviceDataMigrated || w.hubs["b"].turns != 1 {
			t.Errorf("record = %+v, %+v, %d turns", rec, rec.Failure, w.hubs["b"].turns)
		}
	})
}

// A newer call does not wait for what the older one had to wait for.
func TestNewerCallDoesNotWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.hubs["a"].set(func(h *fakeHub) {
			h.slow = 5 * time.Second
			h.before = func(string) error {
				return &dps.Error{Code: dps.Throttled, Message: "slow down", RetryAfter: 9 * time.Minute}
			}
		})
		_, err := w.Register(t.Context(), w.request("sensor", w.leaf(t, "sensor")))
		must(t, err)
		<-time.After(2 * time.Second) // the hub thinks about it
		w.to(t, nil, "b")
		req := w.request("sensor", w.leaf(t, "sensor"))
		start := time.Now()
		if rec := w.finished(t, req); rec.Hub != "b.example.com" {
			t.Errorf("record = %+v, %+v", rec, rec.Failure)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A registration whose first attempt failed does not go to the end of the line: it has
// waited for its turn, and its budget runs.
func TestSecondAttemptGoesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		failed := false
		turns := make(chan struct{})
		w.hubs["a"].set(func(h *fakeHub) {
			h.turn = turns
			h.before = func(call string) error {
				if call != "create" || failed {
					return nil
				}
				failed = true
				return unavailable("reset")
			}
		})
		const devices = 60
		for i := range devices {
			_, err := w.Register(t.Context(), w.request(deviceName(i), w.leaf(t, deviceName(i))))
			must(t, err)
			pass(time.Millisecond)
		}
		for range devices / 2 { // one a second
			turns <- struct{}{}
			pass(time.Second)
		}
		if _, placed := w.hubs["a"].at(dps.DeviceID(deviceName(0))); !placed {
			t.Errorf("the first device waits again, behind all others: %v", w.hubs["a"].ids())
		}
	})
}
