package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// deviceRun runs 'mooring device register' with args and the environment vars.
func deviceRun(t *testing.T, vars map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), &env{
		args: append([]string{"device", "register"}, args...), getenv: func(name string) string { return vars[name] },
		in: strings.NewReader(""), out: &out, err: &errs,
	})
	return code, out.String(), errs.String()
}

func TestDeviceUsage(t *testing.T) {
	const secret = "MDEyMzQ1Njc4OWFiY2RlZg=="
	somewhere := []string{"--endpoint", "127.0.0.1:1", "--id-scope", "0ne1"}
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		vars map[string]string
		code int
		want string
	}{
		{"no proof", []string{"a"}, nil, exitUsage, "give a credential: --certificate-path, --key or --group-key"},
		{"two proofs", []string{"a", "--key", secret, "--group-key", secret}, nil, exitUsage, "--key and --group-key: give only one"},
		{"two variables", []string{"a"}, map[string]string{deviceKeyVariable: secret, groupKeyVariable: secret}, exitUsage, "give only one"},
		{"key path alone", []string{"a", "--key", secret, "--key-path", "x"}, nil, exitUsage, "--key-path requires --certificate-path"},
		{"key that is none", []string{"a", "--key", "top secret"}, nil, exitUsage, "--key: must be a key in base64"},
		{"variable that is none", []string{"a"}, map[string]string{groupKeyVariable: "top secret"}, exitUsage, groupKeyVariable + ": must be a key"},
		{"empty key file", []string{"a", "--key", "@" + empty}, nil, exitUsage, "--key: must be a key in base64"},
		{"no key file", []string{"a", "--key", "@" + missing}, nil, exitError, "--key: open " + missing},
		{"no certificate", []string{"--certificate-path", missing}, nil, exitError, "reading the certificate and its key: open " + missing},
		{"no registration ID", []string{"--key", secret}, nil, exitUsage, "--registration-id is required"},
		{"two registration IDs", []string{"a", "-r", "b", "--key", secret}, nil, exitUsage, "differ"},
		{"transport", []string{"a", "--key", secret, "--transport", "amqp"}, nil, exitUsage, `--transport: "amqp" is not one of https, mqtt, mqtt-ws`},
		{"timeout", []string{"a", "--key", secret, "--timeout", "0s"}, nil, exitUsage, "--timeout: must be positive"},
		{"payload", []string{"a", "--key", secret, "--payload", "{"}, nil, exitUsage, "--payload: is not JSON"},
		{"no ID scope", []string{"a", "--key", secret, "--host", "x"}, nil, exitUsage, "--id-scope is required with --endpoint"},
		{"endpoint and data", append(somewhere, "a", "--key", secret, "--data", "x"), nil, exitUsage, "--endpoint and --data: give only one"},
		{"no data directory", []string{"a", "--key", secret, "--data", missing}, nil, exitError, missing},
		{"CA file", append(somewhere, "a", "--key", secret, "--ca-file", empty), nil, exitError, "is empty"},
		{"endpoint", []string{"a", "--key", secret, "--host", "https://x", "--id-scope", "0ne1"}, nil, exitError, "Endpoint: "},
		{"nobody there", append(somewhere, "a", "--key", secret), nil, exitError, `registering "a": connecting to 127.0.0.1:1: `},
		{"nobody there, key of the environment", append(somewhere, "a"), map[string]string{deviceKeyVariable: secret}, exitError, "connecting to 127.0.0.1:1: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := deviceRun(t, tt.vars, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, stderr %q, want %d and %q", code, stderr, tt.code, tt.want)
			}
			if stdout != "" || strings.Contains(stderr, "top secret") || strings.Contains(stderr, secret) {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
		})
	}
}
