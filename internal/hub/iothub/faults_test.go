package iothub_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/test/fakehub"
)

// outcomes are what each fault makes of a call; Internal is for those that it does not
// make fail.
var outcomes = map[fakehub.Kind]dps.Code{
	fakehub.Refuse: dps.HubUnavailable, fakehub.ResetBefore: dps.HubUnavailable, fakehub.ResetAfter: dps.HubUnavailable,
	fakehub.Throttle: dps.Throttled, fakehub.Fail: dps.HubUnavailable, fakehub.FailAfter: dps.HubUnavailable,
	fakehub.WrongKey: dps.HubRefused, fakehub.Deleted: dps.HubRefused, fakehub.Slow: dps.Internal,
	fakehub.Hang: dps.HubUnavailable, fakehub.Trickle: dps.HubUnavailable, fakehub.Huge: dps.HubUnavailable,
	fakehub.Garbage: dps.HubUnavailable, fakehub.Redirect: dps.HubUnavailable,
	fakehub.WithoutTwin: dps.Internal, fakehub.NoBulk: dps.Internal,
}

// TestFaultsInTheMiddle makes every step of every kind of Put fail in every way, over
// real connections; then the hub is healed, and the Put is repeated as provisioning
// repeats it. It has to end with the identity and its twin.
func TestFaultsInTheMiddle(t *testing.T) {
	t.Parallel()
	p := put("a")
	p.Twin = dps.Twin{Tags: fullTwin.Tags, Desired: fullTwin.Desired}
	fresh, again := p, p
	fresh.Fresh, again.Ours = true, true
	steps := []struct {
		call   string
		before *register.Put
		always fakehub.Fault // how the hub is, besides
		put    register.Put
	}{
		{call: "bulk create", put: p},
		{call: "patch twin", always: fakehub.Fault{Kind: fakehub.WithoutTwin}, put: p},
		{call: "put device", always: fakehub.Fault{Kind: fakehub.NoBulk}, put: p},
		{call: "patch twin", always: fakehub.Fault{Kind: fakehub.NoBulk}, put: p},
		{call: "get device", before: new(put("a")), put: again},
		{call: "bulk updatetwin", before: new(put("a")), put: again},
		{call: "delete device", before: new(put("b")), put: fresh},
		{call: "bulk create", before: new(put("b")), put: fresh},
	}
	for _, kind := range fakehub.Kinds() {
		code, known := outcomes[kind]
		if !known {
			t.Errorf("no outcome of %s", kind)
		}
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			for _, step := range steps {
				name := fmt.Sprintf("%s of a hub that is %q", step.call, step.always.Kind)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					f := newFake(t, fakehub.Options{})
					endless := kind == fakehub.Hang || kind == fakehub.Trickle
					var ahead atomic.Int64 // of the client's clock
					client := f.pool(t, func(o *iothub.Options) {
						if endless {
							o.Timeout = 300 * time.Millisecond
						}
						o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
					}).Hub(f.link())
					if step.before != nil {
						if _, err := f.pool(t, nil).Hub(f.link()).Put(t.Context(), *step.before); err != nil {
							t.Fatal(err)
						}
					}
					f.SetFaults(fakehub.Fault{Kind: kind, Call: step.call, RetryAfter: "1", DelayMS: 20}, step.always)
					_, err := client.Put(t.Context(), step.put)
					want := code
					if got := dps.CodeOf(err); got != want || (err == nil) != (want == dps.Internal) {
						t.Errorf("%v, want %v", err, want)
					}
					f.SetFaults(step.always)
					ahead.Store(int64(time.Second)) // the pause that the hub asked for is over
					if endless {
						client = f.pool(t, nil).Hub(f.link()) // with time enough
					}
					repeat(t, client, step.put)
				})
			}
		})
	}
}

// repeat is what provisioning does after a failure.
func repeat(t *testing.T, client register.RemoteHub, p register.Put) {
	t.Helper()
	p.Ours = true
	if err := client.Turn(t.Context()); err != nil {
		t.Errorf("turn: %v", err)
	}
	if _, err := client.Put(t.Context(), p); err != nil {
		t.Errorf("repeated: %v", err)
		return
	}
	held, err := client.Holds(t.Context(), p.HubIdentity)
	twin, twinErr := client.Twin(t.Context(), p.DeviceID)
	if err != nil || twinErr != nil || !held || cmp.Diff(p.Twin, twin) != "" {
		t.Errorf("holds %v, %v; twin %v, %v", held, err, twin, twinErr)
	}
}

// The caller's own deadline says nothing about the hub, and its end is no failure.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	f := newFake(t, fakehub.Options{})
	client := f.pool(t, nil).Hub(f.link())
	f.SetFaults(fakehub.Fault{Kind: fakehub.Hang})
	for range 6 { // more than open the breaker
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := client.Holds(ctx, put("a").HubIdentity)
		cancel()
		if _, again := dps.MayRepeat(err); dps.CodeOf(err) != dps.HubUnavailable || !again {
			t.Errorf("its time is over: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := client.Twin(ctx, "dev-1"); dps.CodeOf(err) != dps.Internal || ctx.Err() == nil {
		t.Errorf("it was stopped: %v", err)
	}
	if got := client.Health(); got.State != dps.HubUnknown || got.LastError != "" {
		t.Errorf("health %+v", got)
	}
}
