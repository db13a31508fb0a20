package tlsauth_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/tlsauth"
)

// nameConstraints is the object identifier of the extension. Source: RFC 5280, section 4.2.1.10.
var nameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}

func TestCAPermitsItsNamesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.open(t, "dps.plant.example.com", "dps", "203.0.113.5")
	for _, ca := range parseAll(t, w.path("ca.cert.pem")) {
		if want := []string{"localhost", "example.com", "dps"}; !slices.Equal(ca.PermittedDNSDomains, want) {
			t.Errorf("%s permits %v, want %v", ca.Subject, ca.PermittedDNSDomains, want)
		}
		i := slices.IndexFunc(ca.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(nameConstraints) })
		if i < 0 || ca.Extensions[i].Critical {
			t.Errorf("%s: the extension is missing, or critical: libraries that do not know it would refuse the CA", ca.Subject)
		}
	}
	for _, tt := range []struct {
		host string
		good bool
	}{
		{"dps.plant.example.com", true},
		{"hub.example.com", true},
		{"localhost", true},
		{"dps", true},
		{"10.1.2.3", true},
		{"127.0.0.1", true},
		{"::1", true},
		{"203.0.113.5", true},
		{"203.0.113.6", false},
		{"2001:db8::1", false},
		{"example.org", false},
		{"notexample.com", false},
		{"com", false},
	} {
		leaf := w.forge(t, tt.host)
		if err := verify(t, w.path("ca.cert.pem"), leaf, tt.host); (err == nil) != tt.good {
			t.Errorf("Go: %s: %v", tt.host, err)
		}
		if good, known := opensslVerifies(t, w.path("ca.cert.pem"), leaf); known && good != tt.good {
			t.Errorf("OpenSSL: %s accepted: %v", tt.host, good)
		}
	}
}

// forge issues a certificate with the key of the ECDSA CA, as whoever stole it would.
func (w *world) forge(t *testing.T, host string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(read(t, w.path("ca.key.pem"))))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("key is a %T", parsed)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, Subject: pkix.Name{Organization: []string{"Forged"}},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parseAll(t, w.path("ca.cert.pem"))[0], key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func verify(t *testing.T, caFile string, leaf *x509.Certificate, host string) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(read(t, caFile)))
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: start})
	return err
}

// opensslVerifies asks the openssl program; known is false where there is none.
func opensslVerifies(t *testing.T, caFile string, leaf *x509.Certificate) (good, known bool) {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		return false, false
	}
	file := filepath.Join(t.TempDir(), "leaf.pem")
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})))
	at := start.Unix()
	args := []string{"verify", "-attime", big.NewInt(at).String(), "-purpose", "sslserver", "-CAfile", caFile, file}
	cmd := exec.CommandContext(t.Context(), program, args...)
	return cmd.Run() == nil, true
}

// connect shakes hands by a name as a client that trusts a CA file, and returns why it does not.
func connect(t *testing.T, a *tlsauth.Authority, roots *x509.CertPool, host string) error {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		server, err := l.Accept()
		if err != nil {
			return
		}
		defer server.Close()
		_ = tls.Server(server, &tls.Config{GetCertificate: a.GetCertificate, MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
	}()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	return tls.Client(client, &tls.Config{
		RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12, Time: func() time.Time { return start.Add(time.Minute) },
	}).HandshakeContext(t.Context())
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(read(t, file))) {
		t.Fatalf("%s holds no certificate", file)
	}
	return p
}

// A host name that the CA did not permit works for clients with the new CA file, and every earlier name
// goes on working for those with an earlier one.
func TestNewHostnameOutsideOfConstraints(t *testing.T) {
	t.Parallel()
	w := newIssuedWorld(t)
	hosts := []string{"localhost", "dps.example.com", "hub.example.net"}
	var pools []*x509.CertPool
	for i := range hosts {
		w.log.Reset()
		a := w.open(t, hosts[:i+1]...)
		pools = append(pools, pool(t, w.path("ca.cert.pem")))
		if warned := strings.Contains(w.log.String(), "level=WARN"); warned != (i > 0) {
			t.Errorf("start %d: warned %v: %s", i, warned, &w.log)
		}
		for file, roots := range pools {
			for name, host := range hosts[:i+1] {
				if err := connect(t, a, roots, host); (err == nil) != (name <= file) {
					t.Errorf("start %d, CA file %d, %s: %v", i, file, host, err)
				}
			}
		}
	}
	before := w.files(t)
	a := w.open(t, hosts...)
	if names := changed(before, w.files(t)); len(names) > 0 {
		t.Errorf("a start with the same names changed %v", names)
	}
	if err := a.SetHostnames([]string{"localhost", "hub.example.org"}); err != nil {
		t.Fatal(err)
	}
	for file, roots := range pools {
		if err := connect(t, a, roots, "localhost"); err != nil {
			t.Errorf("CA file %d: %v", file, err)
		}
	}
	if err := connect(t, a, pool(t, w.path("ca.cert.pem")), "hub.example.org"); err != nil {
		t.Error(err)
	}
}

// A CA of an earlier version has no constraints, and stays as it is.
func TestCAWithoutConstraintsStays(t *testing.T) {
	t.Parallel()
	w := newIssuedWorld(t)
	unconstrained := ""
	for i, keyFile := range []string{"ca.key.pem", "ca-rsa.key.pem"} {
		block, _ := pem.Decode([]byte(read(t, w.path(keyFile))))
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		template := parseAll(t, w.path("ca.cert.pem"))[i]
		template.PermittedDNSDomains, template.PermittedIPRanges = nil, nil
		der, err := x509.CreateCertificate(rand.Reader, template, template, template.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		unconstrained += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	write(t, w.path("ca.cert.pem"), unconstrained)
	a := w.open(t, "localhost", "dps.example.com", "203.0.113.9")
	if read(t, w.path("ca.cert.pem")) != unconstrained {
		t.Error("the CA file was changed")
	}
	if _, err := os.Stat(w.path("ca-earlier.cert.pem")); err == nil {
		t.Error("there is an earlier CA")
	}
	for _, host := range []string{"localhost", "dps.example.com", "203.0.113.9"} {
		if err := connect(t, a, pool(t, w.path("ca.cert.pem")), host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// A service that is known by an address only has no common name in its certificate: OpenSSL, and with it
// Node.js and Python, would compare an address there with the permitted DNS names, and refuse it.
func TestAddressAsOnlyHostname(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.open(t, "127.0.0.61")
	cert, err := a.GetCertificate(&tls.ClientHelloInfo{
		SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		SupportedCurves: []tls.CurveID{tls.CurveP256}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256},
	})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if leaf.Subject.CommonName != "" {
		t.Errorf("the common name is %q", leaf.Subject.CommonName)
	}
	if err := verify(t, w.path("ca.cert.pem"), leaf, "127.0.0.61"); err != nil {
		t.Errorf("Go: %v", err)
	}
	if good, known := opensslVerifies(t, w.path("ca.cert.pem"), leaf); known && !good {
		t.Error("OpenSSL refuses the certificate")
	}
}
