package wire_test

import (
	"encoding/json"
	"testing"

	"github.com/mooring-iot/mooring/wire"
)

// From the device over the function to a hub over the wire, and back: the function
// chooses hub and twin by what the device says, over HTTPS and MQTT.
func TestWebhookAndHub(t *testing.T) {
	t.Parallel()
	f, _ := newSecureFunction(t)
	fakes := newFakeSites(t, "plant-a.example", "plant-b.example")
	w := newWorld(t, "--hub-rate", "0", "--webhook-allow", "loopback", "--hub-ca", joined(t, f.caFile, fakes.caFile))
	w.link(t, fakes.sites["plant-a.example"], fakes.sites["plant-b.example"])
	const (
		initial = `[{"site":"hall"},{"interval":1},{}]`
		chosen  = `[{"by":"function"},{},{}]`
		second  = `[{"by":"second"},{},{}]`
	)
	answer := func(hub, twin string) string {
		return `{"iotHubHostName": "` + hub + `", "payload": {"hub": "` + hub + `"}, "initialTwin": ` + twin + `}`
	}
	n := 0
	for name, carrier := range transports {
		for _, row := range []struct {
			policy    string
			twin      string // of the first answer
			first     string // twin at the first hub
			substatus string
			then      string // twin in the end
		}{
			{`{"updateHubAssignment": true, "migrateDeviceData": true}`, `{"tags": {"by": "function"}}`, chosen, "deviceDataMigrated", chosen},
			{`{"updateHubAssignment": true, "migrateDeviceData": false}`, `null`, initial, "deviceDataReset", second},
		} {
			n++
			d := newMovingDevice(t, w, "x509 group", n)
			d.members["allocationPolicy"], d.members["reprovisionPolicy"] = "custom", json.RawMessage(row.policy)
			d.members["iotHubs"] = []string{"plant-b.example", "plant-a.example"}
			d.members["customAllocationDefinition"] = map[string]any{"webhookUrl": f.URL + "/api?code=secret", "apiVersion": "2021-10-01"}
			w.put(t, d.path, d.members)
			o := d.call(t, "2021-06-01")
			o.body = `{"registrationId": "` + d.id + `", "payload": {"model": "P9"}}`

			f.says(answer("plant-a.example", row.twin))
			if s := w.registers(t, carrier, o); s.AssignedHub != "plant-a.example" || s.Substatus != "initialAssignment" ||
				!sameJSON(string(s.Payload), `{"hub": "plant-a.example"}`) {
				t.Errorf("%s: %+v", name, s)
			}
			d.stands(t, fakes.sites["plant-a.example"], row.first)
			var asked wire.AllocationRequest
			decoded(t, f.questions()[0], &asked)
			if c := asked.DeviceRuntimeContext; string(c.Payload) != `{"model":"P9"}` || c.X509 == nil || c.SymmetricKey != nil ||
				c.CurrentIotHubHost != "" {
				t.Errorf("%s: asked %s", name, f.questions()[0])
			}

			f.says(answer("plant-b.example", `{"tags": {"by": "second"}}`))
			if s := w.registers(t, carrier, o); s.AssignedHub != "plant-b.example" || s.Substatus != row.substatus ||
				!sameJSON(string(s.Payload), `{"hub": "plant-b.example"}`) {
				t.Errorf("%s: %+v", name, s)
			}
			d.stands(t, fakes.sites["plant-b.example"], row.then)
			decoded(t, f.questions()[0], &asked)
			if c := asked.DeviceRuntimeContext; c.CurrentIotHubHost != "plant-a.example" || c.CurrentDeviceID != d.id {
				t.Errorf("%s: asked %s", name, f.questions()[0])
			}
			fakes.sites["plant-a.example"].awaitGone(t, d.id)
		}
	}
}
