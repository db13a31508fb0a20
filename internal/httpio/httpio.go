// Package httpio carries requests into handlers and answers out: bounded bodies,
// JSON with errors that name the member, tracking IDs, one log line for each
// request, and one place where an error becomes an answer.
package httpio

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/wire"
)

// trackingKey is the context key of a request's tracking ID.
type trackingKey struct{}

// TrackingID returns the name of the request that ctx belongs to: a UUID, which
// stands in the answer and in every log line about it.
func TrackingID(ctx context.Context) string {
	id, _ := ctx.Value(trackingKey{}).(string)
	return id
}

// API is the routes of one API with the form of its refusals.
type API struct {
	Routes *route.Table

	// Refuse answers with an error: once, and after it nothing more is written.
	Refuse func(w http.ResponseWriter, r *http.Request, err error)

	// Log gets one line for each refusal, at info level.
	Log *slog.Logger

	// Logged reports whether an error was logged where it arose; nil means none was.
	Logged func(error) bool
}

// ServeHTTP finds the route and answers, or refuses.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m, ok := a.Routes.Find(r)
	if !ok {
		a.refuse(w, r, noRoute(w, r, m.Allowed))
		return
	}
	defer a.recover(w, r)
	if err := m.Route.Handle(w, r, m.Params); err != nil {
		a.refuse(w, r, err)
	}
}

func noRoute(w http.ResponseWriter, r *http.Request, allowed []string) error {
	if len(allowed) == 0 {
		return dps.Errorf(dps.RouteNotFound, "The path %s does not exist.", r.URL.Path)
	}
	slices.Sort(allowed)
	w.Header().Set("Allow", strings.Join(slices.Compact(allowed), ", "))
	return dps.Errorf(
		dps.MethodNotAllowed,
		"Method %s is not allowed on this path; use %s.",
		r.Method,
		strings.Join(slices.Compact(allowed), ", "),
	)
}

func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if left(r, err) {
		a.Log.DebugContext(r.Context(), "the client left before it was answered", "trackingId", TrackingID(r.Context()),
			"method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr)
		w.WriteHeader(statusLeft)
		return
	}
	if a.Logged == nil || !a.Logged(err) {
		LogRefusal(a.Log, r, err)
	}
	a.Refuse(w, r, err)
}

// statusLeft is what the metrics show of a request whose client left. Nobody receives it.
const statusLeft = 499

// left reports whether a request failed only because its client went away meanwhile.
func left(r *http.Request, err error) bool {
	return errors.Is(err, context.Canceled) && errors.Is(r.Context().Err(), context.Canceled)
}

// LogRefusal writes the line of a refusal, whole or of a part of the request that more
// attributes name. What is not the caller's fault is an error.
func LogRefusal(log *slog.Logger, r *http.Request, err error, more ...any) {
	level := slog.LevelInfo
	if code := dps.CodeOf(err); code == dps.Internal || code == dps.Unavailable {
		level = slog.LevelError
	}
	log.With(more...).Log(r.Context(), level, "request refused", "trackingId", TrackingID(r.Context()), "method", r.Method,
		"path", r.URL.Path, "remote", r.RemoteAddr, "code", dps.CodeOf(err).String(), "reason", err.Error())
}

// Audited returns a handler whose change has an audit entry: e, with what the request
// says. param is the name of the path's segment that names the record, which a path
// need not have. A nil log records nothing.
func Audited(log *audit.Log, e audit.Entry, param string, handle route.Handler) route.Handler {
	if log == nil {
		return handle
	}
	return func(w http.ResponseWriter, r *http.Request, p route.Params) error {
		e := e
		e.ID, e.TrackingID, e.Remote = p[param], TrackingID(r.Context()), r.RemoteAddr
		ctx, change := audit.Begin(r.Context(), e)
		err := handle(w, r.WithContext(ctx), p)
		log.Settle(ctx, change, err)
		return err
	}
}

// Track gives every request a tracking ID and logs one line for it at debug level. A panic
// below it ends the request alone (see dps.Recovered): it is logged as an error and
// answered with 500, or with a closed connection once an answer has begun. observer, which
// may be nil, hears of it.
func Track(next http.Handler, log *slog.Logger, observer ...dps.PanicObserver) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := uuid.NewString()
		sw := &statusWriter{ResponseWriter: w}
		if len(observer) > 0 {
			sw.observer = observer[0]
		}
		r = r.WithContext(context.WithValue(r.Context(), trackingKey{}, id))
		defer sw.recover(r, log)
		next.ServeHTTP(sw, r)
		log.DebugContext(r.Context(), "request", "trackingId", id, "method", r.Method, "path", r.URL.Path,
			"remote", r.RemoteAddr, "status", sw.status, "took", time.Since(start))
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status   int
	observer dps.PanicObserver
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Hijack notes that the answer is out of our hands.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteJSON answers with a status and a body.
func WriteJSON(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	w.Header().Set("Content-Type", wire.ContentType)
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that has gone is no failure of ours
	return nil
}

// ReadBody returns the body of a request, which may be empty. It fails with
// TooLarge beyond limit bytes.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, tooLarge(limit)
	}
	if err != nil {
		return nil, dps.Wrap(dps.Malformed, err, "The request body is incomplete.")
	}
	return body, nil
}

func tooLarge(limit int64) error {
	return dps.Errorf(dps.TooLarge, "body: is larger than the limit of %d bytes", limit)
}

// RefusalHeaders sets the headers of a refusal on the service and the device API;
// retryAfter 0 sets none.
func RefusalHeaders(w http.ResponseWriter, errorCode int, retryAfter time.Duration) {
	w.Header().Set(wire.HeaderErrorCode, strconv.Itoa(errorCode))
	if retryAfter > 0 {
		w.Header().Set("Retry-After", Seconds(retryAfter))
	}
}

// Seconds writes a duration as whole seconds, rounded up.
func Seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
