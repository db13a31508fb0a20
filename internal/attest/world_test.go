package attest_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // to be refused
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"
	"unicode"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// The time of every test, and an hour in which the certificates of a test begin.
var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	started = now.Add(-24 * time.Hour)
	ended   = now.Add(24 * time.Hour)
)

// party is a holder of a certificate and its key.
type party struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// edit changes a certificate before it is signed.
type edit func(*x509.Certificate)

func between(from, to time.Time) edit {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

func expired(c *x509.Certificate)     { between(started, now.Add(-time.Second))(c) }
func notYetValid(c *x509.Certificate) { between(now.Add(time.Second), ended)(c) }
func notCA(c *x509.Certificate)       { c.IsCA = false }
func noCertSign(c *x509.Certificate)  { c.KeyUsage = x509.KeyUsageDigitalSignature }
func noKeyIDs(c *x509.Certificate)    { c.SubjectKeyId = nil }

func pathLen(n int) edit {
	return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, n == 0 }
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var lastSerial int64

// sign issues a certificate for key, by issuer or, when that is nil, by itself.
func sign(t testing.TB, name string, key crypto.Signer, issuer *party, edits ...edit) *party {
	t.Helper()
	lastSerial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(lastSerial), Subject: pkix.Name{CommonName: name},
		NotBefore: started, NotAfter: ended, BasicConstraintsValid: true,
	}
	for _, e := range edits {
		e(template)
	}
	by := &party{cert: template, key: key}
	if issuer != nil {
		by = issuer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatalf("issuing %q: %v", name, err)
	}
	return &party{cert: parse(t, der), key: key}
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// ca issues a CA certificate with a new key; issuer nil makes a root.
func ca(t testing.TB, name string, issuer *party, edits ...edit) *party {
	t.Helper()
	return caOf(t, name, newKey(t), issuer, edits...)
}

// caOf is ca for a key that there is already.
func caOf(t testing.TB, name string, key crypto.Signer, issuer *party, edits ...edit) *party {
	t.Helper()
	asCA := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }
	return sign(t, name, key, issuer, append([]edit{asCA}, edits...)...)
}

// device issues a leaf with a new key; issuer nil makes it self-signed.
func device(t testing.TB, name string, issuer *party, edits ...edit) *party {
	t.Helper()
	return sign(t, name, newKey(t), issuer, edits...)
}

// withSHA1 returns p's certificate signed anew by issuer, nil for itself, with
// ECDSA and SHA-1, which crypto/x509 makes no more.
func withSHA1(t testing.TB, p, issuer *party) *party {
	t.Helper()
	var outer struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(p.cert.Raw, &outer); err != nil {
		t.Fatal(err)
	}
	old, err := asn1.Marshal(outer.Algorithm)
	if err != nil {
		t.Fatal(err)
	}
	outer.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1} // RFC 3279 section 2.2.3
	renamed, err := asn1.Marshal(outer.Algorithm)
	if err != nil {
		t.Fatal(err)
	}
	outer.TBS.Bytes, outer.TBS.FullBytes = bytes.Replace(outer.TBS.Bytes, old, renamed, 1), nil
	tbs, err := asn1.Marshal(outer.TBS)
	if err != nil {
		t.Fatal(err)
	}
	if issuer == nil {
		issuer = p
	}
	sum := sha1.Sum(tbs)
	sig, err := issuer.key.Sign(rand.Reader, sum[:], crypto.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	outer.Signature = asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}
	der, err := asn1.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	return &party{cert: parse(t, der), key: p.key}
}

// chain is what a device presents, leaf first.
func chain(all ...*party) []*x509.Certificate {
	var certs []*x509.Certificate
	for _, p := range all {
		certs = append(certs, p.cert)
	}
	return certs
}

func anchor(p *party, a dps.Anchor) attest.Anchor {
	a.Certificate = dps.Certificate{DER: p.cert.Raw}
	return attest.Anchor{Anchor: a, Certificate: p.cert}
}

// verified is an uploaded CA certificate whose possession was proved.
func verified(p *party, name dps.CAName) attest.Anchor {
	return anchor(p, dps.Anchor{CA: name, Verified: true})
}

// uploaded is a CA certificate whose possession was not proved.
func uploaded(p *party, name dps.CAName) attest.Anchor { return anchor(p, dps.Anchor{CA: name}) }

// grouped is the signing certificate of a group.
func grouped(p *party, group string) attest.Anchor { return anchor(p, dps.Anchor{Group: group}) }

// referred is an uploaded CA certificate that a group names.
func referred(p *party, name dps.CAName, proved bool, group string) attest.Anchor {
	return anchor(p, dps.Anchor{CA: name, Verified: proved, Group: group})
}

func groupRef(id string) dps.EntryRef { return dps.EntryRef{Kind: dps.Group, ID: id} }

func individualRef(id string) dps.EntryRef { return dps.EntryRef{Kind: dps.Individual, ID: id} }

// pins is an individual enrollment that holds certificates; either may be nil.
func pins(id string, primary, secondary *party) *dps.Enrollment {
	x := &dps.X509Attestation{}
	if primary != nil {
		x.Primary = &dps.Certificate{DER: primary.cert.Raw}
	}
	if secondary != nil {
		x.Secondary = &dps.Certificate{DER: secondary.cert.Raw}
	}
	return &dps.Enrollment{Ref: individualRef(id), Attestation: dps.Attestation{Type: dps.X509, X509: x}}
}

// names is the device's individual enrollment by CA reference.
func names(primary, secondary dps.CAName) *dps.Enrollment {
	x := &dps.X509Attestation{CAPrimary: primary, CASecondary: secondary}
	return &dps.Enrollment{Ref: individualRef("dev"), Attestation: dps.Attestation{Type: dps.X509, X509: x}}
}

// decide asks attest.X509 about the device "dev" and checks what holds for every
// decision: a refusal is the last check and the only failed one, and says all.
func decide(t testing.TB, presented []*x509.Certificate, known attest.Known) (dps.EntryRef, *dps.Decision) {
	t.Helper()
	ref, d := attest.X509(attest.X509Evidence{ID: "dev", Chain: presented}, known, now)
	wellFormed(t, d)
	return ref, d
}

func wellFormed(t testing.TB, d *dps.Decision) {
	t.Helper()
	if len(d.Checks) == 0 {
		t.Fatal("a decision without checks")
	}
	failed := slices.IndexFunc(d.Checks, func(c dps.Check) bool { return !c.OK })
	if d.Refused() != (failed >= 0) || (failed >= 0 && failed != len(d.Checks)-1) {
		t.Errorf("refused = %v, first failed check is %d of %d: %v", d.Refused(), failed, len(d.Checks), d.LogValue())
	}
	if d.Refused() && (d.Answer == "" || d.Remedy == "") {
		t.Errorf("a refusal without answer or remedy: %v", d.LogValue())
	}
	if d.Refused() && !unicode.IsUpper([]rune(d.Remedy)[0]) {
		t.Errorf("remedy %q is no sentence", d.Remedy)
	}
	if !d.Refused() && d.Answer+d.Remedy != "" {
		t.Errorf("an acceptance with answer %q, remedy %q", d.Answer, d.Remedy)
	}
}

func checkNames(d *dps.Decision) []string {
	var all []string
	for _, c := range d.Checks {
		all = append(all, c.Name)
	}
	return all
}

func lastCheck(d *dps.Decision) dps.Check { return d.Checks[len(d.Checks)-1] }
