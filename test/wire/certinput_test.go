package wire_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// certificateMembers are all places where the APIs read a certificate: method, path and
// body, in which %q is the text, and the member that errors name.
var certificateMembers = []struct{ name, method, path, body, member string }{
	{
		"client certificate", "PUT", "/enrollments/line",
		`{"registrationId": "line", "attestation": {"type": "x509", "x509": {"clientCertificates": {"secondary": {"certificate": %q}}}}}`,
		"attestation.x509.clientCertificates.secondary.certificate",
	},
	{
		"signing certificate", "PUT", "/enrollmentGroups/line",
		`{"enrollmentGroupId": "line", "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": %q}}}}}`,
		"attestation.x509.signingCertificates.primary.certificate",
	},
	{"CA certificate", "PUT", "{control}/certificates/line", `{"properties": {"certificate": %q}}`, "properties.certificate"},
	{"verification certificate", "POST", "{control}/certificates/proved/verify", `{"certificate": %q}`, "certificate"},
}

// TestCertificateInput sends certificates as tools damage them to every member: what is
// meant is never guessed.
func TestCertificateInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := certificates{}
	root := c.make(t, order{name: "root", kind: "root", commonName: "root"})
	line := c.make(t, order{name: "line", kind: "intermediate", commonName: "line", by: "root"})
	other := c.make(t, order{name: "other", kind: "root", commonName: "other"})
	w.control(t, "PUT", "/certificates/proved", fmt.Sprintf(`{"properties": {"certificate": %q}}`, root.pem()))

	trusted := strings.ReplaceAll(line.pem(), "CERTIFICATE", "TRUSTED CERTIFICATE")
	damaged := strings.Replace(line.pem(), "\nM", "\n*", 1)
	for name, tt := range map[string]struct{ text, says string }{
		"trusted, then root":      {trusted + root.pem(), "block 1 (TRUSTED CERTIFICATE, line 1)"},
		"damaged, then root":      {"\ufeff" + damaged + root.pem(), "block 1 (CERTIFICATE, line 1): its base64 is damaged: line 2"},
		"indented, then root":     {"  " + line.pem() + root.pem(), "indented line 1"},
		"chain in wrong order":    {root.pem() + line.pem(), "certificate 2 (CN=line) did not sign certificate 1 (CN=root)"},
		"unrelated":               {line.pem() + other.pem(), "certificate 2 (CN=other) did not sign certificate 1 (CN=line)"},
		"spaces":                  {strings.ReplaceAll(line.pem(), "\n", " "), "convert it with: sed"},
		"literal n":               {strings.ReplaceAll(line.pem(), "\n", `\n`), "convert it with: printf"},
		"URL-encoded":             {url.PathEscape(line.pem()), "is URL-encoded"},
		"UTF-16 in base64":        {base64.StdEncoding.EncodeToString([]byte("\xff\xfe-\x00-\x00")), "iconv -f UTF-16"},
		"PKCS#12 in base64":       {base64.StdEncoding.EncodeToString([]byte("\x30\x80\x02\x01\x03\x30\x80")), "openssl pkcs12"},
		"PKCS#7":                  {string(pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: []byte{1}})), "openssl pkcs7"},
		"damaged, base64 of PEM":  {base64.StdEncoding.EncodeToString([]byte(damaged + root.pem())), "block 1 (CERTIFICATE, line 1)"},
		"private key as a second": {line.pem() + "-----BEGIN PRIVATE KEY-----\n", "holds a private key (PEM block 2"},
	} {
		for _, m := range certificateMembers {
			r := w.sendCertificate(t, m.method, m.path, fmt.Sprintf(m.body, tt.text))
			if r.status != 400 || !strings.Contains(messageOf(t, r), m.member+": ") || !strings.Contains(messageOf(t, r), tt.says) {
				t.Errorf("%s, %s: %d %s\nwant 400 with %s: and %q", name, m.name, r.status, r.body, m.member, tt.says)
			}
		}
	}
	for _, text := range []string{
		"\ufeff" + line.pem() + root.pem(), base64.StdEncoding.EncodeToString([]byte(line.pem() + root.pem())),
		strings.ReplaceAll(line.pem(), "CERTIFICATE", "X509 CERTIFICATE"), base64.StdEncoding.EncodeToString(line.cert.Raw),
	} {
		for _, m := range certificateMembers[:3] {
			r := w.sendCertificate(t, m.method, m.path, fmt.Sprintf(m.body, text))
			if thumbprint := dps.SHA1Thumbprint(line.cert.Raw); r.status != 200 || !strings.Contains(r.body, thumbprint) {
				t.Errorf("%s of %.40q: %d %s\nwant 200 with %s", m.name, text, r.status, r.body, thumbprint)
			}
			w.sendCertificate(t, "DELETE", m.path, "") // one certificate belongs to one record
		}
	}
}

// sendCertificate is send where {control} stands for the service in the control plane.
func (w *world) sendCertificate(t *testing.T, method, path, body string) reply {
	t.Helper()
	path = strings.Replace(path, "{control}", w.info.ControlPlane.ResourceID, 1)
	h := http.Header{"Authorization": {w.token(path)}}
	if method != "PUT" {
		h.Set("If-Match", "*")
	}
	return w.do(t, call{method: method, path: withVersion(path), header: h, body: strings.NewReader(body)})
}

// messageOf returns the message of a refusal of any API.
func messageOf(t *testing.T, r reply) string {
	t.Helper()
	var body struct {
		Message string
		Error   struct{ Message string }
	}
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatal(err)
	}
	return body.Message + body.Error.Message
}

// TestCertificateWarnings looks at answers about certificates that no device can use, or
// none yet: they are accepted as by DPS, and a header says so.
func TestCertificateWarnings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := certificates{}
	root := c.make(t, order{name: "root", kind: "root", commonName: "root"})
	leaf := c.make(t, order{name: "leaf", kind: "device", commonName: "press-1", by: "root"})
	bare := c.make(t, order{name: "bare", kind: "device", commonName: "bare", flaw: "bare"})
	individual, group, ca := certificateMembers[0], certificateMembers[1], certificateMembers[2]

	refused := w.sendCertificate(t, group.method, group.path, fmt.Sprintf(group.body, leaf.pem()))
	w.isBad(t, refused, badInput{
		member: group.member, rules: "is not a CA certificate: its basicConstraints do not say CA:TRUE; no device could register",
	})

	const mismatch = `attestation.x509.clientCertificates.secondary: the certificate's common name "press-1" is not the registration ID "line"`
	for _, tt := range []struct {
		name, method, path, body, want string
	}{
		{"another common name", individual.method, individual.path, fmt.Sprintf(individual.body, leaf.pem()), mismatch},
		{"read back", "GET", individual.path, "", mismatch},
		{"no extensions", group.method, group.path, fmt.Sprintf(group.body, bare.pem()), "attestation.x509.signingCertificates.primary: the certificate is not a CA"},
		{"root", ca.method, "{control}/certificates/root", fmt.Sprintf(ca.body, root.pem()), ""},
		{"not a CA", ca.method, "{control}/certificates/leaf", fmt.Sprintf(ca.body, leaf.pem()), "certificate: the certificate is not a CA"},
		{"not a CA, read back", "GET", "{control}/certificates/leaf", "", "certificate: the certificate is not a CA"},
		{
			"in bulk", "POST", "/enrollments", fmt.Sprintf(`{"mode": "create", "enrollments": [`+individual.body+`]}`, root.pem()),
			"", // the item is there already
		},
		{
			"reference not verified", "PUT", "/enrollmentGroups/by-ca",
			`{"enrollmentGroupId": "by-ca", "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "root"}}}}`,
			"attestation.x509.caReferences.primary: the CA certificate root is not verified",
		},
	} {
		r := w.sendCertificate(t, tt.method, tt.path, tt.body)
		got := r.header.Values(wire.HeaderWarning)
		if tt.want == "" {
			if len(got) > 0 {
				t.Errorf("%s: warnings %q, want none", tt.name, got)
			}
			continue
		}
		if r.status != 200 || len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
			t.Errorf("%s: %d %s, warnings %q; want %q", tt.name, r.status, r.body, got, tt.want)
		}
	}
	item := strings.ReplaceAll(fmt.Sprintf(individual.body, leaf.pem()), `"line"`, `"press-2"`)
	r := w.sendCertificate(t, "DELETE", individual.path, "")
	if r.status != 204 {
		t.Fatalf("delete: %d %s", r.status, r.body)
	}
	r = w.sendCertificate(t, "POST", "/enrollments", `{"mode": "create", "enrollments": [`+item+`]}`)
	if got := r.header.Get(wire.HeaderWarning); r.status != 200 || !strings.HasPrefix(got, "individual enrollment press-2: attestation.x509") {
		t.Errorf("bulk: %d %s, warning %q", r.status, r.body, got)
	}
}

// TestImportReadsCertificatesAlike imports a damaged certificate and one for another
// device, as JSON Lines and as CSV.
func TestImportReadsCertificatesAlike(t *testing.T) {
	t.Parallel()
	c := certificates{}
	c.make(t, order{name: "root", kind: "root", commonName: "root"})
	leaf := c.make(t, order{name: "leaf", kind: "device", commonName: "press-1", by: "root"})
	trusted := strings.ReplaceAll(leaf.pem(), "CERTIFICATE", "TRUSTED CERTIFICATE") + c.get(t, "root").pem()
	line := func(id, text string) string {
		return fmt.Sprintf(`{"registrationId": %q, "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": %q}}}}}`, id, text)
	}
	for kind, body := range map[string]string{
		"application/x-ndjson": line("bad", trusted) + "\n" + line("press-2", leaf.pem()) + "\n",
		"text/csv":             "registrationId,attestationType,certificate\n" + `bad,x509,"` + trusted + "\"\n" + `press-2,x509,"` + leaf.pem() + "\"\n",
	} {
		w := newWorld(t)
		h := http.Header{"Authorization": {w.token("/enrollments")}, "Content-Type": {kind}}
		r := w.do(t, call{method: "POST", path: withVersion("/mooring/v1/import?kind=enrollments"), header: h, body: strings.NewReader(body)})
		var result wire.ImportResult
		if err := json.Unmarshal([]byte(r.body), &result); err != nil || r.status != 200 {
			t.Fatalf("%s: %d %s", kind, r.status, r.body)
		}
		if result.Created != 1 || len(result.Refused) != 1 ||
			!strings.Contains(result.Refused[0].Message, "block 1 (TRUSTED CERTIFICATE, line 1)") {
			t.Errorf("%s: %s", kind, r.body)
		}
		if len(result.Warnings) != 1 || result.Warnings[0].ID != "press-2" ||
			!strings.Contains(result.Warnings[0].Message, `"press-1" is not the registration ID`) {
			t.Errorf("%s: warnings %+v", kind, result.Warnings)
		}
	}
}
