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

// Refusal is the error about a handshake that was refused.
type Refusal struct {
	Status int    // of the HTTP answer
	Text   string // in the body of the answer
	Err    error  // why
}

// Error says why.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns why.
func (r *Refusal) Unwrap() error { return r.Err }

// Accept answers a WebSocket handshake. It returns the connection and which of
// protocols it carries, in the spelling of protocols: the first of them that the
// client offers, whatever its case. The client is told in its own spelling.
//
// When it fails, the answer was written to w, and the error is a [*Refusal]: 400 and
// ErrNoProtocol without a protocol in common, and what RFC 6455 section 4.2 asks for
// otherwise. Origins are
// not checked: devices are no browsers.
//
// The connection has the methods ConnectionState and NetConn, as *tls.Conn has, and
// does not end with the request's context.
func Accept(w http.ResponseWriter, r *http.Request, protocols ...string) (net.Conn, string, error) {
	protocol, ok := choose(r, protocols)
	h := &hijacked{ResponseWriter: w}
	if !ok && isUpgrade(r) {
		http.Error(h, "Sec-WebSocket-Protocol must offer one of: "+strings.Join(protocols, ", "), http.StatusBadRequest)
		return nil, "", h.refusal(ErrNoProtocol)
	}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols:       []string{protocol}, // is compared without case, and echoed as it was offered
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, "", h.refusal(fmt.Errorf("accepting a WebSocket: %w", err))
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

// hijacked is a ResponseWriter that remembers the connection that was taken from it, or
// what was answered instead.
type hijacked struct {
	http.ResponseWriter
	conn   net.Conn
	status int
	text   []byte
}

// maxText bounds what is kept of an answer, in bytes.
const maxText = 512

// WriteHeader notes the status.
func (h *hijacked) WriteHeader(status int) {
	h.status = status
	h.ResponseWriter.WriteHeader(status)
}

// Write notes the text.
func (h *hijacked) Write(p []byte) (int, error) {
	h.text = append(h.text, p[:min(len(p), maxText-len(h.text))]...)
	return h.ResponseWriter.Write(p)
}

// refusal returns what was answered.
func (h *hijacked) refusal(why error) *Refusal {
	return &Refusal{Status: h.status, Text: strings.TrimSpace(string(h.text)), Err: why}
}

// Hijack takes the connection over from the HTTP server.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}
