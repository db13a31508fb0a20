// Package interop runs the official SDKs, unmodified and pinned, against a real
// mooring serve over real TLS on the real ports.
//
// Whole SDKs cannot be pointed at another port, so the test binary runs itself again
// in a network namespace of its own, where every port is free and nothing has to be
// cleaned up; where that is not possible it uses the machine's own ports.
//
// MOORING_TEST_PYTHON names the Python interpreter that has the SDKs of requirements.txt,
// MOORING_TEST_NODE_DIR the directory whose node_modules hold those of package-lock.json, and
// MOORING_TEST_JAVA_DIR the directory with those of pom.xml. Without them, or without the ports, tests skip, or fail when
// MOORING_TEST_REQUIRE contains "interop". MOORING_TEST_BINARY names a mooring to
// test instead of the one that is built from the source. With MOORING_TEST_UPDATE the
// table of refusals in the documentation is written instead of compared.
package interop_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
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
	binaryVar    = "MOORING_TEST_BINARY"
	namespaceVar = "MOORING_TEST_NAMESPACE" // set in the process that has its own network
	requireVar   = "MOORING_TEST_REQUIRE"

	hostName     = "localhost" // resolves everywhere and is the default of --hostname
	httpsAddress = "127.0.0.1:443"
	mqttAddress  = "127.0.0.1:8883"

	startTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second // what the service promises after SIGTERM
	pollInterval = 50 * time.Millisecond
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

// testMain builds the binary and runs the tests in a network of their own. It returns
// the exit code.
func testMain(m *testing.M) int {
	if os.Getenv(namespaceVar) != "" {
		if err := raiseLoopback(); err != nil {
			fmt.Fprintln(os.Stderr, "interop: raising the loopback interface:", err)
			return 1
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "mooring-interop-")
	if err == nil {
		err = buildBinary(filepath.Join(dir, "mooring"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		return 1
	}
	code, ok := runInNamespace()
	if !ok {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
	}
	return code
}

// buildBinary compiles mooring to path and leaves the path in the environment, unless
// that names a binary already. It runs before the network is gone, for modules that
// are not in the cache yet.
func buildBinary(path string) error {
	if os.Getenv(binaryVar) != "" {
		return nil
	}
	out, err := exec.Command("go", "build", "-o", path, "../../cmd/mooring").CombinedOutput()
	if err != nil {
		return fmt.Errorf("building mooring: %w\n%s", err, out)
	}
	return os.Setenv(binaryVar, path)
}

// unavailable ends the test because something it needs is not there.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(requireVar), ","), "interop") {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// connectionInfo is what this suite reads of `mooring info --json`.
type connectionInfo struct {
	IDScope           string            `json:"idScope"`
	CAFile            string            `json:"caFile"`
	Listeners         map[string]string `json:"listeners"`
	ConnectionStrings map[string]string `json:"connectionStrings"`
	ControlPlane      struct {
		ResourceID string `json:"resourceId"`
		Token      string `json:"token"`
	} `json:"controlPlane"`
	Hubs []struct {
		HostName          string            `json:"hostName"`
		ConnectionStrings map[string]string `json:"connectionStrings"`
	} `json:"hubs"`
}

// service is a running mooring serve.
type service struct {
	info   connectionInfo
	client *http.Client // trusts the service's authority and nothing else

	secrets        []string // keys of devices, which no log line may hold
	data           string   // its data directory
	cmd            *exec.Cmd
	exited         chan struct{} // closed once err is set
	err            error         // how the process ended
	stdout, stderr logBuffer
	stopOnce       sync.Once
}

// startService starts mooring on the data directory and returns when it is ready. The
// test's end stops it and checks how it stopped.
func startService(t *testing.T, data string) *service {
	t.Helper()
	requirePorts(t)
	s := &service{data: data, exited: make(chan struct{})}
	s.cmd = exec.Command(os.Getenv(binaryVar), "serve", "--data", data,
		"--hostname", hostName, "--https", httpsAddress, "--mqtt", mqttAddress, "--portal", "127.0.0.1:0",
		"--log-level", "debug", "--log-format", "json")
	s.cmd.Env = cleanEnvironment()
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("starting mooring: %v", err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		s.stop(t)
		if t.Failed() {
			t.Logf("what mooring wrote:\n%s%s", s.stdout.String(), s.stderr.String())
		}
	})
	s.awaitReady(t)
	s.client = s.newClient(t)
	return s
}

// requirePorts makes sure that the ports of the SDKs can be bound.
func requirePorts(t *testing.T) {
	t.Helper()
	for _, address := range []string{httpsAddress, mqttAddress} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			unavailable(t, "the SDKs need %s, and neither a network namespace nor this machine's own port can be had: %v",
				address, err)
		}
		l.Close()
	}
}

// cleanEnvironment returns the environment without mooring's own variables, so that
// only flags configure the service, and without a proxy for its host.
func cleanEnvironment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MOORING_") })
	return append(env, "NO_PROXY="+hostName, "no_proxy="+hostName)
}

// awaitReady waits until info tells the addresses and /readyz answers 200.
func (s *service) awaitReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := s.probe(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-s.exited:
			t.Fatalf("mooring ended before it was ready: %v", s.err)
		case <-ctx.Done():
			t.Fatalf("mooring was not ready after %v; last: %v", startTimeout, err)
		}
	}
}

// probe reads info and asks for readiness once.
func (s *service) probe(ctx context.Context) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Getenv(binaryVar), "info", "--data", s.data, "--json")
	cmd.Env, cmd.Stderr = cleanEnvironment(), &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("mooring info: %w: %s", err, stderr.Bytes())
	}
	s.info = connectionInfo{}
	if err := json.Unmarshal(out, &s.info); err != nil {
		return fmt.Errorf("mooring info: %w", err)
	}
	for name, want := range map[string]string{"https": httpsAddress, "mqtt": mqttAddress} {
		if got := s.info.Listeners[name]; got != want {
			return fmt.Errorf("%s listens on %q, want %q", name, got, want)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.info.Listeners["portal"]+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", resp.Status)
	}
	return nil
}

// stop ends the service with SIGTERM and checks that it goes in time, without an error,
// and without a key in its log. Only the first call does something.
func (s *service) stop(t *testing.T) {
	t.Helper()
	s.stopOnce.Do(func() {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("stopping mooring: %v", err)
		}
		select {
		case <-s.exited:
		case <-time.After(stopTimeout):
			t.Errorf("mooring still runs %v after SIGTERM", stopTimeout)
			if err := s.cmd.Process.Kill(); err != nil {
				t.Errorf("killing mooring: %v", err)
			}
			<-s.exited
		}
		if s.err != nil {
			t.Errorf("mooring ended with %v, want exit code 0", s.err)
		}
		s.checkLogs(t)
	})
}

// checkLogs looks for keys and SAS tokens in the log lines. The greeting of a first start
// is for people and shows the connection string on purpose.
func (s *service) checkLogs(t *testing.T) {
	t.Helper()
	secrets := append([]string{s.info.ControlPlane.Token, "SharedAccessSignature"}, s.secrets...)
	for _, cs := range s.info.ConnectionStrings {
		secrets = append(secrets, parseConnectionString(cs).key)
	}
	for _, hub := range s.info.Hubs {
		for _, cs := range hub.ConnectionStrings {
			secrets = append(secrets, parseConnectionString(cs).key)
		}
	}
	for line := range strings.Lines(s.stdout.String() + s.stderr.String()) {
		for _, secret := range secrets {
			if secret != "" && strings.HasPrefix(line, "{") && strings.Contains(line, secret) {
				t.Errorf("a log line holds a secret: %s", strings.ReplaceAll(line, secret, "<secret>"))
			}
		}
	}
}

// authority returns the CAs that clients of the service trust.
func (s *service) authority(t *testing.T) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(s.info.CAFile)
	if err != nil {
		t.Fatalf("reading the CA file that info names: %v", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", s.info.CAFile)
	}
	return pool
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
