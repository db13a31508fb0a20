package storetest

import (
	"testing"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

var linkingCases = []testCase{
	{"hubs are linked, changed and unlinked", func(t *testing.T, w *world) {
		first := read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here))[0]
		plant, lab := remoteHub("plant.example.com"), remoteHub("lab.example.com")
		embedded, policy := dps.NewEmbeddedHub(here, dps.NewHubID(), "hub-a.example.com")
		w.relink(t, dps.HubsChange{Link: []dps.LinkedHub{plant, lab, embedded}, Policies: []dps.HubPolicy{policy}})
		same(t, "linked", read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here)), []dps.LinkedHub{first, plant, lab, embedded})
		same(t, "policy", read[dps.HubPolicy](t)(w.HubPolicy(t.Context(), here, embedded.ID, dps.HubOwnerPolicy)), policy)

		plant.Location, plant.Weight, plant.ApplyPolicy = "", 1000, false
		plant.Access = &dps.HubAccess{Endpoint: "plant.example.com", KeyName: "other", Key: dps.NewKey()}
		first.Weight, first.Location = 7, "westeurope"
		w.relink(t, dps.HubsChange{Update: []dps.LinkedHub{plant, first}})
		same(t, "changed", read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here)), []dps.LinkedHub{first, plant, lab, embedded})

		w.relink(t, dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: lab}, {Hub: embedded}}})
		same(t, "unlinked", read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here)), []dps.LinkedHub{first, plant})
		same(t, "policies of an unlinked hub", read[[]dps.HubPolicy](t)(w.HubPolicies(t.Context(), here, embedded.ID)), []dps.HubPolicy(nil))
		same(t, "former", read[[]dps.FormerHub](t)(w.FormerHubs(t.Context(), here)), []dps.FormerHub{
			{ID: lab.ID, Kind: dps.KindIoTHub, HostName: "lab.example.com"},
			{ID: embedded.ID, Kind: dps.KindEmbedded, HostName: "hub-a.example.com"},
		})

		w.relink(t, dps.HubsChange{Link: []dps.LinkedHub{lab}})
		same(t, "linked again", read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here)), []dps.LinkedHub{first, plant, lab})
		if former := read[[]dps.FormerHub](t)(w.FormerHubs(t.Context(), here)); len(former) != 1 {
			t.Errorf("former hubs = %v", former)
		}
		w.relink(t, dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: first}, {Hub: plant}, {Hub: lab}}})
		same(t, "none", read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here)), []dps.LinkedHub(nil))
		if others := read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), there)); len(others) != 1 {
			t.Errorf("hubs of the other instance = %+v", others)
		}
		same(t, "former of the other instance", read[[]dps.FormerHub](t)(w.FormerHubs(t.Context(), there)), []dps.FormerHub(nil))
	}},
	{"one host name is one hub", func(t *testing.T, w *world) {
		plant := remoteHub("plant.example.com")
		w.relink(t, dps.HubsChange{Link: []dps.LinkedHub{plant}})
		in, again := w.instance(t, here), remoteHub("PLANT.example.com")
		changed := in
		changed.ETag = dps.NewETag()
		change := dps.InstanceChange{Instance: changed, IfMatch: in.ETag, Hubs: dps.HubsChange{Link: []dps.LinkedHub{again}}}
		if err := w.Configure(t.Context(), change); err == nil {
			t.Error("linked two hubs of one name")
		}
		same(t, "instance", w.instance(t, here), in)
		// The name is free within the change that unlinks its hub.
		w.relink(t, dps.HubsChange{Link: []dps.LinkedHub{again}, Unlink: []dps.HubUnlink{{Hub: plant}}})
		if hubs := read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here)); len(hubs) != 2 || hubs[1].ID != again.ID {
			t.Errorf("hubs = %+v", hubs)
		}
	}},
	{"an embedded hub with devices stays, unless they may go", unlinkWithDevices},
	{"a device comes too late for an unlinked hub", func(t *testing.T, w *world) {
		hub := read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here))[0]
		w.relink(t, dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: hub}}})
		reg, d := registration("sensor"), device("sensor")
		fails(t, "Commit", w.Commit(t.Context(), dps.RegistrationChange{Registration: reg, Device: &d}), dps.ConcurrentChange)
		_, err := w.Registration(t.Context(), here, "sensor")
		fails(t, "its record", err, dps.RegistrationNotFound)
	}},
	{"changes of hubs do not pass by another change", func(t *testing.T, w *world) {
		in, hubs := w.instance(t, here), read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here))
		changed := in
		changed.ETag = dps.NewETag()
		err := w.Configure(
			t.Context(),
			dps.InstanceChange{Instance: changed, IfMatch: "stale", Hubs: dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: hubs[0]}}}},
		)
		fails(t, "stale", err, dps.ConcurrentChange)
		ghost := remoteHub("ghost.example.com")
		err = w.Configure(
			t.Context(),
			dps.InstanceChange{Instance: changed, IfMatch: in.ETag, Hubs: dps.HubsChange{Update: []dps.LinkedHub{ghost}}},
		)
		fails(t, "a hub that is not linked", err, dps.ConcurrentChange)
		same(t, "hubs", read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here)), hubs)
		same(t, "instance", w.instance(t, here), in)
	}},
	{"each link has an audit entry beside the change's", func(t *testing.T, w *world) {
		hub := read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here))[0]
		plant, moved := remoteHub("plant.example.com"), remoteHub("moved.example.com")
		w.relink(t, dps.HubsChange{Link: []dps.LinkedHub{moved}})
		before := w.instance(t, here)
		changed := before
		changed.ETag = dps.NewETag()
		ctx, c := audit.Begin(
			t.Context(),
			audit.Entry{Instance: here, Operation: audit.Put, Kind: audit.ProvisioningService, ID: "here", TrackingID: "t-1"},
		)
		c.Allow(audit.ByToken("operator"))
		must(t, w.Configure(ctx, dps.InstanceChange{Instance: changed, IfMatch: before.ETag, Hubs: dps.HubsChange{
			Link: []dps.LinkedHub{plant}, Update: []dps.LinkedHub{moved}, Unlink: []dps.HubUnlink{{Hub: hub}},
		}}))
		entries := read[[]audit.Entry](t)(w.Audit(t.Context(), here, audit.Filter{}, 10, nil))
		for i := range entries {
			if entries[i].Seq == 0 || entries[i].Time != w.clock.Now() {
				t.Errorf("entry %+v", entries[i])
			}
			entries[i].Seq, entries[i].Time = 0, before.Created
		}
		entry := func(op audit.Operation, kind audit.Kind, id string, old, now dps.ETag) audit.Entry {
			return audit.Entry{
				Instance: here, Time: before.Created, Principal: audit.ByToken("operator"), Operation: op, Kind: kind, ID: id,
				OldETag: old, NewETag: now, Result: audit.OK, TrackingID: "t-1",
			}
		}
		same(t, "entries", entries, []audit.Entry{
			entry(audit.Put, audit.ProvisioningService, "here", before.ETag, changed.ETag),
			entry(audit.Link, audit.LinkedHub, "plant.example.com", "", changed.ETag),
			entry(audit.UpdateLink, audit.LinkedHub, "moved.example.com", before.ETag, changed.ETag),
			entry(audit.Unlink, audit.LinkedHub, "hub.example.com", before.ETag, ""),
		})
	}},
}

func unlinkWithDevices(t *testing.T, w *world) {
	hub := read[[]dps.LinkedHub](t)(w.Hubs(t.Context(), here))[0]
	reg, d := w.commitNew(t, "sensor")
	in := w.instance(t, here)
	changed := in
	changed.ETag = dps.NewETag()
	err := w.Configure(
		t.Context(),
		dps.InstanceChange{Instance: changed, IfMatch: in.ETag, Hubs: dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: hub}}}},
	)
	fails(t, "with a device", err, dps.Conflict, "hub.example.com", "1 devices")
	same(t, "instance", w.instance(t, here), in)
	same(t, "device", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, hub.ID, "sensor")), d)

	w.relink(t, dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: hub, DeleteDevices: true}}})
	_, err = w.HubDevice(t.Context(), here, hub.ID, "sensor")
	fails(t, "device of an unlinked hub", err, dps.DeviceNotFound)
	same(t, "its record", read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor")), reg)
}

// remoteHub returns a hub over the wire.
func remoteHub(host dps.HostName) dps.LinkedHub {
	return dps.LinkedHub{
		Instance: here, ID: dps.NewHubID(), Kind: dps.KindIoTHub, HostName: host, Location: "West Europe", Weight: 3, ApplyPolicy: true,
		Access: &dps.HubAccess{Endpoint: string(host) + ":8443", KeyName: "iothubowner", Key: dps.NewKey()},
	}
}

// relink changes the linked hubs of here.
func (w *world) relink(t *testing.T, c dps.HubsChange) {
	t.Helper()
	in := w.instance(t, here)
	change := dps.InstanceChange{Instance: in, IfMatch: in.ETag, Hubs: c}
	change.Instance.ETag = dps.NewETag()
	must(t, w.Configure(t.Context(), change))
}
