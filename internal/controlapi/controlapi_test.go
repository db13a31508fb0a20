package controlapi_test

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/controlapi"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/wire"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type noObserver struct{}

func (noObserver) Committed(int, time.Duration, error) {}

// world is the API over an empty store.
type world struct {
	http.Handler
	clock    *clock
	store    *sqlite.Store
	instance dps.Instance
	root     *pki.Issued
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	key, err := seal.OpenKey(filepath.Join(t.TempDir(), "key"), true)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	w.store, err = sqlite.Open(
		t.Context(),
		sqlite.Options{Path: filepath.Join(t.TempDir(), "db"), Key: key, Observer: noObserver{}, Log: log, Now: w.clock.now},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.instance = dps.NewInstance(dps.DefaultInstance, w.clock.now())
	setup := dps.Setup{
		Instance: w.instance, Policy: dps.Policy{Instance: w.instance.ID, Name: "p", Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub:       dps.LinkedHub{Instance: w.instance.ID, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "hub.example", Weight: 1},
		HubPolicy: dps.HubPolicy{Instance: w.instance.ID, Hub: dps.EmbeddedHub, Name: "p", Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair()},
	}
	if err := w.store.Create(t.Context(), setup); err != nil {
		t.Fatal(err)
	}
	guard := access.New(access.Options{Store: w.store, Names: []string{"dps.example"}, Now: w.clock.now})
	w.Handler = httpio.Track(controlapi.New(controlapi.Options{Guard: guard, Enroll: enroll.New(w.store, w.clock.now), Log: log}), log)
	w.root = w.issue(t, pki.Request{Kind: pki.Root, CommonName: "Factory Root"})
	return w
}

func (w *world) issue(t *testing.T, r pki.Request) *pki.Issued {
	t.Helper()
	issued, err := pki.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

// send sends a request with a good token; etag "" sends no If-Match.
func (w *world) send(t *testing.T, method, name, etag, body string) (int, wire.CACertificate, string) {
	t.Helper()
	token, err := access.NewToken(w.instance, w.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(
		method,
		controlapi.ResourceID(w.instance.ID)+"/certificates"+name+"?api-version=2022-02-05",
		strings.NewReader(body),
	)
	r.Header.Set("Authorization", "Bearer "+token)
	if etag != "" {
		r.Header.Set("If-Match", etag)
	}
	res := httptest.NewRecorder()
	w.ServeHTTP(res, r)
	var out wire.CACertificate
	var refused wire.ARMError
	if res.Code == http.StatusOK && res.Body.Len() > 0 {
		err = json.Unmarshal(res.Body.Bytes(), &out)
	} else if res.Code != http.StatusOK {
		err = json.Unmarshal(res.Body.Bytes(), &refused)
	}
	if err != nil {
		t.Fatalf("%s %s: %v in %s", method, name, err, res.Body)
	}
	return res.Code, out, refused.Error.Message
}

func base64DER(i *pki.Issued) string {
	return base64.StdEncoding.EncodeToString(i.Certificate.Raw)
}

// uploaded uploads the root and asks for a code.
func (w *world) uploaded(t *testing.T) wire.CACertificate {
	t.Helper()
	status, c, message := w.send(t, "PUT", "/factory", "", `{"properties": {"certificate": "`+base64DER(w.root)+`"}}`)
	if status != 200 || c.Properties.IsVerified {
		t.Fatalf("upload: %d %s", status, message)
	}
	status, c, message = w.send(t, "POST", "/factory/generateVerificationCode", c.ETag, "")
	if status != 200 || len(c.Properties.VerificationCode) != 48 {
		t.Fatalf("code: %d %s %+v", status, message, c)
	}
	return c
}

func (w *world) proof(t *testing.T, code string) string {
	t.Helper()
	now := w.clock.now()
	proof := w.issue(t, pki.Request{
		Kind: pki.Verification, CommonName: code, Issuer: w.root.Issuer(),
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(30 * 24 * time.Hour),
	})
	return `{"certificate": "` + base64DER(proof) + `"}`
}

func TestCodeLastsSevenDays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.uploaded(t)
	proof := w.proof(t, c.Properties.VerificationCode)

	w.clock.pass(7 * 24 * time.Hour)
	status, _, message := w.send(t, "POST", "/factory/verify", c.ETag, proof)
	if status != 400 || !strings.Contains(message, "expired at 2026-03-08T12:00:00Z") {
		t.Fatalf("after 7 days: %d %q, want a 400 that says when it expired", status, message)
	}
	w.clock.pass(-time.Second)
	status, c, message = w.send(t, "POST", "/factory/verify", c.ETag, proof)
	if status != 200 || !c.Properties.IsVerified || c.Properties.Certificate != nil || c.Properties.VerificationCode != "" {
		t.Fatalf("a second before: %d %q %+v", status, message, c)
	}
}

func TestExpiredCodeIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.uploaded(t)
	old := w.proof(t, c.Properties.VerificationCode)
	w.clock.pass(8 * 24 * time.Hour)
	status, c, message := w.send(t, "POST", "/factory/generateVerificationCode", c.ETag, "")
	if status != 200 {
		t.Fatalf("a new code: %d %s", status, message)
	}
	if status, _, message = w.send(t, "POST", "/factory/verify", c.ETag, old); status != 400 || !strings.Contains(message, "common name") {
		t.Errorf("the old code: %d %q", status, message)
	}
	if status, c, message = w.send(t, "POST", "/factory/verify", c.ETag, w.proof(t, c.Properties.VerificationCode)); status != 200 ||
		!c.Properties.IsVerified {
		t.Errorf("the new code: %d %q", status, message)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.uploaded(t).ETag
	body := `{"properties": {"certificate": "` + base64DER(w.root) + `"}}`
	tests := []struct {
		name, method, path, etag, body string
		status                         int
	}{
		{"upload without", "PUT", "/factory", "", body, 409},
		{"upload with another", "PUT", "/factory", "b3RoZXI=", body, 412},
		{"upload with a bad one", "PUT", "/factory", "a b", body, 400},
		{"upload of a new one with any", "PUT", "/new", "*", body, 412},
		{"code without", "POST", "/factory/generateVerificationCode", "", "", 400},
		{"code with another", "POST", "/factory/generateVerificationCode", "b3RoZXI=", "", 412},
		{"code with a bad one", "POST", "/factory/generateVerificationCode", "a b", "", 400},
		{"code for nothing", "POST", "/new/generateVerificationCode", "*", "", 404},
		{"verify without", "POST", "/factory/verify", "", "{}", 400},
		{"verify with another", "POST", "/factory/verify", "b3RoZXI=", w.proof(t, strings.Repeat("A", 48)), 412},
		{"verify nothing", "POST", "/new/verify", "*", w.proof(t, strings.Repeat("A", 48)), 404},
		{"delete without", "DELETE", "/factory", "", "", 400},
		{"delete with another", "DELETE", "/factory", "b3RoZXI=", "", 412},
		{"delete of nothing", "DELETE", "/new", "*", "", 404},
		{"upload with the right one, quoted", "PUT", "/factory", `"` + first + `"`, body, 200},
		{"upload with any, quoted", "PUT", "/factory", `"*"`, body, 200},
		{"delete with any", "DELETE", "/factory", "*", "", 200},
	}
	for _, tt := range tests {
		if status, _, message := w.send(t, tt.method, tt.path, tt.etag, tt.body); status != tt.status {
			t.Errorf("%s: %d %q, want %d", tt.name, status, message, tt.status)
		}
	}
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.uploaded(t)
	key := base64.StdEncoding.EncodeToString([]byte("-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n"))
	tests := []struct{ name, method, path, body, says string }{
		{"upload: nothing", "PUT", "/new", "", "body: is empty"},
		{"upload: no JSON", "PUT", "/new", "{", "body: is not JSON"},
		{"upload: another type", "PUT", "/new", `{"properties": {"certificate": 7}}`, "properties.certificate: must be a string, not a number"},
		{"upload: another type of the old shape", "PUT", "/new", `{"certificate": 7}`, "certificate: must be a string, not a number"},
		{"upload: another type of the flag", "PUT", "/new", `{"properties": {"isVerified": "yes"}}`, "properties.isVerified: must be true or false, not a string"},
		{"upload: no certificate", "PUT", "/new", `{"properties": {}}`, "certificate: is required"},
		{"upload: a key", "PUT", "/new", `{"properties": {"certificate": "` + key + `"}}`, "properties.certificate: holds a private key"},
		{"upload: bad name", "PUT", "/" + strings.Repeat("a", 65), `{}`, "certificateName: must be 1 to 64"},
		{"verify: no JSON", "POST", "/factory/verify", "", "body: is empty"},
		{"verify: no certificate", "POST", "/factory/verify", `{}`, "certificate: is required"},
		{"verify: a key", "POST", "/factory/verify", `{"certificate": "` + key + `"}`, "certificate: holds a private key"},
		{"verify: a CA", "POST", "/factory/verify", `{"certificate": "` + base64DER(w.root) + `"}`, "certificate: its common name must be"},
	}
	for _, tt := range tests {
		etag := "*"
		if tt.method == "PUT" {
			etag = ""
		}
		if status, _, message := w.send(t, tt.method, tt.path, etag, tt.body); status != 400 || !strings.Contains(message, tt.says) {
			t.Errorf("%s: %d %q, want 400 %q", tt.name, status, message, tt.says)
		}
	}
	big := `{"certificate": "` + strings.Repeat("A", 1<<20) + `"}`
	for _, target := range []struct{ method, path string }{{"PUT", "/new"}, {"POST", "/factory/verify"}} {
		if status, _, _ := w.send(t, target.method, target.path, "*", big); status != 413 {
			t.Errorf("%s %s with a big body: %d, want 413", target.method, target.path, status)
		}
	}
	if status, _, _ := w.send(t, "GET", "/new", "", ""); status != 404 {
		t.Errorf("something was stored: %d", status)
	}
}

func TestVerifiedOnUpload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status, c, message := w.send(t, "PUT", "/factory", "", `{"certificate": "`+base64DER(w.root)+`", "isVerified": true}`)
	if status != 200 || !c.Properties.IsVerified {
		t.Fatalf("upload: %d %s", status, message)
	}
	status, c, message = w.send(t, "PUT", "/factory", c.ETag, `{"properties": {"isVerified": false}}`)
	if status != 200 || c.Properties.IsVerified || c.Properties.Thumbprint != dps.SHA1Thumbprint(w.root.Certificate.Raw) {
		t.Fatalf("taken back, without a certificate: %d %s %+v", status, message, c)
	}
}

// TestTokens looks at what reaches the handler from access, which has the whole table.
func TestTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good, err := access.NewToken(w.instance, w.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := access.NewToken(dps.NewInstance("other", w.clock.now()), w.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{"": 401, "Bearer x": 401, "Bearer " + other: 401, "Bearer " + good: 200} {
		r := httptest.NewRequest("GET", controlapi.ResourceID(w.instance.ID)+"/certificates?api-version=2022-02-05", nil)
		r.Header.Set("Authorization", token)
		res := httptest.NewRecorder()
		w.ServeHTTP(res, r)
		if res.Code != want {
			t.Errorf("token %.20q: %d, want %d: %s", token, res.Code, want, res.Body)
		}
	}
	w.clock.pass(access.TokenLifetime + time.Second)
	r := httptest.NewRequest("GET", controlapi.ResourceID(w.instance.ID)+"/certificates?api-version=2022-02-05", nil)
	r.Header.Set("Authorization", "Bearer "+good)
	res := httptest.NewRecorder()
	if w.ServeHTTP(res, r); res.Code != 401 || !strings.Contains(res.Body.String(), `"AuthenticationFailed"`) {
		t.Errorf("an expired token: %d %s", res.Code, res.Body)
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	id := controlapi.ResourceID("default")
	if first := strings.Split(id, "/")[1]; first != controlapi.Prefixes()[0] {
		t.Errorf("resource IDs begin with %q, the API with %v", first, controlapi.Prefixes())
	}
}
