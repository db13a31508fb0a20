package translate_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/translate"
)

// FuzzAllocationResponse reads answers of webhooks: whatever they are, what is taken can
// be used, and what is not has a code of custom allocation.
func FuzzAllocationResponse(f *testing.F) {
	linked := []dps.HostName{"hub-a.example", "hub-b.example"}
	for _, seed := range []string{
		`{"iotHubHostName": "hub-a.example"}`, `{"IOTHUBHOSTNAME": "HUB-B.example", "initialTwin": {"tags": {"a": 1}}, "payload": {}}`,
		`{"iotHubHostName": "hub-a.example", "iothubhostname": null}`, `{"iotHubHostName": "hub-c.example"}`, `{}`, ``, `null`, `[]`, "\xef\xbb\xbf{}",
		`{"iotHubHostName": "hub-a.example", "payload": {"a": "\ud800<"}}`, `{"iotHubHostName": "hub-a.example", "payload": []}`,
		`{"iotHubHostName": "hub-a.example", "initialTwin": {"properties": {"desired": {"a": {"b": [1e999]}}}}}`, `{"iotHubHostName": "hub-a.example", "initialTwin": 7} x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := translate.AllocationResponse(body, linked)
		if err != nil {
			if code := dps.CodeOf(err); code != dps.CustomAllocationFailed && code != dps.CustomAllocationNoHub {
				t.Errorf("%v has code %v", err, code)
			}
			if !strings.HasPrefix(dps.MessageOf(err), "Custom allocation failed") {
				t.Errorf("message %q", dps.MessageOf(err))
			}
			return
		}
		if got.Hub != linked[0] && got.Hub != linked[1] {
			t.Errorf("hub %q is taken", got.Hub)
		}
		if _, err := dps.ParseInitialTwin(got.Twin); err != nil {
			t.Errorf("twin %s is taken: %v", got.Twin, err)
		}
		if got.Payload != nil {
			sent, err := json.Marshal(got.Payload)
			if err != nil || got.Payload[0] != '{' || len(sent) > translate.MaxReturnedPayload {
				t.Errorf("payload %s is taken: %v", got.Payload, err)
			}
		}
	})
}
