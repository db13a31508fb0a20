package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/service"
)

// The documented example of a device's key.
// Source: azure-docs, articles/iot-dps/how-to-legacy-device-symm-key.md.
const (
	vectorGroupKey  = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
	vectorDevice    = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"
	vectorDeviceKey = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="
)

// deviceKey runs compute-device-key with args, and with variables as name and value.
func deviceKey(t *testing.T, vars map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), &env{
		args: append([]string{"enrollment-group", "compute-device-key"}, args...), getenv: func(name string) string { return vars[name] },
		in: strings.NewReader(""), out: &out, err: &errs,
	})
	return code, out.String(), errs.String()
}

func TestComputeDeviceKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "group.key")
	if err := os.WriteFile(file, []byte(vectorGroupKey+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"flags", []string{"--key", vectorGroupKey, "--registration-id", vectorDevice}, vectorDeviceKey + "\n"},
		{"argument", []string{vectorDevice, "--key", vectorGroupKey}, vectorDeviceKey + "\n"},
		{"both the same", []string{vectorDevice, "--registration-id", vectorDevice, "--key", vectorGroupKey}, vectorDeviceKey + "\n"},
		{"file", []string{vectorDevice, "--key", "@" + file}, vectorDeviceKey + "\n"},
		{"JSON", []string{vectorDevice, "--key", vectorGroupKey, "--json"}, `"` + vectorDeviceKey + `"` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, stderr := deviceKey(t, nil, tt.args...)
			if code != exitOK || out != tt.want || stderr != "" {
				t.Errorf("exit %d, stdout %q, stderr %q; want %q", code, out, stderr, tt.want)
			}
		})
	}
}

func TestComputeDeviceKeyRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := []string{"--key", vectorGroupKey}
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no ID", key, exitUsage, "--registration-id is required"},
		{"two IDs", append([]string{"a", "--registration-id", "b"}, key...), exitUsage, "differ"},
		{"bad ID", append([]string{"a b"}, key...), exitUsage, "registrationId"},
		{"no key", []string{"a"}, exitUsage, "either --key or --enrollment-id"},
		{"two keys", append([]string{"a", "--enrollment-id", "g"}, key...), exitUsage, "either --key or --enrollment-id"},
		{"which of one key", append([]string{"a", "--key-type", "secondary"}, key...), exitUsage, "--key-type applies to --enrollment-id and cannot be combined with --key"},
		{"login for nothing", append([]string{"a", "--login", "x"}, key...), exitUsage, "--login applies to --enrollment-id and cannot be combined with --key"},
		{"unknown key type", []string{"a", "--enrollment-id", "g", "--key-type", "third"}, exitUsage, "primary or secondary"},
		{"key not base64", []string{"a", "--key", "s3cret!"}, exitError, "--key: must be base64"},
		{"short key", []string{"a", "--key", "Zm9v"}, exitError, "16 to 64 bytes"},
		{"no such file", []string{"a", "--key", "@" + empty + ".not"}, exitError, "--key: open"},
		{"empty file", []string{"a", "--key", "@" + empty}, exitError, "--key: the file is empty"},
		{"bad connection string", []string{"a", "--enrollment-id", "g", "--login", "SharedAccessKey=s3cret!"}, exitError, "--login: connection string"},
		{"no service", []string{"a", "--enrollment-id", "g", "--data", filepath.Join(t.TempDir(), "none")}, exitError, "contains no database"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, stderr := deviceKey(t, nil, tt.args...)
			if code != tt.code || out != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, stdout %q, stderr %q; want exit %d and %q", code, out, stderr, tt.code, tt.want)
			}
			if strings.Contains(stderr, "s3cret") || strings.Contains(stderr, vectorGroupKey) {
				t.Errorf("stderr shows a key: %s", stderr)
			}
		})
	}
}

func TestConnectionStringOfTheEnvironment(t *testing.T) {
	code, _, stderr := deviceKey(t, map[string]string{connectionStringVar: "nonsense"}, "a", "--enrollment-id", "g")
	if code != exitError || !strings.Contains(stderr, connectionStringVar+": connection string") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}

// TestComputeDeviceKeyOfOtherGroups asks a service for groups that give no key. Its
// certificate is not trusted by the command, so the client is built here.
func TestComputeDeviceKeyOfOtherGroups(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "x509"})
	}))
	defer server.Close()
	login := "HostName=" + strings.TrimPrefix(server.URL, "https://") + ";SharedAccessKeyName=p;SharedAccessKey=Zm9vYmFy"
	code, _, stderr := deviceKey(t, nil, "a", "--enrollment-id", "g", "--login", login)
	if code != exitError || !strings.Contains(stderr, "--ca-file") {
		t.Errorf("exit %d, stderr %q, want a hint at --ca-file", code, stderr)
	}
	client, err := service.NewClient(login, &service.Options{HTTPClient: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	o := deviceKeyOptions{group: "g", keyType: "primary"}
	if _, err := o.keyOf(t.Context(), client); err == nil || !strings.Contains(err.Error(), "attestation type is x509") {
		t.Errorf("keyOf() error = %v, want one about x509", err)
	}
}
