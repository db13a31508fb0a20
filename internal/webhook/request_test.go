package webhook_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
)

// sent returns what a function was sent for q.
func sent(t *testing.T, q register.WebhookQuestion) string {
	t.Helper()
	var got string
	f := newFunction(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
		if r.Method != "POST" || r.URL.RequestURI() != "/api/alloc?code=secret" ||
			r.Header.Get("Content-Type") != "application/json; charset=utf-8" ||
			r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		write(200, `{"iotHubHostName": "hub-a.example"}`)(w, r)
	})
	q.Enrollment.Placement.Custom = &dps.CustomAllocation{WebhookURL: f.URL + "/api/alloc?code=secret", APIVersion: "2021-10-01"}
	if _, err := f.client(t, time.Minute).Ask(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(got, f.URL, "https://fn.example")
}

// same compares JSON texts.
func same(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	for text, v := range map[string]*any{got: &g, want: &w} {
		if err := json.Unmarshal([]byte(text), v); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The request is the one of the documentation, with no secret in it.
func TestRequest(t *testing.T) {
	at := time.Date(2024, 3, 12, 8, 0, 0, 123456700, time.UTC)
	keys := dps.NewKeyPair()
	q := register.WebhookQuestion{
		Enrollment: dps.Enrollment{
			Ref: dps.EntryRef{Kind: dps.Group, ID: "fleet-a"}, Status: dps.StatusEnabled,
			Attestation:  dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys},
			Capabilities: &dps.Capabilities{}, ETag: "IjFhMDBiMmMzLTAwMDAtMDMwMC0wMDAwLTY1ZjAwMDAwMDAwMCI=",
			Created: at, Updated: at.Add(90 * time.Minute),
			Placement: dps.Placement{
				Policy: dps.Custom, IotHubs: []dps.HostName{"hub-a.example", "hub-b.example"},
				Reprovision: &dps.ReprovisionPolicy{UpdateHubAssignment: true, MigrateDeviceData: true},
			},
			InitialTwin: json.RawMessage(`{"tags":{"a":1}}`),
		},
		ID: "dev-007", CurrentHub: "hub-a.example", CurrentID: "dev-007", Attestation: dps.SymmetricKey,
		Payload: json.RawMessage(`{"any":"<value> the device sent"}`), LinkedHubs: []dps.HostName{"hub-a.example", "hub-b.example"},
	}
	got := sent(t, q)
	same(t, got, `{ "enrollmentGroup": {
    "enrollmentGroupId": "fleet-a", "attestation": { "type": "symmetricKey" },
    "capabilities": { "iotEdge": false }, "etag": "\"1a00b2c3-0000-0300-0000-65f000000000\"",
    "provisioningStatus": "enabled", "allocationPolicy": "custom",
    "reprovisionPolicy": { "updateHubAssignment": true, "migrateDeviceData": true },
    "createdDateTimeUtc": "2024-03-12T08:00:00.1234567Z", "lastUpdatedDateTimeUtc": "2024-03-12T09:30:00.1234567Z",
    "iotHubs": [ "hub-a.example", "hub-b.example" ], "initialTwin": {"tags": {"a": 1}},
    "customAllocationDefinition": { "webhookUrl": "https://fn.example/api/alloc?****", "apiVersion": "2021-10-01" } },
  "deviceRuntimeContext": {
    "registrationId": "dev-007", "currentIotHubHostName": "hub-a.example", "currentDeviceId": "dev-007",
    "symmetricKey": {}, "payload": { "any": "<value> the device sent" } },
  "linkedHubs": [ "hub-a.example", "hub-b.example" ] }`)
	for _, secret := range []string{"secret", keys.Primary.Base64(), keys.Secondary.Base64(), `\u003c`} {
		if strings.Contains(got, secret) {
			t.Errorf("%q is told: %s", secret, got)
		}
	}
}

func TestRequestOfOtherDevices(t *testing.T) {
	device, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: "dev-7"})
	if err != nil {
		t.Fatal(err)
	}
	shown := dps.Certificate{DER: device.Certificate.Raw}
	entry := func(a dps.Attestation) dps.Enrollment {
		return dps.Enrollment{
			Ref:         dps.EntryRef{Kind: dps.Individual, ID: "dev-7"},
			DeviceID:    "Press",
			Attestation: a,
			Placement:   dps.Placement{Policy: dps.Custom},
		}
	}
	t.Run("X.509", func(t *testing.T) {
		q := register.WebhookQuestion{
			Enrollment: entry(
				dps.Attestation{Type: dps.X509, X509: &dps.X509Attestation{Primary: &shown}},
			), ID: "dev-7", Attestation: dps.X509, Certificate: &shown,
			LinkedHubs: []dps.HostName{"hub-a.example"},
		}
		info, err := shown.Info()
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			IndividualEnrollment struct{ Attestation map[string]any }
			DeviceRuntimeContext struct {
				SymmetricKey, TPM any
				X509              struct {
					ClientCertificates struct{ Primary struct{ Info map[string]any } }
				}
			}
		}
		if err := json.Unmarshal([]byte(sent(t, q)), &got); err != nil {
			t.Fatal(err)
		}
		c := got.DeviceRuntimeContext
		if has := c.X509.ClientCertificates.Primary.Info; has["sha256Thumbprint"] != info.SHA256 || has["subjectName"] != info.Subject ||
			len(has) != 8 {
			t.Errorf("info = %v", has)
		}
		if len(got.IndividualEnrollment.Attestation) != 1 || c.SymmetricKey != nil || c.TPM != nil {
			t.Errorf("%+v", got)
		}
	})
	t.Run("TPM", func(t *testing.T) {
		q := register.WebhookQuestion{
			Enrollment: entry(
				dps.Attestation{Type: dps.TPM, TPM: &dps.TPMAttestation{EndorsementKey: "EK", StorageRootKey: "SRK"}},
			), ID: "dev-7", Attestation: dps.TPM,
			LinkedHubs: []dps.HostName{"hub-a.example"},
		}
		got := sent(t, q)
		if !strings.Contains(got, `"tpm":{"endorsementKey":"EK","storageRootKey":"SRK"}`) ||
			!strings.Contains(got, `"attestation":{"type":"tpm"}`) ||
			strings.Contains(got, "payload") ||
			strings.Contains(got, "current") {
			t.Error(got)
		}
	})
}
