package interop_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// controlPlane starts a service and returns the files that the programs for the control
// plane read: what `mooring info --json` prints, and a CA certificate beside its key.
func controlPlane(t *testing.T) (s *service, info, ca string) {
	t.Helper()
	s = startService(t, t.TempDir())
	command := exec.CommandContext(t.Context(), s.cmd.Path, "info", "--data", s.data, "--json")
	command.Env = cleanEnvironment()
	text, err := command.Output()
	if err != nil {
		t.Fatalf("mooring info: %v", err)
	}
	root := newRoot(t, "Management Root")
	key, err := root.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, dir, "ca.key", key)
	return s, writeFile(t, dir, "info.json", text), writeFile(t, dir, "ca.pem", root.CertificatePEM())
}

// TestPythonManagementSDK runs every operation of the management SDK for Python.
func TestPythonManagementSDK(t *testing.T) {
	requirePython(t)
	s, info, ca := controlPlane(t)
	out := s.python(t, "control_plane.py", info, ca)
	if out.code != 0 || !strings.Contains(out.stderr, "Ran 9 tests") {
		t.Errorf("control_plane.py ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}

// TestNodeManagementSDK runs every operation of the management SDK for Node.js.
func TestNodeManagementSDK(t *testing.T) {
	name, modules := requireNode(t)
	s, info, ca := controlPlane(t)
	out := s.run(t, program{
		name: name, args: []string{filepath.Join("node", "control_plane.js"), info, ca}, env: []string{"NODE_PATH=" + modules},
	})
	if out.code != 0 || !strings.Contains(out.stdout, "ok certificates") {
		t.Errorf("control_plane.js ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}
