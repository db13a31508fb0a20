package interop_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestARMSDK walks the control plane by the official SDK for Go. The program is a
// module of its own in the directory arm, built from the module cache: there may be
// no network here.
func TestARMSDK(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "arm")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	build.Dir = "arm"
	build.Env = append(build.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		unavailable(t, "building test/interop/arm (its modules: go mod download there): %v\n%s", err, out)
	}
	s := startService(t, t.TempDir())
	info := exec.CommandContext(t.Context(), s.cmd.Path, "info", "--data", s.data, "--json")
	info.Env = cleanEnvironment()
	text, err := info.Output()
	if err != nil {
		t.Fatalf("mooring info: %v", err)
	}
	out := s.run(t, program{name: binary, args: []string{writeFile(t, t.TempDir(), "info.json", text)}})
	if out.code != 0 {
		t.Errorf("arm ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
	t.Log(out.stdout)
}
