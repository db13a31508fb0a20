package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/mooring-iot/mooring/internal/dps"
)

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

// deleteDevice removes an identity of an embedded hub; one that is not there is fine.
func deleteDevice(t tx, in dps.InstanceID, stand dps.HubStand) error {
	return t.exec(`DELETE FROM hub_devices WHERE instance = $1 AND hub = $2 AND device_id = $3`, string(in), string(stand.Hub), string(stand.DeviceID))
}
