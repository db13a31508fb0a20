package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/app"
)

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate under a CA, or a self-signed one.
func issue(t *testing.T, name string, isCA bool, by *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: isCA, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
	}
	if by == nil {
		by = &issued{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &issued{cert: cert, key: key}
}

func pemFile(t *testing.T, name string, certs ...*issued) string {
	t.Helper()
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})...)
	}
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, text, 0o600))
	return path
}

func keyFile(t *testing.T, c *issued) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	must(t, err)
	path := filepath.Join(t.TempDir(), "key.pem")
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return path
}

// With an operator's certificate, the CA file for clients is a file that ends their chains, or none: never
// the server certificate alone.
func TestCAFileOfOperatorsCertificate(t *testing.T) {
	root := issue(t, "Plant Root", true, nil)
	middle := issue(t, "Plant Issuing", true, root)
	leaf := issue(t, "dps", false, middle)
	alone := issue(t, "dps alone", false, nil)
	rootFile := pemFile(t, "root.pem", root)
	whole := pemFile(t, "whole.pem", leaf, middle, root)
	short := pemFile(t, "short.pem", leaf, middle)
	single := pemFile(t, "single.pem", alone)
	tests := []struct {
		name, cert, ca string
		key            *issued
		file, issuer   string
		err            string
	}{
		{name: "chain without its root", cert: short, key: leaf, issuer: "CN=Plant Root"},
		{name: "chain with its root", cert: whole, key: leaf, file: whole},
		{name: "self-signed", cert: single, key: alone, file: single},
		{name: "CA that was given", cert: short, ca: rootFile, key: leaf, file: rootFile},
		{name: "CA of another", cert: single, ca: rootFile, key: alone, err: "--tls-ca"},
		{name: "CA file without a certificate", cert: short, ca: keyFile(t, leaf), key: leaf, err: "holds no certificate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := []string{"--tls-cert", tt.cert, "--tls-key", keyFile(t, tt.key), "--portal", "127.0.0.1:0"}
			if tt.ca != "" {
				args = append(args, "--tls-ca", tt.ca)
			}
			data := filepath.Join(t.TempDir(), "data")
			_, err := tryApp(t, data, args...)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error = %v, want %q in it", err, tt.err)
				}
				return
			}
			must(t, err)
			info, err := app.ReadInfo(t.Context(), data)
			must(t, err)
			if info.CAFile != tt.file || info.CAIssuer != tt.issuer || info.Trust == "" {
				t.Errorf("CA file %q, issuer %q, trust %q; want %q, %q", info.CAFile, info.CAIssuer, info.Trust, tt.file, tt.issuer)
			}
		})
	}
}

// Nothing is offered for download where the CA file is unknown.
func TestPortalWithoutCAFile(t *testing.T) {
	root := issue(t, "Plant Root", true, nil)
	leaf := issue(t, "dps", false, root)
	w := servePortal(t, "--https", "127.0.0.1:0", "--portal", "127.0.0.1:0",
		"--tls-cert", pemFile(t, "leaf.pem", leaf), "--tls-key", keyFile(t, leaf))
	w.signIn()
	if text := w.get("/"); strings.Contains(text, "/ca.pem") || !strings.Contains(text, "CN=Plant Root") {
		t.Errorf("the overview offers a CA file, or does not name the CA: %s", text)
	}
	res, err := w.browser.Get(w.info.PortalURL + "/ca.pem")
	must(t, err)
	if must(t, res.Body.Close()); res.StatusCode != http.StatusNotFound {
		t.Errorf("/ca.pem: %s", res.Status)
	}
}
