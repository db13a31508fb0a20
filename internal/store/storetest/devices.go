package storetest

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

var deviceCases = []testCase{
	{"every member is read back", func(t *testing.T, w *world) {
		for name, set := range map[string]func(*dps.HubDevice){
			"plain": func(*dps.HubDevice) {},
			"edge":  func(d *dps.HubDevice) { d.IotEdge = true },
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
			got := read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, d.DeviceID))
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
}
