package obs_test

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/obs"
)

func scrape(t *testing.T, m *obs.Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", http.NoBody))
	return rec.Body.String()
}

func TestMetricsShowWhatHappened(t *testing.T) {
	m := obs.NewMetrics("v1.2.3")
	m.Registration("x509", "assigned", "", time.Millisecond)
	m.Registration("", "unassigned", "no-evidence", time.Millisecond)
	m.Committed(7, time.Millisecond, nil)
	m.Committed(3, time.Millisecond, errors.New("disk full"))
	m.Refused("mqtt", "tls-version")
	m.Panicked("http")
	m.DecisionsRecorded(5)
	m.DecisionsDropped(2)
	m.Measure("device", http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("BREW", "/", http.NoBody))

	text := scrape(t, m)
	for _, want := range []string{
		`mooring_build_info{version="v1.2.3"} 1`,
		`mooring_registrations_total{outcome="assigned",reason=""} 1`,
		`mooring_registrations_total{outcome="unassigned",reason="no-evidence"} 1`,
		`mooring_attestations_total{kind="x509",result="held"} 1`,
		`mooring_attestations_total{kind="none",result="refused"} 1`,
		`mooring_store_writes_total 7`,
		`mooring_refusals_total{reason="tls-version",transport="mqtt"} 1`,
		`mooring_panics_total{where="http"} 1`,
		`mooring_decisions_total{result="recorded"} 5`,
		`mooring_decisions_total{result="dropped"} 2`,
		`mooring_store_commits_total{result="failed"} 1`,
		`mooring_http_request_seconds_count{api="device",method="other",status="404"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestConnectionsAreCountedOnce(t *testing.T) {
	m := obs.NewMetrics("test")
	hook := m.ConnState("https")
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	hook(a, http.StateNew)
	hook(b, http.StateNew)
	hook(a, http.StateActive)
	hook(a, http.StateHijacked)
	hook(a, http.StateClosed)
	text := scrape(t, m)
	for _, want := range []string{`mooring_connections{listener="https"} 1`, `mooring_connections_accepted_total{listener="https"} 2`} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestLoggerFormats(t *testing.T) {
	for format, want := range map[string]string{"json": `"msg":"hello"`, "text": "msg=hello"} {
		var out strings.Builder
		log := obs.NewLogger(&out, slog.LevelInfo, format)
		log.Debug("hidden")
		log.Info("hello")
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "hidden") {
			t.Errorf("format %s wrote %q", format, out.String())
		}
	}
}
