package interop_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	pythonVar  = "MOORING_TEST_PYTHON"
	nodeDirVar = "MOORING_TEST_NODE_DIR"
	javaDirVar = "MOORING_TEST_JAVA_DIR"

	sdkTimeout = 2 * time.Minute // of one program
)

// program is a run of a program that uses an SDK.
type program struct {
	name  string
	args  []string
	env   []string // beside what makes it trust the service's authority
	stdin []byte
}

// outcome is how an SDK program ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs an SDK program that trusts the service's authority. It fails the test when
// the program cannot be run or takes too long, whatever its exit code.
func (s *service) run(t *testing.T, p program) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sdkTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, p.name, p.args...)
	cmd.Env = append(cleanEnvironment(),
		"REQUESTS_CA_BUNDLE="+s.info.CAFile,  // Python, requests
		"NODE_EXTRA_CA_CERTS="+s.info.CAFile, // Node.js
		"PYTHONDONTWRITEBYTECODE=1",
	)
	cmd.Env = append(cmd.Env, p.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(p.stdin), &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || !exit.Exited()) {
		t.Fatalf("%s %s: %v\n%s%s", p.name, p.args[0], err, stdout.Bytes(), stderr.Bytes())
	}
	return outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// requirePython returns the interpreter that has the packages of requirements.txt.
func requirePython(t *testing.T) string {
	t.Helper()
	python := os.Getenv(pythonVar)
	if python == "" {
		unavailable(t, "%s names no Python with python/requirements.txt installed", pythonVar)
	}
	return python
}

// python runs one of the programs in the directory python.
func (s *service) python(t *testing.T, file string, args ...string) outcome {
	t.Helper()
	return s.run(t, program{name: requirePython(t), args: append([]string{filepath.Join("python", file)}, args...)})
}

// requireNode returns the node program and the folder of the installed SDKs.
func requireNode(t *testing.T) (name, modules string) {
	t.Helper()
	name, err := exec.LookPath("node")
	if err != nil {
		unavailable(t, "Node.js is not installed: %v", err)
	}
	dir := os.Getenv(nodeDirVar)
	if dir == "" {
		dir = "node"
	}
	modules, err = filepath.Abs(filepath.Join(dir, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "azure-iot-provisioning-device-mqtt")); err != nil {
		unavailable(t, "the device SDK for Node.js is not installed (npm ci in %s): %v", dir, err)
	}
	return name, modules
}

// writeFile writes a file and returns its path.
func writeFile(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
