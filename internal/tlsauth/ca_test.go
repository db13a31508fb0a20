package tlsauth_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/tlsauth"
)

func TestCAIsNeverReplaced(t *testing.T) {
	t.Parallel()
	first := newIssuedWorld(t)
	other := newWorld(t)
	other.open(t)
	rsaKey := read(t, first.path("server-rsa.key.pem"))
	leaf := read(t, first.path("server-ecdsa.cert.pem"))
	both := read(t, first.path("ca.cert.pem"))
	cut := strings.Index(both, "-----END CERTIFICATE-----\n") + len("-----END CERTIFICATE-----\n")
	ecdsaCA, rsaCA := both[:cut], both[cut:]
	tests := []struct {
		name  string
		files map[string]string // replaced; removed when empty
		want  []string          // in the error
	}{
		{"no ECDSA key", map[string]string{"ca.key.pem": ""}, []string{"ca.key.pem is missing", "restore", "remove"}},
		{"no RSA key", map[string]string{"ca-rsa.key.pem": ""}, []string{"ca-rsa.key.pem is missing", "restore", "remove"}},
		{"no keys", map[string]string{"ca.key.pem": "", "ca-rsa.key.pem": ""}, []string{"ca.key.pem is missing", "restore", "remove"}},
		{
			"RSA key alone",
			map[string]string{"ca.key.pem": "", "ca.cert.pem": ""},
			[]string{"ca-rsa.key.pem exists", "ca.key.pem is missing", "restore", "remove"},
		},
		{"damaged ECDSA key", map[string]string{"ca.key.pem": "x"}, []string{"ca.key.pem is damaged", "restore"}},
		{"damaged RSA key", map[string]string{"ca-rsa.key.pem": "x"}, []string{"ca-rsa.key.pem is damaged", "restore"}},
		{"RSA key for ECDSA", map[string]string{"ca.key.pem": rsaKey}, []string{"ca.key.pem is damaged"}},
		{"ECDSA key for RSA", map[string]string{"ca-rsa.key.pem": read(t, first.path("ca.key.pem"))}, []string{"ca-rsa.key.pem is damaged"}},
		{"damaged certificates", map[string]string{"ca.cert.pem": "x"}, []string{"ca.cert.pem is damaged", "restore"}},
		{"ECDSA certificate alone", map[string]string{"ca.cert.pem": ecdsaCA}, []string{"ca.cert.pem is damaged", "remove it"}},
		{"RSA certificate cut", map[string]string{"ca.cert.pem": both[:len(both)-40]}, []string{"ca.cert.pem is damaged"}},
		{"a certificate too many", map[string]string{"ca.cert.pem": both + leaf}, []string{"ca.cert.pem is damaged"}},
		{"other order", map[string]string{"ca.cert.pem": rsaCA + ecdsaCA}, []string{"ca.key.pem is not the key of", "restore"}},
		{"no CA certificate", map[string]string{"ca.cert.pem": leaf + rsaCA}, []string{"ca.cert.pem is damaged"}},
		{
			"other ECDSA key",
			map[string]string{"ca.key.pem": read(t, other.path("ca.key.pem"))},
			[]string{"ca.key.pem is not the key of", "restore all"},
		},
		{"other RSA key", map[string]string{"ca-rsa.key.pem": rsaKey}, []string{"ca-rsa.key.pem is not the key of", "restore all"}},
		{"damaged key alone", map[string]string{"ca.key.pem": "x", "ca-rsa.key.pem": "", "ca.cert.pem": ""}, []string{"ca.key.pem is damaged"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := first.clone(t)
			for name, content := range tt.files {
				write(t, w.path(name), content)
				if content == "" {
					_ = os.Remove(w.path(name))
				}
			}
			before := w.files(t)
			_, err := tlsauth.Open(w.options())
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if diff := cmp.Diff(before, w.files(t)); diff != "" {
				t.Error("files changed")
			}
		})
	}
}

// Creation that a crash ended between two of its writes is finished at the next start: with
// the keys that are there, so that clients that trust a certificate of theirs still do.
func TestCrashDuringCreation(t *testing.T) {
	t.Parallel()
	first := newIssuedWorld(t)
	old := parseAll(t, first.path("ca.cert.pem"))
	tests := []struct {
		name   string
		remove []string
		kept   int // how many of the CAs stay
	}{
		{"before all", []string{"ca.key.pem", "ca-rsa.key.pem", "ca.cert.pem"}, 0},
		{"after the ECDSA key", []string{"ca-rsa.key.pem", "ca.cert.pem"}, 1},
		{"after both keys", []string{"ca.cert.pem"}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := first.clone(t)
			for _, name := range append(tt.remove, bothPairs...) {
				if err := os.Remove(w.path(name)); err != nil {
					t.Fatal(err)
				}
			}
			write(t, w.path(".ca-rsa.key.pem.123"), "half a k") // as an unfinished write leaves
			a := w.open(t)
			cas := parseAll(t, w.path("ca.cert.pem"))
			for i, ca := range cas {
				if kept := ca.Subject.String() == old[i].Subject.String(); kept != (i < tt.kept) {
					t.Errorf("CA %d is %v, was %v", i, ca.Subject, old[i].Subject)
				}
			}
			trust := append(slices.Clone(old[:tt.kept]), cas[tt.kept:]...)
			for _, suites := range [][]uint16{ecdsaSuites, rsaSuites} {
				client := w.client(t, a, tls.VersionTLS12)
				client.CipherSuites = suites
				client.RootCAs = x509.NewCertPool()
				for _, ca := range trust {
					client.RootCAs.AddCert(ca)
				}
				shake(t, a, client)
			}
			before := w.files(t)
			w.open(t)
			if diff := cmp.Diff(before, w.files(t)); diff != "" {
				t.Error("the start after that changed files")
			}
		})
	}
}

func TestCAEndsSoon(t *testing.T) {
	t.Parallel()
	w := newIssuedWorld(t)
	w.open(t)
	if strings.Contains(w.log.String(), "WARN") {
		t.Errorf("log = %s", &w.log)
	}
	before := w.files(t)
	w.now = start.AddDate(9, 6, 0)
	w.open(t)
	if strings.Count(w.log.String(), "TLS authority expires soon") != 1 {
		t.Errorf("log = %s", &w.log)
	}
	if diff := cmp.Diff(bothPairs, changed(before, w.files(t))); diff != "" {
		t.Errorf("changed files (-want +got):\n%s", diff)
	}
}
