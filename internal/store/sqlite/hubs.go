package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/mooring-iot/mooring/internal/audit"
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

// accessRow returns how a hub is called, with its key sealed; of an embedded one nothing.
func (s *Store) accessRow(h dps.LinkedHub) (dps.HubAccess, []byte, error) {
	var access dps.HubAccess
	if h.Access != nil {
		access = *h.Access
	}
	sealed, err := s.sealed(secretsRow{Primary: access.Key.Reveal()}, hubLabel(h))
	return access, sealed, err
}

func (s *Store) insertHub(t tx, h dps.LinkedHub) error {
	access, sealed, err := s.accessRow(h)
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO hubs (instance, id, kind, host_name, location, weight, apply_policy, endpoint, key_name, keys)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		string(h.Instance), string(h.ID), string(h.Kind), string(h.HostName), h.Location, h.Weight, h.ApplyPolicy,
		access.Endpoint, access.KeyName, sealed)
}

// changeHubs unlinks first: a name that becomes free may be taken by another hub.
func (s *Store) changeHubs(t tx, c dps.HubsChange) error {
	for _, u := range c.Unlink {
		if err := unlinkHub(t, u); err != nil {
			return err
		}
	}
	for _, h := range c.Update {
		if err := s.updateHub(t, h); err != nil {
			return err
		}
	}
	for _, h := range c.Link {
		if err := t.exec(`DELETE FROM former_hubs WHERE instance = $1 AND id = $2`, string(h.Instance), string(h.ID)); err != nil {
			return err
		}
		if err := s.insertHub(t, h); err != nil {
			return err
		}
	}
	for _, p := range c.Policies {
		if err := s.insertHubPolicy(t, p); err != nil {
			return err
		}
	}
	return nil
}

// unlinkHub removes a hub with what it holds here, and keeps its name. Remnants go with
// it: nobody can clean up there any more.
func unlinkHub(t tx, u dps.HubUnlink) error {
	in, hub := string(u.Hub.Instance), string(u.Hub.ID)
	var devices int
	err := t.row(context.Background(), `SELECT count(*) FROM hub_devices WHERE instance = $1 AND hub = $2`, in, hub).Scan(&devices)
	if err != nil {
		return err
	}
	if devices > 0 && !u.DeleteDevices {
		return dps.Errorf(
			dps.Conflict, "The embedded hub %s has %d devices, which would be deleted. Delete or move them first.", u.Hub.HostName, devices,
		)
	}
	for _, text := range []string{
		`DELETE FROM hub_devices WHERE instance = $1 AND hub = $2`,
		`DELETE FROM released WHERE instance = $1 AND hub = $2 AND (SELECT kind FROM hubs WHERE instance = $1 AND id = $2) = 'embedded'`,
		`DELETE FROM hub_policies WHERE instance = $1 AND hub = $2`,
		`INSERT INTO former_hubs (instance, id, kind, host_name) SELECT instance, id, kind, host_name FROM hubs WHERE instance = $1 AND id = $2`,
		`DELETE FROM hubs WHERE instance = $1 AND id = $2`,
	} {
		if err := t.exec(text, in, hub); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) updateHub(t tx, h dps.LinkedHub) error {
	access, sealed, err := s.accessRow(h)
	if err != nil {
		return err
	}
	return unlessExists(t.affect(`UPDATE hubs SET location = $1, weight = $2, apply_policy = $3, endpoint = $4, key_name = $5, keys = $6
		WHERE instance = $7 AND id = $8`,
		h.Location, h.Weight, h.ApplyPolicy, access.Endpoint, access.KeyName, sealed, string(h.Instance), string(h.ID)))
}

// auditHubs writes an entry for each hub of a change, beside that of the change itself.
func (s *Store) auditHubs(ctx context.Context, t tx, c dps.InstanceChange) error {
	change := audit.From(ctx)
	if change == nil {
		return nil
	}
	put := func(op audit.Operation, h dps.LinkedHub, before, after dps.ETag) error {
		e := change.Written(1, before, after)
		e.Seq, e.Operation, e.Kind, e.ID = 0, op, audit.LinkedHub, string(h.HostName)
		_, err := putAudit(t, e, s.now())
		return err
	}
	for _, u := range c.Hubs.Unlink {
		if err := put(audit.Unlink, u.Hub, c.IfMatch, ""); err != nil {
			return err
		}
	}
	for _, h := range c.Hubs.Update {
		if err := put(audit.UpdateLink, h, c.IfMatch, c.Instance.ETag); err != nil {
			return err
		}
	}
	for _, h := range c.Hubs.Link {
		if err := put(audit.Link, h, "", c.Instance.ETag); err != nil {
			return err
		}
	}
	return nil
}

// FormerHubs returns the hubs that are no longer linked, sorted by ID.
func (s *Store) FormerHubs(ctx context.Context, in dps.InstanceID) ([]dps.FormerHub, error) {
	rows, err := s.readers.rows(ctx, `SELECT id, kind, host_name FROM former_hubs WHERE instance = $1 ORDER BY id`, string(in))
	return collect(rows, err, func(row scanner) (dps.FormerHub, error) {
		var id, kind, host string
		err := row.Scan(&id, &kind, &host)
		return dps.FormerHub{ID: dps.HubID(id), Kind: dps.HubKind(kind), HostName: dps.HostName(host)}, err
	})
}

// CountRemnants returns how many remnants of a state each hub has; hubs without any are
// left out.
func (s *Store) CountRemnants(ctx context.Context, in dps.InstanceID, state dps.RemnantState) (map[dps.HubID]int, error) {
	type count struct {
		hub string
		n   int
	}
	rows, err := s.readers.rows(
		ctx,
		`SELECT hub, count(*) FROM remnants WHERE instance = $1 AND state = $2 GROUP BY hub`,
		string(in),
		string(state),
	)
	counts, err := collect(rows, err, func(row scanner) (c count, err error) { return c, row.Scan(&c.hub, &c.n) })
	all := make(map[dps.HubID]int, len(counts))
	for _, c := range counts {
		all[dps.HubID(c.hub)] = c.n
	}
	return all, err
}

// hubGone says that a device was to be placed at a hub that was unlinked meanwhile.
func hubGone(err error) error {
	var failure *sqlite.Error
	if errors.As(err, &failure) && failure.Code() == lib.SQLITE_CONSTRAINT_FOREIGNKEY {
		return changedMeanwhile()
	}
	return err
}

// RenameHub changes the host name of a hub; its devices stay with it. Enrollments that
// name it by its old name get the new one; it returns how many did.
func (s *Store) RenameHub(ctx context.Context, in dps.InstanceID, hub dps.HubID, host dps.HostName) (enrollments int, err error) {
	defer s.known.forget()
	err = s.change(ctx, func(t tx) error {
		var old string
		err := t.row(ctx, `SELECT host_name FROM hubs WHERE instance = $1 AND id = $2`, string(in), string(hub)).Scan(&old)
		if err != nil {
			return notFound(err, dps.HubNotFound, "The hub is not linked.")
		}
		if err := t.exec(`UPDATE hubs SET host_name = $1 WHERE instance = $2 AND id = $3`, string(host), string(in), string(hub)); err != nil {
			return err
		}
		enrollments, err = s.renameInEnrollments(t, in, dps.HostName(old), host)
		return err
	})
	return enrollments, err
}

// renameBatch is how many enrollments are read at a time.
const renameBatch = 500

// renameInEnrollments writes the new name of a hub into the enrollments that name it.
func (s *Store) renameInEnrollments(t tx, in dps.InstanceID, old, host dps.HostName) (renamed int, err error) {
	var kind, key string
	for {
		// An underscore stands for any character here: what is found is looked at below.
		rows, err := t.rows(context.Background(), `SELECT kind, id_key, body FROM enrollments
			WHERE instance = $1 AND (kind, id_key) > ($2, $3) AND body LIKE '%"' || $4 || '"%' ORDER BY kind, id_key LIMIT $5`,
			string(in), kind, key, string(old), renameBatch)
		page, err := collect(rows, err, func(row scanner) (c enrollmentColumns, err error) {
			return c, row.Scan(&c.Kind, &c.Key, &c.Body)
		})
		if err != nil {
			return renamed, err
		}
		for _, c := range page {
			changed, err := s.renameInEnrollment(t, in, c, old, host)
			if err != nil {
				return renamed, err
			}
			if changed {
				renamed++
			}
		}
		if len(page) < renameBatch {
			return renamed, nil
		}
		kind, key = page[len(page)-1].Kind, page[len(page)-1].Key
	}
}

func (s *Store) renameInEnrollment(t tx, in dps.InstanceID, c enrollmentColumns, old, host dps.HostName) (changed bool, err error) {
	var row enrollmentRow
	if err := json.Unmarshal([]byte(c.Body), &row); err != nil {
		return false, fmt.Errorf("reading enrollment %q: %w", c.Key, err)
	}
	if old.Equal(dps.HostName(row.HubHostName)) {
		row.HubHostName, changed = string(host), true
	}
	if slices.ContainsFunc(row.IotHubs, old.Equal) {
		others := slices.DeleteFunc(slices.Clone(row.IotHubs), host.Equal) // no name stands there twice
		i := slices.IndexFunc(others, old.Equal)
		others[i] = host
		row.IotHubs, changed = others, true
	}
	if !changed {
		return false, nil
	}
	body, err := json.Marshal(row)
	if err != nil {
		return false, err
	}
	return true, t.exec(`UPDATE enrollments SET body = $1, etag = $2, updated = $3 WHERE instance = $4 AND kind = $5 AND id_key = $6`,
		string(body), string(dps.NewETag()), s.now().UnixNano(), string(in), c.Kind, c.Key)
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
	return t.exec(
		`INSERT INTO hub_policies (instance, hub, name_key, name, rights, keys) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
		string(p.Instance),
		string(p.Hub),
		key,
		p.Name,
		uint8(p.Rights),
		sealed,
	)
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
