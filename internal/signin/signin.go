// Package signin decides who may use the portal: there is one account, whose first
// password is given out for one use, and each signed-in browser has a session.
//
// Passwords are kept as an argon2id hash, and of a session's token only its hash is
// kept. Sessions end by sign-out, by any change of the password, when they were not used
// for a while, and at last by age. Sign-ins are limited for each source and in all.
package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

// Account is the name of the one account.
const Account = "admin"

// How long a session lasts.
const (
	IdleTime = time.Hour
	MaxTime  = 12 * time.Hour

	// touchEvery is how often the use of a session is written down.
	touchEvery = time.Minute
)

// Bounds of a chosen password: characters at least, and bytes at most.
const (
	MinPassword = 12
	MaxPassword = 256
)

// Store keeps the account and its sessions.
type Store interface {
	// PortalAccount returns the account; one that was never written has no version.
	PortalAccount(ctx context.Context, in dps.InstanceID) (dps.PortalAccount, error)

	// PutPortalAccount writes the account in place of the one at version ifMatch, "" for
	// none, and ends all sessions. It fails with ConcurrentChange at another version.
	PutPortalAccount(ctx context.Context, a dps.PortalAccount, ifMatch dps.ETag) error

	// PortalSession fails with Unauthorized.
	PortalSession(ctx context.Context, in dps.InstanceID, id string) (dps.PortalSession, error)

	// AddPortalSession writes a new session.
	AddPortalSession(ctx context.Context, s dps.PortalSession) error

	// TouchPortalSession writes Used and Expires of a session, if it is still there.
	TouchPortalSession(ctx context.Context, s dps.PortalSession) error

	// DeletePortalSession removes a session, if it is there.
	DeletePortalSession(ctx context.Context, in dps.InstanceID, id string) error
}

// Options are what a Service needs; all are required.
type Options struct {
	Store    Store
	Instance dps.InstanceID
	Audit    *audit.Log
	Log      *slog.Logger
	Now      func() time.Time
}

// Service signs in and out. It is safe for concurrent use.
type Service struct {
	Options
	limits  *limits
	hashing chan struct{} // holds one for each hash under way: each takes memory
}

// maxHashing is how many hashes are made at a time.
const maxHashing = 2

// New returns a Service.
func New(o Options) *Service {
	return &Service{Options: o, limits: newLimits(), hashing: make(chan struct{}, maxHashing)}
}

// Session is a signed-in browser.
type Session struct {
	Token      string // what the browser holds
	MustChange bool   // nothing but a change of the password is allowed
}

// Ensure gives the account its first password, if it has none yet.
func (s *Service) Ensure(ctx context.Context) error {
	a, err := s.Store.PortalAccount(ctx, s.Instance)
	if err != nil || a.Version != "" {
		return err
	}
	err = s.Store.PutPortalAccount(ctx, s.given(), "")
	if dps.CodeOf(err) == dps.ConcurrentChange {
		return nil // another process was first
	}
	return err
}

// given is the account with a new one-time password.
func (s *Service) given() dps.PortalAccount {
	return dps.PortalAccount{Instance: s.Instance, OneTime: dps.NewOneTimePassword(), Version: dps.NewETag(), Changed: s.Now()}
}

// wrong is the answer to a wrong password.
func wrong() error { return dps.Errorf(dps.Unauthorized, "Wrong password.") }

// SignIn begins a session for a browser at source, an IP address. It fails with
// Unauthorized, or with Throttled and RetryAfter when too many have been tried.
func (s *Service) SignIn(ctx context.Context, source, password string) (Session, error) {
	if err := s.limits.take(source, s.Now()); err != nil {
		s.Log.WarnContext(ctx, "portal sign-in refused", "remote", source, "reason", "too many attempts")
		return Session{}, err
	}
	a, err := s.Store.PortalAccount(ctx, s.Instance)
	if err != nil {
		return Session{}, err
	}
	if err := s.check(ctx, a, password); err != nil {
		s.Log.WarnContext(ctx, "portal sign-in refused", "remote", source, "reason", err.Error())
		return Session{}, err
	}
	s.limits.forgive(source)
	session, err := s.begin(ctx, a)
	if err == nil {
		s.Log.InfoContext(ctx, "portal sign-in", "remote", source, "oneTimePassword", a.MustChange())
	}
	return session, err
}

// check fails with Unauthorized unless password is the account's.
func (s *Service) check(ctx context.Context, a dps.PortalAccount, password string) error {
	if a.MustChange() {
		typed := strings.ToLower(strings.TrimSpace(password))
		if subtle.ConstantTimeCompare([]byte(typed), a.OneTime.Reveal()) != 1 {
			return wrong()
		}
		return nil
	}
	if len(password) > MaxPassword || a.Hash.IsZero() {
		return wrong()
	}
	select {
	case s.hashing <- struct{}{}:
		defer func() { <-s.hashing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !matches(string(a.Hash.Reveal()), password) {
		return wrong()
	}
	return nil
}

// begin writes a new session and returns its token.
func (s *Service) begin(ctx context.Context, a dps.PortalAccount) (Session, error) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // crypto/rand.Read never fails
	token := base64.RawURLEncoding.EncodeToString(random[:])
	now := s.Now()
	err := s.Store.AddPortalSession(ctx, dps.PortalSession{
		Instance: s.Instance, ID: sessionID(token), Version: a.Version, Created: now, Used: now, Expires: now.Add(IdleTime),
	})
	return Session{Token: token, MustChange: a.MustChange()}, err
}

func sessionID(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Session returns the session of a token, if it is not over. used says that its browser
// did something: a page that refreshes itself does not keep a session alive. It fails
// with Unauthorized.
func (s *Service) Session(ctx context.Context, token string, used bool) (Session, error) {
	if token == "" {
		return Session{}, dps.Errorf(dps.Unauthorized, "Sign in first.")
	}
	stored, err := s.Store.PortalSession(ctx, s.Instance, sessionID(token))
	if err != nil {
		return Session{}, err
	}
	a, err := s.Store.PortalAccount(ctx, s.Instance)
	if err != nil {
		return Session{}, err
	}
	now := s.Now()
	if stored.Version != a.Version || !now.Before(stored.Used.Add(IdleTime)) || !now.Before(stored.Created.Add(MaxTime)) {
		return Session{}, dps.Errorf(dps.Unauthorized, "The session has expired; sign in again.")
	}
	if used && now.Sub(stored.Used) >= touchEvery {
		stored.Used = now
		stored.Expires = earlier(now.Add(IdleTime), stored.Created.Add(MaxTime))
		if err := s.Store.TouchPortalSession(ctx, stored); err != nil {
			s.Log.WarnContext(ctx, "cannot record portal session use", "err", err)
		}
	}
	return Session{Token: token, MustChange: a.MustChange()}, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// SignOut ends the session of a token.
func (s *Service) SignOut(ctx context.Context, token string) error {
	return s.Store.DeletePortalSession(ctx, s.Instance, sessionID(token))
}

// ChangePassword puts next in place of the current password, ends all sessions and
// begins a new one. Attempts count as sign-ins do. It fails with Unauthorized when
// current is not right, and with Invalid, naming the field password, when next is no
// good password.
func (s *Service) ChangePassword(ctx context.Context, source, current, next string) (Session, error) {
	if err := s.limits.take(source, s.Now()); err != nil {
		return Session{}, err
	}
	a, err := s.Store.PortalAccount(ctx, s.Instance)
	if err != nil {
		return Session{}, err
	}
	if err := s.check(ctx, a, current); err != nil {
		return Session{}, err
	}
	s.limits.forgive(source)
	if err := checkNew(current, next); err != nil {
		return Session{}, err
	}
	hash, err := hashOf(next)
	if err != nil {
		return Session{}, err
	}
	changed := dps.PortalAccount{Instance: s.Instance, Hash: dps.NewSecret([]byte(hash)), Version: dps.NewETag(), Changed: s.Now()}
	ctx, change := audit.Begin(ctx, s.entry(audit.ChangePassword, source))
	change.Allow(audit.ByPortal(Account))
	err = s.Store.PutPortalAccount(ctx, changed, a.Version)
	s.Audit.Settle(ctx, change, err)
	if err != nil {
		return Session{}, err
	}
	return s.begin(ctx, changed)
}

func (s *Service) entry(op audit.Operation, remote string) audit.Entry {
	return audit.Entry{Instance: s.Instance, Operation: op, Kind: audit.PortalAccount, ID: Account, Remote: remote}
}

// checkNew refuses what is no good password.
func checkNew(current, next string) error {
	const field = "password"
	switch {
	case !utf8.ValidString(next):
		return dps.Invalidf(field, "must be UTF-8")
	case utf8.RuneCountInString(next) < MinPassword:
		return dps.Invalidf(field, "must have at least %d characters", MinPassword)
	case len(next) > MaxPassword:
		return dps.Invalidf(field, "must have at most %d bytes", MaxPassword)
	case strings.EqualFold(strings.TrimSpace(next), strings.TrimSpace(current)):
		return dps.Invalidf(field, "must differ from the current password")
	}
	return nil
}

// Reset gives out a new one-time password and ends all sessions. The change that ctx
// belongs to, if any, is recorded with it.
func (s *Service) Reset(ctx context.Context) (dps.Secret, error) {
	a, err := s.Store.PortalAccount(ctx, s.Instance)
	if err != nil {
		return dps.Secret{}, err
	}
	given := s.given()
	if err := s.Store.PutPortalAccount(ctx, given, a.Version); err != nil {
		return dps.Secret{}, err
	}
	return given.OneTime, nil
}

// ResetLocally is Reset for a command on the data directory of a service that does not
// run: the audit names the command.
func (s *Service) ResetLocally(ctx context.Context, command string) (dps.Secret, error) {
	ctx, change := audit.Begin(ctx, s.entry(audit.ResetPassword, ""))
	change.Allow(audit.ByCommand(command))
	password, err := s.Reset(ctx)
	s.Audit.Settle(ctx, change, err)
	return password, err
}
