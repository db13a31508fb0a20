package wire_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mooring-iot/mooring/wire"
)

// function is an operator's function for custom allocation, on this machine.
type function struct {
	*httptest.Server
	caFile string // whom to trust, where it speaks TLS

	mu    sync.Mutex
	steps []step   // what it says; the last one again and again
	asked []string // the requests that it got
}

// step is one answer of a function.
type step struct {
	status int
	body   string
}

func newFunction(t *testing.T) *function {
	t.Helper()
	f := &function{steps: []step{{status: http.StatusOK}}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// newSecureFunction returns a function behind TLS, and the flags of a service that may
// call it.
func newSecureFunction(t *testing.T) (*function, []string) {
	t.Helper()
	f := &function{steps: []step{{status: http.StatusOK}}}
	f.Server = httptest.NewTLSServer(f)
	t.Cleanup(f.Close)
	f.caFile = filepath.Join(t.TempDir(), "function.pem")
	if err := os.WriteFile(f.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return f, []string{"--webhook-allow", "loopback", "--hub-ca", f.caFile}
}

// ServeHTTP takes the next step.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, string(body))
	now := f.steps[0]
	if len(f.steps) > 1 {
		f.steps = f.steps[1:]
	}
	w.WriteHeader(now.status)
	_, _ = io.WriteString(w, now.body)
}

func (f *function) says(answer string) { f.does(step{http.StatusOK, answer}) }

// does sets what comes next, and forgets what was asked.
func (f *function) does(steps ...step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps, f.asked = steps, nil
}

// questions returns what was asked.
func (f *function) questions() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
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
	w.must(
		t,
		"PUT",
		"/enrollmentGroups/line-7",
		`{"enrollmentGroupId": "line-7", "attestation": {"type": "symmetricKey"}, "allocationPolicy": "custom",
		"customAllocationDefinition": {"webhookUrl": "`+f.URL+`/api?code=secret", "apiVersion": "2021-10-01"}}`,
	)

	const question = `{"registrationId": "press-0042", "enrollmentGroupId": "line-7", "payload": {"model": "P9"}`
	if got := allocate(question + `}`); got.Outcome != "undecided" || len(f.asked) != 0 {
		t.Errorf("%+v, asked %q", got, f.asked)
	}
	f.says(`{"iotHubHostName": "LOCALHOST", "payload": {"a": "<b>"}, "initialTwin": {"tags": {"site": "k1"}}}`)
	got := allocate(question + `, "callWebhook": true}`)
	if got.Outcome != "assigned" || got.IotHubHostName != "localhost" || !sameJSON(string(got.Payload), `{"a": "<b>"}`) ||
		!sameJSON(string(got.InitialTwin), `{"tags": {"site": "k1"}}`) {
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

// The function in the documentation works as it says.
func TestDocumentedFunction(t *testing.T) {
	t.Parallel()
	python := cmp.Or(os.Getenv("MOORING_TEST_PYTHON"), "python3")
	if _, err := exec.LookPath(python); err != nil {
		if strings.Contains(os.Getenv("MOORING_TEST_REQUIRE"), "interop") {
			t.Fatal(err)
		}
		t.Skip("there is no Python")
	}
	page, err := os.ReadFile("../../docs/allocation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```python\n")
	program, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/allocation.md has no program in Python")
	}
	port := runFunction(t, python, program)
	w := newWorld(t, "--webhook-allow", "http", "--webhook-allow", "loopback")
	w.must(
		t,
		"PUT",
		"/enrollments/press-7",
		`{"registrationId": "press-7", "attestation": {"type": "symmetricKey"}, "allocationPolicy": "custom",
		"iotHubs": ["localhost"], "customAllocationDefinition": {"webhookUrl": "http://127.0.0.1:`+port+`/api/allocate?code=KEY", "apiVersion": "2021-10-01"}}`,
	)
	got := w.must(t, "POST", wire.AllocatePath, `{"registrationId": "press-7", "payload": {"site": "local"}, "callWebhook": true}`)
	text, _ := json.Marshal(
		map[string]any{"hub": got["iotHubHostName"], "twin": got["initialTwin"], "payload": got["payload"], "outcome": got["outcome"]},
	)
	if want := `{"hub":"localhost","outcome":"assigned","payload":{"welcome":"press-7"},"twin":{"tags":{"site":"local"}}}`; string(
		text,
	) != want {
		t.Errorf("%s, want %s", text, want)
	}
}

// runFunction runs a program that says on which port it listens, until the test ends.
func runFunction(t *testing.T, python, program string) (port string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "allocate.py")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, file, "0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	port, found := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !found {
		t.Fatalf("the program wrote %q, %v", line, err)
	}
	return port
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
