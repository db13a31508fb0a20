package fault_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mooring-iot/mooring/test/fakehub"
)

// fakeHub is a hub in a process of its own: it outlives each kill of the service.
type fakeHub struct {
	HostName         string `json:"hostName"`
	Control          string `json:"control"`
	CAFile           string `json:"caFile"`
	ConnectionString string `json:"connectionString"`
}

// startHubs starts a hub for each host name, and returns them with a file of the CAs
// that the service has to trust.
func startHubs(t *testing.T, names ...string) (hubs []*fakeHub, caFile string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "fakehub")
	if out, err := exec.Command("go", "build", "-o", program, "../fakehub/serve").CombinedOutput(); err != nil {
		t.Fatalf("building the fake hub: %v\n%s", err, out)
	}
	var authorities bytes.Buffer
	for i, name := range names {
		h := startHub(t, program, name, i)
		pem, err := os.ReadFile(h.CAFile)
		if err != nil {
			t.Fatal(err)
		}
		authorities.Write(pem)
		hubs = append(hubs, h)
	}
	caFile = filepath.Join(t.TempDir(), "hubs.pem")
	if err := os.WriteFile(caFile, authorities.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return hubs, caFile
}

// startHub starts one hub; every other one answers with the newer form of errors. It
// ends with its standard input, so with this process at the latest.
func startHub(t *testing.T, program, name string, n int) *fakeHub {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program,
		"-dir", t.TempDir(), "-host-name", name, "-seed", fmt.Sprint(n+1), fmt.Sprintf("-json-errors=%t", n%2 == 1))
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting a hub: %v", err)
	}
	t.Cleanup(func() {
		hold.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("hub %s: %v", name, err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("hub %s says nothing: %v", name, err)
	}
	h := new(fakeHub)
	if err := json.Unmarshal(line, h); err != nil {
		t.Fatal(err)
	}
	return h
}

// control calls the control port, which no fault touches. found is false at a 404.
func (h *fakeHub) control(ctx context.Context, method, path string, in, out any) (found bool, err error) {
	text, err := json.Marshal(in)
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, method, h.Control+path, bytes.NewReader(text))
	if err != nil {
		return false, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return false, err
	case res.StatusCode == http.StatusNotFound:
		return false, nil
	case res.StatusCode >= http.StatusBadRequest:
		return false, fmt.Errorf("%s %s of hub %s: %s: %s", method, path, h.HostName, res.Status, body)
	case out == nil:
		return true, nil
	}
	return true, json.Unmarshal(body, out)
}

// fail sets what goes wrong from now on; nothing heals the hub.
func (h *fakeHub) fail(ctx context.Context, faults ...fakehub.Fault) error {
	if faults == nil {
		faults = []fakehub.Fault{}
	}
	_, err := h.control(ctx, http.MethodPut, "/faults", faults, nil)
	return err
}

// devices returns the identities that stand in the hub.
func (h *fakeHub) devices(t *testing.T) map[string]fakehub.Device {
	t.Helper()
	var all map[string]fakehub.Device
	if _, err := h.control(t.Context(), http.MethodGet, "/devices", nil, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// calls returns what arrived at the hub.
func (h *fakeHub) calls(t *testing.T) []fakehub.Call {
	t.Helper()
	var all []fakehub.Call
	if _, err := h.control(t.Context(), http.MethodGet, "/calls", nil, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// twin returns the twin of a device, false where the hub does not have the device.
func (h *fakeHub) twin(ctx context.Context, id string) (twin fakehub.Twin, found bool, err error) {
	found, err = h.control(ctx, http.MethodGet, "/twins/"+id, nil, &twin)
	return twin, found, err
}

// link links a hub with the command that operators use.
func (s *service) link(t *testing.T, h *fakeHub) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "connection.txt")
	if err := os.WriteFile(file, []byte(h.ConnectionString), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := command(
		t.Context(),
		"linked-hub",
		"create",
		"--data",
		s.data,
		"--connection-string",
		"@"+file,
		"--location",
		"local",
	).CombinedOutput()
	if err != nil {
		t.Fatalf("linking %s: %v\n%s", h.HostName, err, out)
	}
}
