// Package fault runs the built binary through what breaks services: kill -9, a full
// disk, two processes on one data directory, a lost master key, a log that was cut in
// the middle of a commit, hubs that fail. Nothing that was acknowledged may be lost and
// nothing may be half there.
//
// The tests run themselves again in a mount namespace of their own, so that a small
// disk can be mounted and nothing stays behind; where that is not possible, the tests
// that need one skip, or fail when MOORING_TEST_REQUIRE contains "fault".
//
// MOORING_TEST_SEED sets the random moments; each run prints its seed.
// MOORING_TEST_RACE_BINARY=1 builds the binary with the race detector.
// MOORING_TEST_BINARY names a mooring to test instead of the one that is built.
// MOORING_TEST_HUB_REGISTRATIONS and MOORING_TEST_PACED_DEVICES make the tests of hubs
// over the wire as large as is wanted.
package fault_test

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
	namespaceVar = "MOORING_TEST_NAMESPACE" // set in the process that has its own mounts
	raceVar      = "MOORING_TEST_RACE_BINARY"
	requireVar   = "MOORING_TEST_REQUIRE"

	hostName = "localhost"

	startTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second // what the service promises after SIGTERM
	pollInterval = 10 * time.Millisecond
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

// testMain builds the binary and runs the tests with mounts of their own. It returns
// the exit code.
func testMain(m *testing.M) int {
	if os.Getenv(namespaceVar) != "" {
		if err := isolateMounts(); err != nil {
			fmt.Fprintln(os.Stderr, "fault: keeping mounts private:", err)
			return 1
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "mooring-fault-")
	if err == nil {
		err = buildBinary(filepath.Join(dir, "mooring"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fault:", err)
		return 1
	}
	code, ok := runInNamespace()
	if !ok {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "fault:", err)
	}
	return code
}

// buildBinary compiles mooring to path and leaves the path in the environment, unless
// that names a binary already.
func buildBinary(path string) error {
	if os.Getenv(binaryVar) != "" {
		return nil
	}
	args := []string{"build", "-o", path}
	if os.Getenv(raceVar) == "1" {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../../cmd/mooring")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("building mooring: %w\n%s", err, out)
	}
	return os.Setenv(binaryVar, path)
}

// unavailable ends the test because something it needs is not there.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(requireVar), ","), "fault") {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// connectionInfo is what this suite reads of `mooring info --json`.
type connectionInfo struct {
	IDScope           string            `json:"idScope"`
	CAFile            string            `json:"caFile"`
	ConnectionStrings map[string]string `json:"connectionStrings"`
	ControlPlane      struct {
		ResourceID string `json:"resourceId"`
		Token      string `json:"token"`
	} `json:"controlPlane"`
	Hubs []struct {
		ConnectionStrings map[string]string `json:"connectionStrings"`
	} `json:"hubs"`
}

// process is one run of the binary.
type process struct {
	cmd            *exec.Cmd
	exited         chan struct{} // closed once err is set
	err            error         // how it ended
	stdout, stderr logBuffer
}

// command returns a run of the binary that flags alone configure.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Getenv(binaryVar), args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MOORING_") })
	return cmd
}

// launch starts `mooring serve` on the data directory, with flags besides those of all
// tests, and waits for nothing.
func launch(t *testing.T, data string, flags ...string) *process {
	t.Helper()
	p := &process{exited: make(chan struct{})}
	p.cmd = command(context.WithoutCancel(t.Context()), append([]string{
		"serve", "--data", data, "--hostname", hostName,
		"--https", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--portal", "127.0.0.1:0", "--log-level", "info", "--log-format", "json",
	}, flags...)...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = &p.stdout, &p.stderr, attributes()
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting mooring: %v", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		p.checkLog(t)
	})
	return p
}

// kill ends the process at once, as kill -9 does, and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.exited
}

// checkLog looks for what no fault excuses, and shows the log of a test that failed.
func (p *process) checkLog(t *testing.T) {
	t.Helper()
	log := p.stderr.String()
	for _, word := range []string{"DATA RACE", "panic"} {
		if strings.Contains(log, word) {
			t.Errorf("mooring wrote %q", word)
		}
	}
	const most = 8 << 10
	if log = p.stdout.String() + log; t.Failed() && log != "" {
		t.Logf("the last that mooring (process %d) wrote:\n%s", p.cmd.Process.Pid, log[max(0, len(log)-most):])
	}
}

// exitCode waits until the process ends by itself.
func (p *process) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(startTimeout):
		t.Fatalf("mooring still runs after %v", startTimeout)
		return 0
	}
}

// service is a data directory and the process that serves it; it outlives processes,
// and so do its clients: they find the address of the moment.
type service struct {
	data  string
	flags []string // of serve, besides those of all tests
	info  connectionInfo
	trust *x509.CertPool
	admin *http.Client // without a client certificate

	process *process // used by the goroutine of the test alone

	mu     sync.Mutex
	up     chan struct{} // closed while the service is ready
	https  string        // its address while it is ready
	mqtt   string
	portal string
}

// startService starts mooring on the data directory and returns when it is ready.
func startService(t *testing.T, data string, flags ...string) *service {
	t.Helper()
	s := &service{data: data, flags: flags, up: make(chan struct{})}
	s.start(t)
	return s
}

// start starts a process on the data directory and returns when it is ready.
func (s *service) start(t *testing.T) {
	t.Helper()
	if err := s.tryStart(t); err != nil {
		t.Fatal(err)
	}
	if s.admin == nil {
		s.readInfo(t)
		s.admin = s.newClient(nil)
		t.Cleanup(s.admin.CloseIdleConnections)
	}
}

// tryStart starts a process on the data directory. It fails when that ends by itself
// before it is ready.
func (s *service) tryStart(t *testing.T) error {
	t.Helper()
	before, _ := os.Stat(s.runtimeFile()) // of an earlier process, if any
	s.process = launch(t, s.data, s.flags...)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		at, err := s.probe(ctx, before)
		if err == nil {
			s.open(at)
			return nil
		}
		select {
		case <-tick.C:
		case <-s.process.exited:
			return fmt.Errorf("mooring ended before it was ready: %w: %s", s.process.err, s.process.stderr.String())
		case <-ctx.Done():
			return fmt.Errorf("mooring was not ready after %v; last: %w", startTimeout, err)
		}
	}
}

func (s *service) runtimeFile() string { return filepath.Join(s.data, "runtime.json") }

// listeners are the real addresses of a process.
type listeners struct {
	Listeners struct{ HTTPS, MQTT, Portal string } `json:"listeners"`
}

// probe reads the addresses that the new process wrote and asks for readiness once.
func (s *service) probe(ctx context.Context, before os.FileInfo) (listeners, error) {
	var at listeners
	now, err := os.Stat(s.runtimeFile())
	if err != nil {
		return at, err
	}
	if before != nil && os.SameFile(before, now) {
		return at, errors.New("runtime.json is that of an earlier process")
	}
	text, err := os.ReadFile(s.runtimeFile())
	if err != nil {
		return at, err
	}
	if err := json.Unmarshal(text, &at); err != nil {
		return at, err
	}
	return at, portalStatus(ctx, at.Listeners.Portal, "/readyz")
}

// portalStatus asks the portal for a page and fails unless the answer is 200.
func portalStatus(ctx context.Context, address, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: requestTimeout}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return nil
}

// open lets clients in, close keeps them waiting.
func (s *service) open(at listeners) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.https, s.mqtt, s.portal = at.Listeners.HTTPS, at.Listeners.MQTT, at.Listeners.Portal
	close(s.up)
}

func (s *service) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = make(chan struct{})
}

// awaitUp returns when the service is ready.
func (s *service) awaitUp(ctx context.Context) error {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dial connects to the process of the moment, whatever the address asked for.
func (s *service) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	s.mu.Lock()
	address := s.https
	s.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, address)
}

// kill is kill -9 of the running process.
func (s *service) kill() {
	s.close()
	s.process.kill()
}

// stop ends the process with SIGTERM and checks that it goes in time and without an
// error.
func (s *service) stop(t *testing.T) {
	t.Helper()
	s.close()
	s.admin.CloseIdleConnections() // one that never carried a request is waited for
	if err := s.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stopping mooring: %v", err)
	}
	select {
	case <-s.process.exited:
	case <-time.After(stopTimeout):
		t.Fatalf("mooring still runs %v after SIGTERM", stopTimeout)
	}
	if s.process.err != nil {
		t.Errorf("mooring ended with %v, want exit code 0", s.process.err)
	}
}

// readInfo runs `mooring info`.
func (s *service) readInfo(t *testing.T) {
	t.Helper()
	out, err := command(t.Context(), "info", "--data", s.data, "--json").Output()
	if err != nil {
		t.Fatalf("mooring info: %v", err)
	}
	if err := json.Unmarshal(out, &s.info); err != nil {
		t.Fatalf("mooring info: %v", err)
	}
	pem, err := os.ReadFile(s.info.CAFile)
	if err != nil {
		t.Fatalf("reading the CA file that info names: %v", err)
	}
	s.trust = x509.NewCertPool()
	if !s.trust.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", s.info.CAFile)
	}
}

// checkReady fails the test unless the running process says that it is ready.
func (s *service) checkReady(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/healthz", "/readyz"} {
		if err := portalStatus(t.Context(), s.portal, path); err != nil {
			t.Error(err)
		}
	}
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
