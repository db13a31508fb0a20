package bench

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/mooring-iot/mooring/wire"
)

// deviceAPI is the api-version that the official SDKs send.
const deviceAPI = "2019-03-31"

// httpSession is a device on a connection of HTTP/1.1. It writes requests by hand: the
// client of net/http costs more than what it would measure.
type httpSession struct {
	conn   net.Conn
	r      *bufio.Reader
	path   string // of the registration
	header string
	body   string
}

func newHTTPSession(conn net.Conn, l *line, d *device) *httpSession {
	h := &httpSession{
		conn: conn, r: bufio.NewReaderSize(conn, 2048),
		path:   "/" + l.scope + "/registrations/" + d.id,
		header: " HTTP/1.1\r\nHost: " + l.host + "\r\nUser-Agent: mooring-bench\r\nContent-Type: " + wire.ContentType + "\r\n",
		body:   `{"registrationId":"` + d.id + `"}`,
	}
	if d.token != "" {
		h.header += "Authorization: " + d.token + "\r\n"
	}
	return h
}

func (h *httpSession) register() (answer, error) {
	return h.do("PUT "+h.path+"/register?api-version="+deviceAPI, h.body)
}

func (h *httpSession) poll(operation string) (answer, error) {
	return h.do("GET "+h.path+"/operations/"+operation+"?api-version="+deviceAPI, "")
}

func (h *httpSession) do(line, body string) (a answer, err error) {
	text := line + h.header + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	if _, err := io.WriteString(h.conn, text); err != nil {
		return a, err
	}
	res, err := http.ReadResponse(h.r, nil)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.status = res.StatusCode
	a.retryAfter = seconds(res.Header.Get("Retry-After"))
	a.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return a, err
}

func (h *httpSession) leave() error { return nil }
