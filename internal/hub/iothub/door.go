package iothub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

// Lifetimes of our tokens: a fresh one is made when less than the margin is left.
const (
	tokenLifetime = time.Hour
	tokenMargin   = 15 * time.Minute
)

// door is the way into one hub: where it is, and with which key.
type door struct {
	hostName string // the hub's own; may have a port
	endpoint string // what is dialled, and what TLS verifies
	keyName  string
	key      []byte
	http     *http.Client
	now      func() time.Time
	token    *token
}

// token is the current SAS token of a door.
type token struct {
	mu   sync.Mutex
	text string
	good time.Time // until when it is used
}

// request is one call. path is escaped already.
type request struct {
	method, path string
	query        url.Values
	ifMatch      string // as it stands in the header, with its quotes; "" for none
	body         any    // becomes JSON; nil for none
	limit        int    // of the answer's body, in bytes

	// read understands an answer of status 2xx, and where bulk is set one of status 400
	// too. It fails with a *refused, or with errMalformed.
	read func(answer) error
	bulk bool

	sent *bool // set when the call goes out; may be nil
}

// understand reads an answer: nil where the hub did it, a *refused where it did not,
// errMalformed where no hub speaks like that.
func (r request) understand(a answer) error {
	good := a.status >= 200 && a.status < 300
	if good || r.bulk && a.status == http.StatusBadRequest {
		if r.read == nil {
			return nil
		}
		if err := r.read(a); good || !errors.Is(err, errMalformed) {
			return err
		}
	}
	return readRefusal(a.status, a.header, a.body)
}

// answer is what came back, whatever its status.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// errTooLarge is the failure to read an answer of more bytes than its limit.
var errTooLarge = errors.New("response exceeds the size limit")

// send makes one call and reads its answer.
//
// Where the hub's name is not the endpoint's (a gateway in front of it), TLS verifies
// the endpoint, and Host header and token name the hub.
// Source: azure-iot-hub-python, auth.py (ConnectionStringAuthentication with GatewayHostName).
func (d door) send(ctx context.Context, r request) (answer, error) {
	sent, err := r.text()
	if err != nil {
		return answer{}, err
	}
	req, err := d.build(ctx, r, sent)
	if err != nil {
		return answer{}, err
	}
	res, err := d.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(r.limit)+1))
	if err != nil {
		return answer{}, fmt.Errorf("reading the hub's answer: %w", err)
	}
	if len(body) > r.limit {
		return answer{}, fmt.Errorf("%w of %d bytes", errTooLarge, r.limit)
	}
	if mayEcho(res.StatusCode, r) {
		body = withoutEcho(body, req.Header.Get("Authorization"), sent)
	}
	return answer{status: res.StatusCode, header: res.Header, body: body}, nil
}

// text returns the body as it is sent, nil for none.
func (r request) text() ([]byte, error) {
	if r.body == nil {
		return nil, nil
	}
	text, err := json.Marshal(r.body)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	return text, nil
}

func (d door) build(ctx context.Context, r request, text []byte) (*http.Request, error) {
	query := url.Values{"api-version": {wire.HubAPIVersion}}
	for name, values := range r.query {
		query[name] = values
	}
	var body io.Reader = http.NoBody
	if text != nil {
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, "https://"+d.endpoint+r.path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(bareHost(d.hostName), bareHost(d.endpoint)) {
		req.Host = d.hostName
	}
	if text != nil {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if r.ifMatch != "" {
		req.Header.Set("If-Match", r.ifMatch)
	}
	req.Header.Set("Authorization", d.authorization())
	return req, nil
}

// authorization returns a token that is good for some time yet. Its resource is the
// hub's name without a port, as the SDKs write it.
func (d door) authorization() string {
	now := d.now()
	d.token.mu.Lock()
	defer d.token.mu.Unlock()
	if !now.Before(d.token.good) || d.token.good.Sub(now) > tokenLifetime { // over, or the clock was set back
		expiry := now.Add(tokenLifetime)
		d.token.text = sas.Sign(bareHost(d.hostName), d.keyName, d.key, expiry)
		d.token.good = expiry.Add(-tokenMargin)
	}
	return d.token.text
}

// bareHost cuts a port off.
func bareHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}
