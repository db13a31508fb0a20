package fault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mooring-iot/mooring/test/fakehub"
)

// pacedVar is how many devices TestPacing registers at one hub.
const pacedVar = "MOORING_TEST_PACED_DEVICES"

const (
	fewPaced  = 300  // where pacedVar says nothing
	pacedRate = 2000 // writes per minute, for 2,000 devices; fewer devices get a lower rate
	atOnce    = 64   // devices that call at the same time

	// What the way to the hub may add: a write that is held up for so long arrives
	// together with those that left on time behind it.
	jitter = 500 * time.Millisecond
)

// TestPacing registers many devices at once at a hub of a low rate, while the service
// is restarted and killed. The hub never sees more writes than the rate allows, nobody
// is lost, and devices hear honestly when their turn comes.
func TestPacing(t *testing.T) {
	n := envNumber(t, pacedVar, fewPaced)
	rate := min(pacedRate, 4*n) // a quarter of a minute at least
	hubs, caFile := startHubs(t, "paced.example")
	s := startService(t, t.TempDir(), "--hub-ca", caFile, "--hub-rate", fmt.Sprint(rate))
	s.link(t, hubs[0])
	e := &entry{id: "paced", static: true, migrate: true, primary: newKey(), secondary: newKey(), hubs: []string{hubs[0].HostName}}
	if err := e.put(t.Context(), s, ""); err != nil {
		t.Fatal(err)
	}
	client := s.sharedClient(t, atOnce)
	devices := make([]*pacedDevice, n)
	for i := range devices {
		id := fmt.Sprintf("device-%05d", i)
		devices[i] = &pacedDevice{hubDevice: hubDevice{id: id, deviceID: id, entry: e, key: deriveKey(e.primary, id), client: client}}
	}

	began := time.Now()
	group, ctx := errgroup.WithContext(t.Context())
	t.Cleanup(func() { _ = group.Wait() })
	slots := make(chan struct{}, atOnce)
	for _, d := range devices {
		group.Go(func() error { return d.live(ctx, s, slots) })
	}
	whole := time.Duration(n) * time.Minute / time.Duration(rate)
	var ends []time.Time
	for i, end := range []func(){func() { s.stop(t) }, s.kill} {
		if err := pause(ctx, time.Until(began.Add(whole*time.Duration(i+1)/3))); err != nil {
			break
		}
		end()
		ends = append(ends, time.Now())
		s.start(t)
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)

	s.awaitCleanups(t)
	s.stop(t)
	image, _ := checkHubImage(t, s.data, hubs)
	same(t, "records", len(image.records), n)
	same(t, "identities", len(hubs[0].devices(t)), n)
	calls := hubs[0].calls(t)
	checkRate(t, calls, rate)
	checkHonesty(t, devices, calls, ends)
	t.Logf("%d devices in %v at %d writes per minute (%v of turns)", n, took.Round(time.Second), rate, whole)
}

// pacedDevice is a device that does what it is told.
type pacedDevice struct {
	hubDevice
	promises []promise
	found    time.Time // when it knew that it is assigned
}

// promise is a time to come again: the registration should be done by then.
type promise struct {
	made time.Time
	wait time.Duration
	kept bool // the registration was done
}

// live registers, and comes again exactly when it is told to.
func (d *pacedDevice) live(ctx context.Context, s *service, slots chan struct{}) error {
	call := func(do func() (operation, time.Duration, error)) (operation, time.Duration, error) {
		slots <- struct{}{}
		defer func() { <-slots }()
		return do()
	}
	op, after, err := call(func() (operation, time.Duration, error) { return d.ask(ctx, s) })
	for id := op.OperationID; err == nil && after > 0; {
		made := time.Now()
		if err := pause(ctx, after); err != nil {
			return err
		}
		p := promise{made: made, wait: after}
		op, after, err = call(func() (operation, time.Duration, error) { return d.look(ctx, s, id) })
		p.kept = err == nil && after == 0
		d.promises = append(d.promises, p)
	}
	if err == nil && op.Status != "assigned" {
		err = fmt.Errorf("%s: the registration ended as %+v", d.id, op)
	}
	d.found = time.Now()
	return err
}

// checkRate looks at every window between two writes.
func checkRate(t *testing.T, calls []fakehub.Call, rate int) {
	t.Helper()
	var at []time.Time
	for _, c := range calls {
		if c.Write() {
			at = append(at, c.At)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	for i := range at {
		for j := i; j < len(at); j++ {
			window := at[j].Sub(at[i])
			if most := 1 + int((window+jitter)*time.Duration(rate)/time.Minute); j-i+1 > most {
				t.Fatalf("%d writes within %v, want %d at most at %d per minute", j-i+1, window, most, rate)
			}
		}
	}
	t.Logf("%d writes in %v, no window above the rate", len(at), at[len(at)-1].Sub(at[0]).Round(time.Millisecond))
}

// checkHonesty compares what devices were told with when the hub had them. A promise
// that a restart broke is left out of the second count: the service was not there.
func checkHonesty(t *testing.T, devices []*pacedDevice, calls []fakehub.Call, ends []time.Time) {
	t.Helper()
	done := make(map[string]time.Time) // the last write about each device
	for _, c := range calls {
		if id := deviceOf(c); c.Write() && id != "" {
			done[id] = c.At
		}
	}
	var kept, broken, excused int
	for _, d := range devices {
		at, ok := done[d.deviceID]
		if !ok {
			t.Errorf("%s was never written", d.id)
			continue
		}
		for _, p := range d.promises {
			real := max(0, at.Sub(p.made))
			over := slices.ContainsFunc(ends, func(end time.Time) bool { return end.After(p.made) && end.Before(p.made.Add(p.wait)) })
			// The line that a start makes is in the order in which devices asked; what
			// was under way, and what had failed once, come first in it.
			if most := real + real/2 + 3*time.Second; p.wait > most && !over {
				t.Errorf("%s was told to come in %v, and it was done after %v", d.id, p.wait, real)
			}
			switch {
			case p.kept:
				kept++
			case over:
				excused++
			default:
				broken++
			}
		}
	}
	t.Logf(
		"%d times a device found its registration done when it was told to come, %d times not (and %d over an end of the service)",
		kept,
		broken,
		excused,
	)
	if broken > kept/4 {
		t.Errorf("%d promises were broken, and %d kept", broken, kept)
	}
}

// deviceOf is the device that a bulk call is about; each has one.
func deviceOf(c fakehub.Call) string {
	var devices []struct{ ID string }
	if json.Unmarshal([]byte(c.Body), &devices) != nil || len(devices) != 1 {
		return ""
	}
	return devices[0].ID
}
