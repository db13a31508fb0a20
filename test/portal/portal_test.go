// Package portal runs the portal in a real browser: Chromium, driven by Playwright from
// Node.js, against a real mooring serve on free ports of the loopback.
//
// Each script beside this file is one row of tests with a service of its own; what it
// writes to stdout says how each ended. MOORING_TEST_CHROMIUM names the browser
// (/usr/bin/chromium when absent), MOORING_TEST_SHOTS a directory that keeps the
// screenshots. Without the browser, or the packages of package-lock.json in node_modules,
// tests skip, or fail when MOORING_TEST_REQUIRE contains "portal".
package portal_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	requireVar  = "MOORING_TEST_REQUIRE"
	chromiumVar = "MOORING_TEST_CHROMIUM"
	shotsVar    = "MOORING_TEST_SHOTS"
	pythonVar   = "MOORING_TEST_PYTHON"
	nodeVar     = "MOORING_TEST_NODE_DIR"

	startTimeout  = 30 * time.Second
	stopTimeout   = 10 * time.Second
	scriptTimeout = 8 * time.Minute
	pollInterval  = 50 * time.Millisecond
)

// unavailable ends the test because something it needs is not there.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(requireVar), ","), "portal") {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// browser returns the path of Chromium.
func browser(t *testing.T) string {
	t.Helper()
	path := os.Getenv(chromiumVar)
	if path == "" {
		path = "/usr/bin/chromium"
	}
	if _, err := os.Stat(path); err != nil {
		unavailable(t, "there is no Chromium: %v", err)
	}
	if _, err := os.Stat("node_modules/playwright-core/package.json"); err != nil {
		unavailable(t, "the Node.js packages are not installed (npm ci in test/portal): %v", err)
	}
	return path
}

// binary compiles mooring once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mooring-portal-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "mooring")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/mooring").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building mooring: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// info is what this suite reads of `mooring info --json`.
type info struct {
	DeviceEndpoint    string            `json:"deviceEndpoint"`
	IDScope           string            `json:"idScope"`
	PortalURL         string            `json:"portalUrl"`
	PortalPassword    string            `json:"portalPassword"`
	CAFile            string            `json:"caFile"`
	Listeners         map[string]string `json:"listeners"`
	ConnectionStrings map[string]string `json:"connectionStrings"`
}

// service is a running mooring serve.
type service struct {
	binary, data string
	sdk          string // directory of the official device SDK for Node.js, "" to do without
	info         info
	log          logBuffer
}

// start starts a service on a new data directory, with flags besides the usual ones. The
// test's end stops it.
func start(t *testing.T, flags ...string) *service {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	s := &service{binary: path, data: filepath.Join(t.TempDir(), "data")}
	cmd := exec.Command(path, append([]string{
		"serve",
		"--data",
		s.data,
		"--https",
		"127.0.0.1:0",
		"--mqtt",
		"off",
		"--portal",
		"127.0.0.1:0",
		"--log-level",
		"debug",
		"--log-format",
		"json",
	}, flags...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = cleanEnvironment(), &s.log, &s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	var ended error // once exited is closed
	go func() {
		ended = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
			if ended != nil {
				t.Errorf("mooring ended with %v", ended)
			}
		case <-time.After(stopTimeout):
			t.Errorf("mooring still runs %v after SIGTERM", stopTimeout)
			_ = cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("what mooring wrote:\n%s", s.log.String())
		}
	})
	s.await(t)
	return s
}

// await waits until the portal answers.
func (s *service) await(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for {
		err := s.probe(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("mooring was not ready after %v: %v\n%s", startTimeout, err, s.log.String())
		}
		select {
		case <-time.After(pollInterval):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

func (s *service) probe(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, s.binary, "info", "--data", s.data, "--json")
	cmd.Env = cleanEnvironment()
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	s.info = info{}
	if err := json.Unmarshal(out, &s.info); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.info.PortalURL+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// cleanEnvironment returns the environment without mooring's own variables and without a
// proxy for the loopback.
func cleanEnvironment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MOORING_") })
	return append(env, "NO_PROXY=localhost,127.0.0.1", "no_proxy=localhost,127.0.0.1")
}

// run runs a script, each of whose tests becomes a subtest, and returns its directory.
func (s *service) run(t *testing.T, script string) (work string) {
	t.Helper()
	chromium := browser(t)
	work = t.TempDir()
	shots := os.Getenv(shotsVar)
	if shots == "" {
		shots = t.TempDir()
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), scriptTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(cleanEnvironment(), "PORTAL_CHROMIUM="+chromium, "PORTAL_URL="+s.info.PortalURL, "PORTAL_PASSWORD="+s.info.PortalPassword,
		"PORTAL_BINARY="+s.binary, "PORTAL_DATA="+s.data, "PORTAL_WORK="+work, "PORTAL_SHOTS="+shots,
		"PORTAL_CA="+s.info.CAFile, "PORTAL_HOST="+s.info.DeviceEndpoint, "PORTAL_SCOPE="+s.info.IDScope, "PORTAL_SDK="+s.sdk)
	err := cmd.Run()
	tests := 0
	for lines := bufio.NewScanner(&stdout); lines.Scan(); {
		line := lines.Text()
		if name, failed := strings.CutPrefix(line, "not ok "); failed {
			t.Run(name, func(t *testing.T) { t.Error(stderr.String()) })
			tests++
		} else if name, ok := strings.CutPrefix(line, "ok "); ok {
			t.Run(name, func(*testing.T) {})
			tests++
		} else {
			t.Log(line)
		}
	}
	if err != nil || tests == 0 {
		t.Fatalf("%s: %v after %d tests\n%s", script, err, tests, stderr.String())
	}
	return work
}

// noSecrets fails when the log holds one of these, or the portal's passwords.
func (s *service) noSecrets(t *testing.T, secrets ...string) {
	t.Helper()
	for _, cs := range s.info.ConnectionStrings {
		_, key, _ := strings.Cut(cs, "SharedAccessKey=")
		secrets = append(secrets, key)
	}
	for line := range strings.Lines(s.log.String()) {
		for _, secret := range append(secrets, s.info.PortalPassword, "four quiet harbour lights") {
			if strings.HasPrefix(line, "{") && secret != "" && strings.Contains(line, secret) {
				t.Errorf("a log line holds a secret: %s", strings.ReplaceAll(line, secret, "<secret>"))
			}
		}
	}
}

// sdkAddress is where a service stands that official device SDKs can reach: they know no
// port but 443.
const sdkAddress = "127.0.0.61"

// deviceSDK returns the directory of the official device SDK, and the flags of a service
// that it can reach; nothing, where it is not installed or 443 may not be used.
func deviceSDK(t *testing.T) (dir string, flags []string) {
	t.Helper()
	dir = os.Getenv(nodeVar)
	if dir == "" {
		return "", nil
	}
	l, err := net.Listen("tcp", sdkAddress+":443")
	if err != nil {
		t.Logf("the device registers without the official SDK: %v", err)
		return "", nil
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, []string{"--hostname", sdkAddress, "--https", sdkAddress + ":443"}
}

func TestQuickstart(t *testing.T) {
	t.Parallel()
	browser(t)
	sdk, flags := deviceSDK(t)
	s := start(t, flags...)
	s.sdk = sdk
	s.run(t, "quickstart.mjs")
	s.noSecrets(t)
	if err := s.probe(t.Context()); err != nil || s.info.PortalPassword != "" {
		t.Errorf("info still has the first password %q, which was used (%v)", s.info.PortalPassword, err)
	}
}

func TestEnrollments(t *testing.T) {
	t.Parallel()
	browser(t)
	s := start(t)
	work := s.run(t, "enrollments.mjs")
	copied, err := os.ReadFile(filepath.Join(work, "connection-string"))
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(string(copied), "SharedAccessKey=")
	s.noSecrets(t, key)
	t.Run("the copied connection string works in the Python SDK", func(t *testing.T) { s.python(t, string(copied)) })
}

// python reads an enrollment group by the official SDK.
func (s *service) python(t *testing.T, connectionString string) {
	t.Helper()
	python := os.Getenv(pythonVar)
	if python == "" {
		unavailable(t, "%s is not set", pythonVar)
	}
	const script = `import sys
from provisioningserviceclient import ProvisioningServiceClient
client = ProvisioningServiceClient.create_from_connection_string(sys.argv[1])
print(client.get_enrollment_group("keys").enrollment_group_id)
`
	cmd := exec.CommandContext(t.Context(), python, "-c", script, connectionString)
	cmd.Env = append(cleanEnvironment(), "REQUESTS_CA_BUNDLE="+s.info.CAFile)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "keys" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	browser(t)
	s := start(t)
	s.run(t, "refusals.mjs")
	s.noSecrets(t)
}

func TestForms(t *testing.T) {
	t.Parallel()
	browser(t)
	s := start(t)
	s.run(t, "forms.mjs")
	s.noSecrets(t, "c2VjcmV0IHNlY3JldCBzZWNyZXQ=")
}

func TestPages(t *testing.T) {
	t.Parallel()
	browser(t)
	s := start(t)
	s.run(t, "pages.mjs")
	s.noSecrets(t)
}

// logBuffer collects the output of a process.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends p.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written so far.
func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
