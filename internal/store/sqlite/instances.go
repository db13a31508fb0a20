package sqlite

import (
	"context"
	"encoding/json"
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
		if err := s.insertHub(t, setup.Hub); err != nil {
			return err
		}
		return s.insertHubPolicy(t, setup.HubPolicy)
	})
}

// Configure writes a change of an instance that is at version IfMatch, with its
// policies and linked hubs, in one transaction. It fails with ConcurrentChange, or with
// Conflict where an embedded hub that is to go holds devices.
func (s *Store) Configure(ctx context.Context, c dps.InstanceChange) error {
	defer s.known.forget()
	return s.managed(ctx, c.IfMatch, c.Instance.ETag, func(t tx) error {
		if err := updateInstance(t, c.Instance, c.IfMatch); err != nil {
			return err
		}
		if err := s.changeHubs(t, c.Hubs); err != nil {
			return err
		}
		if err := s.auditHubs(ctx, t, c); err != nil || c.Policies == nil {
			return err
		}
		return s.replacePolicies(t, c.Instance.ID, c.Policies)
	})
}

func updateInstance(t tx, in dps.Instance, ifMatch dps.ETag) error {
	tags, err := tagsText(in.Tags)
	if err != nil {
		return err
	}
	return unlessExists(t.affect(`UPDATE instances SET allocation = $1, tags = $2, etag = $3 WHERE id = $4 AND etag = $5`,
		string(in.Allocation), tags, string(in.ETag), string(in.ID), string(ifMatch)))
}

// tagsText returns tags as JSON, none as an empty object.
func tagsText(tags map[string]string) (string, error) {
	if len(tags) == 0 {
		return "{}", nil
	}
	text, err := json.Marshal(tags)
	return string(text), err
}

const instanceColumns = `SELECT id, scope, allocation, token_key, tags, etag, created FROM instances`

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
	var id, scope, allocation, tags, etag string
	var tokenKey []byte
	var created int64
	if err := row.Scan(&id, &scope, &allocation, &tokenKey, &tags, &etag, &created); err != nil {
		return dps.Instance{}, err
	}
	secrets, err := s.unsealed(tokenKey, label("instance", id))
	if err != nil {
		return dps.Instance{}, fmt.Errorf("opening the keys of instance %q: %w", id, err)
	}
	in := dps.Instance{
		ID: dps.InstanceID(id), Scope: dps.IDScope(scope), Allocation: dps.AllocationPolicy(allocation),
		TokenKey: dps.NewSecret(secrets.Primary), ETag: dps.ETag(etag), Created: fromNanos(created),
	}
	if err := json.Unmarshal([]byte(tags), &in.Tags); err != nil {
		return dps.Instance{}, fmt.Errorf("reading the tags of instance %q: %w", id, err)
	}
	return in, nil
}

func (s *Store) insertInstance(t tx, in dps.Instance) error {
	sealed, err := s.sealed(secretsRow{Primary: in.TokenKey.Reveal()}, label("instance", string(in.ID)))
	if err != nil {
		return err
	}
	tags, err := tagsText(in.Tags)
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO instances (id, scope, allocation, token_key, tags, etag, created) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		string(in.ID), string(in.Scope), string(in.Allocation), sealed, tags, string(in.ETag), in.Created.UnixNano())
}
