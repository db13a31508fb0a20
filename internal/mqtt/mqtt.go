// Package mqtt is the MQTT 3.1.1 endpoint for devices, over TLS and over WebSocket.
//
// It is not a broker: on each connection one device sends requests and receives the
// answers. Nothing is retained, no message goes from one connection to another, and the
// same client may connect twice.
// Source: azure-docs, articles/iot-dps/iot-mqtt-connect-to-iot-dps.md.
package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// Deadlines and bounds of a connection.
const (
	handshakeTime = 10 * time.Second // for the TLS handshake, and again for CONNECT
	idleTime      = 5 * time.Minute  // without a packet, where a client sets no keep-alive
	writeTime     = 10 * time.Second // for an answer that the client does not read
	maxPacket     = 96 << 10         // bytes; azure-docs, includes/iot-dps-limits.md, "Message size"
	maxUnread     = 64 << 10         // bytes that are queued for a client in the kernel
)

// Observer counts connections.
type Observer interface {
	// Connected is called with each connection; what it returns, when that ends.
	Connected(listener string) (ended func())
}

// Handshakes watches TLS handshakes.
type Handshakes interface {
	// Watch returns a connection for TLS to run on.
	Watch(c net.Conn, t dps.Transport) net.Conn

	// Ended is called when the handshake of a connection that Watch returned has ended;
	// err is nil when it succeeded.
	Ended(c *tls.Conn, err error)
}

// Options are what a Server needs; all but Handshakes are required.
type Options struct {
	Register   *register.Service
	Observer   Observer
	Handshakes Handshakes // nil if nobody wants to know
	Log        *slog.Logger
	Now        func() time.Time
}

// Server answers devices. It is safe for concurrent use.
type Server struct {
	register   *register.Service
	observer   Observer
	handshakes Handshakes
	log        *slog.Logger
	now        func() time.Time
	after      func(time.Duration) <-chan time.Time // time.After, but in tests

	mu      sync.Mutex
	closing bool
	open    map[*conn]struct{}
	running sync.WaitGroup
}

// New returns a Server.
func New(o Options) *Server {
	return &Server{
		register: o.Register, observer: o.Observer, handshakes: o.Handshakes, log: o.Log, now: o.Now, after: time.After,
		open: make(map[*conn]struct{}),
	}
}

// Serve accepts TCP connections from l and speaks TLS by config on each, until l is
// closed.
func (s *Server) Serve(l net.Listener, config *tls.Config) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			if wait := temporary(err); wait > 0 {
				s.log.Warn("accepting MQTT connections", "err", err)
				<-time.After(wait)
				continue
			}
			return err
		}
		if s.handshakes != nil {
			c = s.handshakes.Watch(c, dps.MQTT)
		}
		go s.serveTLS(tls.Server(c, config))
	}
}

// temporary returns how long to wait after an accept that failed for want of file
// descriptors or the like, and 0 for other failures.
func temporary(err error) time.Duration {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return 100 * time.Millisecond
	}
	if resourcesShort(err) {
		return 100 * time.Millisecond
	}
	return 0
}

// bound limits what may wait in the kernel for a client that does not read. Without
// it the limit is the kernel's own, of some megabytes.
func bound(c net.Conn) {
	if tcp, ok := lowest(c).(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(maxUnread) // a connection that is gone has none
	}
}

// lowest returns what is below TLS and WebSocket.
func lowest(c net.Conn) net.Conn {
	for {
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = above.NetConn()
	}
}

// serveTLS shakes hands and serves one connection.
func (s *Server) serveTLS(nc *tls.Conn) {
	defer s.observer.Connected("mqtt")()
	c := s.newConn(nc, dps.MQTT)
	if !s.add(c) {
		_ = nc.NetConn().Close()
		return
	}
	defer s.remove(c)
	defer c.recover()
	err := c.handshake(nc)
	if s.handshakes != nil {
		s.handshakes.Ended(nc, err)
	}
	if err != nil {
		s.log.Debug("TLS handshake failed", "remote", c.remote, "err", err)
		_ = nc.Close()
		return
	}
	s.serve(c)
}

// ServeConn serves one connection over WebSocket until it ends, and closes it. chain
// are the client certificates of its TLS handshake.
func (s *Server) ServeConn(nc net.Conn, chain []*x509.Certificate) {
	c := s.newConn(nc, dps.MQTTWebSocket)
	c.evidence.Chain = chain
	if !s.add(c) {
		_ = nc.Close()
		return
	}
	defer s.remove(c)
	defer c.recover()
	s.serve(c)
}

// recover ends a connection that panicked, and no other (see dps.Recovered).
func (c *conn) recover() {
	if p := recover(); p != nil {
		c.server.log.Error("connection failed", "trackingId", uuid.NewString(), "transport", string(c.transport), "remote", c.remote,
			"registrationId", string(c.id.ID), "err", dps.Recovered(p, c.server.observer, "mqtt"))
		_ = lowest(c.net).Close()
	}
}

func (s *Server) newConn(nc net.Conn, t dps.Transport) *conn {
	bound(nc)
	return &conn{server: s, net: nc, remote: nc.RemoteAddr().String(), transport: t}
}

func (s *Server) serve(c *conn) {
	err := c.serve()
	if err == nil {
		// The client said DISCONNECT and listens no more: no other goodbye is needed.
		_ = lowest(c.net).Close()
		return
	}
	if v := violationOf(err); v != nil {
		c.report(v.decision)
	}
	s.log.Debug("MQTT connection ended", "remote", c.remote, "registrationId", string(c.id.ID), "err", err)
	_ = c.net.Close()
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.open[c] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	s.running.Done()
}

// Shutdown lets every connection finish the request that it is at and closes it;
// when ctx ends first, it cuts off what is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.each(func(c *conn) { c.stopReading() })
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.each(func(c *conn) { _ = c.net.Close() })
		<-done
		return ctx.Err()
	}
}

func (s *Server) each(do func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for c := range s.open {
		do(c)
	}
}
