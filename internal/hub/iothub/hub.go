package iothub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/outbound"
)

// Bounds of a call at a hub.
const (
	maxAnswer = 2 << 20 // bytes of a body: a twin with all its metadata is under 1 MB
	maxCalls  = outbound.DefaultPerHost
)

// hub is a linked hub over the wire. It is a register.RemoteHub.
type hub struct {
	link     dps.LinkedHub
	door     door
	pacer    *pacer
	breaker  breaker
	slots    chan struct{} // one for each call under way
	timeout  time.Duration
	log      *slog.Logger
	observer Observer
	probing  atomic.Bool
	down     func() // tells the prober that there is something to wait for

	// noBulk is until when bulk calls are not tried, in nanoseconds since 1970: the hub
	// does not have them.
	noBulk atomic.Int64
}

// Health says how the hub has been doing; Waiting and Wait are not filled in.
func (h *hub) Health() dps.HubHealth {
	health := dps.HubHealth{Paused: h.pacer.pausedUntil(), PerMinute: h.pacer.perMinute}
	h.breaker.health(&health)
	return health
}

// Turn waits for its place in the rate, and for the end of a pause that the hub asked
// for. It fails at once where the hub is down.
func (h *hub) Turn(ctx context.Context) error { return h.paced(ctx, h.pacer.turn) }

func (h *hub) paced(ctx context.Context, wait func(context.Context) error) error {
	if err := h.reachable(); err != nil {
		return err
	}
	err := wait(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &dps.Error{
			Code: dps.Throttled, Again: true, Err: err,
			Message: fmt.Sprintf("timed out waiting for a write slot at hub %s", h.link.HostName),
		}
	case err != nil:
		return h.gaveUp(ctx)
	}
	return h.reachable()
}

// reachable fails where the hub is down and no trial is due.
func (h *hub) reachable() error {
	if wait, ok := h.breaker.closed(h.door.now()); !ok {
		return h.isDown(wait)
	}
	return nil
}

func (h *hub) isDown(wait time.Duration) error {
	return &dps.Error{
		Code: dps.HubUnavailable, Again: true, RetryAfter: wait,
		Message: fmt.Sprintf("hub %s is down: %s", h.link.HostName, h.breaker.lastProblem()),
	}
}

// Holds compares what the hub has with id.
func (h *hub) Holds(ctx context.Context, id dps.HubIdentity) (bool, error) {
	stands, err := h.identity(ctx, id.DeviceID)
	if isRefusal(err, deviceNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return stands.holds(id), nil
}

// holds reports whether the identity is as provisioning wants it.
func (i identity) holds(want dps.HubIdentity) bool {
	return i.proves(want.Authentication) && i.edge == want.IotEdge
}

// proves reports whether a device is let in by exactly this proof.
func (i identity) proves(want dps.HubAuthentication) bool {
	want.PrimaryThumbprint, want.SecondaryThumbprint = strings.ToUpper(want.PrimaryThumbprint), strings.ToUpper(want.SecondaryThumbprint)
	return i.auth.Equal(want)
}

func (h *hub) identity(ctx context.Context, id dps.DeviceID) (identity, error) {
	var i identity
	err := h.call(ctx, "get device", request{method: http.MethodGet, path: devicePath(id), read: func(a answer) error {
		var err error
		i, err = readIdentity(a.header, a.body)
		return err
	}})
	return i, err
}

// Twin reads what services and device wrote.
func (h *hub) Twin(ctx context.Context, id dps.DeviceID) (dps.Twin, error) {
	t, err := h.twin(ctx, id)
	if isRefusal(err, deviceNotFound) {
		return dps.Twin{}, dps.Errorf(dps.DeviceNotFound, "hub %s has no device %q", h.link.HostName, id)
	}
	return t, err
}

// twin is Twin with the hub's own refusal.
func (h *hub) twin(ctx context.Context, id dps.DeviceID) (dps.Twin, error) {
	var t dps.Twin
	err := h.call(ctx, "get twin", request{method: http.MethodGet, path: twinPath(id), read: func(a answer) error {
		var err error
		t, err = readTwin(a.body)
		return err
	}})
	return t, err
}

// Remove deletes the identity, whatever its version. That it is absent is fine, if the
// hub says so in its own form: another server's 404 says nothing about the device.
func (h *hub) Remove(ctx context.Context, id dps.DeviceID) error {
	return (&writer{hub: h}).remove(ctx, id)
}

func devicePath(id dps.DeviceID) string { return "/devices/" + url.PathEscape(string(id)) }
func twinPath(id dps.DeviceID) string   { return "/twins/" + url.PathEscape(string(id)) }

// isRefusal reports whether err is the hub's refusal with this code.
func isRefusal(err error, number int) bool {
	r, ok := errors.AsType[*refused](err)
	return ok && r.is(number)
}

// call sends one request, after the checks that hold for all of them. what names the
// call for log and metrics.
func (h *hub) call(ctx context.Context, what string, r request) error {
	if err := h.reachable(); err != nil {
		return err
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return h.gaveUp(ctx)
	}
	if r.method != http.MethodGet {
		if err := h.pacer.depart(ctx); err != nil {
			return h.gaveUp(ctx)
		}
	}
	if left := h.pacer.paused(); left > 0 {
		return h.isPaused(left)
	}
	trial, wait, ok := h.breaker.allow(h.door.now())
	if !ok {
		return h.isDown(wait)
	}
	r.limit = maxAnswer
	return h.judged(ctx, what, trial, r)
}

func (h *hub) isPaused(left time.Duration) error {
	return &dps.Error{
		Code: dps.Throttled, Again: true, RetryAfter: left,
		Message: fmt.Sprintf("hub %s is throttling; retry later", h.link.HostName),
	}
}

// gaveUp is the error of a caller whose time was over before the hub's answer: nothing
// is known of the hub by that.
func (h *hub) gaveUp(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("calling hub %s: %w", h.link.HostName, ctx.Err())
	}
	return &dps.Error{
		Code: dps.HubUnavailable, Again: true, Err: ctx.Err(),
		Message: fmt.Sprintf("hub %s timed out", h.link.HostName),
	}
}

// judged sends r and records how the hub did.
func (h *hub) judged(ctx context.Context, what string, trial bool, r request) error {
	inTime, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	begun := h.door.now()
	if r.sent != nil {
		*r.sent = true
	}
	a, err := h.door.send(inTime, r)
	took := h.door.now().Sub(begun)
	if err != nil && ctx.Err() != nil {
		h.breaker.giveBack(trial)
		return h.gaveUp(ctx)
	}
	if err == nil {
		err = r.understand(a)
	}
	err = h.judge(a, err, trial)
	h.observer.HubCall(string(h.link.HostName), what, outcome(err), took)
	h.log.DebugContext(ctx, "called a hub", "hub", h.link.HostName, "call", what, "status", a.status, "took", took, "err", err)
	return err
}

// outcome is a call's end in a word, for metrics.
func outcome(err error) string {
	switch dps.CodeOf(err) {
	case dps.HubUnavailable:
		return "unavailable"
	case dps.Throttled:
		return "throttled"
	case dps.HubRefused:
		return "refused"
	}
	return "done"
}

// judge decides what an answer, or none, says about the hub.
func (h *hub) judge(a answer, err error, trial bool) error {
	if err == nil {
		h.answered("")
		return nil
	}
	if r, ok := errors.AsType[*refused](err); ok {
		return h.refusal(r, a, trial)
	}
	return h.failed(err, reasonOf(err), 0, trial)
}

// reasonOf says why there is no answer, for anyone to read.
func reasonOf(err error) string {
	if errors.Is(err, errTooLarge) || errors.Is(err, errMalformed) {
		return err.Error()
	}
	return outbound.Reason(err)
}

// refusal turns what the hub said into an error of ours, and acts on it.
func (h *hub) refusal(r *refused, a answer, trial bool) error {
	class := r.status
	if r.number != 0 && (r.status == http.StatusBadRequest || r.status == http.StatusOK) {
		class = r.number / codesOfOneStatus // of one device, in the answer of a bulk call
	}
	now := h.door.now()
	if date, err := http.ParseTime(a.header.Get("Date")); err == nil {
		r.skew = date.Sub(now)
	}
	after := retryAfter(a.header, now)
	switch {
	case class == http.StatusTooManyRequests:
		return h.throttled(r, a, after)
	case class >= http.StatusInternalServerError, class == http.StatusRequestTimeout:
		if after > 0 {
			h.pacer.pause(after)
		}
		return h.failed(r, fmt.Sprintf("it returned %d: %s", r.status, r.words), after, trial)
	case class < http.StatusBadRequest:
		return h.failed(r, fmt.Sprintf("it returned %d, which is not a response of a hub; redirects are not followed", r.status), 0, trial)
	}
	h.answered(accessProblem(r))
	return &dps.Error{Code: dps.HubRefused, Number: r.number, Message: r.words, Err: r}
}

// accessProblem is what the hub said where it concerns the link and not one device.
func accessProblem(r *refused) string {
	switch {
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden, r.is(hubNotFound),
		r.status == http.StatusNotFound && r.name == "" && r.number == 0:
		return fmt.Sprintf("it returned %d: %s", r.status, r.words)
	}
	return ""
}

// throttled leaves the whole hub alone for as long as it asked for: at least a second,
// 10 seconds where it did not say.
func (h *hub) throttled(r *refused, a answer, after time.Duration) error {
	h.answered("")
	switch {
	case a.header.Get("Retry-After") == "":
		after = defaultPause
	case after < time.Second:
		after = time.Second
	}
	h.pacer.pause(after)
	return &dps.Error{Code: dps.Throttled, Again: true, RetryAfter: after, Number: r.number, Message: r.words, Err: r}
}

func (h *hub) answered(problem string) {
	if c := h.breaker.answered(h.door.now(), problem); c != nil {
		h.report(*c)
	}
}

// failed records a failure and returns it as an error of ours.
func (h *hub) failed(cause error, reason string, after time.Duration, trial bool) error {
	message := fmt.Sprintf("hub %s cannot be used: %s", h.link.HostName, reason)
	if c := h.breaker.failed(h.door.now(), reason, trial); c != nil {
		h.report(*c)
	}
	h.down()
	e := &dps.Error{Code: dps.HubUnavailable, Again: true, RetryAfter: after, Message: message, Err: cause}
	if r, ok := errors.AsType[*refused](cause); ok {
		e.Number = r.number
	}
	return e
}

// report says once that the hub changed its state.
func (h *hub) report(c change) {
	h.observer.HubState(string(h.link.HostName), string(c.state))
	if c.state == dps.HubDown {
		h.log.Warn("linked hub is down", "hub", h.link.HostName, "id", h.link.ID, "problem", c.problem)
		return
	}
	if c.problem != "" {
		h.log.Warn("linked hub refuses requests", "hub", h.link.HostName, "id", h.link.ID, "problem", c.problem)
		return
	}
	h.log.Info("linked hub is up", "hub", h.link.HostName, "id", h.link.ID)
}

// probe is the cheapest call that only a working hub answers well.
func (h *hub) probe(ctx context.Context) error {
	return h.call(ctx, "probe", request{
		method: http.MethodGet, path: "/devices", query: url.Values{"top": {"1"}}, read: readList,
	})
}

// sameAccess reports whether the client of h serves other as well.
func (h *hub) sameAccess(other dps.LinkedHub) bool {
	a, b := accessOf(h.link), accessOf(other)
	return h.link.HostName == other.HostName && a.Endpoint == b.Endpoint && a.KeyName == b.KeyName &&
		bytes.Equal(a.Key.Reveal(), b.Key.Reveal())
}

// accessOf returns how a hub is called; the endpoint is the host's name where the link
// names none.
func accessOf(link dps.LinkedHub) dps.HubAccess {
	var a dps.HubAccess
	if link.Access != nil {
		a = *link.Access
	}
	if a.Endpoint == "" {
		a.Endpoint = string(link.HostName)
	}
	return a
}
