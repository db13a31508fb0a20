package wire_test

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/wire"
)

// browser is somebody who is signed in to the portal.
type browser struct {
	http *http.Client
	base string
}

// browse signs in to the portal of a world that has one.
func (w *world) browse(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{http: &http.Client{Jar: jar}, base: w.info.PortalURL}
	t.Cleanup(b.http.CloseIdleConnections)
	b.post(t, "/sign-in", url.Values{"password": {w.info.PortalPassword}})
	const chosen = "correct horse battery"
	form := url.Values{"csrf": {b.csrf(t)}, "current": {w.info.PortalPassword}, "password": {chosen}, "repeated": {chosen}}
	b.post(t, "/password", form)
	return b
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (b *browser) csrf(t *testing.T) string {
	t.Helper()
	m := csrfField.FindStringSubmatch(b.page(t, "/password"))
	if m == nil {
		t.Fatal("the page to change the password has no token")
	}
	return m[1]
}

func (b *browser) post(t *testing.T, path string, form url.Values) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.read(t, req)
}

// page returns the text of a page.
func (b *browser) page(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.base+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return b.read(t, req)
}

func (b *browser) read(t *testing.T, req *http.Request) string {
	t.Helper()
	res, err := b.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d, %v\n%s", req.Method, req.URL.Path, res.StatusCode, err, text)
	}
	return string(text)
}

// shows holds that the portal's page of a refusal says what d says.
func (b *browser) shows(t *testing.T, d wire.Decision) {
	t.Helper()
	text := readable(b.page(t, "/refusals/"+url.PathEscape(d.TrackingID)))
	wanted := []string{d.RegistrationID, d.TrackingID, d.Summary, d.Remedy, d.Answer}
	for _, c := range d.Checks {
		wanted = append(wanted, c.Name, c.Detail)
	}
	for _, want := range wanted {
		if want = readable(html.EscapeString(want)); !strings.Contains(text, want) {
			t.Errorf("the portal's page of %s does not say %q:\n%s", d.TrackingID, want, text)
		}
	}
	if d.Summary == "" || d.Remedy == "" || len(d.Checks) == 0 {
		t.Errorf("decision = %+v", d)
	}
}

var markup = regexp.MustCompile(`<[^>]*>`)

// readable returns what a person reads of a page: blanks folded, in lower case, since pages begin
// sentences that elsewhere follow a colon.
func readable(page string) string {
	return strings.ToLower(strings.Join(strings.Fields(html.UnescapeString(markup.ReplaceAllString(page, ""))), " "))
}
