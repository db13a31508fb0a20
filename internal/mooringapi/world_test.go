package mooringapi_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/configure"
	"github.com/mooring-iot/mooring/internal/controlapi"
	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/mooringapi"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/serviceapi"
	"github.com/mooring-iot/mooring/internal/statistics"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/wire"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type observer struct{}

func (observer) Committed(int, time.Duration, error) {}

func (observer) Refused(string, string) {}

func (observer) DecisionsRecorded(int64) {}

func (observer) DecisionsDropped(int64) {}

func (observer) Registered(dps.AttestationType, dps.RegistrationStatus, dps.Reason, time.Duration) {}

// world is all APIs for operators over one store. There is a policy for each right, and
// the owner's, "p".
type world struct {
	http.Handler
	store *sqlite.Store
	setup dps.Setup
	keys  dps.KeyPair // of every policy
	log   bytes.Buffer

	decisions  *decision.Log
	statistics *statistics.Counter
}

func newWorld(t testing.TB) *world {
	t.Helper()
	const in = dps.DefaultInstance
	key, err := seal.OpenKey(filepath.Join(t.TempDir(), "key"), true)
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return now }
	w := &world{keys: dps.NewKeyPair()}
	log := slog.New(slog.NewJSONHandler(&w.log, nil))
	w.store, err = sqlite.Open(
		t.Context(),
		sqlite.Options{Path: filepath.Join(t.TempDir(), "db"), Key: key, Observer: observer{}, Log: slog.New(slog.DiscardHandler), Now: clock},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	w.setup = dps.Setup{
		Instance: dps.NewInstance(in, now), Policy: dps.Policy{Instance: in, Name: "p", Rights: dps.OwnerRights, Keys: w.keys},
		Hub:       dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "hub.example", Weight: 1},
		HubPolicy: dps.HubPolicy{Instance: in, Hub: dps.EmbeddedHub, Name: "p", Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair()},
	}
	must(t, w.store.Create(t.Context(), w.setup))
	policies := []dps.Policy{w.setup.Policy}
	for right := dps.ServiceConfig; right <= dps.RegistrationStatusWrite; right <<= 1 {
		policies = append(policies, dps.Policy{Instance: in, Name: right.String(), Rights: right, Keys: w.keys})
	}
	must(t, w.store.Configure(t.Context(), dps.InstanceChange{Instance: w.setup.Instance, IfMatch: w.setup.Instance.ETag, Policies: policies}))
	w.Handler = httpio.Track(w.apis(log, clock), log)
	return w
}

// apis returns a handler of every API, told apart by the first segment.
func (w *world) apis(log *slog.Logger, clock func() time.Time) http.Handler {
	const in = dps.DefaultInstance
	guard := access.New(access.Options{Store: w.store, Names: []string{"dps.example"}, Now: clock})
	changes := audit.New(audit.Options{Store: w.store, Log: log})
	enrolling := enroll.New(w.store, clock)
	registering := register.New(register.Options{Store: w.store, Observer: observer{}, Log: log, Now: clock})
	service := serviceapi.New(serviceapi.Options{
		Guard: guard, Enroll: enrolling, Register: registering,
		Instance: in, Log: log, Now: clock, Audit: changes,
	})
	control := controlapi.New(controlapi.Options{
		Guard:     guard,
		Enroll:    enrolling,
		Configure: configure.New(configure.Options{Store: w.store}),
		Instance:  in,
		Endpoint:  "dps.example",
		Log:       log,
		Audit:     changes,
	})
	w.decisions = decision.New(decision.Options{Store: w.store, Observer: observer{}, Log: log, Now: clock, Limit: 1000})
	w.statistics = statistics.New(statistics.Options{Store: w.store, Log: log, Now: clock})
	own := mooringapi.New(mooringapi.Options{
		Guard:         guard,
		Audit:         changes,
		Decisions:     w.decisions,
		Statistics:    w.statistics,
		Allocator:     registering,
		Registrations: registering,
		Instance:      in,
		Log:           log,
		Now:           clock,
	})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch first, _, _ := strings.Cut(r.URL.Path[1:], "/"); first {
		case "subscriptions", "providers":
			control.ServeHTTP(rw, r)
		case mooringapi.Prefixes()[0]:
			own.ServeHTTP(rw, r)
		default:
			service.ServeHTTP(rw, r)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sas returns a token of a policy.
func (w *world) sas(policy string) string {
	return sas.Sign("dps.example", policy, w.keys.Primary.Reveal(), now.Add(time.Hour))
}

func (w *world) bearer(t *testing.T) string {
	t.Helper()
	token, err := access.NewToken(w.setup.Instance, now)
	must(t, err)
	return "Bearer " + token
}

// send sends a request with the token that its path asks for; headers are "Name: value".
func (w *world) send(t *testing.T, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	version := "2021-10-01"
	authorization := w.sas("p")
	if strings.HasPrefix(path, "/subscriptions") {
		version, authorization = "2022-02-05", w.bearer(t)
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	r := httptest.NewRequest(method, path+sep+"api-version="+version, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.7:4711"
	r.Header.Set("Authorization", authorization)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res := httptest.NewRecorder()
	w.ServeHTTP(res, r)
	return res
}

// page reads a page of the audit.
func (w *world) page(t *testing.T, query url.Values) wire.AuditPage {
	t.Helper()
	res := w.send(t, "GET", wire.AuditPath+"?"+query.Encode(), "")
	var page wire.AuditPage
	if err := json.Unmarshal(res.Body.Bytes(), &page); err != nil || res.Code != http.StatusOK {
		t.Fatalf("audit %v: %d %s", query, res.Code, res.Body)
	}
	return page
}

// all reads the newest entries.
func (w *world) all(t *testing.T) []wire.AuditEntry {
	t.Helper()
	return w.page(t, url.Values{"top": {"1000"}}).Value
}

func base64Of(der []byte) string { return base64.StdEncoding.EncodeToString(der) }
