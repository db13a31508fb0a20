package register_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
)

// rivals is a world in which "sensor" is assigned by the group "line", and the group
// "supplier" has a CA of its own that can issue any name.
type rivals struct {
	*world
	*kept
	supplier *pki.Issued
	sensor   register.Request // of "line"
	usurper  register.Request // of "supplier", the same name
}

func newRivals(t *testing.T, takeover dps.Takeover) *rivals {
	t.Helper()
	w := &rivals{world: newWorld(t), kept: &kept{}}
	w.Service = register.New(register.Options{
		Store: w.store, Observer: w.outcomes, Decisions: w.kept, Log: w.logger(), Now: w.clock, Takeover: takeover,
	})
	w.group(t, withTwin)
	w.supplier = issue(t, pki.Request{Kind: pki.Root, CommonName: "Supplier"})
	w.upload(t, "supplier", w.supplier, true)
	w.put(t, group("supplier"), dps.X509Attestation{CAPrimary: "supplier"}, nil)
	w.sensor = w.request("sensor", w.leaf(t, "sensor"))
	w.usurper = w.request("sensor", w.supplied(t, "sensor"))
	w.registered(t, w.sensor)
	return w
}

// supplied returns a device certificate of the supplier.
func (w *rivals) supplied(t *testing.T, id string) *pki.Issued {
	t.Helper()
	return issue(t, pki.Request{Kind: pki.Device, CommonName: id, Issuer: w.supplier.Issuer()})
}

// moves returns the audited moves, the latest first.
func (w *world) moves(t *testing.T) []string {
	t.Helper()
	entries, err := w.store.Audit(t.Context(), in, audit.Filter{Operation: audit.Move, Kind: audit.HubIdentity}, 10, nil)
	must(t, err)
	var texts []string
	for _, e := range entries {
		texts = append(texts, e.Detail)
	}
	return texts
}

// moved checks that a move, and nothing else, was kept and audited.
func (w *rivals) moved(t *testing.T, want dps.IdentityMove) {
	t.Helper()
	r := w.one(t, want.String())
	if r.Decision.Reason != dps.ReasonIdentityMoved || r.Decision.Reason.Refuses() || r.Decision.Answer != "assigned" || r.Move == nil {
		t.Fatalf("kept %+v", r)
	}
	if diff := cmp.Diff(want, *r.Move); diff != "" {
		t.Errorf("move (-want +got):\n%s", diff)
	}
	last := r.Decision.Checks[len(r.Decision.Checks)-1]
	if !last.OK || !strings.HasPrefix(last.Detail, want.String()) {
		t.Errorf("check = %+v, want it to say %q", last, want)
	}
	if all := w.moves(t); len(all) == 0 || all[0] != want.String()+" at "+string(want.HostName) {
		t.Errorf("audit = %q, want %q first", all, want)
	}
}

// held checks that a device was refused because of whose the identity is, and that
// nothing changed.
func (w *rivals) held(t *testing.T, req register.Request, want dps.Holder, words ...string) {
	t.Helper()
	record, _ := w.store.Registration(t.Context(), in, req.ID)
	before := w.device(t, "sensor")
	_, err := w.Register(t.Context(), req)
	fails(t, "register", err, dps.Unauthorized)
	r := w.one(t, "held")
	if r.Decision.Reason != dps.ReasonIdentityHeld || r.Move == nil || r.Move.From != want {
		t.Fatalf("kept %+v, move %+v", r, r.Move)
	}
	last := r.Decision.Checks[len(r.Decision.Checks)-1]
	for _, word := range words {
		if last.OK || !strings.Contains(last.Detail+"; "+r.Decision.Remedy, word) {
			t.Errorf("check %+v, remedy %q: want %q", last, r.Decision.Remedy, word)
		}
	}
	if diff := cmp.Diff(before, w.device(t, "sensor"), cmp.AllowUnexported(dps.Secret{})); diff != "" {
		t.Errorf("the identity changed (-was +is):\n%s", diff)
	}
	after, _ := w.store.Registration(t.Context(), in, req.ID)
	if diff := cmp.Diff(record, after); diff != "" {
		t.Errorf("the record changed (-was +is):\n%s", diff)
	}
	if all := w.moves(t); len(all) != 0 {
		t.Errorf("audit = %q", all)
	}
}

func TestTakeoverByAnotherGroup(t *testing.T) {
	w := newRivals(t, dps.TakeoverAllow)
	w.registered(t, w.sensor)
	if len(w.all) != 0 || len(w.moves(t)) != 0 {
		t.Fatalf("a reboot is kept: %+v", w.all)
	}
	rec := w.registered(t, w.usurper)
	if rec.Status != dps.Assigned || rec.Assignment.Entry != group("supplier") {
		t.Errorf("record = %+v", rec)
	}
	w.moved(t, dps.IdentityMove{
		HostName: hostName, DeviceID: "sensor",
		From: dps.Holder{ID: "sensor", Entry: group("line")}, To: dps.Holder{ID: "sensor", Entry: group("supplier")},
	})
	if got := w.device(t, "sensor").Authentication.PrimaryThumbprint; got != thumbprint(w.usurper.Evidence.Chain[0]) {
		t.Error("the identity has the old certificate")
	}
	w.registered(t, w.usurper)
	if len(w.all) != 0 || len(w.moves(t)) != 1 {
		t.Errorf("a reboot is kept: %+v, %q", w.all, w.moves(t))
	}
}

func TestTakeoverRefused(t *testing.T) {
	w := newRivals(t, dps.TakeoverRefuse)
	w.registered(t, w.sensor)
	line := dps.Holder{ID: "sensor", Entry: group("line")}
	w.held(t, w.usurper, line, "belongs to enrollment group line",
		"Delete the registration record of sensor", "disable or delete the enrollment group line")
	_, err := w.LookUp(t.Context(), w.usurper)
	fails(t, "look-up", err, dps.Unauthorized)
	if r := w.one(t, "look-up"); r.Decision.Reason != dps.ReasonIdentityHeld {
		t.Errorf("look-up: kept %+v", r)
	}
	_, err = w.LookUp(t.Context(), w.sensor)
	must(t, err)

	for name, release := range map[string]func(w *rivals){
		"the enrollment is disabled": func(w *rivals) {
			w.group(t, func(e *dps.Enrollment) { e.Status = dps.StatusDisabled })
		},
		"the enrollment is deleted": func(w *rivals) { must(t, w.enroll.Delete(t.Context(), in, group("line"), dps.Condition{})) },
		"the record is deleted":     func(w *rivals) { must(t, w.Forget(t.Context(), in, "sensor", dps.Condition{})) },
	} {
		w := newRivals(t, dps.TakeoverRefuse)
		release(w)
		if rec := w.registered(t, w.usurper); rec.Status != dps.Assigned || rec.Assignment.Entry != group("supplier") {
			t.Errorf("%s: record = %+v", name, rec)
		}
		if name != "the record is deleted" {
			w.moved(t, dps.IdentityMove{HostName: hostName, DeviceID: "sensor", From: line, To: dps.Holder{ID: "sensor", Entry: group("supplier")}})
		} else if len(w.all) != 0 || len(w.moves(t)) != 0 {
			t.Errorf("%s: kept %+v, %q", name, w.all, w.moves(t))
		}
	}
}

// An individual enrollment is made for this very device: whoever makes it decides.
func TestIndividualEnrollmentTakesItsDevice(t *testing.T) {
	w := newRivals(t, dps.TakeoverRefuse)
	own := selfSigned(t, "sensor")
	w.put(t, individual("sensor"), dps.X509Attestation{Primary: certificateOf(own)}, nil)
	w.registered(t, w.request("sensor", own))
	w.moved(t, dps.IdentityMove{
		HostName: hostName, DeviceID: "sensor",
		From: dps.Holder{ID: "sensor", Entry: group("line")}, To: dps.Holder{ID: "sensor", Entry: individual("sensor")},
	})
	_, err := w.Register(t.Context(), w.usurper)
	fails(t, "a group's device", err, dps.Unauthorized)
	if r := w.one(t, "a group's device"); r.Decision.Reason != dps.ReasonOtherCertificate {
		t.Errorf("kept %+v", r)
	}
}

// Two devices want one identity.
func TestTakeoverByDeviceID(t *testing.T) {
	w := newRivals(t, dps.TakeoverAllow)
	own := selfSigned(t, "pump")
	w.put(t, individual("pump"), dps.X509Attestation{Primary: certificateOf(own)}, func(e *dps.Enrollment) { e.DeviceID = "sensor" })
	pump := w.request("pump", own)
	sensor, claimed := dps.Holder{ID: "sensor", Entry: group("line")}, dps.Holder{ID: "pump", Entry: individual("pump")}
	w.registered(t, pump)
	w.moved(t, dps.IdentityMove{HostName: hostName, DeviceID: "sensor", From: sensor, To: claimed})
	w.registered(t, pump)
	if len(w.all) != 0 {
		t.Errorf("a reboot is kept: %+v", w.all)
	}
	w.registered(t, w.sensor)
	w.moved(t, dps.IdentityMove{HostName: hostName, DeviceID: "sensor", From: claimed, To: sensor})

	strict := newRivals(t, dps.TakeoverRefuse)
	strict.put(t, individual("pump"), dps.X509Attestation{Primary: certificateOf(own)}, func(e *dps.Enrollment) { e.DeviceID = "sensor" })
	pump.Scope = strict.scope
	strict.held(t, pump, sensor, "belongs to device sensor of enrollment group line")
}

// What an operator created at the embedded hub is not anybody's.
func TestTakeoverOfAnOperatorsIdentity(t *testing.T) {
	for _, takeover := range dps.Takeovers() {
		w := newRivals(t, takeover)
		must(t, w.Forget(t.Context(), in, "sensor", dps.Condition{}))
		must(t, w.store.DeleteHubDevice(t.Context(), in, dps.EmbeddedHub, "sensor", w.device(t, "sensor").ETag))
		made := dps.NewHubDevice(dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub}, dps.NewHubIdentity("sensor"), dps.Twin{}, w.clock())
		must(t, w.store.CreateHubDevice(t.Context(), made))
		if takeover == dps.TakeoverRefuse {
			w.held(t, w.sensor, dps.Holder{}, "belongs to an operator", "Delete the identity at the hub")
			continue
		}
		w.registered(t, w.sensor)
		w.moved(t, dps.IdentityMove{HostName: hostName, DeviceID: "sensor", To: dps.Holder{ID: "sensor", Entry: group("line")}})
	}
}

// A refused or failed attempt leaves the record where the device was assigned.
func TestLastAssignmentStays(t *testing.T) {
	w := newRivals(t, dps.TakeoverAllow)
	before := w.registered(t, w.sensor)
	own := selfSigned(t, "sensor")
	w.put(t, individual("sensor"), dps.X509Attestation{Primary: certificateOf(own)}, func(e *dps.Enrollment) { e.Status = dps.StatusDisabled })
	off := w.registered(t, w.request("sensor", own))
	if off.Status != dps.Disabled || off.Hub != hostName || off.Entry != individual("sensor") {
		t.Errorf("disabled: %+v", off)
	}
	if diff := cmp.Diff(before.Assignment, off.Assignment); diff != "" {
		t.Errorf("disabled: assignment (-was +is):\n%s", diff)
	}
	must(t, w.enroll.Delete(t.Context(), in, individual("sensor"), dps.Condition{}))
	w.put(t, group("line"), dps.X509Attestation{CAPrimary: "root"}, func(e *dps.Enrollment) {
		e.Placement.Policy, e.Placement.IotHubs = dps.Static, []dps.HostName{"unknown.example.com"}
	})
	failed := w.registered(t, w.sensor)
	if failed.Status != dps.Failed {
		t.Errorf("failed: %+v", failed)
	}
	if diff := cmp.Diff(before.Assignment, failed.Assignment); diff != "" {
		t.Errorf("failed: assignment (-was +is):\n%s", diff)
	}
}

// remoteRivals is a remoteWorld with "pump", whose device ID is "sensor", all at hub a.
func remoteRivals(t *testing.T, takeover dps.Takeover) (w *remoteWorld, k *sharedKept, sensor, pump register.Request) {
	t.Helper()
	w, k = newRemoteWorld(t), &sharedKept{}
	w.stop()
	w.takeover, w.decisions = takeover, k
	w.Service = w.remote(w.store)
	w.start(t)
	w.to(t, migrate, "a")
	own := selfSigned(t, "pump")
	w.put(t, individual("pump"), dps.X509Attestation{Primary: certificateOf(own)}, func(e *dps.Enrollment) {
		e.DeviceID, e.Placement.Policy, e.Placement.IotHubs = "sensor", dps.Static, []dps.HostName{w.host("a")}
	})
	return w, k, w.request("sensor", w.leaf(t, "sensor")), w.request("pump", own)
}

// sharedKept is kept for several goroutines.
type sharedKept struct {
	mu sync.Mutex
	kept
}

func (k *sharedKept) Refused(r dps.Refusal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept.Refused(r)
}

func (k *sharedKept) reasons() []dps.Reason {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []dps.Reason
	for _, r := range k.all {
		all = append(all, r.Decision.Reason)
	}
	k.all = nil
	return all
}

// The identity at a hub over the wire is not removed while another record names it.
func TestRemoteIdentityOfTwo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, k, sensor, pump := remoteRivals(t, dps.TakeoverAllow)
		w.finished(t, sensor)
		w.finished(t, pump)
		if got := k.reasons(); !slices.Equal(got, []dps.Reason{dps.ReasonIdentityMoved}) {
			t.Errorf("kept %q", got)
		}
		if s, _ := w.hubs["a"].at("sensor"); !s.Authentication.Equal(dps.SelfSigned(dps.ThumbprintOf(pump.Evidence.Chain[0].Raw))) {
			t.Error("the hub has the old certificate")
		}
		w.to(t, reset, "b")
		w.finished(t, sensor)
		w.settled(t)
		if at := w.stands(t, "sensor"); !slices.Equal(at, []dps.HubID{"a", "b"}) {
			t.Errorf("identity at %v, want at both hubs", at)
		}
		if got := k.reasons(); len(got) != 0 {
			t.Errorf("a device that goes elsewhere is kept: %q", got)
		}
		w.put(t, individual("pump"), dps.X509Attestation{Primary: certificateOf(w.leaf(t, "pump"))}, nil)
		must(t, w.Forget(t.Context(), in, "pump", dps.Condition{}))
		w.to(t, reset, "a")
		w.finished(t, sensor)
		w.settled(t)
		if at := w.stands(t, "sensor"); !slices.Equal(at, []dps.HubID{"a"}) {
			t.Errorf("identity at %v, want at a", at)
		}
		if got := k.reasons(); len(got) != 0 {
			t.Errorf("a released identity is kept: %q", got)
		}
		want := "identity sensor moved from enrollment group line (device sensor) to individual enrollment pump at a.example.com"
		if got := w.moves(t); !slices.Equal(got, []string{want}) {
			t.Errorf("audit = %q", got)
		}
	})
}

func TestRemoteTakeoverRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, k, sensor, pump := remoteRivals(t, dps.TakeoverRefuse)
		w.finished(t, sensor)
		before, _ := w.hubs["a"].at("sensor")
		_, err := w.Register(t.Context(), pump)
		fails(t, "another device", err, dps.Unauthorized)
		if got := k.reasons(); !slices.Equal(got, []dps.Reason{dps.ReasonIdentityHeld}) {
			t.Errorf("kept %q", got)
		}
		w.settled(t)
		if after, _ := w.hubs["a"].at("sensor"); !after.Authentication.Equal(before.Authentication) {
			t.Error("the identity changed")
		}
		must(t, w.Forget(t.Context(), in, "sensor", dps.Condition{}))
		if rec := w.finished(t, pump); rec.Status != dps.Assigned || len(k.reasons()) != 0 {
			t.Errorf("released: %+v", rec)
		}

		foreign := dps.SelfSigned(dps.ThumbprintOf([]byte("an operator's")))
		w.hubs["a"].set(func(h *fakeHub) {
			h.devices["valve"] = standing{HubIdentity: dps.HubIdentity{DeviceID: "valve", Authentication: foreign}}
		})
		rec := w.finished(t, w.request("valve", w.leaf(t, "valve")))
		if rec.Status != dps.Failed || rec.Failure.Code != dps.Unauthorized ||
			!strings.Contains(rec.Failure.Message, "valve belongs to another") {
			t.Errorf("an operator's: %+v, %+v", rec, rec.Failure)
		}
		w.settled(t)
		if s, ok := w.hubs["a"].at("valve"); !ok || !s.Authentication.Equal(foreign) {
			t.Errorf("the operator's identity: %v, %+v", ok, s)
		}
		if got := k.reasons(); !slices.Equal(got, []dps.Reason{dps.ReasonIdentityHeld}) {
			t.Errorf("kept %q", got)
		}
	})
}

// A device that moves away from an embedded hub leaves the identity to the device whose
// record names it too.
func TestEmbeddedIdentityOfTwo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, k, sensor, pump := remoteRivals(t, dps.TakeoverAllow)
		w.put(t, individual("pump"), dps.X509Attestation{Primary: &dps.Certificate{DER: pump.Evidence.Chain[0].Raw}}, func(e *dps.Enrollment) {
			e.DeviceID, e.Placement.Policy, e.Placement.IotHubs = "sensor", dps.Static, []dps.HostName{hostName}
		})
		w.to(t, reset, dps.EmbeddedHub)
		w.finished(t, sensor)
		w.finished(t, pump)
		w.finished(t, sensor)
		if got := k.reasons(); len(got) != 2 {
			t.Errorf("kept %q", got)
		}
		for _, to := range []dps.HubID{"near", "a"} {
			w.to(t, reset, to)
			w.finished(t, sensor)
			w.settled(t)
			if at := w.stands(t, "sensor"); !slices.Equal(at, []dps.HubID{min(to, dps.EmbeddedHub), max(to, dps.EmbeddedHub)}) {
				t.Errorf("identity at %v, want at embedded and %s", at, to)
			}
		}
		w.finished(t, pump)
		if got := k.reasons(); len(got) != 0 {
			t.Errorf("the one that stayed is kept: %q", got)
		}
	})
}

// A dry run says whose identity the device would take over.
func TestDryRunOfATakeover(t *testing.T) {
	for takeover, want := range map[dps.Takeover]register.DryRunOutcome{
		dps.TakeoverAllow: register.WouldStay, dps.TakeoverRefuse: register.WouldFail,
	} {
		w := newRivals(t, takeover)
		got, err := w.DryRun(t.Context(), in, register.DryRunQuestion{ID: "sensor", Entry: group("supplier"), APIVersion: apiVersion})
		must(t, err)
		if got.Outcome != want ||
			!strings.Contains(steps(got), "identity sensor would move from enrollment group line to enrollment group supplier") {
			t.Errorf("%s: %s, %s", takeover, got.Outcome, steps(got))
		}
		w.put(t, individual("pump"), dps.X509Attestation{Primary: certificateOf(selfSigned(t, "pump"))},
			func(e *dps.Enrollment) { e.DeviceID = "sensor" })
		got, err = w.DryRun(t.Context(), in, register.DryRunQuestion{ID: "pump", APIVersion: apiVersion})
		must(t, err)
		if takeover == dps.TakeoverAllow && got.Outcome != register.WouldAssign ||
			takeover == dps.TakeoverRefuse && got.Outcome != register.WouldFail ||
			!strings.Contains(steps(got), "from enrollment group line (device sensor) to individual enrollment pump") {
			t.Errorf("%s: %s, %s", takeover, got.Outcome, steps(got))
		}
		got, err = w.DryRun(t.Context(), in, register.DryRunQuestion{ID: "sensor", Entry: group("line"), APIVersion: apiVersion})
		must(t, err)
		if got.Outcome != register.WouldStay || strings.Contains(steps(got), "would move") {
			t.Errorf("%s, one's own: %s, %s", takeover, got.Outcome, steps(got))
		}
		if len(w.all) != 0 || len(w.moves(t)) != 0 {
			t.Errorf("%s: a dry run is kept: %+v", takeover, w.all)
		}
	}
}
