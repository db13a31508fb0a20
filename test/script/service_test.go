package script_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const (
	readyWithin = 30 * time.Second // a first start makes an RSA key, under the race detector's load
	stopWithin  = 15 * time.Second // serve promises 10
	pollEvery   = 20 * time.Millisecond
)

// serviceKey is where a script's values keep its service.
type serviceKey struct{}

// otherKey is where they keep the second one.
type otherKey struct{}

// service is one "mooring serve" in the background; its zero value has not started.
type service struct {
	args    []string
	process *exec.Cmd
	output  *bytes.Buffer // written by the process until exited is closed
	exited  chan struct{} // closed when the process ended; err is set before
	err     error
}

// info is what the runner reads of "mooring info --json".
type info struct {
	IDScope   string `json:"idScope"`
	Listeners struct {
		HTTPS  string `json:"https"`
		Portal string `json:"portal"`
	} `json:"listeners"`
	Hubs []struct {
		HostName          string            `json:"hostName"`
		ConnectionStrings map[string]string `json:"connectionStrings"`
	} `json:"hubs"`
}

// start runs mooring with args in the background and returns when it is ready.
func start(ts *testscript.TestScript, args []string) {
	s, ok := ts.Value(serviceKey{}).(*service)
	if !ok || s.process != nil {
		ts.Fatalf("the service runs already: use shutdown or restart")
	}
	ts.Check(s.start(ts.MkAbs("."), args))
	at, err := s.ready(ts.Getenv("DATA"))
	if err != nil {
		ts.Check(errors.Join(err, s.stop()))
		ts.Fatalf("the service did not become ready\n%s", s.log())
	}
	ts.Setenv("SCOPE", at.IDScope)
	ts.Setenv("HTTPS", at.Listeners.HTTPS)
	ts.Setenv("PORTAL", at.Listeners.Portal)
}

// start runs mooring with args in dir, with no settings from the environment.
func (s *service) start(dir string, args []string) error {
	cmd := exec.Command(filepath.Join(binDir, "mooring"), args...)
	output := &bytes.Buffer{}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MOORING_") })
	if err := cmd.Start(); err != nil {
		return err
	}
	s.args, s.process, s.output, s.exited = args, cmd, output, make(chan struct{})
	go func() {
		s.err = cmd.Wait()
		close(s.exited)
	}()
	return nil
}

// ready waits until the service says where it listens and answers on /readyz.
func (s *service) ready(data string) (info, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		at, err := probe(ctx, data)
		if err == nil {
			return at, nil
		}
		select {
		case <-s.exited:
			return info{}, fmt.Errorf("mooring serve ended before it was ready: %w", errors.Join(s.err, err))
		case <-ctx.Done():
			return info{}, fmt.Errorf("mooring serve is not ready after %v: %w", readyWithin, err)
		case <-tick.C:
		}
	}
}

// probe asks once whether the service on data is ready.
func probe(ctx context.Context, data string) (info, error) {
	var at info
	if _, err := os.Stat(filepath.Join(data, "runtime.json")); err != nil {
		return at, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(binDir, "mooring"), "info", "--json", "--data", data).Output()
	if err != nil {
		return at, fmt.Errorf("mooring info: %w", err)
	}
	if err := json.Unmarshal(out, &at); err != nil {
		return at, fmt.Errorf("mooring info: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.Listeners.Portal+"/readyz", http.NoBody)
	if err != nil {
		return at, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return at, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return at, fmt.Errorf("/readyz answers %s", response.Status)
	}
	return at, nil
}

// stop ends the service with SIGTERM and fails unless it exits with code 0 in time.
// It does nothing when nothing runs.
func (s *service) stop() error {
	if s.process == nil {
		return nil
	}
	process := s.process
	s.process = nil
	if err := process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	deadline := time.NewTimer(stopWithin)
	defer deadline.Stop()
	select {
	case <-s.exited:
	case <-deadline.C:
		err := process.Process.Kill()
		<-s.exited
		return errors.Join(fmt.Errorf("mooring serve did not stop within %v of SIGTERM", stopWithin), err)
	}
	if s.err != nil {
		return fmt.Errorf("mooring serve: %w", s.err)
	}
	return nil
}

// log returns what the service printed; it may be called once it has stopped.
func (s *service) log() string {
	if s.output == nil {
		return ""
	}
	return s.output.String()
}
