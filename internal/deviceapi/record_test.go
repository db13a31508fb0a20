package deviceapi_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Whatever a device is refused for, it can find out why.
func TestRefusalsAreRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const version = "?api-version=2021-06-01"
	device := "/{scope}/registrations/dev:1"
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		reason                   dps.Reason
		id                       string
	}{
		{"no version", "PUT", device + "/register", "{}", 400, dps.ReasonAPIVersion, "dev:1"},
		{"version", "GET", device + "/operations/x?api-version=soon", "", 400, dps.ReasonAPIVersion, "dev:1"},
		{"scope", "PUT", "/0neFFFFFFFF/registrations/dev:1/register" + version, "{}", 404, dps.ReasonScopeUnknown, "dev:1"},
		{"ID", "PUT", "/{scope}/registrations/dev%201/register" + version, "{}", 400, dps.ReasonRegistrationIDMalformed, "dev:1"},
		{"not JSON", "PUT", device + "/register" + version, "{", 400, dps.ReasonBodyMalformed, "dev:1"},
		{"other ID in the body", "PUT", device + "/register" + version, `{"registrationId": "dev:2"}`, 400, dps.ReasonBodyMalformed, "dev:1"},
		{"too large", "PUT", device + "/register" + version, strings.Repeat(" ", 97<<10), 413, dps.ReasonBodyMalformed, "dev:1"},
		{"operation", "GET", device + "/operations/4.0123456789abcdef.x" + version, "", 404, dps.ReasonOperationUnknown, "dev:1"},
		{"never registered", "POST", device + version, "{}", 404, dps.ReasonNotRegistered, "dev:1"},
		{"path", "PUT", device + "/registers" + version, "{}", 404, dps.ReasonPathUnknown, "dev:1"},
		{"no path of a device", "GET", "/enrol/me", "", 404, dps.ReasonPathUnknown, "dev:1"},
		{"method", "POST", device + "/register" + version, "{}", 405, dps.ReasonPathUnknown, "dev:1"},
		{"another's name", "PUT", "/{scope}/registrations/dev-2/register" + version, "{}", 401, dps.ReasonNameMismatch, "dev-2"},
	} {
		w.kept = nil
		res := w.send(tt.method, tt.path, tt.body)
		if res.Code != tt.status || len(w.kept) != 1 {
			t.Errorf("%s: %d %s, recorded %+v", tt.name, res.Code, res.Body, w.kept)
			continue
		}
		r := w.kept[0]
		if r.Decision.Reason != tt.reason || string(r.ID) != tt.id || r.Transport != dps.HTTPS || r.Decision.Remedy == "" ||
			r.Decision.Answer == "" ||
			r.Attestation != dps.X509 || r.TrackingID == "" || !strings.Contains(res.Body.String(), r.TrackingID) {
			t.Errorf("%s: recorded %+v", tt.name, r)
		}
	}
}

// A WebSocket to a path that has none is a device's attempt, whatever it shows.
func TestWebSocketPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := httptest.NewRequest("GET", "/websocket", http.NoBody)
	r.Header.Set("Upgrade", "websocket")
	res := httptest.NewRecorder()
	w.ServeHTTP(res, r)
	if res.Code != 404 || len(w.kept) != 1 || w.kept[0].Decision.Reason != dps.ReasonWebSocketRefused ||
		w.kept[0].Transport != dps.MQTTWebSocket {
		t.Errorf("%d, recorded %+v", res.Code, w.kept)
	}
}

// Scanners of the network are no devices: they would fill the record.
func TestStrangersAreNotRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"/", "/favicon.ico", "/.env", "/a/b/c"} {
		r := httptest.NewRequest("GET", path, http.NoBody)
		r.TLS = &tls.ConnectionState{}
		res := httptest.NewRecorder()
		w.ServeHTTP(res, r)
		if res.Code != 404 || len(w.kept) > 0 {
			t.Errorf("%s: %d, recorded %+v", path, res.Code, w.kept)
		}
	}
}
