// Package pkits_test runs NIST's Public Key Interoperability Test Suite (PKITS) against
// the path validation of devices' certificates, and keeps docs/pkits.md true.
//
// Source: NIST, "Public Key Interoperability Test Suite (PKITS) Certification Path
// Validation", version 1.0.1; the certificates come from PyPI's cryptography-vectors.
package pkits_test

import (
	"crypto/x509"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

var update = flag.Bool("update", false, "write docs/pkits.md anew")

const document = "../../docs/pkits.md"

// now is a time at which the certificates of the suite are valid.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// section is one section of the suite.
type section struct {
	number, title string
	cases         []string          // files of end entity certificates, without ".crt", in order of the suite
	revocation    map[string]string // those that differ only by revocation, with what they are about
	invalid       []string          // those to be refused whose name does not begin with Invalid
}

// suite leaves out the sections on CRLs: 4.4, 4.14 and 4.15.
var suite = []section{
	{number: "4.1", title: "Signature verification", cases: []string{
		"ValidCertificatePathTest1EE", "InvalidCASignatureTest2EE", "InvalidEESignatureTest3EE", "ValidDSASignaturesTest4EE",
		"ValidDSAParameterInheritanceTest5EE", "InvalidDSASignatureTest6EE",
	}},
	{number: "4.2", title: "Validity periods", cases: []string{
		"InvalidCAnotBeforeDateTest1EE", "InvalidEEnotBeforeDateTest2EE", "Validpre2000UTCnotBeforeDateTest3EE",
		"ValidGeneralizedTimenotBeforeDateTest4EE", "InvalidCAnotAfterDateTest5EE", "InvalidEEnotAfterDateTest6EE",
		"Invalidpre2000UTCEEnotAfterDateTest7EE", "ValidGeneralizedTimenotAfterDateTest8EE",
	}},
	{number: "4.3", title: "Name chaining", cases: []string{
		"InvalidNameChainingTest1EE", "InvalidNameChainingOrderTest2EE",
		"ValidNameChainingWhitespaceTest3EE", "ValidNameChainingWhitespaceTest4EE",
		"ValidNameChainingCapitalizationTest5EE", "ValidNameUIDsTest6EE", "ValidRFC3280MandatoryAttributeTypesTest7EE",
		"ValidRFC3280OptionalAttributeTypesTest8EE", "ValidUTF8StringEncodedNamesTest9EE",
		"ValidRolloverfromPrintableStringtoUTF8StringTest10EE", "ValidUTF8StringCaseInsensitiveMatchTest11EE",
	}},
	{number: "4.5", title: "Self-issued certificates", cases: []string{
		"ValidBasicSelfIssuedOldWithNewTest1EE", "InvalidBasicSelfIssuedOldWithNewTest2EE", "ValidBasicSelfIssuedNewWithOldTest3EE",
		"ValidBasicSelfIssuedNewWithOldTest4EE", "InvalidBasicSelfIssuedNewWithOldTest5EE", "ValidBasicSelfIssuedCRLSigningKeyTest6EE",
		"InvalidBasicSelfIssuedCRLSigningKeyTest7EE", "InvalidBasicSelfIssuedCRLSigningKeyTest8EE",
	}, revocation: map[string]string{
		"InvalidBasicSelfIssuedOldWithNewTest2EE":    "the certificate is revoked",
		"InvalidBasicSelfIssuedNewWithOldTest5EE":    "the certificate is revoked",
		"InvalidBasicSelfIssuedCRLSigningKeyTest7EE": "the certificate is revoked",
	}},
	{number: "4.6", title: "Basic constraints", cases: []string{
		"InvalidMissingbasicConstraintsTest1EE", "InvalidcAFalseTest2EE", "InvalidcAFalseTest3EE", "ValidbasicConstraintsNotCriticalTest4EE",
		"InvalidpathLenConstraintTest5EE", "InvalidpathLenConstraintTest6EE", "ValidpathLenConstraintTest7EE", "ValidpathLenConstraintTest8EE",
		"InvalidpathLenConstraintTest9EE", "InvalidpathLenConstraintTest10EE", "InvalidpathLenConstraintTest11EE",
		"InvalidpathLenConstraintTest12EE", "ValidpathLenConstraintTest13EE", "ValidpathLenConstraintTest14EE",
		"ValidSelfIssuedpathLenConstraintTest15EE", "InvalidSelfIssuedpathLenConstraintTest16EE", "ValidSelfIssuedpathLenConstraintTest17EE",
	}},
	{number: "4.7", title: "Key usage", cases: []string{
		"InvalidkeyUsageCriticalkeyCertSignFalseTest1EE", "InvalidkeyUsageNotCriticalkeyCertSignFalseTest2EE", "ValidkeyUsageNotCriticalTest3EE",
		"InvalidkeyUsageCriticalcRLSignFalseTest4EE", "InvalidkeyUsageNotCriticalcRLSignFalseTest5EE",
	}, revocation: map[string]string{
		"InvalidkeyUsageCriticalcRLSignFalseTest4EE":    "the CA may not sign CRLs",
		"InvalidkeyUsageNotCriticalcRLSignFalseTest5EE": "the CA may not sign CRLs",
	}},
	{number: "4.8", title: "Certificate policies", cases: []string{
		"ValidCertificatePathTest1EE", "AllCertificatesNoPoliciesTest2EE", "DifferentPoliciesTest3EE", "DifferentPoliciesTest4EE",
		"DifferentPoliciesTest5EE", "OverlappingPoliciesTest6EE",
		"DifferentPoliciesTest7EE", "DifferentPoliciesTest8EE", "DifferentPoliciesTest9EE",
		"AllCertificatesSamePoliciesTest10EE", "AllCertificatesanyPolicyTest11EE", "DifferentPoliciesTest12EE",
		"AllCertificatesSamePoliciesTest13EE", "AnyPolicyTest14EE", "UserNoticeQualifierTest15EE", "UserNoticeQualifierTest16EE",
		"UserNoticeQualifierTest17EE", "UserNoticeQualifierTest18EE", "UserNoticeQualifierTest19EE", "CPSPointerQualifierTest20EE",
	}, invalid: []string{
		"DifferentPoliciesTest4EE",
		"DifferentPoliciesTest5EE", "DifferentPoliciesTest7EE", "DifferentPoliciesTest8EE", "DifferentPoliciesTest9EE",
		"DifferentPoliciesTest12EE",
	}},
	{number: "4.9", title: "Require explicit policy", cases: []string{
		"ValidrequireExplicitPolicyTest1EE", "ValidrequireExplicitPolicyTest2EE", "InvalidrequireExplicitPolicyTest3EE",
		"ValidrequireExplicitPolicyTest4EE", "InvalidrequireExplicitPolicyTest5EE", "ValidSelfIssuedrequireExplicitPolicyTest6EE",
		"InvalidSelfIssuedrequireExplicitPolicyTest7EE", "InvalidSelfIssuedrequireExplicitPolicyTest8EE",
	}},
	{number: "4.10", title: "Policy mappings", cases: []string{
		"ValidPolicyMappingTest1EE", "InvalidPolicyMappingTest2EE", "ValidPolicyMappingTest3EE", "InvalidPolicyMappingTest4EE",
		"ValidPolicyMappingTest5EE", "ValidPolicyMappingTest6EE", "InvalidMappingFromanyPolicyTest7EE", "InvalidMappingToanyPolicyTest8EE",
		"ValidPolicyMappingTest9EE", "InvalidPolicyMappingTest10EE", "ValidPolicyMappingTest11EE", "ValidPolicyMappingTest12EE",
		"ValidPolicyMappingTest13EE", "ValidPolicyMappingTest14EE",
	}},
	{number: "4.11", title: "Inhibit policy mapping", cases: []string{
		"InvalidinhibitPolicyMappingTest1EE", "ValidinhibitPolicyMappingTest2EE", "InvalidinhibitPolicyMappingTest3EE",
		"ValidinhibitPolicyMappingTest4EE", "InvalidinhibitPolicyMappingTest5EE", "InvalidinhibitPolicyMappingTest6EE",
		"ValidSelfIssuedinhibitPolicyMappingTest7EE", "InvalidSelfIssuedinhibitPolicyMappingTest8EE",
		"InvalidSelfIssuedinhibitPolicyMappingTest9EE", "InvalidSelfIssuedinhibitPolicyMappingTest10EE",
		"InvalidSelfIssuedinhibitPolicyMappingTest11EE",
	}},
	{number: "4.12", title: "Inhibit any policy", cases: []string{
		"InvalidinhibitAnyPolicyTest1EE", "ValidinhibitAnyPolicyTest2EE", "inhibitAnyPolicyTest3EE", "InvalidinhibitAnyPolicyTest4EE",
		"InvalidinhibitAnyPolicyTest5EE", "InvalidinhibitAnyPolicyTest6EE", "ValidSelfIssuedinhibitAnyPolicyTest7EE",
		"InvalidSelfIssuedinhibitAnyPolicyTest8EE", "ValidSelfIssuedinhibitAnyPolicyTest9EE", "InvalidSelfIssuedinhibitAnyPolicyTest10EE",
	}},
	{number: "4.13", title: "Name constraints", cases: []string{
		"ValidDNnameConstraintsTest1EE", "InvalidDNnameConstraintsTest2EE", "InvalidDNnameConstraintsTest3EE", "ValidDNnameConstraintsTest4EE",
		"ValidDNnameConstraintsTest5EE", "ValidDNnameConstraintsTest6EE", "InvalidDNnameConstraintsTest7EE", "InvalidDNnameConstraintsTest8EE",
		"InvalidDNnameConstraintsTest9EE", "InvalidDNnameConstraintsTest10EE", "ValidDNnameConstraintsTest11EE",
		"InvalidDNnameConstraintsTest12EE", "InvalidDNnameConstraintsTest13EE", "ValidDNnameConstraintsTest14EE",
		"InvalidDNnameConstraintsTest15EE", "InvalidDNnameConstraintsTest16EE", "InvalidDNnameConstraintsTest17EE",
		"ValidDNnameConstraintsTest18EE", "ValidDNnameConstraintsTest19EE", "InvalidDNnameConstraintsTest20EE",
		"ValidRFC822nameConstraintsTest21EE", "InvalidRFC822nameConstraintsTest22EE", "ValidRFC822nameConstraintsTest23EE",
		"InvalidRFC822nameConstraintsTest24EE", "ValidRFC822nameConstraintsTest25EE", "InvalidRFC822nameConstraintsTest26EE",
		"ValidDNandRFC822nameConstraintsTest27EE", "InvalidDNandRFC822nameConstraintsTest28EE", "InvalidDNandRFC822nameConstraintsTest29EE",
		"ValidDNSnameConstraintsTest30EE", "InvalidDNSnameConstraintsTest31EE", "ValidDNSnameConstraintsTest32EE",
		"InvalidDNSnameConstraintsTest33EE", "ValidURInameConstraintsTest34EE", "InvalidURInameConstraintsTest35EE",
		"ValidURInameConstraintsTest36EE", "InvalidURInameConstraintsTest37EE", "InvalidDNSnameConstraintsTest38EE",
	}},
	{number: "4.16", title: "Private certificate extensions", cases: []string{
		"ValidUnknownNotCriticalCertificateExtensionTest1EE", "InvalidUnknownCriticalCertificateExtensionTest2EE",
	}},
}

// deviations are the cases that end otherwise than the suite says, with the reason.
var deviations = map[string]string{
	"ValidDSASignaturesTest4EE":           "DSA signatures are not supported, and SHA-1 is too weak; devices cannot use DSA keys in TLS",
	"ValidDSAParameterInheritanceTest5EE": "DSA signatures are not supported; a key that inherits its parameters cannot be read",
}

func (s section) wantAccepted(name string) bool {
	return !strings.HasPrefix(name, "Invalid") && !slices.Contains(s.invalid, name)
}

// outcome is how one case ended.
type outcome struct {
	section  section
	name     string
	accepted bool
	said     string // the check that failed, or why the certificates cannot be read
}

func TestPKITS(t *testing.T) {
	store := load(t)
	var all []outcome
	for _, s := range suite {
		for _, name := range s.cases {
			got := store.run(t, name)
			got.section = s
			all = append(all, got)
			if _, skipped := s.revocation[name]; skipped {
				continue
			}
			_, deviates := deviations[name]
			if want := s.wantAccepted(name) != deviates; got.accepted != want {
				t.Errorf("%s %s: accepted = %v, want %v (%s)", s.number, name, got.accepted, want, got.said)
			}
		}
	}
	checkDocument(t, all)
}

// certificates are those of the suite, by file; nil where crypto/x509 cannot read one.
type certificates struct {
	byFile map[string]*x509.Certificate
	errs   map[string]error
	root   *x509.Certificate
}

// load reads the certificates, and skips the test where they are not installed.
func load(t *testing.T) certificates {
	t.Helper()
	files := directory(t)
	store := certificates{byFile: make(map[string]*x509.Certificate), errs: make(map[string]error)}
	for _, file := range files {
		der, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".crt")
		if store.byFile[name], err = x509.ParseCertificate(der); err != nil {
			store.errs[name] = err
		}
	}
	store.root = store.byFile["TrustAnchorRootCertificate"]
	if store.root == nil || len(files) < 400 {
		t.Fatalf("%d certificates, root %v: these are not the files of the suite", len(files), store.root)
	}
	return store
}

func directory(t *testing.T) []string {
	t.Helper()
	pattern := filepath.Join("..", "..", ".cache", "venv", "lib", "python3*", "site-packages", "cryptography_vectors", "x509", "PKITS_data")
	if set := os.Getenv("MOORING_TEST_PKITS"); set != "" {
		pattern = set
	}
	files, err := filepath.Glob(filepath.Join(pattern, "certs", "*.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) > 0 {
		return files
	}
	const message = "no certificates of PKITS: run `make deps`, or set MOORING_TEST_PKITS to the directory PKITS_data"
	if slices.Contains(strings.Split(os.Getenv("MOORING_TEST_REQUIRE"), ","), "pkits") {
		t.Fatal(message)
	}
	t.Skip(message)
	return nil
}

// run lets the end entity register under a group of the suite's trust anchor. It presents
// every certificate that has the name of an issuer in its chain.
func (c certificates) run(t *testing.T, name string) outcome {
	t.Helper()
	leaf := c.byFile[name]
	if leaf == nil {
		if c.errs[name] == nil {
			t.Fatalf("%s: no such certificate", name)
		}
		return outcome{name: name, said: c.errs[name].Error()}
	}
	chain, err := c.above(leaf)
	if err != nil {
		return outcome{name: name, said: err.Error()}
	}
	anchor := attest.Anchor{
		Anchor:      dps.Anchor{Certificate: dps.Certificate{DER: c.root.Raw}, CA: "trust-anchor", Verified: true, Group: "pkits"},
		Certificate: c.root,
	}
	id := dps.RegistrationID(leaf.Subject.CommonName)
	_, d := attest.X509(attest.X509Evidence{ID: id, Chain: chain}, attest.Known{Anchors: []attest.Anchor{anchor}}, now)
	o := outcome{name: name, accepted: !d.Refused(), said: d.Checks[len(d.Checks)-1].String()}
	if strings.HasPrefix(o.said, "common name") || strings.HasPrefix(o.said, "chain length") {
		t.Errorf("%s: refused before its chain was looked at: %s", name, o.said)
	}
	return o
}

// above returns leaf with what it has to present. A certificate that cannot be read ends
// the handshake.
func (c certificates) above(leaf *x509.Certificate) ([]*x509.Certificate, error) {
	chain := []*x509.Certificate{leaf}
	for i := 0; i < len(chain); i++ {
		for _, file := range sorted(c.byFile) {
			cert := c.byFile[file]
			switch {
			case strings.HasSuffix(file, "EE") || file == "TrustAnchorRootCertificate":
			case cert == nil:
				if fileOfIssuer(file, chain[i]) {
					return nil, c.errs[file]
				}
			case dps.NameKey(cert.RawSubject) == dps.NameKey(chain[i].RawIssuer) && !slices.Contains(chain, cert):
				chain = append(chain, cert)
			}
		}
	}
	return chain, nil
}

// fileOfIssuer reports whether a file that cannot be read has the certificate of child's
// issuer, by its name: "BadnotAfterDateCACert" is that of "Bad notAfter Date CA".
func fileOfIssuer(file string, child *x509.Certificate) bool {
	return strings.TrimSuffix(file, "Cert") == strings.ReplaceAll(child.Issuer.CommonName, " ", "")
}

func sorted(m map[string]*x509.Certificate) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkDocument compares docs/pkits.md with what came out.
func checkDocument(t *testing.T, all []outcome) {
	t.Helper()
	want := render(all)
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil { //nolint:gosec // a public document
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/pkits.md is out of date; run go test ./test/pkits -update (-want +got):\n%s", diff)
	}
}
