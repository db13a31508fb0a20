package tlsauth_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os/exec"
	"testing"
	"time"
)

func TestClientsGetWhatTheySupport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.open(t, "localhost", "dps.example")
	tests := []struct {
		name   string
		change func(*tls.Config)
		want   x509.PublicKeyAlgorithm
	}{
		{"TLS 1.3", func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, x509.ECDSA},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, x509.ECDSA},
		{"ECDSA only", func(c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
			c.CipherSuites = ecdsaSuites
		}, x509.ECDSA},
		{"RSA only", func(c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
			c.CipherSuites = rsaSuites
		}, x509.RSA},
		{"other of our names", func(c *tls.Config) { c.ServerName = "dps.example" }, x509.ECDSA},
		{"address", func(c *tls.Config) { c.ServerName = "127.0.0.1" }, x509.ECDSA},
		{"alias that the certificate lacks", func(c *tls.Config) {
			c.ServerName = "alias.example"
			c.InsecureSkipVerify = true
		}, x509.ECDSA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := w.client(t, a, 0)
			tt.change(client)
			if got := shake(t, a, client).PublicKeyAlgorithm; got != tt.want {
				t.Errorf("certificate is %v, want %v", got, tt.want)
			}
		})
	}
}

// Cipher suites of TLS 1.2 that need a certificate of one algorithm.
var (
	ecdsaSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
	rsaSuites   = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}
)

// A client that knows one algorithm verifies all of the chain with that, trusting the CA
// file and nothing else.
func TestChainOfOneAlgorithm(t *testing.T) {
	t.Parallel()
	w := newIssuedWorld(t)
	a := w.open(t)
	tests := []struct {
		name   string
		suites []uint16
		want   x509.SignatureAlgorithm // of leaf and CA
	}{
		{"ECDSA", ecdsaSuites, x509.ECDSAWithSHA256},
		{"RSA", rsaSuites, x509.SHA256WithRSA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := w.client(t, a, tls.VersionTLS12)
			client.CipherSuites = tt.suites
			client.VerifyConnection = func(state tls.ConnectionState) error {
				checkChains(t, state.VerifiedChains, tt.want)
				return nil
			}
			shake(t, a, client)
		})
	}
}

// The same for what a client of TLS 1.3 offers, where suites say nothing of certificates
// and Go's client offers everything.
func TestSignatureAlgorithmsOfTLS13(t *testing.T) {
	t.Parallel()
	w := newIssuedWorld(t)
	a := w.open(t)
	tests := []struct {
		name    string
		offered []tls.SignatureScheme
		want    x509.SignatureAlgorithm
	}{
		{"ECDSA", []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, x509.ECDSAWithSHA256},
		{"RSA", []tls.SignatureScheme{tls.PSSWithSHA256, tls.PKCS1WithSHA256}, x509.SHA256WithRSA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cert, err := a.GetCertificate(hello13(tt.offered...))
			if err != nil {
				t.Fatal(err)
			}
			chains, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: w.client(t, a, 0).RootCAs, CurrentTime: w.now})
			if err != nil {
				t.Fatal(err)
			}
			checkChains(t, chains, tt.want)
		})
	}
}

// The same with handshakes of OpenSSL, which can be told to offer one algorithm only.
func TestOpenSSLClientOfOneAlgorithm(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl here")
	}
	w := newWorld(t)
	w.now = time.Now()
	a := w.open(t)
	addr := serve(t, a)
	tests := []struct {
		version, algorithms string
		want                x509.SignatureAlgorithm // of the certificate that was verified
	}{
		{"-tls1_2", "ECDSA+SHA256", x509.ECDSAWithSHA256},
		{"-tls1_3", "ECDSA+SHA256", x509.ECDSAWithSHA256},
		{"-tls1_2", "RSA+SHA256", x509.SHA256WithRSA},
		{"-tls1_3", "RSA-PSS+SHA256:RSA+SHA256", x509.SHA256WithRSA},
	}
	for _, tt := range tests {
		t.Run(tt.version+" "+tt.algorithms, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), openssl, "s_client", "-connect", addr, tt.version, "-sigalgs", tt.algorithms,
				"-no-CApath", "-no-CAstore", "-CAfile", a.CAFile(), "-verify_hostname", "localhost", "-verify_return_error")
			out, err := cmd.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("Verification: OK")) {
				t.Fatalf("%v:\n%s", err, out)
			}
			leaves := decodeAll(t, out)
			if len(leaves) != 1 || leaves[0].SignatureAlgorithm != tt.want {
				t.Errorf("the certificate is not signed with %v:\n%s", tt.want, out)
			}
		})
	}
}

// checkChains wants chains of a leaf and a CA, both signed with want.
func checkChains(t *testing.T, chains [][]*x509.Certificate, want x509.SignatureAlgorithm) {
	t.Helper()
	if len(chains) == 0 {
		t.Error("no chain was verified")
	}
	for _, chain := range chains {
		if len(chain) != 2 {
			t.Errorf("a chain of %d, want leaf and CA", len(chain))
		}
		for _, cert := range chain {
			if cert.SignatureAlgorithm != want {
				t.Errorf("%v is signed with %v, want %v", cert.Subject, cert.SignatureAlgorithm, want)
			}
		}
	}
}
