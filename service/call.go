package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// maxAnswer bounds an answer, in bytes. A page of 1000 enrollments with twins of
// 8 kB is half of it.
const maxAnswer = 16 << 20

// Pauses before a call is repeated.
const (
	firstPause  = time.Second      // unless the service says how long; doubles each time
	maxDoubling = 4                // times
	maxPause    = 60 * time.Second // a service that asks for more is not waited for
)

// Request is a request in the terms of the service.
type Request struct {
	Method string
	Path   string      // escaped, from the host's root or, for a ControlPlane, below the resource; begins with "/"
	Query  url.Values  // besides api-version, which is always sent
	Header http.Header // besides Authorization and User-Agent
	Body   any         // sent as JSON; nil sends none
}

// Response is the answer to a Request; its status was below 300.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// caller sends requests to one base URL. Nothing of it changes after it was built.
type caller struct {
	http      *http.Client
	base      string // URL without a slash at its end
	version   string // api-version
	userAgent string
	retries   int
	now       func() time.Time
	authorize func(context.Context) (string, error) // the Authorization of one request
	warning   func(context.Context, string)
}

// do sends r until the service neither throttles nor is unavailable, retries are
// used up, or ctx ends. It fails with *Error when the service refuses.
func (c *caller) do(ctx context.Context, r Request) (*Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = json.Marshal(r.Body); err != nil {
			return nil, fmt.Errorf("writing the request: %w", err)
		}
	}
	for tries := 0; ; tries++ {
		res, err := c.once(ctx, r, body)
		refusal, refused := errors.AsType[*Error](err)
		if !refused || !refusal.passing() || tries >= c.retries {
			return res, err
		}
		if err := wait(ctx, refusal, tries); err != nil {
			return nil, err
		}
	}
}

// once sends r one time.
func (c *caller) once(ctx context.Context, r Request, body []byte) (*Response, error) {
	req, err := c.newRequest(ctx, r, body)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the service's answer: %w", err)
	}
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("the service's answer is larger than %d bytes", maxAnswer)
	}
	if res.StatusCode < http.StatusOK || res.StatusCode >= http.StatusMultipleChoices {
		return nil, newError(res, answer, c.now())
	}
	for _, text := range res.Header.Values(wire.HeaderWarning) {
		c.warning(ctx, text)
	}
	return &Response{Status: res.StatusCode, Header: res.Header, Body: answer}, nil
}

func (c *caller) newRequest(ctx context.Context, r Request, body []byte) (*http.Request, error) {
	query := url.Values{}
	for name, values := range r.Query {
		query[name] = values
	}
	query.Set("api-version", c.version)
	req, err := http.NewRequestWithContext(ctx, r.Method, c.base+r.Path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", wire.ContentType)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	authorization, err := c.authorize(ctx)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", authorization)
	return req, nil
}

// wait pauses before the next try as long as the refusal asks for. Where that is too
// long, or longer than ctx lasts, the refusal itself is the better answer.
func wait(ctx context.Context, refusal *Error, tries int) error {
	pause := refusal.RetryAfter
	if pause == 0 {
		pause = firstPause<<min(tries, maxDoubling) + rand.N(firstPause/2) //nolint:gosec // spreads clients; no secret
	}
	deadline, limited := ctx.Deadline()
	if pause > maxPause || (limited && time.Until(deadline) <= pause) {
		return refusal
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w, while waiting to try again: %w", ctx.Err(), refusal)
	}
}

// fetch sends r and reads its answer as a T.
func fetch[T any](ctx context.Context, c *caller, r Request) (*T, error) {
	res, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	return decode[T](res)
}

func decode[T any](res *Response) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(res.Body, v); err != nil {
		return nil, fmt.Errorf("reading the service's answer: %w", err)
	}
	return v, nil
}

// ifMatch returns the header that makes a call conditional, none for "".
func ifMatch(etag string) http.Header {
	if etag == "" {
		return nil
	}
	return http.Header{"If-Match": {etag}}
}

// segment returns an identifier as a path segment. The ones that would name another
// resource are refused.
func segment(field, id string) (string, error) {
	if id == "" {
		return "", fmt.Errorf("%s is required", field)
	}
	if strings.Trim(id, ".") == "" {
		return "", fmt.Errorf("%s: %q names nothing", field, id)
	}
	return url.PathEscape(id), nil
}
