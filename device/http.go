package device

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// httpLink asks over HTTPS. The connection is kept between the questions, and
// opened again when the service closed it.
type httpLink struct {
	run    *run
	client http.Client
	base   string // URL of the registration
}

const maxHeader = 64 << 10 // of an answer, in bytes

func newHTTPLink(r *run) *httpLink {
	l := &httpLink{run: r}
	l.base = "https://" + r.host + "/" + url.PathEscape(r.scope) + "/registrations/" + url.PathEscape(r.registrationID)
	l.client = http.Client{
		Transport: &http.Transport{
			DialTLSContext:         l.dialTLS,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return l
}

// opened is what dialTLS tells the goroutine of Register.
type opened struct{ took time.Duration }

// openedKey is the context key of the channel for opened.
type openedKey struct{}

func (l *httpLink) dialTLS(ctx context.Context, _, _ string) (net.Conn, error) {
	start := time.Now()
	c, err := l.run.connect(ctx)
	if err != nil {
		return nil, err
	}
	if tell, ok := ctx.Value(openedKey{}).(chan opened); ok {
		select {
		case tell <- opened{time.Since(start)}:
		default:
		}
	}
	return c, nil
}

func (l *httpLink) register(ctx context.Context) (answer, error) {
	return l.request(ctx, http.MethodPut, "/register", l.run.body)
}

func (l *httpLink) poll(ctx context.Context, operationID string) (answer, error) {
	return l.request(ctx, http.MethodGet, "/operations/"+url.PathEscape(operationID), nil)
}

// request sends one request and understands its answer.
func (l *httpLink) request(ctx context.Context, method, path string, body []byte) (answer, error) {
	limited, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	tell := make(chan opened, 1)
	req, err := http.NewRequestWithContext(context.WithValue(limited, openedKey{}, tell), method,
		l.base+path+"?api-version="+apiVersion, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	l.setHeader(req.Header, len(body) > 0)
	res, err := l.client.Do(req)
	l.noteConnection(tell)
	if err != nil {
		return answer{}, l.run.gone(limited, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return answer{}, l.run.gone(limited, err)
	}
	if len(text) > maxAnswer {
		return answer{}, protocolf("it is longer than %d bytes", maxAnswer)
	}
	return readAnswer(res.StatusCode, text, res.Header.Get("Retry-After"), res.Header.Get(wire.HeaderRequestID))
}

func (l *httpLink) setHeader(h http.Header, body bool) {
	h.Set("Accept", "application/json")
	h.Set("User-Agent", l.run.agent)
	if body {
		h.Set("Content-Type", wire.ContentType)
	}
	if l.run.key != nil {
		h.Set("Authorization", l.run.token())
	}
}

// noteConnection takes notice of a connection that was opened for a request.
func (l *httpLink) noteConnection(tell <-chan opened) {
	select {
	case o := <-tell:
		if connected := l.run.trace.Connected; connected != nil {
			connected(o.took)
		}
		l.run.since = l.run.since.Add(o.took)
	default:
	}
}

func (l *httpLink) wait(ctx context.Context, d time.Duration) error { return sleep(ctx, d) }

// lasts: the client opens a new connection by itself.
func (l *httpLink) lasts() bool { return true }

func (l *httpLink) close() { l.client.CloseIdleConnections() }
