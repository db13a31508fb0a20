package serviceapi_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/serviceapi"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/wire"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type observer struct{}

func (observer) Committed(int, time.Duration, error) {}

func (observer) Registered(dps.AttestationType, dps.RegistrationStatus, dps.Reason, time.Duration) {}

// world is the API over an empty store; the policy has only some rights if asked for.
type world struct {
	http.Handler
	store  *sqlite.Store
	policy dps.Policy
	log    bytes.Buffer
}

func newWorld(t *testing.T, rights dps.Rights) *world {
	t.Helper()
	key, err := seal.OpenKey(filepath.Join(t.TempDir(), "key"), true)
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return now }
	w := &world{policy: dps.Policy{Instance: dps.DefaultInstance, Name: "p", Rights: rights, Keys: dps.NewKeyPair()}}
	w.store, err = sqlite.Open(
		t.Context(),
		sqlite.Options{Path: filepath.Join(t.TempDir(), "db"), Key: key, Observer: observer{}, Log: slog.New(slog.DiscardHandler), Now: clock},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	setup := dps.Setup{
		Instance: dps.NewInstance(dps.DefaultInstance, now), Policy: w.policy,
		Hub: dps.LinkedHub{Instance: dps.DefaultInstance, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "hub.example", Weight: 1},
		HubPolicy: dps.HubPolicy{
			Instance: dps.DefaultInstance,
			Hub:      dps.EmbeddedHub,
			Name:     "p",
			Rights:   dps.HubOwnerRights,
			Keys:     dps.NewKeyPair(),
		},
	}
	if err := w.store.Create(t.Context(), setup); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(&w.log, nil))
	w.Handler = httpio.Track(serviceapi.New(serviceapi.Options{
		Guard:  access.New(access.Options{Store: w.store, Names: []string{"dps.example"}, Now: clock}),
		Enroll: enroll.New(w.store, clock), Register: register.New(register.Options{Store: w.store, Observer: observer{}, Log: log, Now: clock}),
		Instance: dps.DefaultInstance, Log: log, Now: clock,
	}), log)
	return w
}

// send sends a request with a good token; headers are "Name: value".
func (w *world) send(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", sas.Sign("dps.example", w.policy.Name, w.policy.Keys.Primary.Reveal(), now.Add(time.Hour)))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res := httptest.NewRecorder()
	w.ServeHTTP(res, r)
	return res
}

const (
	version = "?api-version=2021-10-01"
	sensor  = `{"registrationId": "sensor-7", "attestation": {"type": "symmetricKey"}}`
	line    = `{"enrollmentGroupId": "line-7", "attestation": {"type": "symmetricKey"}}`
)

func TestRights(t *testing.T) {
	t.Parallel()
	tests := []struct {
		rights dps.Rights
		answer map[string]int // by method
	}{
		{dps.OwnerRights, map[string]int{"PUT": 200, "GET": 200, "POST": 200, "DELETE": 204}},
		{dps.EnrollmentWrite, map[string]int{"PUT": 200, "GET": 200, "POST": 200, "DELETE": 204}},
		{dps.EnrollmentRead, map[string]int{"PUT": 401, "GET": 404, "POST": 401, "DELETE": 401}},
		{dps.ServiceConfig | dps.DeviceConnect, map[string]int{"PUT": 401, "GET": 401, "POST": 401, "DELETE": 401}},
	}
	for _, tt := range tests {
		w := newWorld(t, tt.rights)
		for _, target := range []struct{ path, body string }{{"/enrollments/sensor-7", sensor}, {"/enrollmentGroups/line-7", line}} {
			for _, c := range []struct{ method, suffix string }{{"PUT", ""}, {"GET", ""}, {"POST", "/attestationmechanism"}, {"DELETE", ""}} {
				if res := w.send(c.method, target.path+c.suffix+version, target.body); res.Code != tt.answer[c.method] {
					t.Errorf("rights %s: %s %s: %d %s, want %d", tt.rights, c.method, target.path, res.Code, res.Body, tt.answer[c.method])
				}
			}
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, dps.OwnerRights)
	for _, v := range append(wire.ServiceVersions, "2001-01-01", "2026-12-01", "2031-01-01-preview") {
		if res := w.send("GET", "/enrollments/sensor-7?api-version="+v, ""); res.Code != 404 {
			t.Errorf("%s: %d %s", v, res.Code, res.Body)
		}
	}
	for _, query := range []string{
		"", "?", "?api-version=", "?api-version=2016-13-01", "?apiversion=2021-10-01", "?api-version=2021-10-01%20",
	} {
		res := w.send("GET", "/enrollments/sensor-7"+query, "")
		var body wire.Error
		if err := json.Unmarshal(res.Body.Bytes(), &body); err != nil || res.Code != 400 || !strings.HasPrefix(body.Message, "api-version: ") {
			t.Errorf("%q: %d %s", query, res.Code, res.Body)
		}
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, dps.OwnerRights)
	for value, status := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "APPLICATION/JSON;charset=UTF-8": 200, "": 200,
		"text/plain": 415, "application/xml": 415, "application/jsonx": 415, "application/": 415, "json": 415, ";": 415,
	} {
		res := w.send("PUT", "/enrollments/sensor-7"+version, sensor, "Content-Type: "+value)
		if res.Code != status {
			t.Errorf("Content-Type %q: %d %s, want %d", value, res.Code, res.Body, status)
		}
		w.send("DELETE", "/enrollments/sensor-7"+version, "")
	}
}

func TestDeleteAnswersWithNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, dps.OwnerRights)
	w.send("PUT", "/enrollments/sensor-7"+version, sensor)
	res := w.send("DELETE", "/enrollments/sensor-7"+version, "", "Content-Type: application/json")
	if res.Code != 204 || res.Body.Len() > 0 || res.Header().Values("Content-Type") != nil {
		t.Errorf("DELETE: %d %q %v", res.Code, res.Body, res.Header())
	}
}

// TestRefusalsAreLogged checks that each refusal has one line under its tracking ID.
func TestRefusalsAreLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, dps.OwnerRights)
	for _, res := range []*httptest.ResponseRecorder{
		w.send("GET", "/enrollments/sensor-7"+version, ""),
		w.send("PUT", "/enrollments/sensor-7"+version, "{"),
		w.send("PUT", "/enrollments/sensor-7"+version, `{"registrationId": "sensor-7", "attestation": {"type": "x509"}}`),
		w.send("GET", "/enrollments/sensor-7"+version, "", "Authorization: x"),
		w.send("PUT", "/enrollments/sensor-7"+version, sensor, "If-Match: a b"),
		w.send("DELETE", "/enrollments/sensor-7"+version, "", "If-Match: a b"),
		w.send("PUT", "/enrollments/"+strings.Repeat("a", 129)+version, sensor),
		w.send("PUT", "/enrollments/sensor-7"+version, sensor+strings.Repeat(" ", 1<<20)),
	} {
		var body wire.Error
		if err := json.Unmarshal(res.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if res.Code < 400 || strings.Count(w.log.String(), body.TrackingID) != 1 || res.Header().Get("x-ms-error-code") == "" {
			t.Errorf("%d %s: not one log line", res.Code, res.Body)
		}
	}
	for _, secret := range []string{w.policy.Keys.Primary.Base64(), "sig="} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// TestStoreFailure checks that a broken store is a 500 that says nothing.
func TestStoreFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, dps.OwnerRights)
	w.send("PUT", "/enrollments/sensor-7"+version, sensor)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		res := w.send(method, "/enrollments/sensor-7"+version, sensor)
		var body wire.Error
		if err := json.Unmarshal(res.Body.Bytes(), &body); err != nil || res.Code < 500 || strings.Contains(res.Body.String(), "sql") {
			t.Errorf("%s: %d %s", method, res.Code, res.Body)
		}
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	if got := serviceapi.Prefixes(); !slices.Equal(got, []string{"enrollments", "enrollmentGroups", "registrations"}) {
		t.Errorf("Prefixes = %v", got)
	}
}

// What a webhook had for a device is shown with its state.
func TestPayloadIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, dps.OwnerRights)
	w.send("PUT", "/enrollments/sensor-7"+version, sensor)
	w.send("PUT", "/enrollmentGroups/line-7"+version, line)
	for id, ref := range map[dps.RegistrationID]dps.EntryRef{
		"sensor-7": {Kind: dps.Individual, ID: "sensor-7"}, "sensor-8": {Kind: dps.Group, ID: "line-7"},
	} {
		err := w.store.Commit(t.Context(), dps.RegistrationChange{Registration: dps.Registration{
			Instance: dps.DefaultInstance, ID: id, Entry: ref, Attestation: dps.SymmetricKey, Status: dps.Failed,
			Failure: &dps.Failure{
				Code:    dps.NoHub,
				Message: "none",
			}, Payload: []byte(`{"line":{"no":7}}`), Operation: dps.NewOperationID(), ETag: dps.NewETag(), Created: now, Updated: now,
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	const shown = `"payload":{"line":{"no":7}}`
	res := w.send("POST", "/enrollments/query"+version, `{"query": "SELECT * WHERE registrationState.payload.line.no = 7"}`)
	if !strings.Contains(res.Body.String(), `"sensor-7"`) { // queries do not show the state of an enrollment
		t.Errorf("%d %s", res.Code, res.Body)
	}
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/registrations/sensor-7", ""},
		{"GET", "/enrollments/sensor-7", ""},
		{"POST", "/registrations/line-7/query", `{"query": "SELECT * WHERE payload.line.no = 7"}`},
	} {
		if res := w.send(c.method, c.path+version, c.body); res.Code != 200 || !strings.Contains(res.Body.String(), shown) {
			t.Errorf("%s %s: %d %s", c.method, c.path, res.Code, res.Body)
		}
	}
}
