package embedded_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/hub/embedded"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// store keeps identities in memory.
type store struct {
	devices map[dps.DeviceID]dps.HubDevice
	policy  dps.HubPolicy
	limit   int // the last one that a list was asked for
	err     error
}

func (s *store) HubDevice(_ context.Context, _ dps.InstanceID, _ dps.HubID, id dps.DeviceID) (dps.HubDevice, error) {
	if d, ok := s.devices[id]; ok {
		return d, s.err
	}
	return dps.HubDevice{}, dps.Errorf(dps.DeviceNotFound, "Device %s not found.", id)
}

func (s *store) HubDevices(_ context.Context, _ dps.InstanceID, _ dps.HubID, _ dps.DeviceID, limit int) ([]dps.HubDevice, error) {
	s.limit = limit
	var all []dps.HubDevice
	for _, d := range s.devices {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b dps.HubDevice) int { return strings.Compare(string(a.DeviceID), string(b.DeviceID)) })
	return all[:min(len(all), limit)], s.err
}

func (s *store) Instance(context.Context, dps.InstanceID) (dps.Instance, error) {
	return dps.Instance{}, errors.New("not asked for")
}

func (s *store) Policy(context.Context, dps.InstanceID, string) (dps.Policy, error) {
	return dps.Policy{}, errors.New("not asked for")
}

func (s *store) HubPolicy(_ context.Context, _ dps.InstanceID, _ dps.HubID, name string) (dps.HubPolicy, error) {
	if name != s.policy.Name {
		return dps.HubPolicy{}, dps.Errorf(dps.Unauthorized, "Unauthorized")
	}
	return s.policy, nil
}

type world struct {
	http.Handler
	store *store
}

func newWorld(ids ...dps.DeviceID) world {
	s := &store{devices: make(map[dps.DeviceID]dps.HubDevice), policy: dps.HubPolicy{Name: "iothubowner", Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair()}}
	for _, id := range ids {
		s.devices[id] = dps.HubDevice{
			DeviceID: id, GenerationID: "639310648400859367", ETag: "ZQ==", Created: now, Updated: now,
			Authentication: dps.SelfSigned(dps.ThumbprintOf([]byte(id))),
		}
	}
	clock := func() time.Time { return now }
	log := slog.New(slog.DiscardHandler)
	guard := access.New(access.Options{Store: s, Names: []string{"hub.example"}, Now: clock})
	return world{httpio.Track(embedded.New(embedded.Options{Store: s, Guard: guard, Instance: "default", Hub: "embedded", Log: log, Now: clock}), log), s}
}

func (w world) get(path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Authorization", sas.Sign("hub.example", "iothubowner", w.store.policy.Keys.Primary.Reveal(), now.Add(time.Hour)))
	res := httptest.NewRecorder()
	w.ServeHTTP(res, r)
	return res
}

func TestGet(t *testing.T) {
	t.Parallel()
	w := newWorld("dev-1", "a%b?#+=c")
	tests := []struct {
		path   string
		status int
		etag   string
		hub    string // the error's name
	}{
		{path: "/devices/dev-1?api-version=2021-04-12", status: 200, etag: `"ZQ=="`},
		{path: "/Devices/dev-1/?api-version=2019-10-01", status: 200, etag: `"ZQ=="`},
		{path: "/twins/dev-1?api-version=2024-03-31-preview", status: 200, etag: `"AAAAAAAAAAE="`},
		{path: "/devices/a%25b%3F%23+%3Dc?api-version=2021-04-12", status: 200, etag: `"ZQ=="`},
		{path: "/twins/a%25b%3f%23%2B%3dc?api-version=2021-04-12", status: 200, etag: `"AAAAAAAAAAE="`},
		{path: "/devices/DEV-1?api-version=2021-04-12", status: 404, hub: "DeviceNotFound"},
		{path: "/twins/nobody?api-version=2021-04-12", status: 404, hub: "DeviceNotFound"},
		{path: "/devices/dev-1", status: 400, hub: "ArgumentInvalid"},
		{path: "/devices/dev-1?api-version=latest", status: 400, hub: "ArgumentInvalid"},
		{path: "/devices?api-version=2021-04-12&top=0", status: 400, hub: "ArgumentInvalid"},
		{path: "/devices?api-version=2021-04-12&top=x", status: 400, hub: "ArgumentInvalid"},
		{path: "/devices?api-version=2021-04-12&top=1001", status: 400, hub: "ArgumentInvalid"},
		{path: "/statistics/devices?api-version=2021-04-12", status: 404, hub: "ResourceNotFound"},
	}
	for _, tt := range tests {
		res := w.get(tt.path)
		if res.Code != tt.status || res.Header().Get("ETag") != tt.etag || res.Header().Get("iothub-errorcode") != tt.hub {
			t.Errorf("GET %s: %d %v %s, want %d", tt.path, res.Code, res.Header(), res.Body, tt.status)
		}
		var body wire.HubError
		if tt.hub != "" && (json.Unmarshal(res.Body.Bytes(), &body) != nil || !strings.HasPrefix(body.Message, "ErrorCode:"+tt.hub+";")) {
			t.Errorf("GET %s: body %s", tt.path, res.Body)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld("b", "a", "c")
	for query, want := range map[string]int{"": 3, "&top=2": 2, "&top=1000": 3} {
		var all []wire.HubDevice
		res := w.get("/devices/?api-version=2021-04-12" + query)
		if err := json.Unmarshal(res.Body.Bytes(), &all); err != nil || len(all) != want || all[0].DeviceID != "a" {
			t.Errorf("list %q: %d %s", query, res.Code, res.Body)
		}
	}
	if w.get("/devices?api-version=2021-04-12"); w.store.limit != 1000 {
		t.Errorf("a list without top asks for %d", w.store.limit)
	}
	if res := newWorld().get("/devices?api-version=2021-04-12"); res.Body.String() != "[]" {
		t.Errorf("an empty hub lists %s", res.Body)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	w := newWorld("dev-1")
	w.store.err = errors.New("the disk is on fire")
	for _, path := range []string{"/devices", "/devices/dev-1", "/twins/dev-1"} {
		res := w.get(path + "?api-version=2021-04-12")
		if res.Code != 500 || res.Header().Get("iothub-errorcode") != "ServerError" || strings.Contains(res.Body.String(), "fire") {
			t.Errorf("GET %s: %d %s", path, res.Code, res.Body)
		}
	}
	w.store.err = dps.Errorf(dps.Unavailable, "")
	if res := w.get("/devices?api-version=2021-04-12"); res.Code != 503 || res.Header().Get("Retry-After") == "" {
		t.Errorf("unavailable: %d %v", res.Code, res.Header())
	}
	w.store.err = nil
	broken := w.store.devices["dev-1"]
	broken.Twin.Desired = json.RawMessage(`[]`)
	w.store.devices["dev-1"] = broken
	if res := w.get("/twins/dev-1?api-version=2021-04-12"); res.Code != 500 {
		t.Errorf("a broken twin: %d %s", res.Code, res.Body)
	}
}

func TestAuthorization(t *testing.T) {
	t.Parallel()
	w := newWorld("dev-1")
	w.store.policy.Rights = dps.RegistryRead
	if res := w.get("/twins/dev-1?api-version=2021-04-12"); res.Code != 401 {
		t.Errorf("a twin without ServiceConnect: %d", res.Code)
	}
	if res := w.get("/devices/dev-1?api-version=2021-04-12"); res.Code != 200 {
		t.Errorf("an identity with RegistryRead: %d", res.Code)
	}
	w.store.policy.Rights = dps.ServiceConnect
	if res := w.get("/devices?api-version=2021-04-12"); res.Code != 401 || res.Header().Get("iothub-errorcode") != "IotHubUnauthorizedAccess" {
		t.Errorf("the list without RegistryRead: %d %v", res.Code, res.Header())
	}
	w.store.policy.Name = "another"
	if res := w.get("/devices"); res.Code != 401 {
		t.Errorf("another policy: %d", res.Code)
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	if got := embedded.Prefixes(); !slices.Equal(got, []string{"devices", "twins"}) {
		t.Errorf("Prefixes = %v", got)
	}
}
