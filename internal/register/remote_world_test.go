package register_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// standing is an identity at a fakeHub.
type standing struct {
	dps.HubIdentity
	Twin dps.Twin
}

// fakeHub is a hub over the wire that behaves, and fails when it is told to.
type fakeHub struct {
	mu      sync.Mutex // guards what follows
	devices map[dps.DeviceID]standing
	writes  []time.Time
	health  dps.HubHealth
	before  func(call string) error // refuses a call before it has an effect
	after   func(call string) error // loses the answer of a call that had its effect
	slow    time.Duration           // what each call takes
	turn    chan struct{}           // when set, a write waits for one
	turns   int                     // taken
	asked   func()                  // called by Health
}

func newFakeHub() *fakeHub {
	return &fakeHub{devices: make(map[dps.DeviceID]standing), health: dps.HubHealth{State: dps.HubUp}}
}

func (h *fakeHub) Health() dps.HubHealth {
	if h.asked != nil {
		h.asked()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.health
}

func (h *fakeHub) set(change func(h *fakeHub)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *fakeHub) Turn(ctx context.Context) error {
	h.set(func(h *fakeHub) { h.turns++ })
	if h.turn != nil {
		select {
		case <-h.turn:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// call runs one call of the wire.
func (h *fakeHub) call(ctx context.Context, name string, effect func() error) error {
	h.mu.Lock()
	slow := h.slow
	h.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return &dps.Error{Code: dps.HubUnavailable, Again: true, Message: "timed out", Err: ctx.Err()}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.before != nil {
		if err := h.before(name); err != nil {
			return err
		}
	}
	if err := effect(); err != nil {
		return err
	}
	if h.after != nil {
		return h.after(name)
	}
	return nil
}

func (h *fakeHub) Holds(ctx context.Context, id dps.HubIdentity) (holds bool, err error) {
	err = h.call(ctx, "holds", func() error {
		s, ok := h.devices[id.DeviceID]
		holds = ok && s.Authentication.Equal(id.Authentication) && s.IotEdge == id.IotEdge
		return nil
	})
	return holds, err
}

func (h *fakeHub) Put(ctx context.Context, p register.Put) (o register.PutOutcome, err error) {
	if p.Fresh {
		if err := h.Remove(ctx, p.DeviceID); err != nil {
			return o, err
		}
	}
	made := false
	defer func() {
		code := dps.CodeOf(err)
		o.Untouched = !made && (code == dps.HubRefused || code == dps.Throttled || code == dps.DeviceExists)
	}()
	err = h.call(ctx, "create", func() error {
		h.writes = append(h.writes, time.Now())
		s, ok := h.devices[p.DeviceID]
		if ok && p.New && !(p.Ours && s.Authentication.Equal(p.Authentication)) {
			return dps.Errorf(dps.DeviceExists, "exists")
		}
		if !ok {
			made = true
			h.devices[p.DeviceID] = standing{p.HubIdentity, p.Twin}
			return nil
		}
		o.Existed = !p.Ours || !s.Authentication.Equal(p.Authentication)
		if o.Existed {
			h.devices[p.DeviceID] = standing{p.HubIdentity, s.Twin}
		}
		return nil
	})
	return o, err
}

func (h *fakeHub) Twin(ctx context.Context, id dps.DeviceID) (twin dps.Twin, err error) {
	err = h.call(ctx, "twin", func() error {
		s, ok := h.devices[id]
		if !ok {
			return dps.Errorf(dps.DeviceNotFound, "no device")
		}
		twin = s.Twin
		return nil
	})
	return twin, err
}

func (h *fakeHub) Remove(ctx context.Context, id dps.DeviceID) error {
	return h.call(ctx, "remove", func() error {
		h.writes = append(h.writes, time.Now())
		delete(h.devices, id)
		return nil
	})
}

// at returns what stands at the hub.
func (h *fakeHub) at(id dps.DeviceID) (standing, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.devices[id]
	return s, ok
}

// ids returns the devices that stand at the hub, sorted.
func (h *fakeHub) ids() []dps.DeviceID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.devices))
}

// fakeHubs are the hubs over the wire, by ID.
type fakeHubs map[dps.HubID]*fakeHub

func (f fakeHubs) Hub(h dps.LinkedHub) register.RemoteHub { return f[h.ID] }

// unavailable is a failure that may pass.
func unavailable(words string) error {
	return &dps.Error{Code: dps.HubUnavailable, Again: true, Message: words}
}

// remoteWorld is a world with hubs over the wire beside the embedded one, in a bubble
// of time.
type remoteWorld struct {
	*world
	hubs    fakeHubs
	linked  []dps.LinkedHub
	webhook *fakeWebhook
	stop    func() // ends the run

	takeover  dps.Takeover
	decisions register.Decisions // nil if nobody wants to know
}

// fakeWebhook answers by a function.
type fakeWebhook struct {
	mu     sync.Mutex // guards what follows
	asked  []register.WebhookQuestion
	answer func(q register.WebhookQuestion, call int) (register.WebhookAnswer, error)
}

func (f *fakeWebhook) Ask(_ context.Context, q register.WebhookQuestion) (register.WebhookAnswer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, q)
	return f.answer(q, len(f.asked))
}

// pass lets time pass in the bubble of a test.
func pass(d time.Duration) { <-time.After(d) }

// inBubble runs a test in a bubble of time.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// newRemoteWorld returns a world with the hubs "a", "b" (over the wire) and "near"
// (a second embedded one), beside "embedded".
func newRemoteWorld(t *testing.T) *remoteWorld {
	t.Helper()
	w := &remoteWorld{world: newWorld(t), hubs: fakeHubs{"a": newFakeHub(), "b": newFakeHub()}, webhook: &fakeWebhook{}}
	w.real = true
	link := func(id dps.HubID, kind dps.HubKind) {
		h := dps.LinkedHub{Instance: in, ID: id, Kind: kind, HostName: dps.HostName(id) + ".example.com", Weight: 1, ApplyPolicy: true}
		if kind == dps.KindIoTHub {
			h.Access = &dps.HubAccess{Endpoint: string(h.HostName), KeyName: "owner", Key: dps.NewKey()}
		}
		w.linked = append(w.linked, h)
	}
	link("a", dps.KindIoTHub)
	link("b", dps.KindIoTHub)
	link("near", dps.KindEmbedded)
	stored, err := w.store.Instance(t.Context(), in)
	must(t, err)
	change := dps.InstanceChange{Instance: stored, IfMatch: stored.ETag, Hubs: dps.HubsChange{Link: w.linked}}
	change.Instance.ETag = dps.NewETag()
	must(t, w.store.Configure(t.Context(), change))
	w.Service = w.remote(w.store)
	w.start(t)
	return w
}

// remote returns a service over a store with the hubs of the world.
func (w *remoteWorld) remote(s register.Store) *register.Service {
	return register.New(register.Options{
		Store: s, Hubs: w.hubs, Webhook: w.webhook, Observer: w.outcomes, Log: w.logger(), Now: w.clock,
		Takeover: w.takeover, Decisions: w.decisions,
	})
}

// start runs the service's line until the test ends, or stop.
func (w *remoteWorld) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	s := w.Service
	go func() { ended <- s.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { w.stop() })
}

// to sets the hubs that the group may use, and its policy.
func (w *remoteWorld) to(t *testing.T, policy *dps.ReprovisionPolicy, hubs ...dps.HubID) {
	t.Helper()
	w.group(t, func(e *dps.Enrollment) {
		e.Placement.Reprovision = policy
		e.InitialTwin = []byte(`{"tags":{"site":"hall"},"properties":{"desired":{"interval":1}}}`)
		e.Placement.Policy = dps.Hashed
		for _, id := range hubs {
			e.Placement.IotHubs = append(e.Placement.IotHubs, w.host(id))
		}
	})
}

func (w *remoteWorld) host(id dps.HubID) dps.HostName {
	if id == dps.EmbeddedHub {
		return hostName
	}
	return dps.HostName(id) + ".example.com"
}

// finished registers and polls, as it is told to, until the registration is done.
func (w *remoteWorld) finished(t *testing.T, req register.Request) register.Record {
	t.Helper()
	ticket, err := w.Register(t.Context(), req)
	must(t, err)
	return w.polled(t, req, ticket)
}

func (w *remoteWorld) polled(t *testing.T, req register.Request, ticket register.Ticket) register.Record {
	t.Helper()
	after := ticket.RetryAfter
	for range 2000 {
		pass(after)
		rec, err := w.Poll(t.Context(), req, ticket.Operation)
		must(t, err)
		if rec.Status != dps.Assigning {
			return rec
		}
		if after = rec.RetryAfter; after < time.Second {
			t.Fatalf("retry after %v", after)
		}
	}
	t.Fatal("never ends")
	return register.Record{}
}

// stands returns the hubs at which a device has an identity.
func (w *remoteWorld) stands(t *testing.T, id dps.DeviceID) []dps.HubID {
	t.Helper()
	var at []dps.HubID
	for _, hub := range []dps.HubID{dps.EmbeddedHub, "near"} {
		_, err := w.store.HubDevice(t.Context(), in, hub, id)
		if err == nil {
			at = append(at, hub)
		} else if dps.CodeOf(err) != dps.DeviceNotFound {
			t.Fatal(err)
		}
	}
	for _, hub := range []dps.HubID{"a", "b"} {
		if _, ok := w.hubs[hub].at(id); ok {
			at = append(at, hub)
		}
	}
	slices.Sort(at)
	return at
}

// twinOf returns the twin of the device "sensor" at a hub where it has to stand.
func (w *remoteWorld) twinOf(t *testing.T, hub dps.HubID) dps.Twin {
	t.Helper()
	const id = dps.DeviceID("sensor")
	if remote, ok := w.hubs[hub]; ok {
		s, ok := remote.at(id)
		if !ok {
			t.Fatalf("%s is not at %s", id, hub)
		}
		return s.Twin
	}
	d, err := w.store.HubDevice(t.Context(), in, hub, id)
	must(t, err)
	return d.Twin
}

// settled fails unless nothing is left to do and to clean up, waiting for it.
func (w *remoteWorld) settled(t *testing.T) {
	t.Helper()
	for range 400 {
		open, err := w.store.OpenWork(t.Context())
		must(t, err)
		placing, err := w.store.Remnants(t.Context(), in, dps.Placing, 10, nil)
		must(t, err)
		leaving, err := w.store.Remnants(t.Context(), in, dps.Leaving, 10, nil)
		must(t, err)
		if len(open)+len(placing)+len(leaving) == 0 {
			return
		}
		pass(5 * time.Second)
	}
	leaving, _ := w.store.Remnants(t.Context(), in, dps.Leaving, 10, nil)
	t.Fatalf("does not settle: %+v", leaving)
}

var errKilled = errors.New("killed")

func deviceName(i int) string { return fmt.Sprintf("dev-%03d", i) }
