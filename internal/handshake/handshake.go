// Package handshake explains TLS handshakes that fail: a device that cannot even connect
// has no other record.
//
// A Watcher wraps the connections below TLS. It keeps what the client offered and, before
// TLS 1.3, the plain text of its certificate message, until the handshake has ended. A
// handshake that succeeds costs a small object and no explanation. A client that connects
// and sends no ClientHello, as port scanners and load balancers do, is not recorded.
package handshake

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Refusals records refusals.
type Refusals interface {
	// Refused is called with each handshake that failed. It returns at once.
	Refused(r dps.Refusal)
}

// Options are what a Watcher needs; all are required.
type Options struct {
	Refusals Refusals
	Instance dps.InstanceID // whose record has the refusals
	Log      *slog.Logger
	Now      func() time.Time
}

// Lines in the log: every failed handshake of a quiet service, and a few of a flood.
const (
	linesPerSecond = 1
	linesAtOnce    = 50
)

// Watcher watches handshakes. It is safe for concurrent use.
type Watcher struct {
	options Options

	mu     sync.Mutex // guards what follows
	lines  *rate.Limiter
	silent int // failures since the last line
}

// New returns a Watcher.
func New(o Options) *Watcher {
	return &Watcher{options: o, lines: rate.NewLimiter(linesPerSecond, linesAtOnce)}
}

// maxFlight bounds what is kept of a client's messages, in bytes: a certificate message
// with a chain has some kilobytes.
const maxFlight = 16 << 10

// flights are buffers for clients before TLS 1.3.
var flights = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// conn is a connection below TLS. Only the goroutine of the handshake uses what it
// keeps, but for the alert.
type conn struct {
	net.Conn
	transport dps.Transport
	hello     *tls.ClientHelloInfo
	flight    *[]byte // what came after the ClientHello; nil when it would be encrypted
	ended     bool
	alert     atomic.Int32 // the latest one that went out in plain text, plus 1; 0 if none did
}

// NetConn returns the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

// Read keeps what it reads while a handshake before TLS 1.3 is under way.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.flight != nil {
		*c.flight = append(*c.flight, p[:min(n, maxFlight-len(*c.flight))]...)
	}
	return n, err
}

// Write notes an alert that goes out in plain text: errors of crypto/tls do not say which
// one it sent.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) == plainAlert && p[0] == recordAlert {
		c.alert.Store(int32(p[plainAlert-1]) + 1)
	}
	return c.Conn.Write(p)
}

// release drops what is not needed any more.
func (c *conn) release() {
	c.ended, c.hello = true, nil
	if c.flight != nil {
		*c.flight = (*c.flight)[:0]
		flights.Put(c.flight)
		c.flight = nil
	}
}

// Watch returns a connection for TLS to run on.
func (w *Watcher) Watch(c net.Conn, t dps.Transport) net.Conn { return &conn{Conn: c, transport: t} }

// Listener returns l with its connections watched.
func (w *Watcher) Listener(l net.Listener, t dps.Transport) net.Listener { return &listener{l, w, t} }

type listener struct {
	net.Listener
	watcher   *Watcher
	transport dps.Transport
}

// Accept returns the next connection, watched.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.watcher.Watch(c, l.transport), nil
}

// Hello has the form of [tls.Config.GetConfigForClient], and has to be there on watched
// connections. It changes nothing.
func (w *Watcher) Hello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c, ok := hello.Conn.(*conn)
	if !ok || c.ended {
		return nil, nil
	}
	c.hello = hello
	if c.flight == nil && !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
		c.flight, _ = flights.Get().(*[]byte)
	}
	return nil, nil
}

// Ended notes how the handshake of a connection ended; err is nil when it succeeded. The
// goroutine that shook hands calls it, once the handshake is over. Later calls do nothing.
func (w *Watcher) Ended(c *tls.Conn, err error) {
	below, ok := c.NetConn().(*conn)
	if !ok || below.ended {
		return
	}
	if err != nil {
		if f, ok := explain(below, c.ConnectionState().PeerCertificates, err); ok {
			w.record(below, f)
		}
	}
	below.release()
}

// ConnState is a hook of [http.Server.ConnState] over watched connections.
func (w *Watcher) ConnState(c net.Conn, s http.ConnState) {
	secure, ok := c.(*tls.Conn)
	if !ok {
		return
	}
	switch s {
	case http.StateActive:
		w.Ended(secure, nil)
	case http.StateClosed:
		if below, ok := secure.NetConn().(*conn); ok && !below.ended {
			w.Ended(secure, secure.HandshakeContext(context.Background())) // the outcome of the one that was
		}
	}
}

func (w *Watcher) record(c *conn, f failure) {
	r := dps.Refusal{
		Instance: w.options.Instance, TrackingID: uuid.NewString(), Time: w.options.Now(), ID: f.id, Transport: c.transport,
		Remote: c.RemoteAddr().String(), Decision: f.decision, Evidence: f.evidence,
	}
	if r.Evidence.Presented > 0 {
		r.Attestation = dps.X509
	}
	w.options.Refusals.Refused(r)
	silent, ok := w.line()
	if !ok {
		return
	}
	attrs := []any{
		"transport", string(r.Transport), "remote", r.Remote, "trackingId", r.TrackingID, "registrationId", string(r.ID), "decision", &r.Decision,
	}
	if silent > 0 {
		attrs = append(attrs, "notLogged", silent)
	}
	w.options.Log.Info("TLS handshake failed", attrs...)
}

// line reports whether there may be a line now, and how many there were none of before.
func (w *Watcher) line() (silent int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.lines.AllowN(w.options.Now(), 1) {
		w.silent++
		return 0, false
	}
	silent, w.silent = w.silent, 0
	return silent, true
}
