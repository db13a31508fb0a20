package device

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/mooring-iot/mooring/internal/sas"
)

const (
	// answerTimeout bounds a connection that is opened, and an answer that is waited for.
	answerTimeout = 30 * time.Second

	// tokenLife is how long a SAS token is good for; each is used once, at once.
	tokenLife = time.Hour

	// tokenName is the policy that tokens of devices name.
	tokenName = "registration"

	// firstBackoff is the pause before the first retry; each further one doubles it.
	firstBackoff = time.Second
)

// link is one way to the service. Its methods are not called concurrently.
type link interface {
	register(ctx context.Context) (answer, error)
	poll(ctx context.Context, operationID string) (answer, error)

	// wait pauses, and keeps the connection alive meanwhile.
	wait(ctx context.Context, d time.Duration) error

	// lasts reports whether the link can be asked again after a lost connection.
	lasts() bool

	close()
}

// run is one call of Register.
type run struct {
	*plan
	connected atomic.Bool // at least once; an HTTP client opens connections on goroutines of its own
	retried   int         // how often
	last      error       // what was retried last, until it succeeded
	since     time.Time   // start of the step that is measured
}

// register tries until there is a decision, or no hope.
func (r *run) register(ctx context.Context) (*Assignment, error) {
	for {
		a, err := r.attempt(ctx)
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			return nil, r.ended(ctx, err)
		}
		pause, again := r.retry(err)
		if !again {
			return nil, fmt.Errorf("registering %q: %w", r.registrationID, err)
		}
		if sleep(ctx, pause) != nil {
			return nil, r.ended(ctx, err)
		}
	}
}

// ended returns the error of a registration that ends with ctx. err is what the end
// looked like from below, which matters only as far as it says where.
func (r *run) ended(ctx context.Context, err error) error {
	failed, connecting := errors.AsType[*connectError](err)
	switch {
	case r.last != nil:
		return fmt.Errorf("registering %q: %w; before that: %w", r.registrationID, ctx.Err(), r.last)
	case connecting:
		return fmt.Errorf("registering %q: %w while connecting to %s", r.registrationID, ctx.Err(), failed.addr)
	default:
		return fmt.Errorf("registering %q: %w", r.registrationID, ctx.Err())
	}
}

// attempt goes the whole way once, on one link.
func (r *run) attempt(ctx context.Context) (*Assignment, error) {
	r.since = time.Now()
	l, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	a, err := r.ask(ctx, l, l.register)
	if err != nil {
		return nil, err
	}
	r.step(r.trace.Accepted)
	for a.pending() {
		if err := l.wait(ctx, a.pause()); err != nil {
			return nil, err
		}
		operation := a.OperationID
		poll := func(ctx context.Context) (answer, error) { return l.poll(ctx, operation) }
		if a, err = r.ask(ctx, l, poll); err != nil {
			return nil, err
		}
	}
	r.step(r.trace.Answered)
	return a.assignment()
}

// ask asks once, and again after what may pass and leaves the link usable.
func (r *run) ask(ctx context.Context, l link, question func(context.Context) (answer, error)) (answer, error) {
	for {
		a, err := question(ctx)
		if err == nil {
			r.last = nil
			return a, nil
		}
		_, refused := errors.AsType[*Error](err)
		if ctx.Err() != nil || !refused && !l.lasts() {
			return a, err
		}
		pause, again := r.retry(err)
		if !again {
			return a, err
		}
		if err := l.wait(ctx, pause); err != nil {
			return a, err
		}
	}
}

// retry reports whether to try again after err, and after which pause.
func (r *run) retry(err error) (time.Duration, bool) {
	if r.retried >= r.retries || !passing(err) {
		return 0, false
	}
	pause := firstBackoff << min(r.retried, 10)
	r.retried++
	r.last = err
	if refusal, ok := errors.AsType[*Error](err); ok && refusal.RetryAfter > 0 {
		return min(refusal.RetryAfter, maxPause), true
	}
	return pause/2 + rand.N(pause/2) + 1, true // many devices are not to come back as one
}

func (r *run) open(ctx context.Context) (link, error) {
	if r.transport == HTTPS {
		return newHTTPLink(r), nil
	}
	return openMQTT(ctx, r)
}

// step tells a function of the trace how long the step took that ends now.
func (r *run) step(tell func(time.Duration)) {
	now := time.Now()
	if tell != nil {
		tell(now.Sub(r.since))
	}
	r.since = now
}

// connect opens TCP and TLS.
func (r *run) connect(ctx context.Context) (*tls.Conn, error) {
	limited, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	raw, err := r.dial(limited, "tcp", r.addr)
	if err != nil {
		return nil, r.unreachable(limited, err)
	}
	c := tls.Client(raw, r.tls)
	if err := c.HandshakeContext(limited); err != nil {
		_ = raw.Close() // the handshake's error is the one that tells
		return nil, r.unreachable(limited, err)
	}
	r.connected.Store(true)
	return c, nil
}

// unreachable returns the error of a connection that could not be opened.
func (r *run) unreachable(ctx context.Context, err error) error {
	if known, ok := errors.AsType[*connectError](err); ok {
		return known
	}
	if errors.Is(context.Cause(ctx), errNoAnswer) {
		err = errNoAnswer
	}
	return &connectError{addr: r.addr, err: err, again: r.connected.Load() && !refusesCertificate(err)}
}

// gone returns what an HTTP request that failed in ctx means. Its URL is left out: it only
// repeats what was asked for.
func (r *run) gone(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errNoAnswer) {
		err = errNoAnswer
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	if !r.connected.Load() {
		return r.unreachable(ctx, err)
	}
	return lost(err)
}

// token returns a fresh SAS token.
func (r *run) token() string {
	return sas.Sign(r.scope+"/registrations/"+r.registrationID, tokenName, r.key, time.Now().Add(tokenLife))
}

// sleep pauses until d is over or ctx ends, with its error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
