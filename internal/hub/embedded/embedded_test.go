package embedded_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
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
	mu       sync.Mutex // guards devices and conflicts
	devices  map[dps.DeviceID]dps.HubDevice
	policies map[dps.HubID]dps.HubPolicy
	hubs     []dps.LinkedHub
	limit    int // the last one that a list was asked for
	err      error

	conflicts int // how many writes find that another writer came between
}

func (s *store) HubDevice(_ context.Context, _ dps.InstanceID, hub dps.HubID, id dps.DeviceID) (dps.HubDevice, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.devices[id]; ok && d.Hub == hub {
		return d, s.err
	}
	return dps.HubDevice{}, dps.Errorf(dps.DeviceNotFound, "Device %s not found.", id)
}

func (s *store) FindHubDevices(
	_ context.Context,
	_ dps.InstanceID,
	hub dps.HubID,
	f dps.HubDeviceFilter,
	after dps.DeviceID,
	limit int,
) ([]dps.HubDevice, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
	var all []dps.HubDevice
	for _, d := range s.devices {
		if d.Hub == hub && f.Matches(d) && d.DeviceID > after {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b dps.HubDevice) int { return strings.Compare(string(a.DeviceID), string(b.DeviceID)) })
	return all[:min(len(all), limit)], s.err
}

func (s *store) CountHubDevices(_ context.Context, _ dps.InstanceID, hub dps.HubID) (n dps.HubDeviceCount, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.Hub == hub {
			n.Total++
			if d.Disabled {
				n.Disabled++
			}
		}
	}
	return n, s.err
}

func (s *store) CreateHubDevice(_ context.Context, d dps.HubDevice) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.devices[d.DeviceID]; ok {
		return dps.Errorf(dps.DeviceExists, "A device with ID '%s' is already registered.", d.DeviceID)
	}
	s.devices[d.DeviceID] = d
	return s.err
}

func (s *store) ChangeHubDevice(_ context.Context, was, d dps.HubDevice) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, ok := s.devices[was.DeviceID]
	if !ok || now.ETag != was.ETag || now.TwinVersion != was.TwinVersion || s.between(now) {
		return dps.Errorf(dps.ConcurrentChange, "Precondition failed.")
	}
	s.devices[d.DeviceID] = d
	return s.err
}

// between is another writer that comes first, as long as there are conflicts left.
func (s *store) between(d dps.HubDevice) bool {
	if s.conflicts == 0 {
		return false
	}
	s.conflicts--
	d.ETag = dps.NewETag()
	s.devices[d.DeviceID] = d
	return true
}

func (s *store) DeleteHubDevice(_ context.Context, _ dps.InstanceID, _ dps.HubID, id dps.DeviceID, ifMatch dps.ETag) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, ok := s.devices[id]
	if !ok || now.ETag != ifMatch || s.between(now) {
		return dps.Errorf(dps.ConcurrentChange, "Precondition failed.")
	}
	delete(s.devices, id)
	return s.err
}

func (s *store) Hubs(context.Context, dps.InstanceID) ([]dps.LinkedHub, error) { return s.hubs, nil }

func (s *store) Instance(context.Context, dps.InstanceID) (dps.Instance, error) {
	return dps.Instance{}, errors.New("not asked for")
}

func (s *store) Policy(context.Context, dps.InstanceID, string) (dps.Policy, error) {
	return dps.Policy{}, errors.New("not asked for")
}

func (s *store) HubPolicy(_ context.Context, _ dps.InstanceID, hub dps.HubID, name string) (dps.HubPolicy, error) {
	if p, ok := s.policies[hub]; ok && p.Name == name {
		return p, nil
	}
	return dps.HubPolicy{}, dps.Errorf(dps.Unauthorized, "Unauthorized")
}

type world struct {
	http.Handler
	store *store
}

// hub is the one that worlds start with.
var hub = dps.LinkedHub{Instance: "default", ID: "embedded", Kind: dps.KindEmbedded, HostName: "hub.example"}

func newWorld(ids ...dps.DeviceID) world {
	s := &store{
		devices: make(map[dps.DeviceID]dps.HubDevice), hubs: []dps.LinkedHub{hub},
		policies: map[dps.HubID]dps.HubPolicy{hub.ID: {Name: "iothubowner", Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair()}},
	}
	for _, id := range ids {
		d := dps.NewHubDevice(hub, dps.HubIdentity{DeviceID: id, Authentication: dps.SelfSigned(dps.ThumbprintOf([]byte(id)))}, dps.Twin{}, now)
		d.ETag, d.GenerationID = "ZQ==", "639310648400859367"
		s.devices[id] = d
	}
	clock := func() time.Time { return now }
	log := slog.New(slog.DiscardHandler)
	guard := access.New(access.Options{Store: s, Names: []string{"dps.example"}, Now: clock})
	return world{
		httpio.Track(embedded.New(embedded.Options{Store: s, Guard: guard, Hub: embedded.ByHost(s, "default"), Log: log, Now: clock}), log),
		s,
	}
}

func (w world) token() string {
	return sas.Sign("hub.example", "iothubowner", w.store.policies[hub.ID].Keys.Primary.Reveal(), now.Add(time.Hour))
}

// do sends a request; headers come as name and value by turns.
func (w world) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", w.token())
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	res := httptest.NewRecorder()
	w.ServeHTTP(res, r)
	return res
}

func (w world) get(path string) *httptest.ResponseRecorder { return w.do("GET", path, "") }

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
		{path: "/twins/dev-1?api-version=2031-01-01", status: 200, etag: `"AAAAAAAAAAE="`},
		{path: "/twins/dev-1?api-version=2021-13-12", status: 400, hub: "ArgumentInvalid"},
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
		{path: "/statistics/jobs?api-version=2021-04-12", status: 404, hub: "ResourceNotFound"},
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
	set := func(name string, rights dps.HubRights) {
		p := w.store.policies[hub.ID]
		p.Name, p.Rights = name, rights
		w.store.policies[hub.ID] = p
	}
	set("iothubowner", dps.RegistryRead)
	if res := w.get("/twins/dev-1?api-version=2021-04-12"); res.Code != 401 {
		t.Errorf("a twin without ServiceConnect: %d", res.Code)
	}
	if res := w.get("/devices/dev-1?api-version=2021-04-12"); res.Code != 200 {
		t.Errorf("an identity with RegistryRead: %d", res.Code)
	}
	set("iothubowner", dps.ServiceConnect)
	if res := w.get("/devices?api-version=2021-04-12"); res.Code != 401 || res.Header().Get("iothub-errorcode") != "IotHubUnauthorizedAccess" {
		t.Errorf("the list without RegistryRead: %d %v", res.Code, res.Header())
	}
	set("another", dps.HubOwnerRights)
	if res := w.get("/devices"); res.Code != 401 {
		t.Errorf("another policy: %d", res.Code)
	}
}

// Every operation wants its right, and none is done without it.
func TestRights(t *testing.T) {
	t.Parallel()
	tests := []struct {
		method, path, body string
		want               dps.HubRights
	}{
		{"GET", "/devices", "", dps.RegistryRead},
		{"POST", "/devices", `[{"id":"new","importMode":"create"}]`, dps.RegistryWrite},
		{"GET", "/devices/dev-1", "", dps.RegistryRead},
		{"PUT", "/devices/new", `{}`, dps.RegistryWrite},
		{"DELETE", "/devices/dev-1", "", dps.RegistryWrite},
		{"POST", "/devices/query", `{"query":"SELECT * FROM devices"}`, dps.ServiceConnect},
		{"GET", "/twins/dev-1", "", dps.ServiceConnect},
		{"PATCH", "/twins/dev-1", `{"tags":{"a":1}}`, dps.ServiceConnect},
		{"PUT", "/twins/dev-1", `{"tags":{"a":1}}`, dps.ServiceConnect},
		{"GET", "/statistics/devices", "", dps.RegistryRead},
		{"GET", "/statistics/service", "", dps.RegistryRead},
	}
	for _, tt := range tests {
		for _, have := range []dps.HubRights{dps.RegistryRead, dps.RegistryWrite, dps.ServiceConnect, dps.HubDeviceConnect} {
			w := newWorld("dev-1")
			p := w.store.policies[hub.ID]
			p.Rights = have
			w.store.policies[hub.ID] = p
			before := maps.Clone(w.store.devices)
			res := w.do(tt.method, tt.path+"?api-version=2021-04-12", tt.body)
			if allowed := have.Allow(tt.want); (res.Code/100 == 2) != allowed || (!allowed && res.Code != 401) {
				t.Errorf("%s %s with right %d: %d %s", tt.method, tt.path, have, res.Code, res.Body)
			}
			if res.Code == 401 && !reflect.DeepEqual(before, w.store.devices) {
				t.Errorf("%s %s with right %d: refused and done", tt.method, tt.path, have)
			}
		}
	}
}

// Hubs of one process are told apart by the host name that the client calls.
func TestHosts(t *testing.T) {
	t.Parallel()
	w := newWorld("dev-1")
	second := dps.LinkedHub{Instance: "default", ID: "second", Kind: dps.KindEmbedded, HostName: "Hub-B.example"}
	remote := dps.LinkedHub{Instance: "default", ID: "remote", Kind: dps.KindIoTHub, HostName: "remote.example"}
	w.store.hubs = []dps.LinkedHub{second, remote, hub}
	w.store.policies["second"] = dps.HubPolicy{Name: "iothubowner", Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair()}
	d := dps.NewHubDevice(second, dps.NewHubIdentity("dev-2"), dps.Twin{}, now)
	w.store.devices["dev-2"] = d
	sign := func(host string, of dps.HubID) string {
		return sas.Sign(host, "iothubowner", w.store.policies[of].Keys.Primary.Reveal(), now.Add(time.Hour))
	}
	tests := []struct {
		name, host, token, device string
		status                    int
	}{
		{"the first", "hub.example", sign("hub.example", "embedded"), "dev-1", 200},
		{"the first, with a port", "HUB.example:8443", sign("hub.example", "embedded"), "dev-1", 200},
		{"the second", "hub-b.example", sign("hub-b.example", "second"), "dev-2", 200},
		{"the second, spelled otherwise", "HUB-B.example.:443", sign("hub-b.EXAMPLE", "second"), "dev-2", 200},
		{"a device of the other hub", "hub-b.example", sign("hub-b.example", "second"), "dev-1", 404},
		{"an unknown name is the first", "192.0.2.1", sign("hub.example", "embedded"), "dev-1", 200},
		{"the name of a hub over the wire", "remote.example", sign("hub.example", "embedded"), "dev-1", 200},
		{"a token of the first at the second", "hub-b.example", sign("hub.example", "embedded"), "dev-2", 401},
		{"a key of the first at the second", "hub-b.example", sign("hub-b.example", "embedded"), "dev-2", 401},
		{"a token of the second at the first", "hub.example", sign("hub-b.example", "second"), "dev-1", 401},
	}
	for _, tt := range tests {
		res := w.do("GET", "/devices/"+tt.device+"?api-version=2021-04-12", "", "Host", tt.host, "Authorization", tt.token)
		if res.Code != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, res.Code, res.Body, tt.status)
		}
	}
	w.store.hubs = []dps.LinkedHub{remote}
	if res := w.get("/devices?api-version=2021-04-12"); res.Code != 404 || res.Header().Get("iothub-errorcode") != "IotHubNotFound" {
		t.Errorf("no embedded hub: %d %s", res.Code, res.Body)
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	if got := embedded.Prefixes(); !slices.Equal(
		got,
		[]string{"devices", "twins", "statistics", "configurations", "jobs", "digitaltwins", "messages"},
	) {
		t.Errorf("Prefixes = %v", got)
	}
}
