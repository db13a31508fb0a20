// Package outbound makes the HTTP client that calls what stands outside: linked hubs
// and webhooks. It also says in plain words why such a call came to nothing.
package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/mooring-iot/mooring/internal/certfile"
)

// Options say how calls go out. All may be left out.
type Options struct {
	// CAFile has the certificates of authorities that are trusted besides the
	// system's. It is read once.
	CAFile string

	// PerHost is how many connections one host may be held, busy or idle; 0 stands for
	// DefaultPerHost.
	PerHost int
}

// Bounds of one connection and of what they all take together.
const (
	DefaultPerHost = 32

	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	keepAlive        = 30 * time.Second
	idleTimeout      = 90 * time.Second
	maxIdle          = 256
	maxHeader        = 64 << 10 // of an answer, in bytes
	maxCAFile        = 4 << 20  // in bytes; a system's own bundle is under 1 MB
)

// New returns a client. It does not follow redirects (their answer is the caller's to
// judge: a key must not travel to a host that nobody named), keeps no cookies, and
// speaks HTTP/1.1, so that each call has a connection of its own and a slow one holds
// up no other. A proxy is taken from the environment (HTTPS_PROXY, NO_PROXY). The
// client sets no deadline: the caller's context does.
//
// Whoever is done with it calls CloseIdleConnections.
func New(o Options) (*http.Client, error) {
	config, err := TLS(o.CAFile)
	if err != nil {
		return nil, err
	}
	if o.PerHost == 0 {
		o.PerHost = DefaultPerHost
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, Protocols: protocols,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: handshakeTimeout, IdleConnTimeout: idleTimeout,
			MaxIdleConns: maxIdle, MaxIdleConnsPerHost: o.PerHost, MaxConnsPerHost: o.PerHost,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // an answer is as large as it says
		},
	}, nil
}

// TLS returns how calls to the outside are secured: the authorities of caFile are
// trusted besides the system's; "" is none.
func TLS(caFile string) (*tls.Config, error) {
	roots, err := loadRoots(caFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// loadRoots returns the system's authorities and those of file; nil, which stands for
// the system's, without a file.
func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // what crypto/tls takes for the system's own
	}
	text, err := readLimited(file)
	if err != nil {
		return nil, fmt.Errorf("reading the CA certificates: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a system without any: only the file's count
	}
	certs, err := certfile.Read(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, cert := range certs {
		roots.AddCert(cert)
	}
	return roots, nil
}

func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCAFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxCAFile {
		return nil, fmt.Errorf("%s is larger than %d MB", file, maxCAFile>>20)
	}
	return text, nil
}

// Reason says why a call brought no answer, in a few words that fit behind a colon
// and may be shown to anyone: no address but the name that was asked for.
func Reason(err error) string {
	if text := tlsReason(err); text != "" {
		return text
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return fmt.Sprintf("host %s not found", e.Name)
		}
		return fmt.Sprintf("DNS lookup of %s failed", e.Name)
	}
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to host"
	case ok && timeout.Timeout():
		return "timed out"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "connection closed"
	}
	return "request failed"
}

// tlsReason is Reason for failures of the handshake, "" for others.
func tlsReason(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is signed by an unknown authority (add it with --hub-ca)"
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("its certificate is not for %s", e.Host)
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return "its certificate is expired or not yet valid according to this machine's clock"
		}
		return "its certificate is not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return "it does not use TLS"
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return "it rejected the TLS handshake"
	}
	return ""
}
