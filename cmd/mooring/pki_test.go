package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pkiRun runs 'mooring pki' with args and returns what it printed.
func pkiRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), &env{
		args: append([]string{"pki"}, args...), getenv: func(string) string { return "" },
		in: strings.NewReader(""), out: &out, err: &errs,
	})
	return code, out.String(), errs.String()
}

// pkiMake makes one certificate and returns its JSON and what went to stderr.
func pkiMake(t *testing.T, args ...string) (object map[string]string, stderr string) {
	t.Helper()
	code, out, stderr := pkiRun(t, append(args, "--json")...)
	if code != exitOK {
		t.Fatalf("pki %q: exit %d, %s", args, code, stderr)
	}
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		t.Fatalf("pki %q: %v in %s", args, err, out)
	}
	return object, stderr
}

func TestPKIChain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my certs")
	root, _ := pkiMake(t, "root", "--out", dir)
	if want := filepath.Join(dir, "mooring-test-root-ca.cert.pem"); root["certificate"] != want {
		t.Errorf("certificate = %s, want %s", root["certificate"], want)
	}
	if _, ok := root["chain"]; ok {
		t.Error("a root has a chain")
	}
	one, _ := pkiMake(t, "intermediate", "Line 7", "--ca", root["certificate"], "--ca-key", root["key"], "--out", dir)
	two, _ := pkiMake(t, "intermediate", "--name", "Cell 3", "--ca", one["chain"], "--ca-key", one["key"], "--out", dir)
	device, note := pkiMake(t, "device", "sensor-1", "--ca", two["certificate"], "--ca-key", two["key"], "--out", dir)
	if !strings.Contains(note, two["chain"]) {
		t.Errorf("stderr = %q, want the chain that was used", note)
	}
	if data, _ := os.ReadFile(device["chain"]); strings.Count(string(data), "BEGIN CERTIFICATE") != 3 {
		t.Errorf("the chain is not of three certificates:\n%s", data)
	}
	if device["subject"] != "CN=sensor-1" || len(device["sha1Thumbprint"]) != 40 || len(device["sha256Thumbprint"]) != 64 {
		t.Errorf("device = %v", device)
	}
	code := strings.Repeat("0A", 24)
	proof, _ := pkiMake(t, "verification", code, "--ca", root["certificate"], "--ca-key", root["key"], "--out", dir)
	if proof["subject"] != "CN="+code {
		t.Errorf("verification = %v", proof)
	}
}

func TestPKIText(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my certs")
	ca := []string{"--ca", dir + "/r.cert.pem", "--ca-key", dir + "/r.key.pem"}
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{"root", []string{"root", "R"}, []string{
			"Next:\n  mooring certificate create --certificate-name r --path '" + dir + "/r.cert.pem'\n",
			"  mooring certificate generate-verification-code --certificate-name r\n",
		}},
		{"intermediate", append([]string{"intermediate", "I"}, ca...), []string{
			"Issuer   CN=R\n", "mooring pki device sensor-1 --ca '" + dir + "/i.chain.pem' --ca-key '" + dir + "/i.key.pem'",
		}},
		{"device", append([]string{"device", "d"}, ca...), []string{
			"d.chain.pem  the certificate, without its root CN=R\n", "\nNext, give the device SDK:\n", "certificate      " + dir + "/d.chain.pem\n",
		}},
		{"self-signed", []string{"device", "s"}, []string{
			"Issuer   itself\n", "mooring enrollment create --enrollment-id s ", "private key      " + dir + "/s.key.pem\n",
		}},
		{"verification", append([]string{"verification", strings.Repeat("0A", 24)}, ca...), []string{
			"mooring certificate verify --certificate-name r --path '" + dir + "/0A0A",
		}},
	}
	for _, tt := range tests {
		code, out, stderr := pkiRun(t, append(tt.args, "--out", dir)...)
		if code != exitOK || stderr != "" {
			t.Fatalf("%s: exit %d, %s", tt.name, code, stderr)
		}
		for _, w := range tt.want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: output lacks %q:\n%s", tt.name, w, out)
			}
		}
	}
}

func TestPKIValidity(t *testing.T) {
	device, _ := pkiMake(t, "device", "d", "--out", t.TempDir(), "--not-before", "2020-01-01T01:00:00+01:00", "--days", "31")
	if device["notBefore"] != "2020-01-01T00:00:00Z" || device["notAfter"] != "2020-02-01T00:00:00Z" {
		t.Errorf("validity = %s to %s", device["notBefore"], device["notAfter"])
	}
	dir := t.TempDir()
	root, _ := pkiMake(t, "root", "--out", dir, "--not-before", "2019-01-01T00:00:00Z", "--not-after", "2020-01-01T00:00:00Z")
	_, stderr := pkiMake(t, "device", "d", "--out", dir, "--ca", root["certificate"], "--ca-key", root["key"])
	if !strings.HasPrefix(stderr, "warning: ") || !strings.Contains(stderr, "expired at 2020-01-01") {
		t.Errorf("stderr = %q, want a warning", stderr)
	}
}

func TestPKIWrongUsage(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"name twice", []string{"root", "A", "--name", "B"}, "--name"},
		{"empty name", []string{"root", "--name", ""}, "must not be empty"},
		{"two arguments", []string{"root", "My", "CA"}, `"CA"`},
		{"root with a CA", []string{"root", "--ca", "x"}, "--ca"},
		{"no registration ID", []string{"device"}, "--registration-id is required"},
		{"bad registration ID", []string{"device", "a b"}, "--registration-id"},
		{"no code", []string{"verification", "--ca", "x", "--ca-key", "y"}, "--code is required"},
		{"bad code", []string{"verification", "0a", "--ca", "x", "--ca-key", "y"}, "48 upper-case"},
		{"intermediate without CA", []string{"intermediate", "I"}, "--ca and --ca-key are required"},
		{"CA without key", []string{"device", "d", "--ca", "x"}, "--ca-key is required"},
		{"key without CA", []string{"device", "d", "--ca-key", "x"}, "--ca is required"},
		{"empty CA", []string{"device", "d", "--ca", "", "--ca-key", ""}, "must not be empty"},
		{"key type", []string{"device", "d", "--key-type", "ed25519"}, "--key-type"},
		{"no days", []string{"device", "d", "--days", "0"}, "--days 0"},
		{"too many days", []string{"device", "d", "--days", "36501"}, "36500"},
		{"days and end", []string{"device", "d", "--days", "3", "--not-after", "2030-01-01T00:00:00Z"}, "exclude"},
		{"date only", []string{"device", "d", "--not-before", "2030-01-01"}, "--not-before"},
		{"end in the past", []string{"device", "d", "--not-after", "2020-01-01T00:00:00Z"}, "after --not-before"},
		{"empty out", []string{"device", "d", "--out", ""}, "--out"},
		{"unknown", []string{"leaf"}, "unknown command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			if tt.name != "empty out" && tt.name != "unknown" {
				args = append(args, "--out", dir)
			}
			code, out, stderr := pkiRun(t, args...)
			if code != exitUsage || out != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, stdout %q, stderr %q; want exit 2 and %q", code, out, stderr, tt.want)
			}
		})
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("wrong usage left %d files", len(entries))
	}
}

func TestPKIFailures(t *testing.T) {
	dir := t.TempDir()
	root, _ := pkiMake(t, "root", "--out", dir)
	device, _ := pkiMake(t, "device", "a:b", "--out", dir)
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"not a CA", []string{"device", "d", "--ca", device["certificate"], "--ca-key", device["key"]}, "--ca: "},
		{"other key", []string{"device", "d", "--ca", root["certificate"], "--ca-key", device["key"]}, "--ca-key"},
		{"no such CA", []string{"device", "d", "--ca", dir + "/none", "--ca-key", root["key"]}, "--ca: "},
		{"no key in it", []string{"device", "d", "--ca", root["certificate"], "--ca-key", root["certificate"]}, "--ca-key: "},
		{"overwrite", []string{"root"}, "never overwritten"},
		{"same file name", []string{"device", "a-b"}, "a-b.cert.pem"},
		{"same file name, other way", []string{"device", "a:b"}, "so may be another name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, stderr := pkiRun(t, append(tt.args, "--out", dir)...)
			if code != exitError || out != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, stdout %q, stderr %q; want exit 1 and %q", code, out, stderr, tt.want)
			}
		})
	}
}

func TestPKIHelpHasExamples(t *testing.T) {
	for _, sub := range pkiCommand(&env{}).Commands() {
		if sub.Example == "" || sub.Long == "" {
			t.Errorf("%s has no example or no description", sub.CommandPath())
		}
	}
}
