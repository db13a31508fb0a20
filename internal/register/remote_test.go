package register_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

var (
	migrate = &dps.ReprovisionPolicy{UpdateHubAssignment: true, MigrateDeviceData: true}
	reset   = &dps.ReprovisionPolicy{UpdateHubAssignment: true}
	never   = &dps.ReprovisionPolicy{}
)

func TestRemotePlacement(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		leaf := w.leaf(t, "sensor")
		rec := w.finished(t, w.request("sensor", leaf))
		if rec.Status != dps.Assigned || rec.Hub != "a.example.com" || rec.Assignment.Substatus != dps.InitialAssignment ||
			rec.Assignment.DeviceID != "sensor" {
			t.Errorf("record = %+v, %+v", rec, rec.Assignment)
		}
		s, _ := w.hubs["a"].at("sensor")
		if !s.Authentication.Equal(dps.SelfSigned(dps.ThumbprintOf(leaf.Certificate.Raw))) || s.IotEdge {
			t.Errorf("identity = %+v", s)
		}
		if string(s.Twin.Tags) != `{"site":"hall"}` || string(s.Twin.Desired) != `{"interval":1}` {
			t.Errorf("twin = %s", s.Twin)
		}
		w.settled(t)
		if last, n := w.outcomes.last(); n != 1 || last.Status != dps.Assigned {
			t.Errorf("observer heard %+v, %d times", last, n)
		}
		again := w.finished(t, w.request("sensor", leaf))
		if len(w.hubs["a"].writes) != 1 {
			t.Errorf("a reboot wrote to the hub")
		}
		if again.Assignment.Substatus != dps.InitialAssignment || again.Operation == rec.Operation {
			t.Errorf("again = %+v", again)
		}
		renewed := w.leaf(t, "sensor")
		w.finished(t, w.request("sensor", renewed))
		if s, _ := w.hubs["a"].at("sensor"); !s.Authentication.Equal(dps.SelfSigned(dps.ThumbprintOf(renewed.Certificate.Raw))) {
			t.Errorf("the hub does not know the renewed certificate")
		}
		w.hubs["a"].set(func(h *fakeHub) { clear(h.devices) })
		w.finished(t, w.request("sensor", renewed))
		if s, ok := w.hubs["a"].at("sensor"); !ok || string(s.Twin.Tags) != `{"site":"hall"}` {
			t.Errorf("an identity that was removed at the hub is not made again: %+v", s)
		}
	})
}

func TestRemoteKeys(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		to := func(e *dps.Enrollment) {
			e.Placement.Policy, e.Placement.IotHubs = dps.Hashed, []dps.HostName{"a.example.com"}
		}
		pairs := w.keyed(t, group("line"), to)
		own := w.keyed(t, individual("pump"), func(e *dps.Enrollment) { to(e); e.DeviceID = "pump=3" })
		for _, tt := range []struct {
			id, spelled string
			key         dps.Secret
			want        dps.KeyPair
		}{
			{"one", "one", dps.DeriveKey(pairs.Secondary, "one"), dps.KeyPair{Primary: dps.DeriveKey(pairs.Primary, "one"), Secondary: dps.DeriveKey(pairs.Secondary, "one")}},
			{"Two", "Two", dps.DeriveKey(pairs.Primary, "Two"), dps.KeyPair{Primary: dps.DeriveKey(pairs.Primary, "Two"), Secondary: dps.DeriveKey(pairs.Secondary, "Two")}},
			{"Three", "three", dps.DeriveKey(pairs.Primary, "three"), dps.KeyPair{Primary: dps.DeriveKey(pairs.Primary, "three"), Secondary: dps.DeriveKey(pairs.Secondary, "three")}},
			{"pump", "pump", own.Primary, own},
		} {
			rec := w.finished(t, w.tokened(tt.id, tt.key))
			s, ok := w.hubs["a"].at(rec.Assignment.DeviceID)
			if !ok || !s.Authentication.Equal(dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: tt.want}) {
				t.Errorf("%s: identity = %+v, %v", tt.id, s, ok)
			}
		}
	})
}

// TestReprovisioning walks the table of reprovision policies over every pair of kinds
// of hubs.
// Source: azure-docs, articles/iot-dps/concepts-device-reprovision.md.
func TestReprovisioning(t *testing.T) {
	pairs := [][2]dps.HubID{{"a", "b"}, {"b", "a"}, {"a", "embedded"}, {"embedded", "a"}, {"embedded", "near"}, {"near", "embedded"}}
	policies := []struct {
		name    string
		policy  *dps.ReprovisionPolicy
		version string
		moves   bool
		want    dps.Substatus
		site    string // in the tags on the new hub
	}{
		{"migrate", migrate, apiVersion, true, dps.DeviceDataMigrated, "moved"},
		{"reset", reset, apiVersion, true, dps.DeviceDataReset, "hall"},
		{"never", never, apiVersion, false, dps.InitialAssignment, "moved"},
		{"none, new device", nil, apiVersion, true, dps.DeviceDataMigrated, "moved"},
		{"none, sticky device", nil, "2018-04-01", false, dps.InitialAssignment, "moved"},
		{"migrate, old device", migrate, "2018-04-01", true, dps.DeviceDataMigrated, "moved"},
	}
	for _, pair := range pairs {
		for _, tt := range policies {
			t.Run(fmt.Sprintf("%s to %s, %s", pair[0], pair[1], tt.name), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					w := newRemoteWorld(t)
					from, to := pair[0], pair[1]
					w.to(t, tt.policy, from)
					leaf := w.leaf(t, "sensor")
					w.finished(t, w.request("sensor", leaf))
					w.retwin(
						t,
						from,
						"sensor",
						dps.Twin{Tags: []byte(`{"site":"moved"}`), Desired: []byte(`{"interval":7}`), Reported: []byte(`{"firmware":"2"}`)},
					)

					w.to(t, tt.policy, to)
					renewed := w.leaf(t, "sensor")
					req := w.request("sensor", renewed)
					req.APIVersion = tt.version
					rec := w.finished(t, req)
					at := to
					if !tt.moves {
						at = from
					}
					if rec.Status != dps.Assigned || rec.Hub != w.host(at) || rec.Assignment.Substatus != tt.want {
						t.Errorf("record = %+v, assignment %+v, failure %+v", rec, rec.Assignment, rec.Failure)
					}
					w.settled(t)
					if got := w.stands(t, "sensor"); !slices.Equal(got, []dps.HubID{at}) {
						t.Errorf("stands at %v, want %s alone", got, at)
					}
					twin := w.twinOf(t, at)
					if want := fmt.Sprintf(`{"site":%q}`, tt.site); string(twin.Tags) != want {
						t.Errorf("tags = %s, want %s", twin.Tags, want)
					}
					if kept := tt.site == "moved"; kept != (string(twin.Reported) == `{"firmware":"2"}`) {
						t.Errorf("reported = %s", twin.Reported)
					}
					if !w.authOf(t, at, "sensor").Equal(dps.SelfSigned(dps.ThumbprintOf(renewed.Certificate.Raw))) {
						t.Error("the renewed certificate did not reach the hub")
					}
				})
			})
		}
	}
}

// retwin changes the twin of a device at its hub, as services and the device would.
func (w *remoteWorld) retwin(t *testing.T, hub dps.HubID, id dps.DeviceID, twin dps.Twin) {
	t.Helper()
	if remote, ok := w.hubs[hub]; ok {
		remote.set(func(h *fakeHub) {
			s := h.devices[id]
			s.Twin = twin
			h.devices[id] = s
		})
		return
	}
	d, err := w.store.HubDevice(t.Context(), in, hub, id)
	must(t, err)
	changed, _, err := d.WithTwin(dps.TwinChange{Tags: twin.Tags, Desired: twin.Desired, Reported: twin.Reported}, time.Now())
	must(t, err)
	must(t, w.store.ChangeHubDevice(t.Context(), d, changed))
}

func (w *remoteWorld) authOf(t *testing.T, hub dps.HubID, id dps.DeviceID) dps.HubAuthentication {
	t.Helper()
	if remote, ok := w.hubs[hub]; ok {
		s, _ := remote.at(id)
		return s.Authentication
	}
	d, err := w.store.HubDevice(t.Context(), in, hub, id)
	must(t, err)
	return d.Authentication
}

func TestRemoteIdentityThatWasThere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.hubs["a"].devices["sensor"] = standing{dps.HubIdentity{DeviceID: "sensor"}, dps.Twin{Tags: []byte(`{"site":"own"}`)}}
		leaf := w.leaf(t, "sensor")
		rec := w.finished(t, w.request("sensor", leaf))
		if rec.Assignment.Substatus != dps.ReprovisionedToInitialAssignment {
			t.Errorf("substatus = %q", rec.Assignment.Substatus)
		}
		if s, _ := w.hubs["a"].at("sensor"); string(s.Twin.Tags) != `{"site":"own"}` ||
			!s.Authentication.Equal(dps.SelfSigned(dps.ThumbprintOf(leaf.Certificate.Raw))) {
			t.Errorf("identity = %+v", s)
		}
	})
}

// What stood at a hub before Mooring sent anything there stays, however the
// registration ends.
func TestFailureLeavesWhatWasThere(t *testing.T) {
	for name, failure := range map[string]error{
		"refused":   &dps.Error{Code: dps.HubRefused, Message: "no"},
		"throttled": &dps.Error{Code: dps.Throttled, Again: true, RetryAfter: time.Minute, Message: "later"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newRemoteWorld(t)
				w.to(t, nil, "a")
				w.hubs["a"].devices["sensor"] = standing{dps.HubIdentity{DeviceID: "sensor"}, dps.Twin{Tags: []byte(`{"site":"own"}`)}}
				w.hubs["a"].before = func(string) error { return failure }
				req := w.request("sensor", w.leaf(t, "sensor"))
				if rec := w.finished(t, req); rec.Status != dps.Failed {
					t.Fatalf("record = %+v", rec)
				}
				w.hubs["a"].set(func(h *fakeHub) { h.before = nil })
				w.settled(t)
				if _, ok := w.hubs["a"].at("sensor"); !ok {
					t.Fatal("the identity is gone")
				}
				if rec := w.finished(t, req); rec.Assignment == nil || rec.Assignment.Substatus != dps.ReprovisionedToInitialAssignment {
					t.Errorf("record = %+v", rec)
				}
				if twin := w.twinOf(t, "a"); string(twin.Tags) != `{"site":"own"}` {
					t.Errorf("tags = %s", twin.Tags)
				}
			})
		})
	}
}

// What an attempt created that could not be recorded, as the device asked anew with
// another certificate, is removed before the next attempt: the device starts with its
// first twin, and is no device that was there before.
func TestCreatedInVainIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.hubs["a"].slow = 5 * time.Second
		_, err := w.Register(t.Context(), w.request("sensor", w.leaf(t, "sensor")))
		must(t, err)
		pass(time.Second) // the identity is being created
		w.group(t, func(e *dps.Enrollment) {
			e.InitialTwin = []byte(`{"tags":{"site":"yard"}}`)
			e.Placement.Policy = dps.Hashed
			e.Placement.IotHubs = append(e.Placement.IotHubs, w.host("a"))
		})
		rec := w.finished(t, w.request("sensor", w.leaf(t, "sensor")))
		if rec.Status != dps.Assigned || rec.Assignment.Substatus != dps.InitialAssignment {
			t.Errorf("record = %+v, %+v, %+v", rec, rec.Assignment, rec.Failure)
		}
		if twin := w.twinOf(t, "a"); string(twin.Tags) != `{"site":"yard"}` || twin.Desired != nil {
			t.Errorf("twin = %s, %s; want the enrollment's", twin.Tags, twin.Desired)
		}
		w.settled(t)
	})
}

// A device that is sent to another hub while it is being placed leaves nothing at the
// first, and finds at the other what was there.
func TestSentElsewhereWhileItIsPlaced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.hubs["a"].slow = 5 * time.Second
		w.hubs["b"].devices["sensor"] = standing{dps.HubIdentity{DeviceID: "sensor"}, dps.Twin{Tags: []byte(`{"site":"own"}`)}}
		_, err := w.Register(t.Context(), w.request("sensor", w.leaf(t, "sensor")))
		must(t, err)
		pass(time.Second)
		w.to(t, nil, "b")
		rec := w.finished(t, w.request("sensor", w.leaf(t, "sensor")))
		if rec.Status != dps.Assigned || rec.Assignment.Substatus != dps.ReprovisionedToInitialAssignment {
			t.Errorf("record = %+v, %+v", rec, rec.Assignment)
		}
		w.settled(t)
		if got := w.stands(t, "sensor"); !slices.Equal(got, []dps.HubID{"b"}) {
			t.Errorf("stands at %v", got)
		}
		if twin := w.twinOf(t, "b"); string(twin.Tags) != `{"site":"own"}` {
			t.Errorf("tags = %s", twin.Tags)
		}
	})
}

// Each answer that gets lost once leaves nothing behind, and no wrong sub-status.
func TestLostAnswers(t *testing.T) {
	for _, call := range []string{"twin", "create", "remove"} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, effect %v", call, lost), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					w := newRemoteWorld(t)
					w.to(t, migrate, "a")
					req := w.request("sensor", w.leaf(t, "sensor"))
					w.finished(t, req)
					for _, h := range w.hubs {
						once := 3
						fail := func(name string) error {
							if name != call || once == 0 {
								return nil
							}
							once--
							return unavailable("reset")
						}
						h.set(func(h *fakeHub) {
							if lost {
								h.after = fail
							} else {
								h.before = fail
							}
						})
					}
					w.retwin(t, "a", "sensor", dps.Twin{Tags: []byte(`{"site":"moved"}`)})
					w.to(t, migrate, "b")
					rec := w.finished(t, req)
					if rec.Status != dps.Assigned || rec.Assignment.Substatus != dps.DeviceDataMigrated {
						t.Errorf("record = %+v, %+v, %+v", rec, rec.Assignment, rec.Failure)
					}
					w.settled(t)
					if got := w.stands(t, "sensor"); !slices.Equal(got, []dps.HubID{"b"}) {
						t.Errorf("stands at %v", got)
					}
					if twin := w.twinOf(t, "b"); string(twin.Tags) != `{"site":"moved"}` {
						t.Errorf("tags = %s", twin.Tags)
					}
				})
			})
		}
	}
}

func TestHubThatFails(t *testing.T) {
	refusal := `{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized"}`
	tests := []struct {
		name   string
		err    error
		code   dps.Code
		number int
		atMost time.Duration
		least  time.Duration
	}{
		{"refused", &dps.Error{Code: dps.HubRefused, Message: refusal, Number: 401002}, dps.HubRefused, 401002, 5 * time.Second, 0},
		{"no answer", unavailable("connection refused"), dps.HubUnavailable, 0, 75 * time.Second, 45 * time.Second},
		{"throttled for ever", &dps.Error{Code: dps.Throttled, Message: "slow down", RetryAfter: 30 * time.Second}, dps.Throttled, 0, 15 * time.Minute, 5 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newRemoteWorld(t)
				w.to(t, migrate, "a")
				w.hubs["a"].set(func(h *fakeHub) { h.after = func(string) error { return tt.err } })
				req := w.request("sensor", w.leaf(t, "sensor"))
				start := time.Now()
				rec := w.finished(t, req)
				took := time.Since(start)
				if rec.Status != dps.Failed || rec.Failure.Code != tt.code || rec.Failure.Number != tt.number ||
					rec.Failure.Message != dps.MessageOf(tt.err) {
					t.Errorf("record = %+v, failure %+v", rec, rec.Failure)
				}
				if took < tt.least || took > tt.atMost {
					t.Errorf("took %v", took)
				}
				// The identity was made all the same: it is known, and goes once the hub is healed.
				if left, err := w.store.Remnants(t.Context(), in, dps.Leaving, 10, nil); err != nil || len(left) != 1 {
					t.Errorf("pending = %+v, %v", left, err)
				}
				w.hubs["a"].set(func(h *fakeHub) { h.after = nil })
				w.settled(t)
				if got := w.stands(t, "sensor"); len(got) != 0 {
					t.Errorf("stands at %v", got)
				}
				if rec := w.finished(t, req); rec.Status != dps.Assigned || rec.Failure != nil {
					t.Errorf("healed = %+v, %+v", rec, rec.Failure)
				}
			})
		})
	}
}

func TestHubThatIsDownGetsNoNewDevices(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, migrate, "a")
		old := w.request("old", w.leaf(t, "old"))
		w.finished(t, old)
		w.to(t, migrate, "a", "b")
		w.hubs["a"].set(func(h *fakeHub) {
			h.health = dps.HubHealth{State: dps.HubDown, LastError: "connection refused"}
			h.before = func(string) error { return unavailable("connection refused") }
		})
		for i := range 20 {
			if rec := w.finished(t, w.request(deviceName(i), w.leaf(t, deviceName(i)))); rec.Hub != "b.example.com" {
				t.Fatalf("record = %+v, %+v", rec, rec.Failure)
			}
		}
	})
}

func TestSameCallJoins(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.hubs["a"].turn = make(chan struct{}, 1)
		req := w.request("sensor", w.leaf(t, "sensor"))
		first, err := w.Register(t.Context(), req)
		must(t, err)
		second, err := w.Register(t.Context(), req)
		must(t, err)
		if first.Operation != second.Operation {
			t.Errorf("the same call while it is under way makes another operation")
		}
		renewed := w.request("sensor", w.leaf(t, "sensor"))
		third, err := w.Register(t.Context(), renewed)
		must(t, err)
		if third.Operation == first.Operation {
			t.Error("another certificate joins")
		}
		w.hubs["a"].turn <- struct{}{}
		pass(time.Second)
		w.hubs["a"].turn <- struct{}{}
		if rec := w.polled(t, renewed, third); rec.Status != dps.Assigned {
			t.Errorf("record = %+v", rec)
		}
		if rec, err := w.Poll(t.Context(), req, first.Operation); err != nil || rec.Status != dps.Assigned {
			t.Errorf("the replaced operation = %+v, %v; want what took its place", rec, err)
		}
		s, _ := w.hubs["a"].at("sensor")
		if !s.Authentication.Equal(dps.SelfSigned(dps.ThumbprintOf(renewed.Evidence.Chain[0].Raw))) {
			t.Error("the hub has the older certificate")
		}
	})
}

// A device that asks for something else than what is under way gets an operation of its
// own, and the webhook hears of the newer request.
func TestAnotherCallDoesNotJoin(t *testing.T) {
	for name, change := range map[string]func(r *register.Request){
		"payload":     func(r *register.Request) { r.Payload = []byte(`{"floor":2}`) },
		"no payload":  func(r *register.Request) { r.Payload = nil },
		"API version": func(r *register.Request) { r.APIVersion = "2021-06-01" },
		"spelling":    func(r *register.Request) { r.ID = "Sensor" },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newRemoteWorld(t)
				w.to(t, nil, "a")
				w.hubs["a"].turn = make(chan struct{})
				req := w.request("sensor", w.leaf(t, "sensor"))
				req.APIVersion, req.Payload = "2019-03-31", []byte(`{"floor":1}`)
				first, err := w.Register(t.Context(), req)
				must(t, err)
				again, err := w.Register(t.Context(), req)
				must(t, err)
				if again.Operation != first.Operation {
					t.Error("the same request does not join")
				}
				changed := req
				change(&changed)
				second, err := w.Register(t.Context(), changed)
				must(t, err)
				if second.Operation == first.Operation {
					t.Error("another request joins")
				}
				work, err := w.store.Work(t.Context(), in, "sensor")
				must(t, err)
				if work.Operation != second.Operation || work.ID != changed.ID || work.APIVersion != changed.APIVersion ||
					!bytes.Equal(work.Payload, changed.Payload) {
					t.Errorf("open work = %+v, want the newer request", work)
				}
				close(w.hubs["a"].turn)
				if rec := w.polled(t, changed, second); rec.Status != dps.Assigned {
					t.Errorf("record = %+v", rec)
				}
			})
		})
	}
}

func TestWaitIsHonest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.hubs["a"].set(func(h *fakeHub) { h.turn = make(chan struct{}); h.health.PerMinute = 60 })
		var last register.Ticket
		for i := range 100 {
			ticket, err := w.Register(t.Context(), w.request(deviceName(i), w.leaf(t, deviceName(i))))
			must(t, err)
			last = ticket
			pass(time.Millisecond)
		}
		if last.RetryAfter < 60*time.Second || last.RetryAfter > 110*time.Second {
			t.Errorf("the hundredth at one a second is told to come after %v", last.RetryAfter)
		}
		health, err := w.HubHealth(t.Context(), in)
		must(t, err)
		if h := health["a"]; h.Waiting != 100 || h.Wait < 60*time.Second {
			t.Errorf("health = %+v", h)
		}
	})
}

// TestWaitOfEachPlace compares what each device is told with when its turn comes: at
// the front of the line, under way, too.
func TestWaitOfEachPlace(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		turn := make(chan struct{})
		w.hubs["a"].set(func(h *fakeHub) { h.turn = turn; h.health.PerMinute = 60 })
		const devices = 50
		reqs, tickets := make([]register.Request, devices), make([]register.Ticket, devices)
		for i := range reqs {
			reqs[i] = w.request(deviceName(i), w.leaf(t, deviceName(i)))
			ticket, err := w.Register(t.Context(), reqs[i])
			must(t, err)
			tickets[i] = ticket
			synctest.Wait()
		}
		told := make([]time.Duration, devices)
		for i := range reqs {
			rec, err := w.Poll(t.Context(), reqs[i], tickets[i].Operation)
			must(t, err)
			told[i] = rec.RetryAfter
		}
		began := time.Now()
		for range devices {
			pass(time.Second)
			turn <- struct{}{}
			synctest.Wait()
		}
		for i := range reqs {
			rec, err := w.store.Registration(t.Context(), in, reqs[i].ID)
			must(t, err)
			done := rec.Updated.Sub(began)
			for what, wait := range map[string]time.Duration{"at first": tickets[i].RetryAfter, "at a poll": told[i]} {
				// The eight that are under way take their turns in any order.
				if wait < done-8*time.Second && i < 8 || wait < done && i >= 8 || wait > done+8*time.Second {
					t.Errorf("device %d is told to come after %v %s, and it is done after %v", i, wait, what, done)
				}
			}
		}
	})
}

// TestWaitOfAReboot: a device that is known to its hub only has to be looked at, and
// does not wait behind those that are written.
func TestWaitOfAReboot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		known := w.request("known", w.leaf(t, "known"))
		w.finished(t, known)
		w.hubs["a"].set(func(h *fakeHub) { h.turn = make(chan struct{}); h.health.PerMinute = 60; h.slow = 2 * time.Second })
		for i := range 50 {
			_, err := w.Register(t.Context(), w.request(deviceName(i), w.leaf(t, deviceName(i))))
			must(t, err)
		}
		synctest.Wait()
		ticket, err := w.Register(t.Context(), known)
		must(t, err)
		synctest.Wait() // the hub is being asked
		rec, err := w.Poll(t.Context(), known, ticket.Operation)
		must(t, err)
		if ticket.RetryAfter > 3*time.Second || rec.RetryAfter > 3*time.Second {
			t.Errorf("it is told to come after %v, and after %v", ticket.RetryAfter, rec.RetryAfter)
		}
		if rec := w.polled(t, known, ticket); rec.Status != dps.Assigned {
			t.Errorf("record = %+v", rec)
		}
	})
}

func TestEnrollmentChangesMeanwhile(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, w *remoteWorld)
		status dps.RegistrationStatus
		code   dps.Code
	}{
		{"disabled", func(t *testing.T, w *remoteWorld) {
			w.group(t, func(e *dps.Enrollment) { e.Status = dps.StatusDisabled })
		}, dps.Disabled, 0},
		{"deleted", func(t *testing.T, w *remoteWorld) {
			must(t, w.enroll.Delete(t.Context(), in, group("line"), dps.Condition{}))
		}, dps.Failed, dps.GroupNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newRemoteWorld(t)
				w.to(t, nil, "a")
				w.stop() // nobody works the line
				req := w.request("sensor", w.leaf(t, "sensor"))
				ticket, err := w.Register(t.Context(), req)
				must(t, err)
				tt.change(t, w)
				w.start(t)
				pass(5 * time.Second)
				reg, err := w.Record(t.Context(), in, "sensor")
				must(t, err)
				if reg.Operation != ticket.Operation || reg.Status != tt.status || (reg.Failure != nil && reg.Failure.Code != tt.code) ||
					len(w.stands(t, "sensor")) != 0 {
					t.Errorf("record = %+v, %+v", reg, reg.Failure)
				}
				w.settled(t)
			})
		})
	}
}

func TestForgottenWhileOpen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		w.hubs["a"].set(func(h *fakeHub) { h.after = func(string) error { return unavailable("reset") } })
		_, err := w.Register(t.Context(), w.request("sensor", w.leaf(t, "sensor")))
		must(t, err)
		pass(10 * time.Second)
		must(t, w.Forget(t.Context(), in, "sensor", dps.Condition{}))
		w.hubs["a"].set(func(h *fakeHub) { h.after = nil })
		w.settled(t)
		if got := w.stands(t, "sensor"); len(got) != 0 {
			t.Errorf("stands at %v", got)
		}
	})
}

func TestCustomAllocation(t *testing.T) {
	answer := func(hub dps.HubID) register.WebhookAnswer {
		return register.WebhookAnswer{Hub: dps.HostName(hub) + ".example.com", Payload: json.RawMessage(`{"n":1}`)}
	}
	again := &dps.Error{Code: dps.CustomAllocationFailed, Again: true, Message: "Custom allocation failed with status code: 503"}
	tests := []struct {
		name   string
		answer func(q register.WebhookQuestion, call int) (register.WebhookAnswer, error)
		calls  int
		hub    dps.HostName
		code   dps.Code
	}{
		{"over the wire", func(register.WebhookQuestion, int) (register.WebhookAnswer, error) { return answer("b"), nil }, 1, "b.example.com", 0},
		{"embedded", func(register.WebhookQuestion, int) (register.WebhookAnswer, error) { return answer("near"), nil }, 1, "near.example.com", 0},
		{"twice busy", func(_ register.WebhookQuestion, n int) (register.WebhookAnswer, error) {
			if n < 3 {
				return register.WebhookAnswer{}, again
			}
			return answer("a"), nil
		}, 3, "a.example.com", 0},
		{"for ever busy", func(register.WebhookQuestion, int) (register.WebhookAnswer, error) {
			return register.WebhookAnswer{}, again
		}, 11, "", dps.CustomAllocationFailed},
		{"refused", func(register.WebhookQuestion, int) (register.WebhookAnswer, error) {
			return register.WebhookAnswer{}, &dps.Error{
				Code:    dps.CustomAllocationUnauthorized,
				Message: "Custom allocation failed with status code: 401",
			}
		}, 1, "", dps.CustomAllocationUnauthorized},
		{"a hub that is not linked", func(register.WebhookQuestion, int) (register.WebhookAnswer, error) { return answer("c"), nil }, 1, "", dps.CustomAllocationFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newRemoteWorld(t)
				w.custom(t, migrate)
				w.webhook.answer = tt.answer
				req := w.request("sensor", w.leaf(t, "sensor"))
				req.Payload = json.RawMessage(`{"model":"x"}`)
				rec := w.finished(t, req)
				if len(w.webhook.asked) != tt.calls {
					t.Errorf("asked %d times, want %d", len(w.webhook.asked), tt.calls)
				}
				q := w.webhook.asked[0]
				if string(q.Payload) != `{"model":"x"}` || q.ID != "sensor" || q.Certificate == nil || q.CurrentHub != "" || len(q.LinkedHubs) != 4 {
					t.Errorf("question = %+v", q)
				}
				if tt.hub == "" {
					if rec.Status != dps.Failed || rec.Failure.Code != tt.code || rec.Payload != nil {
						t.Errorf("record = %+v, %+v", rec, rec.Failure)
					}
					return
				}
				if rec.Status != dps.Assigned || rec.Hub != tt.hub || string(rec.Payload) != `{"n":1}` ||
					rec.Assignment.Substatus != dps.InitialAssignment {
					t.Errorf("record = %+v, %+v", rec, rec.Failure)
				}
				w.settled(t)
			})
		})
	}
}

// custom gives the group the custom policy.
func (w *remoteWorld) custom(t *testing.T, policy *dps.ReprovisionPolicy) {
	t.Helper()
	w.group(t, func(e *dps.Enrollment) {
		e.Placement.Policy, e.Placement.Reprovision = dps.Custom, policy
		e.Placement.Custom = &dps.CustomAllocation{WebhookURL: "https://f.example.com/?code=secret", APIVersion: "2021-10-01"}
		e.InitialTwin = []byte(`{"tags":{"site":"hall"}}`)
	})
}

func TestCustomAllocationMoves(t *testing.T) {
	other := json.RawMessage(`{"tags":{"site":"by webhook"}}`)
	for _, tt := range []struct {
		name   string
		policy *dps.ReprovisionPolicy
		hub    dps.HostName
		linked []dps.HostName
		tags   string
	}{
		{"migrate", migrate, "b.example.com", nil, `{"site":"by webhook"}`}, // of the first assignment, moved
		{"reset", reset, "b.example.com", nil, `{"site":"second"}`},
		{"never", never, "a.example.com", []dps.HostName{"a.example.com"}, `{"site":"by webhook"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newRemoteWorld(t)
				w.custom(t, tt.policy)
				w.webhook.answer = func(register.WebhookQuestion, int) (register.WebhookAnswer, error) {
					return register.WebhookAnswer{Hub: "a.example.com", Twin: other}, nil
				}
				req := w.request("sensor", w.leaf(t, "sensor"))
				w.finished(t, req)
				w.webhook.answer = func(q register.WebhookQuestion, _ int) (register.WebhookAnswer, error) {
					return register.WebhookAnswer{
						Hub:     tt.hub,
						Twin:    json.RawMessage(`{"tags":{"site":"second"}}`),
						Payload: json.RawMessage(`{"n":2}`),
					}, nil
				}
				rec := w.finished(t, req)
				q := w.webhook.asked[1]
				if q.CurrentHub != "a.example.com" || q.CurrentID != "sensor" || (tt.linked != nil && !cmp.Equal(q.LinkedHubs, tt.linked)) {
					t.Errorf("question = %+v", q)
				}
				if rec.Hub != tt.hub || string(rec.Payload) != `{"n":2}` {
					t.Errorf("record = %+v, %+v", rec, rec.Failure)
				}
				w.settled(t)
				if twin := w.twinOf(t, dps.HubID(strings.TrimSuffix(string(tt.hub), ".example.com"))); string(twin.Tags) != tt.tags {
					t.Errorf("tags = %s, want %s", twin.Tags, tt.tags)
				}
			})
		})
	}
}

// TestKilledAnywhere kills the service at random moments while hubs fail at random,
// and starts it again, many times over; in the end every device has to be on exactly
// one hub, the one in its record.
func TestKilledAnywhere(t *testing.T) {
	for i := range 8 {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("%d with seed %d", i, seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { killedAnywhere(t, rand.New(rand.NewPCG(seed, 1))) }) //nolint:gosec // no secret
		})
	}
}

func killedAnywhere(t *testing.T, random *rand.Rand) {
	w := newRemoteWorld(t)
	w.stop()
	const devices = 8
	reqs := make([]register.Request, devices)
	for i := range reqs {
		reqs[i] = w.request(deviceName(i), w.leaf(t, deviceName(i)))
	}
	places := [][]dps.HubID{{"a"}, {"b"}, {"a", "b"}, {"embedded"}, {"near", "a"}}
	for range 12 {
		w.to(t, []*dps.ReprovisionPolicy{migrate, reset}[random.IntN(2)], places[random.IntN(len(places))]...)
		for _, id := range []dps.HubID{"a", "b"} {
			faults(w.hubs[id], random)
		}
		run := w.killable(random.IntN(60))
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- run.Run(ctx) }()
		for range 6 {
			_, _ = run.Register(t.Context(), reqs[random.IntN(devices)])
			pass(time.Duration(random.IntN(4000)) * time.Millisecond)
		}
		pass(time.Duration(random.IntN(30)) * time.Second)
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, errKilled) {
			t.Errorf("Run: %v", err)
		}
	}
	for _, h := range w.hubs {
		h.set(func(h *fakeHub) { h.before, h.after, h.slow = nil, nil, 0 })
	}
	w.listed(t, reqs)
	w.start(t)
	w.settled(t)
	for _, req := range reqs {
		w.onePlace(t, req.ID)
	}
	w.to(t, migrate, "b")
	for _, req := range reqs {
		if rec := w.finished(t, req); rec.Hub != "b.example.com" {
			t.Errorf("in the end %s is at %q: %+v", req.ID, rec.Hub, rec.Failure)
		}
	}
	w.settled(t)
	for _, req := range reqs {
		w.onePlace(t, req.ID)
	}
}

// listed fails unless every identity beside the ones in the records is known.
func (w *remoteWorld) listed(t *testing.T, reqs []register.Request) {
	t.Helper()
	known := make(map[dps.HubStand]bool)
	for _, state := range []dps.RemnantState{dps.Placing, dps.Leaving} {
		remnants, err := w.store.Remnants(t.Context(), in, state, 1000, nil)
		must(t, err)
		for _, r := range remnants {
			known[r.HubStand] = true
		}
	}
	for _, req := range reqs {
		reg, err := w.store.Registration(t.Context(), in, req.ID)
		if err == nil && reg.Assignment != nil {
			known[dps.HubStand{Hub: reg.Assignment.Hub, DeviceID: reg.Assignment.DeviceID}] = true
		}
		for _, hub := range w.stands(t, dps.DeviceID(req.ID)) {
			if !known[dps.HubStand{Hub: hub, DeviceID: dps.DeviceID(req.ID)}] {
				t.Errorf("%s stands at %s, and nobody knows", req.ID, hub)
			}
		}
	}
}

// onePlace fails unless a device stands where its record says, and nowhere else.
func (w *remoteWorld) onePlace(t *testing.T, id dps.RegistrationID) {
	t.Helper()
	var want []dps.HubID
	reg, err := w.store.Registration(t.Context(), in, id)
	if err == nil && reg.Assignment != nil {
		want = []dps.HubID{reg.Assignment.Hub}
	} else if err != nil && dps.CodeOf(err) != dps.RegistrationNotFound {
		t.Fatal(err)
	}
	if got := w.stands(t, dps.DeviceID(id)); !slices.Equal(got, want) {
		t.Errorf("%s stands at %v, its record says %v (%s)", id, got, want, reg.Status)
	}
}

// faults makes a hub fail at random, by a source of its own: hubs are called at once.
func faults(h *fakeHub, seeds *rand.Rand) {
	random := rand.New(rand.NewPCG(seeds.Uint64(), 2)) //nolint:gosec // no secret
	kinds := []error{
		unavailable("connection refused"), unavailable("500"), &dps.Error{Code: dps.Throttled, Message: "slow", RetryAfter: 3 * time.Second},
		&dps.Error{Code: dps.HubRefused, Message: "wrong key", Number: 401002},
	}
	share := []float64{0, 0.2, 0.5, 1}[random.IntN(4)]
	own := rand.New(rand.NewPCG(random.Uint64(), 2)) //nolint:gosec // no secret
	fail := func(string) error {                     // called under the hub's lock
		if own.Float64() < share {
			return kinds[own.IntN(len(kinds))]
		}
		return nil
	}
	slow := time.Duration(random.IntN(3)) * 4 * time.Second
	h.set(func(h *fakeHub) { h.before, h.after, h.slow = fail, fail, slow })
}

// killable returns a service whose store and hubs stop to obey after some calls, as if
// its process had been killed.
func (w *remoteWorld) killable(calls int) *register.Service {
	k := &killed{Store: w.store, left: calls}
	return w.remote(k)
}
