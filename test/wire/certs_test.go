package wire_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // to be refused, and as a thumbprint
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
)

// party is a holder of a certificate and its key.
type party struct {
	cert   *x509.Certificate
	key    crypto.Signer
	issuer *pki.Issuer // what it signs others as
}

// certificates are the parties of a test, by name.
type certificates map[string]*party

// declaration is a line like: dev = device "press-0042" by mid flaw expired.
var declaration = regexp.MustCompile(`^(\S+) = (root|intermediate|device|verification) "([^"]*)"(?: by (\S+))?(?: flaw (\S+))?$`)

// declare makes the certificate that a line of a transcript asks for.
func (c certificates) declare(t *testing.T, line string) {
	t.Helper()
	m := declaration.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("certificate %s: want NAME = KIND \"COMMON NAME\" by ISSUER flaw FLAW", line)
	}
	c.make(t, order{name: m[1], kind: m[2], commonName: m[3], by: m[4], flaw: m[5]})
}

// order says which certificate to make.
type order struct{ name, kind, commonName, by, flaw string }

var pkiKinds = map[string]pki.Kind{
	"root":         pki.Root,
	"intermediate": pki.Intermediate,
	"device":       pki.Device,
	"verification": pki.Verification,
}

func (c certificates) make(t *testing.T, o order) *party {
	t.Helper()
	var by *party
	if o.by != "" {
		by = c.get(t, o.by)
	}
	if o.flaw != "" {
		c[o.name] = flawed(t, o, by)
		return c[o.name]
	}
	r := pki.Request{Kind: pkiKinds[o.kind], CommonName: o.commonName}
	if by != nil {
		r.Issuer = by.issuer
	}
	issued, err := pki.Issue(r)
	if err != nil {
		t.Fatalf("certificate %s: %v", o.name, err)
	}
	c[o.name] = &party{cert: issued.Certificate, key: issued.Key, issuer: issued.Issuer()}
	return c[o.name]
}

func (c certificates) get(t *testing.T, name string) *party {
	t.Helper()
	p, ok := c[name]
	if !ok {
		t.Fatalf("no certificate is called %s", name)
	}
	return p
}

// flaws are what can be wrong with a certificate that is signed all the same.
var flaws = map[string]func(*x509.Certificate){
	"expired":       func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
	"not-yet-valid": func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) },
	"no-ca":         func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, 0 },
	"sha1":          func(*x509.Certificate) {},
	"other-key":     func(*x509.Certificate) {}, // signed by a new key in the name of its issuer
	"bare":          func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA, c.KeyUsage = false, false, 0 },
	"bare-ca":       func(*x509.Certificate) {},
	"sha224":        func(*x509.Certificate) {}, // an algorithm that crypto/x509 does not know
	"no-key-id":     func(*x509.Certificate) {}, // does not say with which key of its issuer it is signed
	"no-path":       func(c *x509.Certificate) { c.MaxPathLenZero = true },
	"no-cert-sign":  func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature },
	"plant-only":    func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"plant.example"} },
	"other-site":    func(c *x509.Certificate) { c.DNSNames = []string{"dev.other.example"} },
	"critical": func(c *x509.Certificate) {
		id := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}
		c.ExtraExtensions = []pkix.Extension{{Id: id, Critical: true, Value: []byte{5, 0}}}
	},
	"two-names": func(c *x509.Certificate) {
		id, second := asn1.ObjectIdentifier{2, 5, 4, 3}, c.Subject.CommonName
		c.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: id, Value: "spare"}, {Type: id, Value: second}}}
	},
}

// flawed makes what pki refuses to make.
func flawed(t *testing.T, o order, by *party) *party {
	t.Helper()
	edit, ok := flaws[o.flaw]
	if !ok {
		t.Fatalf("certificate %s: no flaw is called %s", o.name, o.flaw)
	}
	key := newKey(t)
	isCA := o.kind == "root" || o.kind == "intermediate"
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: o.commonName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), BasicConstraintsValid: true, IsCA: isCA,
	}
	if isCA {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	edit(template)
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	switch o.flaw {
	case "no-key-id":
		parent = &x509.Certificate{Subject: parent.Subject, RawSubject: parent.RawSubject, PublicKey: signer.Public()}
	case "other-key":
		signer = newKey(t)
		parent = &x509.Certificate{Subject: parent.Subject, RawSubject: parent.RawSubject, PublicKey: signer.Public()}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatalf("certificate %s: %v", o.name, err)
	}
	switch o.flaw {
	case "sha1":
		der = signedAnew(t, der, signer, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}, crypto.SHA1) // RFC 3279 section 2.2.3
	case "sha224":
		der = signedAnew(t, der, signer, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 1}, crypto.SHA224) // RFC 5758 section 3.2
	}
	return newParty(t, der, key, by)
}

func newParty(t *testing.T, der []byte, key crypto.Signer, by *party) *party {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{cert}
	if by != nil {
		chain = append(chain, by.issuer.Chain...)
	}
	return &party{cert: cert, key: key, issuer: &pki.Issuer{Authority: pki.Authority{Certificate: cert, Chain: chain}, Key: key}}
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signedAnew signs a certificate with ECDSA and a hash that crypto/x509 does not offer.
func signedAnew(t *testing.T, der []byte, signer crypto.Signer, algorithm asn1.ObjectIdentifier, hash crypto.Hash) []byte {
	t.Helper()
	var outer struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		t.Fatal(err)
	}
	old := mustASN1(t, outer.Algorithm)
	outer.Algorithm.Algorithm = algorithm
	outer.TBS.Bytes, outer.TBS.FullBytes = bytes.Replace(outer.TBS.Bytes, old, mustASN1(t, outer.Algorithm), 1), nil
	digest := hash.New()
	_, _ = digest.Write(mustASN1(t, outer.TBS))
	signature, err := signer.Sign(rand.Reader, digest.Sum(nil), hash)
	if err != nil {
		t.Fatal(err)
	}
	outer.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	return mustASN1(t, outer)
}

func mustASN1(t *testing.T, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// fact returns what "pem:root" and the like stand for.
func (c certificates) fact(name string) (string, bool) {
	what, who, ok := strings.Cut(name, ":")
	p := c[who]
	if !ok || p == nil {
		return "", false
	}
	sum1, sum256 := sha1.Sum(p.cert.Raw), sha256.Sum256(p.cert.Raw) //nolint:gosec // a thumbprint
	all := map[string]string{
		"pem": p.pem(), "pembase64": base64.StdEncoding.EncodeToString([]byte(p.pem())), "der": base64.StdEncoding.EncodeToString(p.cert.Raw),
		"sha1": upperHex(sum1[:]), "sha256": upperHex(sum256[:]), "serial": upperHex(p.cert.SerialNumber.Bytes()),
		"from": stamp(p.cert.NotBefore), "until": stamp(p.cert.NotAfter), "expiry": p.cert.NotAfter.UTC().Format(http.TimeFormat),
		"subject": "CN=" + p.cert.Subject.CommonName, "issuer": "CN=" + p.cert.Issuer.CommonName,
	}
	v, ok := all[what]
	return v, ok
}

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func (p *party) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}))
}

// keyDER returns the private key as PKCS #8.
func (p *party) keyDER(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// show returns what a client shows that presents the named certificates, leaf first,
// and has the key of the first.
func (c certificates) show(t *testing.T, names []string) *tls.Certificate {
	t.Helper()
	if len(names) == 0 {
		return nil
	}
	shown := &tls.Certificate{PrivateKey: c.get(t, names[0]).key}
	for _, name := range names {
		shown.Certificate = append(shown.Certificate, c.get(t, name).cert.Raw)
	}
	return shown
}

// chain makes depth intermediates below the certificate called by, and a device
// under the last; it returns what the device shows.
func (c certificates) chain(t *testing.T, device, by string, depth int) []string {
	t.Helper()
	var names []string
	for i := range depth {
		name := fmt.Sprintf("%s-ca-%d", device, i)
		c.make(t, order{name: name, kind: "intermediate", commonName: "CA " + name, by: by})
		names, by = append(names, name), name
	}
	c.make(t, order{name: device, kind: "device", commonName: device, by: by})
	slices.Reverse(names)
	return append([]string{device}, names...)
}
