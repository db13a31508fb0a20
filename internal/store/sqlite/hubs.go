package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Hubs returns the linked hubs, sorted by ID.
func (s *Store) Hubs(ctx context.Context, in dps.InstanceID) ([]dps.LinkedHub, error) {
	if s.known == nil {
		return s.readHubs(ctx, in)
	}
	hubs, changes, ok := s.known.hubsOf(in)
	if ok {
		return slices.Clone(hubs), nil
	}
	hubs, err := s.readHubs(ctx, in)
	if err == nil {
		s.known.keepHubs(in, slices.Clone(hubs), changes)
	}
	return hubs, err
}

func (s *Store) readHubs(ctx context.Context, in dps.InstanceID) ([]dps.LinkedHub, error) {
	rows, err := s.readers.rows(ctx, `SELECT instance, id, kind, host_name, location, weight, apply_policy, endpoint, key_name, keys
		FROM hubs WHERE instance = $1 ORDER BY id`, string(in))
	return collect(rows, err, s.scanHub)
}

func (s *Store) scanHub(row scanner) (dps.LinkedHub, error) {
	var in, id, kind, host, endpoint, keyName string
	var sealed []byte
	var h dps.LinkedHub
	if err := row.Scan(&in, &id, &kind, &host, &h.Location, &h.Weight, &h.ApplyPolicy, &endpoint, &keyName, &sealed); err != nil {
		return h, err
	}
	h.Instance, h.ID, h.Kind, h.HostName = dps.InstanceID(in), dps.HubID(id), dps.HubKind(kind), dps.HostName(host)
	if h.Kind == dps.KindEmbedded {
		return h, nil
	}
	secrets, err := s.unsealed(sealed, hubLabel(h))
	if err != nil {
		return h, fmt.Errorf("opening the key of hub %q: %w", host, err)
	}
	h.Access = &dps.HubAccess{Endpoint: endpoint, KeyName: keyName, Key: secrets.keys().Primary}
	return h, nil
}

func hubLabel(h dps.LinkedHub) []byte { return label("hub", string(h.Instance), string(h.ID)) }

func (s *Store) insertHub(t tx, h dps.LinkedHub) error {
	var access dps.HubAccess
	if h.Access != nil {
		access = *h.Access
	}
	sealed, err := s.sealed(secretsRow{Primary: access.Key.Reveal()}, hubLabel(h))
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO hubs (instance, id, kind, host_name, location, weight, apply_policy, endpoint, key_name, keys)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		string(h.Instance), string(h.ID), string(h.Kind), string(h.HostName), h.Location, h.Weight, h.ApplyPolicy,
		access.Endpoint, access.KeyName, sealed)
}

// RenameHub changes the host name of a hub; its devices stay with it.
func (s *Store) RenameHub(ctx context.Context, in dps.InstanceID, hub dps.HubID, host dps.HostName) error {
	defer s.known.forget()
	return s.change(ctx, func(t tx) error {
		return t.exec(`UPDATE hubs SET host_name = $1 WHERE instance = $2 AND id = $3`, string(host), string(in), string(hub))
	})
}

const hubPolicyColumns = `SELECT instance, hub, name_key, name, rights, keys FROM hub_policies`

// HubPolicy returns a policy of an embedded hub. It fails with Unauthorized.
func (s *Store) HubPolicy(ctx context.Context, in dps.InstanceID, hub dps.HubID, name string) (dps.HubPolicy, error) {
	p, err := s.scanHubPolicy(s.readers.row(ctx, hubPolicyColumns+` WHERE instance = $1 AND hub = $2 AND name_key = $3`,
		string(in), string(hub), strings.ToLower(name)))
	return p, notFound(err, dps.Unauthorized, "Unauthorized")
}

// HubPolicies returns the policies of an embedded hub, sorted by name.
func (s *Store) HubPolicies(ctx context.Context, in dps.InstanceID, hub dps.HubID) ([]dps.HubPolicy, error) {
	rows, err := s.readers.rows(ctx, hubPolicyColumns+` WHERE instance = $1 AND hub = $2 ORDER BY name_key`, string(in), string(hub))
	return collect(rows, err, s.scanHubPolicy)
}

func (s *Store) scanHubPolicy(row scanner) (dps.HubPolicy, error) {
	var in, hub, key, name string
	var rights uint8
	var sealed []byte
	if err := row.Scan(&in, &hub, &key, &name, &rights, &sealed); err != nil {
		return dps.HubPolicy{}, err
	}
	secrets, err := s.unsealed(sealed, label("hub policy", in, hub, key))
	if err != nil {
		return dps.HubPolicy{}, fmt.Errorf("opening the keys of hub policy %q: %w", name, err)
	}
	return dps.HubPolicy{
		Instance: dps.InstanceID(in), Hub: dps.HubID(hub), Name: name, Rights: dps.HubRights(rights), Keys: secrets.keys(),
	}, nil
}

// insertHubPolicy stores a policy unless there is one of that name.
func (s *Store) insertHubPolicy(t tx, p dps.HubPolicy) error {
	key := strings.ToLower(p.Name)
	sealed, err := s.sealed(keysRow(p.Keys), label("hub policy", string(p.Instance), string(p.Hub), key))
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO hub_policies (instance, hub, name_key, name, rights, keys) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
		string(p.Instance), string(p.Hub), key, p.Name, uint8(p.Rights), sealed)
}

// unlessExists turns "no row was written" into ConcurrentChange.
func unlessExists(written int64, err error) error {
	if err != nil {
		return err
	}
	if written == 0 {
		return changedMeanwhile()
	}
	return nil
}

// AddHubPolicies stores those policies of embedded hubs that are not there yet.
func (s *Store) AddHubPolicies(ctx context.Context, policies []dps.HubPolicy) error {
	return s.change(ctx, func(t tx) error {
		for _, p := range policies {
			if err := s.insertHubPolicy(t, p); err != nil {
				return err
			}
		}
		return nil
	})
}
