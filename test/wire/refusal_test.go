package wire_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What the rows of TestRefusals are made of; "$" stands for the row.
const (
	rootCert   = `$root = root "Root $"`
	midCert    = `$mid = intermediate "Mid $" by $root`
	devCert    = `$dev = device "dev-$" by $mid`
	underRoot  = `$dev = device "dev-$" by $root`
	ownCert    = `$dev = device "dev-$"`
	uploadRoot = `PUT {{instance}}/certificates/ca-$ {"properties": {"certificate": "{{der:$root}}"}}`
	verifyRoot = `PUT {{instance}}/certificates/ca-$ {"properties": {"certificate": "{{der:$root}}", "isVerified": true}}`
	byRoot     = `PUT /enrollmentGroups/root-$ {"enrollmentGroupId": "root-$", "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": "{{pem:$root}}"}}}}}`
	byMid      = `PUT /enrollmentGroups/mid-$ {"enrollmentGroupId": "mid-$", "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": "{{pem:$mid}}"}}}}}`
	byMidOff   = `PUT /enrollmentGroups/mid-$ {"enrollmentGroupId": "mid-$", "provisioningStatus": "disabled", "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": "{{pem:$mid}}"}}}}}`
	byRef      = `PUT /enrollmentGroups/ref-$ {"enrollmentGroupId": "ref-$", "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "ca-$"}}}}`
	byLeaf     = `PUT /enrollments/dev-$ {"registrationId": "dev-$", "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "{{pem:$dev}}"}}}}}`
	byLeafOff  = `PUT /enrollments/dev-$ {"registrationId": "dev-$", "provisioningStatus": "disabled", "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "{{pem:$dev}}"}}}}}`
	bySAS      = `PUT /enrollments/dev-$ {"registrationId": "dev-$", "attestation": {"type": "symmetricKey"}}`

	verifyOther = `PUT {{instance}}/certificates/other-$ {"properties": {"certificate": "{{der:$mid}}", "isVerified": true}}`
	byOtherRef  = `PUT /enrollments/dev-$ {"registrationId": "dev-$", ` +
		`"attestation": {"type": "x509", "x509": {"caReferences": {"primary": "other-$"}}}}`
)

// refusal is one way to be refused, or to be let in beside it.
type refusal struct {
	name  string
	certs []string // declarations
	setUp []string // requests
	id    string   // registration ID, "dev-$" if empty
	with  string   // certificates that the device shows

	status  int
	message string // of the error body
	reason  string // in the log, "" if let in
	check   string // the failed one, in the log
}

// refusals is the table of X.509 refusals with what the device hears and what the
// operator reads.
var refusals = []refusal{
	{
		name: "fine", certs: []string{rootCert, midCert, devCert}, setUp: []string{verifyRoot, byRoot}, with: "$dev $mid", status: 202,
	},
	{
		name: "no enrollment", certs: []string{ownCert}, with: "$dev",
		status: 401, message: "Unauthorized", reason: "no-enrollment", check: "enrollment: FAILED (no individual enrollment",
	},
	{
		name: "no enrollment under a verified CA", certs: []string{rootCert, underRoot}, setUp: []string{verifyRoot}, with: "$dev",
		status: 401, message: "Unauthorized", reason: "no-enrollment", check: "enrollment: FAILED (no individual enrollment",
	},
	{
		name: "disabled individual under an enabled group", certs: []string{rootCert, underRoot},
		setUp: []string{verifyRoot, byRoot, byLeafOff}, with: "$dev",
		status: 202, reason: "disabled", check: "enrollment enabled: FAILED (individual enrollment dev-$ is disabled)",
	},
	{
		name: "disabled lower group under an enabled upper one", certs: []string{rootCert, midCert, devCert},
		setUp: []string{verifyRoot, byRoot, byMidOff}, with: "$dev $mid",
		status: 202, reason: "disabled", check: "enrollment enabled: FAILED (enrollment group mid-$ is disabled)",
	},
	{
		name: "disabled lower group, the root sent too", certs: []string{rootCert, midCert, devCert},
		setUp: []string{verifyRoot, byRoot, byMidOff}, with: "$dev $root $mid",
		status: 202, reason: "disabled", check: "enrollment enabled: FAILED (enrollment group mid-$ is disabled)",
	},
	{
		name: "CN other than the registration ID", certs: []string{rootCert, underRoot}, setUp: []string{verifyRoot, byRoot},
		with: "$dev", id: "other-$",
		status: 401, message: "Invalid certificate", reason: "name-mismatch",
		check: `common name: FAILED (the leaf has the common name "dev-$", the registration ID is "other-$")`,
	},
	{
		name: "another leaf than the enrolled one", certs: []string{ownCert, `$spare = device "dev-$"`}, setUp: []string{byLeaf}, with: "$spare",
		status: 401, message: "Invalid certificate", reason: "other-certificate", check: "enrolled certificate: FAILED",
	},
	{
		name: "an individual enrollment by key", certs: []string{rootCert, underRoot}, setUp: []string{verifyRoot, byRoot, bySAS}, with: "$dev",
		status: 401, message: "Unauthorized", reason: "other-attestation",
		check: "enrollment: FAILED (individual enrollment dev-$ uses the attestation symmetricKey",
	},
	{
		name: "expired leaf", certs: []string{rootCert, underRoot + " flaw expired"}, setUp: []string{verifyRoot, byRoot}, with: "$dev",
		status: 401, message: "Invalid certificate", reason: "leaf-expired", check: "validity of leaf: FAILED (CN=dev-$ expired at ",
	},
	{
		name: "expired leaf, enrolled by itself", certs: []string{ownCert + " flaw expired"}, setUp: []string{byLeaf}, with: "$dev",
		status: 401, message: "Invalid certificate", reason: "leaf-expired", check: "validity of leaf: FAILED (CN=dev-$ expired at ",
	},
	{
		name: "not-yet-valid leaf", certs: []string{rootCert, underRoot + " flaw not-yet-valid"},
		setUp: []string{verifyRoot, byRoot}, with: "$dev",
		status: 401, message: "Invalid certificate", reason: "leaf-not-yet-valid",
		check: "validity of leaf: FAILED (CN=dev-$ is not valid before ",
	},
	{
		name: "expired intermediate", certs: []string{rootCert, midCert + " flaw expired", devCert},
		setUp: []string{verifyRoot, byRoot}, with: "$dev $mid",
		status: 401, message: "Invalid certificate", reason: "signer-expired", check: "validity of signer: FAILED (CN=Mid $ expired at ",
	},
	{
		name: "not-yet-valid intermediate", certs: []string{rootCert, midCert + " flaw not-yet-valid", devCert},
		setUp: []string{verifyRoot, byRoot}, with: "$dev $mid",
		status: 401, message: "Invalid certificate", reason: "signer-not-yet-valid",
		check: "validity of signer: FAILED (CN=Mid $ is not valid before ",
	},
	{
		name: "missing intermediate", certs: []string{rootCert, midCert, devCert}, setUp: []string{verifyRoot, byRoot}, with: "$dev",
		status: 401, message: "CA certificate not found.", reason: "issuer-missing",
		check: `chain: FAILED (CN=dev-$ was issued by "CN=Mid $", which is neither presented by the device nor uploaded)`,
	},
	{
		name: "intermediate that is no CA", certs: []string{rootCert, midCert + " flaw no-ca", devCert + " flaw bare"},
		setUp: []string{verifyRoot, byRoot}, with: "$dev $mid",
		status: 401, message: "Invalid certificate", reason: "signer-not-ca", check: "signer is a CA: FAILED (CN=Mid $ is not marked CA:TRUE)",
	},
	{
		name: "signature by a same-named other CA", certs: []string{rootCert, underRoot + " flaw other-key"},
		setUp: []string{verifyRoot, byRoot}, with: "$dev",
		status: 401, message: "Signing certificate info did not match chain elements.", reason: "signature-mismatch",
		check: `signature: FAILED (CN=dev-$ names the issuer "CN=Root $", but was signed with another key than that of the known CA certificate of this name, or was changed)`,
	},
	{
		name: "unverified root by reference", certs: []string{rootCert, underRoot}, setUp: []string{uploadRoot, byRef}, with: "$dev",
		status: 401, message: "CA certificate not found.", reason: "ca-not-verified",
		check: "proof of possession: FAILED (CA certificate ca-$ is uploaded, but possession of its key was not proved)",
	},
	{
		name: "unverified root by signing certificate", certs: []string{rootCert, underRoot}, setUp: []string{byRoot}, with: "$dev",
		status: 401, message: "CA certificate not found.", reason: "ca-not-verified",
		check: "proof of possession: FAILED (the chain ends at CN=Root $",
	},
	{
		name: "group on an intermediate under an unverified root", certs: []string{rootCert, midCert, devCert},
		setUp: []string{uploadRoot, byMid}, with: "$dev $mid",
		status: 401, message: "CA certificate not found.", reason: "ca-not-verified",
		check: "proof of possession: FAILED (CA certificate ca-$ is uploaded",
	},
	{
		name: "no client certificate", certs: []string{ownCert}, setUp: []string{byLeaf},
		status: 401, message: "Unauthorized", reason: "no-evidence", check: "evidence: FAILED (no client certificate and no token)",
	},
	{
		name: "leaf with a SHA-1 signature", certs: []string{rootCert, underRoot + " flaw sha1"},
		setUp: []string{verifyRoot, byRoot}, with: "$dev",
		status: 401, message: "Invalid certificate", reason: "weak-signature",
		check: "signature: FAILED (CN=dev-$ is signed with ECDSA-SHA1, which is too weak)",
	},
	{
		name: "intermediate with a SHA-1 signature", certs: []string{rootCert, midCert + " flaw sha1", devCert},
		setUp: []string{verifyRoot, byRoot}, with: "$dev $mid",
		status: 401, message: "Invalid certificate", reason: "weak-signature",
		check: "signature: FAILED (CN=Mid $ is signed with ECDSA-SHA1, which is too weak)",
	},
	{
		name: "self-signed leaf with a SHA-1 signature", certs: []string{ownCert + " flaw sha1"}, setUp: []string{byLeaf}, with: "$dev",
		status: 401, message: "Invalid certificate", reason: "weak-signature",
		check: "signature: FAILED (CN=dev-$ is signed with ECDSA-SHA1, which is too weak)",
	},
	{
		name: "leaf with a signature algorithm that is not supported", certs: []string{rootCert, underRoot + " flaw sha224"},
		setUp: []string{verifyRoot, byRoot}, with: "$dev",
		status: 401, message: "Invalid certificate", reason: "unsupported-signature",
		check: "signature: FAILED (CN=dev-$ is signed with ECDSA-SHA224, which is not supported)",
	},
	{
		name: "a CA presents its own certificate", certs: []string{`$root = root "dev-$"`}, setUp: []string{verifyRoot, byRoot}, with: "$root",
		status: 401, message: "Unauthorized", reason: "ca-presented-as-device",
		check: "device certificate: FAILED (the presented certificate is that of",
	},
	{
		name: "unknown critical extension", certs: []string{rootCert, underRoot + " flaw critical"}, setUp: []string{verifyRoot, byRoot},
		with:   "$dev",
		status: 401, message: "Invalid certificate", reason: "chain-rule",
		check: "critical extensions: FAILED (CN=dev-$ has the critical extension 1.3.6.1.4.1.99999.1, which is not supported)",
	},
	{
		name:  "name outside the constraints of the CA",
		certs: []string{rootCert + " flaw plant-only", underRoot + " flaw other-site"}, setUp: []string{verifyRoot, byRoot}, with: "$dev",
		status: 401, message: "Invalid certificate", reason: "chain-rule", check: "name constraints: FAILED (",
	},
	{
		name: "an individual enrollment that refers to another CA", certs: []string{rootCert, underRoot, `$mid = root "Other $"`},
		setUp: []string{verifyRoot, verifyOther, byOtherRef}, with: "$dev",
		status: 401, message: "CA certificate not found.", reason: "other-ca",
		check: "proof of possession: FAILED (the chain reaches none of the enrollment's CA certificates: [other-$])",
	},
	{
		name: "two common names", certs: []string{ownCert + " flaw two-names"}, setUp: []string{byLeaf}, with: "$dev",
		status: 401, message: "Invalid certificate", reason: "name-mismatch", check: "common name: FAILED (the leaf has 2 common names, ",
	},
	{
		name: "CA key without the right to sign", certs: []string{rootCert, midCert + " flaw no-cert-sign", devCert + " flaw bare"},
		setUp: []string{verifyRoot, byRoot}, with: "$dev $mid",
		status: 401, message: "Invalid certificate", reason: "signer-not-ca",
		check: "signer is a CA: FAILED (CN=Mid $ has a keyUsage without keyCertSign)",
	},
	{
		name: "path length exceeded", certs: []string{rootCert + " flaw no-path", midCert + " flaw bare-ca", devCert + " flaw bare"},
		setUp: []string{verifyRoot, byRoot}, with: "$dev $mid",
		status: 401, message: "Invalid certificate", reason: "signer-not-ca",
		check: "signer is a CA: FAILED (CN=Root $ allows 0 CAs below it, the chain has 1)",
	},
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, row := range refusals {
		t.Run(row.name, func(t *testing.T) {
			r, check := w.play(t, i, row)
			w.wasRefused(t, r, row, check)
		})
	}
}

// play sets a row up and returns what its device hears, and the check that has to fail.
func (w *world) play(t *testing.T, i int, row refusal) (r reply, check string) {
	t.Helper()
	id, with := w.setUp(t, fmt.Sprint(i), row)
	r = w.send(t, "PUT", "/"+w.info.IDScope+"/registrations/"+id+"/register", "{}", with...)
	return r, strings.ReplaceAll(row.check, "$", fmt.Sprint(i))
}

// setUp makes the certificates and records of a row, with a mark for "$", and returns its
// device's registration ID and what that presents.
func (w *world) setUp(t *testing.T, mark string, row refusal) (id string, with []string) {
	t.Helper()
	fill := func(s string) string { return strings.ReplaceAll(s, "$", mark) }
	for _, line := range row.certs {
		w.declare(t, fill(line))
	}
	for _, line := range row.setUp {
		method, rest, _ := strings.Cut(fill(line), " ")
		path, body, _ := strings.Cut(rest, " ")
		w.must(t, method, w.expand(t, path, plain), w.expand(t, body, inJSON))
	}
	return fill(cmp.Or(row.id, "dev-$")), strings.Fields(fill(row.with))
}

// wasRefused compares what the device heard, and what stands in the log, with row.
func (w *world) wasRefused(t *testing.T, r reply, row refusal, check string) {
	t.Helper()
	if r.status != row.status {
		t.Fatalf("status %d, want %d: %s\n%s", r.status, row.status, r.body, w.log.about(r.header.Get("x-ms-request-id")))
	}
	if row.status == 401 {
		code := 401002
		if slices.Contains([]string{"no-enrollment", "other-attestation", "no-evidence"}, row.reason) {
			code = 401000 // nothing is wrong with the certificate
		}
		want := fmt.Sprintf(`{"errorCode": %d, "trackingId": "{{uuid}}", "message": %q, "timestampUtc": "{{time7}}"}`, code, row.message)
		if err := w.matchJSON(want, r.body); err != nil {
			t.Error(err)
		}
	}
	var refused []refusalLine
	for _, line := range w.log.about(r.header.Get("x-ms-request-id")) {
		var parsed refusalLine
		if err := json.Unmarshal([]byte(line), &parsed); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(parsed.Message, "refused") {
			refused = append(refused, parsed)
		}
	}
	if row.reason == "" {
		if len(refused) > 0 {
			t.Errorf("a device that was let in is logged as refused: %v", refused)
		}
		return
	}
	if len(refused) != 1 {
		t.Fatalf("%d log lines about the refusal, want 1: %v", len(refused), refused)
	}
	d := refused[0].Decision
	if d.Reason != row.reason || !strings.Contains(d.Checks, check) || d.Remedy == "" {
		t.Errorf("logged %+v, want reason %s and the check %q", d, row.reason, check)
	}
	if _, after, failed := strings.Cut(d.Checks, "FAILED"); !failed || strings.Contains(after, "FAILED") || strings.Contains(after, ": ok") {
		t.Errorf("the failed check is not the last and only one: %s", d.Checks)
	}
}

// refusalLine is the log line of a refused device.
type refusalLine struct {
	Level    string `json:"level"`
	Message  string `json:"msg"`
	Decision struct {
		Reason string `json:"reason"`
		Checks string `json:"checks"`
		Remedy string `json:"remedy"`
	} `json:"decision"`
}

// TestUnverifiedNamesTheCommand checks that the log says how to mend what operators
// forget most.
func TestUnverifiedNamesTheCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(t, `root = root "Factory"`)
	w.declare(t, `dev = device "dev-1" by root`)
	w.must(
		t,
		"PUT",
		w.info.ControlPlane.ResourceID+"/certificates/factory",
		w.expand(t, `{"properties": {"certificate": "{{der:root}}"}}`, inJSON),
	)
	w.must(
		t,
		"PUT",
		"/enrollmentGroups/g",
		`{"enrollmentGroupId": "g", "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "factory"}}}}`,
	)
	r := w.send(t, "PUT", "/"+w.info.IDScope+"/registrations/dev-1/register", "", "dev")
	if r.status != 401 {
		t.Fatalf("status %d, want 401", r.status)
	}
	const command = "mooring certificate generate-verification-code --certificate-name factory"
	if lines := w.log.about(r.header.Get("x-ms-request-id")); len(lines) != 1 || !strings.Contains(lines[0], command) {
		t.Errorf("the log does not name the command: %v", lines)
	}
}

// TestLongChains checks both sides of the limit of certificates in a chain.
func TestLongChains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(t, `root = root "Factory"`)
	w.must(
		t,
		"PUT",
		w.info.ControlPlane.ResourceID+"/certificates/factory",
		w.expand(t, `{"properties": {"certificate": "{{der:root}}", "isVerified": true}}`, inJSON),
	)
	w.must(
		t,
		"PUT",
		"/enrollmentGroups/g",
		`{"enrollmentGroupId": "g", "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "factory"}}}}`,
	)
	for _, tt := range []struct {
		certificates int
		row          refusal
	}{
		{10, refusal{status: 202}},
		{11, refusal{status: 401, message: "Invalid certificate", reason: "chain-too-long"}},
		{20, refusal{status: 401, message: "Invalid certificate", reason: "chain-too-long"}},
	} {
		id := fmt.Sprintf("dev-%d", tt.certificates)
		shown := w.chain(t, id, "root", tt.certificates-1)
		r := w.send(t, "PUT", "/"+w.info.IDScope+"/registrations/"+id+"/register", "", shown...)
		check := fmt.Sprintf("chain length: FAILED (%d certificates presented, at most 10 are accepted)", tt.certificates)
		w.wasRefused(t, r, tt.row, check)
	}
}

// TestWrongScope checks that a device with another scope hears 404 and that the log
// says which one it asked for.
func TestWrongScope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(t, `dev = device "dev-1"`)
	r := w.send(t, "PUT", "/0ne00000000/registrations/dev-1/register", "", "dev")
	if r.status != 404 {
		t.Fatalf("status %d, want 404: %s", r.status, r.body)
	}
	lines := w.log.about(r.header.Get("x-ms-request-id"))
	if len(lines) != 1 || !strings.Contains(lines[0], "InstanceNotFound") || !strings.Contains(lines[0], "0ne00000000") {
		t.Errorf("the log does not name the scope: %v", lines)
	}
}

// TestCertificateOfAnotherEnrollment checks that a leaf that is enrolled under another
// ID is not let in through a group.
func TestCertificateOfAnotherEnrollment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(t, `root = root "Factory"`)
	w.declare(t, `dev = device "dev-1" by root`)
	w.must(
		t,
		"PUT",
		w.info.ControlPlane.ResourceID+"/certificates/factory",
		w.expand(t, `{"properties": {"certificate": "{{der:root}}", "isVerified": true}}`, inJSON),
	)
	w.must(
		t,
		"PUT",
		"/enrollmentGroups/g",
		`{"enrollmentGroupId": "g", "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "factory"}}}}`,
	)
	w.must(t, "PUT", "/enrollments/named-otherwise", w.expand(
		t,
		`{"registrationId": "named-otherwise", "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "{{pem:dev}}"}}}}}`,
		inJSON,
	))
	r := w.send(t, "PUT", "/"+w.info.IDScope+"/registrations/dev-1/register", "", "dev")
	w.wasRefused(t, r, refusal{status: 401, message: "Unauthorized", reason: "certificate-of-another-enrollment"},
		"belongs to the individual enrollment named-otherwise")
}
