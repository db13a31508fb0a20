package translate_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

func TestHubDraft(t *testing.T) {
	const key = "MDEyMzQ1Njc4OWFiY2RlZg=="
	two, no := 2, false
	tests := []struct {
		name, hub string
		want      dps.HubDraft
	}{
		{
			"as Azure writes it", `{"connectionString":"HostName=a.example;SharedAccessKeyName=p;SharedAccessKey=` + key + `","location":"West Europe","allocationWeight":2,"applyAllocationPolicy":false}`,
			dps.HubDraft{
				HostName:    "a.example",
				Endpoint:    "a.example",
				KeyName:     "p",
				Key:         dps.NewSecret([]byte("0123456789abcdef")),
				Location:    "West Europe",
				Weight:      &two,
				ApplyPolicy: &no,
			},
		},
		{
			"other order, case and blanks", `{"connectionString":" sharedaccesskey = ` + key + ` ; HOSTNAME = A.example:8443; SharedAccessKeyName=p; "}`,
			dps.HubDraft{HostName: "A.example", Endpoint: "A.example:8443", KeyName: "p", Key: dps.NewSecret([]byte("0123456789abcdef"))},
		},
		{
			"through a gateway", `{"connectionString":"GatewayHostName=127.0.0.1:8443;HostName=a.example;SharedAccessKeyName=p;SharedAccessKey=****"}`,
			dps.HubDraft{HostName: "a.example", Endpoint: "127.0.0.1:8443", KeyName: "p"},
		},
		{
			"masked", `{"connectionString":"HostName=a.example;SharedAccessKeyName=p;SharedAccessKey=****","name":"other"}`,
			dps.HubDraft{HostName: "a.example", Endpoint: "a.example", KeyName: "p"},
		},
		{"name alone", `{"name":"a.example","kind":"IoTHub"}`, dps.HubDraft{HostName: "a.example", Kind: dps.KindIoTHub}},
		{
			"embedded", `{"connectionString":"HostName=a.example","kind":"embedded","selectedIdentity":null}`,
			dps.HubDraft{HostName: "a.example", Endpoint: "a.example", Kind: dps.KindEmbedded},
		},
	}
	secrets := cmp.Comparer(func(a, b dps.Secret) bool { return a.Base64() == b.Base64() })
	for _, tt := range tests {
		draft, _, err := translate.InstanceDraft([]byte(`{"properties":{"iotHubs":[` + tt.hub + `]}}`))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff([]dps.HubDraft{tt.want}, draft.Hubs, secrets); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	for body, want := range map[string]int{`{}`: -1, `{"properties":{"iotHubs":null}}`: -1, `{"properties":{"iotHubs":[]}}`: 0} {
		draft, _, err := translate.InstanceDraft([]byte(body))
		if got := len(draft.Hubs); err != nil || (draft.Hubs == nil) != (want < 0) || got != max(want, 0) {
			t.Errorf("%s: %v, %v", body, draft.Hubs, err)
		}
	}
}

// FuzzHubConnection holds that a connection string is refused with words of ours, or
// gives a hub that is written and read back the same.
func FuzzHubConnection(f *testing.F) {
	for _, seed := range []string{
		"HostName=a.example:8443;SharedAccessKeyName=p;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==", "HostName=a", "=;=", "HostName=[::1]:1",
		"HostName=a:99999;SharedAccessKey=****", "hostname=a;hostname=b", "HostName=a;GatewayHostName=b:8443", "HostName=a;SharedAccessKeyName=\x00", "\xff", ";;;",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		body, err := json.Marshal(map[string]any{"properties": map[string]any{"iotHubs": []wire.LinkedHub{{ConnectionString: text}}}})
		if err != nil {
			t.Fatal(err)
		}
		draft, _, err := translate.InstanceDraft(body)
		checkError(t, err)
		if err != nil {
			return
		}
		d := draft.Hubs[0]
		if !dps.IsHostName(string(d.HostName)) || d.Endpoint == "" {
			t.Fatalf("%q gives %+v", text, d)
		}
		out := translate.LinkedHub(dps.HubLink{
			Hub: dps.LinkedHub{
				HostName: d.HostName,
				Kind:     dps.KindIoTHub,
				Access:   &dps.HubAccess{Endpoint: d.Endpoint, KeyName: d.KeyName, Key: d.Key},
			},
			Policy: dps.HubPolicy{Name: d.KeyName},
		})
		if d.KeyName == "" {
			return // nothing that is stored
		}
		body, err = json.Marshal(map[string]any{"properties": map[string]any{"iotHubs": []wire.LinkedHub{out}}})
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := translate.InstanceDraft(body)
		if err != nil || again.Hubs[0].Endpoint != d.Endpoint || again.Hubs[0].KeyName != d.KeyName || !again.Hubs[0].Key.IsZero() {
			t.Errorf("%q is read back as %+v, %v", text, again.Hubs, err)
		}
	})
}
