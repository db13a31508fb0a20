package fault_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/test/fakehub"
)

// registrationsVar is how many registrations TestFaultsAtHubs makes at least.
const registrationsVar = "MOORING_TEST_HUB_REGISTRATIONS"

const (
	fewRegistrations = 400  // where registrationsVar says nothing
	perRound         = 1250 // registrations in one round of all faults, at most
	livesOfDevice    = 3    // registrations of one device, about
	manyAtOnce       = 256  // registrations under way

	leastHold, mostHold = 700 * time.Millisecond, 1500 * time.Millisecond // how long a hub fails in one way
	settleTimeout       = 4 * time.Minute                                 // for the end, once all hubs are healed
)

// hubFault is one way in which a hub fails.
type hubFault struct {
	name   string
	faults []fakehub.Fault
}

// hubFaults are all ways: each step is cut before and after its effect.
func hubFaults() []hubFault {
	all := []hubFault{
		{"refuses connections", []fakehub.Fault{{Kind: fakehub.Refuse}}},
		{"throttles some", []fakehub.Fault{{Kind: fakehub.Throttle, RetryAfter: "1", Chance: 0.3}}},
		{"throttles all", []fakehub.Fault{{Kind: fakehub.Throttle, RetryAfter: "2"}}},
		{"fails", []fakehub.Fault{{Kind: fakehub.Fail}}},
		{"fails, with a time to come again", []fakehub.Fault{{Kind: fakehub.Fail, RetryAfter: "1", Chance: 0.5}}},
		{"does it and fails", []fakehub.Fault{{Kind: fakehub.FailAfter, Chance: 0.7}}},
		{"has another key", []fakehub.Fault{{Kind: fakehub.WrongKey}}},
		{"is deleted", []fakehub.Fault{{Kind: fakehub.Deleted}}},
		{"is slow", []fakehub.Fault{{Kind: fakehub.Slow, DelayMS: 300, Chance: 0.5}}},
		{"hangs at times", []fakehub.Fault{{Kind: fakehub.Hang, Times: 2}, {Kind: fakehub.Trickle, DelayMS: 100, Times: 2}}},
		{"talks nonsense", []fakehub.Fault{{Kind: fakehub.Garbage, Chance: 0.3}, {Kind: fakehub.Redirect, Chance: 0.3}, {Kind: fakehub.Huge, Times: 2}}},
		{"makes no twins", []fakehub.Fault{
			{Kind: fakehub.WithoutTwin}, {Kind: fakehub.ResetBefore, Call: "patch twin", Chance: 0.3}, {Kind: fakehub.ResetAfter, Call: "bulk updatetwin", Chance: 0.3},
		}},
		{"has no bulk", []fakehub.Fault{
			{Kind: fakehub.NoBulk}, {Kind: fakehub.ResetBefore, Call: "patch twin", Chance: 0.3}, {Kind: fakehub.ResetAfter, Call: "put device", Chance: 0.3},
		}},
	}
	for _, call := range []string{"get device", "bulk create", "put device", "delete device", "get twin", "patch twin", "bulk updatetwin"} {
		all = append(all,
			hubFault{"cuts before " + call, []fakehub.Fault{{Kind: fakehub.ResetBefore, Call: call, Chance: 0.7}}},
			hubFault{"cuts after " + call, []fakehub.Fault{{Kind: fakehub.ResetAfter, Call: call, Chance: 0.7}}})
	}
	return all
}

// TestHubFaultsAreAll wants each kind of failure that the fake hub knows.
func TestHubFaultsAreAll(t *testing.T) {
	for _, kind := range fakehub.Kinds() {
		if !slices.ContainsFunc(hubFaults(), func(f hubFault) bool {
			return slices.ContainsFunc(f.faults, func(f fakehub.Fault) bool { return f.Kind == kind })
		}) {
			t.Errorf("no hub fails by %q", kind)
		}
	}
}

// TestFaultsAtHubs lets devices register at four hubs, of which one at a time fails in
// one way after the other, while operators move the devices from hub to hub and the
// service is killed at random moments. Whenever it is dead, each identity that stands
// at a hub beside that of the record has to be announced in the database. In the end
// each device is on exactly one hub, the one in its record, with its twin.
func TestFaultsAtHubs(t *testing.T) {
	random := newRandom(t)
	w := newHubWorld(t, random)
	group, ctx := errgroup.WithContext(t.Context())
	t.Cleanup(func() { _ = group.Wait() })
	group.SetLimit(manyAtOnce)

	rounds := max(1, w.registrations/perRound)
	batch := (w.registrations + rounds*len(hubFaults()) - 1) / (rounds * len(hubFaults()))
	for range rounds {
		for _, n := range random.Perm(len(hubFaults())) {
			w.fault(ctx, t, hubFaults()[n], batch, group)
			if t.Failed() || ctx.Err() != nil {
				break
			}
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	w.settle(t)
	t.Logf("%s; %d kills, %d orderly ends; %d identities too many were announced at those moments", &w.told, w.kills, w.stops, w.duplicates)
}

// hubWorld is the service with its hubs and devices.
type hubWorld struct {
	*service
	random        *rand.Rand // of the goroutine of the test
	hubs          []*fakeHub
	entries       []*entry
	ca            *pki.Issued
	registrations int
	devices       []*hubDevice
	idle          chan *hubDevice
	told          outcomes

	mu     sync.Mutex
	noBulk map[string]bool // hubs that ever had no bulk calls

	kills, stops, duplicates int
}

// outcomes counts how registrations ended.
type outcomes struct{ assigned, failed, moved, abandoned atomic.Int64 }

func (o *outcomes) String() string {
	return fmt.Sprintf("%d registrations assigned (%d to another hub than before), %d failed, %d given up by the device before their end",
		o.assigned.Load(), o.moved.Load(), o.failed.Load(), o.abandoned.Load())
}

func newHubWorld(t *testing.T, random *rand.Rand) *hubWorld {
	t.Helper()
	names := []string{"hub-a.example", "hub-b.example", "hub-c.example", "hub-d.example"}
	hubs, caFile := startHubs(t, names...)
	w := &hubWorld{
		service: startService(t, t.TempDir(), "--hub-ca", caFile, "--hub-rate", "0"), random: random, hubs: hubs,
		registrations: envNumber(t, registrationsVar, fewRegistrations), noBulk: make(map[string]bool),
	}
	for _, h := range hubs {
		w.link(t, h)
	}
	w.ca = prepare(t, w.service)
	w.entries = []*entry{
		{id: "spread", migrate: true, primary: newKey(), secondary: newKey(), hubs: names},
		{id: "fresh", primary: newKey(), secondary: newKey(), hubs: names},
		{id: "fixed", static: true, migrate: true, primary: newKey(), secondary: newKey(), hubs: names[:1]},
		{id: groupName, certs: true, migrate: true, hubs: names},
	}
	for _, e := range w.entries {
		ifMatch := ""
		if e.id == groupName { // it was made with its CA
			ifMatch = "*"
		}
		if err := e.put(t.Context(), w.service, ifMatch); err != nil {
			t.Fatal(err)
		}
	}
	w.makeDevices(t)
	return w
}

// envNumber reads a positive number from the environment.
func envNumber(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s: %q is no positive number", name, text)
	}
	return n
}

// makeDevices makes devices of every entry, and of individual enrollments whose
// devices are called otherwise at their hub.
func (w *hubWorld) makeDevices(t *testing.T) {
	t.Helper()
	n := max(len(w.entries)*2, w.registrations/livesOfDevice)
	w.idle = make(chan *hubDevice, n)
	individual := &entry{static: true, migrate: true, hubs: []string{w.hubs[1].HostName}}
	shared := w.sharedClient(t, manyAtOnce)
	for i := range n {
		d := &hubDevice{id: fmt.Sprintf("device-%05d", i), client: shared}
		d.deviceID = d.id
		switch share := i % 20; {
		case share < 9:
			d.entry = w.entries[0]
		case share < 12:
			d.entry = w.entries[1]
		case share < 15:
			d.entry = w.entries[2]
		case share < 18:
			d.entry = w.entries[3]
		default:
			d.entry, d.key, d.deviceID = individual, newKey(), "at-hub-"+d.id
			if err := w.enroll(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		switch {
		case d.entry.certs:
			if err := d.renew(w.service, w.ca); err != nil {
				t.Fatal(err)
			}
		case d.key == nil:
			d.key = deriveKey(d.entry.primary, d.id)
		}
		w.devices = append(w.devices, d)
	}
	for _, n := range w.random.Perm(n) {
		w.idle <- w.devices[n]
	}
}

// enroll writes the individual enrollment of a device.
func (w *hubWorld) enroll(ctx context.Context, d *hubDevice) error {
	body := d.entry.body()
	delete(body, "enrollmentGroupId")
	body["registrationId"], body["deviceId"] = d.id, d.deviceID
	body["attestation"] = object{"type": "symmetricKey", "symmetricKey": object{
		"primaryKey": base64.StdEncoding.EncodeToString(d.key), "secondaryKey": base64.StdEncoding.EncodeToString(newKey()),
	}}
	return w.serviceCall(http.MethodPut, "/enrollments/"+d.id, body).once(ctx, http.StatusOK, nil)
}

// fault lets one hub fail for a time, while devices register.
func (w *hubWorld) fault(ctx context.Context, t *testing.T, f hubFault, batch int, group *errgroup.Group) {
	t.Helper()
	h := w.hubs[w.random.IntN(len(w.hubs))]
	if slices.ContainsFunc(f.faults, func(f fakehub.Fault) bool { return f.Kind == fakehub.NoBulk }) {
		w.mu.Lock()
		w.noBulk[h.HostName] = true
		w.mu.Unlock()
	}
	if err := h.fail(ctx, f.faults...); err != nil {
		t.Fatal(err)
	}
	hold := time.After(leastHold + time.Duration(w.random.Int64N(int64(mostHold-leastHold))))
	if w.random.IntN(2) == 0 {
		w.operate(ctx, t)
	}
	for range batch {
		select {
		case d := <-w.idle:
			seed := w.random.Uint64()
			group.Go(func() error {
				defer func() { w.idle <- d }()
				return w.live(ctx, d, rand.New(rand.NewPCG(seed, 0)))
			})
		case <-time.After(mostHold): // all are busy: they wait for this hub
		case <-ctx.Done():
		}
	}
	if w.random.IntN(2) == 0 {
		upTo(w.random, leastHold)
		w.end(t)
	}
	<-hold
	if err := h.fail(ctx); err != nil {
		t.Fatal(err)
	}
}

// operate is an operator at work: a group gets other hubs, so that devices have to
// move, and another secondary key.
func (w *hubWorld) operate(ctx context.Context, t *testing.T) {
	t.Helper()
	e := w.entries[w.random.IntN(len(w.entries))]
	var hubs []string
	most := 1
	if !e.static {
		most = 2 + w.random.IntN(len(w.hubs)-1)
	}
	for _, n := range w.random.Perm(len(w.hubs))[:most] {
		hubs = append(hubs, w.hubs[n].HostName)
	}
	e.mu.Lock()
	e.hubs = hubs
	if !e.certs {
		e.secondary = newKey()
	}
	e.mu.Unlock()
	if err := e.put(ctx, w.service, "*"); err != nil {
		t.Fatal(err)
	}
}

// end kills the service, or tells it to end, looks at what it left, and starts it again.
func (w *hubWorld) end(t *testing.T) {
	t.Helper()
	if w.random.IntN(4) == 0 {
		w.stop(t)
		w.stops++
	} else {
		w.kill()
		w.kills++
	}
	_, duplicates := checkHubImage(t, w.data, w.hubs)
	w.duplicates += duplicates
	w.start(t)
}

// live registers a device until it is assigned, and then writes a mark into its twin.
func (w *hubWorld) live(ctx context.Context, d *hubDevice, random *rand.Rand) error {
	if err := w.prologue(ctx, d, random); err != nil {
		return err
	}
	for {
		op, err := d.register(ctx, w.service)
		switch {
		case err != nil:
			return err
		case op.Status == "assigned":
			w.told.assigned.Add(1)
			return w.arrived(ctx, d, op)
		case op.Status != "failed":
			return fmt.Errorf("%s: the registration ended as %+v", d.id, op)
		}
		w.told.failed.Add(1)
		d.asked-- // nothing came of it
		if err := pause(ctx, afterFailed); err != nil {
			return err
		}
	}
}

// prologue renews the certificate of a device that has one; at times the device begins
// to register with the old one before, and gives that up.
func (w *hubWorld) prologue(ctx context.Context, d *hubDevice, random *rand.Rand) error {
	if random.IntN(3) == 0 {
		if _, _, err := d.ask(ctx, w.service); err != nil {
			return err
		}
		w.told.abandoned.Add(1)
		if err := pause(ctx, time.Duration(random.Int64N(int64(leastHold)))); err != nil {
			return err
		}
	}
	if d.times == 0 {
		return nil
	}
	return d.renew(w.service, w.ca)
}

// arrived checks what a device finds at the hub that it was told.
func (w *hubWorld) arrived(ctx context.Context, d *hubDevice, op operation) error {
	state := op.RegistrationState
	i := slices.IndexFunc(w.hubs, func(h *fakeHub) bool { return h.HostName == state.AssignedHub })
	if i < 0 || state.DeviceID != d.deviceID {
		return fmt.Errorf("%s: assigned to %+v", d.id, state)
	}
	h := w.hubs[i]
	twin, found, err := h.twin(ctx, d.deviceID)
	if err != nil {
		return err
	}
	w.mu.Lock()
	noBulk := w.noBulk[h.HostName] && (d.hub != h.HostName || d.movedUnseen(state.Substatus))
	w.mu.Unlock()
	if !found {
		return fmt.Errorf("%s: assigned to %s, which does not have the device", d.id, h.HostName)
	}
	if problem := d.twinProblem(twin, h.HostName, state.Substatus, noBulk); problem != "" {
		return fmt.Errorf(
			"%s (%s), mark %d at %q: the twin at %s %s: %+v; %+v",
			d.id,
			d.entry.id,
			d.mark,
			d.hub,
			h.HostName,
			problem,
			twin,
			state,
		)
	}
	if !d.knows(h.HostName, state.Substatus) {
		return fmt.Errorf("%s (%s), before at %q as %q: the substatus at %s is %q", d.id, d.entry.id, d.hub, d.came, h.HostName, state.Substatus)
	}
	if d.hub != "" && d.hub != h.HostName {
		w.told.moved.Add(1)
	}
	d.times, d.asked = d.times+1, 0
	d.mark++
	mark := map[string]any{"mark": d.mark}
	marked := fakehub.Twin{Tags: mark, Desired: mark, Reported: mark}
	if _, err := h.control(ctx, http.MethodPatch, "/twins/"+d.deviceID, marked, nil); err != nil {
		return err
	}
	d.hub, d.came = h.HostName, state.Substatus
	return nil
}

// settle waits until nothing is left to clean up, and compares all that there is.
func (w *hubWorld) settle(t *testing.T) {
	t.Helper()
	began := time.Now()
	w.awaitCleanups(t)
	t.Logf("clean-up ran dry %v after the last registration", time.Since(began).Round(time.Second))
	w.stop(t)
	i, duplicates := checkHubImage(t, w.data, w.hubs)
	same(t, "identities too many", duplicates, 0)
	same(t, "places to clean up", len(i.pending)+len(i.placing)+len(i.stray), 0)
	same(t, "open registrations", i.open, 0)
	for _, d := range w.devices {
		if d.times == 0 {
			continue // its turn never came
		}
		if r := i.records[d.deviceID]; r.hub != d.hub || r.status != "assigned" {
			t.Errorf("%s was told %s, and its record says %+v", d.id, d.hub, r)
		}
	}
	for _, h := range w.hubs {
		w.checkHub(t, h)
	}
	w.start(t)
	w.checkReady(t)
}

// checkHub compares all identities and twins of a hub with what the devices know.
func (w *hubWorld) checkHub(t *testing.T, h *fakeHub) {
	t.Helper()
	var twins map[string]fakehub.Twin
	if _, err := h.control(t.Context(), http.MethodGet, "/twins", nil, &twins); err != nil {
		t.Fatal(err)
	}
	standing := h.devices(t)
	n := 0
	for _, d := range w.devices {
		at, there := standing[d.deviceID]
		if d.hub != h.HostName {
			if there {
				t.Errorf("%s stands at %s, and is on %s", d.deviceID, h.HostName, d.hub)
			}
			continue
		}
		n++
		if problem := d.identityProblem(at); problem != "" {
			t.Errorf("%s at %s: the identity %s: %+v", d.deviceID, h.HostName, problem, at)
		}
		if problem := d.twinProblem(twins[d.deviceID], h.HostName, d.came, false); problem != "" {
			t.Errorf("%s at %s: the twin %s: %+v", d.deviceID, h.HostName, problem, twins[d.deviceID])
		}
	}
	same(t, "identities at "+h.HostName, len(standing), n)
}

// awaitCleanups polls the list of clean-ups until it is empty.
func (s *service) awaitCleanups(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTimeout)
	defer cancel()
	for {
		var page struct{ Value []json.RawMessage }
		err := s.serviceCall(http.MethodGet, "/mooring/v1/cleanups", nil).once(ctx, http.StatusOK, &page)
		if err == nil && len(page.Value) == 0 {
			return
		}
		if err := errors.Join(err, pause(ctx, 100*time.Millisecond)); err != nil {
			t.Fatalf("clean-ups: %v; the first of %d: %s", err, len(page.Value), page.Value[:min(1, len(page.Value))])
		}
	}
}
