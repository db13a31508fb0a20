// Package portal is the web pages for operators, embedded in the binary. It is a client
// of the same APIs as everyone else, through the public SDK: of its own it has only the
// sign-in.
//
// Pages are made on the server, and work with a small script for what a browser has to do
// itself: files, the clipboard, times in the local zone. Nothing comes from elsewhere, and
// a Content-Security-Policy without exceptions says so. No page holds a secret before
// somebody asks to see it, and no URL ever does.
package portal

import (
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/signin"
	"github.com/mooring-iot/mooring/service"
)

// API gives clients of the service's own APIs. They are asked for with every request, as
// the keys that they sign with may change.
type API interface {
	Service(ctx context.Context) (*service.Client, error)
	Control(ctx context.Context) (*service.ControlPlane, error)
}

// Options are what the portal needs; all are required.
type Options struct {
	SignIn *signin.Service
	API    API
	Secure bool // whether browsers come over TLS
	// CAFile is the CA that clients of the service must trust; "" where the operator's certificate came
	// without: then CAIssuer is the name of that CA.
	CAFile, CAIssuer string
	Version          string // of the program
	Log              *slog.Logger
	Now              func() time.Time
}

// Caller is on whose behalf the portal calls an API.
type Caller struct {
	Account string // "" where nobody is signed in
	Remote  string // address of the browser, with the port
}

// callerKey is the context key of a Caller.
type callerKey struct{}

// CallerOf returns on whose behalf the call with ctx is made.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Bounds of a request, in bytes.
const (
	maxBody       = 1 << 20
	maxSignInBody = 4 << 10
)

// policy is the Content-Security-Policy of every answer.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// server answers the requests of browsers.
type server struct {
	Options
	views  map[string]*template.Template
	assets *assets
}

// New returns the handler of the portal.
func New(o Options) (http.Handler, error) {
	s := &server{Options: o}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.views, err = loadViews(s.assets); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /assets/", s.assets)
	mux.HandleFunc("GET /sign-in", s.open(s.signInPage))
	mux.HandleFunc("POST /sign-in", s.open(s.signIn))
	mux.HandleFunc("GET /session", s.open(s.sessionState))
	mux.HandleFunc("POST /sign-out", s.signedIn(s.signOut))
	mux.HandleFunc("GET /password", s.signedIn(s.passwordPage))
	mux.HandleFunc("POST /password", s.signedIn(s.changePassword))
	s.routes(mux)
	cross := http.NewCrossOriginProtection()
	return s.secured(cross.Handler(mux)), nil
}

// routes registers the pages behind the sign-in.
func (s *server) routes(mux *http.ServeMux) {
	for pattern, h := range s.pages() {
		mux.HandleFunc(pattern, s.authorized(h))
	}
}

// pages are the pages behind the sign-in, by pattern.
func (s *server) pages() map[string]handler {
	pages := map[string]handler{
		"GET /{$}":      s.overview,
		"GET /ca.pem":   s.caFile,
		"GET /audit":    s.auditPage,
		"GET /policies": s.policiesPage,

		"POST /policies":                   s.createPolicy,
		"GET /policies/{name}":             s.policyPage,
		"POST /policies/{name}":            s.updatePolicy,
		"POST /policies/{name}/keys":       s.policyKeys,
		"POST /policies/{name}/regenerate": s.regeneratePolicy,
		"POST /policies/{name}/delete":     s.deletePolicy,

		"GET /certificates":                s.certificatesPage,
		"GET /certificates/new":            s.newCertificate,
		"POST /certificates":               s.uploadCertificate,
		"POST /certificates/inspect":       s.inspectCertificate,
		"GET /certificates/{name}":         s.certificatePage,
		"GET /certificates/{name}/users":   s.certificateUsers,
		"POST /certificates/{name}/code":   s.certificateCode,
		"POST /certificates/{name}/verify": s.verifyCertificate,
		"POST /certificates/{name}/delete": s.deleteCertificate,

		"GET /refusals":      s.refusalsPage,
		"GET /refusals/{id}": s.refusalPage,

		"GET /hubs":                s.hubsPage,
		"POST /hubs":               s.linkHub,
		"GET /hubs/new":            s.newHub,
		"GET /hubs/{name}":         s.hubPage,
		"POST /hubs/{name}":        s.updateHub,
		"POST /hubs/{name}/unlink": s.unlinkHub,

		"GET /allocation":          s.allocationPage,
		"POST /allocation":         s.updateAllocation,
		"POST /allocation/dry-run": s.dryRun,

		"GET /registrations":              s.registrationsPage,
		"GET /registrations/{id}":         s.registrationPage,
		"POST /registrations/{id}/delete": s.deleteRegistration,

		"POST /check/twin":   s.checkTwin,
		"POST /check/object": s.checkObject,

		"POST " + groups.path + "/of/{id}/device-key": s.deviceKey,

		"GET /enrollments": func(w http.ResponseWriter, r *http.Request, _ *visit) error {
			http.Redirect(w, r, groups.path, http.StatusSeeOther)
			return nil
		},
		"/": func(http.ResponseWriter, *http.Request, *visit) error { return errNoPage },
	}
	for _, k := range []kind{groups, individuals} {
		pages["GET "+k.path] = s.of(k, s.enrollmentsPage)
		pages["POST "+k.path] = s.of(k, s.createEnrollment)
		pages["GET "+k.path+"/new"] = s.of(k, s.newEnrollment)
		pages["POST "+k.path+"/selected"] = s.of(k, s.selectedEnrollments)
		pages["GET "+k.path+"/of/{id}"] = s.of(k, s.enrollmentPage)
		pages["GET "+k.path+"/of/{id}/edit"] = s.of(k, s.editEnrollment)
		pages["POST "+k.path+"/of/{id}"] = s.of(k, s.updateEnrollment)
		pages["POST "+k.path+"/of/{id}/status"] = s.of(k, s.switchEnrollment)
		pages["POST "+k.path+"/of/{id}/keys"] = s.of(k, s.enrollmentKeys)
		pages["POST "+k.path+"/of/{id}/delete"] = s.of(k, s.deleteEnrollment)
	}
	return pages
}

// secured sets the headers that every answer has.
func (s *server) secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		h.Set("Cache-Control", "no-store")
		if s.Secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// visit is one request of a browser.
type visit struct {
	session signin.Session
	csrf    string
}

// handler answers a visit. It returns its error before it writes anything.
type handler func(w http.ResponseWriter, r *http.Request, v *visit) error

// Errors that have a page of their own.
var (
	errNoPage  = errors.New("page not found")
	errExpired = errors.New("the form belongs to an earlier session")
)

// open returns a handler for people who are not signed in, maybe.
func (s *server) open(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{}
		r = s.identified(r, "")
		r.Body = http.MaxBytesReader(w, r.Body, maxSignInBody)
		if session, err := s.SignIn.Session(r.Context(), s.token(r), true); err == nil {
			v.session, v.csrf = session, csrfOf(session.Token)
		}
		if err := h(w, r, v); err != nil {
			s.fail(w, r, v, err)
		}
	}
}

// authorized returns a handler for people who are signed in with a password of their own.
func (s *server) authorized(h handler) http.HandlerFunc {
	return s.signedIn(func(w http.ResponseWriter, r *http.Request, v *visit) error {
		if v.session.MustChange {
			redirect(w, r, "/password")
			return nil
		}
		return h(w, r, v)
	})
}

// signedIn returns a handler for people who are signed in. What changes something comes
// with the token of the session's own pages.
func (s *server) signedIn(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		session, err := s.SignIn.Session(r.Context(), s.token(r), r.Header.Get("X-Poll") == "")
		if err != nil {
			s.stranger(w, r, err)
			return
		}
		v := &visit{session: session, csrf: csrfOf(session.Token)}
		r = s.identified(r, signin.Account)
		r = r.WithContext(context.WithValue(r.Context(), notesKey{}, &notes{}))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		err = s.checkForm(r, v)
		if err == nil {
			err = h(w, r, v)
		}
		if err != nil {
			s.fail(w, r, v, err)
		}
	}
}

// identified returns r with the caller in its context.
func (s *server) identified(r *http.Request, account string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, Caller{Account: account, Remote: r.RemoteAddr}))
}

// checkForm reads the form of a request that changes something, and checks its token.
func (s *server) checkForm(r *http.Request, v *visit) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if err := r.ParseForm(); err != nil {
		return formError(err)
	}
	given := r.Header.Get("X-CSRF-Token")
	if given == "" {
		given = r.PostForm.Get("csrf")
	}
	if !sameText(given, v.csrf) {
		return errExpired
	}
	return nil
}

func formError(err error) error {
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return dps.Errorf(dps.TooLarge, "The form is too large; the limit is 1 MB.")
	}
	return dps.Wrap(dps.Malformed, err, "The form cannot be read.")
}

// sessionHeader tells the script of the pages why a request was refused: it then asks for
// the password in place, and sends the request again.
const (
	sessionHeader = "X-Session"
	sessionEnded  = "ended" // nobody is signed in
	sessionOther  = "other" // somebody is, in a session that began after the page was made
)

// stranger answers somebody who is not signed in: a page leads to the sign-in, and from
// there back to where it was meant to go.
func (s *server) stranger(w http.ResponseWriter, r *http.Request, err error) {
	if dps.CodeOf(err) != dps.Unauthorized {
		s.fail(w, s.identified(r, ""), &visit{}, err)
		return
	}
	to := "/sign-in"
	switch {
	case r.Header.Get("HX-Request") != "":
		w.Header().Set(sessionHeader, sessionEnded)
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method != http.MethodGet:
		data := signInData{To: cameFrom(r), Error: "Your session expired, and your change was not saved. Sign in and try again."}
		s.show(w, r, &visit{}, "sign-in", page{Status: http.StatusUnauthorized, Title: "Sign in", Bare: true, Data: data})
	case crossSite(r) && s.token(r) == "":
		// A browser that follows a link from elsewhere leaves our cookie out. From a page of
		// ours it sends it.
		s.show(w, r, &visit{}, "again", page{Title: "Loading", Bare: true, Refresh: local(r.URL.RequestURI())})
	default:
		if r.URL.Path != "/" {
			to += "?to=" + url.QueryEscape(r.URL.RequestURI())
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	}
}

// cameFrom returns the page of ours that a form was on, "/" if that is not known.
func cameFrom(r *http.Request) string {
	u, err := url.Parse(r.Referer())
	if err != nil || u.Host != r.Host {
		return "/"
	}
	return local(u.RequestURI())
}

// crossSite reports whether a browser came here by a link on another site.
func crossSite(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

// local returns a path of this portal, "/" for all that may lead elsewhere.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

// redirect leads to another page, in a form that htmx understands too.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	if r.Header.Get("HX-Request") != "" {
		w.Header().Set("HX-Redirect", to)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// source is the address of a browser, without the port.
func source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
