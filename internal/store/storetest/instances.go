package storetest

import (
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

var instanceCases = []testCase{
	{"missing records", func(t *testing.T, w *world) {
		_, err := w.Instance(t.Context(), "ghost")
		fails(t, "Instance", err, dps.InstanceNotFound)
		_, err = w.InstanceByScope(t.Context(), "0neFFFFFFFF0")
		fails(t, "InstanceByScope", err, dps.InstanceNotFound)
		_, err = w.Policy(t.Context(), here, "ghost")
		fails(t, "Policy", err, dps.Unauthorized)
		_, err = w.HubPolicy(t.Context(), here, dps.EmbeddedHub, "ghost")
		fails(t, "HubPolicy", err, dps.Unauthorized)
		_, err = w.HubPolicy(t.Context(), here, "ghost", dps.HubOwnerPolicy)
		fails(t, "HubPolicy of another hub", err, dps.Unauthorized)
	}},
	{"everything is read back", func(t *testing.T, w *world) {
		setup := setupOf("third")
		setup.Instance.Allocation = dps.Static
		setup.Policy.Name, setup.Policy.Rights = "Reader", dps.EnrollmentRead|dps.RegistrationStatusRead
		setup.Hub.Weight, setup.Hub.ApplyPolicy = 7, false
		setup.HubPolicy.Rights = dps.RegistryRead
		must(t, w.Create(t.Context(), setup))
		must(t, w.Ping(t.Context()))
		same(t, "by ID", read[dps.Instance](t)(w.Instance(t.Context(), "third")), setup.Instance)
		same(t, "by scope", read[dps.Instance](t)(w.InstanceByScope(t.Context(), setup.Instance.Scope)), setup.Instance)
		same(t, "policies", read[[]dps.Policy](t)(w.Policies(t.Context(), "third")), []dps.Policy{setup.Policy})
		same(t, "policy", read[dps.Policy](t)(w.Policy(t.Context(), "third", "rEADER")), setup.Policy)
		same(t, "hubs", read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), "third")), []dps.LinkedHub{setup.Hub})
		same(t, "hub policies", read[[]dps.HubPolicy](t)(w.HubPolicies(t.Context(), "third", dps.EmbeddedHub)), []dps.HubPolicy{setup.HubPolicy})
		same(t, "hub policy", read[dps.HubPolicy](t)(w.HubPolicy(t.Context(), "third", dps.EmbeddedHub, "IoTHubOwner")), setup.HubPolicy)
	}},
	{"every right is kept", func(t *testing.T, w *world) {
		for i, right := range []dps.Rights{
			dps.ServiceConfig, dps.EnrollmentRead, dps.EnrollmentWrite, dps.DeviceConnect, dps.RegistrationStatusRead, dps.RegistrationStatusWrite,
		} {
			setup := setupOf(dps.InstanceID('a' + rune(i)))
			setup.Policy.Rights = right
			must(t, w.Create(t.Context(), setup))
			same(t, "rights", read[dps.Policy](t)(w.Policy(t.Context(), setup.Instance.ID, setup.Policy.Name)).Rights, right)
		}
	}},
	{"an instance is created once, whole or not at all", func(t *testing.T, w *world) {
		first := read[dps.Instance](t)(w.Instance(t.Context(), here))
		if err := w.Create(t.Context(), setupOf(here)); err == nil {
			t.Error("created a second time")
		}
		same(t, "the first", read[dps.Instance](t)(w.Instance(t.Context(), here)), first)

		taken := setupOf("third")
		taken.Instance.Scope = first.Scope
		if err := w.Create(t.Context(), taken); err == nil {
			t.Error("two instances have one scope")
		}
		broken := setupOf("third")
		broken.HubPolicy.Hub = "ghost"
		if err := w.Create(t.Context(), broken); err == nil {
			t.Error("created with the policy of a hub that does not exist")
		}
		_, err := w.Instance(t.Context(), "third")
		fails(t, "what was not created", err, dps.InstanceNotFound)
		must(t, w.Create(t.Context(), setupOf("third")))
	}},
	{"a hub is renamed", func(t *testing.T, w *world) {
		_, d := w.commitNew(t, "sensor")
		read[int](t)(w.RenameHub(t.Context(), here, dps.EmbeddedHub, "new.example.com"))
		hubs := read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here))
		if len(hubs) != 1 || hubs[0].HostName != "new.example.com" {
			t.Errorf("hubs = %+v", hubs)
		}
		same(t, "its device", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, "sensor")), d)
		others := read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), there))
		if len(others) != 1 || others[0].HostName != "hub.example.com" {
			t.Errorf("hubs of the other instance = %+v", others)
		}
	}},
	{"enrollments follow a hub that is renamed", func(t *testing.T, w *world) {
		named := func(ref dps.EntryRef, old dps.HostName, hubs ...dps.HostName) {
			e := enrollment(ref, byKeys())
			e.Placement.Policy, e.Placement.IotHubs, e.Placement.HubHostName = dps.Hashed, hubs, old
			e.InitialTwin = []byte(`{"tags":{"hub":"hub.example.com"}}`)
			w.put(t, e)
		}
		named(individual("a"), "", "HUB.example.com", "b.example.com")
		named(group("b"), "", "b.example.com", "hub.example.com", "new.example.com")
		named(individual("c"), "hub.example.com")
		named(group("d"), "", "hubxexample.com", "other-hub.example.com")
		before := w.enrollment(t, group("d"))
		if n := read[int](t)(w.RenameHub(t.Context(), here, dps.EmbeddedHub, "new.example.com")); n != 3 {
			t.Errorf("%d enrollments were changed, want 3", n)
		}
		same(t, "a", w.enrollment(t, individual("a")).Placement.IotHubs, []dps.HostName{"new.example.com", "b.example.com"})
		same(t, "b", w.enrollment(t, group("b")).Placement.IotHubs, []dps.HostName{"b.example.com", "new.example.com"})
		same(t, "c", w.enrollment(t, individual("c")).Placement.HubHostName, dps.HostName("new.example.com"))
		same(t, "d", w.enrollment(t, group("d")), before)
		same(t, "twin", string(w.enrollment(t, individual("a")).InitialTwin), `{"tags":{"hub":"hub.example.com"}}`)
	}},
	{"instances do not see each other", instancesApart},
}

// instancesApart stores the same names in both instances with different content.
func instancesApart(t *testing.T, w *world) {
	ctx := t.Context()
	cert := certificate(t, "CA")
	entry, caName := group("line"), dps.CAName("root")
	for _, in := range []dps.InstanceID{here, there} {
		_, err := w.Enrollment(ctx, in, entry)
		fails(t, "Enrollment", err, dps.GroupNotFound)
		_, err = w.CACertificate(ctx, in, caName)
		fails(t, "CACertificate", err, dps.CertificateNotFound)
		_, err = w.Registration(ctx, in, "sensor")
		fails(t, "Registration", err, dps.RegistrationNotFound)
		_, err = w.HubDevice(ctx, in, dps.EmbeddedHub, "sensor")
		fails(t, "HubDevice", err, dps.DeviceNotFound)

		e := enrollment(entry, byCertificate(cert))
		ca := caCertificate(caName, cert)
		reg, d := registration("sensor"), device("sensor")
		e.Instance, ca.Instance, reg.Instance, d.Instance = in, in, in, in
		must(t, w.PutEnrollment(ctx, e, ""))
		must(t, w.PutCACertificate(ctx, ca, ""))
		must(t, w.Commit(ctx, dps.RegistrationChange{Registration: reg, Device: &d}))

		same(t, "enrollment", read[dps.Enrollment](t)(w.Enrollment(ctx, in, entry)), e)
		same(t, "CA certificates", read[[]dps.CACertificate](t)(w.CACertificates(ctx, in)), []dps.CACertificate{ca})
		same(t, "registration", read[dps.Registration](t)(w.Registration(ctx, in, "sensor")), reg)
		same(t, "devices", read[[]dps.HubDevice](t)(w.HubDevices(ctx, in, dps.EmbeddedHub, "", 10)), []dps.HubDevice{d})
		same(t, "anchors", read[[]dps.Anchor](t)(w.Anchors(ctx, in, [][]byte{subjectOf(t, cert)})),
			[]dps.Anchor{{Certificate: cert, CA: caName, Group: entry.ID}})
	}
	elsewhere := read[dps.Registration](t)(w.Registration(ctx, there, "sensor"))
	_, err := w.Operation(ctx, here, "sensor", elsewhere.Operation)
	fails(t, "Operation of the other instance", err, dps.OperationNotFound)

	stored := read[dps.Enrollment](t)(w.Enrollment(ctx, there, entry))
	fails(t, "delete by the other's version", w.DeleteEnrollment(ctx, here, entry, stored.ETag), dps.ConcurrentChange)
	must(t, w.DeleteEnrollment(ctx, there, entry, stored.ETag))
	if got := w.owner(t, cert); got != entry.ID {
		t.Errorf("owner here = %q after a delete there", got)
	}
	a, b := read[dps.Policy](t)(w.Policy(ctx, here, dps.OwnerPolicy)), read[dps.Policy](t)(w.Policy(ctx, there, dps.OwnerPolicy))
	if a.Keys.Primary.Base64() == b.Keys.Primary.Base64() {
		t.Error("both instances have one key")
	}
}
