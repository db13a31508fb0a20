package sqlite

import (
	"context"
	"fmt"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

const policyColumns = `SELECT instance, name_key, name, rights, keys FROM policies`

// Policy returns a shared access policy. It fails with Unauthorized: whoever asks
// under a name that does not exist learns no more than with a wrong key.
func (s *Store) Policy(ctx context.Context, in dps.InstanceID, name string) (dps.Policy, error) {
	p, err := s.scanPolicy(s.readers.row(ctx, policyColumns+` WHERE instance = $1 AND name_key = $2`, string(in), strings.ToLower(name)))
	return p, notFound(err, dps.Unauthorized, "Unauthorized")
}

// Policies returns all shared access policies of an instance, sorted by name.
func (s *Store) Policies(ctx context.Context, in dps.InstanceID) ([]dps.Policy, error) {
	rows, err := s.readers.rows(ctx, policyColumns+` WHERE instance = $1 ORDER BY name_key`, string(in))
	return collect(rows, err, s.scanPolicy)
}

func (s *Store) scanPolicy(row scanner) (dps.Policy, error) {
	var in, key, name, rights string
	var sealed []byte
	if err := row.Scan(&in, &key, &name, &rights, &sealed); err != nil {
		return dps.Policy{}, err
	}
	secrets, err := s.unsealed(sealed, label("policy", in, key))
	if err != nil {
		return dps.Policy{}, fmt.Errorf("opening the keys of policy %q: %w", name, err)
	}
	set, err := dps.ParseRights(rights)
	if err != nil {
		return dps.Policy{}, err
	}
	return dps.Policy{Instance: dps.InstanceID(in), Name: name, Rights: set, Keys: secrets.keys()}, nil
}

func (s *Store) insertPolicy(t tx, p dps.Policy) error {
	key := strings.ToLower(p.Name)
	sealed, err := s.sealed(keysRow(p.Keys), label("policy", string(p.Instance), key))
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO policies (instance, name_key, name, rights, keys) VALUES ($1, $2, $3, $4, $5)`,
		string(p.Instance), key, p.Name, p.Rights.String(), sealed)
}

// replacePolicies makes policies all that an instance has.
func (s *Store) replacePolicies(t tx, in dps.InstanceID, policies []dps.Policy) error {
	if err := t.exec(`DELETE FROM policies WHERE instance = $1`, string(in)); err != nil {
		return err
	}
	for _, p := range policies {
		if err := s.insertPolicy(t, p); err != nil {
			return err
		}
	}
	return nil
}
