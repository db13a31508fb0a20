package configure_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/configure"
	"github.com/mooring-iot/mooring/internal/dps"
)

// equal compares hubs with their keys.
var equal = cmp.Comparer(func(a, b dps.Secret) bool { return a.Base64() == b.Base64() })

// checks is a checker that answers as it is told.
type checks struct {
	mu     sync.Mutex // guards asked
	asked  []string   // endpoints
	answer func(ctx context.Context, hub dps.LinkedHub) error
}

func (c *checks) Check(ctx context.Context, hub dps.LinkedHub) error {
	c.mu.Lock()
	c.asked = append(c.asked, hub.Access.Endpoint)
	c.mu.Unlock()
	if c.answer == nil {
		return nil
	}
	return c.answer(ctx, hub)
}

// plant returns the draft of a hub over the wire.
func plant(host dps.HostName) dps.HubDraft {
	return dps.HubDraft{HostName: host, Endpoint: string(host) + ":8443", KeyName: "iothubowner", Key: dps.NewKey(), Location: "westeurope"}
}

func hubs(drafts ...dps.HubDraft) dps.InstanceDraft { return dps.InstanceDraft{Hubs: drafts} }

func TestLinking(t *testing.T) {
	m, c := newMemory(), &checks{}
	m.hubs = []dps.LinkedHub{
		{Instance: dps.DefaultInstance, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "hub", Weight: 1, ApplyPolicy: true},
	}
	m.keys = dps.NewKeyPair()
	m.former = []dps.FormerHub{
		{ID: "hub-1", Kind: dps.KindIoTHub, HostName: "plant"},
		{ID: "hub-2", Kind: dps.KindIoTHub, HostName: "PLANT"},
		{ID: "hub-3", Kind: dps.KindEmbedded, HostName: "plant"},
	}
	calls := 0
	s := configure.New(configure.Options{Store: m, Checker: c, Linked: func(_ context.Context, in dps.InstanceID) {
		calls++
		if in != dps.DefaultInstance || m.writes == 0 {
			t.Errorf("called for %q after %d writes", in, m.writes)
		}
	}})
	draft := plant("plant")
	embedded := dps.HubDraft{HostName: "own", Endpoint: "own", Kind: dps.KindEmbedded, Location: "LOCAL"}
	r, err := s.Update(
		t.Context(),
		dps.DefaultInstance,
		hubs(dps.HubDraft{HostName: "HUB", KeyName: "IoTHubOwner", Key: m.keys.Secondary}, draft, embedded),
		dps.Condition{},
	)
	if err != nil {
		t.Fatal(err)
	}
	change := m.changes[0]
	want := dps.LinkedHub{
		Instance: dps.DefaultInstance, ID: "hub-2", Kind: dps.KindIoTHub, HostName: "plant", Location: "westeurope", Weight: 1, ApplyPolicy: true,
		Access: &dps.HubAccess{Endpoint: "plant:8443", KeyName: "iothubowner", Key: draft.Key},
	}
	if len(change.Link) != 2 || len(change.Update)+len(change.Unlink) != 0 || len(change.Policies) != len(dps.StandardHubPolicies(want)) {
		t.Fatalf("change = %+v", change)
	}
	if diff := cmp.Diff(want, change.Link[0], equal); diff != "" {
		t.Errorf("hub over the wire (-want +got):\n%s", diff)
	}
	own := change.Link[1]
	if own.Kind != dps.KindEmbedded || own.Location != "" || own.ID == "" || own.ID == "hub-3" || change.Policies[0].Hub != own.ID ||
		change.Policies[0].Keys.Primary.IsZero() {
		t.Errorf("embedded hub = %+v, policy %+v", own, change.Policies[0])
	}
	if len(r.Hubs) != 3 || len(c.asked) != 1 || calls != 1 {
		t.Errorf("%d hubs, asked %v, %d calls", len(r.Hubs), c.asked, calls)
	}

	// Nothing changes: nobody is asked, nobody is told. Neither without hubs.
	m.hubs = append(m.hubs, change.Link...)
	for _, d := range []dps.InstanceDraft{
		hubs(
			dps.HubDraft{HostName: "hub"},
			dps.HubDraft{HostName: "plant", KeyName: "iothubowner", Key: draft.Key},
			dps.HubDraft{HostName: "own"},
		),
		{},
	} {
		if r, err = s.Update(t.Context(), dps.DefaultInstance, d, dps.Condition{}); err != nil || len(r.Hubs) != 3 {
			t.Fatalf("%d hubs, %v", len(r.Hubs), err)
		}
		if last := m.changes[len(m.changes)-1]; !last.Empty() || len(c.asked) != 1 || calls != 1 {
			t.Errorf("change %+v, asked %v, %d calls", last, c.asked, calls)
		}
	}

	// What a draft does not say stays, and the stored key with it.
	weight, no := 9, false
	draftOf := hubs(dps.HubDraft{HostName: "plant", Weight: &weight, ApplyPolicy: &no, Location: "local"})
	if _, err := s.Update(t.Context(), dps.DefaultInstance, draftOf, dps.Condition{}); err != nil {
		t.Fatal(err)
	}
	want.Weight, want.ApplyPolicy, want.Location = 9, false, ""
	last := m.changes[len(m.changes)-1]
	if diff := cmp.Diff([]dps.LinkedHub{want}, last.Update, equal); diff != "" || len(last.Unlink) != 2 || calls != 2 {
		t.Errorf("change = %+v, %d calls\n%s", last, calls, diff)
	}
}

func TestCheckedBeforeTheWrite(t *testing.T) {
	m, c := newMemory(), &checks{}
	s := configure.New(configure.Options{Store: m, Checker: c, Linked: func(context.Context, dps.InstanceID) { t.Error("told of nothing") }})
	c.answer = func(_ context.Context, hub dps.LinkedHub) error {
		if hub.HostName == "good" {
			return nil
		}
		return fmt.Errorf("calling: %w", dps.Errorf(dps.HubRefused, "no such policy"))
	}
	_, err := s.Update(t.Context(), dps.DefaultInstance, hubs(plant("good"), plant("bad"), plant("worse")), dps.Condition{})
	wantCode(t, "a hub that refuses", err, dps.Invalid)
	if got, want := dps.MessageOf(err), "properties.iotHubs[1].connectionString: no such policy"; got != want {
		t.Errorf("message = %q, want %q", got, want)
	}
	if m.writes != 0 || len(c.asked) != 3 {
		t.Errorf("%d writes, asked %v", m.writes, c.asked)
	}
	c.answer = func(context.Context, dps.LinkedHub) error { return errors.New("not for callers") }
	_, err = s.Update(t.Context(), dps.DefaultInstance, hubs(plant("good")), dps.Condition{})
	if dps.MessageOf(err) != "properties.iotHubs[0].connectionString: checking hub good failed; see the log" {
		t.Errorf("error = %v", err)
	}

	draft := hubs(plant("good"))
	draft.SkipCheck = true
	s = configure.New(configure.Options{Store: m, Checker: c})
	if _, err := s.Update(t.Context(), dps.DefaultInstance, draft, dps.Condition{}); err != nil || m.writes != 1 {
		t.Errorf("without a check: %v, %d writes", err, m.writes)
	}
}

// A hub that never answers is given up, and the others beside it are not waited for
// one after another.
func TestChecksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, c := newMemory(), &checks{}
		c.answer = func(ctx context.Context, _ dps.LinkedHub) error {
			<-ctx.Done()
			return dps.Errorf(dps.HubUnavailable, "no answer")
		}
		start := time.Now()
		_, err := configure.New(configure.Options{Store: m, Checker: c}).
			Update(t.Context(), dps.DefaultInstance, hubs(plant("a"), plant("b"), plant("c")), dps.Condition{})
		wantCode(t, "hubs that do not answer", err, dps.Invalid)
		if took := time.Since(start); took != 20*time.Second || m.writes != 0 {
			t.Errorf("took %v, %d writes", took, m.writes)
		}
	})
}

// A change that another one overtook is made anew from what is linked then.
func TestLinkingMeetsAnother(t *testing.T) {
	m := newMemory()
	other := dps.LinkedHub{
		Instance: dps.DefaultInstance,
		ID:       "hub-9",
		Kind:     dps.KindIoTHub,
		HostName: "plant",
		Weight:   4,
		Access:   &dps.HubAccess{Endpoint: "plant", KeyName: "k", Key: dps.NewKey()},
	}
	m.before = func(m *memory) {
		m.before = nil
		m.instance.ETag = dps.NewETag()
		m.hubs = []dps.LinkedHub{other}
	}
	_, err := configure.New(configure.Options{Store: m}).Update(t.Context(), dps.DefaultInstance, hubs(plant("plant")), dps.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	if c := m.changes[0]; len(c.Link) != 0 || len(c.Update) != 1 || c.Update[0].ID != "hub-9" || c.Update[0].Weight != 4 {
		t.Errorf("change = %+v", c)
	}
}

// The stored key is not sent to another endpoint: only who has it may say where to.
func TestStoredKeyStaysWithItsEndpoint(t *testing.T) {
	m, c := newMemory(), &checks{}
	key := dps.NewKey()
	m.hubs = []dps.LinkedHub{{
		Instance: dps.DefaultInstance, ID: "hub-1", Kind: dps.KindIoTHub, HostName: "plant", Weight: 1,
		Access: &dps.HubAccess{Endpoint: "plant:8443", KeyName: "k", Key: key},
	}}
	s := configure.New(configure.Options{Store: m, Checker: c})
	for _, endpoint := range []string{"elsewhere", "elsewhere:8443", "plant", "plant:443"} {
		for _, skip := range []bool{false, true} {
			draft := hubs(dps.HubDraft{HostName: "plant", Endpoint: endpoint, KeyName: "k"})
			draft.SkipCheck = skip
			_, err := s.Update(t.Context(), dps.DefaultInstance, draft, dps.Condition{})
			wantCode(t, "the stored key for "+endpoint, err, dps.Invalid)
			want := "properties.iotHubs[0].connectionString: changes the endpoint to " + endpoint +
				" without a key; the stored key is for plant:8443 only"
			if got := dps.MessageOf(err); got != want {
				t.Errorf("message = %q, want %q", got, want)
			}
		}
	}
	if m.writes != 0 || len(c.asked) != 0 {
		t.Errorf("%d writes, asked %v", m.writes, c.asked)
	}
	for _, d := range []dps.HubDraft{
		{HostName: "PLANT", Endpoint: "PLANT:8443", KeyName: "K"}, {HostName: "plant", Endpoint: "elsewhere", KeyName: "k", Key: key},
	} {
		if _, err := s.Update(t.Context(), dps.DefaultInstance, hubs(d), dps.Condition{}); err != nil {
			t.Errorf("%s with key %v: %v", d.Endpoint, !d.Key.IsZero(), err)
		}
	}
}

func TestLinkingFails(t *testing.T) {
	m := newMemory()
	s := configure.New(configure.Options{Store: m})
	m.fails = errors.New("out of order")
	if _, err := s.Get(t.Context(), dps.DefaultInstance); !errors.Is(err, m.fails) {
		t.Errorf("Get: %v", err)
	}
	m.fails = nil
	for name, d := range map[string]dps.InstanceDraft{
		"no host name": hubs(plant("a b")), "nothing of a new one": hubs(dps.HubDraft{HostName: "a"}),
		"devices of no hub": {Hubs: []dps.HubDraft{}, DeleteDevices: []dps.HostName{"a"}},
	} {
		_, err := s.Update(t.Context(), dps.DefaultInstance, d, dps.Condition{})
		wantCode(t, name, err, dps.Invalid)
	}
}
