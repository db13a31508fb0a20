package register_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// throttled fails unless err tells to wait for want, give or take a millisecond.
func throttled(t *testing.T, what string, err error, want time.Duration) {
	t.Helper()
	e, ok := errors.AsType[*dps.Error](err)
	if !ok || e.Code != dps.Throttled {
		t.Errorf("%s: error = %v, want Throttled", what, err)
		return
	}
	if off := e.RetryAfter - want; off < -time.Millisecond || off > time.Millisecond {
		t.Errorf("%s: told to wait %v, want %v", what, e.RetryAfter, want)
	}
}

// polling returns a device that is registered and what polls its operation.
func (w *world) polling(t *testing.T, id string) func() error {
	t.Helper()
	req := w.tokened(id, w.keyed(t, individual(id), nil).Primary)
	ticket, err := w.Register(t.Context(), req)
	must(t, err)
	return func() error {
		_, err := w.Poll(t.Context(), req, ticket.Operation)
		return err
	}
}

// Five polls at once, then one every two seconds; who waits as told is served, and
// asking too early does not make the wait longer.
func TestPollLimit(t *testing.T) {
	w := newWorld(t)
	poll, other := w.polling(t, "sensor"), w.polling(t, "pump")
	for range 5 {
		must(t, poll())
	}
	for range 10 {
		throttled(t, "sixth at once", poll(), 2*time.Second)
	}
	must(t, other())
	w.advance(500 * time.Millisecond)
	throttled(t, "half a second later", poll(), 1500*time.Millisecond)
	w.advance(1500 * time.Millisecond)
	must(t, poll())
	throttled(t, "next", poll(), 2*time.Second)
	for range 30 { // over many windows
		w.advance(2 * time.Second)
		must(t, poll())
		throttled(t, "between", poll(), 2*time.Second)
	}
	w.advance(10 * time.Second)
	for range 5 {
		must(t, poll())
	}
	throttled(t, "after a rest", poll(), 2*time.Second)
}

// A clock that is set back locks nobody out.
func TestPollLimitWhenTheClockGoesBack(t *testing.T) {
	w := newWorld(t)
	poll := w.polling(t, "sensor")
	for range 5 {
		must(t, poll())
	}
	w.advance(-time.Minute)
	must(t, poll())
}

// The spelling of an ID makes no new device.
func TestPollLimitIgnoresCase(t *testing.T) {
	w := newWorld(t)
	key := w.keyed(t, individual("sensor"), nil).Primary
	ticket, err := w.Register(t.Context(), w.tokened("sensor", key))
	must(t, err)
	for _, id := range []string{"sensor", "SENSOR", "Sensor", "sensoR", "SEnsor"} {
		_, err := w.Poll(t.Context(), w.tokened(id, key), ticket.Operation)
		must(t, err)
	}
	_, err = w.Poll(t.Context(), w.tokened("sENSOR", key), ticket.Operation)
	throttled(t, "another spelling", err, 2*time.Second)
}

// A poll for an operation that there is not leaves no trace, and devices that have
// gone are forgotten.
func TestPollLimitForgets(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		_, err := w.Poll(t.Context(), w.request(fmt.Sprintf("ghost-%d", i), nil), "4.0123456789abcdef.x")
		fails(t, "ghost", err, dps.OperationNotFound)
	}
	if n := w.Polled(); n != 0 {
		t.Errorf("%d devices are remembered that never registered", n)
	}
	for i := range 20 {
		must(t, w.polling(t, fmt.Sprintf("dev-%d", i))())
	}
	if n := w.Polled(); n != 20 {
		t.Errorf("%d devices are remembered, want 20", n)
	}
	poll := w.polling(t, "late")
	w.advance(25 * time.Second)
	must(t, poll())
	if n := w.Polled(); n != 1 {
		t.Errorf("%d devices are remembered after 25 s, want 1", n)
	}
}

func TestRegistrationRate(t *testing.T) {
	w := newWorld(t)
	key := w.keyed(t, individual("sensor"), nil).Primary
	req, wrong := w.tokened("sensor", key), w.tokened("sensor", dps.NewKey())
	for _, tt := range []struct {
		perMinute int
		wait      time.Duration
	}{{2, 30 * time.Second}, {60, time.Second}} {
		w.advance(time.Hour - time.Minute)
		req = w.tokened("sensor", key)
		s := register.New(register.Options{Store: w.store, Observer: w.outcomes, Log: w.logger(), Now: w.clock, Rate: tt.perMinute})
		for i := range tt.perMinute {
			var err error
			if i%2 == 0 {
				_, err = s.Register(t.Context(), req)
			} else {
				_, err = s.LookUp(t.Context(), req)
			}
			must(t, err)
		}
		for range 3 {
			_, err := s.Register(t.Context(), req)
			throttled(t, "one too many", err, tt.wait)
		}
		_, err := s.LookUp(t.Context(), req)
		throttled(t, "look-up", err, tt.wait)
		w.advance(tt.wait)
		_, err = s.Register(t.Context(), req)
		must(t, err)
	}
	s := register.New(register.Options{Store: w.store, Observer: w.outcomes, Log: w.logger(), Now: w.clock, Rate: 1})
	for range 5 { // who cannot prove itself takes nobody's turn
		_, err := s.Register(t.Context(), wrong)
		fails(t, "wrong key", err, dps.UnknownCredential)
	}
	_, err := s.Register(t.Context(), req)
	must(t, err)
}

func TestRegistrationRateIsUnlimitedByDefault(t *testing.T) {
	w := newWorld(t)
	req := w.tokened("sensor", w.keyed(t, individual("sensor"), nil).Primary)
	for range 100 {
		_, err := w.Register(t.Context(), req)
		must(t, err)
	}
}
