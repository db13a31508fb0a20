package fakehub

import (
	"context"
	"net"
	"sync"
)

// Listener is a TCP listener that can refuse connections for a time: its port is
// closed then, and opened again later.
type Listener struct {
	addr net.Addr

	mu      sync.Mutex
	inner   net.Listener // nil while it refuses
	open    map[net.Conn]struct{}
	changed chan struct{} // closed at each change of inner or closed
	closed  bool
	err     error // of opening the port again
}

// Listen opens a port of loopback and ties it to the hub's faults: Refuse closes it.
func (h *Hub) Listen(ctx context.Context, addr string) (*Listener, error) {
	inner, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	l := &Listener{addr: inner.Addr(), inner: inner, open: make(map[net.Conn]struct{}), changed: make(chan struct{})}
	h.mu.Lock()
	h.refuse = l.refuse
	h.mu.Unlock()
	return l, nil
}

// Addr returns the address, while it refuses too.
func (l *Listener) Addr() net.Addr { return l.addr }

// Accept waits for a connection, however often the port is closed meanwhile.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		inner, changed, closed, err := l.inner, l.changed, l.closed, l.err
		l.mu.Unlock()
		switch {
		case closed:
			return nil, net.ErrClosed
		case err != nil:
			return nil, err
		case inner == nil:
			<-changed
			continue
		}
		c, err := inner.Accept()
		if err == nil {
			return l.track(c), nil
		}
		if l.is(inner) {
			return nil, err
		}
	}
}

func (l *Listener) is(inner net.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inner == inner && !l.closed
}

// Close closes the port for good.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.changed)
	if l.inner == nil {
		return nil
	}
	return l.inner.Close()
}

// refuse closes the port and cuts its connections, or opens it again.
func (l *Listener) refuse(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || on == (l.inner == nil) {
		return
	}
	if on {
		_ = l.inner.Close()
		l.inner = nil
		for c := range l.open {
			_ = c.Close()
		}
	} else {
		l.inner, l.err = new(net.ListenConfig).Listen(context.Background(), "tcp", l.addr.String())
		if l.err != nil {
			l.inner = nil
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// tracked is a connection that its listener can cut.
type tracked struct {
	net.Conn
	listener *Listener
}

func (l *Listener) track(c net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = struct{}{}
	return &tracked{c, l}
}

// Close closes the connection.
func (t *tracked) Close() error {
	t.listener.mu.Lock()
	delete(t.listener.open, t.Conn)
	t.listener.mu.Unlock()
	return t.Conn.Close()
}

// SetLinger makes closing a reset, see net.TCPConn.
func (t *tracked) SetLinger(sec int) error {
	tcp, ok := t.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	return tcp.SetLinger(sec)
}
