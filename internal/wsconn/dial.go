package wsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// DialOptions are what Dial needs besides the address.
type DialOptions struct {
	// Dial opens the connection below; for a wss address it returns after the TLS
	// handshake, which must not have negotiated HTTP/2. nil: a plain or a TLS dialer
	// with nothing set.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Host      string      // the Host header; "": that of the address
	Header    http.Header // more headers of the handshake
	Protocols []string    // what to offer; the server must choose one of them
}

// StatusError is the error about a server that answers the handshake with anything
// but 101.
type StatusError struct {
	Status int // of HTTP
	Header http.Header
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answered the WebSocket handshake with %d %s", e.Status, http.StatusText(e.Status))
}

// Dial opens a WebSocket to url, a ws or wss address. ctx bounds the handshake and
// not the connection. Redirects are not followed, and no proxy is used.
//
// It fails with a *StatusError when the server answers and refuses. The connection
// has the methods ConnectionState and NetConn, as *tls.Conn has.
func Dial(ctx context.Context, url string, o DialOptions) (net.Conn, error) {
	var raw net.Conn
	client, done := o.client(func(c net.Conn) { raw = c })
	defer done()
	ws, answer, err := websocket.Dial(ctx, url, &websocket.DialOptions{ //nolint:bodyclose // websocket.Dial closed it
		HTTPClient:      client,
		HTTPHeader:      o.Header,
		Host:            o.Host,
		Subprotocols:    o.Protocols,
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil && answer != nil && answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, &StatusError{Status: answer.StatusCode, Header: answer.Header}
	}
	if err != nil {
		return nil, fmt.Errorf("opening a WebSocket: %w", err)
	}
	c := newConn(ws, raw)
	if len(o.Protocols) > 0 && ws.Subprotocol() == "" {
		return nil, errors.Join(ErrNoProtocol, c.Close())
	}
	return c, nil
}

// client returns an HTTP client for one handshake, which tells opened what it
// connected, and what to call after the handshake.
func (o DialOptions) client(opened func(net.Conn)) (*http.Client, func()) {
	plain, secure := o.Dial, o.Dial
	if plain == nil {
		plain = new(net.Dialer).DialContext
		secure = (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext
	}
	report := func(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			opened(c)
			return c, err
		}
	}
	transport := &http.Transport{
		DialContext:            report(plain),
		DialTLSContext:         report(secure),
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, CheckRedirect: refuse}, transport.CloseIdleConnections
}

// maxHeader bounds the header of the server's answer, in bytes.
const maxHeader = 64 << 10
