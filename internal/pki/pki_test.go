package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
)

// issue issues r and fails the test when that is refused.
func issue(t *testing.T, r pki.Request) *pki.Issued {
	t.Helper()
	i, err := pki.Issue(r)
	if err != nil {
		t.Fatalf("Issue(%s %q): %v", r.Kind, r.CommonName, err)
	}
	return i
}

// chain issues a root, as many intermediates as keyTypes has more, and a device.
func chain(t *testing.T, keyTypes ...pki.KeyType) (root, device *pki.Issued) {
	t.Helper()
	root = issue(t, pki.Request{Kind: pki.Root, CommonName: "Root", KeyType: keyTypes[0]})
	ca := root
	for n, k := range keyTypes[1:] {
		ca = issue(t, pki.Request{
			Kind: pki.Intermediate, CommonName: "Int " + string(rune('1'+n)), KeyType: k, Issuer: ca.Issuer(),
		})
	}
	return root, issue(t, pki.Request{Kind: pki.Device, CommonName: "sensor-1", Issuer: ca.Issuer()})
}

// verify checks chain as a TLS server that trusts root does.
func verify(root *x509.Certificate, chain []*x509.Certificate) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

func TestChainsVerify(t *testing.T) {
	tests := []struct {
		name string
		keys []pki.KeyType
	}{
		{"root only", []pki.KeyType{pki.P256}},
		{"one intermediate", []pki.KeyType{pki.P384, pki.P256}},
		{"three intermediates of mixed keys", []pki.KeyType{pki.P256, pki.RSA2048, pki.P384, pki.P256}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, device := chain(t, tt.keys...)
			if len(device.Chain) != len(tt.keys) {
				t.Fatalf("chain has %d certificates, want %d: the root is left out", len(device.Chain), len(tt.keys))
			}
			if !device.Chain[0].Equal(device.Certificate) {
				t.Error("the chain does not begin with the certificate")
			}
			if err := verify(root.Certificate, device.Chain); err != nil {
				t.Error(err)
			}
			for n, c := range device.Chain[1:] {
				if err := device.Chain[n].CheckSignatureFrom(c); err != nil {
					t.Errorf("certificate %d is not signed by the next: %v", n, err)
				}
			}
			if got := device.TLSCertificate(); len(got.Certificate) != len(device.Chain) || got.PrivateKey != device.Key {
				t.Error("TLSCertificate differs from chain and key")
			}
		})
	}
}

func TestExtensions(t *testing.T) {
	root := issue(t, pki.Request{Kind: pki.Root, CommonName: "Root"})
	sign := x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	tests := []struct {
		name  string
		r     pki.Request
		usage x509.KeyUsage
	}{
		{"root", pki.Request{Kind: pki.Root, CommonName: "R"}, sign},
		{"intermediate", pki.Request{Kind: pki.Intermediate, CommonName: "I", Issuer: root.Issuer()}, sign},
		{"self-signed device", pki.Request{Kind: pki.Device, CommonName: "d"}, x509.KeyUsageDigitalSignature},
		{
			"RSA device",
			pki.Request{Kind: pki.Device, CommonName: "d", KeyType: pki.RSA2048, Issuer: root.Issuer()},
			x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		},
		{
			"verification",
			pki.Request{Kind: pki.Verification, CommonName: strings.Repeat("0A", 24), Issuer: root.Issuer()},
			x509.KeyUsageDigitalSignature,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := issue(t, tt.r).Certificate
			isCA := tt.r.Kind == pki.Root || tt.r.Kind == pki.Intermediate
			if c.IsCA != isCA || c.MaxPathLen != -1 || c.KeyUsage != tt.usage {
				t.Errorf("CA, path length, usage = %v, %d, %v", c.IsCA, c.MaxPathLen, c.KeyUsage)
			}
			if clientAuth := slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}); clientAuth == isCA {
				t.Errorf("extended usage = %v", c.ExtKeyUsage)
			}
			authority := c
			if tt.r.Issuer != nil {
				authority = root.Certificate
			}
			if len(c.SubjectKeyId) != 20 || !bytes.Equal(c.AuthorityKeyId, authority.SubjectKeyId) {
				t.Errorf("key ids = %x, %x", c.SubjectKeyId, c.AuthorityKeyId)
			}
			if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); (err == nil) != (tt.r.Issuer == nil) {
				t.Errorf("checking against its own key: %v", err)
			}
			checkCritical(t, c, "2.5.29.15", "2.5.29.19") // key usage, basic constraints
			if c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() > 128 {
				t.Errorf("serial = %v", c.SerialNumber)
			}
		})
	}
}

// checkCritical checks that exactly the extensions oids are critical in c.
func checkCritical(t *testing.T, c *x509.Certificate, oids ...string) {
	t.Helper()
	var got []string
	for _, e := range c.Extensions {
		if e.Critical {
			got = append(got, e.Id.String())
		}
	}
	if !slices.Equal(got, oids) {
		t.Errorf("critical extensions = %v, want %v", got, oids)
	}
}

func TestKeyTypes(t *testing.T) {
	want := map[pki.KeyType]struct {
		bits int
		alg  x509.SignatureAlgorithm
	}{
		pki.P256:    {256, x509.ECDSAWithSHA256},
		pki.P384:    {384, x509.ECDSAWithSHA384},
		pki.RSA2048: {2048, x509.SHA256WithRSA},
		pki.RSA3072: {3072, x509.SHA256WithRSA},
		pki.RSA4096: {4096, x509.SHA256WithRSA},
	}
	for _, kt := range pki.KeyTypes() {
		t.Run(string(kt), func(t *testing.T) {
			if testing.Short() && kt == pki.RSA4096 {
				t.Skip("slow")
			}
			if got, err := pki.ParseKeyType(string(kt)); got != kt || err != nil {
				t.Fatalf("ParseKeyType = %q, %v", got, err)
			}
			c := issue(t, pki.Request{Kind: pki.Device, CommonName: "d", KeyType: kt}).Certificate
			bits := 0
			switch k := c.PublicKey.(type) {
			case *ecdsa.PublicKey:
				bits = k.Curve.Params().BitSize
			case *rsa.PublicKey:
				bits = k.N.BitLen()
			}
			if bits != want[kt].bits || c.SignatureAlgorithm != want[kt].alg {
				t.Errorf("got %d bits, %v", bits, c.SignatureAlgorithm)
			}
		})
	}
	for _, s := range []string{"", "P256", "ed25519"} {
		if _, err := pki.ParseKeyType(s); err == nil {
			t.Errorf("ParseKeyType(%q) is accepted", s)
		}
	}
}

func TestValidity(t *testing.T) {
	day := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	t.Run("as asked", func(t *testing.T) {
		r := pki.Request{Kind: pki.Device, CommonName: "d", NotBefore: day(2001), NotAfter: day(2002)}
		c := issue(t, r).Certificate
		if !c.NotBefore.Equal(day(2001)) || !c.NotAfter.Equal(day(2002)) {
			t.Errorf("validity = %v to %v", c.NotBefore, c.NotAfter)
		}
	})
	t.Run("default from now", func(t *testing.T) {
		now := time.Now()
		c := issue(t, pki.Request{Kind: pki.Device, CommonName: "d"}).Certificate
		if d := now.Sub(c.NotBefore) - pki.ClockSkew; d.Abs() > time.Minute {
			t.Errorf("begins %v off", d)
		}
		if d := c.NotAfter.Sub(now.AddDate(0, 0, 365)); d.Abs() > time.Minute {
			t.Errorf("ends %v off", d)
		}
	})
	t.Run("default from not before", func(t *testing.T) {
		c := issue(t, pki.Request{Kind: pki.Root, CommonName: "R", NotBefore: day(2030)}).Certificate
		if want := day(2030).AddDate(0, 0, 3650); !c.NotAfter.Equal(want) {
			t.Errorf("ends %v, want %v", c.NotAfter, want)
		}
	})
}

func TestIssueRefuses(t *testing.T) {
	root, device := chain(t, pki.P256)
	now := time.Now()
	tests := []struct {
		name, want string
		r          pki.Request
	}{
		{"no name", "must not be empty", pki.Request{Kind: pki.Root}},
		{"root with issuer", "no issuer", pki.Request{Kind: pki.Root, CommonName: "R", Issuer: root.Issuer()}},
		{"intermediate without", "needs an issuer", pki.Request{Kind: pki.Intermediate, CommonName: "I"}},
		{"verification without", "needs an issuer", pki.Request{Kind: pki.Verification, CommonName: strings.Repeat("0A", 24)}},
		{"device as issuer", "not a CA", pki.Request{Kind: pki.Device, CommonName: "d", Issuer: device.Issuer()}},
		{"name of the issuer", "self-signed", pki.Request{Kind: pki.Intermediate, CommonName: "ROOT", Issuer: root.Issuer()}},
		{"ends at once", "before it begins", pki.Request{Kind: pki.Device, CommonName: "d", NotBefore: now, NotAfter: now}},
		{"year 10000", "year 10000", pki.Request{Kind: pki.Device, CommonName: "d", NotAfter: now.AddDate(9000, 0, 0)}},
		{"key type", "not known", pki.Request{Kind: pki.Device, CommonName: "d", KeyType: "p512"}},
		{"kind", "not a kind", pki.Request{Kind: 9, CommonName: "d"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := pki.Issue(tt.r); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

// foreignCA returns a CA made elsewhere, with edit's differences from ours.
func foreignCA(t *testing.T, edit func(*x509.Certificate)) *pki.Issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Foreign", Organization: []string{"O"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
	}
	edit(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := pki.NewIssuer(&pki.Authority{Certificate: c}, key)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

func TestForeignIssuer(t *testing.T) {
	under := func(i *pki.Issuer, k pki.Kind) error {
		_, err := pki.Issue(pki.Request{Kind: k, CommonName: "Foreign", Issuer: i})
		return err
	}
	zero := foreignCA(t, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	if err := under(zero, pki.Intermediate); err == nil || !strings.Contains(err.Error(), "pathlen") {
		t.Errorf("intermediate under path length 0: %v", err)
	}
	if err := under(zero, pki.Device); err != nil {
		t.Errorf("device under path length 0, same common name but another subject: %v", err)
	}
	if err := under(foreignCA(t, func(c *x509.Certificate) { c.MaxPathLen = 1 }), pki.Intermediate); err != nil {
		t.Errorf("intermediate under path length 1: %v", err)
	}
	noSign := foreignCA(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })
	if err := under(noSign, pki.Device); err == nil || !strings.Contains(err.Error(), "keyCertSign") {
		t.Errorf("issuer without keyCertSign: %v", err)
	}
}

func TestNewIssuerRefusesAnothersKey(t *testing.T) {
	root, device := chain(t, pki.P256)
	if _, err := pki.NewIssuer(&root.Issuer().Authority, device.Key); err == nil {
		t.Error("a key of another certificate is accepted")
	}
}

func TestWarnings(t *testing.T) {
	root, device := chain(t, pki.P256)
	ca := root.Issuer()
	tests := []struct {
		name, want string
		now        time.Time
		cert       *x509.Certificate
	}{
		{"none", "", time.Now(), device.Certificate},
		{"expired", "expired at", time.Now().AddDate(11, 0, 0), device.Certificate},
		{"not yet valid", "not valid before", time.Now().AddDate(-1, 0, 0), device.Certificate},
		{
			"outlived", "before this certificate does", time.Now(),
			issue(t, pki.Request{Kind: pki.Device, CommonName: "d", NotAfter: time.Now().AddDate(20, 0, 0)}).Certificate,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(ca.Warnings(tt.cert, tt.now), "\n")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("warnings = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCheckCommonName(t *testing.T) {
	tests := []struct {
		name string
		kind pki.Kind
		in   string
		ok   bool
	}{
		{"all characters", pki.Device, "Sensor:7.a_b-c", true},
		{"longest", pki.Device, strings.Repeat("a", 64), true},
		{"too long for a common name", pki.Device, strings.Repeat("a", 65), false},
		{"ends with a dot", pki.Device, "sensor.", false},
		{"ends with a hyphen", pki.Device, "sensor-", true},
		{"space", pki.Device, "sensor 7", false},
		{"line feed at the end", pki.Device, "sensor\n", false},
		{"slash", pki.Device, "../sensor", false},
		{"code", pki.Verification, strings.Repeat("0F", 24), true},
		{"code in lower case", pki.Verification, strings.Repeat("0f", 24), false},
		{"code too short", pki.Verification, "0F", false},
		{"CA in any script", pki.Root, "Werk Süd", true},
		{"CA of 64 characters", pki.Root, strings.Repeat("ü", 64), true},
		{"CA too long", pki.Intermediate, strings.Repeat("a", 65), false},
		{"CA control character", pki.Root, "a\x00b", false},
		{"CA not UTF-8", pki.Root, "a\xff", false},
		{"CA with outer space", pki.Root, " a", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := pki.CheckCommonName(tt.kind, tt.in)
			if (err == nil) != tt.ok {
				t.Errorf("CheckCommonName(%q) = %v", tt.in, err)
			}
		})
	}
}

func TestSlug(t *testing.T) {
	tests := []struct {
		kind     pki.Kind
		in, want string
	}{
		{pki.Root, "Mooring Test Root CA", "mooring-test-root-ca"},
		{pki.Intermediate, "Werk / Süd (3)", "werk-s-d-3"},
		{pki.Root, "···", "root"},
		{pki.Device, "Sensor:7.a_b", "Sensor-7.a_b"},
		{pki.Device, "..-", "device"},
		{pki.Device, "-x-", "x-"},
		{pki.Verification, "0AF", "0AF"},
	}
	for _, tt := range tests {
		if got := pki.Slug(tt.kind, tt.in); got != tt.want {
			t.Errorf("Slug(%s, %q) = %q, want %q", tt.kind, tt.in, got, tt.want)
		}
	}
}
