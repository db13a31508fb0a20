package dps_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // a thumbprint, and a signature to be refused
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
)

var (
	born = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	dies = time.Date(2036, 1, 2, 3, 4, 5, 0, time.UTC)
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns a certificate for a new key, signed by issuer's, or for signer's own
// key when issuer is nil.
func issue(t testing.TB, subject pkix.Name, issuer *x509.Certificate, signer *ecdsa.PrivateKey) dps.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(0x1234), Subject: subject, NotBefore: born, NotAfter: dies}
	pub := signer
	if issuer == nil {
		issuer = template
	} else {
		pub = newKey(t)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, pub.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return dps.Certificate{DER: der}
}

func selfSigned(t testing.TB, cn string) dps.Certificate {
	t.Helper()
	return issue(t, pkix.Name{CommonName: cn}, nil, newKey(t))
}

func pemOf(blockType string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}))
}

func certPEM(c dps.Certificate) string { return pemOf("CERTIFICATE", c.DER) }

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// wrapped breaks s into lines of 64.
func wrapped(s, end string) string {
	var lines []string
	for len(s) > 64 {
		lines, s = append(lines, s[:64]), s[64:]
	}
	return strings.Join(append(lines, s), end)
}

func TestParseCertificate(t *testing.T) {
	key := newKey(t)
	root := issue(t, pkix.Name{CommonName: "root"}, nil, key)
	signer, err := root.Parse()
	if err != nil {
		t.Fatal(err)
	}
	c := issue(t, pkix.Name{CommonName: "first"}, signer, key)
	text, der := certPEM(c), base64.StdEncoding.EncodeToString(c.DER)
	for name, in := range map[string]string{
		"PEM":                         text,
		"PEM without final newline":   strings.TrimRight(text, "\n"),
		"PEM with CRLF":               strings.ReplaceAll(text, "\n", "\r\n"),
		"PEM with blanks around":      " \r\n" + text + "\n\t ",
		"PEM after remarks":           "Bag Attributes\n    friendlyName: first\n" + text,
		"base64 of DER":               der,
		"base64 of DER in lines":      wrapped(der, "\n"),
		"base64 of DER in CRLF lines": wrapped(der, "\r\n") + "\r\n",
		"base64 of PEM":               b64(text),
		"base64 of PEM in lines":      wrapped(b64(text), "\n"),
		"base64 of PEM, no newline":   b64(strings.TrimRight(text, "\n")),
		"base64 of PEM with CRLF":     b64(strings.ReplaceAll(text, "\n", "\r\n")),
		"chain":                       text + certPEM(root),
		"base64 of a chain":           b64(text + certPEM(root)),
		"chain after parameters":      pemOf("DH PARAMETERS", []byte{1, 2, 3}) + text + certPEM(root),
		"byte order mark":             "\ufeff" + text + certPEM(root),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := dps.ParseCertificate("certificate", in)
			if err != nil || !got.Equal(c) {
				t.Errorf("ParseCertificate = %d bytes, %v; want the first certificate", len(got.DER), err)
			}
		})
	}
}

func TestParseCertificateRefuses(t *testing.T) {
	const field = "attestation.x509.clientCertificates.primary.certificate"
	c, root := selfSigned(t, "dev"), selfSigned(t, "root")
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{
		"empty":                  "",
		"blanks":                 " \n",
		"no base64":              "certificate!",
		"base64 of URLs":         base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 9)),
		"base64 of text":         b64("no certificate"),
		"PEM of something else":  pemOf("PUBLIC KEY", []byte{1}),
		"PEM of a request":       pemOf("CERTIFICATE REQUEST", csr),
		"base64 of a request":    base64.StdEncoding.EncodeToString(csr),
		"PEM of garbage":         pemOf("CERTIFICATE", []byte("garbage")),
		"PEM without end":        "-----BEGIN CERTIFICATE-----\nAAAA",
		"cut DER":                base64.StdEncoding.EncodeToString(c.DER[:len(c.DER)-1]),
		"DER with more after it": base64.StdEncoding.EncodeToString(append(bytes.Clone(c.DER), 0)),
		"chain in wrong order":   certPEM(root) + certPEM(c),
		"unrelated second":       certPEM(c) + certPEM(selfSigned(t, "other")),
		"broken second":          certPEM(c) + pemOf("CERTIFICATE", []byte("no certificate")),
		"broken first":           pemOf("CERTIFICATE", []byte("no certificate")) + certPEM(c),
		"trusted first":          pemOf("TRUSTED CERTIFICATE", c.DER) + certPEM(c),
		"indented first":         "  " + certPEM(root) + certPEM(c),
		"damaged first":          "\ufeff" + strings.Replace(certPEM(c), "\nM", "\n*", 1) + certPEM(root),
		"base64 of base64":       b64(base64.StdEncoding.EncodeToString(c.DER)),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := dps.ParseCertificate(field, in)
			if checkInvalid(t, err, field); got.DER != nil {
				t.Errorf("a certificate of %d bytes beside the error", len(got.DER))
			}
		})
	}
}

func TestParseCertificateRefusesPrivateKeys(t *testing.T) {
	ec := newKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1, cert := x509.MarshalPKCS1PrivateKey(rsaKey), certPEM(selfSigned(t, "dev"))
	keyPEM := pemOf("PRIVATE KEY", pkcs8)
	for name, in := range map[string]string{
		"PKCS #8":                         keyPEM,
		"SEC 1":                           pemOf("EC PRIVATE KEY", sec1),
		"SEC 1 after its parameters":      pemOf("EC PARAMETERS", []byte{6, 0}) + pemOf("EC PRIVATE KEY", sec1),
		"PKCS #1":                         pemOf("RSA PRIVATE KEY", pkcs1),
		"encrypted":                       pemOf("ENCRYPTED PRIVATE KEY", []byte("sealed")),
		"of OpenSSH":                      pemOf("OPENSSH PRIVATE KEY", []byte("sealed")),
		"before the certificate":          keyPEM + cert,
		"after the certificate":           cert + keyPEM,
		"damaged, after the certificate":  cert + strings.Replace(keyPEM, "M", "!", 1),
		"cut off, after the certificate":  cert + keyPEM[:60],
		"with CRLF":                       strings.ReplaceAll(cert+keyPEM, "\n", "\r\n"),
		"after remarks":                   "Bag Attributes\n" + keyPEM,
		"base64 of PEM":                   b64(keyPEM),
		"base64 of certificate and key":   b64(cert + keyPEM),
		"base64 of PKCS #8":               base64.StdEncoding.EncodeToString(pkcs8),
		"base64 of SEC 1":                 base64.StdEncoding.EncodeToString(sec1),
		"base64 of PKCS #1":               base64.StdEncoding.EncodeToString(pkcs1),
		"base64 of PKCS #8 in lines":      wrapped(base64.StdEncoding.EncodeToString(pkcs8), "\r\n"),
		"DER of a key called certificate": pemOf("CERTIFICATE", pkcs8),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := dps.ParseCertificate("certificate", in)
			checkInvalid(t, err, "certificate")
			if !strings.Contains(err.Error(), "private key") || got.DER != nil {
				t.Errorf("error = %v, want a word about the private key", err)
			}
			if strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(pkcs8[40:60])) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func FuzzParseCertificate(f *testing.F) {
	c := selfSigned(f, "dev")
	text := certPEM(c)
	for _, in := range []string{
		"", text, text + text, base64.StdEncoding.EncodeToString(c.DER), b64(text), strings.ReplaceAll(text, "\n", "\r\n"),
		"-----BEGIN PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "MAA=", "x" + text,
	} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := dps.ParseCertificate("certificate", in)
		if err != nil {
			checkInvalid(t, err, "certificate")
			if got.DER != nil || len(err.Error()) > len(in)+1000 {
				t.Errorf("%d bytes beside the error %v", len(got.DER), err)
			}
			return
		}
		if len(got.DER) > len(in) || strings.Contains(in, "PRIVATE KEY-----") {
			t.Errorf("%d bytes of %q are a certificate", len(got.DER), in)
		}
		if _, err := got.Info(); err != nil {
			t.Errorf("Info: %v", err)
		}
		for _, again := range []string{certPEM(got), b64(certPEM(got)), base64.StdEncoding.EncodeToString(got.DER)} {
			if same, err := dps.ParseCertificate("certificate", again); err != nil || !same.Equal(got) {
				t.Errorf("written again and parsed: %v", err)
			}
		}
	})
}

func TestInfo(t *testing.T) {
	caKey := newKey(t)
	ca := issue(t, pkix.Name{CommonName: "Plant CA", Organization: []string{"Contoso"}, Country: []string{"US"}}, nil, caKey)
	parsed, err := ca.Parse()
	if err != nil {
		t.Fatal(err)
	}
	c := issue(t, pkix.Name{CommonName: "dev", OrganizationalUnit: []string{"Line 7"}}, parsed, caKey)
	got, err := c.Info()
	if err != nil {
		t.Fatal(err)
	}
	sum1, sum256 := sha1.Sum(c.DER), sha256.Sum256(c.DER) //nolint:gosec // a thumbprint
	want := dps.CertificateInfo{
		Subject: "CN=dev, OU=Line 7", Issuer: "CN=Plant CA, O=Contoso, C=US", Serial: "1234", Version: 3, NotBefore: born, NotAfter: dies,
		SHA1: strings.ToUpper(hex.EncodeToString(sum1[:])), SHA256: strings.ToUpper(hex.EncodeToString(sum256[:])),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Info (-want +got):\n%s", diff)
	}
	if c.CommonName() != "dev" || ca.CommonName() != "Plant CA" || c.Equal(ca) || !c.Equal(dps.Certificate{DER: bytes.Clone(c.DER)}) {
		t.Errorf("common names %q, %q", c.CommonName(), ca.CommonName())
	}
	for text, want := range map[string]bool{
		got.SHA1: true, got.SHA256: true, strings.ToLower(got.SHA1): true, strings.ToLower(got.SHA256): true,
		"": false, got.SHA1[:39]: false, ca.Thumbprint().String(): false,
	} {
		if c.HasThumbprint(text) != want {
			t.Errorf("HasThumbprint(%q) = %v", text, !want)
		}
	}
}

func TestGarbageCertificate(t *testing.T) {
	garbage := dps.Certificate{DER: []byte("garbage")}
	if _, err := garbage.Info(); err == nil || garbage.CommonName() != "" {
		t.Errorf("Info of garbage: %v, common name %q", err, garbage.CommonName())
	}
}

func TestDistinguishedName(t *testing.T) {
	one := func(oid asn1.ObjectIdentifier, value any) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}}
	}
	cn, o, c := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.ObjectIdentifier{2, 5, 4, 6}
	dc, mail := asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	tests := []struct {
		name string
		in   pkix.RDNSequence
		want string
	}{
		{"empty", nil, ""},
		{"one part", pkix.RDNSequence{one(cn, "dev")}, "CN=dev"},
		{"most specific first", pkix.RDNSequence{one(c, "US"), one(o, "MSFT"), one(asn1.ObjectIdentifier{2, 5, 4, 11}, "Azure IoT"), one(cn, "ROOT")}, "CN=ROOT, OU=Azure IoT, O=MSFT, C=US"},
		{"state, street, mail, domain", pkix.RDNSequence{one(dc, "example"), one(mail, "a@b"), one(asn1.ObjectIdentifier{2, 5, 4, 9}, "Way 1"), one(asn1.ObjectIdentifier{2, 5, 4, 8}, "WA")}, "S=WA, STREET=Way 1, E=a@b, DC=example"},
		{"unknown attribute", pkix.RDNSequence{one(asn1.ObjectIdentifier{1, 2, 3}, "x")}, "OID.1.2.3=x"},
		{"several attributes in a part", pkix.RDNSequence{one(o, "Contoso"), {{Type: cn, Value: "dev"}, {Type: mail, Value: "a@b"}}}, "CN=dev + E=a@b, O=Contoso"},
		{"comma", pkix.RDNSequence{one(o, "Contoso, Ltd.")}, `O="Contoso, Ltd."`},
		{"quote", pkix.RDNSequence{one(cn, `the "dev"`)}, `CN="the ""dev"""`},
		{"plus", pkix.RDNSequence{one(cn, "a+b")}, `CN="a+b"`},
		{"equals sign", pkix.RDNSequence{one(cn, "a=b")}, `CN="a=b"`},
		{"line feed", pkix.RDNSequence{one(cn, "a\nb")}, "CN=\"a\nb\""},
		{"angles", pkix.RDNSequence{one(cn, "<a>")}, `CN="<a>"`},
		{"hash", pkix.RDNSequence{one(cn, "#a")}, `CN="#a"`},
		{"semicolon", pkix.RDNSequence{one(cn, "a;b")}, `CN="a;b"`},
		{"blank first", pkix.RDNSequence{one(cn, " a")}, `CN=" a"`},
		{"blank last", pkix.RDNSequence{one(cn, "a ")}, `CN="a "`},
		{"no value", pkix.RDNSequence{one(cn, "")}, `CN=""`},
		{"not ASCII", pkix.RDNSequence{one(cn, "Gerät")}, "CN=Gerät"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := asn1.Marshal(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if got := dps.DistinguishedName(raw); got != tt.want {
				t.Errorf("DistinguishedName = %q, want %q", got, tt.want)
			}
		})
	}
	if got := dps.DistinguishedName([]byte("garbage")); got != "" {
		t.Errorf("DistinguishedName of garbage = %q", got)
	}
}

func TestAnswer(t *testing.T) {
	now := born.Add(time.Hour)
	key := newKey(t)
	ca := issue(t, pkix.Name{CommonName: "Plant CA"}, nil, key)
	parent, err := ca.Parse()
	if err != nil {
		t.Fatal(err)
	}
	challenge := dps.NewChallenge(now)
	if len(challenge.Code) != 48 || strings.ToUpper(challenge.Code) != challenge.Code || challenge.Expires != now.Add(7*24*time.Hour) {
		t.Fatalf("challenge = %+v", challenge)
	}
	proof := func(code string, issuer *x509.Certificate, by *ecdsa.PrivateKey) dps.Certificate {
		return issue(t, pkix.Name{CommonName: code}, issuer, by)
	}
	otherKey := newKey(t)
	other, err := issue(t, pkix.Name{CommonName: "Other CA"}, nil, otherKey).Parse()
	if err != nil {
		t.Fatal(err)
	}
	namesake, err := issue(t, pkix.Name{CommonName: "Plant CA"}, nil, otherKey).Parse()
	if err != nil {
		t.Fatal(err)
	}
	right := proof(challenge.Code, parent, key)
	last := challenge.Expires
	tests := []struct {
		name      string
		challenge *dps.Challenge
		proof     dps.Certificate
		now       time.Time
		want      string // part of the message; "" is accepted
	}{
		{"right", &challenge, right, now, ""},
		{"code in lower case", &challenge, proof(strings.ToLower(challenge.Code), parent, key), now, ""},
		{"last moment", &challenge, right, last.Add(-time.Nanosecond), ""},
		{"expired code", &challenge, right, last, "expired at 2026-01-09T04:04:05Z"},
		{"no code", nil, right, now, "there is no verification code for plant"},
		{"wrong code", &challenge, proof(dps.NewChallenge(now).Code, parent, key), now, "common name must be the verification code of plant"},
		{"part of the code", &challenge, proof(challenge.Code[:47], parent, key), now, "common name"},
		{"the CA itself", &challenge, ca, now, "common name"},
		{"key of another CA", &challenge, proof(challenge.Code, other, otherKey), now, `issuer must be the subject of plant, "CN=Plant CA"`},
		{"key of another CA with the same name", &challenge, proof(challenge.Code, namesake, otherKey), now, "not signed by the key of plant"},
		{"self-signed", &challenge, selfSigned(t, challenge.Code), now, "issuer must be"},
		{"code as one of two names", &challenge, issue(t, twoNames("other", challenge.Code), parent, key), now, "it has 2 common names"},
		{"code as the first of two names", &challenge, issue(t, twoNames(challenge.Code, "other"), parent, key), now, "it has 2 common names"},
		{"not valid yet", &challenge, right, born.Add(-time.Hour), "it is not valid before 2026-01-02T03:04:05Z"},
		{"a clock that is behind", &challenge, right, born.Add(-4 * time.Minute), ""},
		{"signed with SHA-1", &challenge, withSHA1(t, right, key), now, "ECDSA-SHA1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := dps.CACertificate{Name: "plant", Certificate: ca, Challenge: tt.challenge}.Answer(tt.proof, tt.now)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Answer: %v", err)
				}
				return
			}
			if checkInvalid(t, err, "certificate"); !strings.Contains(dps.MessageOf(err), tt.want) {
				t.Errorf("message = %q, want %q in it", dps.MessageOf(err), tt.want)
			}
		})
	}
	garbage := dps.Certificate{DER: []byte("garbage")}
	for _, c := range []dps.CACertificate{
		{Name: "plant", Certificate: ca, Challenge: &challenge}, {Name: "plant", Certificate: garbage, Challenge: &challenge},
	} {
		answer := right
		if c.Certificate.Equal(ca) {
			answer = garbage
		}
		if err := c.Answer(answer, now); err == nil {
			t.Error("garbage was accepted")
		}
	}
}

// twoNames is a subject with two common names.
func twoNames(a, b string) pkix.Name {
	oid := asn1.ObjectIdentifier{2, 5, 4, 3}
	return pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oid, Value: a}, {Type: oid, Value: b}}}
}

func TestExpiredProof(t *testing.T) {
	key := newKey(t)
	ca := issue(t, pkix.Name{CommonName: "Plant CA"}, nil, key)
	parent, err := ca.Parse()
	if err != nil {
		t.Fatal(err)
	}
	challenge := dps.NewChallenge(dies)
	proof := issue(t, pkix.Name{CommonName: challenge.Code}, parent, key)
	c := dps.CACertificate{Name: "plant", Certificate: ca, Challenge: &challenge}
	if err := c.Answer(proof, dies); err != nil {
		t.Errorf("in its last second: %v", err)
	}
	err = c.Answer(proof, dies.Add(time.Second))
	if checkInvalid(t, err, "certificate"); !strings.Contains(dps.MessageOf(err), "it expired at 2036-01-02T03:04:05Z") {
		t.Errorf("expired: %v", err)
	}
}

func TestCommonNames(t *testing.T) {
	key := newKey(t)
	for want, name := range map[string]pkix.Name{
		"a": {CommonName: "a"}, "a|b": twoNames("a", "b"), "": {Organization: []string{"Contoso"}},
	} {
		c := issue(t, name, nil, key)
		parsed, err := c.Parse()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(dps.CommonNames(parsed), "|"); got != want {
			t.Errorf("CommonNames = %q, want %q", got, want)
		}
		if got := c.CommonName(); got != strings.TrimSuffix(want, "a|b") {
			t.Errorf("CommonName of %q = %q", want, got)
		}
	}
	if got := issue(t, twoNames("a", "b"), nil, key).Name(); got != "CN=b, CN=a" {
		t.Errorf("Name of two = %q", got)
	}
	if got := issue(t, pkix.Name{Organization: []string{"Contoso"}}, nil, key).Name(); got != "O=Contoso" {
		t.Errorf("Name without a common name = %q", got)
	}
	if c := issue(t, pkix.Name{}, nil, key); c.Name() != dps.SHA1Thumbprint(c.DER) {
		t.Errorf("Name without a subject = %q", c.Name())
	}
}

func TestUnused(t *testing.T) {
	key := newKey(t)
	root := issue(t, pkix.Name{CommonName: "root"}, nil, key)
	signer, err := root.Parse()
	if err != nil {
		t.Fatal(err)
	}
	line := issue(t, pkix.Name{CommonName: "line"}, signer, key)
	got := dps.Unused([]dps.Certificate{line, root, selfSigned(t, "other")})
	want := []string{
		"Certificate 2 of the file (root) is not used: it signed the certificate before it.",
		"Certificate 3 of the file (other) is not used: it did not sign the certificate before it.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := dps.Unused([]dps.Certificate{line}); got != nil {
		t.Errorf("Unused of one = %q", got)
	}
}

// withSHA1 returns c signed anew by key with ECDSA and SHA-1, which crypto/x509
// makes no more.
func withSHA1(t *testing.T, c dps.Certificate, key *ecdsa.PrivateKey) dps.Certificate {
	t.Helper()
	var outer struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	marshal := func(v any) []byte {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	if _, err := asn1.Unmarshal(c.DER, &outer); err != nil {
		t.Fatal(err)
	}
	old := marshal(outer.Algorithm)
	outer.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1} // RFC 3279 section 2.2.3
	outer.TBS.Bytes, outer.TBS.FullBytes = bytes.Replace(outer.TBS.Bytes, old, marshal(outer.Algorithm), 1), nil
	sum := sha1.Sum(marshal(outer.TBS)) //nolint:gosec // to be refused
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA1)
	if err != nil {
		t.Fatal(err)
	}
	outer.Signature = asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}
	return dps.Certificate{DER: marshal(outer)}
}

func TestX509Attestation(t *testing.T) {
	a, b := selfSigned(t, "a"), selfSigned(t, "b")
	both := dps.X509Attestation{Primary: &a, Secondary: &b}
	if all := both.Certificates(); len(all) != 2 || !all[0].Equal(a) || !all[1].Equal(b) || both.ByReference() {
		t.Errorf("Certificates = %d", len(all))
	}
	if !both.Holds(a.Thumbprint()) || !both.Holds(b.Thumbprint()) || (dps.X509Attestation{Primary: &a}).Holds(b.Thumbprint()) ||
		(dps.X509Attestation{}).Holds(a.Thumbprint()) {
		t.Error("Holds is wrong")
	}
	tests := []struct {
		primary, secondary dps.CAName
		want               []dps.CAName
	}{
		{"", "", nil},
		{"a", "", []dps.CAName{"a"}},
		{"", "b", []dps.CAName{"b"}},
		{"a", "b", []dps.CAName{"a", "b"}},
		{"a", "A", []dps.CAName{"a"}},
	}
	for _, tt := range tests {
		x := dps.X509Attestation{CAPrimary: tt.primary, CASecondary: tt.secondary}
		if diff := cmp.Diff(tt.want, x.CAReferences()); diff != "" || x.ByReference() != (len(tt.want) > 0) {
			t.Errorf("references of %+v (-want +got):\n%s", x, diff)
		}
		if x.Refers("B") != (tt.secondary == "b") || x.Refers("") {
			t.Errorf("Refers of %+v is wrong", x)
		}
	}
}

func TestTPMAttestation(t *testing.T) {
	key := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	tests := []struct {
		name  string
		in    dps.TPMAttestation
		field string // named in the error; "" is accepted
	}{
		{"endorsement key", dps.TPMAttestation{EndorsementKey: key(300)}, ""},
		{"both keys", dps.TPMAttestation{EndorsementKey: key(2048), StorageRootKey: key(300)}, ""},
		{"no key", dps.TPMAttestation{StorageRootKey: key(300)}, "tpm.endorsementKey"},
		{"no base64", dps.TPMAttestation{EndorsementKey: "x"}, "tpm.endorsementKey"},
		{"too long", dps.TPMAttestation{EndorsementKey: key(2049)}, "tpm.endorsementKey"},
		{"storage root key is no base64", dps.TPMAttestation{EndorsementKey: key(300), StorageRootKey: "x"}, "tpm.storageRootKey"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.in.Check("tpm")
			if tt.field == "" && err != nil {
				t.Errorf("Check: %v", err)
			}
			if tt.field != "" {
				checkInvalid(t, err, tt.field)
			}
		})
	}
}
