package httpio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
)

// panics counts panics.
type panics map[string]int

func (p panics) Panicked(where string) { p[where]++ }

// passing is a ResponseWriter that others put in between.
type passing struct{ http.ResponseWriter }

func (p passing) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// A handler that panics is answered with 500 in the API's form, and logged as an error
// under the tracking ID. Once the answer has begun, the connection is closed.
func TestPanics(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path, body string
		status     int
		aborts     bool
	}{
		{"/panic", "Internal: Internal server error.\n", 418, false},
		{"/begun", "half", 200, true},
		{"/outside", "Internal server error. Tracking ID: ", 500, false},
		{"/outside/begun", "half", 200, true},
	} {
		var log bytes.Buffer
		count, id := panics{}, ""
		handle := func(w http.ResponseWriter, r *http.Request) {
			id = httpio.TrackingID(r.Context())
			w.Header().Set("Retry-After", "7")
			if strings.HasSuffix(r.URL.Path, "begun") {
				_, _ = w.Write([]byte("half"))
			}
			panic("something \"odd\"")
		}
		a := api(slog.New(slog.NewTextHandler(&log, nil)))
		a.Routes = route.NewTable(route.Route{
			Method: "GET", Pattern: "/{any}",
			Handle: func(w http.ResponseWriter, r *http.Request, _ route.Params) error {
				handle(w, r)
				return nil
			},
		})
		outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/outside") {
				handle(w, r)
			}
			a.ServeHTTP(passing{w}, r)
		})
		w := httptest.NewRecorder()
		aborted := catch(func() {
			httpio.Track(outer, a.Log, count).ServeHTTP(w, httptest.NewRequest("GET", tt.path, http.NoBody))
		})
		closed := aborted == http.ErrAbortHandler //nolint:errorlint // a panic's value
		if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.body) || closed != tt.aborts || count["http"] != 1 {
			t.Errorf("%s: %d %q, panic %v, counted %v", tt.path, w.Code, w.Body, aborted, count)
		}
		if tt.status != 200 && w.Header().Get("Retry-After") != "" {
			t.Errorf("%s: headers of the answer that was not given: %v", tt.path, w.Header())
		}
		text := log.String()
		if strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "trackingId="+id) || id == "" ||
			!strings.Contains(text, "panic_test.go") {
			t.Errorf("%s: logged\n%s", tt.path, text)
		}
	}
}

// catch returns what f panics with, nil if it does not.
func catch(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}

// What net/http itself uses to end a connection is no failure.
func TestAbortHandlerPasses(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	a := api(slog.New(slog.NewTextHandler(&log, nil)))
	a.Routes = route.NewTable(route.Route{Method: "GET", Pattern: "/x", Handle: func(http.ResponseWriter, *http.Request, route.Params) error {
		panic(http.ErrAbortHandler)
	}})
	count := panics{}
	p := catch(func() {
		httpio.Track(a, a.Log, count).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", http.NoBody))
	})
	if p != http.ErrAbortHandler || log.Len() > 0 || len(count) > 0 { //nolint:errorlint // a panic's value
		t.Errorf("panic %v, logged %s, counted %v", p, &log, count)
	}
}

// A request whose client left is no error; a failure of ours stays one, whoever left.
func TestClientLeft(t *testing.T) {
	t.Parallel()
	canceled := fmt.Errorf("reading: %w", context.Canceled)
	for _, tt := range []struct {
		name   string
		err    error
		left   bool
		level  string
		status int
	}{
		{"left", canceled, true, "DEBUG", 499},
		{"left, in our words", dps.Wrap(dps.Unavailable, canceled, "Storage does not answer."), true, "DEBUG", 499},
		{"a failure, and the client left", errors.New("disk full"), true, "ERROR", 418},
		{"canceled, and the client is there", canceled, false, "ERROR", 418},
	} {
		var log bytes.Buffer
		a := api(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		a.Routes = route.NewTable(route.Route{Method: "GET", Pattern: "/x", Handle: func(http.ResponseWriter, *http.Request, route.Params) error {
			return tt.err
		}})
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		if tt.left {
			leave()
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", "/x", http.NoBody).WithContext(ctx))
		if w.Code != tt.status || !strings.Contains(log.String(), "level="+tt.level) || strings.Count(log.String(), "level=") != 1 {
			t.Errorf("%s: %d, logged %s", tt.name, w.Code, &log)
		}
	}
}
