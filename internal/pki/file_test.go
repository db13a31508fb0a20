package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/pki"
)

// write writes i's files into dir.
func write(t *testing.T, i *pki.Issued, dir string) pki.Files {
	t.Helper()
	files, err := i.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// save writes data to a new file and returns its path.
func save(t *testing.T, data ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	var all []byte
	for _, d := range data {
		all = append(all, d...)
	}
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWriteAndReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "certs")
	root := issue(t, pki.Request{Kind: pki.Root, CommonName: "Root"})
	rootFiles := write(t, root, dir)
	one := issue(t, pki.Request{Kind: pki.Intermediate, CommonName: "One", Issuer: readIssuer(t, rootFiles.Certificate, rootFiles.Key)})
	oneFiles := write(t, one, dir)
	two := issue(t, pki.Request{Kind: pki.Intermediate, CommonName: "Two", Issuer: readIssuer(t, oneFiles.Certificate, oneFiles.Key)})
	twoFiles := write(t, two, dir)

	for _, ca := range []string{twoFiles.Certificate, twoFiles.Chain} {
		issuer := readIssuer(t, ca, twoFiles.Key)
		if want := map[bool]string{true: twoFiles.Chain}[ca == twoFiles.Certificate]; issuer.ChainFile != want {
			t.Errorf("chain of %s taken from %q, want %q", ca, issuer.ChainFile, want)
		}
		device := issue(t, pki.Request{Kind: pki.Device, CommonName: "d", Issuer: issuer})
		if len(device.Chain) != 3 {
			t.Fatalf("chain under %s has %d certificates, want 3", ca, len(device.Chain))
		}
		if err := verify(root.Certificate, device.Chain); err != nil {
			t.Error(err)
		}
	}
	if rootFiles.Chain != "" {
		t.Errorf("a root has the chain file %q", rootFiles.Chain)
	}
	checkMode(t, dir, 0o700|fs.ModeDir)
	checkMode(t, rootFiles.Key, 0o600)
	if data, _ := os.ReadFile(rootFiles.Key); !strings.HasPrefix(string(data), "-----BEGIN PRIVATE KEY-----\n") {
		t.Error("the key is not PKCS#8 PEM")
	}
}

// readIssuer reads a CA and its key.
func readIssuer(t *testing.T, certFile, keyFile string) *pki.Issuer {
	t.Helper()
	authority, err := pki.ReadAuthority(certFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ReadKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := pki.NewIssuer(authority, key)
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// checkMode checks the mode of a file or directory.
func checkMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("mode of %s = %v, want %v", path, info.Mode(), want)
	}
}

func TestWriteNeverOverwrites(t *testing.T) {
	for _, taken := range []string{"root.cert.pem", "root.key.pem"} {
		t.Run(taken, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, taken)
			if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := issue(t, pki.Request{Kind: pki.Root, CommonName: "Root"}).Write(dir)
			if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), path) {
				t.Errorf("error = %v, want ErrExist with the path", err)
			}
			if data, _ := os.ReadFile(path); string(data) != "mine" {
				t.Error("the file was changed")
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("%d files, want 1: nothing else is written", len(entries))
			}
		})
	}
}

func TestWriteLeavesNothingWhenItFails(t *testing.T) {
	dir := t.TempDir()
	if err := pki.WriteFiles(filepath.Join(dir, "a"), filepath.Join(dir, "missing", "b")); err == nil {
		t.Error("a file in a missing directory was written")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("%d files are left", len(entries))
	}
}

func TestThumbprints(t *testing.T) {
	i := issue(t, pki.Request{Kind: pki.Device, CommonName: "d"})
	for _, tt := range []struct {
		got  string
		size int
	}{{i.SHA1Thumbprint(), 40}, {i.SHA256Thumbprint(), 64}} {
		if len(tt.got) != tt.size || strings.Trim(tt.got, "0123456789ABCDEF") != "" {
			t.Errorf("thumbprint = %q, want %d upper-case digits", tt.got, tt.size)
		}
	}
}

func TestReadAuthority(t *testing.T) {
	root, device := chain(t, pki.P256, pki.P256, pki.P256)
	top, low := device.Chain[2], device.Chain[1]
	text := func(c *x509.Certificate) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	key, err := root.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		file  []byte
		chain int    // certificates in the chain
		want  string // in the error; "" for none
	}{
		{"root", root.CertificatePEM(), 0, ""},
		{"key before certificate", append(key, root.CertificatePEM()...), 0, ""},
		{"one intermediate", text(top), 1, ""},
		{"whole chain with root", append(append(text(low), text(top)...), root.CertificatePEM()...), 2, ""},
		{"wrong order", append(text(top), text(low)...), 0, "did not sign"},
		{"gap", append(text(low), root.CertificatePEM()...), 0, "did not sign"},
		{"device", device.CertificatePEM(), 0, "not a CA"},
		{"no certificate", key, 0, "holds no certificate"},
		{"broken", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0, "block 1 (CERTIFICATE, line 1)"},
		{"byte order mark", append([]byte("\ufeff"), root.CertificatePEM()...), 0, ""},
		{"trusted before", append(bytes.ReplaceAll(text(low), []byte("CERT"), []byte("TRUSTED CERT")), root.CertificatePEM()...), 0, "TRUSTED CERTIFICATE"},
		{"too large", make([]byte, 1<<20+1), 0, "larger than 1 MB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := pki.ReadAuthority(save(t, tt.file))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("error = %v, want one with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Chain) != tt.chain {
				t.Errorf("chain of %d, want %d", len(a.Chain), tt.chain)
			}
		})
	}
	if _, err := pki.ReadAuthority(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestReadAuthorityIgnoresAnothersChain(t *testing.T) {
	dir := t.TempDir()
	_, device := chain(t, pki.P256, pki.P256)
	_, other := chain(t, pki.P256, pki.P256)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: device.Chain[1].Raw})
	if err := os.WriteFile(filepath.Join(dir, "int.cert.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	beside := filepath.Join(dir, "int.chain.pem")
	if err := os.WriteFile(beside, other.ChainPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := pki.ReadAuthority(filepath.Join(dir, "int.cert.pem"))
	if err != nil || a.ChainFile != "" || len(a.Chain) != 1 {
		t.Errorf("got %+v, %v", a, err)
	}
	if err := os.WriteFile(beside, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.ReadAuthority(filepath.Join(dir, "int.cert.pem")); err == nil || !strings.Contains(err.Error(), beside) {
		t.Errorf("broken chain beside: %v", err)
	}
}

func TestReadKey(t *testing.T) {
	ec := issue(t, pki.Request{Kind: pki.Device, CommonName: "d"})
	rs := issue(t, pki.Request{Kind: pki.Device, CommonName: "d", KeyType: pki.RSA2048})
	ecKey, isEC := ec.Key.(*ecdsa.PrivateKey)
	rsaKey, isRSA := rs.Key.(*rsa.PrivateKey)
	if !isEC || !isRSA {
		t.Fatalf("keys are %T and %T", ec.Key, rs.Key)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PrivateKey(rsaKey)
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	tests := []struct {
		name string
		file []byte
		want string // in the error; "" for none
	}{
		{"SEC 1 after parameters", append(block("EC PARAMETERS", []byte{6, 0}), block("EC PRIVATE KEY", sec1)...), ""},
		{"PKCS#1", block("RSA PRIVATE KEY", pkcs1), ""},
		{"encrypted", block("ENCRYPTED PRIVATE KEY", pkcs1), "encrypted"},
		{"certificate", ec.CertificatePEM(), "has no private key"},
		{"broken", block("PRIVATE KEY", []byte{1}), "reading the private key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := pki.ReadKey(save(t, tt.file))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOpenSSLAgrees(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	root, device := chain(t, pki.P384, pki.RSA2048, pki.P256)
	rootFiles, files := write(t, root, dir), write(t, device, dir)
	alone := write(t, issue(t, pki.Request{Kind: pki.Device, CommonName: "alone"}), dir)
	for _, args := range [][]string{
		{"verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", rootFiles.Certificate, "-untrusted", files.Chain, files.Chain},
		{"verify", "-purpose", "sslclient", "-CAfile", alone.Certificate, alone.Certificate},
		{"pkey", "-in", files.Key, "-noout", "-check"},
	} {
		if out, err := exec.CommandContext(t.Context(), openssl, args...).CombinedOutput(); err != nil {
			t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
