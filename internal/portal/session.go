package portal

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/signin"
)

// Names of the cookie that holds a session's token. Browsers hold the second one to what
// it says: it came from this very host, over TLS.
// Source: RFC 6265bis, section 4.1.3.2.
const (
	plainCookie  = "mooring-portal"
	secureCookie = "__Host-mooring-portal"
)

func (s *server) cookieName() string {
	if s.Secure {
		return secureCookie
	}
	return plainCookie
}

// token returns what the browser holds, "" if nothing.
func (s *server) token(r *http.Request) string {
	c, err := r.Cookie(s.cookieName())
	if err != nil {
		return ""
	}
	return c.Value
}

// hold gives a browser the token of its session; "" takes it away. The cookie ends with
// the browser, and the session at the latest by its own rules.
func (s *server) hold(w http.ResponseWriter, token string) {
	c := &http.Cookie{ //nolint:gosec // Secure but on loopback, where there is no TLS
		Name: s.cookieName(), Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.Secure,
	}
	if token == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// csrfOf returns the token of a session's forms: it is of no use without the session, and
// says nothing about the session's own token.
func csrfOf(token string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("mooring portal form"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func sameText(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// signInData is what the page to sign in shows.
type signInData struct {
	To    string // where to go then
	Error string
	Ended bool // somebody just signed out
}

func (s *server) signInPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	to := local(r.URL.Query().Get("to"))
	if v.session.Token != "" {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	}
	s.show(w, r, v, "sign-in", page{Title: "Sign in", Bare: true, Data: signInData{To: to, Ended: r.URL.Query().Get("done") == "signed-out"}})
	return nil
}

func (s *server) signIn(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := r.ParseForm(); err != nil {
		return formError(err)
	}
	to, inPlace := local(r.PostForm.Get("to")), r.Header.Get(inPlaceHeader) != ""
	session, err := s.SignIn.SignIn(r.Context(), source(r), r.PostForm.Get("password"))
	if err != nil {
		message, status := refusal(w, err)
		if status == http.StatusInternalServerError {
			return err
		}
		if inPlace {
			writeState(w, status, sessionState{Error: message})
			return nil
		}
		s.show(w, r, &visit{}, "sign-in", page{Status: status, Title: "Sign in", Bare: true, Data: signInData{To: to, Error: message}})
		return nil
	}
	if v.session.Token != "" { // whoever was signed in here before is so no longer
		if err := s.SignIn.SignOut(r.Context(), v.session.Token); err != nil {
			return err
		}
	}
	s.hold(w, session.Token)
	if inPlace {
		writeState(w, http.StatusOK, stateOf(session))
		return nil
	}
	if session.MustChange {
		to = "/password"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// inPlaceHeader says that the script of a page signs in, and stays on the page.
const inPlaceHeader = "X-In-Place"

// sessionState is what the script of the pages is told about the session.
type sessionState struct {
	CSRF       string `json:"csrf,omitempty"`       // the token of its forms; absent where nobody is signed in
	MustChange bool   `json:"mustChange,omitempty"` // nothing but a change of the password is allowed
	Error      string `json:"error,omitempty"`
}

func stateOf(session signin.Session) sessionState {
	return sessionState{CSRF: csrfOf(session.Token), MustChange: session.MustChange}
}

// sessionState tells the script of a page whether its session is still there.
func (s *server) sessionState(w http.ResponseWriter, _ *http.Request, v *visit) error {
	if v.session.Token == "" {
		writeState(w, http.StatusUnauthorized, sessionState{})
		return nil
	}
	writeState(w, http.StatusOK, stateOf(v.session))
	return nil
}

func writeState(w http.ResponseWriter, status int, state sessionState) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(state) // a browser that has gone is no failure of ours
}

// refusal returns what to say about a failed attempt, with its status.
func refusal(w http.ResponseWriter, err error) (message string, status int) {
	switch dps.CodeOf(err) {
	case dps.Unauthorized:
		return dps.MessageOf(err), http.StatusUnauthorized
	case dps.Throttled:
		if e, ok := errors.AsType[*dps.Error](err); ok && e.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
		}
		return dps.MessageOf(err), http.StatusTooManyRequests
	default:
		return "", http.StatusInternalServerError
	}
}

func (s *server) signOut(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := s.SignIn.SignOut(r.Context(), v.session.Token); err != nil {
		return err
	}
	s.hold(w, "")
	w.Header().Set("Clear-Site-Data", `"cache"`)
	redirect(w, r, "/sign-in?done=signed-out")
	return nil
}

// passwordData is what the page to change the password shows.
type passwordData struct {
	First  bool // the password is the one that was given out
	Min    int
	Errors map[string]string // by field
}

func (s *server) passwordPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	s.showPassword(w, r, v, http.StatusOK, nil)
	return nil
}

func (s *server) showPassword(w http.ResponseWriter, r *http.Request, v *visit, status int, problems map[string]string) {
	title := "Change password"
	if v.session.MustChange {
		title = "Choose a password"
	}
	s.show(w, r, v, "password", page{
		Status: status, Title: title, Bare: v.session.MustChange,
		Data: passwordData{First: v.session.MustChange, Min: signin.MinPassword, Errors: problems},
	})
}

func (s *server) changePassword(w http.ResponseWriter, r *http.Request, v *visit) error {
	form := r.PostForm
	if form.Get("password") != form.Get("repeated") {
		s.showPassword(w, r, v, http.StatusUnprocessableEntity, map[string]string{"repeated": "The new passwords do not match."})
		return nil
	}
	session, err := s.SignIn.ChangePassword(r.Context(), source(r), form.Get("current"), form.Get("password"))
	if err != nil {
		if dps.CodeOf(err) == dps.Invalid {
			_, message := fieldOf(dps.MessageOf(err))
			s.showPassword(w, r, v, http.StatusUnprocessableEntity, map[string]string{"password": "The password " + message + "."})
			return nil
		}
		message, status := refusal(w, err)
		if status == http.StatusInternalServerError {
			return err
		}
		s.showPassword(w, r, v, status, map[string]string{"current": message})
		return nil
	}
	s.hold(w, session.Token)
	http.Redirect(w, r, "/?done=password", http.StatusSeeOther)
	return nil
}
