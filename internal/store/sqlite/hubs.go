package sqlite

import (
	"context"
	"encoding/json"
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
	rows, err := s.readers.rows(ctx, `SELECT instance, id, kind, host_name, weight, apply_policy FROM hubs WHERE instance = $1 ORDER BY id`, string(in))
	return collect(rows, err, scanHub)
}

func scanHub(row scanner) (dps.LinkedHub, error) {
	var in, id, kind, host string
	var h dps.LinkedHub
	if err := row.Scan(&in, &id, &kind, &host, &h.Weight, &h.ApplyPolicy); err != nil {
		return h, err
	}
	h.Instance, h.ID, h.Kind, h.HostName = dps.InstanceID(in), dps.HubID(id), dps.HubKind(kind), dps.HostName(host)
	return h, nil
}

func insertHub(t tx, h dps.LinkedHub) error {
	return t.exec(`INSERT INTO hubs (instance, id, kind, host_name, weight, apply_policy) VALUES ($1, $2, $3, $4, $5, $6)`,
		string(h.Instance), string(h.ID), string(h.Kind), string(h.HostName), h.Weight, h.ApplyPolicy)
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

func (s *Store) insertHubPolicy(t tx, p dps.HubPolicy) error {
	key := strings.ToLower(p.Name)
	sealed, err := s.sealed(keysRow(p.Keys), label("hub policy", string(p.Instance), string(p.Hub), key))
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO hub_policies (instance, hub, name_key, name, rights, keys) VALUES ($1, $2, $3, $4, $5, $6)`,
		string(p.Instance), string(p.Hub), key, p.Name, uint8(p.Rights), sealed)
}

const deviceColumns = `SELECT instance, hub, device_id, generation, auth_type, primary_thumbprint, secondary_thumbprint, keys,
	iot_edge, tags, desired, etag, created, updated FROM hub_devices`

// HubDevice returns an identity with its twin. It fails with DeviceNotFound.
func (s *Store) HubDevice(ctx context.Context, in dps.InstanceID, hub dps.HubID, id dps.DeviceID) (dps.HubDevice, error) {
	d, err := s.scanDevice(s.readers.row(ctx, deviceColumns+` WHERE instance = $1 AND hub = $2 AND device_id = $3`, string(in), string(hub), string(id)))
	return d, notFound(err, dps.DeviceNotFound, "A device with ID '%s' is not registered.", id)
}

// HubDevices returns up to limit identities with IDs after the given one, sorted.
func (s *Store) HubDevices(ctx context.Context, in dps.InstanceID, hub dps.HubID, after dps.DeviceID, limit int) ([]dps.HubDevice, error) {
	rows, err := s.readers.rows(ctx, deviceColumns+` WHERE instance = $1 AND hub = $2 AND device_id > $3 ORDER BY device_id LIMIT $4`,
		string(in), string(hub), string(after), limit)
	return collect(rows, err, s.scanDevice)
}

func (s *Store) scanDevice(row scanner) (dps.HubDevice, error) {
	var d dps.HubDevice
	var in, hub, id, authType, etag string
	var sealed []byte
	var tags, desired *string
	var created, updated int64
	if err := row.Scan(&in, &hub, &id, &d.GenerationID, &authType, &d.Authentication.PrimaryThumbprint,
		&d.Authentication.SecondaryThumbprint, &sealed, &d.IotEdge, &tags, &desired, &etag, &created, &updated); err != nil {
		return d, err
	}
	d.Instance, d.Hub, d.DeviceID, d.ETag = dps.InstanceID(in), dps.HubID(hub), dps.DeviceID(id), dps.ETag(etag)
	d.Created, d.Updated = fromNanos(created), fromNanos(updated)
	d.Authentication.Type = dps.HubAuthType(authType)
	d.Twin = dps.Twin{Tags: rawJSON(tags), Desired: rawJSON(desired)}
	secrets, err := s.unsealed(sealed, label("device", in, hub, id))
	if err != nil {
		return d, fmt.Errorf("opening the keys of device %q: %w", id, err)
	}
	d.Authentication.Keys = secrets.keys()
	return d, nil
}

func rawJSON(text *string) json.RawMessage {
	if text == nil {
		return nil
	}
	return json.RawMessage(*text)
}

func jsonText(raw json.RawMessage) *string {
	if raw == nil {
		return nil
	}
	text := string(raw)
	return &text
}

// putDevice writes an identity that is at version ifMatch, "" for a new one.
func (s *Store) putDevice(t tx, d dps.HubDevice, ifMatch dps.ETag) error {
	sealed, err := s.sealed(keysRow(d.Authentication.Keys), label("device", string(d.Instance), string(d.Hub), string(d.DeviceID)))
	if err != nil {
		return err
	}
	a := d.Authentication
	if ifMatch == "" {
		return unlessExists(t.affect(`INSERT INTO hub_devices (instance, hub, device_id, generation, auth_type, primary_thumbprint, secondary_thumbprint,
			keys, iot_edge, tags, desired, etag, created, updated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
			ON CONFLICT DO NOTHING`,
			string(d.Instance), string(d.Hub), string(d.DeviceID), d.GenerationID, string(a.Type), a.PrimaryThumbprint, a.SecondaryThumbprint,
			sealed, d.IotEdge, jsonText(d.Twin.Tags), jsonText(d.Twin.Desired), string(d.ETag), d.Created.UnixNano(), d.Updated.UnixNano()))
	}
	return unlessExists(t.affect(`UPDATE hub_devices SET auth_type = $1, primary_thumbprint = $2, secondary_thumbprint = $3, keys = $4, iot_edge = $5,
		tags = $6, desired = $7, etag = $8, updated = $9 WHERE instance = $10 AND hub = $11 AND device_id = $12 AND etag = $13`,
		string(a.Type), a.PrimaryThumbprint, a.SecondaryThumbprint, sealed, d.IotEdge, jsonText(d.Twin.Tags), jsonText(d.Twin.Desired),
		string(d.ETag), d.Updated.UnixNano(), string(d.Instance), string(d.Hub), string(d.DeviceID), string(ifMatch)))
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
