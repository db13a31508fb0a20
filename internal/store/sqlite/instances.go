package sqlite

import (
	"context"
	"fmt"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Create stores a new instance with all that it starts with, or nothing.
func (s *Store) Create(ctx context.Context, setup dps.Setup) error {
	defer s.known.forget()
	return s.change(ctx, func(t tx) error {
		if err := s.insertInstance(t, setup.Instance); err != nil {
			return err
		}
		if err := s.insertPolicy(t, setup.Policy); err != nil {
			return err
		}
		if err := insertHub(t, setup.Hub); err != nil {
			return err
		}
		return s.insertHubPolicy(t, setup.HubPolicy)
	})
}

const instanceColumns = `SELECT id, scope, allocation, token_key, created FROM instances`

// Instance returns an instance. It fails with InstanceNotFound.
func (s *Store) Instance(ctx context.Context, id dps.InstanceID) (dps.Instance, error) {
	in, err := s.scanInstance(s.readers.row(ctx, instanceColumns+` WHERE id = $1`, string(id)))
	return in, notFound(err, dps.InstanceNotFound, "There is no provisioning service %q.", id)
}

// InstanceByScope returns the instance that devices call scope. It fails with
// InstanceNotFound.
func (s *Store) InstanceByScope(ctx context.Context, scope dps.IDScope) (dps.Instance, error) {
	if s.known == nil {
		return s.readInstanceByScope(ctx, scope)
	}
	in, changes, ok := s.known.instance(scope)
	if ok {
		return in, nil
	}
	in, err := s.readInstanceByScope(ctx, scope)
	if err == nil {
		s.known.keepInstance(in, changes)
	}
	return in, err
}

func (s *Store) readInstanceByScope(ctx context.Context, scope dps.IDScope) (dps.Instance, error) {
	in, err := s.scanInstance(s.readers.row(ctx, instanceColumns+` WHERE scope = $1`, string(scope)))
	return in, notFound(err, dps.InstanceNotFound, "There is no provisioning service with this ID scope.")
}

func (s *Store) scanInstance(row scanner) (dps.Instance, error) {
	var id, scope, allocation string
	var tokenKey []byte
	var created int64
	if err := row.Scan(&id, &scope, &allocation, &tokenKey, &created); err != nil {
		return dps.Instance{}, err
	}
	secrets, err := s.unsealed(tokenKey, label("instance", id))
	if err != nil {
		return dps.Instance{}, fmt.Errorf("opening the keys of instance %q: %w", id, err)
	}
	return dps.Instance{
		ID: dps.InstanceID(id), Scope: dps.IDScope(scope), Allocation: dps.AllocationPolicy(allocation),
		TokenKey: dps.NewSecret(secrets.Primary), Created: fromNanos(created),
	}, nil
}

func (s *Store) insertInstance(t tx, in dps.Instance) error {
	sealed, err := s.sealed(secretsRow{Primary: in.TokenKey.Reveal()}, label("instance", string(in.ID)))
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ($1, $2, $3, $4, $5)`,
		string(in.ID), string(in.Scope), string(in.Allocation), sealed, in.Created.UnixNano())
}
