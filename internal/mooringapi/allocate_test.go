package mooringapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/wire"
)

// dry asks what would become of a device, which has to be answered.
func (w *world) dry(t *testing.T, body string) wire.AllocateAnswer {
	t.Helper()
	res := w.send(t, "POST", wire.AllocatePath, body)
	var a wire.AllocateAnswer
	if err := json.Unmarshal(res.Body.Bytes(), &a); err != nil || res.Code != 200 {
		t.Fatalf("%s: %d %s", body, res.Code, res.Body)
	}
	return a
}

func TestAllocateRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send(t, "PUT", "/enrollments/sensor-7", sensor)
	for authorization, status := range map[string]int{
		w.sas("p"): 200, w.sas("EnrollmentRead"): 200, w.sas("EnrollmentWrite"): 200, w.bearer(t): 200,
		w.sas("ServiceConfig"): 401, w.sas("DeviceConnect"): 401, w.sas("RegistrationStatusRead"): 401,
		w.sas("RegistrationStatusWrite"): 401, "": 401,
	} {
		if res := w.send(t, "POST", wire.AllocatePath, `{"registrationId": "sensor-7"}`, "Authorization: "+authorization); res.Code != status {
			t.Errorf("%.40q: %d %s, want %d", authorization, res.Code, res.Body, status)
		}
	}
}

func TestAllocate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	static := `, "allocationPolicy": "static", "iotHubs": ["hub.example"]}`
	w.send(t, "PUT", "/enrollments/sensor-7", strings.TrimSuffix(sensor, "}")+static)
	w.send(t, "PUT", "/enrollmentGroups/line-7", strings.TrimSuffix(line, "}")+static)
	must(t, w.store.Commit(t.Context(), newRegistration("sensor-9")))
	why := []wire.AllocateStep{
		{Step: "enrollment", Text: "individual enrollment sensor-7"},
		{Step: "policy", Text: "static, the policy of the enrollment"},
		{Step: "candidates", Text: "hub.example: named by the enrollment"},
		{Step: "hub", Text: "hub.example: named by the enrollment"},
	}
	want := wire.AllocateAnswer{
		RegistrationID:   "Sensor-7",
		EnrollmentID:     "sensor-7",
		Outcome:          "assigned",
		AllocationPolicy: "static",
		Candidates:       []string{"hub.example"},
		IotHubHostName:   "hub.example",
		DeviceID:         "Sensor-7",
		Substatus:        "initialAssignment",
		DeviceData:       "initialTwin",
		Why:              why,
	}
	if diff := cmp.Diff(
		want,
		w.dry(t, `{"registrationId": "Sensor-7", "remoteAddress": "192.0.2.7", "apiVersion": "2019-03-31", "payload": null}`),
	); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := w.dry(t, `{"registrationId": "sensor-7", "enrollmentId": "SENSOR-7"}`); got.EnrollmentID != "sensor-7" {
		t.Errorf("%+v", got)
	}
	if got := w.dry(t, `{"registrationId": "sensor-8", "enrollmentGroupId": "line-7"}`); got.EnrollmentGroupID != "line-7" ||
		got.EnrollmentID != "" ||
		got.DeviceID != "sensor-8" {
		t.Errorf("%+v", got)
	}

	// The enrollment follows the policy of the service; its hub takes nobody new.
	w.send(t, "PUT", "/enrollmentGroups/open", `{"enrollmentGroupId": "open", "attestation": {"type": "symmetricKey"}}`)
	failed := w.dry(t, `{"registrationId": "sensor-8", "enrollmentGroupId": "open"}`)
	if failed.Outcome != "failed" || failed.ErrorCode != 400208 || failed.ErrorMessage != "No linked hub accepts new devices." ||
		failed.IotHubHostName != "" {
		t.Errorf("%+v", failed)
	}
	if changes := w.all(t); len(changes) != 3 {
		t.Errorf("a dry run is among the changes: %+v", changes)
	}
}

// Where the webhook decides it is called only when it is asked for; here none can be.
func TestAllocateByWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send(t, "PUT", "/enrollments/sensor-7", strings.TrimSuffix(sensor, "}")+
		`, "allocationPolicy": "custom", "iotHubs": ["hub.example"], "customAllocationDefinition": {"webhookUrl": "https://f.example", "apiVersion": "1"}}`)
	if got := w.dry(t, `{"registrationId": "sensor-7"}`); got.Outcome != "undecided" || got.AllocationPolicy != "custom" ||
		got.Candidates[0] != "hub.example" {
		t.Errorf("%+v", got)
	}
	if got := w.dry(t, `{"registrationId": "sensor-7", "callWebhook": true}`); got.Outcome != "failed" || got.ErrorCode != 400207 {
		t.Errorf("%+v", got)
	}
}

// Whoever may only read learns what would become of a device, but has no webhook called.
func TestCallingTheWebhookIsNoReading(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send(t, "PUT", "/enrollments/sensor-7", strings.TrimSuffix(sensor, "}")+
		`, "allocationPolicy": "custom", "iotHubs": ["hub.example"], "customAllocationDefinition": {"webhookUrl": "https://f.example", "apiVersion": "1"}}`)
	for right, want := range map[string][2]int{"EnrollmentRead": {200, 401}, "EnrollmentWrite": {200, 200}, "ServiceConfig": {401, 401}} {
		for i, body := range []string{`{"registrationId": "sensor-7"}`, `{"registrationId": "sensor-7", "callWebhook": true}`} {
			if res := w.send(t, "POST", wire.AllocatePath, body, "Authorization: "+w.sas(right)); res.Code != want[i] {
				t.Errorf("%s with the right %s: %d, want %d", body, right, res.Code, want[i])
			}
		}
	}
}

func TestBadAllocate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for body, want := range map[string]struct {
		status int
		says   string
	}{
		``:                          {400, "body: is empty"},
		`{`:                         {400, "body: is not JSON"},
		`[]`:                        {400, "body: must be a JSON object"},
		`{}`:                        {400, "registrationId: must be"},
		`{"registrationId": "a b"}`: {400, "registrationId: must be"},
		`{"registrationId": "a", "callWebhook": "yes"}`:                             {400, "callWebhook: must be true or false"},
		`{"registrationId": "a", "enrollmentId": "b"}`:                              {400, "enrollmentId: must be the registration ID"},
		`{"registrationId": "a", "enrollmentId": "a", "enrollmentGroupId": "b"}`:    {400, "enrollmentGroupId: must not be given together with enrollmentId"},
		`{"registrationId": "a", "enrollmentGroupId": "b c"}`:                       {400, "enrollmentGroupId: must be"},
		`{"registrationId": "a", "remoteAddress": "192.0.2.7:80"}`:                  {400, "remoteAddress: must be an IP address"},
		`{"registrationId": "a", "apiVersion": "2016-13-01"}`:                       {400, "apiVersion: must be a date"},
		`{"registrationId": "ghost"}`:                                               {400, "enrollmentGroupId: is required"},
		`{"registrationId": "a", "enrollmentId": "a"}`:                              {404, "not found"},
		`{"registrationId": "a", "enrollmentGroupId": "b"}`:                         {404, "not found"},
		`{"registrationId": "a", "payload": "` + strings.Repeat("x", 96<<10) + `"}`: {413, ""},
	} {
		res := w.send(t, "POST", wire.AllocatePath, body)
		var refusal wire.Error
		if err := json.Unmarshal(res.Body.Bytes(), &refusal); err != nil || res.Code != want.status ||
			!strings.Contains(refusal.Message, want.says) {
			t.Errorf("%.60s: %d %s, want %d with %q", body, res.Code, res.Body, want.status, want.says)
		}
	}
	if res := w.send(t, "POST", wire.AllocatePath+"?top=1", `{}`); res.Code != 400 {
		t.Errorf("a parameter that is not known: %d", res.Code)
	}
}
