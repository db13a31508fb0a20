package storetest

import (
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

// session returns a session that is not stored yet.
func session(id string, version dps.ETag) dps.PortalSession {
	at := start.UTC()
	return dps.PortalSession{Instance: here, ID: id, Version: version, Created: at, Used: at, Expires: at.Add(time.Hour)}
}

// account stores a first account.
func (w *world) account(t *testing.T) dps.PortalAccount {
	t.Helper()
	a := dps.PortalAccount{Instance: here, OneTime: dps.NewOneTimePassword(), Version: dps.NewETag(), Changed: start}
	must(t, w.PutPortalAccount(t.Context(), a, ""))
	return a
}

var portalCases = []testCase{
	{"missing records", func(t *testing.T, w *world) {
		same(t, "account", read[dps.PortalAccount](t)(w.PortalAccount(t.Context(), here)), dps.PortalAccount{Instance: here})
		_, err := w.PortalSession(t.Context(), here, "ghost")
		fails(t, "session", err, dps.Unauthorized)
		must(t, w.DeletePortalSession(t.Context(), here, "ghost"))
		must(t, w.TouchPortalSession(t.Context(), session("ghost", "v")))
		_, err = w.PortalSession(t.Context(), here, "ghost")
		fails(t, "a session that was only touched", err, dps.Unauthorized)
	}},
	{"the account is read back, and changes at its version", func(t *testing.T, w *world) {
		a := w.account(t)
		same(t, "first", read[dps.PortalAccount](t)(w.PortalAccount(t.Context(), here)), a)
		same(t, "of another instance", read[dps.PortalAccount](t)(w.PortalAccount(t.Context(), there)), dps.PortalAccount{Instance: there})
		next := a
		next.OneTime, next.Hash, next.Version, next.Changed = dps.Secret{}, dps.NewSecret(
			[]byte("$argon2id$"),
		), dps.NewETag(), start.Add(
			time.Minute,
		)
		fails(t, "as if there were none", w.PutPortalAccount(t.Context(), next, ""), dps.ConcurrentChange)
		fails(t, "at another version", w.PutPortalAccount(t.Context(), next, "ghost"), dps.ConcurrentChange)
		same(t, "still", read[dps.PortalAccount](t)(w.PortalAccount(t.Context(), here)), a)
		must(t, w.PutPortalAccount(t.Context(), next, a.Version))
		same(t, "changed", read[dps.PortalAccount](t)(w.PortalAccount(t.Context(), here)), next)
	}},
	{"a change of the account is recorded with it", func(t *testing.T, w *world) {
		ctx, _ := begun(t, "admin")
		a := dps.PortalAccount{Instance: here, OneTime: dps.NewOneTimePassword(), Version: "new", Changed: start}
		must(t, w.PutPortalAccount(ctx, a, ""))
		all := w.entries(t, audit.Filter{})
		if len(all) != 1 || all[0].NewETag != "new" || all[0].Result != audit.OK {
			t.Errorf("entries = %+v", all)
		}
	}},
	{"sessions are read back, touched and deleted", func(t *testing.T, w *world) {
		a := w.account(t)
		one, two := session("one", a.Version), session("two", a.Version)
		must(t, w.AddPortalSession(t.Context(), one))
		must(t, w.AddPortalSession(t.Context(), two))
		if err := w.AddPortalSession(t.Context(), one); err == nil {
			t.Error("added twice")
		}
		one.Used, one.Expires = one.Used.Add(time.Minute), one.Expires.Add(time.Minute)
		must(t, w.TouchPortalSession(t.Context(), one))
		same(t, "one", read[dps.PortalSession](t)(w.PortalSession(t.Context(), here, "one")), one)
		_, err := w.PortalSession(t.Context(), there, "one")
		fails(t, "at another instance", err, dps.Unauthorized)
		must(t, w.DeletePortalSession(t.Context(), here, "one"))
		_, err = w.PortalSession(t.Context(), here, "one")
		fails(t, "deleted", err, dps.Unauthorized)
		same(t, "two", read[dps.PortalSession](t)(w.PortalSession(t.Context(), here, "two")), two)
	}},
	{"a change of the account ends its sessions", func(t *testing.T, w *world) {
		a := w.account(t)
		must(t, w.AddPortalSession(t.Context(), session("one", a.Version)))
		elsewhere := session("two", "v")
		elsewhere.Instance = there
		must(t, w.AddPortalSession(t.Context(), elsewhere))
		next := a
		next.Version = dps.NewETag()
		must(t, w.PutPortalAccount(t.Context(), next, a.Version))
		_, err := w.PortalSession(t.Context(), here, "one")
		fails(t, "session", err, dps.Unauthorized)
		read[dps.PortalSession](t)(w.PortalSession(t.Context(), there, "two"))
	}},
	{"expired sessions are swept", func(t *testing.T, w *world) {
		a := w.account(t)
		must(t, w.AddPortalSession(t.Context(), session("one", a.Version)))
		must(t, w.Sweep(t.Context()))
		read[dps.PortalSession](t)(w.PortalSession(t.Context(), here, "one"))
		w.clock.Advance(time.Hour + 1)
		must(t, w.Sweep(t.Context()))
		_, err := w.PortalSession(t.Context(), here, "one")
		fails(t, "session", err, dps.Unauthorized)
	}},
}
