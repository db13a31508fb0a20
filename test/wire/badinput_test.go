package wire_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// badInput is a body that is refused; member and rule are in the message.
type badInput struct {
	name, body    string
	code          int    // 400004 if 0
	member, rules string // what the message begins with, and what it says
}

// Bodies around the member that is bad.
const (
	individual = `{"registrationId": "bad", "attestation": {"type": "symmetricKey"}, %s}`
	group      = `{"enrollmentGroupId": "bad", "attestation": {"type": "symmetricKey"}, %s}`
	attested   = `{"registrationId": "bad", "attestation": %s}`
	attestedBy = `{"enrollmentGroupId": "bad", "attestation": %s}`
	certified  = `{"registrationId": "bad", "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": %q}}}}}`
)

func member(text string) string { return fmt.Sprintf(individual, text) }

func desired(text string) string {
	return member(`"initialTwin": {"properties": {"desired": ` + text + `}}`)
}

func tags(text string) string { return member(`"initialTwin": {"tags": ` + text + `}`) }

func nested(open, closing, inner string, depth int) string {
	return strings.Repeat(open, depth) + inner + strings.Repeat(closing, depth)
}

// strs writes n members of size bytes each.
func strs(n, size int) string {
	var members []string
	for i := range n {
		members = append(members, fmt.Sprintf(`"m%d": %q`, i, strings.Repeat("x", size-len(fmt.Sprintf("m%d", i)))))
	}
	return "{" + strings.Join(members, ", ") + "}"
}

const clientPrimary = "attestation.x509.clientCertificates.primary"

var badIndividuals = []badInput{
	{name: "no JSON", body: `registrationId=bad`, code: 400000, member: "body", rules: "is not JSON"},
	{name: "cut off", body: `{"registrationId": "bad", `, code: 400000, member: "body", rules: "is incomplete"},
	{name: "nothing", body: ``, code: 400000, member: "body", rules: "is empty"},
	{name: "blanks", body: " \n", code: 400000, member: "body", rules: "is empty"},
	{name: "text after the object", body: attestedText + ` x`, code: 400000, member: "body", rules: "after the JSON value"},
	{name: "two objects", body: attestedText + attestedText, code: 400000, member: "body", rules: "after the JSON value"},
	{name: "no UTF-8", body: member("\"deviceId\": \"\xff\""), code: 400000, member: "body", rules: "is not UTF-8; save the file as UTF-8"},
	{name: "UTF-16", body: "\xfe\xff\x00{\x00}", code: 400000, member: "body", rules: "not UTF-8; save the file as UTF-8"},
	{name: "nested too deeply", body: member(`"x": ` + nested("[", "]", "", 20000)), code: 400000, member: "body", rules: "is not JSON"},
	{name: "an array", body: `[]`, member: "body", rules: "must be a JSON object, not an array"},
	{name: "a string", body: `"x"`, member: "body", rules: "must be a JSON object, not a string"},
	{name: "a number", body: `7`, member: "body", rules: "must be a JSON object, not a number"},
	{name: "true", body: `true`, member: "body", rules: "must be a JSON object, not true or false"},
	{name: "null", body: `null`, member: "registrationId", rules: "is required"},

	{name: "no ID", body: `{"attestation": {"type": "symmetricKey"}}`, member: "registrationId", rules: "is required"},
	{name: "another ID", body: `{"registrationId": "other", "attestation": {"type": "symmetricKey"}}`, member: "registrationId", rules: "must match the ID in the path"},
	{name: "ID of another type", body: `{"registrationId": 7}`, member: "registrationId", rules: "must be a string, not a number"},
	{name: "a group's ID", body: `{"enrollmentGroupId": "bad", "attestation": {"type": "symmetricKey"}}`, member: "registrationId", rules: "is required"},
	{name: "deviceId of another type", body: member(`"deviceId": {}`), member: "deviceId", rules: "must be a string, not an object"},
	{name: "bad deviceId", body: member(`"deviceId": "a b"`), member: "deviceId", rules: "must be 1 to 128"},
	{name: "long deviceId", body: member(`"deviceId": "` + strings.Repeat("a", 129) + `"`), member: "deviceId", rules: "must be 1 to 128"},
	{name: "status of another type", body: member(`"provisioningStatus": 7`), member: "provisioningStatus", rules: "must be a string, not a number"},
	{name: "unknown status", body: member(`"provisioningStatus": "off"`), member: "provisioningStatus", rules: "must be enabled or disabled"},
	{name: "etag of another type", body: member(`"etag": 7`), member: "etag", rules: "must be a string, not a number"},
	{name: "capabilities of another type", body: member(`"capabilities": true`), member: "capabilities", rules: "must be an object, not true or false"},
	{name: "iotEdge of another type", body: member(`"capabilities": {"iotEdge": "yes"}`), member: "capabilities.iotEdge", rules: "must be true or false, not a string"},
	{name: "device information of another type", body: member(`"optionalDeviceInformation": [1]`), member: "optionalDeviceInformation", rules: "must be an object"},
	{name: "reprovisioning of another type", body: member(`"reprovisionPolicy": "never"`), member: "reprovisionPolicy", rules: "must be an object, not a string"},
	{name: "reprovisioning member of another type", body: member(`"reprovisionPolicy": {"migrateDeviceData": 1}`), member: "reprovisionPolicy.migrateDeviceData", rules: "must be true or false, not a number"},
	{name: "certificates of a preview", body: member(`"trustBundleId": "x"`), member: "trustBundleId", rules: "is not supported"},
	{name: "policy of a preview", body: member(`"credentialPolicyName": "x"`), member: "credentialPolicyName", rules: "is not supported"},

	{name: "hubs of another type", body: member(`"iotHubs": "hub.example"`), member: "iotHubs", rules: "must be an array, not a string"},
	{name: "a hub of another type", body: member(`"iotHubs": [7]`), member: "iotHubs", rules: "must be a string, not a number"},
	{name: "a hub with scheme", body: member(`"allocationPolicy": "static", "iotHubs": ["https://hub.example"]`), member: "iotHubs", rules: "must be host names"},
	{name: "a hub twice", body: member(`"allocationPolicy": "static", "iotHubs": ["hub.example", "HUB.example"]`), member: "iotHubs", rules: "twice"},
	{name: "too many hubs", body: member(`"allocationPolicy": "static", "iotHubs": [` + strings.Repeat(`"a",`, 50) + `"a"]`), member: "iotHubs", rules: "the limit is 50"},
	{name: "a bad single hub", body: member(`"iotHubHostName": "a/b"`), member: "iotHubHostName", rules: "must be host names"},
	{name: "unknown allocation", body: member(`"allocationPolicy": "random"`), member: "allocationPolicy", rules: "must be hashed, geoLatency, static or custom"},
	{name: "custom without definition", body: member(`"allocationPolicy": "custom"`), member: "customAllocationDefinition", rules: "is required"},
	{name: "definition of another type", body: member(`"customAllocationDefinition": "x"`), member: "customAllocationDefinition", rules: "must be an object, not a string"},
	{name: "webhook without host", body: member(`"customAllocationDefinition": {"webhookUrl": "/x", "apiVersion": "2019-03-31"}`), member: "customAllocationDefinition.webhookUrl", rules: "must be an absolute"},
	{name: "webhook without TLS", body: member(`"customAllocationDefinition": {"webhookUrl": "http://f.example/x", "apiVersion": "2019-03-31"}`), member: "customAllocationDefinition.webhookUrl", rules: "must be https"},
	{name: "webhook on this machine", body: member(`"customAllocationDefinition": {"webhookUrl": "https://127.0.0.1/x", "apiVersion": "2019-03-31"}`), member: "customAllocationDefinition.webhookUrl", rules: "must not lead to this machine"},
	{name: "webhook without version", body: member(`"customAllocationDefinition": {"webhookUrl": "https://f.example"}`), member: "customAllocationDefinition.apiVersion", rules: "is required"},

	{name: "no attestation", body: `{"registrationId": "bad"}`, member: "attestation", rules: "is required"},
	{name: "attestation of another type", body: fmt.Sprintf(attested, `"tpm"`), member: "attestation", rules: "must be an object, not a string"},
	{name: "no type", body: fmt.Sprintf(attested, `{}`), member: "attestation.type", rules: "is required"},
	{name: "type of another type", body: fmt.Sprintf(attested, `{"type": 7}`), member: "attestation.type", rules: "must be a string, not a number"},
	{name: "unknown attestation", body: fmt.Sprintf(attested, `{"type": "fingerprint"}`), member: "attestation.type", rules: `must be tpm, x509 or symmetricKey, not "fingerprint"`},
	{name: "no attestation on purpose", body: fmt.Sprintf(attested, `{"type": "none"}`), member: "attestation.type", rules: "must be tpm"},
	{name: "two attestations", body: fmt.Sprintf(attested, `{"type": "tpm", "tpm": {"endorsementKey": "AToA"}, "symmetricKey": {}}`), member: "attestation.symmetricKey", rules: "must be absent"},
	{name: "two attestations, the other one", body: fmt.Sprintf(attested, `{"type": "symmetricKey", "x509": {"caReferences": {"primary": "a"}}}`), member: "attestation.x509", rules: "must be absent"},
	{name: "TPM without keys", body: fmt.Sprintf(attested, `{"type": "tpm"}`), member: "attestation.tpm", rules: "is required"},
	{name: "TPM with an empty key", body: fmt.Sprintf(attested, `{"type": "tpm", "tpm": {"endorsementKey": ""}}`), member: "attestation.tpm.endorsementKey", rules: "is required"},
	{name: "TPM key that is no base64", body: fmt.Sprintf(attested, `{"type": "tpm", "tpm": {"endorsementKey": "?"}}`), member: "attestation.tpm.endorsementKey", rules: "must be base64"},
	{name: "TPM root key that is no base64", body: fmt.Sprintf(attested, `{"type": "tpm", "tpm": {"endorsementKey": "AToA", "storageRootKey": "?"}}`), member: "attestation.tpm.storageRootKey", rules: "must be base64"},
	{name: "key of 15 bytes", body: fmt.Sprintf(attested, `{"type": "symmetricKey", "symmetricKey": {"primaryKey": "AAECAwQFBgcICQoLDA0O"}}`), member: "attestation.symmetricKey.primaryKey", rules: "16 to 64 bytes, not 15"},
	{name: "key of 65 bytes", body: fmt.Sprintf(attested, `{"type": "symmetricKey", "symmetricKey": {"secondaryKey": "`+base64.StdEncoding.EncodeToString(make([]byte, 65))+`"}}`), member: "attestation.symmetricKey.secondaryKey", rules: "16 to 64 bytes, not 65"},
	{name: "key that is no base64", body: fmt.Sprintf(attested, `{"type": "symmetricKey", "symmetricKey": {"primaryKey": "secret!!"}}`), member: "attestation.symmetricKey.primaryKey", rules: "must be base64"},

	{name: "X.509 without anything", body: fmt.Sprintf(attested, `{"type": "x509"}`), member: "attestation.x509", rules: "is required"},
	{name: "X.509 with nothing in it", body: fmt.Sprintf(attested, `{"type": "x509", "x509": {"clientCertificates": {}}}`), member: "attestation.x509", rules: "TPM or X509 attestation is required."},
	{name: "an empty certificate", body: fmt.Sprintf(certified, ""), member: "attestation.x509", rules: "TPM or X509 attestation is required."},
	{name: "X.509 of another type", body: fmt.Sprintf(attested, `{"type": "x509", "x509": "cert"}`), member: "attestation.x509", rules: "must be an object, not a string"},
	{name: "certificate of another type", body: fmt.Sprintf(attested, `{"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": 7}}}}`), member: clientPrimary + ".certificate", rules: "must be a string, not a number"},
	{name: "certificate without its object", body: fmt.Sprintf(attested, `{"type": "x509", "x509": {"clientCertificates": {"primary": "MII"}}}`), member: clientPrimary, rules: "must be an object, not a string"},
	{name: "info without a thumbprint", body: fmt.Sprintf(attested, `{"type": "x509", "x509": {"clientCertificates": {"primary": {"info": {}}}}}`), member: clientPrimary + ".certificate", rules: "is required"},
	{name: "signing certificates", body: fmt.Sprintf(attested, `{"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": "x"}}}}`), member: "attestation.x509.signingCertificates", rules: "is not supported"},
	{name: "certificates and references", body: fmt.Sprintf(attested, `{"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "x"}}, "caReferences": {"primary": "a"}}}`), member: "attestation.x509.caReferences", rules: "must be absent"},
	{name: "a bad reference", body: fmt.Sprintf(attested, `{"type": "x509", "x509": {"caReferences": {"secondary": "a b"}}}`), member: "attestation.x509.caReferences.secondary", rules: "must be the name of a CA certificate"},
	{name: "no base64", body: fmt.Sprintf(certified, "????"), member: clientPrimary + ".certificate", rules: "not a valid base64 string value"},
	{name: "base64 of something else", body: fmt.Sprintf(certified, "AAECAwQ="), member: clientPrimary + ".certificate", rules: "must be an X.509 certificate"},
	{name: "PEM of something else", body: fmt.Sprintf(certified, "-----BEGIN CERTIFICATE REQUEST-----\nAAEC\n-----END CERTIFICATE REQUEST-----\n"), member: clientPrimary + ".certificate", rules: "block 1 (CERTIFICATE REQUEST, line 1) is a certificate request (CSR)"},
	{name: "PEM that is cut off", body: fmt.Sprintf(certified, "-----BEGIN CERTIFICATE-----\nMIIB"), member: clientPrimary + ".certificate", rules: "block 1 (CERTIFICATE, line 1): its END line is missing"},

	{name: "twin of another type", body: member(`"initialTwin": [1]`), member: "initialTwin", rules: "must be an object"},
	{name: "tags of another type", body: tags(`"a"`), member: "initialTwin.tags", rules: "must be an object"},
	{name: "properties of another type", body: member(`"initialTwin": {"properties": 1}`), member: "initialTwin.properties", rules: "must be an object"},
	{name: "desired of another type", body: desired(`[]`), member: "initialTwin.properties.desired", rules: "must be an object"},
	{name: "tags beyond 8 KB", body: tags(strs(3, 2800)), member: "initialTwin.tags", rules: "the limit is 8192"},
	{name: "desired beyond 32 KB", body: desired(strs(9, 4000)), member: "initialTwin.properties.desired", rules: "the limit is 32768"},
	{name: "a string beyond 4 KB", body: desired(`{"a": {"b": "` + strings.Repeat("x", 4097) + `"}}`), member: "initialTwin.properties.desired.a.b", rules: "the limit for a string is 4096"},
	{name: "a name beyond 1 KB", body: tags(`{"` + strings.Repeat("x", 1025) + `": 1}`), member: "initialTwin.tags", rules: "longer than 1024 bytes"},
	{name: "a name with a dot", body: tags(`{"a.b": 1}`), member: "initialTwin.tags", rules: `name "a.b"`},
	{name: "a name with a dollar", body: desired(`{"a": {"$b": 1}}`), member: "initialTwin.properties.desired.a", rules: `name "$b"`},
	{name: "a name with a blank", body: tags(`{"a b": 1}`), member: "initialTwin.tags", rules: `name "a b"`},
	{name: "a name with a control character", body: tags(`{"a\u0001": 1}`), member: "initialTwin.tags", rules: "control character"},
	{name: "an empty name", body: tags(`{"": 1}`), member: "initialTwin.tags", rules: "must not be empty"},
	{name: "eleven levels", body: desired(nested(`{"a": `, "}", "1", 11)), member: "initialTwin.properties.desired.a.a.a.a.a.a.a.a.a.a", rules: "deeper than 10 levels"},
	{name: "eleven levels with arrays", body: desired(`{"a": ` + nested("[", "]", "1", 10) + "}"), member: "initialTwin.properties.desired.a", rules: "deeper than 10 levels"},
	{name: "an integer too large", body: desired(`{"a": 4503599627370496}`), member: "initialTwin.properties.desired.a", rules: "must be from -4503599627370496 to 4503599627370495"},
	{name: "a number that is infinite", body: tags(`{"a": [1e999]}`), member: "initialTwin.tags.a", rules: "must have numbers between"},
	{name: "a number that becomes zero", body: desired(`{"a": {"b": 1e-999}}`), member: "initialTwin.properties.desired.a.b", rules: "must have numbers that are 0"},
	{name: "device information that is infinite", body: member(`"optionalDeviceInformation": {"a": -1e400}`), member: "optionalDeviceInformation", rules: "must have numbers between"},
	{name: "an integer too small", body: desired(`{"a": -4503599627370497}`), member: "initialTwin.properties.desired.a", rules: "must be from"},
}

const attestedText = `{"registrationId": "bad", "attestation": {"type": "symmetricKey"}}`

var badGroups = []badInput{
	{name: "no ID", body: `{"registrationId": "bad", "attestation": {"type": "symmetricKey"}}`, member: "enrollmentGroupId", rules: "is required"},
	{name: "another ID", body: `{"enrollmentGroupId": "other", "attestation": {"type": "symmetricKey"}}`, member: "enrollmentGroupId", rules: "must match the ID in the path"},
	{name: "deviceId", body: fmt.Sprintf(group, `"deviceId": "x"`), member: "deviceId", rules: "is not supported"},
	{name: "device information", body: fmt.Sprintf(group, `"optionalDeviceInformation": {}`), member: "optionalDeviceInformation", rules: "is not supported"},
	{name: "TPM", body: fmt.Sprintf(attestedBy, `{"type": "tpm", "tpm": {"endorsementKey": "AToA"}}`), member: "attestation.type", rules: "must be x509 or symmetricKey"},
	{name: "client certificates", body: fmt.Sprintf(attestedBy, `{"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "x"}}}}`), member: "attestation.x509.clientCertificates", rules: "is not supported"},
	{name: "no certificate", body: fmt.Sprintf(attestedBy, `{"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": ""}}}}`), member: "attestation.x509", rules: "TPM or X509 attestation is required."},
	{name: "a bad certificate", body: fmt.Sprintf(attestedBy, `{"type": "x509", "x509": {"signingCertificates": {"secondary": {"certificate": "AAEC"}}}}`), member: "attestation.x509.signingCertificates.secondary.certificate", rules: "must be an X.509 certificate"},
}

// TestBadInput sends bodies that are refused with a 400 that names member and rule,
// and looks that nothing was stored.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, rows := range map[string][]badInput{"/enrollments": append(badIndividuals, privateKeys(t)...), "/enrollmentGroups": badGroups} {
		for _, row := range rows {
			t.Run(path[1:]+"/"+row.name, func(t *testing.T) {
				w.isBad(t, w.send(t, "PUT", path+"/bad", row.body), row)
				if r := w.send(t, "GET", path+"/bad", ""); r.status != 404 {
					t.Errorf("something was stored: %d %s", r.status, r.body)
				}
			})
		}
	}
}

// privateKeys are keys in the place of a certificate, in every form.
func privateKeys(t *testing.T) []badInput {
	t.Helper()
	c := certificates{}
	p := c.make(t, order{name: "x", kind: "device", commonName: "bad"})
	der := p.keyDER(t)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	var rows []badInput
	for name, form := range map[string]string{
		"private key as PEM": text, "private key as base64 of DER": base64.StdEncoding.EncodeToString(der),
		"private key as base64 of PEM":      base64.StdEncoding.EncodeToString([]byte(text)),
		"private key beside a certificate":  p.pem() + text,
		"private key before a certificate":  text + p.pem(),
		"private key of its own PEM type":   strings.ReplaceAll(text, "PRIVATE KEY", "EC PRIVATE KEY"),
		"private key that is encrypted":     strings.ReplaceAll(text, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
		"private key that is cut off":       text[:80],
		"private key with Windows newlines": strings.ReplaceAll(text, "\n", "\r\n"),
	} {
		rows = append(
			rows,
			badInput{name: name, body: fmt.Sprintf(certified, form), member: clientPrimary + ".certificate", rules: "holds a private key"},
		)
	}
	return rows
}

func (w *world) isBad(t *testing.T, r reply, row badInput) {
	t.Helper()
	code := row.code
	if code == 0 {
		code = 400004
	}
	if r.status != 400 {
		t.Fatalf("status %d, want 400: %s", r.status, r.body)
	}
	var body struct {
		ErrorCode int    `json:"errorCode"`
		Message   string `json:"message"`
	}
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatal(err)
	}
	if body.ErrorCode != code || !strings.HasPrefix(body.Message, row.member+": ") || !strings.Contains(body.Message, row.rules) {
		t.Errorf("answer %d %q, want %d %q with %q", body.ErrorCode, body.Message, code, row.member, row.rules)
	}
}

// TestAllocationPolicyText checks the one sentence that clients know by heart.
func TestAllocationPolicyText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.send(t, "PUT", "/enrollments/bad", member(`"iotHubs": ["hub.example"]`))
	const want = `{"errorCode": 400004, "trackingId": "{{uuid}}", "message": "Enrollment allocationPolicy must be specified when iotHubs are specified.", "timestampUtc": "{{time7}}"}`
	if err := w.matchJSON(want, r.body); err != nil || r.status != 400 {
		t.Errorf("status %d: %v", r.status, err)
	}
}

// TestBadIDs sends IDs that break the rule, in the path.
func TestBadIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{
		"a%20b", "a%2Fb", "a.", "a_", "a:", ".", "%C3%A4", "a%00", "a%0A", "a+b", "a,b", "*", "a%25", strings.Repeat("a", 129),
	} {
		body := `{"registrationId": "x", "attestation": {"type": "symmetricKey"}}`
		r := w.send(t, "PUT", "/enrollments/"+id, body)
		if id != "." {
			w.isBad(t, r, badInput{member: "registrationId", rules: "must be 1 to 128"})
		}
		device := w.send(t, "PUT", "/"+w.info.IDScope+"/registrations/"+id+"/register", "")
		if id != "." {
			w.isBad(t, device, badInput{member: "registrationId", rules: "must be 1 to 128"})
		}
	}
	for _, id := range []string{"-", "a-", "A.b_c:D-", strings.Repeat("a", 128)} {
		w.must(t, "PUT", "/enrollments/"+id, fmt.Sprintf(`{"registrationId": %q, "attestation": {"type": "symmetricKey"}}`, id))
	}
}

// TestBadInputKeepsTheRecord checks that a refused replacement changes nothing.
func TestBadInputKeepsTheRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(t, "PUT", "/enrollments/bad", attestedText)
	before := w.send(t, "GET", "/enrollments/bad", "")
	for _, row := range badIndividuals {
		h := http.Header{"Authorization": {w.token("/enrollments")}, "If-Match": {"*"}}
		r := w.do(t, call{method: "PUT", path: withVersion("/enrollments/bad"), header: h, body: strings.NewReader(row.body)})
		if r.status != 400 {
			t.Errorf("%s: status %d, want 400", row.name, r.status)
		}
	}
	if after := w.send(t, "GET", "/enrollments/bad", ""); after.body != before.body {
		t.Errorf("the record changed from %s to %s", before.body, after.body)
	}
}

// TestTwinAtTheLimits checks that what is exactly at a limit is taken.
func TestTwinAtTheLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, body := range map[string]string{
		"tags": tags(strs(4, 2048)), "desired": desired(strs(8, 4096)), "depth": desired(nested(`{"a": `, "}", "1", 10)),
		"string": tags(`{"a": "` + strings.Repeat("x", 4096) + `"}`), "name": tags(`{"` + strings.Repeat("x", 1024) + `": 1}`),
		"integers":              desired(`{"a": 4503599627370495, "b": -4503599627370496, "c": 1e300, "d": 0.5}`),
		"sent back by a client": desired(`{"a": 1, "$version": 3, "$metadata": {"$lastUpdated": "x"}}`),
	} {
		if r := w.send(t, "PUT", "/enrollments/bad", body); r.status != 200 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		w.must(t, "DELETE", "/enrollments/bad", "")
	}
}

// padded returns body with blanks behind it, size bytes in all.
func padded(body string, size int) string { return body + strings.Repeat(" ", size-len(body)) }

// TestBodyLimits checks both sides of the limits of a body, with the length announced
// and without.
func TestBodyLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(t, `bad = device "bad"`)
	w.must(t, "PUT", "/enrollments/bad", w.expand(t, fmt.Sprintf(certified, "{{pem:bad}}"), inJSON))
	register := "/" + w.info.IDScope + "/registrations/bad/register"
	const kilo, mega = 1 << 10, 1 << 20
	for _, tt := range []struct {
		path, body string
		limit      int
		fits       int // status at the limit
	}{
		{"/enrollments/big", `{"registrationId": "big", "attestation": {"type": "symmetricKey"}}`, mega, 200},
		{w.info.ControlPlane.ResourceID + "/certificates/big", `{"properties": {}}`, mega, 400},
		{register, `{"registrationId": "bad"}`, 96 * kilo, 202},
	} {
		for _, size := range []int{tt.limit + 1, 2 * tt.limit, tt.limit} {
			for _, announced := range []bool{true, false} {
				r := w.sendSized(t, tt.path, padded(tt.body, size), announced)
				want := 413
				if size == tt.limit {
					want = tt.fits
				}
				if r.status != want {
					t.Errorf("PUT %s with %d bytes, announced %v: status %d, want %d: %.200s", tt.path, size, announced, r.status, want, r.body)
				}
				if want == 413 && !strings.Contains(r.body, fmt.Sprint(tt.limit)) {
					t.Errorf("PUT %s: the answer does not name the limit: %s", tt.path, r.body)
				}
			}
			if size == tt.limit {
				continue
			}
			if tt.fits == 200 && w.send(t, "GET", tt.path, "").status != 404 {
				t.Errorf("PUT %s with %d bytes was stored", tt.path, size)
			}
		}
	}
}

func (w *world) sendSized(t *testing.T, path, body string, announced bool) reply {
	t.Helper()
	h := http.Header{"If-Match": {"*"}}
	if token := w.token(path); token != "" {
		h.Set("Authorization", token)
	}
	if strings.Contains(path, "/big") {
		h.Del("If-Match")
	}
	var reader io.Reader = strings.NewReader(body)
	if !announced {
		reader = struct{ io.Reader }{bytes.NewReader([]byte(body))} // net/http cannot see its length
	}
	r := w.do(t, call{method: "PUT", path: withVersion(path), header: h, body: reader, with: []string{"bad"}})
	if r.status == 200 {
		w.must(t, "DELETE", path, "")
	}
	return r
}
