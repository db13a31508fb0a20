package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

const chosenPassword = "four quiet harbour lights"

// portalWorld is a running service, with a browser at its portal.
type portalWorld struct {
	t       *testing.T
	data    string
	info    wire.Info
	browser *http.Client
}

// servePortal runs a service whose portal is at an address until the test ends.
func servePortal(t *testing.T, args ...string) *portalWorld {
	t.Helper()
	w := &portalWorld{t: t, data: filepath.Join(t.TempDir(), "data")}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.AddFlags(flags)
	must(t, flags.Parse(append([]string{"--data", w.data, "--mqtt", "off"}, args...)))
	c, err := config.Load(flags, func(string) string { return "" })
	must(t, err)
	a, err := app.New(t.Context(), app.Options{Config: c, Version: "test", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	w.info, err = a.Info(t.Context())
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		w.browser.CloseIdleConnections()
		stop()
		must(t, <-done)
	})
	jar, err := cookiejar.New(nil)
	must(t, err)
	listener := w.info.Listeners["portal"]
	_, port, err := net.SplitHostPort(listener)
	must(t, err)
	w.browser = &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.roots(), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
		},
	}}
	return w
}

func (w *portalWorld) roots() *x509.CertPool {
	w.t.Helper()
	if w.info.CAFile == "" {
		return nil
	}
	text, err := os.ReadFile(w.info.CAFile)
	must(w.t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

func (w *portalWorld) body(res *http.Response, err error) string {
	w.t.Helper()
	must(w.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(w.t, err)
	if res.StatusCode >= http.StatusBadRequest {
		w.t.Fatalf("%s %s: %s\n%s", res.Request.Method, res.Request.URL, res.Status, text)
	}
	return string(text)
}

func (w *portalWorld) get(path string) string {
	w.t.Helper()
	res, err := w.browser.Get(w.info.PortalURL + path)
	return w.body(res, err)
}

var formToken = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (w *portalWorld) post(path string, pairs ...string) string {
	w.t.Helper()
	form := url.Values{}
	if m := formToken.FindStringSubmatch(w.get("/password")); m != nil {
		form.Set("csrf", m[1])
	}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	res, err := w.browser.PostForm(w.info.PortalURL+path, form)
	return w.body(res, err)
}

func (w *portalWorld) signIn() {
	w.t.Helper()
	w.post("/sign-in", "password", w.info.PortalPassword)
	text := w.post("/password",
		"current", w.info.PortalPassword, "password", chosenPassword, "repeated", chosenPassword)
	if !strings.Contains(
		text,
		"Overview",
	) {
		w.t.Fatalf("signing in leads to %s", text)
	}
}

func (w *portalWorld) password() string {
	w.t.Helper()
	info, err := app.ReadInfo(w.t.Context(), w.data)
	must(w.t, err)
	return info.PortalPassword
}

// changes returns the audit, by the portal.
func (w *portalWorld) audit() string { return w.get("/audit") }

func TestPortalActsForItsUser(t *testing.T) {
	for name, https := range map[string]string{"": "127.0.0.1:0", "without https": "off"} {
		t.Run("portal "+name, func(t *testing.T) {
			w := servePortal(t, "--https", https, "--portal", "127.0.0.1:0")
			if first := w.password(); first == "" || first != w.info.PortalPassword {
				t.Fatalf("first password %q and %q", first, w.info.PortalPassword)
			}
			w.signIn()
			if left := w.password(); left != "" {
				t.Errorf("info still has %q", left)
			}
			text := w.post("/enrollments/groups", "id", "line-7", "attestation", "symmetricKey", "enabled", "1", "reprovision", "migrate")
			if !strings.Contains(text, "Created.") {
				t.Errorf("creating a group: %s", text)
			}
			text = w.audit()
			for _, want := range []string{"portal:admin", "enrollment-group", "change-password", "127.0.0.1:"} {
				if !strings.Contains(text, want) {
					t.Errorf("the audit has no %s", want)
				}
			}
			if strings.Contains(text, "policy:provisioningserviceowner") {
				t.Error("the audit names the policy that the portal signs with")
			}
		})
	}
}

// Neither password, nor a session's token, stands in a file as it is; nobody but the
// service's user reads what is beside certificates.
func TestPortalSecretsAreNotInFiles(t *testing.T) {
	w := servePortal(t, "--https", "off", "--portal", "127.0.0.1:0")
	u, err := url.Parse(w.info.PortalURL)
	must(t, err)
	secrets := []string{w.info.PortalPassword, chosenPassword}
	look := func(when string) {
		for name, text := range tree(t, w.data) {
			for _, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("%s: %s has a secret of the portal", when, name)
				}
			}
			info, err := os.Stat(filepath.Join(w.data, name))
			must(t, err)
			if info.Mode().Perm() != 0o600 && !strings.HasSuffix(name, ".cert.pem") {
				t.Errorf("%s: %s has mode %v", when, name, info.Mode())
			}
		}
	}
	look("before its use")
	w.signIn()
	for _, c := range w.browser.Jar.Cookies(u) {
		secrets = append(secrets, c.Value)
	}
	look("after its use")
}

func TestPortalOutlivesItsPolicy(t *testing.T) {
	w := servePortal(t, "--https", "127.0.0.1:0", "--portal", "127.0.0.1:0")
	w.signIn()
	w.post("/policies", "name", "another", "rights", "ServiceConfig")
	w.post("/policies/provisioningserviceowner/regenerate", "which", "primary", "confirm", "yes")
	if text := w.get("/enrollments/groups"); !strings.Contains(text, "No enrollment groups yet") {
		t.Error("a new key locks the portal out")
	}
	w.post("/policies/provisioningserviceowner/delete", "confirm", "yes")
	if text := w.get("/policies"); !strings.Contains(text, "another") {
		t.Error("without the owner's policy the portal shows no policies")
	}
	res, err := w.browser.Get(w.info.PortalURL + "/enrollments/groups")
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a policy that may not read enrollments: %s", res.Status)
	}
}

// A page elsewhere whose name leads to this machine is not let in, to nothing of it.
func TestPortalIsCalledByItsName(t *testing.T) {
	w := servePortal(t, "--https", "off", "--portal", "127.0.0.1:0", "--hostname", "dps.example")
	for host, want := range map[string]int{
		"localhost:1": http.StatusOK, "LOCALHOST.": http.StatusOK, "a.localhost": http.StatusOK, "127.0.0.1:8080": http.StatusOK, "[::1]:8080": http.StatusOK,
		"192.0.2.1": http.StatusOK, "dps.example:8080": http.StatusOK, "evil.example:8080": http.StatusMisdirectedRequest,
		"127.0.0.1.evil.example": http.StatusMisdirectedRequest, "localhost.evil.example": http.StatusMisdirectedRequest, "xlocalhost": http.StatusMisdirectedRequest,
	} {
		for _, path := range []string{"/sign-in", "/metrics", "/healthz", "/readyz"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.info.PortalURL+path, http.NoBody)
			must(t, err)
			r.Host = host
			res, err := w.browser.Do(r)
			must(t, err)
			must(t, res.Body.Close())
			if res.StatusCode != want {
				t.Errorf("%s of %s: %s, want %d", path, host, res.Status, want)
			}
		}
	}
}

func TestPortalOverTLS(t *testing.T) {
	w := servePortal(t, "--https", "127.0.0.1:0", "--portal", "0.0.0.0:0")
	if !strings.HasPrefix(w.info.PortalURL, "https://localhost:") {
		t.Fatalf("the portal is at %s", w.info.PortalURL)
	}
	w.signIn()
	u, err := url.Parse(w.info.PortalURL)
	must(t, err)
	cookies := w.browser.Jar.Cookies(u)
	if len(cookies) != 1 || cookies[0].Name != "__Host-mooring-portal" {
		t.Errorf("cookies = %v", cookies)
	}
	plain, err := http.Get("http://" + w.info.Listeners["portal"] + "/healthz")
	if err == nil {
		defer plain.Body.Close()
		if plain.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP: %s", plain.Status)
		}
	}
}

func TestResetPortalPassword(t *testing.T) {
	w := servePortal(t, "--https", "127.0.0.1:0", "--portal", "127.0.0.1:0")
	w.signIn()
	if _, err := app.ResetPortalPassword(t.Context(), w.data, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("the data directory of a service that runs was changed beside it")
	}
	call := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: w.roots(), MinVersion: tls.VersionTLS12}},
	}
	c, err := service.NewClientWithToken(
		w.info.ServiceEndpoint,
		service.StaticToken(w.info.ControlPlane.Token),
		&service.Options{HTTPClient: call},
	)
	must(t, err)
	res, err := c.Do(t.Context(), service.Request{Method: http.MethodPost, Path: wire.ResetPortalPath})
	must(t, err)
	var given wire.PortalPassword
	must(t, json.Unmarshal(res.Body, &given))
	if given.Password == "" || given.Password != w.password() {
		t.Errorf("given %q, info has %q", given.Password, w.password())
	}
	if text := w.get("/audit"); !strings.Contains(text, "Sign in") {
		t.Error("the session before the reset still holds")
	}
	w.info.PortalPassword = given.Password
	w.signIn()
	if text := w.audit(); !strings.Contains(text, "reset-password") || !strings.Contains(text, "token:operator") {
		t.Error("the audit does not name the reset")
	}
}

func TestResetPortalPasswordOfAServiceThatStands(t *testing.T) {
	data := newData(t)
	before, err := app.ReadInfo(t.Context(), data)
	must(t, err)
	given, err := app.ResetPortalPassword(t.Context(), data, slog.New(slog.DiscardHandler))
	must(t, err)
	after, err := app.ReadInfo(t.Context(), data)
	must(t, err)
	if given == "" || before.PortalPassword != "" || after.PortalPassword != "" { // --portal off
		t.Errorf("given %q, before %q, after %q", given, before.PortalPassword, after.PortalPassword)
	}
	if _, err := app.ResetPortalPassword(t.Context(), filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory without a service has a password")
	}
}

// Whoever was signed in when a backup was made is not so in what is restored from it; the
// password is that of the backup.
func TestRestoreEndsSessions(t *testing.T) {
	w := servePortal(t, "--https", "off", "--portal", "127.0.0.1:0")
	w.signIn()
	made, err := writeBackup(t, w.data)
	must(t, err)
	u, err := url.Parse(w.info.PortalURL)
	must(t, err)
	cookies := w.browser.Jar.Cookies(u)
	restored := filepath.Join(t.TempDir(), "restored")
	must(t, restore(t, made.File, restored))
	for _, name := range []string{"mooring.db-wal", "mooring.db-shm"} {
		if _, err := os.Stat(filepath.Join(restored, name)); err == nil {
			t.Errorf("%s is left beside the restored database", name)
		}
	}
	again := servePortal(t, "--data", restored, "--https", "off", "--portal", "127.0.0.1:0")
	u, err = url.Parse(again.info.PortalURL)
	must(t, err)
	again.browser.Jar.SetCookies(u, cookies)
	if text := again.get("/audit"); !strings.Contains(text, "Sign in") {
		t.Error("the session of before the backup holds in the restored service")
	}
	if text := again.post("/sign-in", "password", chosenPassword); !strings.Contains(text, "Overview") {
		t.Error("the password of the backup does not sign in")
	}
}
