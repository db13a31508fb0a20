// Package wsconn carries a stream of bytes over a WebSocket, as a net.Conn on
// either side: MQTT over WebSocket is made of that.
//
// Messages are binary, and where one ends means nothing to the stream. Nothing is
// compressed. A message is read as it comes, never gathered, and one that is longer
// than MaxMessage ends the connection.
//
// Deadlines are those of the connection below. One that passes while a read waits
// fails that read with os.ErrDeadlineExceeded and every later one too, because part
// of a frame may be lost; writing goes on. One that passes while a write waits ends
// the writing alike. A deadline that is moved before it passes costs nothing.
// Source: RFC 6455; MQTT Version 3.1.1, section 6.
package wsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// MaxMessage is the longest message that is taken, in bytes: the 96 KB that a
// request may have, and room for what surrounds it.
const MaxMessage = 128 << 10

// closeTimeout is how long Close tries to tell the peer.
const closeTimeout = time.Second

// conn is a net.Conn over a WebSocket. Like *tls.Conn it has ConnectionState and
// NetConn.
type conn struct {
	ws  *websocket.Conn
	raw net.Conn // below ws: deadlines and addresses are its own

	readMu  sync.Mutex
	message io.Reader // the rest of the message that is being read; nil between two
	readErr error     // why reading is over

	writeMu  sync.Mutex
	writeErr error // why writing is over

	stateMu sync.Mutex
	closed  bool
}

func newConn(ws *websocket.Conn, raw net.Conn) *conn {
	ws.SetReadLimit(MaxMessage)
	return &conn{ws: ws, raw: raw}
}

// Read reads what comes next of the stream. It fails with io.EOF when the peer
// closed, with or without saying so.
func (c *conn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(p) == 0 {
		return 0, c.readErr
	}
	for c.readErr == nil {
		n, err := c.readMessage(p)
		if err != nil {
			c.readErr = readError(err)
			break // bytes beside an error are still masked
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, c.readErr
}

// errText refuses a message that is not binary (MQTT 3.1.1, MQTT-6.0.0-1).
var errText = errors.New("received a WebSocket text message; only binary messages are supported")

// readMessage reads from the current message, or from the next when there is none.
func (c *conn) readMessage(p []byte) (int, error) {
	if c.message == nil {
		kind, message, err := c.ws.Reader(context.Background())
		if err != nil {
			return 0, err
		}
		if kind != websocket.MessageBinary {
			_ = c.close(websocket.StatusUnsupportedData)
			return 0, errText
		}
		c.message = message
	}
	n, err := c.message.Read(p)
	if err == io.EOF {
		c.message, err = nil, nil
	}
	return n, err
}

// readError returns what a net.Conn would say for a failure of the WebSocket.
func readError(err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return io.EOF
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return ioError(err)
}

// ioError strips what callers compare with of its wrapping.
func ioError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case errors.Is(err, net.ErrClosed):
		return net.ErrClosed
	}
	return err
}

// Write sends p as one message.
func (c *conn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if len(p) == 0 || c.writeErr != nil {
		return 0, c.writeErr
	}
	if err := c.ws.Write(context.Background(), websocket.MessageBinary, p); err != nil {
		c.writeErr = ioError(err)
		return 0, c.writeErr
	}
	return len(p), nil
}

// Close tells the peer, unless a write waits just then, and closes without waiting
// for its answer.
func (c *conn) Close() error { return c.close(websocket.StatusNormalClosure) }

func (c *conn) close(code websocket.StatusCode) error {
	if !c.closing() {
		return net.ErrClosed
	}
	if !c.writeMu.TryLock() {
		_ = c.ws.CloseNow() // the peer does not read; nothing to tell it
		return nil
	}
	defer c.writeMu.Unlock()
	_ = c.ws.Close(code, "") // the connection is closed whether the peer heard it or not
	return nil
}

// closing sets the deadlines under which the closing frame goes out: what waits in
// a read ends at once, and nobody moves the deadlines after that. It reports false
// the second time.
func (c *conn) closing() bool {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	if c.closed {
		return false
	}
	c.closed = true
	now := time.Now()
	_ = c.raw.SetReadDeadline(now) // fails only when the peer closed before us
	_ = c.raw.SetWriteDeadline(now.Add(closeTimeout))
	return true
}

// deadline sets a deadline unless the connection is closed.
func (c *conn) deadline(set func(time.Time) error, t time.Time) error {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return set(t)
}

// SetDeadline sets the deadlines of reading and writing.
func (c *conn) SetDeadline(t time.Time) error { return c.deadline(c.raw.SetDeadline, t) }

// SetReadDeadline sets when a read that waits fails.
func (c *conn) SetReadDeadline(t time.Time) error { return c.deadline(c.raw.SetReadDeadline, t) }

// SetWriteDeadline sets when a write that waits fails.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.deadline(c.raw.SetWriteDeadline, t) }

// LocalAddr returns the address of this side of the connection below.
func (c *conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr returns the address of the other side of the connection below.
func (c *conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// NetConn returns the connection below. Closing that one drops the peer without a
// word.
func (c *conn) NetConn() net.Conn { return c.raw }

// ConnectionState returns the TLS state of the connection below; it is zero when
// there is no TLS.
func (c *conn) ConnectionState() tls.ConnectionState {
	if secure, ok := c.raw.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return secure.ConnectionState()
	}
	return tls.ConnectionState{}
}
