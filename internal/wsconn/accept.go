package wsconn

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// ErrNoProtocol is the error about a handshake that offers none of the protocols
// that are understood.
var ErrNoProtocol = errors.New("the WebSocket handshake offers no supported subprotocol")

// Accept answers a WebSocket handshake. It returns the connection and which of
// protocols it carries, in the spelling of protocols: the first of them that the
// client offers, whatever its case. The client is told in its own spelling.
//
// When it fails, the refusal was written to w: 400 and ErrNoProtocol without a
// protocol in common, and what RFC 6455 section 4.2 asks for otherwise. Origins are
// not checked: devices are no browsers.
//
// The connection has the methods ConnectionState and NetConn, as *tls.Conn has, and
// does not end with the request's context.
func Accept(w http.ResponseWriter, r *http.Request, protocols ...string) (net.Conn, string, error) {
	protocol, ok := choose(r, protocols)
	if !ok && isUpgrade(r) {
		http.Error(w, "Sec-WebSocket-Protocol must offer one of: "+strings.Join(protocols, ", "), http.StatusBadRequest)
		return nil, "", ErrNoProtocol
	}
	h := &hijacked{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols:       []string{protocol}, // is compared without case, and echoed as it was offered
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, "", fmt.Errorf("accepting a WebSocket: %w", err)
	}
	return newConn(ws, h.conn), protocol, nil
}

// isUpgrade reports whether r asks for a WebSocket at all.
func isUpgrade(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

// choose returns the first of protocols that the client offers.
func choose(r *http.Request, protocols []string) (string, bool) {
	for _, protocol := range protocols {
		for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
			for offer := range strings.SplitSeq(line, ",") {
				if strings.EqualFold(strings.TrimSpace(offer), protocol) {
					return protocol, true
				}
			}
		}
	}
	return "", false
}

// hijacked is a ResponseWriter that remembers the connection that was taken from it.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack takes the connection over from the HTTP server.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}
