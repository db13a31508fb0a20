package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
)

const (
	pythonVar  = "MOORING_TEST_PYTHON"
	nodeDirVar = "MOORING_TEST_NODE_DIR"

	sdkTimeout = 2 * time.Minute // of one program; a registration takes about two seconds
)

// outcome is how an SDK program ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs an SDK program that trusts the service's authority. It fails the test when
// the program cannot be run or takes too long, whatever its exit code.
func (s *service) run(t *testing.T, env []string, name string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sdkTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(cleanEnvironment(),
		"REQUESTS_CA_BUNDLE="+s.info.CAFile,  // Python, requests
		"NODE_EXTRA_CA_CERTS="+s.info.CAFile, // Node.js
		"PYTHONDONTWRITEBYTECODE=1",
	)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || !exit.Exited()) {
		t.Fatalf("%s %s: %v\n%s%s", name, args[0], err, stdout.Bytes(), stderr.Bytes())
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
func (s *service) python(t *testing.T, program string, args ...string) outcome {
	t.Helper()
	return s.run(t, nil, requirePython(t), append([]string{filepath.Join("python", program)}, args...)...)
}

// requireNode returns the node program and the folder of the installed SDKs.
func requireNode(t *testing.T) (program, modules string) {
	t.Helper()
	program, err := exec.LookPath("node")
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
	if _, err := os.Stat(filepath.Join(modules, "azure-iot-provisioning-device")); err != nil {
		unavailable(t, "the device SDK for Node.js is not installed (npm ci in %s): %v", dir, err)
	}
	return program, modules
}

// registration is what node/register.js prints: the SDK's result or its error.
type registration struct {
	Assigned *struct {
		RegistrationID string `json:"registrationId"`
		Status         string `json:"status"`
		Substatus      string `json:"substatus"`
		AssignedHub    string `json:"assignedHub"`
		DeviceID       string `json:"deviceId"`
		X509           *struct {
			EnrollmentGroupID string `json:"enrollmentGroupId"`
		} `json:"x509"`
	} `json:"assigned"`
	Error *sdkError `json:"error"`
}

// sdkError is an error of the Node.js SDK and what the answer behind it said.
type sdkError struct {
	Name       string `json:"name"`
	Message    string `json:"message"`
	StatusCode int    `json:"statusCode"` // HTTP; 0 when the SDK tells none
	ErrorCode  int    `json:"errorCode"`  // of the error body
	TrackingID string `json:"trackingId"` // of the error body
	Status     string `json:"status"`     // of the registration, in a final answer
}

// node is one device: what node/register.js registers.
type node struct {
	idScope, registrationID string      // the service's and the leaf's when empty
	identity                *pki.Issued // presented with its chain
	options                 string      // NODE_OPTIONS
}

// register registers a device with the official Node.js SDK over HTTPS.
func (s *service) register(t *testing.T, n node) registration {
	t.Helper()
	program, modules := requireNode(t)
	if n.idScope == "" {
		n.idScope = s.info.IDScope
	}
	if n.registrationID == "" {
		n.registrationID = n.identity.Certificate.Subject.CommonName
	}
	key, err := n.identity.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	chainFile := writeFile(t, dir, "chain.pem", n.identity.ChainPEM())
	keyFile := writeFile(t, dir, "key.pem", key)
	out := s.run(t, []string{"NODE_PATH=" + modules, "NODE_OPTIONS=" + n.options}, program,
		filepath.Join("node", "register.js"), hostName, n.idScope, n.registrationID, chainFile, keyFile)
	var r registration
	if err := json.Unmarshal([]byte(out.stdout), &r); err != nil {
		t.Fatalf("register.js printed what is no JSON: %v\n%s%s", err, out.stdout, out.stderr)
	}
	if assigned := r.Error == nil && r.Assigned != nil; assigned != (out.code == 0) {
		t.Fatalf("register.js ended with code %d and %s%s", out.code, out.stdout, out.stderr)
	}
	return r
}

// registerAssigned registers a device and checks that it ends on the embedded hub.
func (s *service) registerAssigned(t *testing.T, n node, deviceID string) registration {
	t.Helper()
	r := s.register(t, n)
	if r.Error != nil {
		t.Fatalf("the SDK reports %+v", *r.Error)
	}
	hub := s.info.Hubs[0].HostName
	if a := r.Assigned; a.Status != "assigned" || a.AssignedHub != hub || a.DeviceID != deviceID {
		t.Fatalf("registration = %+v; want status assigned, hub %q, device %q", *a, hub, deviceID)
	}
	return r
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
