package mqtt_test

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/mqtt"
)

// wrapped is a connection over another, as WebSockets and TLS are.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// What waits in the kernel for a client is bounded, whatever stands above TCP.
func TestKernelBuffer(t *testing.T) {
	s, hello := bare()
	server, config := configs(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	ended := make(chan struct{})
	accepted := make(chan *net.TCPConn, 1)
	go func() {
		defer close(ended)
		raw, err := l.Accept()
		if err != nil {
			return
		}
		tcp, ok := raw.(*net.TCPConn)
		if !ok {
			return
		}
		accepted <- tcp
		s.ServeConn(wrapped{tls.Server(raw, server)}, nil)
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), config)
	must(t, err)
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	newClient(conn).accepted(t, hello)

	raw, err := (<-accepted).SyscallConn()
	must(t, err)
	size := 0
	must(t, raw.Control(func(fd uintptr) {
		size, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
	}))
	must(t, err)
	if size > 2*mqtt.MaxUnread { // the kernel doubles it for its own bookkeeping; socket(7)
		t.Errorf("the kernel holds up to %d bytes, want at most %d", size, 2*mqtt.MaxUnread)
	}
	must(t, conn.Close())
	<-ended
}
