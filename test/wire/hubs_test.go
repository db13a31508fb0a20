package wire_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/tlsauth"
	"github.com/mooring-iot/mooring/test/fakehub"
	"github.com/mooring-iot/mooring/wire"
)

// hubSite is a hub as an operator reaches it: its registry, over TLS. It does not
// matter whose hub it is.
type hubSite struct {
	connection
	link string // connection string to link it by; "" for one inside the service
	http *http.Client
}

// newHubSite returns the hub of a connection string, of which a server at addr knows.
func newHubSite(t *testing.T, text, addr string, roots *x509.CertPool) *hubSite {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12},
	}
	t.Cleanup(transport.CloseIdleConnections)
	c := parseConnection(t, text)
	c.host, _, _ = strings.Cut(c.host, ":")
	return &hubSite{connection: c, http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// do sends one request to the hub.
func (s *hubSite) do(t *testing.T, method, path, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(
		t.Context(),
		method,
		"https://"+s.host+path+"?api-version="+wire.HubAPIVersion,
		strings.NewReader(body),
	)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", s.sign(time.Now().Add(time.Hour)))
	if method == http.MethodDelete {
		req.Header.Set("If-Match", `"*"`)
	}
	res, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: res.StatusCode, body: string(text)}
}

func (s *hubSite) must(t *testing.T, method, path, body string) reply {
	t.Helper()
	r := s.do(t, method, path, body)
	if r.status/100 != 2 {
		t.Fatalf("%s %s at %s: %d %s", method, path, s.host, r.status, r.body)
	}
	return r
}

// identity is what a test looks at.
type identity struct {
	Authentication wire.HubAuthentication `json:"authentication"`
	Capabilities   struct {
		IotEdge bool `json:"iotEdge"`
	} `json:"capabilities"`
}

func (s *hubSite) device(t *testing.T, id string) (i identity) {
	t.Helper()
	decoded(t, s.must(t, "GET", "/devices/"+id, "").body, &i)
	return i
}

// twin returns tags, desired and reported properties, without what hubs write.
func (s *hubSite) twin(t *testing.T, id string) string {
	t.Helper()
	var doc struct {
		Tags       map[string]any `json:"tags"`
		Properties struct {
			Desired  map[string]any `json:"desired"`
			Reported map[string]any `json:"reported"`
		} `json:"properties"`
	}
	decoded(t, s.must(t, "GET", "/twins/"+id, "").body, &doc)
	for _, section := range []map[string]any{doc.Properties.Desired, doc.Properties.Reported} {
		delete(section, "$metadata")
		delete(section, "$version")
	}
	text, err := json.Marshal([]any{doc.Tags, doc.Properties.Desired, doc.Properties.Reported})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// retwin writes all three sections, as a service and the device would.
func (s *hubSite) retwin(t *testing.T, id, tags, desired, reported string) {
	t.Helper()
	s.must(
		t,
		"POST",
		"/devices",
		`[{"id": "`+id+`", "importMode": "updateTwin", "tags": `+tags+`, "properties": {"desired": `+desired+`, "reported": `+reported+`}}]`,
	)
}

// awaitGone waits until the hub no longer has a device.
func (s *hubSite) awaitGone(t *testing.T, id string) {
	t.Helper()
	eventually(t, id+" to be gone from "+s.host, func() bool { return s.do(t, "GET", "/devices/"+id, "").status == http.StatusNotFound })
}

// eventually waits until done says that something which goes on in the background has
// come about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	const patience, step = 30 * time.Second, 20 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

func decoded(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// fakeSites are fake hubs behind real TLS, whose CA is in caFile.
type fakeSites struct {
	caFile string
	hubs   map[string]*fakehub.Hub // by host name
	sites  map[string]*hubSite
}

func newFakeSites(t *testing.T, names ...string) *fakeSites {
	t.Helper()
	authority, err := tlsauth.Open(tlsauth.Options{
		Dir: t.TempDir(), Hostnames: []string{"localhost", "127.0.0.1"}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeSites{caFile: authority.CAFile(), hubs: map[string]*fakehub.Hub{}, sites: map[string]*hubSite{}}
	roots := poolOf(t, f.caFile)
	for i, name := range names {
		key := newKeyText()
		hub := fakehub.New(
			fakehub.Options{
				HostName:   name,
				Policies:   map[string]fakehub.Policy{"iothubowner": owner(t, key)},
				Seed:       uint64(i),
				JSONErrors: i%2 == 1,
			},
		)
		listener, err := hub.Listen(t.Context(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{
			Handler:           hub,
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
		}
		go func() {
			_ = server.Serve(
				tls.NewListener(
					listener,
					&tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: authority.GetCertificate, NextProtos: []string{"http/1.1"}},
				),
			)
		}()
		t.Cleanup(func() {
			hub.Close()
			_ = server.Close()
		})
		text := connectionText(name, listener.Addr().String(), key)
		f.hubs[name], f.sites[name] = hub, newHubSite(t, text, listener.Addr().String(), roots)
		f.sites[name].link = text
	}
	return f
}

func owner(t *testing.T, key string) fakehub.Policy {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	return fakehub.Owner(raw)
}

func connectionText(host, gateway, key string) string {
	return "HostName=" + host + ";GatewayHostName=" + gateway + ";SharedAccessKeyName=iothubowner;SharedAccessKey=" + key
}

func newKeyText() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	return base64.StdEncoding.EncodeToString(raw[:])
}

func poolOf(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	ca, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("%s holds no certificate", file)
	}
	return pool
}

// joined returns a file with the certificates of several.
func joined(t *testing.T, files ...string) string {
	t.Helper()
	var all []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// linkedHubs changes the linked hubs by the control plane, as any client does: it reads
// the service, changes the list and writes it back.
func (w *world) linkedHubs(t *testing.T, change func(hubs []any) []any) {
	t.Helper()
	resource := w.must(t, "GET", w.info.ControlPlane.ResourceID, "")
	properties, ok := resource["properties"].(map[string]any)
	if !ok {
		t.Fatalf("%v", resource)
	}
	hubs, _ := properties["iotHubs"].([]any)
	properties["iotHubs"] = change(hubs)
	body, err := json.Marshal(resource)
	if err != nil {
		t.Fatal(err)
	}
	w.must(t, "PUT", w.info.ControlPlane.ResourceID, string(body))
}

// link links hubs over the wire.
func (w *world) link(t *testing.T, sites ...*hubSite) {
	t.Helper()
	w.linkedHubs(t, func(hubs []any) []any {
		for _, s := range sites {
			hubs = append(hubs, map[string]any{"connectionString": s.link, "location": "local"})
		}
		return hubs
	})
}

// embed links new embedded hubs and returns them with the first one. It starts the
// service anew, to learn their keys.
func (w *world) embed(t *testing.T, names ...string) map[string]*hubSite {
	t.Helper()
	w.linkedHubs(t, func(hubs []any) []any {
		for _, name := range names {
			hubs = append(hubs, map[string]any{"connectionString": "HostName=" + name, "kind": wire.HubKindEmbedded, "location": "local"})
		}
		return hubs
	})
	w.restart()
	clear(w.clients)
	sites := make(map[string]*hubSite)
	for _, h := range w.info.Hubs {
		if text := h.ConnectionStrings["iothubowner"]; text != "" {
			s := newHubSite(t, text, w.addr, w.roots)
			s.link = connectionText(s.host, "127.0.0.1"+w.addr[strings.LastIndex(w.addr, ":"):], base64.StdEncoding.EncodeToString(s.key))
			sites[s.host] = s
		}
	}
	return sites
}

// state is a device's answer.
type state struct {
	Status            string          `json:"status"`
	Substatus         string          `json:"substatus"`
	AssignedHub       string          `json:"assignedHub"`
	DeviceID          string          `json:"deviceId"`
	ErrorCode         int             `json:"errorCode"`
	ErrorMessage      string          `json:"errorMessage"`
	Payload           json.RawMessage `json:"payload"`
	RegistrationID    string          `json:"registrationId"`
	SymmetricKey      json.RawMessage `json:"symmetricKey"`
	EnrollmentGroupID string          `json:"enrollmentGroupId"`
}

// registers lets a device register, and returns what it hears in the end.
func (w *world) registers(t *testing.T, carrier transport, o operation) state {
	t.Helper()
	return w.polls(t, carrier, o, w.begins(t, carrier, o))
}

// begins lets a device register, and returns the operation.
func (w *world) begins(t *testing.T, carrier transport, o operation) string {
	t.Helper()
	o.name, o.scope = "register", w.info.IDScope
	got := carrier.do(t, w, o)
	var answer struct {
		OperationID string `json:"operationId"`
		Status      string `json:"status"`
	}
	decoded(t, got.body, &answer)
	if got.status != http.StatusAccepted || answer.Status != "assigning" || got.retryAfter == "" || got.retryAfter == "0" {
		t.Fatalf("register %s: %d %s, retry after %q", o.id, got.status, got.body, got.retryAfter)
	}
	return answer.OperationID
}

// polls waits for the end of an operation, and returns what the device hears of it.
func (w *world) polls(t *testing.T, carrier transport, o operation, id string) state {
	t.Helper()
	eventually(t, "the registration of "+o.id, func() bool { return w.recordOf(t, o.id).Status != "assigning" })
	o.name, o.scope, o.operation = "poll", w.info.IDScope, id
	got := carrier.do(t, w, o)
	var answer struct {
		OperationID string `json:"operationId"`
		Status      string `json:"status"`
		State       state  `json:"registrationState"`
	}
	decoded(t, got.body, &answer)
	if got.status != http.StatusOK || answer.Status != answer.State.Status || answer.OperationID != id {
		t.Fatalf("poll %s: %d %s", o.id, got.status, got.body)
	}
	return answer.State
}

// recordOf returns a registration record as the service API shows it.
func (w *world) recordOf(t *testing.T, id string) (s state) {
	t.Helper()
	r := w.send(t, "GET", "/registrations/"+id, "")
	if r.status != http.StatusOK {
		t.Fatalf("record of %s: %d %s", id, r.status, r.body)
	}
	decoded(t, r.body, &s)
	return s
}

// put writes an enrollment or group, new or over another.
func (w *world) put(t *testing.T, path string, members map[string]any) {
	t.Helper()
	body, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"Authorization": {w.token(path)}}
	if w.send(t, "GET", path, "").status == http.StatusOK {
		h.Set("If-Match", "*")
	}
	r := w.do(t, call{method: "PUT", path: withVersion(path), header: h, body: strings.NewReader(string(body))})
	if r.status != http.StatusOK {
		t.Fatalf("PUT %s: %d %s", path, r.status, r.body)
	}
}
