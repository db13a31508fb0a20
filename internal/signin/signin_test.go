package signin_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/signin"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// store keeps everything in memory.
type store struct {
	mu       sync.Mutex
	account  dps.PortalAccount
	sessions map[string]dps.PortalSession
	entries  []audit.Entry
}

func (s *store) PortalAccount(context.Context, dps.InstanceID) (dps.PortalAccount, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account, nil
}

func (s *store) PutPortalAccount(ctx context.Context, a dps.PortalAccount, ifMatch dps.ETag) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.account.Version != ifMatch {
		return dps.Errorf(dps.ConcurrentChange, "Precondition failed.")
	}
	if c := audit.From(ctx); c != nil {
		e := c.Written(1, ifMatch, a.Version)
		s.entries = append(s.entries, e)
		c.Committed(e)
	}
	s.account, s.sessions = a, make(map[string]dps.PortalSession)
	return nil
}

func (s *store) PortalSession(_ context.Context, _ dps.InstanceID, id string) (dps.PortalSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.sessions[id]
	if !ok {
		return p, dps.Errorf(dps.Unauthorized, "Unauthorized")
	}
	return p, nil
}

func (s *store) AddPortalSession(_ context.Context, p dps.PortalSession) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[p.ID] = p
	return nil
}

func (s *store) TouchPortalSession(_ context.Context, p dps.PortalSession) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.sessions[p.ID]; ok {
		s.sessions[p.ID] = p
	}
	return nil
}

func (s *store) DeletePortalSession(_ context.Context, _ dps.InstanceID, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
	return nil
}

func (s *store) RecordAudit(_ context.Context, e audit.Entry) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, e)
	return int64(len(s.entries)), nil
}

func (s *store) Audit(context.Context, dps.InstanceID, audit.Filter, int, *audit.Cursor) ([]audit.Entry, error) {
	return nil, nil
}

// world is a service whose account has its first password.
type world struct {
	*signin.Service
	store *store
	log   *strings.Builder
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{store: &store{sessions: make(map[string]dps.PortalSession)}, log: &strings.Builder{}, now: start}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	w.Service = signin.New(signin.Options{
		Store: w.store, Instance: dps.DefaultInstance, Audit: audit.New(audit.Options{Store: w.store, Log: log}), Log: log,
		Now: func() time.Time { return w.now },
	})
	if err := w.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

const (
	here     = "192.0.2.1"
	there    = "192.0.2.2"
	password = "four quiet harbour lights"
)

func (w *world) oneTime() string { return string(w.store.account.OneTime.Reveal()) }

// chosen gives the account a password of its own and returns the session.
func (w *world) chosen(t *testing.T) signin.Session {
	t.Helper()
	s, err := w.ChangePassword(t.Context(), here, w.oneTime(), password)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantCode(t *testing.T, what string, err error, want dps.Code) {
	t.Helper()
	if err == nil || dps.CodeOf(err) != want {
		t.Errorf("%s: error = %v, want code %v", what, err, want)
	}
}

func TestFirstPassword(t *testing.T) {
	w := newWorld(t)
	first := w.oneTime()
	if err := w.Ensure(t.Context()); err != nil || w.oneTime() != first {
		t.Errorf("a second start changed the password: %v", err)
	}
	_, err := w.SignIn(t.Context(), here, first+"x")
	wantCode(t, "a wrong one", err, dps.Unauthorized)
	_, err = w.SignIn(t.Context(), here, "")
	wantCode(t, "none", err, dps.Unauthorized)
	s, err := w.SignIn(t.Context(), here, " "+strings.ToUpper(first)+"\n")
	if err != nil || !s.MustChange {
		t.Fatalf("SignIn = %+v, %v", s, err)
	}
	next, err := w.ChangePassword(t.Context(), here, first, password)
	if err != nil || next.MustChange || next.Token == s.Token {
		t.Fatalf("ChangePassword = %+v, %v", next, err)
	}
	_, err = w.Session(t.Context(), s.Token, true)
	wantCode(t, "the session before", err, dps.Unauthorized)
	if _, err = w.Session(t.Context(), next.Token, true); err != nil {
		t.Errorf("the new session: %v", err)
	}
	_, err = w.SignIn(t.Context(), here, first)
	wantCode(t, "the first password, used", err, dps.Unauthorized)
	if s, err = w.SignIn(t.Context(), here, password); err != nil || s.MustChange {
		t.Errorf("the chosen one: %+v, %v", s, err)
	}
	if strings.Contains(w.log.String(), first) || strings.Contains(w.log.String(), password) || strings.Contains(w.log.String(), s.Token) {
		t.Error("a secret is in the log")
	}
	if e := w.store.entries; len(e) != 1 || e[0].Operation != audit.ChangePassword || e[0].Principal != "portal:admin" ||
		e[0].Result != audit.OK {
		t.Errorf("audit = %+v", e)
	}
}

func TestNewPasswords(t *testing.T) {
	w := newWorld(t)
	w.chosen(t)
	for name, next := range map[string]string{
		"short": "short", "eleven characters": "aaaaaaaaaaa", "long": strings.Repeat("a", signin.MaxPassword+1), "the same": password, "no text": "\xff\xfe" + password,
	} {
		_, err := w.ChangePassword(t.Context(), here, password, next)
		wantCode(t, name, err, dps.Invalid)
	}
	if _, err := w.ChangePassword(t.Context(), here, password, "zwölf Lämmer"); err != nil {
		t.Errorf("twelve characters: %v", err)
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Run("when idle", func(t *testing.T) {
		w := newWorld(t)
		s := w.chosen(t)
		for range 3 {
			w.now = w.now.Add(signin.IdleTime - time.Second)
			if _, err := w.Session(t.Context(), s.Token, true); err != nil {
				t.Fatalf("in use: %v", err)
			}
		}
		w.now = w.now.Add(signin.IdleTime / 2)
		if _, err := w.Session(t.Context(), s.Token, false); err != nil {
			t.Fatalf("a page that refreshes itself: %v", err)
		}
		w.now = w.now.Add(signin.IdleTime / 2)
		_, err := w.Session(t.Context(), s.Token, true)
		wantCode(t, "idle", err, dps.Unauthorized)
	})
	t.Run("by age", func(t *testing.T) {
		w := newWorld(t)
		s := w.chosen(t)
		for w.now.Before(start.Add(signin.MaxTime - 30*time.Minute)) {
			w.now = w.now.Add(30 * time.Minute)
			if _, err := w.Session(t.Context(), s.Token, true); err != nil && w.now.Before(start.Add(signin.MaxTime)) {
				t.Fatal(err)
			}
		}
		w.now = start.Add(signin.MaxTime)
		_, err := w.Session(t.Context(), s.Token, true)
		wantCode(t, "old", err, dps.Unauthorized)
	})
	t.Run("by signing out", func(t *testing.T) {
		w := newWorld(t)
		s := w.chosen(t)
		if err := w.SignOut(t.Context(), s.Token); err != nil {
			t.Fatal(err)
		}
		_, err := w.Session(t.Context(), s.Token, true)
		wantCode(t, "signed out", err, dps.Unauthorized)
	})
	t.Run("by a reset", func(t *testing.T) {
		w := newWorld(t)
		s := w.chosen(t)
		given, err := w.ResetLocally(t.Context(), "portal reset-password")
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Session(t.Context(), s.Token, true)
		wantCode(t, "after the reset", err, dps.Unauthorized)
		_, err = w.SignIn(t.Context(), here, password)
		wantCode(t, "the old password", err, dps.Unauthorized)
		if s, err = w.SignIn(t.Context(), here, string(given.Reveal())); err != nil || !s.MustChange {
			t.Errorf("the new password: %+v, %v", s, err)
		}
		last := w.store.entries[len(w.store.entries)-1]
		if last.Operation != audit.ResetPassword || last.Principal != "command:portal reset-password" {
			t.Errorf("audit = %+v", last)
		}
	})
	t.Run("that never was", func(t *testing.T) {
		w := newWorld(t)
		for _, token := range []string{"", "x", strings.Repeat("A", 43)} {
			_, err := w.Session(t.Context(), token, true)
			wantCode(t, token, err, dps.Unauthorized)
		}
	})
}

func TestTokensAreNotKept(t *testing.T) {
	w := newWorld(t)
	s := w.chosen(t)
	for id := range w.store.sessions {
		if strings.Contains(id, s.Token) {
			t.Error("the token is stored")
		}
	}
	if hash := string(w.store.account.Hash.Reveal()); !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash = %s", hash)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	w.chosen(t)
	var err error
	for i := range 6 {
		_, err = w.SignIn(t.Context(), here, "wrong")
		if i < 5 {
			wantCode(t, "a wrong one", err, dps.Unauthorized)
		}
	}
	wantCode(t, "the sixth", err, dps.Throttled)
	var after time.Duration
	if e, ok := errors.AsType[*dps.Error](err); ok {
		after = e.RetryAfter
	}
	if after <= 0 || after > 30*time.Second {
		t.Errorf("RetryAfter = %v", after)
	}
	_, err = w.SignIn(t.Context(), here, password)
	wantCode(t, "the right one, too early", err, dps.Throttled)
	if _, err = w.SignIn(t.Context(), there, password); err != nil {
		t.Errorf("another source: %v", err)
	}
	w.now = w.now.Add(after)
	if _, err = w.SignIn(t.Context(), here, password); err != nil {
		t.Errorf("after the time that was told: %v", err)
	}
	for range 5 {
		_, err = w.SignIn(t.Context(), here, "wrong") // all back
		wantCode(t, "a wrong one", err, dps.Unauthorized)
	}
}

func TestLimitOfAll(t *testing.T) {
	w := newWorld(t)
	w.chosen(t)
	throttled := 0
	for i := range 60 {
		_, err := w.SignIn(t.Context(), fmt.Sprintf("2001:db8:0:%x::1", i), "wrong")
		if dps.CodeOf(err) == dps.Throttled {
			throttled++
		}
	}
	if throttled != 11 { // the first of 50 went to the change of the password
		t.Errorf("%d of 60 sources were told to wait, want 11", throttled)
	}
}

// Many who guess without pause do not lock out the operator: neither at the machine
// itself, nor where somebody signed in before.
func TestManyDoNotLockOut(t *testing.T) {
	w := newWorld(t)
	w.chosen(t)
	for round := range 3 {
		for i := range 100 {
			if _, err := w.SignIn(t.Context(), fmt.Sprintf("2001:db8:%x:%x::1", round, i), "wrong"); err == nil {
				t.Fatal("a wrong password signs in")
			}
		}
		for _, source := range []string{here, "127.0.0.1", "::1", "::ffff:127.0.0.1"} {
			if _, err := w.SignIn(t.Context(), source, password); err != nil {
				t.Errorf("round %d, the right password from %s: %v", round, source, err)
			}
		}
		w.now = w.now.Add(10 * time.Second)
	}
	for i := range 6 { // what came back in the last ten seconds
		_, _ = w.SignIn(t.Context(), fmt.Sprintf("2001:db8:ffff:%x::1", i), "wrong")
	}
	// Another source waits for the others, and keeps its own attempts meanwhile.
	for range 10 {
		_, err := w.SignIn(t.Context(), there, password)
		wantCode(t, "another source", err, dps.Throttled)
		if e, ok := errors.AsType[*dps.Error](err); ok && e.RetryAfter > 2*time.Second {
			t.Fatalf("told to wait %v, want the turn of all", e.RetryAfter)
		}
	}
	w.now = w.now.Add(2 * time.Second)
	if _, err := w.SignIn(t.Context(), there, password); err != nil {
		t.Errorf("after the time that was told: %v", err)
	}
	// The machine itself is limited as every source is.
	for range 5 {
		_, err := w.SignIn(t.Context(), "127.0.0.1", "wrong")
		wantCode(t, "a wrong one", err, dps.Unauthorized)
	}
	_, err := w.SignIn(t.Context(), "127.0.0.1", password)
	wantCode(t, "the sixth", err, dps.Throttled)
}

func TestOneNetworkIsOneSource(t *testing.T) {
	w := newWorld(t)
	w.chosen(t)
	var err error
	for i := range 6 {
		_, err = w.SignIn(t.Context(), "2001:db8::"+string(rune('1'+i)), "wrong")
	}
	wantCode(t, "the sixth address of one network", err, dps.Throttled)
}
