package httpio_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
)

// api answers /fine and fails on /bad/{what} with an error of that code.
func api(log *slog.Logger) *httpio.API {
	codes := map[string]dps.Code{"internal": dps.Internal, "unavailable": dps.Unavailable, "invalid": dps.Invalid, "logged": dps.Unauthorized}
	return &httpio.API{
		Routes: route.NewTable(
			route.Route{Method: "GET", Pattern: "/fine", Handle: func(w http.ResponseWriter, _ *http.Request, _ route.Params) error {
				_, err := w.Write([]byte("fine"))
				return err
			}},
			route.Route{Method: "PUT", Pattern: "/fine", Handle: func(w http.ResponseWriter, r *http.Request, _ route.Params) error {
				return httpio.WriteJSON(w, http.StatusAccepted, httpio.TrackingID(r.Context()))
			}},
			route.Route{Method: "GET", Pattern: "/bad/{what}", Handle: func(_ http.ResponseWriter, _ *http.Request, p route.Params) error {
				return dps.Wrap(codes[p["what"]], errors.New("the cause"), "the message")
			}},
		),
		Refuse: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, dps.CodeOf(err).String()+": "+dps.MessageOf(err), http.StatusTeapot)
		},
		Log:    log,
		Logged: func(err error) bool { return dps.CodeOf(err) == dps.Unauthorized },
	}
}

// serve answers one request and returns the lines that were logged.
func serve(method, path string) (*httptest.ResponseRecorder, []map[string]any) {
	var buf bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w := httptest.NewRecorder()
	httpio.Track(api(log), log).ServeHTTP(w, httptest.NewRequest(method, path, nil))
	var lines []map[string]any
	for line := range strings.Lines(buf.String()) {
		var parsed map[string]any
		_ = json.Unmarshal([]byte(line), &parsed)
		lines = append(lines, parsed)
	}
	return w, lines
}

func TestAPI(t *testing.T) {
	t.Parallel()
	tests := []struct {
		method, path, body string
		status             int
		levels             string // of the log lines, the request's last
	}{
		{method: "GET", path: "/fine", status: 200, body: "fine", levels: "DEBUG"},
		{method: "PUT", path: "/fine", status: 202, levels: "DEBUG"},
		{method: "GET", path: "/bad/invalid", status: 418, body: "Invalid: the message\n", levels: "INFO DEBUG"},
		{method: "GET", path: "/bad/internal", status: 418, body: "Internal: the message\n", levels: "ERROR DEBUG"},
		{method: "GET", path: "/bad/unavailable", status: 418, body: "Unavailable: the message\n", levels: "ERROR DEBUG"},
		{method: "GET", path: "/bad/logged", status: 418, body: "Unauthorized: the message\n", levels: "DEBUG"},
		{method: "GET", path: "/nothing", status: 418, body: "RouteNotFound: The path /nothing does not exist.\n", levels: "INFO DEBUG"},
		{
			method: "POST", path: "/fine", status: 418, body: "MethodNotAllowed: Method POST is not allowed on this path; use GET, PUT.\n",
			levels: "INFO DEBUG",
		},
	}
	for _, tt := range tests {
		w, lines := serve(tt.method, tt.path)
		if w.Code != tt.status || (tt.body != "" && w.Body.String() != tt.body) {
			t.Errorf("%s %s: %d %q, want %d %q", tt.method, tt.path, w.Code, w.Body, tt.status, tt.body)
		}
		var levels []string
		for _, line := range lines {
			levels = append(levels, fmt.Sprint(line["level"]))
			if line["trackingId"] == "" || line["trackingId"] != lines[0]["trackingId"] {
				t.Errorf("%s %s: tracking ID %v", tt.method, tt.path, line["trackingId"])
			}
		}
		if got := strings.Join(levels, " "); got != tt.levels {
			t.Errorf("%s %s: log levels %q, want %q", tt.method, tt.path, got, tt.levels)
		}
		if last := lines[len(lines)-1]; last["status"] != float64(tt.status) {
			t.Errorf("%s %s: logged status %v, want %d", tt.method, tt.path, last["status"], tt.status)
		}
	}
}

func TestMethodNotAllowedNamesTheMethods(t *testing.T) {
	t.Parallel()
	w, _ := serve("DELETE", "/fine")
	if got := w.Header().Get("Allow"); got != "GET, PUT" {
		t.Errorf("Allow = %q", got)
	}
}

func TestWriteJSON(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	if err := httpio.WriteJSON(w, http.StatusAccepted, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	if w.Code != 202 || w.Body.String() != `{"a":1}` || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("answer %d %q %v", w.Code, w.Body, w.Header())
	}
	w = httptest.NewRecorder()
	if err := httpio.WriteJSON(w, http.StatusOK, math.NaN()); err == nil || w.Body.Len() > 0 {
		t.Errorf("a body that cannot be written: %v, %q", err, w.Body)
	}
}

func TestReadBody(t *testing.T) {
	t.Parallel()
	broken := io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(io.ErrUnexpectedEOF))
	tests := []struct {
		name string
		body io.Reader
		want string
		code dps.Code // checked when want is empty
	}{
		{name: "below the limit", body: strings.NewReader("abc"), want: "abc"},
		{name: "at the limit", body: strings.NewReader("abcd"), want: "abcd"},
		{name: "above the limit", body: strings.NewReader("abcde"), code: dps.TooLarge},
		{name: "above the limit, not announced", body: struct{ io.Reader }{strings.NewReader("abcde")}, code: dps.TooLarge},
		{name: "cut off", body: broken, code: dps.Malformed},
	}
	for _, tt := range tests {
		got, err := httpio.ReadBody(httptest.NewRecorder(), httptest.NewRequest("PUT", "/", tt.body), 4)
		if string(got) != tt.want || (tt.want == "" && dps.CodeOf(err) != tt.code) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

func TestRefusalHeaders(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	httpio.RefusalHeaders(w, 429001, 1500*time.Millisecond)
	if w.Header().Get("x-ms-error-code") != "429001" || w.Header().Get("Retry-After") != "2" {
		t.Errorf("headers %v", w.Header())
	}
	w = httptest.NewRecorder()
	httpio.RefusalHeaders(w, 400000, 0)
	if w.Header().Values("Retry-After") != nil {
		t.Errorf("headers %v", w.Header())
	}
}

func TestStatusWriterUnwraps(t *testing.T) {
	t.Parallel()
	handler := httpio.Track(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("Flush: %v", err)
		}
	}), slog.New(slog.DiscardHandler))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}
