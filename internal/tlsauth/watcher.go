package tlsauth

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/mooring-iot/mooring/internal/certfile"
)

// watcher serves the operator's files.
type watcher struct {
	certFile, keyFile string
	hostnames         []string
	now               func() time.Time
	log               *slog.Logger

	seen [sha256.Size]byte // the state of both files at the last look
	err  error             // what that look gave
}

func newWatcher(o Options) *watcher {
	return &watcher{certFile: o.CertFile, keyFile: o.KeyFile, hostnames: o.Hostnames, now: o.Now, log: o.Log}
}

// rename says which of the names the certificate lacks; it can do nothing about that.
func (w *watcher) rename(hosts []string, _ names) {
	w.hostnames, w.seen = hosts, [sha256.Size]byte{}
}

// refresh compares contents: times and sizes alone would miss a change within the
// file system's clock tick, and both files are small.
func (w *watcher) refresh() outcome {
	certPEM, certErr := readFile(w.certFile)
	keyPEM, keyErr := readFile(w.keyFile)
	state := fingerprint(certPEM, keyPEM, certErr, keyErr)
	if state == w.seen {
		return outcome{err: w.err}
	}
	w.seen = state
	var cert tls.Certificate
	if cert, w.err = w.parse(certPEM, keyPEM, certErr, keyErr); w.err != nil {
		return outcome{fresh: true, err: w.err}
	}
	w.report(&cert)
	return outcome{certs: [][]*tls.Certificate{{&cert}}, fresh: true}
}

func (w *watcher) parse(certPEM, keyPEM []byte, errs ...error) (tls.Certificate, error) {
	for _, err := range errs {
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("reading TLS certificate: %w", err)
		}
	}
	certs, err := certfile.ReadWithKey(certPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading TLS certificate %s: %w", w.certFile, err)
	}
	if keyPEM, err = certfile.Text(keyPEM); err != nil {
		return tls.Certificate{}, fmt.Errorf("reading TLS key %s: %w", w.keyFile, err)
	}
	if err := certfile.CheckChain(certs); err != nil {
		w.log.Warn("the TLS certificates are not a chain; clients may refuse them", "file", w.certFile, "reason", err.Error())
	}
	cert, err := tls.X509KeyPair(certfile.Encode(certs), keyPEM)
	if err != nil {
		return cert, fmt.Errorf("reading TLS certificate %s and key %s: %w", w.certFile, w.keyFile, err)
	}
	return cert, nil
}

// report says what is served, and what clients will not like about it.
func (w *watcher) report(cert *tls.Certificate) {
	leaf := cert.Leaf
	w.log.Info("server certificate loaded", "file", w.certFile, "names", leaf.DNSNames,
		"addresses", leaf.IPAddresses, "not_after", leaf.NotAfter)
	for _, name := range w.hostnames {
		if err := leaf.VerifyHostname(name); err != nil {
			w.log.Warn("the server certificate is not for this host name", "file", w.certFile, "hostname", name)
		}
	}
	if now := w.now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		w.log.Warn("the server certificate is not valid now", "file", w.certFile,
			"not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
	}
}

// fingerprint is the same for the same state of both files, and never zero in
// practice.
func fingerprint(certPEM, keyPEM []byte, errs ...error) [sha256.Size]byte {
	h := sha256.New()
	for _, content := range [][]byte{certPEM, keyPEM} {
		fmt.Fprintf(h, "%d:", len(content))
		h.Write(content)
	}
	fmt.Fprintf(h, "%v", errs)
	return [sha256.Size]byte(h.Sum(nil))
}
