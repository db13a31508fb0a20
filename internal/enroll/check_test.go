package enroll_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// hubs returns n different host names.
func hubs(n int) []dps.HostName {
	names := make([]dps.HostName, n)
	for i := range names {
		names[i] = dps.HostName(fmt.Sprintf("hub-%d.example.com", i))
	}
	return names
}

func webhook(url, version string) dps.Placement {
	return dps.Placement{Policy: dps.Custom, Custom: &dps.CustomAllocation{WebhookURL: url, APIVersion: version}}
}

func TestChecks(t *testing.T) {
	static := func(names ...dps.HostName) dps.Placement { return dps.Placement{Policy: dps.Static, IotHubs: names} }
	const hook = "https://f.example.com/api?code=secret"
	tests := []struct {
		name      string
		deviceID  dps.DeviceID
		placement dps.Placement
		twin      string
		field     string // named in the error; "" if the draft is fine
	}{
		{name: "nothing"},
		{name: "device ID", deviceID: "Device_7#a"},
		{name: "device ID with blank", deviceID: "a b", field: "deviceId"},
		{name: "device ID too long", deviceID: dps.DeviceID(strings.Repeat("a", 129)), field: "deviceId"},
		{name: "one hub", placement: static("hub.example.com")},
		{name: "no policy for hubs", placement: dps.Placement{IotHubs: hubs(1)}, field: "allocationPolicy must be specified when iotHubs"},
		{name: "as many hubs as may be", placement: dps.Placement{Policy: dps.Hashed, IotHubs: hubs(50)}},
		{name: "too many hubs", placement: dps.Placement{Policy: dps.Hashed, IotHubs: hubs(51)}, field: "iotHubs"},
		{name: "one hub twice", placement: static("hub.example.com", "HUB.example.com"), field: "iotHubs"},
		{name: "hub with scheme", placement: static("https://hub.example.com"), field: "iotHubs"},
		{name: "hub with port", placement: static("hub.example.com:443"), field: "iotHubs"},
		{name: "empty hub", placement: static(""), field: "iotHubs"},
		{name: "longest hub", placement: static(dps.HostName(strings.Repeat("a", 253)))},
		{name: "hub too long", placement: static(dps.HostName(strings.Repeat("a", 254))), field: "iotHubs"},
		{name: "single host name", placement: dps.Placement{HubHostName: "hub.example.com"}},
		{name: "single host name with path", placement: dps.Placement{HubHostName: "hub/x"}, field: "iotHubHostName"},
		{name: "webhook", placement: webhook(hook, "2019-03-31")},
		{name: "webhook in the network of its own", placement: webhook("https://10.0.0.7:8443/x", "2019-03-31")},
		{name: "plain webhook", placement: webhook("http://f.example.com/x", "1"), field: "customAllocationDefinition.webhookUrl: must be https"},
		{name: "webhook on this machine", placement: webhook("https://127.0.0.1/x", "1"), field: "customAllocationDefinition.webhookUrl: must not lead to this machine"},
		{name: "webhook on this machine by name", placement: webhook("https://LocalHost:9/x", "1"), field: "customAllocationDefinition.webhookUrl: must not lead to this machine"},
		{name: "webhook at a metadata service", placement: webhook("https://169.254.169.254/x", "1"), field: "customAllocationDefinition.webhookUrl: must not lead to a link-local"},
		{name: "webhook with a user", placement: webhook("https://me:secret@f.example.com/x", "1"), field: "customAllocationDefinition.webhookUrl: must not contain user information"},
		{name: "webhook that was masked", placement: webhook("https://f.example.com/x?****", "1"), field: "customAllocationDefinition.webhookUrl: has a masked query"},
		{name: "webhook without policy", placement: dps.Placement{Custom: webhook(hook, "1").Custom}},
		{name: "custom without webhook", placement: dps.Placement{Policy: dps.Custom}, field: "customAllocationDefinition"},
		{name: "webhook without host", placement: webhook("https:///x", "1"), field: "customAllocationDefinition.webhookUrl"},
		{name: "webhook relative", placement: webhook("/x", "1"), field: "customAllocationDefinition.webhookUrl"},
		{name: "webhook of another scheme", placement: webhook("ftp://f.example.com", "1"), field: "customAllocationDefinition.webhookUrl"},
		{name: "webhook malformed", placement: webhook("https://f.example.com/%zz", "1"), field: "customAllocationDefinition.webhookUrl"},
		{name: "webhook too long", placement: webhook(hook+strings.Repeat("a", 2048), "1"), field: "customAllocationDefinition.webhookUrl"},
		{name: "webhook without version", placement: webhook(hook, " "), field: "customAllocationDefinition.apiVersion"},
		{name: "webhook version too long", placement: webhook(hook, strings.Repeat("1", 65)), field: "customAllocationDefinition.apiVersion"},
		{name: "twin", twin: `{"tags":{"a":1},"properties":{"desired":{"b":"c"}}}`},
		{name: "twin no object", twin: `[]`, field: "initialTwin"},
		{name: "twin tags no object", twin: `{"tags":1}`, field: "initialTwin.tags"},
		{name: "twin key", twin: `{"properties":{"desired":{"a.b":1}}}`, field: "initialTwin.properties.desired"},
		{name: "twin too large", twin: `{"tags":{"a":"` + strings.Repeat("x", 4096) + `","b":"` + strings.Repeat("x", 4096) + `"}}`, field: "initialTwin.tags"},
	}
	w := newWorld(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := draft(individual(fmt.Sprint(i)), byTPM())
			d.DeviceID, d.Placement = tt.deviceID, tt.placement
			if tt.twin != "" {
				d.InitialTwin = json.RawMessage(tt.twin)
			}
			e, err := w.Put(t.Context(), d, dps.Condition{})
			if tt.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				same(t, "placement", e.Placement, tt.placement)
				return
			}
			fails(t, "Put", err, dps.Invalid, tt.field)
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("error = %v: tells the webhook's secret", err)
			}
			_, err = w.Get(t.Context(), in, d.Ref)
			fails(t, "nothing stored", err, dps.EnrollmentNotFound)
		})
	}
}

// What the configuration allows can be written.
func TestAllowedWebhooks(t *testing.T) {
	w := newWorld(t)
	allowing := w.Allowing(dps.WebhookRules{HTTP: true, Loopback: true, LinkLocal: true})
	for i, url := range []string{"http://localhost:9/x", "http://f.example.com", "https://[::1]/", "https://169.254.169.254/x"} {
		d := draft(individual(fmt.Sprint(i)), byTPM())
		d.Placement = webhook(url, "1")
		if _, err := allowing.Put(t.Context(), d, dps.Condition{}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}
