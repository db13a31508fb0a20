package tlsauth_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/tlsauth"
)

// Certificates for new names are there at once, and after the next start.
func TestSetHostnames(t *testing.T) {
	w := newIssuedWorld(t)
	a := w.open(t)
	before := parse(t, w.path("server-ecdsa.cert.pem"))
	if err := a.SetHostnames([]string{"localhost", "hub-a.localhost", "10.1.2.7"}); err != nil {
		t.Fatal(err)
	}
	served, err := a.GetCertificate(hello13())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "hub-a.localhost", "10.1.2.7"} {
		for _, leaf := range []string{"server-ecdsa.cert.pem", "server-rsa.cert.pem"} {
			if err := parse(t, w.path(leaf)).VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
		if err := served.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	now := parse(t, w.path("server-ecdsa.cert.pem"))
	if now.Equal(before) || now.Subject.CommonName != before.Subject.CommonName {
		t.Errorf("certificate of %s", now.Subject)
	}
	// The same names again, in any order, issue nothing.
	if err := a.SetHostnames([]string{"localhost", "10.1.2.7", "hub-a.localhost"}); err != nil ||
		!parse(t, w.path("server-ecdsa.cert.pem")).Equal(now) {
		t.Errorf("issued again for the same names, %v", err)
	}
	if err := a.SetHostnames(nil); err == nil {
		t.Error("a certificate without names")
	}
	if err := a.SetHostnames([]string{"bücher.example"}); err == nil || !strings.Contains(err.Error(), "issuing") {
		t.Errorf("a name that no certificate can hold: %v", err)
	}
	if served, err = a.GetCertificate(hello13()); err != nil || !slices.Contains(served.Leaf.DNSNames, "hub-a.localhost") {
		t.Errorf("after an error %v is served, %v", served.Leaf.DNSNames, err)
	}
}

// An operator's certificate is what it is: the log says what it lacks.
func TestSetHostnamesOfOperatorFiles(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	certPEM, keyPEM := newPair(t, "dps.example", w.now)
	o := w.options("dps.example")
	o.CertFile, o.KeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, o.CertFile, certPEM)
	write(t, o.KeyFile, keyPEM)
	a, err := tlsauth.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(w.log.String(), "is not for this host name") {
		t.Fatalf("log: %s", &w.log)
	}
	if err := a.SetHostnames([]string{"dps.example", "hub-a.example"}); err != nil {
		t.Fatal(err)
	}
	if text := w.log.String(); !strings.Contains(text, "is not for this host name") || !strings.Contains(text, "hub-a.example") {
		t.Errorf("log: %s", text)
	}
}
