package portal

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// notes are the warnings that the APIs answered with while a request was worked on. The page
// that follows shows them: it gets them in a cookie that only its own session can make.
type notes struct {
	token  string // of the session
	cookie *http.Cookie
	texts  []string
}

// notesKey is the context key of *notes.
type notesKey struct{}

func notesOf(ctx context.Context) *notes {
	n, _ := ctx.Value(notesKey{}).(*notes)
	return n
}

// Warn keeps a warning of an API for the person on whose behalf the call with ctx was made.
// Outside of a request of the portal it does nothing.
func Warn(ctx context.Context, text string) {
	if n := notesOf(ctx); n != nil {
		n.texts = append(n.texts, text)
	}
}

// maxNotes bounds what a cookie of warnings holds, in bytes of JSON: browsers take 4096 with
// everything.
const maxNotes = 2500

// noteCookie is the cookie of warnings, without its value.
func (s *server) noteCookie() *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure but on loopback, where there is no TLS
		Name: s.cookieName() + "-notes", Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.Secure, MaxAge: 60,
	}
}

// hold gives the warnings to the browser, for the page that it is sent to.
func (n *notes) hold(w http.ResponseWriter) {
	if n == nil || len(n.texts) == 0 {
		return
	}
	text, size := []string{}, 0
	for _, t := range n.texts {
		if size += len(t) + len(`"",`); size > maxNotes {
			break
		}
		text = append(text, t)
	}
	body, _ := json.Marshal(text) // strings can always be written
	c := *n.cookie
	c.Value = base64.RawURLEncoding.EncodeToString(body) + "." + base64.RawURLEncoding.EncodeToString(noteMAC(n.token, body))
	http.SetCookie(w, &c)
}

// takeNotes returns the warnings that a page before left in a cookie, and takes the cookie
// away.
func (s *server) takeNotes(w http.ResponseWriter, r *http.Request, token string) []string {
	kept := s.noteCookie()
	c, err := r.Cookie(kept.Name)
	if err != nil || token == "" {
		return nil
	}
	kept.MaxAge = -1
	http.SetCookie(w, kept)
	text, mac, _ := strings.Cut(c.Value, ".")
	body, err := base64.RawURLEncoding.DecodeString(text)
	given, macErr := base64.RawURLEncoding.DecodeString(mac)
	var all []string
	if err != nil || macErr != nil || !hmac.Equal(given, noteMAC(token, body)) || json.Unmarshal(body, &all) != nil {
		return nil
	}
	return all
}

func noteMAC(token string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("mooring portal notes\x00"))
	mac.Write(body)
	return mac.Sum(nil)
}
