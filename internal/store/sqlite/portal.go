package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/mooring-iot/mooring/internal/dps"
)

// PortalAccount returns the account of an instance's portal; one that was never
// written has no version.
func (s *Store) PortalAccount(ctx context.Context, in dps.InstanceID) (dps.PortalAccount, error) {
	a := dps.PortalAccount{Instance: in}
	var version string
	var sealed []byte
	var changed int64
	err := s.readers.row(ctx, `SELECT version, secrets, changed FROM portal_accounts WHERE instance = $1`, string(in)).
		Scan(&version, &sealed, &changed)
	if errors.Is(err, sql.ErrNoRows) {
		return a, nil
	}
	if err != nil {
		return a, storeError(err)
	}
	secrets, err := s.unsealed(sealed, label("portal", string(in)))
	if err != nil {
		return a, err
	}
	a.OneTime, a.Hash = dps.NewSecret(secrets.Primary), dps.NewSecret(secrets.Secondary)
	a.Version, a.Changed = dps.ETag(version), fromNanos(changed)
	return a, nil
}

// PutPortalAccount writes the account in place of the one at version ifMatch, "" for
// none, and ends all sessions. It fails with ConcurrentChange at another version.
func (s *Store) PutPortalAccount(ctx context.Context, a dps.PortalAccount, ifMatch dps.ETag) error {
	sealed, err := s.sealed(secretsRow{Primary: a.OneTime.Reveal(), Secondary: a.Hash.Reveal()}, label("portal", string(a.Instance)))
	if err != nil {
		return err
	}
	return s.managed(ctx, ifMatch, a.Version, func(t tx) error {
		var n int64
		var err error
		if ifMatch == "" {
			n, err = t.affect(`INSERT INTO portal_accounts (instance, version, secrets, changed) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
				string(a.Instance), string(a.Version), sealed, a.Changed.UnixNano())
		} else {
			n, err = t.affect(`UPDATE portal_accounts SET version = $1, secrets = $2, changed = $3 WHERE instance = $4 AND version = $5`,
				string(a.Version), sealed, a.Changed.UnixNano(), string(a.Instance), string(ifMatch))
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return changedMeanwhile()
		}
		return t.exec(`DELETE FROM portal_sessions WHERE instance = $1`, string(a.Instance))
	})
}

// PortalSession returns a session. It fails with Unauthorized.
func (s *Store) PortalSession(ctx context.Context, in dps.InstanceID, id string) (dps.PortalSession, error) {
	p := dps.PortalSession{Instance: in, ID: id}
	var version string
	var created, used, expires int64
	err := s.readers.row(ctx, `SELECT version, created, used, expires FROM portal_sessions WHERE instance = $1 AND id = $2`,
		string(in), id).Scan(&version, &created, &used, &expires)
	if err != nil {
		return dps.PortalSession{}, notFound(err, dps.Unauthorized, "Unauthorized")
	}
	p.Version, p.Created, p.Used, p.Expires = dps.ETag(version), fromNanos(created), fromNanos(used), fromNanos(expires)
	return p, nil
}

// AddPortalSession writes a new session.
func (s *Store) AddPortalSession(ctx context.Context, p dps.PortalSession) error {
	return s.change(ctx, func(t tx) error {
		return t.exec(`INSERT INTO portal_sessions (instance, id, version, created, used, expires) VALUES ($1, $2, $3, $4, $5, $6)`,
			string(p.Instance), p.ID, string(p.Version), p.Created.UnixNano(), p.Used.UnixNano(), p.Expires.UnixNano())
	})
}

// TouchPortalSession notes that a session was used, if it is still there.
func (s *Store) TouchPortalSession(ctx context.Context, p dps.PortalSession) error {
	return s.change(ctx, func(t tx) error {
		return t.exec(`UPDATE portal_sessions SET used = $1, expires = $2 WHERE instance = $3 AND id = $4`,
			p.Used.UnixNano(), p.Expires.UnixNano(), string(p.Instance), p.ID)
	})
}

// DeletePortalSession removes a session, if it is there.
func (s *Store) DeletePortalSession(ctx context.Context, in dps.InstanceID, id string) error {
	return s.change(ctx, func(t tx) error {
		return t.exec(`DELETE FROM portal_sessions WHERE instance = $1 AND id = $2`, string(in), id)
	})
}

// sweepPortal removes the sessions that have expired.
func (s *Store) sweepPortal(ctx context.Context) error {
	return s.removeBatches(ctx, `DELETE FROM portal_sessions WHERE (instance, id) IN
		(SELECT instance, id FROM portal_sessions WHERE expires < $1 LIMIT $2)`, s.now())
}
