package tlsauth_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/tlsauth"
)

const day = 24 * time.Hour

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is a directory, a clock and a log for an authority.
type world struct {
	dir string
	now time.Time
	log bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{dir: filepath.Join(t.TempDir(), "tls"), now: start}
}

// issued is what an authority for localhost has in its files after its first start. It is
// made once: RSA keys take their time.
var issued = sync.OnceValues(func() (files map[string]string, err error) {
	dir, err := os.MkdirTemp("", "tlsauth")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := &world{dir: dir, now: start}
	if _, err := tlsauth.Open(w.options()); err != nil {
		return nil, err
	}
	names, err := filepath.Glob(w.path("*"))
	files = make(map[string]string)
	for _, name := range names {
		content, readErr := os.ReadFile(name)
		files[filepath.Base(name)], err = string(content), errors.Join(err, readErr)
	}
	return files, err
})

// newIssuedWorld is a world after the first start.
func newIssuedWorld(t *testing.T) *world {
	t.Helper()
	files, err := issued()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: t.TempDir(), now: start}
	for name, content := range files {
		write(t, w.path(name), content)
	}
	return w
}

func (w *world) options(names ...string) tlsauth.Options {
	if len(names) == 0 {
		names = []string{"localhost"}
	}
	return tlsauth.Options{
		Dir: w.dir, Hostnames: names,
		Now: func() time.Time { return w.now },
		Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
}

func (w *world) open(t *testing.T, names ...string) *tlsauth.Authority {
	t.Helper()
	a, err := tlsauth.Open(w.options(names...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// files returns the content of every file.
func (w *world) files(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		all[e.Name()] = read(t, w.path(e.Name()))
	}
	return all
}

// changed names the files that differ.
func changed(before, after map[string]string) []string {
	var names []string
	for name := range after {
		if before[name] != after[name] {
			names = append(names, name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

var (
	ecdsaPair = []string{"server-ecdsa.cert.pem", "server-ecdsa.key.pem"}
	rsaPair   = []string{"server-rsa.cert.pem", "server-rsa.key.pem"}
	bothPairs = slices.Concat(ecdsaPair, rsaPair)
	caFiles   = []string{"ca.cert.pem", "ca-rsa.key.pem", "ca.key.pem"}
)

func TestFirstStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.open(t, "localhost", "dps.example", "192.0.2.7", "2001:db8::7", "dps.example", "::1")
	modes := map[string]fs.FileMode{
		"ca.cert.pem": 0o644, "ca.key.pem": 0o600, "ca-rsa.key.pem": 0o600,
		"server-ecdsa.cert.pem": 0o644, "server-ecdsa.key.pem": 0o600,
		"server-rsa.cert.pem": 0o644, "server-rsa.key.pem": 0o600,
	}
	if got := slices.Sorted(maps.Keys(w.files(t))); !slices.Equal(got, slices.Sorted(maps.Keys(modes))) {
		t.Errorf("files = %v", got)
	}
	for name, want := range modes {
		info, err := os.Stat(w.path(name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s = %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	if a.CAFile() != w.path("ca.cert.pem") {
		t.Errorf("CAFile = %s", a.CAFile())
	}

	algorithms := []x509.PublicKeyAlgorithm{x509.ECDSA, x509.RSA}
	cas := parseAll(t, w.path("ca.cert.pem"))
	if len(cas) != len(algorithms) {
		t.Fatalf("%d CAs, want %d", len(cas), len(algorithms))
	}
	for i, ca := range cas {
		if !ca.IsCA || !ca.MaxPathLenZero || !strings.HasPrefix(ca.Subject.CommonName, "Mooring TLS Authority ") {
			t.Errorf("CA = %v, IsCA %v, MaxPathLenZero %v", ca.Subject, ca.IsCA, ca.MaxPathLenZero)
		}
		if want := start.AddDate(10, 0, 0); !ca.NotAfter.Equal(want) || ca.PublicKeyAlgorithm != algorithms[i] {
			t.Errorf("CA %d is %v and ends %v, want %v and %v", i, ca.PublicKeyAlgorithm, ca.NotAfter, algorithms[i], want)
		}
		roots := x509.NewCertPool() // this CA alone
		roots.AddCert(ca)
		checkServer(t, parse(t, w.path(bothPairs[2*i])), algorithms[i], roots)
	}
}

// checkServer wants a certificate with the names of TestFirstStart.
func checkServer(t *testing.T, leaf *x509.Certificate, algorithm x509.PublicKeyAlgorithm, roots *x509.CertPool) {
	t.Helper()
	if leaf.PublicKeyAlgorithm != algorithm || leaf.NotAfter.Sub(leaf.NotBefore) != 397*day || leaf.Subject.CommonName != "localhost" {
		t.Errorf("%v, valid for %v, subject %v", leaf.PublicKeyAlgorithm, leaf.NotAfter.Sub(leaf.NotBefore), leaf.Subject)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "dps.example", "192.0.2.7", "2001:db8::7"} {
		_, err := leaf.Verify(x509.VerifyOptions{
			DNSName: host, Roots: roots, CurrentTime: start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			t.Errorf("%v for %s: %v", algorithm, host, err)
		}
	}
	if len(leaf.DNSNames) != 2 || len(leaf.IPAddresses) != 4 {
		t.Errorf("%v: names %v, addresses %v: want each once", algorithm, leaf.DNSNames, leaf.IPAddresses)
	}
}

func TestLongNameIsNoCommonName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("a", 60) + ".example"
	w.open(t, long)
	leaf := parse(t, w.path("server-ecdsa.cert.pem"))
	if leaf.Subject.CommonName != "" || leaf.VerifyHostname(long) != nil {
		t.Errorf("subject = %v, names = %v", leaf.Subject, leaf.DNSNames)
	}
}

func TestLaterStart(t *testing.T) {
	t.Parallel()
	swap := func(t *testing.T, w *world) {
		for i, name := range ecdsaPair {
			a, b := read(t, w.path(name)), read(t, w.path(rsaPair[i]))
			write(t, w.path(name), b)
			write(t, w.path(rsaPair[i]), a)
		}
	}
	otherCA := func(t *testing.T, w *world) {
		other := newWorld(t)
		other.open(t, "a.plant.example", "b.plant.example")
		for _, name := range caFiles {
			write(t, w.path(name), read(t, other.path(name)))
		}
	}
	remove := func(name string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			if err := os.Remove(w.path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	damage := func(name, content string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) { write(t, w.path(name), content) }
	}
	otherKey := func(t *testing.T, w *world) {
		_, key := newPair(t, "x", start)
		write(t, w.path("server-ecdsa.key.pem"), key)
	}
	pass := func(d time.Duration) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.now = start.Add(d) }
	}
	same := []string{"a.plant.example", "b.plant.example"}
	setBack := func(t *testing.T, w *world) { // to before the renewal
		w.now = start.Add(300 * day)
		w.open(t, same...)
		w.log.Reset()
		w.now = start.Add(100 * day)
	}
	tests := []struct {
		name   string
		names  []string
		before func(*testing.T, *world)
		want   []string // the files that change
	}{
		{"nothing changed", same, nil, nil},
		{"other order", []string{"b.plant.example", "a.plant.example"}, nil, nil},
		{"one name more", []string{"a.plant.example", "b.plant.example", "c.plant.example"}, nil, bothPairs},
		{"one name less", []string{"a.plant.example"}, nil, bothPairs},
		{"other name", []string{"a.plant.example", "c.plant.example"}, nil, bothPairs},
		{"an address more", []string{"a.plant.example", "b.plant.example", "10.0.0.1"}, nil, bothPairs},
		{"two thirds are not over", same, pass(264 * day), nil},
		{"under a third is left", same, pass(265 * day), bothPairs},
		{"over", same, pass(500 * day), bothPairs},
		{"clock set back", same, setBack, bothPairs},
		{"no ECDSA certificate", same, remove("server-ecdsa.cert.pem"), ecdsaPair},
		{"no ECDSA key", same, remove("server-ecdsa.key.pem"), ecdsaPair},
		{"no RSA certificate", same, remove("server-rsa.cert.pem"), rsaPair},
		{"no RSA key", same, remove("server-rsa.key.pem"), rsaPair},
		{"empty certificate", same, damage("server-rsa.cert.pem", ""), rsaPair},
		{"damaged key", same, damage("server-rsa.key.pem", "-----BEGIN PRIVATE KEY-----\n"), rsaPair},
		{"new key, old certificate", same, otherKey, ecdsaPair},
		{"swapped", same, swap, bothPairs},
		{"other CA", same, otherCA, bothPairs},
	}
	first := newWorld(t)
	first.open(t, same...)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := first.clone(t)
			if tt.before != nil {
				tt.before(t, w)
			}
			before := w.files(t)
			a := w.open(t, tt.names...)
			after := w.files(t)
			if diff := cmp.Diff(tt.want, changed(before, after)); diff != "" {
				t.Errorf("changed files (-want +got):\n%s", diff)
			}
			if len(after) != 7 {
				t.Errorf("files = %v", slices.Sorted(maps.Keys(after)))
			}
			if issued := strings.Count(w.log.String(), "certificate issued"); issued != len(tt.want)/2 {
				t.Errorf("log tells of %d certificates:\n%s", issued, &w.log)
			}
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				shake(t, a, w.client(t, a, version))
			}
			client := w.client(t, a, tls.VersionTLS12)
			client.CipherSuites = rsaSuites
			shake(t, a, client)
		})
	}
}

// clone copies the directory.
func (w *world) clone(t *testing.T) *world {
	t.Helper()
	c := &world{dir: t.TempDir(), now: w.now}
	for name, content := range w.files(t) {
		write(t, c.path(name), content)
	}
	return c
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := []struct {
		name   string
		change func(*tlsauth.Options)
		want   string
	}{
		{"no names", func(o *tlsauth.Options) { o.Hostnames = nil }, "needs a host name"},
		{"certificate alone", func(o *tlsauth.Options) { o.CertFile = "c.pem" }, "must be given together"},
		{"key alone", func(o *tlsauth.Options) { o.KeyFile = "k.pem" }, "must be given together"},
		{"no files", func(o *tlsauth.Options) { o.CertFile, o.KeyFile = w.path("c"), w.path("k") }, "no such file"},
		{"directory", func(o *tlsauth.Options) { o.CertFile, o.KeyFile = t.TempDir(), w.path("k") }, "not a regular file"},
		{"impossible directory", func(o *tlsauth.Options) { o.Dir = "/dev/null/x" }, "opening TLS authority"},
		{"name that no certificate can hold", func(o *tlsauth.Options) { o.Hostnames = []string{"bücher.example"} }, "issuing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := w.options()
			tt.change(&o)
			if _, err := tlsauth.Open(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q in it", err, tt.want)
			}
		})
	}
}

// TestOperatorFileForms has what editors and tools make of certificate files.
func TestOperatorFileForms(t *testing.T) {
	t.Parallel()
	certPEM, keyPEM := newPair(t, "localhost", time.Now())
	otherPEM, _ := newPair(t, "localhost", time.Now())
	damaged := strings.Replace(otherPEM, "\nM", "\n*", 1)
	tests := map[string]struct {
		cert, key string
		want      string // in the error, or in the log after "log: "; "" for none
	}{
		"byte order marks":  {cert: "\ufeff" + certPEM, key: "\ufeff" + keyPEM},
		"key in both files": {cert: certPEM + keyPEM, key: certPEM + keyPEM},
		"remarks":           {cert: "Bag Attributes\r\n" + certPEM, key: "x\n" + keyPEM},
		"not a chain":       {cert: certPEM + otherPEM, key: keyPEM, want: "log: not a chain"},
		"damaged first":     {cert: damaged + certPEM, key: keyPEM, want: "block 1 (CERTIFICATE, line 1): its base64 is damaged"},
		"damaged last":      {cert: certPEM + damaged, key: keyPEM, want: "block 2 (CERTIFICATE"},
		"trusted first":     {cert: strings.ReplaceAll(otherPEM, "CERT", "TRUSTED CERT") + certPEM, key: keyPEM, want: "TRUSTED CERTIFICATE"},
		"UTF-16":            {cert: "\xff\xfe-\x00", key: keyPEM, want: "iconv -f UTF-16"},
		"key in UTF-16":     {cert: certPEM, key: "\xff\xfe-\x00", want: "iconv -f UTF-16"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.options("localhost")
			o.CertFile, o.KeyFile, o.Now = filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "k.pem"), nil
			write(t, o.CertFile, tt.cert)
			write(t, o.KeyFile, tt.key)
			_, err := tlsauth.Open(o)
			logged, isLog := strings.CutPrefix(tt.want, "log: ")
			switch {
			case isLog || tt.want == "":
				if err != nil || !strings.Contains(w.log.String(), logged) {
					t.Errorf("error = %v, log:\n%s", err, &w.log)
				}
				if !isLog && strings.Contains(w.log.String(), "not a chain") {
					t.Errorf("log:\n%s", &w.log)
				}
			case err == nil || !strings.Contains(err.Error(), tt.want):
				t.Errorf("error = %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestRenewalWhileRunning(t *testing.T) {
	w := newWorld(t) // outside the bubble: its log is read after Run
	synctest.Test(t, func(t *testing.T) {
		o := w.options()
		o.Now = nil // the bubble's clock
		if _, err := tlsauth.Open(o); err != nil {
			t.Fatal(err)
		}
		o.Now = func() time.Time { return time.Now().Add(262 * day) } // so that Run does not look 6,000 times
		a, err := tlsauth.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, a)
		first := serial(t, a)
		<-time.After(2 * day)
		synctest.Wait()
		if serial(t, a) != first {
			t.Error("renewed before two thirds were over")
		}
		<-time.After(day)
		synctest.Wait()
		second := serial(t, a)
		if second == first {
			t.Error("not renewed")
		}
		if leaf := parse(t, w.path("server-ecdsa.cert.pem")); leaf.SerialNumber.String() != second {
			t.Error("the renewed certificate is not in its file")
		}
		stop()
	})
}

// A directory that vanished is not a reason to stop serving.
func TestRenewalFails(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		o := w.options()
		o.Now = nil
		a, err := tlsauth.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, a)
		first := serial(t, a)
		if err := os.RemoveAll(w.dir); err != nil {
			t.Fatal(err)
		}
		<-time.After(61 * time.Minute)
		synctest.Wait()
		stop()
		if serial(t, a) != first || !strings.Contains(w.log.String(), "the current one stays in use") {
			t.Errorf("log = %s", &w.log)
		}
	})
}

func TestOperatorFiles(t *testing.T) {
	w := newWorld(t)
	cert, key := filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "k.pem")
	replace := func(certPEM, keyPEM string) {
		write(t, cert, certPEM)
		write(t, key, keyPEM)
	}
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		replace(newPair(t, "first.example", now))
		o := w.options("first.example", "second.example")
		o.CertFile, o.KeyFile, o.Now = cert, key, nil
		a, err := tlsauth.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if a.CAFile() != cert {
			t.Errorf("CAFile = %s, want %s", a.CAFile(), cert)
		}
		if _, err := os.Stat(w.dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("own authority was touched: %v", err)
		}
		if got := strings.Count(w.log.String(), "not for this host name"); got != 1 {
			t.Errorf("%d warnings of names, want 1:\n%s", got, &w.log)
		}
		stop := run(t, a)
		poll := func() {
			<-time.After(6 * time.Second)
			synctest.Wait()
		}

		first := serial(t, a)
		replace(newPair(t, "second.example", now))
		poll()
		second := serial(t, a)
		if second == first {
			t.Error("changed files were not loaded")
		}

		good := read(t, key)
		_, otherKey := newPair(t, "x", now)
		for _, bad := range []string{otherKey, "", "no PEM"} {
			w.log.Reset()
			write(t, key, bad)
			poll()
			poll()
			poll()
			if got := strings.Count(w.log.String(), "WARN"); got != 1 {
				t.Errorf("%d warnings for one change, want 1:\n%s", got, &w.log)
			}
			if err := a.Reload(); err == nil {
				t.Error("Reload of a broken pair gave no error")
			}
			if serial(t, a) != second {
				t.Error("a broken pair is not to change what is served")
			}
		}
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		if err := a.Reload(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Reload without key = %v", err)
		}
		write(t, key, good)
		if err := a.Reload(); err != nil || serial(t, a) != second {
			t.Errorf("Reload = %v", err)
		}

		expired, expiredKey := newPair(t, "second.example", now.Add(-3*day))
		w.log.Reset()
		replace(expired, expiredKey)
		if err := a.Reload(); err != nil || !strings.Contains(w.log.String(), "not valid now") {
			t.Errorf("Reload of an expired pair = %v, log:\n%s", err, &w.log)
		}
		stop()
	})
}

// A connection outlives any number of reloads, and new ones always succeed.
func TestReloadUnderUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	certPEM, keyPEM := newPair(t, "localhost", time.Now())
	o := w.options()
	o.CertFile, o.KeyFile, o.Now = filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "k.pem"), nil
	write(t, o.CertFile, certPEM)
	write(t, o.KeyFile, keyPEM)
	a, err := tlsauth.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	addr := serve(t, a)
	skip := &tls.Config{InsecureSkipVerify: true}
	old, err := tls.Dial("tcp", addr, skip)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 20 {
			conn, err := tls.Dial("tcp", addr, skip)
			if err != nil {
				t.Error(err)
				return
			}
			echo(t, conn)
			conn.Close()
		}
	})
	for range 20 {
		certPEM, keyPEM = newPair(t, "localhost", time.Now())
		write(t, o.CertFile, certPEM)
		write(t, o.KeyFile, keyPEM)
		if err := a.Reload(); err != nil {
			t.Error(err)
		}
		echo(t, old)
	}
	wg.Wait()
	fresh, err := tls.Dial("tcp", addr, skip)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	block, _ := pem.Decode([]byte(certPEM))
	if got := fresh.ConnectionState().PeerCertificates[0]; !bytes.Equal(got.Raw, block.Bytes) {
		t.Error("a new connection got an old certificate")
	}
}

// run starts Run and returns what ends it.
func run(t *testing.T, a *tlsauth.Authority) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// serial tells which certificate a modern client would get.
func serial(t *testing.T, a *tlsauth.Authority) string {
	t.Helper()
	cert, err := a.GetCertificate(hello13(tls.ECDSAWithP256AndSHA256))
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.SerialNumber.String()
}

// hello13 is a client of TLS 1.3 that knows these signatures.
func hello13(offered ...tls.SignatureScheme) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		CipherSuites:      []uint16{tls.TLS_AES_128_GCM_SHA256},
		SupportedVersions: []uint16{tls.VersionTLS13},
		SupportedCurves:   []tls.CurveID{tls.X25519},
		SignatureSchemes:  offered,
	}
}

// client trusts the CA file of a and speaks version (0 means any).
func (w *world) client(t *testing.T, a *tlsauth.Authority, version uint16) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(read(t, a.CAFile()))) {
		t.Fatalf("%s holds no certificate", a.CAFile())
	}
	name := parse(t, w.path("server-ecdsa.cert.pem")).DNSNames[0]
	return &tls.Config{
		RootCAs: pool, ServerName: name, MinVersion: version, MaxVersion: version,
		Time: func() time.Time { return w.now },
	}
}

// shake does a whole handshake and returns the server's certificate.
func shake(t *testing.T, a *tlsauth.Authority, client *tls.Config) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", serve(t, a), client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo(t, conn)
	return conn.ConnectionState().PeerCertificates[0]
}

// serve echoes what it reads, until the test ends.
func serve(t *testing.T, a *tlsauth.Authority) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: a.GetCertificate})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { echoAll(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	return listener.Addr().String()
}

func echoAll(conn net.Conn) {
	defer conn.Close()
	_, _ = io.Copy(conn, conn)
}

func echo(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Error(err)
		return
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// newPair returns a self-signed certificate that is valid for two days, and its key.
func newPair(t *testing.T, name string, now time.Time) (certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(2 * day),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// parse returns the first certificate of a file.
func parse(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	return parseAll(t, path)[0]
}

func parseAll(t *testing.T, path string) []*x509.Certificate {
	t.Helper()
	certs := decodeAll(t, []byte(read(t, path)))
	if len(certs) == 0 {
		t.Fatalf("%s holds no certificate", path)
	}
	return certs
}

// decodeAll returns the certificates in a text.
func decodeAll(t *testing.T, text []byte) []*x509.Certificate {
	t.Helper()
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	return certs
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
