package wire_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/mooring-iot/mooring/wire"
)

// function is an operator's function for custom allocation, on this machine.
type function struct {
	*httptest.Server
	mu     sync.Mutex
	answer string   // what it says
	asked  []string // the requests that it got
}

func newFunction(t *testing.T) *function {
	t.Helper()
	f := &function{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asked = append(f.asked, string(body))
		_, _ = io.WriteString(w, f.answer)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *function) says(answer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// A dry run calls the webhook when it is asked to, with the request that a registration
// makes.
func TestDryRunCallsTheWebhook(t *testing.T) {
	t.Parallel()
	f := newFunction(t)
	w := newWorld(t, "--webhook-allow", "http,loopback")
	allocate := func(body string) (a wire.AllocateAnswer) {
		t.Helper()
		r := w.send(t, "POST", wire.AllocatePath, body)
		if err := json.Unmarshal([]byte(r.body), &a); err != nil || r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return a
	}
	w.must(t, "PUT", "/enrollmentGroups/line-7", `{"enrollmentGroupId": "line-7", "attestation": {"type": "symmetricKey"}, "allocationPolicy": "custom",
		"customAllocationDefinition": {"webhookUrl": "`+f.URL+`/api?code=secret", "apiVersion": "2021-10-01"}}`)

	const question = `{"registrationId": "press-0042", "enrollmentGroupId": "line-7", "payload": {"model": "P9"}`
	if got := allocate(question + `}`); got.Outcome != "undecided" || len(f.asked) != 0 {
		t.Errorf("%+v, asked %q", got, f.asked)
	}
	f.says(`{"iotHubHostName": "LOCALHOST", "payload": {"a": "<b>"}, "initialTwin": {"tags": {"site": "k1"}}}`)
	got := allocate(question + `, "callWebhook": true}`)
	if got.Outcome != "assigned" || got.IotHubHostName != "localhost" || !sameJSON(string(got.Payload), `{"a": "<b>"}`) || !sameJSON(string(got.InitialTwin), `{"tags": {"site": "k1"}}`) {
		t.Errorf("%+v", got)
	}
	var asked wire.AllocationRequest
	if err := json.Unmarshal([]byte(f.asked[0]), &asked); err != nil || asked.EnrollmentGroup.EnrollmentGroupID != "line-7" ||
		asked.DeviceRuntimeContext.SymmetricKey == nil || string(asked.DeviceRuntimeContext.Payload) != `{"model":"P9"}` || strings.Join(asked.LinkedHubs, " ") != "localhost" {
		t.Errorf("asked %s, %v", f.asked[0], err)
	}
	if strings.Contains(f.asked[0], "secret") || strings.Contains(f.asked[0], "primaryKey") {
		t.Errorf("a secret is told: %s", f.asked[0])
	}
	f.says(`{}`)
	if got := allocate(question + `, "callWebhook": true}`); got.Outcome != "failed" || got.ErrorCode != 400208 {
		t.Errorf("%+v", got)
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	ax, _ := json.Marshal(x)
	by, _ := json.Marshal(y)
	return string(ax) == string(by)
}
