package portal

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/signin"
	"github.com/mooring-iot/mooring/service"
)

//go:embed views
var viewFiles embed.FS

// page is what every page has beside what it is about.
type page struct {
	Status  int // of HTTP; 0 is 200
	Title   string
	Nav     string // the entry of the menu that it belongs to
	Crumbs  []crumb
	Bare    bool   // without menu
	Refresh string // where to go at once
	Data    any

	// Set by show.
	CSRF    string
	Account string
	Done    string   // what was just done, in a sentence
	Notes   []string // warnings about the record that the page shows
	Failed  bool     // something on the page needs attention: a screen reader reads the title first
	Version string
	Menu    []menuEntry
}

// crumb is a page above the current one.
type crumb struct{ Title, URL string }

// menuEntry is an entry of the menu, or a heading of some where it has no URL.
type menuEntry struct {
	Title, URL, Icon string
	Active           bool
}

// menu is the menu of every page.
func menu(active string) []menuEntry {
	all := []menuEntry{
		{Title: "Overview", URL: "/", Icon: "home"},
		{Title: "Devices"},
		{Title: "Manage enrollments", URL: "/enrollments/groups", Icon: "list-details"},
		{Title: "Registration records", URL: "/registrations", Icon: "device-desktop"},
		{Title: "Settings"},
		{Title: "Certificates", URL: "/certificates", Icon: "certificate"},
		{Title: "Linked hubs", URL: "/hubs", Icon: "plug-connected"},
		{Title: "Allocation", URL: "/allocation", Icon: "route"},
		{Title: "Shared access policies", URL: "/policies", Icon: "key"},
		{Title: "Monitoring"},
		{Title: "Refusals", URL: "/refusals", Icon: "shield-x"},
		{Title: "Audit", URL: "/audit", Icon: "history"},
	}
	for i := range all {
		all[i].Active = all[i].URL == active
	}
	return all
}

// done are the sentences about what was just done: a page that follows a change is asked
// for with the name of one, and says nothing that a URL could make up.
var done = map[string]string{
	"created":     "Created.",
	"saved":       "Saved.",
	"enabled":     "Enabled.",
	"disabled":    "Disabled.",
	"deleted":     "Deleted.",
	"uploaded":    "Uploaded. Prove possession of its private key before devices can use it.",
	"linked":      "Linked. Devices can now be assigned to this hub.",
	"unlinked":    "Unlinked.",
	"verified":    "Verified. Devices with certificates from this CA can now register.",
	"password":    "Password changed. All other sessions were signed out.",
	"regenerated": "Key regenerated. The old key no longer works.",
}

// loadViews reads the templates: each page with the layout and what is shared.
func loadViews(a *assets) (map[string]*template.Template, error) {
	shared, err := template.New("").Funcs(funcs(a)).ParseFS(viewFiles, "views/layout.html", "views/shared.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(viewFiles, "views/pages/*.html")
	if err != nil {
		return nil, err
	}
	views := make(map[string]*template.Template)
	for _, name := range names {
		t, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if t, err = t.ParseFS(viewFiles, name); err != nil {
			return nil, err
		}
		views[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return views, nil
}

// show writes a page.
func (s *server) show(w http.ResponseWriter, r *http.Request, v *visit, view string, p page) {
	p.CSRF, p.Version, p.Menu = v.csrf, s.Version, menu(p.Nav)
	if v.session.Token != "" {
		p.Account = signin.Account
	}
	p.Done = done[r.URL.Query().Get("done")]
	p.Notes = notesFor(r.Context(), view)
	p.Failed = p.Status >= http.StatusBadRequest && view != "error"
	s.render(w, r, answer{view, "layout", p.Status, p})
}

// part writes a part of a page, that htmx asked for.
func (s *server) part(w http.ResponseWriter, r *http.Request, view, name string, data any) {
	s.render(w, r, answer{view, name, http.StatusOK, data})
}

// answer is a template with what it shows.
type answer struct {
	view, template string
	status         int // 0 is 200
	data           any
}

func (s *server) render(w http.ResponseWriter, r *http.Request, a answer) {
	var out bytes.Buffer
	t, ok := s.views[a.view]
	err := fmt.Errorf("there is no view %q", a.view)
	if ok {
		err = t.ExecuteTemplate(&out, a.template, a.data)
	}
	if err != nil {
		s.Log.ErrorContext(r.Context(), "portal page failed to render", "view", a.view, "err", err)
		http.Error(w, "The page cannot be shown. See the service log for details.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write(out.Bytes()) // a browser that has gone is no failure of ours
}

// problem is what a page about an error says.
type problem struct {
	Heading, Message, TrackingID string
}

// fail answers with an error.
func (s *server) fail(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	status, p := describe(err)
	if status >= http.StatusInternalServerError {
		s.Log.ErrorContext(r.Context(), "portal request failed", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr, "err", err)
	}
	if r.Header.Get("HX-Request") != "" {
		if errors.Is(err, errExpired) {
			w.Header().Set(sessionHeader, sessionOther)
			w.WriteHeader(status)
			return
		}
		w.Header().Set("HX-Retarget", "#alerts")
		w.Header().Set("HX-Reswap", "innerHTML")
		s.render(w, r, answer{"error", "alert", status, p})
		return
	}
	s.show(w, r, v, "error", page{Status: status, Title: p.Heading, Bare: v.session.Token == "", Data: p})
}

// describe says what an error is to people.
func describe(err error) (int, problem) {
	if e, ok := errors.AsType[*service.Error](err); ok {
		return e.Status, problem{Heading: headingOf(e.Status), Message: e.Message, TrackingID: e.TrackingID}
	}
	switch {
	case errors.Is(err, errNoPage):
		return http.StatusNotFound, problem{Heading: "Not found", Message: "This page does not exist."}
	case errors.Is(err, errExpired):
		return http.StatusForbidden, problem{
			Heading: "Not saved",
			Message: "This form belongs to an earlier session. Go back, reload the page and try again.",
		}
	}
	switch dps.CodeOf(err) {
	case dps.TooLarge:
		return http.StatusRequestEntityTooLarge, problem{Heading: "Too large", Message: dps.MessageOf(err)}
	case dps.Malformed, dps.Invalid:
		return http.StatusBadRequest, problem{Heading: "Invalid input", Message: dps.MessageOf(err)}
	case dps.Throttled, dps.Unavailable:
		return http.StatusServiceUnavailable, problem{Heading: "Temporarily unavailable", Message: dps.MessageOf(err)}
	default:
		return http.StatusInternalServerError, problem{Heading: "Internal error", Message: "See the service log for details."}
	}
}

func headingOf(status int) string {
	switch status {
	case http.StatusNotFound:
		return "Not found"
	case http.StatusConflict:
		return "Conflict"
	case http.StatusPreconditionFailed:
		return "Changed by someone else"
	case http.StatusUnauthorized:
		return "Not allowed"
	case http.StatusBadRequest:
		return "Invalid input"
	case http.StatusTooManyRequests:
		return "Too many requests"
	default:
		return "Request failed"
	}
}

// fieldPattern is the member of the wire at the beginning of a message.
var fieldPattern = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9]*(?:[.\[\]A-Za-z0-9_$-]*)?): (.*)$`)

// fieldOf cuts the member that a message of the service is about from the message; the
// member is "" when it names none.
func fieldOf(message string) (field, rule string) {
	m := fieldPattern.FindStringSubmatch(message)
	if m == nil {
		return "", message
	}
	return m[1], m[2]
}

// funcs are what templates can call.
func funcs(a *assets) template.FuncMap {
	return template.FuncMap{
		"asset": a.url,
		"icon":  a.icon,
		"when":  when,
		"lower": strings.ToLower,
		"short": short,
		"add":   func(a, b int) int { return a + b },
		"dict":  dict,
		"has":   func(list []string, v string) bool { return index(list, v) >= 0 },
		"words": words,

		"remedy": remedy,

		"deleteCertificateDetail": func() string { return deleteCertificateDetail },
		"unlinkDetail":            unlinkDetail,

		"certificateURL":  certificateURL,
		"hubURL":          hubURL,
		"policyURL":       policyURL,
		"refusalURL":      refusalURL,
		"addressURL":      addressURL,
		"moveText":        moveText,
		"registrationURL": registrationURL,
		"groupURL":        groups.URL,
		"individualURL":   individuals.URL,
	}
}

// index returns where v is among list, without regard to case, or -1.
func index(list []string, v string) int {
	for i, x := range list {
		if strings.EqualFold(x, v) {
			return i
		}
	}
	return -1
}

// dict makes a map of names and values, for templates that take several.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: a name without a value")
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, errors.New("dict: a name that is no string")
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// remedy writes the remedy of a refusal as a sentence; a command stays as it is.
func remedy(text string) string {
	if text == "" || strings.HasPrefix(text, "mooring ") || strings.Contains(text, ": mooring ") {
		return text
	}
	return upperFirst(text) + "."
}

// short returns the beginning of a long identifier.
func short(text string) string {
	const most = 16
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// wireTimes are the forms of times that the APIs have.
var wireTimes = []string{time.RFC3339Nano, "2006-01-02T15:04:05.9999999", time.RFC1123}

// parseTime reads a time of the wire.
func parseTime(text string) (time.Time, bool) {
	for _, form := range wireTimes {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), !t.IsZero()
		}
	}
	return time.Time{}, false
}

// when writes a time of the wire, which the script then shows in the local zone.
func when(text string) template.HTML {
	t, ok := parseTime(text)
	if !ok {
		return template.HTML(template.HTMLEscapeString(text)) //nolint:gosec // escaped
	}
	return template.HTML(
		`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2006-01-02 15:04:05") + ` UTC</time>`,
	) //nolint:gosec // digits
}

// wordsOf are words of the wire as people read them.
var wordsOf = map[string]string{
	"symmetricKey":                     "Symmetric key",
	"x509":                             "X.509",
	"tpm":                              "TPM",
	"none":                             "None",
	"hashed":                           "Evenly weighted (hashed)",
	"geoLatency":                       "Lowest latency (geoLatency)",
	"static":                           "Static",
	"custom":                           "Custom (webhook)",
	"":                                 "Service default",
	"Hashed":                           "Evenly weighted (hashed)",
	"GeoLatency":                       "Lowest latency (geoLatency)",
	"Static":                           "Static",
	"iothub":                           "IoT Hub",
	"embedded":                         "Embedded",
	"initialAssignment":                "Initial assignment",
	"deviceDataMigrated":               "Moved, data migrated",
	"deviceDataReset":                  "Moved, data reset",
	"reprovisionedToInitialAssignment": "Moved back to its initial hub",
	"enabled":                          "Enabled",
	"disabled":                         "Disabled",
	"assigned":                         "Assigned",
	"assigning":                        "Assigning",
	"failed":                           "Failed",
	"unassigned":                       "Not registered",
}

// words returns how people read a word of the wire: itself, where nothing better is known.
func words(text string) string {
	if w, ok := wordsOf[text]; ok {
		return w
	}
	return text
}
