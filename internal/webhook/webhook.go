// Package webhook calls the function of an operator that chooses a device's hub under
// the custom allocation policy.
// Source: azure-docs, articles/iot-dps/concepts-custom-allocation.md.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// attemptTime bounds one call, from the name look-up to the last byte of the answer.
const attemptTime = 30 * time.Second

// Bounds of what is read, in bytes, and of connections.
const (
	maxAnswer = 96 << 10 // as for devices; see azure-docs, includes/iot-dps-limits.md, "Message size"
	maxHeader = 32 << 10
	maxConns  = 128 // to one host; calls beyond wait within their time
	maxIdle   = 16
	idleTime  = 60 * time.Second
)

// field is what an error about the URL is about.
const field = "customAllocationDefinition.webhookUrl"

// Options are what a Client needs; the zero value will do.
type Options struct {
	TLS     *tls.Config      // whom to trust; nil trusts whom the system trusts
	Rules   dps.WebhookRules // which webhooks may be called
	Timeout time.Duration    // of one call; 0 is 30 seconds
}

// Client calls webhooks. It is safe for concurrent use.
type Client struct {
	http    *http.Client
	rules   dps.WebhookRules
	timeout time.Duration
}

// New returns a Client that calls the webhooks that its rules allow. The rules hold for
// the address that is connected to, however the host's name was looked up. It uses no
// proxy: one would connect elsewhere.
func New(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = attemptTime
	}
	dialer := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error { return checkAddress(o.Rules, address) }}
	return &Client{
		rules: o.Rules, timeout: o.Timeout,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext: dialer.DialContext, TLSClientConfig: o.TLS.Clone(), DisableCompression: true,
				MaxConnsPerHost: maxConns, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTime, MaxResponseHeaderBytes: maxHeader,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// errForbidden is in the chain of errors about addresses that may not be called.
var errForbidden = errors.New("forbidden by --webhook-allow")

// checkAddress checks the address of a connection about to be made.
func checkAddress(rules dps.WebhookRules, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if err := rules.CheckAddr(field, at.Addr()); err != nil {
		return fmt.Errorf("%w: %w", errForbidden, err)
	}
	return nil
}

// Close ends connections that no call uses. Calls may go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Ask makes one call, as register.Webhook says. Redirects are not followed, and only
// status 200 is an answer.
func (c *Client) Ask(ctx context.Context, q register.WebhookQuestion) (register.WebhookAnswer, error) {
	req, err := c.newRequest(q)
	if err != nil {
		return register.WebhookAnswer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := c.http.Do(req.WithContext(ctx))
	if err != nil {
		return register.WebhookAnswer{}, noAnswer(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return register.WebhookAnswer{}, refused(res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil {
		// A function that is cut off may end its answer, as if it was whole, before the
		// connection is closed.
		err = ctx.Err()
	}
	if err != nil {
		return register.WebhookAnswer{}, noAnswer(err)
	}
	if len(body) > maxAnswer {
		return register.WebhookAnswer{}, dps.Errorf(
			dps.CustomAllocationFailed,
			"Custom allocation failed: the webhook's answer is larger than %d bytes.",
			maxAnswer,
		)
	}
	answer, err := translate.AllocationResponse(body, q.LinkedHubs)
	return register.WebhookAnswer(answer), err
}

func (c *Client) newRequest(q register.WebhookQuestion) (*http.Request, error) {
	hook := q.Enrollment.Placement.Custom
	if hook == nil {
		return nil, dps.Errorf(dps.CustomAllocationFailed, "Custom allocation failed: the enrollment has no webhook.")
	}
	if err := c.rules.CheckURL(field, hook.WebhookURL); err != nil { // the rules may be new
		return nil, dps.Wrap(dps.CustomAllocationFailed, err, "Custom allocation failed: the webhook is not allowed: "+dps.MessageOf(err)+".")
	}
	question, err := translate.AllocationRequest(translate.AllocationQuestion(q))
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(question); err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, hook.WebhookURL, bytes.NewReader(body.Bytes())) //nolint:noctx // Ask adds the context
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header.Set("Content-Type", wire.ContentType)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Mooring")
	return req, nil
}

// refused returns the failure that a status other than 200 means. The same call may
// succeed later where the webhook is throttled or broken.
func refused(status int) error {
	e := &dps.Error{
		Code: dps.CustomAllocationFailed, Message: fmt.Sprintf("Custom allocation failed with status code: %d", status),
		Again: status >= http.StatusTooManyRequests,
	}
	if status == http.StatusUnauthorized {
		e.Code = dps.CustomAllocationUnauthorized
	}
	return e
}

// noAnswer returns the failure of a call that ended without an answer.
func noAnswer(err error) error {
	e := &dps.Error{
		Code: dps.CustomAllocationFailed, Err: withoutURL(err), Again: true,
		Message: "Custom allocation failed: the connection to the webhook failed.",
	}
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errForbidden):
		e.Again = false
		e.Message = "Custom allocation failed: the webhook's host resolves to an address that is not allowed; see --webhook-allow."
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		e.Message = "Custom allocation failed: the webhook timed out."
	}
	return e
}

// withoutURL returns the cause of an error without the URL, whose query may hold a key.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
