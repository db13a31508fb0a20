package portal_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/portal"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/signin"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

const password = "four quiet harbour lights"

type observer struct{}

func (observer) Committed(int, time.Duration, error) {}

// upstream is the service as the portal sees it: what it answers is up to the test.
type upstream struct {
	answers map[string]string // by method and path
	status  map[string]int
	asked   []*http.Request
	bodies  []string

	warnings []string // that every answer carries
}

func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	u.asked, u.bodies = append(u.asked, r), append(u.bodies, string(body))
	key := r.Method + " " + strings.TrimPrefix(r.URL.Path, resource)
	text, ok := u.answers[key]
	status := http.StatusOK
	if !ok {
		status, text = http.StatusNotFound, `{"errorCode":404001,"message":"There is none."}`
	}
	if s := u.status[key]; s != 0 {
		status = s
	}
	header := http.Header{"Content-Type": {"application/json"}}
	header[wire.HeaderWarning] = u.warnings
	return &http.Response{
		StatusCode: status,
		Header:     header,
		Body:       io.NopCloser(strings.NewReader(text)),
		Request:    r,
	}, nil
}

const resource = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/default"

func (u *upstream) options() *service.Options {
	return &service.Options{HTTPClient: &http.Client{Transport: u}, Retries: -1, Warning: portal.Warn}
}

func (u *upstream) Service(context.Context) (*service.Client, error) {
	return service.NewClient("HostName=dps.example;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0", u.options())
}

func (u *upstream) Control(context.Context) (*service.ControlPlane, error) {
	return service.NewControlPlane("dps.example", resource, service.StaticToken("t"), u.options())
}

// world is a portal over a real store of accounts and a service of the test's making,
// with a browser.
type world struct {
	http.Handler
	upstream *upstream
	signin   *signin.Service
	oneTime  string
	now      time.Time
	cookies  map[string]string
	log      bytes.Buffer
}

func newWorld(t *testing.T, secure bool) *world {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.OpenKey(filepath.Join(dir, "key"), true)
	must(t, err)
	w := &world{
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), cookies: make(map[string]string),
		upstream: &upstream{answers: make(map[string]string), status: make(map[string]int)},
	}
	clock := func() time.Time { return w.now }
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	store, err := sqlite.Open(
		t.Context(),
		sqlite.Options{Path: filepath.Join(dir, "db"), Key: key, Observer: observer{}, Log: log, Now: clock},
	)
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	in := dps.NewInstance(dps.DefaultInstance, w.now)
	must(t, store.Create(t.Context(), dps.Setup{
		Instance: in, Policy: dps.Policy{Instance: in.ID, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub: dps.LinkedHub{
			Instance:    in.ID,
			ID:          dps.EmbeddedHub,
			Kind:        dps.KindEmbedded,
			HostName:    "hub.example",
			Weight:      1,
			ApplyPolicy: true,
		},
		HubPolicy: dps.HubPolicy{
			Instance: in.ID,
			Hub:      dps.EmbeddedHub,
			Name:     dps.HubOwnerPolicy,
			Rights:   dps.HubOwnerRights,
			Keys:     dps.NewKeyPair(),
		},
	}))
	w.signin = signin.New(signin.Options{
		Store: store, Instance: in.ID, Audit: audit.New(audit.Options{Store: store, Log: log}), Log: log, Now: clock,
	})
	must(t, w.signin.Ensure(t.Context()))
	account, err := store.PortalAccount(t.Context(), in.ID)
	must(t, err)
	w.oneTime = string(account.OneTime.Reveal())
	ca := filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(ca, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600))
	w.Handler, err = portal.New(
		portal.Options{SignIn: w.signin, API: w.upstream, Secure: secure, CAFile: ca, Version: "test", Log: log, Now: clock},
	)
	must(t, err)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do sends a request as the browser does, with its cookies, and keeps what it is given.
func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	for name, value := range w.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	res := httptest.NewRecorder()
	w.ServeHTTP(res, r)
	for _, c := range res.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(w.cookies, c.Name)
		} else {
			w.cookies[c.Name] = c.Value
		}
	}
	return res
}

func (w *world) get(path string) *httptest.ResponseRecorder {
	return w.do(httptest.NewRequest(http.MethodGet, path, nil))
}

// post sends a form as it stands: without the token of a page, unless it is in it.
func (w *world) post(path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(r)
}

var csrfPattern = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// csrf returns the token of the pages.
func (w *world) csrf(t *testing.T) string {
	t.Helper()
	m := csrfPattern.FindStringSubmatch(w.get("/password").Body.String())
	if m == nil {
		t.Fatal("the page to change the password has no token")
	}
	return m[1]
}

// send is post with the token of a page.
func (w *world) send(t *testing.T, path string, pairs ...string) *httptest.ResponseRecorder {
	t.Helper()
	form := url.Values{"csrf": {w.csrf(t)}}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return w.post(path, form)
}

// signedIn returns a world whose browser is signed in with a password of its own.
func signedIn(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, false)
	w.post("/sign-in", url.Values{"password": {w.oneTime}})
	res := w.send(t, "/password", "current", w.oneTime, "password", password, "repeated", password)
	if res.Code != http.StatusSeeOther {
		t.Fatalf("changing the password: %d %s", res.Code, res.Body)
	}
	return w
}
