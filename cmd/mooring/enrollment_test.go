package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

const (
	keyA = "MDEyMzQ1Njc4OWFiY2RlZg=="
	keyB = "ZmVkY2JhOTg3NjU0MzIxMA=="
)

// flagged returns what the flags in args make of the enrollment in before (JSON; "" is
// a new one), as JSON.
func flagged(t *testing.T, kind dps.EntryKind, before string, args ...string) (string, error) {
	t.Helper()
	var c enrollmentContent
	r := newEnrollment(kind, "id")
	cmd := &cobra.Command{Use: "test", RunE: func(cmd *cobra.Command, _ []string) error {
		if err := c.parse(cmd, kind, before == ""); err != nil {
			return err
		}
		return c.apply(r)
	}, SilenceErrors: true, SilenceUsage: true}
	if before != "" {
		if err := json.Unmarshal([]byte(before), r); err != nil {
			t.Fatal(err)
		}
	}
	c.addFlags(cmd, kind)
	c.addRemoveFlags(cmd)
	azNames(cmd)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		return "", err
	}
	text, err := json.Marshal(r)
	return string(text), err
}

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	for text, into := range map[string]*any{got: &g, want: &w} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFlagsOfNewEnrollments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "twin.json")
	if err := os.WriteFile(file, []byte("{\"tags\": {\"big\": 12345678901234567890}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const symmetric = `"attestation": {"type": "symmetricKey", "symmetricKey": {}}`
	tests := []struct {
		name string
		kind dps.EntryKind
		args []string
		want string // besides the ID
	}{
		{"group without a word", dps.Group, nil, symmetric},
		{"type in any case", dps.Individual, []string{"--at", "SYMMETRICKEY"}, symmetric},
		{"keys", dps.Individual, []string{"--pk", keyA, "--sk", keyB}, `"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "` + keyA + `", "secondaryKey": "` + keyB + `"}}`},
		{"TPM", dps.Individual, []string{"--ek", "AToA", "--storage-root-key", "AToB"}, `"attestation": {"type": "tpm", "tpm": {"endorsementKey": "AToA", "storageRootKey": "AToB"}}`},
		{"names of CAs", dps.Group, []string{"--cn", "one", "--scn", "two"}, `"attestation": {"type": "x509", "x509": {"caReferences": {"primary": "one", "secondary": "two"}}}`},
		{"device ID", dps.Individual, []string{"--at", "symmetricKey", "-d", "hall"}, symmetric + `, "deviceId": "hall"`},
		{"status", dps.Group, []string{"--ps", "Disabled"}, symmetric + `, "provisioningStatus": "disabled"`},
		{"allocation", dps.Group, []string{"--ap", "geolatency", "--ih", "a b,c", "--ih", "d"}, symmetric + `, "allocationPolicy": "geoLatency", "iotHubs": ["a", "b", "c", "d"]`},
		{"webhook", dps.Group, []string{"--wh", "https://a", "--av", "1"}, symmetric + `, "customAllocationDefinition": {"webhookUrl": "https://a", "apiVersion": "1"}`},
		{"migrate", dps.Group, []string{"--rp", "reprovisionandmigratedata"}, symmetric + `, "reprovisionPolicy": {"updateHubAssignment": true, "migrateDeviceData": true}`},
		{"reset", dps.Group, []string{"--rp", "reprovisionandresetdata"}, symmetric + `, "reprovisionPolicy": {"updateHubAssignment": true, "migrateDeviceData": false}`},
		{"never", dps.Group, []string{"--rp", "never"}, symmetric + `, "reprovisionPolicy": {"updateHubAssignment": false, "migrateDeviceData": false}`},
		{"tags", dps.Group, []string{"--tags", `{"a": {"b": 1}}`}, symmetric + `, "initialTwin": {"tags": {"a": {"b": 1}}}`},
		{"properties", dps.Group, []string{"--props", `{"a": 1}`}, symmetric + `, "initialTwin": {"properties": {"desired": {"a": 1}}}`},
		{"whole twin", dps.Group, []string{"--initial-twin", "@" + file}, symmetric + `, "initialTwin": {"tags": {"big": 12345678901234567890}}`},
		{"no tags", dps.Group, []string{"--tags", "{}"}, symmetric + `, "initialTwin": {"tags": {}}`},
		{"device information", dps.Individual, []string{"--at", "symmetricKey", "--device-info", `{"a": 1}`}, symmetric + `, "optionalDeviceInformation": {"a": 1}`},
		{"edge", dps.Group, []string{"--ee"}, symmetric + `, "capabilities": {"iotEdge": true}`},
		{"no edge", dps.Group, []string{"--ee=false"}, symmetric + `, "capabilities": {"iotEdge": false}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := flagged(t, tt.kind, "", tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			member := "registrationId"
			if tt.kind == dps.Group {
				member = "enrollmentGroupId"
			}
			sameJSON(t, got, `{"`+member+`": "id", `+tt.want+`}`)
		})
	}
}

func TestFlagsOfChanges(t *testing.T) {
	const (
		keys   = `{"registrationId": "id", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "` + keyA + `", "secondaryKey": "` + keyB + `"}}}`
		twin   = `{"registrationId": "id", "initialTwin": {"tags": {"a": 1}, "properties": {"desired": {"b": 2}}}}`
		custom = `{"registrationId": "id", "allocationPolicy": "custom", "iotHubs": ["a"], "customAllocationDefinition": {"webhookUrl": "https://a", "apiVersion": "1"}}`
		certs  = `{"registrationId": "id", "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "one"}, "secondary": {"certificate": "two"}}}}}`
		refs   = `{"registrationId": "id", "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "one", "secondary": "two"}}}}`
	)
	tests := []struct {
		name, before string
		args         []string
		replace      [2]string // in before
	}{
		{"one key", keys, []string{"--pk", keyB}, [2]string{keyA, keyB}},
		{"another attestation", keys, []string{"--at", "tpm", "--ek", "AToA"}, [2]string{`"type": "symmetricKey", "symmetricKey": {"primaryKey": "` + keyA + `", "secondaryKey": "` + keyB + `"}`, `"type": "tpm", "tpm": {"endorsementKey": "AToA"}`}},
		{"the same attestation", keys, []string{"--at", "symmetricKey"}, [2]string{}},
		{"tags", twin, []string{"--tags", `{"c": 3}`}, [2]string{`{"a": 1}`, `{"c": 3}`}},
		{"no tags", twin, []string{"--tags", ""}, [2]string{`"tags": {"a": 1}, `, ""}},
		{"properties", twin, []string{"--props", `{"c": 3}`}, [2]string{`{"b": 2}`, `{"c": 3}`}},
		{"no properties", twin, []string{"--props", "null"}, [2]string{`, "properties": {"desired": {"b": 2}}`, ""}},
		{"another twin", twin, []string{"--initial-twin", `{"tags": {}}`}, [2]string{`{"tags": {"a": 1}, "properties": {"desired": {"b": 2}}}`, `{"tags": {}}`}},
		{"no twin", twin, []string{"--initial-twin", ""}, [2]string{`, "initialTwin": {"tags": {"a": 1}, "properties": {"desired": {"b": 2}}}`, ""}},
		{"no hubs", custom, []string{"--ih", ""}, [2]string{`"iotHubs": ["a"], `, ""}},
		{"webhook", custom, []string{"--wh", "https://b"}, [2]string{"https://a", "https://b"}},
		{"no webhook", custom, []string{"--wh", "", "--av", "", "--ap", "hashed"}, [2]string{`custom", "iotHubs": ["a"], "customAllocationDefinition": {"webhookUrl": "https://a", "apiVersion": "1"}`, `hashed", "iotHubs": ["a"]`}},
		{"primary removed", certs, []string{"--rc"}, [2]string{`"primary": {"certificate": "one"}, `, ""}},
		{"secondary removed", certs, []string{"--rsc"}, [2]string{`, "secondary": {"certificate": "two"}`, ""}},
		{"CA in place of certificates", certs, []string{"--cn", "factory"}, [2]string{`"clientCertificates": {"primary": {"certificate": "one"}, "secondary": {"certificate": "two"}}`, `"caReferences": {"primary": "factory"}`}},
		{"one CA", refs, []string{"--scn", "three"}, [2]string{"two", "three"}},
		{"no second CA", refs, []string{"--scn", ""}, [2]string{`, "secondary": "two"`, ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.before, tt.replace[0]) {
				t.Fatalf("%s is not in %s", tt.replace[0], tt.before)
			}
			got, err := flagged(t, dps.Individual, tt.before, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			sameJSON(t, got, strings.Replace(tt.before, tt.replace[0], tt.replace[1], 1))
		})
	}
}

func TestCertificateFlags(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	e := &env{args: []string{"pki", "root", "Plant", "--out", dir}, getenv: func(string) string { return "" }, out: &out, err: &out}
	if code := run(t.Context(), e); code != exitOK {
		t.Fatal(out.String())
	}
	path := filepath.Join(dir, "plant.cert.pem")
	der, err := readCertificate(io.Discard, "--certificate-path", path)
	if err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(dir, "plant.der")
	if err := os.WriteFile(raw, der, 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, member := range map[dps.EntryKind]string{dps.Individual: "clientCertificates", dps.Group: "signingCertificates"} {
		got, err := flagged(t, kind, "", "--cp", path, "--scp", raw)
		if err != nil {
			t.Fatal(err)
		}
		var r wire.Enrollment
		if err := json.Unmarshal([]byte(got), &r); err != nil {
			t.Fatal(err)
		}
		pair := certificatesOf(r.Attestation.X509)
		if !strings.Contains(got, member) || pair.Primary == nil || pair.Secondary == nil ||
			pair.Primary.Certificate != pair.Secondary.Certificate {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

func TestFlagsOfAnotherAttestationChangeNothing(t *testing.T) {
	const before = `{"registrationId": "id", "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "one"}}}}`
	_, err := flagged(t, dps.Individual, before, "--pk", keyA)
	if err == nil || !strings.Contains(err.Error(), "attestation type is x509; add --attestation-type symmetricKey to change it") {
		t.Errorf("error = %v", err)
	}
}

// contested is a service whose enrollment somebody else changes the first times that it
// is written.
type contested struct {
	changes int // to come
	puts    []string
}

func (c *contested) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		_, _ = io.WriteString(w, `{"type": "symmetricKey", "symmetricKey": {"primaryKey": "`+keyA+`", "secondaryKey": "`+keyB+`"}}`)
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		c.puts = append(c.puts, r.Header.Get("If-Match")+" "+string(body))
		if c.changes--; c.changes >= 0 {
			w.WriteHeader(http.StatusPreconditionFailed)
			_, _ = io.WriteString(w, `{"errorCode": 412001, "message": "Changed."}`)
			return
		}
		_, _ = w.Write(body)
	default:
		_, _ = io.WriteString(
			w,
			`{"registrationId": "id", "deviceId": "`+strings.Repeat(
				"x",
				c.changes+1,
			)+`", "etag": "v`+strings.Repeat(
				"i",
				c.changes+1,
			)+`", "attestation": {"type": "symmetricKey"}}`,
		)
	}
}

func TestUpdateOfWhatSomebodyElseChanges(t *testing.T) {
	tests := []struct {
		name    string
		changes int
		etag    string
		puts    []string // versions that were written at
		fails   bool
	}{
		{"nobody", 0, "", []string{"vi"}, false},
		{"once", 1, "", []string{"vii", "vi"}, false},
		{"again and again", 9, "", []string{"v" + strings.Repeat("i", 10), "v" + strings.Repeat("i", 9)}, true},
		{"a version that is meant", 1, "v0", []string{"v0"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fake := &contested{changes: tt.changes}
			server := httptest.NewTLSServer(fake)
			defer server.Close()
			client, err := service.NewClient(
				"HostName="+strings.TrimPrefix(server.URL, "https://")+";SharedAccessKeyName=p;SharedAccessKey=Zm9vYmFy",
				&service.Options{HTTPClient: server.Client()},
			)
			if err != nil {
				t.Fatal(err)
			}
			o := enrollmentOptions{
				kind:    dps.Individual,
				id:      "id",
				etag:    tt.etag,
				content: enrollmentContent{status: "disabled", given: map[string]bool{"provisioning-status": true}},
			}
			updated, err := o.update(t.Context(), client.Enrollments())
			if service.IsPreconditionFailed(err) != tt.fails || (err != nil) != tt.fails {
				t.Errorf("error = %v", err)
			}
			if !tt.fails &&
				(updated.ProvisioningStatus.Value != "disabled" || updated.DeviceID != "x" || updated.Attestation.SymmetricKey.PrimaryKey != keyA) {
				t.Errorf("updated = %+v", updated)
			}
			var versions []string
			for _, put := range fake.puts {
				version, _, _ := strings.Cut(put, " ")
				versions = append(versions, version)
			}
			if diff := cmp.Diff(tt.puts, versions); diff != "" {
				t.Errorf("versions, -want +got:\n%s", diff)
			}
		})
	}
}

func TestListEndsWithTheError(t *testing.T) {
	found := func(yield func(int, error) bool) {
		if yield(1, nil) && yield(2, nil) {
			yield(0, io.ErrUnexpectedEOF)
		}
	}
	numbers := table[int]{header: "N", none: "none", row: func(int) []string { return []string{"n"} }}
	for name, tt := range map[string]struct {
		o    listOptions
		want string
		err  error
	}{
		"JSON":         {listOptions{json: true}, "[\n  1,\n  2", io.ErrUnexpectedEOF},
		"table":        {listOptions{}, "N\nn\nn\n", io.ErrUnexpectedEOF},
		"before it":    {listOptions{json: true, top: 2}, "[\n  1,\n  2\n]\n", nil},
		"before all":   {listOptions{json: true, top: 1}, "[\n  1\n]\n", nil},
		"table before": {listOptions{top: 1}, "N\nn\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := printList(&env{out: &out}, tt.o, found, numbers)
			if err != tt.err || out.String() != tt.want { //nolint:errorlint // the very error
				t.Errorf("printed %q, error %v; want %q, %v", out.String(), err, tt.want, tt.err)
			}
		})
	}
}

func TestAskDelete(t *testing.T) {
	for _, tt := range []struct {
		answer string
		yes    bool
	}{{"y\n", true}, {" YES \n", true}, {"yes", true}, {"n\n", false}, {"", false}, {"\n", false}, {"yup\n", false}} {
		var errs bytes.Buffer
		err := askDelete(&env{in: strings.NewReader(tt.answer), err: &errs}, "policy p")
		if (err == nil) != tt.yes || errs.String() != "Delete policy p? [y/N] " {
			t.Errorf("answer %q: error %v, asked %q", tt.answer, err, errs.String())
		}
	}
}
