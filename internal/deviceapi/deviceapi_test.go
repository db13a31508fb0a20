package deviceapi_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/deviceapi"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/wire"
)

type observer struct{}

func (observer) Committed(int, time.Duration, error) {}

func (observer) Registered(dps.AttestationType, dps.RegistrationStatus, dps.Reason, time.Duration) {}

// world is the API over a store with one enrolled device.
type world struct {
	http.Handler
	store    *sqlite.Store
	instance dps.Instance
	device   *pki.Issued
	log      bytes.Buffer
	kept     []dps.Refusal
}

// Refused keeps a refusal.
func (w *world) Refused(r dps.Refusal) { w.kept = append(w.kept, r) }

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := seal.OpenKey(filepath.Join(t.TempDir(), "key"), true)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{}
	log := slog.New(slog.NewJSONHandler(&w.log, nil))
	w.store, err = sqlite.Open(
		t.Context(),
		sqlite.Options{Path: filepath.Join(t.TempDir(), "db"), Key: key, Observer: observer{}, Log: slog.New(slog.DiscardHandler), Now: time.Now},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	w.instance = dps.NewInstance(dps.DefaultInstance, time.Now())
	setup := dps.Setup{
		Instance: w.instance, Policy: dps.Policy{Instance: w.instance.ID, Name: "p", Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub: dps.LinkedHub{
			Instance:    w.instance.ID,
			ID:          dps.EmbeddedHub,
			Kind:        dps.KindEmbedded,
			HostName:    "hub.example",
			Weight:      1,
			ApplyPolicy: true,
		},
		HubPolicy: dps.HubPolicy{Instance: w.instance.ID, Hub: dps.EmbeddedHub, Name: "p", Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair()},
	}
	if err := w.store.Create(t.Context(), setup); err != nil {
		t.Fatal(err)
	}
	w.enroll(t)
	registering := register.New(register.Options{Store: w.store, Observer: observer{}, Decisions: w, Log: log, Now: time.Now})
	w.Handler = httpio.Track(deviceapi.New(deviceapi.Options{Register: registering, Log: log, Now: time.Now}), log)
	return w
}

func (w *world) enroll(t *testing.T) {
	t.Helper()
	var err error
	if w.device, err = pki.Issue(pki.Request{Kind: pki.Device, CommonName: "dev:1"}); err != nil {
		t.Fatal(err)
	}
	e := dps.Enrollment{
		Instance: w.instance.ID, Ref: dps.EntryRef{Kind: dps.Individual, ID: "dev:1"}, Status: dps.StatusEnabled, ETag: dps.NewETag(),
		Attestation: dps.Attestation{Type: dps.X509, X509: &dps.X509Attestation{Primary: &dps.Certificate{DER: w.device.Certificate.Raw}}},
		Created:     time.Now(), Updated: time.Now(),
	}
	if err := w.store.PutEnrollment(t.Context(), e, ""); err != nil {
		t.Fatal(err)
	}
}

// send sends a request of the enrolled device; "{scope}" in path is the ID scope.
func (w *world) send(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, strings.ReplaceAll(path, "{scope}", string(w.instance.Scope)), strings.NewReader(body))
	r.Host = "dps.example:8443"
	r.TLS = &tls.ConnectionState{PeerCertificates: w.device.Chain}
	res := httptest.NewRecorder()
	w.ServeHTTP(res, r)
	return res
}

func decode[T any](t *testing.T, res *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(res.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v in %s", err, res.Body)
	}
	return v
}

func TestRegisterAndPoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res := w.send(
		"PUT",
		"/{scope}/registrations/dev%3a1/register?api-version=2021-06-01&forceRegistration=true",
		`{"registrationId": "dev:1"}`,
	)
	op := decode[wire.RegistrationOperation](t, res)
	if res.Code != 202 || op.Status != "assigning" || op.OperationID == "" || op.RegistrationState != nil {
		t.Fatalf("register: %d %s", res.Code, res.Body)
	}
	h := res.Header()
	location := "https://dps.example:8443/" + string(w.instance.Scope) + "/registrations/dev%3a1/register"
	if h.Get("Retry-After") != "1" || h.Get("Location") != location || len(h.Get("x-ms-request-id")) != 36 ||
		h.Get("Content-Type") != wire.ContentType {
		t.Errorf("register: headers %v", h)
	}
	res = w.send("GET", "/{scope}/registrations/dev:1/operations/"+op.OperationID+"?api-version=2021-06-01", "{}")
	polled := decode[wire.RegistrationOperation](t, res)
	if res.Code != 200 || polled.OperationID != op.OperationID || polled.Status != "assigned" ||
		polled.RegistrationState.AssignedHub != "hub.example" {
		t.Errorf("poll: %d %s", res.Code, res.Body)
	}
	if res.Header().Values("Retry-After") != nil || len(res.Header().Get("x-ms-request-id")) != 36 {
		t.Errorf("poll: headers %v", res.Header())
	}
	res = w.send("POST", "/{scope}/registrations/dev:1?api-version=2021-06-01", "")
	if state := decode[wire.RegistrationState](t, res); res.Code != 200 || state.Status != "assigned" || state.DeviceID != "dev:1" {
		t.Errorf("look-up: %d %s", res.Code, res.Body)
	}
}

// TestPollOfAnOpenOperation checks the answer that only hubs over the wire will give.
func TestPollOfAnOpenOperation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	op := decode[wire.RegistrationOperation](t, w.send("PUT", "/{scope}/registrations/dev:1/register?api-version=2021-06-01", ""))
	reg, err := w.store.Registration(t.Context(), w.instance.ID, "dev:1")
	if err != nil {
		t.Fatal(err)
	}
	open := reg
	open.Status, open.Operation, open.ETag = dps.Assigning, dps.NewOperationID(), dps.NewETag()
	if err := w.store.Commit(t.Context(), dps.RegistrationChange{Registration: open, IfMatch: reg.ETag}); err != nil {
		t.Fatal(err)
	}
	res := w.send("GET", "/{scope}/registrations/dev:1/operations/"+string(open.Operation)+"?api-version=2021-06-01", "")
	polled := decode[wire.RegistrationOperation](t, res)
	if res.Code != 202 || res.Header().Get("Retry-After") != "1" || polled.Status != "assigning" {
		t.Errorf("poll: %d %v %s", res.Code, res.Header(), res.Body)
	}
	if s := polled.RegistrationState; s == nil || s.RegistrationID != "dev:1" || s.Status != "assigning" || s.AssignedHub != "" ||
		s.DeviceID != "" {
		t.Errorf("poll: state %+v", s) // the daemon of IoT Edge demands it while assigning
	}
	if res := w.send("GET", "/{scope}/registrations/dev:1/operations/"+op.OperationID+"?api-version=2021-06-01", ""); res.Code != 200 {
		t.Errorf("the finished operation before it: %d %s", res.Code, res.Body)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat(" ", 96<<10+1)
	tests := []struct {
		name, method, path, body string
		status, code             int
	}{
		{"register: no version", "PUT", "/{scope}/registrations/dev:1/register", "", 400, 400004},
		{"register: malformed version", "PUT", "/{scope}/registrations/dev:1/register?api-version=2016-13-01", "", 400, 400004},
		{"register: bad ID", "PUT", "/{scope}/registrations/dev%20/register?api-version=2021-06-01", "", 400, 400004},
		{
			"register: other ID in the body", "PUT", "/{scope}/registrations/dev:1/register?api-version=2021-06-01", `{"registrationId": "x"}`,
			400, 400004,
		},
		{"register: no JSON", "PUT", "/{scope}/registrations/dev:1/register?api-version=2021-06-01", `x`, 400, 400000},
		{"register: too long", "PUT", "/{scope}/registrations/dev:1/register?api-version=2021-06-01", long, 413, 413001},
		{"register: other scope", "PUT", "/0ne/registrations/dev:1/register?api-version=2021-06-01", "", 404, 404000},
		{"register: other certificate", "PUT", "/{scope}/registrations/dev:2/register?api-version=2021-06-01", "", 401, 401002},
		{"poll: no version", "GET", "/{scope}/registrations/dev:1/operations/x", "", 400, 400004},
		{"poll: too long", "GET", "/{scope}/registrations/dev:1/operations/x?api-version=2021-06-01", long, 413, 413001},
		{"poll: no such operation", "GET", "/{scope}/registrations/dev:1/operations/x?api-version=2021-06-01", "", 404, 404000},
		{"look-up: no version", "POST", "/{scope}/registrations/dev:1", "", 400, 400004},
		{"look-up: bad body", "POST", "/{scope}/registrations/dev:1?api-version=2021-06-01", `{"csr": "x"}`, 400, 400004},
		{"look-up: never registered", "POST", "/{scope}/registrations/dev:1?api-version=2021-06-01", "", 404, 404202},
		{"another path", "GET", "/{scope}/registrations/dev:1/x", "", 404, 404000},
		{"another method", "DELETE", "/{scope}/registrations/dev:1", "", 405, 405000},
	}
	for _, tt := range tests {
		res := w.send(tt.method, tt.path, tt.body)
		body := decode[wire.Error](t, res)
		if res.Code != tt.status || body.ErrorCode != tt.code || body.Message == "" {
			t.Errorf("%s: %d %s, want %d %d", tt.name, res.Code, res.Body, tt.status, tt.code)
		}
		if res.Header().Get("x-ms-request-id") != body.TrackingID || len(body.TrackingID) != 36 {
			t.Errorf("%s: tracking ID %q, header %q", tt.name, body.TrackingID, res.Header().Get("x-ms-request-id"))
		}
		if n := strings.Count(w.log.String(), body.TrackingID); n != 1 {
			t.Errorf("%s: %d log lines, want 1", tt.name, n)
		}
	}
}

// TestWithoutTLS checks that a request without a TLS connection has no evidence.
func TestWithoutTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := httptest.NewRequest("PUT", "http://x/"+string(w.instance.Scope)+"/registrations/dev:1/register?api-version=2021-06-01", nil)
	res := httptest.NewRecorder()
	if w.ServeHTTP(res, r); res.Code != 401 {
		t.Errorf("status %d, want 401", res.Code)
	}
}

// TestPollsAreThrottled checks that a refusal says when to come again.
func TestPollsAreThrottled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	op := decode[wire.RegistrationOperation](t, w.send("PUT", "/{scope}/registrations/dev:1/register?api-version=2021-06-01", ""))
	for range 20 {
		res := w.send("GET", "/{scope}/registrations/dev:1/operations/"+op.OperationID+"?api-version=2021-06-01", "")
		if res.Code == 200 {
			continue
		}
		body := decode[wire.Error](t, res)
		if res.Code != 429 || body.ErrorCode != 429001 || res.Header().Get("Retry-After") == "" {
			t.Errorf("throttled: %d %v %s", res.Code, res.Header(), res.Body)
		}
		return
	}
	t.Error("20 polls at once were all answered")
}
