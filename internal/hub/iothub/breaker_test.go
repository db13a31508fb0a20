package iothub_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/test/fakehub"
)

// switched is a way to a hub that can be cut, and counts what goes there.
type switched struct {
	hub   *fakehub.Hub
	cut   atomic.Bool
	tries atomic.Int64
}

func (s *switched) RoundTrip(r *http.Request) (*http.Response, error) {
	s.tries.Add(1)
	if s.cut.Load() {
		return nil, &netError{}
	}
	return direct(s.hub)(r)
}

type netError struct{}

func (*netError) Error() string { return "dial tcp 192.0.2.1:443: connection refused" }
func (*netError) Unwrap() error { return syscall.ECONNREFUSED }

// running starts the pool's own work for the time of the test.
func running(t *testing.T, pool *iothub.Pool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- pool.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := &switched{hub: inMemory(fakehub.Options{})}
		var log bytes.Buffer
		seen := &watcher{}
		pool := poolOf(way, func(o *iothub.Options) {
			o.Observer, o.Log = seen, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
		})
		stop := running(t, pool)
		client := pool.Hub(someLink)
		ask := func() error { _, err := client.Holds(t.Context(), put("a").HubIdentity); return err }
		if err := ask(); err != nil {
			t.Fatal(err)
		}

		way.cut.Store(true)
		for i := range 5 {
			if got := client.Health(); got.State != dps.HubUp {
				t.Errorf("after %d failures: %+v", i, got)
			}
			if err := ask(); dps.CodeOf(err) != dps.HubUnavailable || dps.MessageOf(err) != "hub hub.example cannot be used: connection refused" {
				t.Errorf("failure %d: %v", i, err)
			}
		}
		downSince := time.Now()
		if got, want := client.Health(), (dps.HubHealth{State: dps.HubDown, Since: downSince, LastError: "connection refused"}); got != want {
			t.Errorf("health %+v", got)
		}
		tries := way.tries.Load()
		for name, call := range map[string]func() error{
			"Holds": ask,
			"Turn":  func() error { return client.Turn(t.Context()) },
			"Put":   func() error { _, err := client.Put(t.Context(), put("a")); return err },
		} {
			err := call()
			if after, again := dps.MayRepeat(err); dps.CodeOf(err) != dps.HubUnavailable || !again || after <= 0 || after > time.Second ||
				dps.MessageOf(err) != "hub hub.example is down: connection refused" {
				t.Errorf("%s: %v after %v", name, err, after)
			}
		}
		if way.tries.Load() != tries {
			t.Error("a hub that is down is called")
		}

		// It is tried after 1, 2, 4, 8, 16 and then every 30 seconds.
		for _, wait := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			<-time.After(wait*time.Second - time.Millisecond)
			synctest.Wait()
			if way.tries.Load() != tries {
				t.Errorf("tried before %ds are over", wait)
			}
			<-time.After(time.Millisecond)
			synctest.Wait()
			if tries++; way.tries.Load() != tries {
				t.Errorf("tried %d times, want %d, after %ds", way.tries.Load(), tries, wait)
			}
		}
		if got := client.Health(); got.State != dps.HubDown || !got.Since.Equal(downSince) {
			t.Errorf("health %+v", got)
		}

		way.cut.Store(false)
		<-time.After(30 * time.Second)
		synctest.Wait()
		if got := client.Health(); got.State != dps.HubUp || got.LastError != "" || !got.Since.Equal(time.Now()) {
			t.Errorf("health %+v", got)
		}
		if err := ask(); err != nil {
			t.Error(err)
		}
		stop()
		wantLog := []string{
			`level=INFO msg="linked hub is up" hub=hub.example id=hub`,
			`level=WARN msg="linked hub is down" hub=hub.example id=hub problem="connection refused"`,
			`level=INFO msg="linked hub is up" hub=hub.example id=hub`,
		}
		if diff := cmp.Diff(wantLog, strings.Split(strings.TrimSpace(log.String()), "\n")); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		var states []string
		for _, line := range seen.all() {
			if strings.Contains(line, " is ") {
				states = append(states, line)
			}
		}
		want := []string{"hub.example is unknown", "hub.example is up", "hub.example is down", "hub.example is up"}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
	})
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// A success between failures starts the count anew, and refusals are answers.
func TestBreakerCountsFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := inMemory(fakehub.Options{})
		client := remote(direct(hub))
		ask := func() error { _, err := client.Holds(t.Context(), put("a").HubIdentity); return err }
		for _, heal := range []fakehub.Kind{"", fakehub.WrongKey, fakehub.Deleted} {
			hub.SetFaults(fakehub.Fault{Kind: fakehub.Fail})
			for range 4 {
				if err := ask(); dps.CodeOf(err) != dps.HubUnavailable {
					t.Error(err)
				}
			}
			hub.SetFaults(fakehub.Fault{Kind: heal})
			_ = ask()
			if got := client.Health(); got.State != dps.HubUp || (got.LastError == "") != (heal == "") {
				t.Errorf("%q: %+v", heal, got)
			}
		}
		for range 20 {
			if err := ask(); dps.CodeOf(err) != dps.HubRefused {
				t.Error(err)
			}
		}
		if got := client.Health(); got.State != dps.HubUp || !strings.Contains(got.LastError, "IotHubNotFound") {
			t.Errorf("%+v", got)
		}
	})
}

// Answers that no hub gives count as failures like none at all.
func TestBreakerOpensByWhatIsNoAnswer(t *testing.T) {
	for _, kind := range []fakehub.Kind{fakehub.Garbage, fakehub.Huge, fakehub.Redirect, fakehub.Hang, fakehub.Fail} {
		synctest.Test(t, func(t *testing.T) {
			hub := inMemory(fakehub.Options{})
			client := remote(direct(hub))
			hub.SetFaults(fakehub.Fault{Kind: kind})
			for range 5 {
				if _, err := client.Put(t.Context(), put("a")); dps.CodeOf(err) != dps.HubUnavailable {
					t.Errorf("%s: %v", kind, err)
				}
			}
			if got := client.Health(); got.State != dps.HubDown || got.LastError == "" {
				t.Errorf("%s: %+v", kind, got)
			}
		})
	}
}

// Without anybody who runs the pool, a call is the trial once it is due: one, and the
// others are kept away meanwhile.
func TestCallAsTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := inMemory(fakehub.Options{})
		client := remote(direct(hub))
		ask := func(ctx context.Context) error { _, err := client.Holds(ctx, put("a").HubIdentity); return err }
		hub.SetFaults(fakehub.Fault{Kind: fakehub.Fail})
		for range 5 {
			_ = ask(t.Context())
		}
		<-time.After(time.Second)
		hub.SetFaults(fakehub.Fault{Kind: fakehub.Slow, DelayMS: 3000})

		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { first <- ask(ctx) }()
		synctest.Wait()
		if err := ask(t.Context()); dps.CodeOf(err) != dps.HubUnavailable {
			t.Errorf("a second call during the trial: %v", err)
		}
		cancel() // a trial whose caller goes is given back
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := ask(t.Context()); err != nil {
			t.Errorf("the next trial: %v", err)
		}
		if got := client.Health(); got.State != dps.HubUp {
			t.Errorf("%+v", got)
		}
	})
}

// A hub that is down and asked for a pause is left alone for that long by the prober.
func TestProberKeepsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := inMemory(fakehub.Options{})
		pool := poolOf(direct(hub), nil)
		stop := running(t, pool)
		client := pool.Hub(someLink)
		hub.SetFaults(fakehub.Fault{Kind: fakehub.Fail, Times: 4}, fakehub.Fault{Kind: fakehub.Fail, RetryAfter: "60"})
		for range 5 {
			_, _ = client.Holds(t.Context(), put("a").HubIdentity)
		}
		if client.Health().State != dps.HubDown {
			t.Fatalf("%+v", client.Health())
		}
		hub.SetFaults()
		<-time.After(59 * time.Second)
		synctest.Wait()
		if len(hub.Calls()) != 5 {
			t.Errorf("%s", names(hub))
		}
		<-time.After(time.Second)
		synctest.Wait()
		if client.Health().State != dps.HubUp {
			t.Errorf("%+v", client.Health())
		}
		stop()
	})
}
