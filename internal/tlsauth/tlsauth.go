// Package tlsauth gives the service its server certificates: from a TLS authority of
// its own, which it creates and renews, or from the operator's files, which it
// watches.
package tlsauth

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options say where certificates come from.
type Options struct {
	// Dir is the directory of the own authority, created when absent. One process
	// uses it at a time. It is not touched when CertFile is given.
	Dir string
	// Hostnames are the DNS names and IP addresses that clients connect to, at least
	// one. "localhost" stands for 127.0.0.1 and ::1 too.
	Hostnames []string
	// CertFile and KeyFile are the operator's own certificate chain, leaf first, and
	// its key, in PEM: both or neither.
	CertFile, KeyFile string
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Log hears of issued and reloaded certificates and of what needs attention.
	Log *slog.Logger
}

// Authority answers TLS handshakes with the certificates of the moment. It is safe
// for concurrent use.
type Authority struct {
	log      *slog.Logger
	caFile   string
	interval time.Duration

	mu     sync.Mutex // owns source
	source source

	// current holds, for each group of host names, one certificate or more, the preferred first;
	// never empty.
	current atomic.Pointer[[][]*tls.Certificate]
}

// source is where certificates come from.
type source interface {
	// refresh looks at the files.
	refresh() outcome

	// rename sets the names that clients use; the next refresh heeds them.
	rename(hosts []string, n names)
}

// outcome is what a look at the files gave.
type outcome struct {
	certs [][]*tls.Certificate // to be served from now on, see Authority.current; none: those in use stay
	fresh bool                 // something is new since the look before, good or bad
	err   error                // why the files cannot be served
}

// How often Run looks. Own certificates live for months, while an operator who
// exchanges files waits for the effect.
const (
	renewInterval = time.Hour
	watchInterval = 5 * time.Second
)

// Open loads the certificates; on first use of the own authority it creates them.
//
// The own authority has two CAs, ECDSA P-256 and RSA-2048, each for a server certificate
// of its own algorithm. On later starts both stay, whatever happens: when one of their
// files is gone or damaged, that is an error that says what to do, unless a crash during
// creation explains what is missing: then creation is finished. Server certificates are
// issued again when the names changed, when less than a third of their time is left, and
// when a file is missing or damaged.
func Open(o Options) (*Authority, error) {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("the TLS certificate and its key must be given together")
	}
	names, err := parseNames(o.Hostnames)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Authority{log: o.Log}
	if o.CertFile != "" {
		a.source, a.caFile, a.interval = newWatcher(o), o.CertFile, watchInterval
	} else {
		own, err := openAuthority(o, names)
		if err != nil {
			return nil, err
		}
		a.source, a.caFile, a.interval = newIssuer(o, names, own), own.certFile, renewInterval
	}
	if err := a.Reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// CAFile returns the path of the PEM file that clients must trust: both CAs of the own
// authority, ECDSA first, or the operator's certificate file. Whatever algorithm a client
// knows, the chain that it is shown ends at the CA of that algorithm.
func (a *Authority) CAFile() string { return a.caFile }

// GetCertificate has the form of [tls.Config.GetCertificate]. It returns the ECDSA
// certificate to clients that can use it, else the RSA one; with the operator's
// files there is only theirs. The name that the client asks for matters only where the names of the
// service are in several certificates.
func (a *Authority) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	certs := groupFor(*a.current.Load(), hello)
	// SupportsCertificate refuses a certificate for another name too, and a client
	// that uses an alias is not to be punished with RSA.
	anyName := *hello
	anyName.ServerName = ""
	for _, cert := range certs[:len(certs)-1] {
		if anyName.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	return certs[len(certs)-1], nil
}

// groupFor returns the certificates for the name, or the address, that a client connects to: those of
// the first group where no certificate has it.
func groupFor(groups [][]*tls.Certificate, hello *tls.ClientHelloInfo) []*tls.Certificate {
	if len(groups) == 1 {
		return groups[0]
	}
	host := hello.ServerName
	if host == "" && hello.Conn != nil { // clients name no addresses
		host, _, _ = net.SplitHostPort(hello.Conn.LocalAddr().String())
	}
	for _, certs := range groups {
		if host != "" && certs[0].Leaf.VerifyHostname(host) == nil {
			return certs
		}
	}
	return groups[0]
}

// Run renews or reloads certificates when that is due, until ctx ends; it returns
// nil then. Connections that are open stay as they are. What goes wrong is logged,
// once for each state of the operator's files, and the certificates in use stay.
func (a *Authority) Run(ctx context.Context) error {
	ticker := time.NewTicker(a.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if found := a.refresh(); found.err != nil && found.fresh {
				a.log.WarnContext(ctx, "server certificate not renewed; the current one stays in use", "err", found.err)
			}
		}
	}
}

// SetHostnames sets the names that clients connect to, in place of those of Options. The
// own authority issues certificates for them at once; connections that are open stay as
// they are. After an error the certificates in use stay, and Run tries again.
func (a *Authority) SetHostnames(hosts []string) error {
	n, err := parseNames(hosts)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.source.rename(hosts, n)
	a.mu.Unlock()
	return a.Reload()
}

// Reload does at once what Run does periodically, and returns what Run would log. After
// an error the certificates in use stay.
func (a *Authority) Reload() error { return a.refresh().err }

func (a *Authority) refresh() outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := a.source.refresh()
	if len(found.certs) > 0 {
		a.current.Store(&found.certs)
	}
	return found
}
