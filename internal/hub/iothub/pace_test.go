package iothub_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/test/fakehub"
)

// departures returns when writes arrived, and fails where a minute has more than rate.
func departures(t *testing.T, hub *fakehub.Hub, rate int) []time.Time {
	t.Helper()
	var at []time.Time
	for _, c := range hub.Calls() {
		if c.Write() {
			at = append(at, c.At)
		}
	}
	for i := range at {
		if i+rate < len(at) && at[i+rate].Sub(at[i]) < time.Minute {
			t.Errorf("%d writes within %v from write %d on", rate+1, at[i+rate].Sub(at[i]), i)
		}
	}
	return at
}

func paced(hub *fakehub.Hub, rate int) *iothub.Pool {
	return poolOf(direct(hub), func(o *iothub.Options) { o.PerMinute = rate })
}

// Whoever comes at once, and however late a turn is used, no minute sees more writes
// than the rate, and none of them is wasted.
func TestPace(t *testing.T) {
	for _, rate := range []int{7, 100, 999} {
		synctest.Test(t, func(t *testing.T) {
			hub := inMemory(fakehub.Options{})
			client := paced(hub, rate).Hub(someLink)
			if got := client.Health().PerMinute; got != rate {
				t.Errorf("health says %d", got)
			}
			begun := time.Now()
			var wait sync.WaitGroup
			for i := range 3 * rate {
				wait.Go(func() {
					if err := client.Turn(t.Context()); err != nil {
						t.Error(err)
					}
					if i%5 == 0 { // the caller has things to do first
						<-time.After(time.Duration(i%11) * 100 * time.Millisecond)
					}
					p := put("a")
					p.DeviceID = dps.DeviceID(fmt.Sprint("dev-", i))
					if _, err := client.Put(t.Context(), p); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			at := departures(t, hub, rate)
			if took := time.Since(begun); len(at) != 3*rate || took > 3*time.Minute+5*time.Second {
				t.Errorf("rate %d: %d writes in %v", rate, len(at), took)
			}
		})
	}
}

// What a Put writes after its first call takes turns too, and does not queue behind
// those who have not begun.
func TestPaceWithinAPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := inMemory(fakehub.Options{})
		hub.SetFaults(fakehub.Fault{Kind: fakehub.NoBulk})
		client := paced(hub, 60).Hub(someLink)
		var wait sync.WaitGroup
		begun := time.Now()
		var first atomic.Int64 // when the first was done
		for i := range 20 {
			wait.Go(func() {
				p := put("a")
				p.DeviceID = dps.DeviceID(fmt.Sprint("dev-", i))
				p.Twin = dps.Twin{Tags: fullTwin.Tags}
				if err := client.Turn(t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := client.Put(t.Context(), p); err != nil {
					t.Error(err)
				}
				first.CompareAndSwap(0, int64(time.Since(begun)))
			})
			synctest.Wait()
		}
		wait.Wait()
		if len(departures(t, hub, 60)) != 41 || time.Duration(first.Load()) > 6*time.Second { // two for each, and the bulk call that was tried
			t.Errorf("%d writes; the first was done after %v", len(departures(t, hub, 60)), time.Duration(first.Load()))
		}
	})
}

// Reads are not paced, and are sent while writes wait.
func TestReadsAreNotPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := inMemory(fakehub.Options{})
		client := paced(hub, 1).Hub(someLink)
		for range 2 {
			if _, err := client.Put(t.Context(), put("a")); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		for range 50 {
			if _, err := client.Twin(t.Context(), "dev-1"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("reads took %v", took)
		}
	})
}

func TestNoPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := paced(inMemory(fakehub.Options{}), 0).Hub(someLink)
		begun := time.Now()
		for range 500 {
			if err := client.Turn(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := client.Remove(t.Context(), "ghost"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// A hub that answers 429 is left alone by everyone until the time is over: calls hear
// how long that is, turns wait.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := inMemory(fakehub.Options{})
		client := paced(hub, 0).Hub(someLink)
		hub.SetFaults(fakehub.Fault{Kind: fakehub.Throttle, Times: 1, RetryAfter: "20"})
		begun := time.Now()
		_, err := client.Put(t.Context(), put("a"))
		if after, again := dps.MayRepeat(err); dps.CodeOf(err) != dps.Throttled || after != 20*time.Second || !again {
			t.Errorf("%v", err)
		}
		<-time.After(5 * time.Second)
		for name, call := range map[string]func() error{
			"Put":    func() error { _, err := client.Put(t.Context(), put("a")); return err },
			"Holds":  func() error { _, err := client.Holds(t.Context(), put("a").HubIdentity); return err },
			"Twin":   func() error { _, err := client.Twin(t.Context(), "dev-1"); return err },
			"Remove": func() error { return client.Remove(t.Context(), "dev-1") },
		} {
			err := call()
			if after, _ := dps.MayRepeat(err); dps.CodeOf(err) != dps.Throttled || after != 15*time.Second {
				t.Errorf("%s: %v after %v", name, err, after)
			}
		}
		if got := client.Health(); got.State != dps.HubUp || !got.Paused.Equal(begun.Add(20*time.Second)) {
			t.Errorf("health %+v", got)
		}
		if err := client.Turn(t.Context()); err != nil || time.Since(begun) != 20*time.Second {
			t.Errorf("turn after %v: %v", time.Since(begun), err)
		}
		if _, err := client.Put(t.Context(), put("a")); err != nil {
			t.Error(err)
		}
		if got := client.Health(); !got.Paused.IsZero() || len(hub.Calls()) != 2 {
			t.Errorf("health %+v after %d calls", got, len(hub.Calls()))
		}
	})
}

// Of two pauses that a hub asks for at the same time the one that ends later counts, in
// whichever order they arrive.
func TestLongerPauseStays(t *testing.T) {
	for _, asked := range [][]string{{"60", "5"}, {"5", "60"}} {
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int64
			client := remote(trip(func(r *http.Request) (*http.Response, error) {
				n := calls.Add(1)
				<-time.After(time.Duration(n) * time.Second) // both are under way before the first answer
				return says(http.StatusTooManyRequests, map[string]string{"Retry-After": asked[n-1]}, "")(r)
			}))
			begun := time.Now()
			var wait sync.WaitGroup
			for range asked {
				wait.Go(func() {
					if _, err := client.Holds(t.Context(), put("a").HubIdentity); dps.CodeOf(err) != dps.Throttled {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			end := begun.Add(61 * time.Second)
			if asked[0] == "5" {
				end = begun.Add(62 * time.Second)
			}
			if got := client.Health().Paused; !got.Equal(end) {
				t.Errorf("%v: the pause ends after %v, want %v", asked, got.Sub(begun), end.Sub(begun))
			}
			if err := client.Turn(t.Context()); err != nil || !time.Now().Equal(end) {
				t.Errorf("%v: turn after %v: %v", asked, time.Since(begun), err)
			}
		})
	}
}

// A turn that nobody waits for any more is not lost for others.
func TestTurnGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := paced(inMemory(fakehub.Options{}), 6).Hub(someLink)
		begun := time.Now()
		take := func(ctx context.Context) error { return client.Turn(ctx) }
		if err := take(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				if err := take(ctx); dps.CodeOf(err) != dps.Throttled {
					t.Errorf("its time is over: %v", err)
				}
			})
		}
		wait.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := take(ctx); err == nil || dps.CodeOf(err) != dps.Internal {
			t.Errorf("it was stopped: %v", err)
		}
		if err := take(t.Context()); err != nil || time.Since(begun) > 10*time.Second+time.Millisecond {
			t.Errorf("the next turn came after %v: %v", time.Since(begun), err)
		}
	})
}

// Links to one hub share its rate, an old client and a new one too; other hubs have
// their own.
func TestPaceIsTheHubs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := inMemory(fakehub.Options{})
		pool := poolOf(direct(hub), func(o *iothub.Options) { o.PerMinute, o.ByHost = 60, map[string]int{"fast.example": 6000} })
		second, other, renewed := someLink, someLink, someLink
		second.Instance, second.HostName = "another", "HUB.example"
		other.ID, other.HostName = "other", "fast.example"
		renewed.Access = &dps.HubAccess{Endpoint: hubName, KeyName: dps.HubOwnerPolicy, Key: dps.NewSecret([]byte("another key"))}
		timed := func(links ...dps.LinkedHub) time.Duration {
			begun := time.Now()
			for _, link := range links {
				if err := pool.Hub(link).Turn(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(begun).Round(10 * time.Millisecond)
		}
		if took := timed(someLink, second, renewed, someLink); took != 3*time.Second {
			t.Errorf("four turns at one hub took %v", took)
		}
		if took := timed(other, other, other); took != 20*time.Millisecond {
			t.Errorf("three turns at the other took %v", took)
		}
		if got := pool.Hub(other).Health().PerMinute; got != 6000 {
			t.Errorf("rate %d", got)
		}
	})
}

// At one hub there are so many calls at once and no more.
func TestCallsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := inMemory(fakehub.Options{})
		hub.SetFaults(fakehub.Fault{Kind: fakehub.Slow, DelayMS: 1000})
		client := paced(hub, 0).Hub(someLink)
		var wait sync.WaitGroup
		for range 3 * iothub.MaxCalls {
			wait.Go(func() {
				if _, err := client.Holds(t.Context(), dps.HubIdentity{DeviceID: "x"}); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		var at []time.Time
		for _, c := range hub.Calls() {
			at = append(at, c.At)
		}
		slices.SortFunc(at, time.Time.Compare)
		for i := range 2 * iothub.MaxCalls {
			if at[i+iothub.MaxCalls].Sub(at[i]) < time.Second {
				t.Fatalf("call %d came %v after call %d", i+iothub.MaxCalls, at[i+iothub.MaxCalls].Sub(at[i]), i)
			}
		}
	})
}
