package register_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
)

const twin = `{"tags":{"site":"north"},"properties":{"desired":{"rate":5}}}`

func withTwin(e *dps.Enrollment) { e.InitialTwin = json.RawMessage(twin) }

func TestFirstRegistration(t *testing.T) {
	w := newWorld(t)
	w.group(t, func(e *dps.Enrollment) {
		withTwin(e)
		e.Capabilities = &dps.Capabilities{IotEdge: true}
	})
	device := w.leaf(t, "Sensor-7")
	rec := w.registered(t, w.request("Sensor-7", device))
	want := register.Record{Hub: hostName, Registration: dps.Registration{
		Instance: in, ID: "Sensor-7", Entry: group("line"), Attestation: dps.X509, Evidence: "x509:" + thumbprint(device.Certificate),
		Status: dps.Assigned, Assignment: &dps.Assignment{
			Hub: dps.EmbeddedHub, DeviceID: "Sensor-7", Substatus: dps.InitialAssignment, Entry: group("line"),
		},
		Operation: rec.Operation, ETag: rec.ETag, Created: w.now, Updated: w.now,
	}}
	if diff := cmp.Diff(want, rec); diff != "" || rec.ETag == "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	got := w.device(t, "Sensor-7")
	wantDevice := dps.HubDevice{
		Instance: in, Hub: dps.EmbeddedHub, DeviceID: "Sensor-7", GenerationID: got.GenerationID, IotEdge: true,
		Authentication: dps.HubAuthentication{
			Type: dps.HubAuthSelfSigned, PrimaryThumbprint: thumbprint(device.Certificate), SecondaryThumbprint: thumbprint(device.Certificate),
		},
		Twin:        dps.Twin{Tags: json.RawMessage(`{"site":"north"}`), Desired: json.RawMessage(`{"rate":5}`)},
		TwinVersion: 2, DesiredStamp: dps.Stamp{At: w.now, Version: 1}, ReportedStamp: dps.Stamp{At: w.now, Version: 1},
		ETag: got.ETag, Created: w.now, Updated: w.now,
	}
	if diff := cmp.Diff(wantDevice, got); diff != "" || got.GenerationID == "" || got.ETag == "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	if last, n := w.outcomes.last(); n != 1 || last != (outcome{dps.X509, dps.Assigned, dps.ReasonNone}) {
		t.Errorf("observer heard %+v, %d times", last, n)
	}
	if l := w.lastLine(t); l.Level != "DEBUG" || l.RegistrationID != "Sensor-7" || l.TrackingID != "tracking-1" {
		t.Errorf("log line = %+v", l)
	}
}

// A reboot keeps everything and writes no identity; a renewed certificate refreshes
// the thumbprint and nothing else.
func TestLaterRegistrations(t *testing.T) {
	w := newWorld(t)
	w.group(t, withTwin)
	device := w.leaf(t, "sensor")
	first := w.registered(t, w.request("sensor", device))
	identity := w.device(t, "sensor")
	w.group(t, func(e *dps.Enrollment) { e.InitialTwin = json.RawMessage(`{"tags":{"site":"south"}}`) })

	w.advance(time.Minute)
	second := w.registered(t, w.request("SENSOR", device))
	want := first
	want.Operation, want.ETag, want.Updated = second.Operation, second.ETag, w.now
	if diff := cmp.Diff(want, second); diff != "" || second.Operation == first.Operation || second.ETag == first.ETag {
		t.Errorf("second registration (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(identity, w.device(t, "sensor")); diff != "" {
		t.Errorf("identity after a reboot (-want +got):\n%s", diff)
	}
	earlier, err := w.Poll(t.Context(), w.request("sensor", device), first.Operation)
	must(t, err)
	if diff := cmp.Diff(first, earlier); diff != "" {
		t.Errorf("first operation, superseded (-want +got):\n%s", diff)
	}

	w.advance(time.Minute)
	renewed := w.leaf(t, "sensor")
	third := w.registered(t, w.request("sensor", renewed))
	if third.Assignment == nil || *third.Assignment != *first.Assignment || third.Evidence == first.Evidence {
		t.Errorf("with a renewed certificate = %+v", third)
	}
	got := w.device(t, "sensor")
	identity.Authentication = dps.SelfSigned(dps.ThumbprintOf(renewed.Certificate.Raw))
	if got.ETag == identity.ETag {
		t.Error("the identity changed, its version did not")
	}
	identity.ETag, identity.Updated = got.ETag, w.now
	if diff := cmp.Diff(identity, got); diff != "" {
		t.Errorf("identity with a renewed certificate (-want +got):\n%s", diff)
	}
}

func TestCapabilitiesFollowTheEnrollment(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	device := w.leaf(t, "sensor")
	w.registered(t, w.request("sensor", device))
	w.group(t, func(e *dps.Enrollment) { e.Capabilities = &dps.Capabilities{IotEdge: true} })
	w.registered(t, w.request("sensor", device))
	if !w.device(t, "sensor").IotEdge {
		t.Error("the identity is no edge device")
	}
}

func TestIndividualEnrollments(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	own, signed, byCA := selfSigned(t, "own"), w.leaf(t, "signed"), w.leaf(t, "by-ca")
	w.put(t, individual("own"), dps.X509Attestation{Primary: certificateOf(own)}, func(e *dps.Enrollment) { e.DeviceID = "Pump_1" })
	w.put(t, individual("signed"), dps.X509Attestation{Secondary: certificateOf(signed)}, nil)
	w.put(t, individual("by-ca"), dps.X509Attestation{CAPrimary: "root"}, nil)
	for _, tt := range []struct {
		id     string
		device *pki.Issued
		want   dps.DeviceID
	}{{"own", own, "Pump_1"}, {"signed", signed, "signed"}, {"by-ca", byCA, "by-ca"}} {
		rec := w.registered(t, w.request(tt.id, tt.device))
		if rec.Status != dps.Assigned || rec.Entry != individual(tt.id) || rec.Assignment.DeviceID != tt.want {
			t.Errorf("%s: record = %+v, assignment %+v", tt.id, rec, rec.Assignment)
		}
		if got := w.device(t, tt.want); got.Authentication.PrimaryThumbprint != thumbprint(tt.device.Certificate) {
			t.Errorf("%s: identity = %+v", tt.id, got)
		}
	}
}

// The nearest group decides, through intermediates that only the device has and
// ones that only the service has.
func TestChains(t *testing.T) {
	w := newWorld(t)
	upper := issue(t, pki.Request{Kind: pki.Intermediate, CommonName: "Upper", Issuer: w.root.Issuer()})
	lower := issue(t, pki.Request{Kind: pki.Intermediate, CommonName: "Lower", Issuer: upper.Issuer()})
	device := issue(t, pki.Request{Kind: pki.Device, CommonName: "sensor", Issuer: lower.Issuer()})
	w.group(t, nil)
	if rec := w.registered(t, w.request("sensor", device)); rec.Entry != group("line") {
		t.Errorf("decided by %v, want the group of the root", rec.Entry)
	}
	w.put(t, group("upper"), dps.X509Attestation{Primary: certificateOf(upper)}, nil)
	if rec := w.registered(t, w.request("sensor", device)); rec.Entry != group("upper") {
		t.Errorf("decided by %v, want the nearer group", rec.Entry)
	}
	alone := w.request("sensor", device)
	alone.Evidence.Chain = alone.Evidence.Chain[:2] // leaf and lower; the service has the rest
	if rec := w.registered(t, alone); rec.Entry != group("upper") {
		t.Errorf("decided by %v, want the nearer group", rec.Entry)
	}
}

func TestReprovisionPolicy(t *testing.T) {
	unlinked := func(policy *dps.ReprovisionPolicy) func(*dps.Enrollment) {
		return func(e *dps.Enrollment) {
			e.Placement = dps.Placement{Policy: dps.Static, IotHubs: []dps.HostName{"gone.example.com"}, Reprovision: policy}
		}
	}
	tests := []struct {
		name       string
		policy     *dps.ReprovisionPolicy
		apiVersion string
		want       dps.RegistrationStatus
	}{
		{"never", &dps.ReprovisionPolicy{}, apiVersion, dps.Assigned},
		{"never, first version", &dps.ReprovisionPolicy{}, "2017-11-15", dps.Assigned},
		{"no policy", nil, apiVersion, dps.Failed},
		{"no policy, first versions", nil, "2018-04-01", dps.Assigned},
		{"update", &dps.ReprovisionPolicy{UpdateHubAssignment: true}, apiVersion, dps.Failed},
		{"update, first versions", &dps.ReprovisionPolicy{UpdateHubAssignment: true}, "2017-11-15", dps.Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.group(t, nil)
			req := w.request("sensor", w.leaf(t, "sensor"))
			first := w.registered(t, req)
			w.group(t, unlinked(tt.policy))
			req.APIVersion = tt.apiVersion
			rec := w.registered(t, req)
			if rec.Status != tt.want || (rec.Failure != nil) != (tt.want == dps.Failed) {
				t.Errorf("record = %+v, failure %+v; want %s", rec, rec.Failure, tt.want)
			}
			if *rec.Assignment != *first.Assignment {
				t.Errorf("assignment = %+v, want it kept: %+v", rec.Assignment, first.Assignment)
			}
		})
	}
}

// A device whose hub is no longer linked is allocated anew, whatever its policy.
func TestHubIsUnlinked(t *testing.T) {
	w := newWorld(t)
	w.group(t, func(e *dps.Enrollment) { e.Placement.Reprovision = &dps.ReprovisionPolicy{} })
	req := w.request("sensor", w.leaf(t, "sensor"))
	first := w.registered(t, req)
	s := w.over(&overlay{Store: w.store, hubs: func() ([]dps.LinkedHub, error) { return nil, nil }})
	ticket, err := s.Register(t.Context(), req)
	must(t, err)
	rec, err := s.Poll(t.Context(), req, ticket.Operation)
	must(t, err)
	if rec.Status != dps.Failed || rec.Failure.Code != dps.NoHub || rec.Hub != "" || *rec.Assignment != *first.Assignment {
		t.Errorf("record = %+v, failure %+v", rec, rec.Failure)
	}
}

// Static allocation without iotHubs takes the only linked hub.
func TestStaticWithoutHubs(t *testing.T) {
	w := newWorld(t)
	w.group(t, func(e *dps.Enrollment) { e.Placement.Policy = dps.Static })
	if rec := w.registered(t, w.request("sensor", w.leaf(t, "sensor"))); rec.Status != dps.Assigned || rec.Hub != hostName {
		t.Errorf("record = %+v, failure %+v", rec, rec.Failure)
	}
}

func TestAllocationFails(t *testing.T) {
	tests := []struct {
		name      string
		placement dps.Placement
		says      string
	}{
		{"unlinked hub", dps.Placement{Policy: dps.Hashed, IotHubs: []dps.HostName{"gone.example.com"}}, "gone.example.com"},
		{"unlinked single hub", dps.Placement{HubHostName: "gone.example.com"}, "gone.example.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.group(t, func(e *dps.Enrollment) { e.Placement = tt.placement })
			req := w.request("sensor", w.leaf(t, "sensor"))
			rec := w.registered(t, req)
			if rec.Status != dps.Failed || rec.Assignment != nil || rec.Hub != "" {
				t.Fatalf("record = %+v", rec)
			}
			fails(t, "failure", dps.Errorf(rec.Failure.Code, "%s", rec.Failure.Message), dps.NoHub, tt.says)
			if devices, err := w.store.HubDevices(t.Context(), in, dps.EmbeddedHub, "", 10); err != nil || len(devices) != 0 {
				t.Errorf("identities = %+v, %v; want none", devices, err)
			}
			if last, n := w.outcomes.last(); n != 1 || last.Status != dps.Failed {
				t.Errorf("observer heard %+v, %d times", last, n)
			}
			if l := w.lastLine(t); l.Level != "INFO" || l.Message != "registration failed" {
				t.Errorf("log line = %+v", l)
			}
			w.group(t, nil)
			if rec := w.registered(t, req); rec.Status != dps.Assigned || rec.Failure != nil {
				t.Errorf("when mended = %+v, failure %+v", rec, rec.Failure)
			}
		})
	}
}

// An identity without a record here is taken over with its twin.
func TestIdentityWithoutRecord(t *testing.T) {
	w := newWorld(t)
	w.group(t, withTwin)
	other := w.leaf(t, "other")
	w.registered(t, w.request("other", other))
	before := w.device(t, "other")

	device := selfSigned(t, "sensor")
	w.put(t, individual("sensor"), dps.X509Attestation{Primary: certificateOf(device)}, func(e *dps.Enrollment) { e.DeviceID = "other" })
	rec := w.registered(t, w.request("sensor", device))
	if rec.Status != dps.Assigned || *rec.Assignment != (dps.Assignment{
		Hub: dps.EmbeddedHub, DeviceID: "other", Substatus: dps.ReprovisionedToInitialAssignment, Entry: individual("sensor"),
	}) {
		t.Errorf("assignment = %+v", rec.Assignment)
	}
	after := w.device(t, "other")
	if after.GenerationID != before.GenerationID || string(after.Twin.Tags) != string(before.Twin.Tags) {
		t.Errorf("identity = %+v, want generation and twin of %+v", after, before)
	}
	if after.Authentication.PrimaryThumbprint != thumbprint(device.Certificate) {
		t.Error("the identity does not take the new device's certificate")
	}
}

// An identity that was deleted at its hub is created anew, with the initial twin.
func TestIdentityDeletedAtTheHub(t *testing.T) {
	w := newWorld(t)
	w.group(t, withTwin)
	req := w.request("sensor", w.leaf(t, "sensor"))
	first := w.registered(t, req)
	before := w.device(t, "sensor")
	w.advance(time.Hour)

	missing := &overlay{Store: w.store, fail: map[string]error{"HubDevice": dps.Errorf(dps.DeviceNotFound, "gone")}}
	var written dps.RegistrationChange
	missing.commit = func(c dps.RegistrationChange) error {
		written = c
		return dps.Errorf(dps.Unavailable, "not written")
	}
	_, err := w.over(missing).Register(t.Context(), req)
	fails(t, "Register", err, dps.Unavailable)
	d := written.Device
	if d == nil || written.DeviceMatch != "" || d.DeviceID != "sensor" || d.GenerationID <= before.GenerationID ||
		string(d.Twin.Desired) != `{"rate":5}` {
		t.Errorf("change = %+v, device %+v", written, d)
	}
	if *written.Registration.Assignment != *first.Assignment {
		t.Errorf("assignment = %+v, want %+v", written.Registration.Assignment, first.Assignment)
	}
}

func TestConcurrentRegistrations(t *testing.T) {
	w := newWorld(t)
	w.group(t, withTwin)
	device := w.leaf(t, "sensor")
	req := w.request("sensor", device)
	const calls = 1500 // far more than one of them would try again
	tickets := make([]register.Ticket, calls)
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			var err error
			if tickets[i], err = w.Register(t.Context(), req); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	done := make(map[dps.OperationID]bool)
	for i, ticket := range tickets {
		if done[ticket.Operation] = true; i >= 100 { // whose operations would no longer be readable
			continue
		}
		w.advance(5 * time.Second) // no device polls faster
		rec, err := w.Poll(t.Context(), req, ticket.Operation)
		if err != nil || rec.Status != dps.Assigned || rec.Hub != hostName {
			t.Errorf("polled %+v, %v", rec, err)
		}
	}
	if len(done) != calls {
		t.Errorf("%d operations, want %d", len(done), calls)
	}
	devices, err := w.store.HubDevices(t.Context(), in, dps.EmbeddedHub, "", 10)
	if err != nil || len(devices) != 1 {
		t.Errorf("identities = %+v, %v; want one", devices, err)
	}
	rec, err := w.Record(t.Context(), in, "sensor")
	if err != nil || !done[rec.Operation] {
		t.Errorf("record = %+v, %v; want one of the operations", rec, err)
	}
}

func TestManyDevicesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	const devices = 24
	var all sync.WaitGroup
	for i := range devices {
		id := fmt.Sprintf("sensor-%d", i)
		req := w.request(id, w.leaf(t, id))
		all.Go(func() {
			ticket, err := w.Register(t.Context(), req)
			if err != nil {
				t.Error(err)
				return
			}
			if rec, err := w.Poll(t.Context(), req, ticket.Operation); err != nil || rec.Assignment.DeviceID != dps.DeviceID(id) {
				t.Errorf("%s: polled %+v, %v", id, rec, err)
			}
		})
	}
	all.Wait()
	if _, n := w.outcomes.last(); n != devices {
		t.Errorf("observer heard %d outcomes, want %d", n, devices)
	}
}

// Records say where a device is when its hub is no longer linked.
func TestRecordOfUnlinkedHub(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	first := w.registered(t, w.request("sensor", w.leaf(t, "sensor")))
	instance, err := w.store.Instance(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	hubs, err := w.store.Hubs(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	change := dps.InstanceChange{
		Instance: instance,
		IfMatch:  instance.ETag,
		Hubs:     dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: hubs[0], DeleteDevices: true}}},
	}
	change.Instance.ETag = dps.NewETag()
	if err := w.store.Configure(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	rec, err := w.Record(t.Context(), in, "sensor")
	if err != nil || rec.Hub != hostName || rec.Hub != first.Hub {
		t.Errorf("record = %+v, %v; want hub %s", rec, err, hostName)
	}
}
