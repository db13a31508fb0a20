package storetest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

var deviceCases = []testCase{
	{"every member is read back", func(t *testing.T, w *world) {
		for name, set := range map[string]func(*dps.HubDevice){
			"plain": func(*dps.HubDevice) {},
			"edge":  func(d *dps.HubDevice) { d.IotEdge = true },
			"status": func(d *dps.HubDevice) {
				d.Disabled, d.StatusReason, d.StatusUpdated = true, "stolen, \"maybe\"", start.Add(time.Hour)
			},
			"parent":   func(d *dps.HubDevice) { d.Parent = "ms-azure-iot-edge://gateway-1" },
			"no proof": func(d *dps.HubDevice) { d.Authentication = dps.HubAuthentication{Type: dps.HubAuthNone} },
			"moved": func(d *dps.HubDevice) {
				moved := dps.Twin{Reported: json.RawMessage(`{"on":true}`)}
				*d = dps.NewHubDevice(dps.LinkedHub{Instance: here, ID: dps.EmbeddedHub}, dps.HubIdentity{DeviceID: d.DeviceID}, moved, start)
			},
			"changed": func(d *dps.HubDevice) {
				d.TwinVersion = 9
				d.DesiredStamp = dps.Stamp{At: start.Add(time.Minute), Version: 4, Parts: map[string]dps.Stamp{
					"a": {At: start, Version: 1, Parts: map[string]dps.Stamp{"b": {At: start.Add(time.Second), Version: 2}}},
				}}
				d.ReportedStamp = dps.Stamp{At: start.Add(time.Hour), Version: 5}
			},
			"keys": func(d *dps.HubDevice) {
				d.Authentication = dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: dps.NewKeyPair()}
			},
			"tags":    func(d *dps.HubDevice) { d.Twin.Tags = json.RawMessage(`{ "b":1.0, "a":"<é>" }`) },
			"desired": func(d *dps.HubDevice) { d.Twin.Desired = json.RawMessage(`{"n":4503599627370495}`) },
			"empty":   func(d *dps.HubDevice) { d.Twin = dps.Twin{Tags: json.RawMessage(`{}`), Desired: json.RawMessage(`{}`)} },
			"two certificates": func(d *dps.HubDevice) {
				d.Authentication.SecondaryThumbprint = dps.ThumbprintOf([]byte("second")).String()
			},
		} {
			reg, d := registration(dps.RegistrationID(name)), device(dps.DeviceID(name))
			set(&d)
			w.commit(t, dps.RegistrationChange{Registration: reg, Device: &d})
			got := w.hubDevice(t, d.DeviceID)
			same(t, name, got, d)
			if (got.Twin.Tags == nil) != (d.Twin.Tags == nil) || (got.Twin.Desired == nil) != (d.Twin.Desired == nil) {
				t.Errorf("%s: twin = %q, want %q", name, got.Twin, d.Twin)
			}
		}
	}},
	{"case distinguishes IDs", func(t *testing.T, w *world) {
		var want []dps.HubDevice
		for i, id := range []dps.DeviceID{"Sensor", "sensor"} {
			reg, d := registration(dps.RegistrationID(fmt.Sprint(i))), device(id)
			w.commit(t, dps.RegistrationChange{Registration: reg, Device: &d})
			want = append(want, d)
		}
		same(t, "upper", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, "Sensor")), want[0])
		same(t, "lower", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, "sensor")), want[1])
		_, err := w.HubDevice(t.Context(), here, dps.EmbeddedHub, "SENSOR")
		fails(t, "neither", err, dps.DeviceNotFound)
	}},
	{"listed by ID, a page at a time", func(t *testing.T, w *world) {
		for _, id := range []dps.RegistrationID{"b", "C", "a", "a-1", "_"} {
			w.commitNew(t, id)
		}
		want := []dps.DeviceID{"C", "_", "a", "a-1", "b"} // by bytes
		var all []dps.DeviceID
		after := dps.DeviceID("")
		for {
			page := read[[]dps.HubDevice](t)(w.HubDevices(t.Context(), here, dps.EmbeddedHub, after, 2))
			if len(page) > 2 {
				t.Fatalf("a page of %d, want at most 2", len(page))
			}
			for _, d := range page {
				all = append(all, d.DeviceID)
			}
			if len(page) < 2 {
				break
			}
			after = page[len(page)-1].DeviceID
		}
		same(t, "IDs", all, want)
		same(t, "another hub", read[[]dps.HubDevice](t)(w.HubDevices(t.Context(), here, "ghost", "", 10)), []dps.HubDevice(nil))
		same(t, "none", read[[]dps.HubDevice](t)(w.HubDevices(t.Context(), here, dps.EmbeddedHub, "b", 10)), []dps.HubDevice(nil))
	}},
	{"created once", func(t *testing.T, w *world) {
		d := device("sensor")
		must(t, w.CreateHubDevice(t.Context(), d))
		second := device("sensor")
		fails(t, "again", w.CreateHubDevice(t.Context(), second), dps.DeviceExists, "sensor")
		same(t, "device", w.hubDevice(t, "sensor"), d)
		ghost := dps.LinkedHub{Instance: here, ID: "ghost"}
		if err := w.CreateHubDevice(t.Context(), dps.NewHubDevice(ghost, dps.HubIdentity{DeviceID: "x"}, dps.Twin{}, start)); err == nil {
			t.Error("created at a hub that is not there")
		}
	}},
	{"changed at the version it was made from", func(t *testing.T, w *world) {
		was := device("sensor")
		was.Authentication = dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: dps.NewKeyPair()}
		must(t, w.CreateHubDevice(t.Context(), was))
		disabled := true
		d, err := was.Written(dps.HubDeviceDraft{Disabled: &disabled, StatusReason: "lost"}, start.Add(time.Minute))
		must(t, err)
		d, _, err = d.WithTwin(
			dps.TwinChange{Tags: json.RawMessage(`{"a":1}`), Desired: json.RawMessage(`{"b":{"c":2}}`), Reported: json.RawMessage(`{"d":3}`)},
			start.Add(time.Minute),
		)
		must(t, err)
		must(t, w.ChangeHubDevice(t.Context(), was, d))
		same(t, "device", w.hubDevice(t, "sensor"), d)

		fails(t, "identity and twin at another version", w.ChangeHubDevice(t.Context(), was, d), dps.ConcurrentChange)
		twinChanged := d
		twinChanged.TwinVersion--
		fails(t, "twin at another version", w.ChangeHubDevice(t.Context(), twinChanged, d), dps.ConcurrentChange)
		anew := d
		anew.GenerationID = dps.NewGenerationID(start.Add(time.Hour))
		fails(t, "another generation", w.ChangeHubDevice(t.Context(), anew, d), dps.ConcurrentChange)
		fails(t, "nobody", w.ChangeHubDevice(t.Context(), device("ghost"), device("ghost")), dps.ConcurrentChange)
		same(t, "device", w.hubDevice(t, "sensor"), d)
	}},
	{"a registration leaves twin and status alone", func(t *testing.T, w *world) {
		reg, was := w.commitNew(t, "sensor")
		disabled := true
		d, err := was.Written(dps.HubDeviceDraft{Disabled: &disabled, StatusReason: "lost"}, start.Add(time.Minute))
		must(t, err)
		must(t, w.ChangeHubDevice(t.Context(), was, d))
		stale, _ := d.Refreshed(
			dps.HubIdentity{DeviceID: "sensor", Authentication: dps.SelfSigned(dps.ThumbprintOf([]byte("renewed")))},
			start.Add(time.Hour),
		)
		twin, _, err := d.WithTwin(dps.TwinChange{Tags: json.RawMessage(`{"a":1}`)}, start.Add(time.Minute))
		must(t, err)
		must(t, w.ChangeHubDevice(t.Context(), d, twin)) // between the registration's reading and its writing
		w.commit(
			t,
			dps.RegistrationChange{Registration: again(reg, start.Add(time.Hour)), IfMatch: reg.ETag, Device: &stale, DeviceMatch: d.ETag},
		)
		want := twin
		want.Authentication, want.ETag, want.Updated = stale.Authentication, stale.ETag, stale.Updated
		same(t, "device", w.hubDevice(t, "sensor"), want)
	}},
	{"another generation replaces all of it", func(t *testing.T, w *world) {
		reg, was := w.commitNew(t, "sensor")
		anew := dps.NewHubDevice(
			dps.LinkedHub{Instance: here, ID: dps.EmbeddedHub},
			dps.HubIdentity{DeviceID: "sensor"},
			dps.Twin{Tags: json.RawMessage(`{"a":1}`)},
			start.Add(time.Hour),
		)
		next := again(reg, start.Add(time.Hour))
		w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: reg.ETag, Device: &anew, DeviceMatch: was.ETag})
		same(t, "device", w.hubDevice(t, "sensor"), anew)
		other := dps.NewHubDevice(dps.LinkedHub{Instance: here, ID: dps.EmbeddedHub}, dps.HubIdentity{DeviceID: "sensor"}, dps.Twin{}, start)
		err := w.Commit(
			t.Context(),
			dps.RegistrationChange{Registration: again(next, start), IfMatch: next.ETag, Device: &other, DeviceMatch: was.ETag},
		)
		fails(t, "at another version", err, dps.ConcurrentChange)
		same(t, "device", w.hubDevice(t, "sensor"), anew)
	}},
	{"deleted at the version that is named", func(t *testing.T, w *world) {
		d := device("sensor")
		must(t, w.CreateHubDevice(t.Context(), d))
		fails(t, "another version", w.DeleteHubDevice(t.Context(), here, dps.EmbeddedHub, "sensor", dps.NewETag()), dps.ConcurrentChange)
		fails(t, "another ID", w.DeleteHubDevice(t.Context(), here, dps.EmbeddedHub, "SENSOR", d.ETag), dps.ConcurrentChange)
		fails(t, "another instance", w.DeleteHubDevice(t.Context(), there, dps.EmbeddedHub, "sensor", d.ETag), dps.ConcurrentChange)
		must(t, w.DeleteHubDevice(t.Context(), here, dps.EmbeddedHub, "sensor", d.ETag))
		_, err := w.HubDevice(t.Context(), here, dps.EmbeddedHub, "sensor")
		fails(t, "gone", err, dps.DeviceNotFound)
		fails(t, "twice", w.DeleteHubDevice(t.Context(), here, dps.EmbeddedHub, "sensor", d.ETag), dps.ConcurrentChange)
	}},
	{"found by every filter as by looking at each", func(t *testing.T, w *world) {
		const scope = "ms-azure-iot-edge://gateway-7"
		for i, id := range []dps.DeviceID{"a", "a-1", "a-2", "A-1", "a~", "b'; --", "b%", "b_", "c"} {
			if i == 4 {
				id = "a'" // no ~ in an ID
			}
			d := device(id)
			d.IotEdge = i%3 == 0
			if i%2 == 0 {
				d.Parent = scope
			}
			d.Disabled = i < 2
			must(t, w.CreateHubDevice(t.Context(), d))
		}
		all := read[[]dps.HubDevice](t)(w.HubDevices(t.Context(), here, dps.EmbeddedHub, "", 100))
		yes, no := true, false
		for _, id := range []dps.DeviceID{"", "a-1", "ghost"} {
			for _, prefix := range []string{"", "a", "a-", "b%", "b_", "z"} {
				for _, edge := range []*bool{nil, &yes, &no} {
					for _, parent := range []string{"", scope, "ms-azure-iot-edge://other"} {
						f := dps.HubDeviceFilter{ID: id, Prefix: prefix, Edge: edge, Parent: parent}
						var want []dps.DeviceID
						for _, d := range all {
							if f.Matches(d) {
								want = append(want, d.DeviceID)
							}
						}
						same(t, fmt.Sprintf("%+v", f), w.findDevices(t, f), want)
					}
				}
			}
		}
		n, err := w.CountHubDevices(t.Context(), here, dps.EmbeddedHub)
		must(t, err)
		same(t, "count", n, dps.HubDeviceCount{Total: 9, Disabled: 2})
		n, err = w.CountHubDevices(t.Context(), here, "ghost")
		must(t, err)
		same(t, "count of another hub", n, dps.HubDeviceCount{})
	}},
	{"missing policies are added, others stay", func(t *testing.T, w *world) {
		before := read[dps.HubPolicy](t)(w.HubPolicy(t.Context(), here, dps.EmbeddedHub, dps.HubOwnerPolicy))
		standard := dps.StandardHubPolicies(dps.LinkedHub{Instance: here, ID: dps.EmbeddedHub})
		must(t, w.AddHubPolicies(t.Context(), standard))
		must(t, w.AddHubPolicies(t.Context(), dps.StandardHubPolicies(dps.LinkedHub{Instance: here, ID: dps.EmbeddedHub})))
		same(t, "owner", read[dps.HubPolicy](t)(w.HubPolicy(t.Context(), here, dps.EmbeddedHub, dps.HubOwnerPolicy)), before)
		for _, p := range standard[1:] {
			same(t, p.Name, read[dps.HubPolicy](t)(w.HubPolicy(t.Context(), here, dps.EmbeddedHub, p.Name)), p)
		}
		if all := read[[]dps.HubPolicy](t)(w.HubPolicies(t.Context(), here, dps.EmbeddedHub)); len(all) != len(standard) {
			t.Errorf("%d policies, want %d", len(all), len(standard))
		}
	}},
}

// hubDevice returns a stored identity that has to be there.
func (w *world) hubDevice(t *testing.T, id dps.DeviceID) dps.HubDevice {
	t.Helper()
	return read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, id))
}

// findDevices returns the IDs that a filter finds, two at a time.
func (w *world) findDevices(t *testing.T, f dps.HubDeviceFilter) []dps.DeviceID {
	t.Helper()
	var all []dps.DeviceID
	for after := dps.DeviceID(""); ; after = all[len(all)-1] {
		page := read[[]dps.HubDevice](t)(w.FindHubDevices(t.Context(), here, dps.EmbeddedHub, f, after, 2))
		for _, d := range page {
			all = append(all, d.DeviceID)
		}
		if len(page) < 2 {
			return all
		}
	}
}
