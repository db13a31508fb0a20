package portal_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/portal"
	"github.com/mooring-iot/mooring/internal/signin"
)

// parameter is a part of a pattern that stands for a name.
var parameter = regexp.MustCompile(`\{[a-z]+\}`)

// pages are all that a stranger may not see, with how they are asked for.
var pages = func() []string {
	all := []string{"GET /nowhere", "POST /nowhere", "PUT /policies/p"}
	for _, p := range portal.Patterns() {
		if p != "/" {
			all = append(all, parameter.ReplaceAllString(strings.TrimSuffix(p, "{$}"), "x"))
		}
	}
	return all
}()

func TestStrangers(t *testing.T) {
	w := newWorld(t, false)
	w.cookies["mooring-portal"] = strings.Repeat("A", 43)
	for _, p := range pages {
		method, path, _ := strings.Cut(p, " ")
		res := w.do(httptest.NewRequest(method, path, nil))
		switch {
		case method == "GET" && res.Code == http.StatusSeeOther && strings.HasPrefix(res.Header().Get("Location"), "/sign-in"):
		case method != "GET" && res.Code == http.StatusUnauthorized:
		default:
			t.Errorf("%s: %d, to %q", p, res.Code, res.Header().Get("Location"))
		}
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("HX-Request", "true")
		if res := w.do(r); res.Code != http.StatusUnauthorized || res.Header().Get("X-Session") != "ended" ||
			res.Body.Len() > 0 {
			t.Errorf("%s by a script: %d", p, res.Code)
		}
	}
	if len(w.upstream.asked) > 0 {
		t.Errorf("the service was asked %d times", len(w.upstream.asked))
	}
}

func TestFirstUse(t *testing.T) {
	w := newWorld(t, false)
	res := w.post("/sign-in", url.Values{"password": {w.oneTime}, "to": {"/audit"}})
	if res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/password" {
		t.Fatalf("sign-in: %d to %q", res.Code, res.Header().Get("Location"))
	}
	for _, p := range pages {
		method, path, _ := strings.Cut(p, " ")
		if path == "/password" || path == "/sign-out" {
			continue
		}
		form := strings.NewReader(url.Values{"csrf": {w.csrf(t)}}.Encode())
		r := httptest.NewRequest(method, path, form)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if res := w.do(r); res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/password" {
			t.Errorf("%s before the password is changed: %d to %q", p, res.Code, res.Header().Get("Location"))
		}
	}
	before := w.cookies["mooring-portal"]
	for what, form := range map[string][]string{
		"too short":          {"current", w.oneTime, "password", "short", "repeated", "short"},
		"two different ones": {"current", w.oneTime, "password", password, "repeated", password + "x"},
		"the same":           {"current", w.oneTime, "password", w.oneTime, "repeated", w.oneTime},
	} {
		if res := w.send(t, "/password", form...); res.Code != http.StatusUnprocessableEntity ||
			!strings.Contains(res.Body.String(), "field-error") {
			t.Errorf("%s: %d", what, res.Code)
		}
	}
	if res := w.send(t, "/password", "current", "wrong", "password", password, "repeated", password); res.Code != http.StatusUnauthorized {
		t.Errorf("a wrong current one: %d", res.Code)
	}
	if res := w.send(t, "/password", "current", w.oneTime, "password", password, "repeated", password); res.Code != http.StatusSeeOther {
		t.Fatalf("changing: %d %s", res.Code, res.Body)
	}
	if w.cookies["mooring-portal"] == before {
		t.Error("the session has the same token as before")
	}
}

func TestSessionFixation(t *testing.T) {
	w := newWorld(t, false)
	w.cookies["mooring-portal"] = "chosen-by-somebody-else"
	w.post("/sign-in", url.Values{"password": {w.oneTime}})
	first := w.cookies["mooring-portal"]
	if first == "chosen-by-somebody-else" || first == "" {
		t.Fatalf("token = %q", first)
	}
	w.post("/sign-in", url.Values{"password": {w.oneTime}})
	second := w.cookies["mooring-portal"]
	if second == first {
		t.Error("a second sign-in has the same token")
	}
	w.cookies["mooring-portal"] = first
	if res := w.get("/password"); res.Code != http.StatusSeeOther {
		t.Errorf("the session before: %d", res.Code)
	}
}

func TestCookies(t *testing.T) {
	for secure, name := range map[bool]string{false: "mooring-portal", true: "__Host-mooring-portal"} {
		w := newWorld(t, secure)
		res := w.post("/sign-in", url.Values{"password": {w.oneTime}})
		c := res.Result().Cookies()
		if len(c) != 1 || c[0].Name != name || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Secure != secure ||
			c[0].Path != "/" ||
			c[0].Domain != "" {
			t.Errorf("secure %v: %v", secure, c)
		}
		if hsts := res.Header().Get("Strict-Transport-Security"); (hsts != "") != secure {
			t.Errorf("secure %v: Strict-Transport-Security %q", secure, hsts)
		}
	}
}

func TestSignOut(t *testing.T) {
	w := signedIn(t)
	token := w.cookies["mooring-portal"]
	if res := w.send(t, "/sign-out"); res.Code != http.StatusSeeOther {
		t.Fatalf("%d", res.Code)
	}
	if w.cookies["mooring-portal"] != "" {
		t.Error("the browser still has the token")
	}
	w.cookies["mooring-portal"] = token
	if res := w.get("/audit"); res.Code != http.StatusSeeOther {
		t.Errorf("after signing out: %d", res.Code)
	}
}

func TestIdleSessionsEnd(t *testing.T) {
	w := signedIn(t)
	w.now = w.now.Add(signin.IdleTime)
	if res := w.get("/password"); res.Code != http.StatusSeeOther {
		t.Errorf("%d", res.Code)
	}
}

func TestAttemptsAreLimited(t *testing.T) {
	w := newWorld(t, false)
	var res *httptest.ResponseRecorder
	for range 6 {
		res = w.post("/sign-in", url.Values{"password": {"wrong"}})
	}
	after, err := strconv.Atoi(res.Header().Get("Retry-After"))
	if res.Code != http.StatusTooManyRequests || err != nil || after < 1 || after > 30 {
		t.Fatalf("the sixth: %d, Retry-After %q", res.Code, res.Header().Get("Retry-After"))
	}
	if res := w.post("/sign-in", url.Values{"password": {w.oneTime}}); res.Code != http.StatusTooManyRequests {
		t.Errorf("the right one, too early: %d", res.Code)
	}
	w.now = w.now.Add(time.Duration(after) * time.Second)
	if res := w.post("/sign-in", url.Values{"password": {w.oneTime}}); res.Code != http.StatusSeeOther {
		t.Errorf("after Retry-After: %d", res.Code)
	}
	if strings.Contains(w.log.String(), w.oneTime) {
		t.Error("the password is in the log")
	}
}

// Whoever writes another address into a header is still where they are.
func TestAttemptsAreCountedWhereTheyComeFrom(t *testing.T) {
	w := newWorld(t, false)
	last := 0
	for i := range 6 {
		r := httptest.NewRequest(http.MethodPost, "/sign-in", strings.NewReader(url.Values{"password": {"wrong"}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip"} {
			r.Header.Set(name, "198.51.100."+strconv.Itoa(i))
		}
		r.RemoteAddr = "192.0.2.1:" + strconv.Itoa(4000+i)
		last = w.do(r).Code
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the sixth: %d", last)
	}
}

func TestForgedRequests(t *testing.T) {
	w := signedIn(t)
	for _, p := range pages {
		method, path, _ := strings.Cut(p, " ")
		if method == "GET" {
			continue
		}
		for what, form := range map[string]url.Values{
			"no token": {}, "a wrong token": {"csrf": {"AAAA"}}, "an empty one": {"csrf": {""}},
		} {
			if res := w.post(path, form); res.Code != http.StatusForbidden {
				t.Errorf("%s with %s: %d", p, what, res.Code)
			}
		}
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(url.Values{"csrf": {w.csrf(t)}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if res := w.do(r); res.Code != http.StatusForbidden {
			t.Errorf("%s from another site, with the right token: %d", p, res.Code)
		}
		if len(w.upstream.asked) > 0 {
			t.Errorf("%s: the service was asked", p)
		}
	}
}

func TestSignInFromAnotherSite(t *testing.T) {
	w := newWorld(t, false)
	r := httptest.NewRequest(http.MethodPost, "/sign-in", strings.NewReader(url.Values{"password": {w.oneTime}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://elsewhere.example")
	if res := w.do(r); res.Code != http.StatusForbidden || len(w.cookies) > 0 {
		t.Errorf("%d, cookies %v", res.Code, w.cookies)
	}
}

func TestTokensBelongToTheirSession(t *testing.T) {
	w := signedIn(t)
	other := w.csrf(t)
	w.post("/sign-in", url.Values{"password": {password}})
	if res := w.post("/policies/p/keys", url.Values{"csrf": {other}}); res.Code != http.StatusForbidden {
		t.Errorf("the token of another session: %d", res.Code)
	}
}

func TestWhereToAfterSignIn(t *testing.T) {
	w := signedIn(t)
	for to, want := range map[string]string{
		"/audit?kind=enrollment": "/audit?kind=enrollment", "": "/", "//elsewhere.example": "/", "https://elsewhere.example/": "/",
		`/\elsewhere.example`: "/", "javascript:alert(1)": "/", "/\r\nSet-Cookie: a=b": "/", "audit": "/",
	} {
		w.send(t, "/sign-out")
		res := w.post("/sign-in", url.Values{"password": {password}, "to": {to}})
		if got := res.Header().Get("Location"); res.Code != http.StatusSeeOther || got != want {
			t.Errorf("to %q: %d to %q, want %q", to, res.Code, got, want)
		}
	}
}

func TestLinksFromElsewhere(t *testing.T) {
	w := newWorld(t, false)
	r := httptest.NewRequest(http.MethodGet, "/audit?kind=enrollment", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	res := w.do(r)
	if res.Code != http.StatusOK ||
		!strings.Contains(res.Body.String(), `<meta http-equiv="refresh" content="0;url=/audit?kind=enrollment">`) {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}

func TestHeaders(t *testing.T) {
	w := signedIn(t)
	for _, path := range []string{"/sign-in", "/password", "/nowhere", "/assets/none", "/audit"} {
		h := w.get(path).Header()
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'",
		} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: Content-Security-Policy %q has no %s", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || h.Get("X-Frame-Options") != "DENY" || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestLargeForms(t *testing.T) {
	w := signedIn(t)
	if res := w.send(t, "/check/twin", "twin", strings.Repeat("a", 2<<20)); res.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("2 MB: %d", res.Code)
	}
	if res := w.post("/sign-in", url.Values{"password": {strings.Repeat("a", 1<<20)}}); res.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("1 MB at the sign-in: %d", res.Code)
	}
}

// A session that ended is renewed in place: the script signs in, and gets the token for the
// forms that are open.
func TestSigningInInPlace(t *testing.T) {
	w := signedIn(t)
	state := func(res *httptest.ResponseRecorder) (s struct{ CSRF, Error string }) {
		t.Helper()
		must(t, json.Unmarshal(res.Body.Bytes(), &s))
		return s
	}
	in := func(secret string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/sign-in", strings.NewReader(url.Values{"password": {secret}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-In-Place", "1")
		return w.do(r)
	}
	old := w.csrf(t)
	if res := w.get("/session"); res.Code != http.StatusOK || state(res).CSRF != old {
		t.Errorf("while it lasts: %d %s", res.Code, res.Body)
	}
	w.now = w.now.Add(signin.IdleTime)
	if res := w.get("/session"); res.Code != http.StatusUnauthorized || state(res).CSRF != "" {
		t.Errorf("once it ended: %d %s", res.Code, res.Body)
	}
	if res := in(
		"wrong",
	); res.Code != http.StatusUnauthorized || state(res).Error != "Wrong password." ||
		w.get("/session").Code != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d %s", res.Code, res.Body)
	}
	res := in(password)
	csrf := state(res).CSRF
	if res.Code != http.StatusOK || csrf == "" || csrf == old {
		t.Fatalf("the right one: %d %s", res.Code, res.Body)
	}
	if res := w.post("/policies/p/keys", url.Values{"csrf": {old}}); res.Code != http.StatusForbidden {
		t.Errorf("the token of before: %d", res.Code)
	}
	if res := w.post("/check/twin", url.Values{"csrf": {csrf}}); res.Code != http.StatusOK {
		t.Errorf("the new token: %d", res.Code)
	}
	r := httptest.NewRequest(http.MethodPost, "/check/twin", strings.NewReader(url.Values{"csrf": {old}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("HX-Request", "true")
	if res := w.do(r); res.Code != http.StatusForbidden || res.Header().Get("X-Session") != "other" {
		t.Errorf("a script with the token of before: %d %v", res.Code, res.Header())
	}
}

// Without the script a form that came too late leads back to its page.
func TestFormsOfAnEndedSession(t *testing.T) {
	w := signedIn(t)
	w.now = w.now.Add(signin.IdleTime)
	for referer, want := range map[string]string{
		"http://example.com/enrollments/groups/new?ca=a": `name="to" value="/enrollments/groups/new?ca=a"`, "https://elsewhere.example/x": `name="to" value="/"`, "": `name="to" value="/"`,
	} {
		r := httptest.NewRequest(http.MethodPost, "/policies", strings.NewReader("name=a"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Referer", referer)
		res := w.do(r)
		if body := res.Body.String(); res.Code != http.StatusUnauthorized || !strings.Contains(body, want) ||
			!strings.Contains(body, "Your session expired") {
			t.Errorf("from %q: %d, without %s", referer, res.Code, want)
		}
	}
}
