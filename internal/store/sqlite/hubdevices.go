package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

const deviceColumns = `SELECT instance, hub, device_id, generation, auth_type, primary_thumbprint, secondary_thumbprint, keys,
	iot_edge, disabled, status_reason, status_updated, parent, tags, desired, reported, twin_version, stamps,
	etag, created, updated FROM hub_devices`

// HubDevice returns an identity with its twin. It fails with DeviceNotFound.
func (s *Store) HubDevice(ctx context.Context, in dps.InstanceID, hub dps.HubID, id dps.DeviceID) (dps.HubDevice, error) {
	d, err := s.scanDevice(
		s.readers.row(ctx, deviceColumns+` WHERE instance = $1 AND hub = $2 AND device_id = $3`, string(in), string(hub), string(id)),
	)
	return d, notFound(err, dps.DeviceNotFound, "A device with ID '%s' is not registered.", id)
}

// HubDevices returns up to limit identities with IDs after the given one, sorted.
func (s *Store) HubDevices(ctx context.Context, in dps.InstanceID, hub dps.HubID, after dps.DeviceID, limit int) ([]dps.HubDevice, error) {
	return s.FindHubDevices(ctx, in, hub, dps.HubDeviceFilter{}, after, limit)
}

// FindHubDevices returns up to limit identities that f means, with IDs after the given
// one, sorted.
func (s *Store) FindHubDevices(
	ctx context.Context,
	in dps.InstanceID,
	hub dps.HubID,
	f dps.HubDeviceFilter,
	after dps.DeviceID,
	limit int,
) ([]dps.HubDevice, error) {
	text := deviceColumns + ` WHERE instance = $1 AND hub = $2 AND device_id > $3`
	args := []any{string(in), string(hub), string(after)}
	condition := func(where string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			where = strings.Replace(where, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		text += ` AND ` + where
	}
	if f.ID != "" {
		condition(`device_id = ?`, string(f.ID))
	}
	if f.Prefix != "" {
		condition(`device_id >= ? AND device_id < ?`, f.Prefix, f.Prefix+"\x7f") // behind every character of an ID
	}
	switch {
	case f.Edge == nil:
	case *f.Edge:
		text += ` AND iot_edge = 1` // as the index says it
	default:
		text += ` AND iot_edge = 0`
	}
	if f.Parent != "" {
		condition(`parent = ? AND parent <> ''`, f.Parent)
	}
	text += fmt.Sprintf(` ORDER BY device_id LIMIT $%d`, len(args)+1)
	rows, err := s.readers.rows(ctx, text, append(args, limit)...)
	return collect(rows, err, s.scanDevice)
}

// CountHubDevices counts the identities of a hub. It reads all of them.
func (s *Store) CountHubDevices(ctx context.Context, in dps.InstanceID, hub dps.HubID) (dps.HubDeviceCount, error) {
	var c dps.HubDeviceCount
	err := s.readers.row(ctx, `SELECT COUNT(*) FROM hub_devices WHERE instance = $1 AND hub = $2`, string(in), string(hub)).Scan(&c.Total)
	if err == nil {
		err = s.readers.row(ctx, `SELECT COUNT(*) FROM hub_devices WHERE instance = $1 AND hub = $2 AND disabled = 1`,
			string(in), string(hub)).Scan(&c.Disabled)
	}
	return c, storeError(err)
}

func (s *Store) scanDevice(row scanner) (dps.HubDevice, error) {
	var d dps.HubDevice
	var in, hub, id, authType, etag string
	var sealed []byte
	var tags, desired, reported, stamps *string
	var statusUpdated, created, updated int64
	if err := row.Scan(&in, &hub, &id, &d.GenerationID, &authType, &d.Authentication.PrimaryThumbprint,
		&d.Authentication.SecondaryThumbprint, &sealed, &d.IotEdge, &d.Disabled, &d.StatusReason, &statusUpdated, &d.Parent,
		&tags, &desired, &reported, &d.TwinVersion, &stamps, &etag, &created, &updated); err != nil {
		return d, err
	}
	d.Instance, d.Hub, d.DeviceID, d.ETag = dps.InstanceID(in), dps.HubID(hub), dps.DeviceID(id), dps.ETag(etag)
	d.Created, d.Updated = fromNanos(created), fromNanos(updated)
	if statusUpdated != 0 {
		d.StatusUpdated = fromNanos(statusUpdated)
	}
	d.Authentication.Type = dps.HubAuthType(authType)
	d.Twin = dps.Twin{Tags: rawJSON(tags), Desired: rawJSON(desired), Reported: rawJSON(reported)}
	if err := readStamps(&d, stamps); err != nil {
		return d, fmt.Errorf("reading the twin of device %q: %w", id, err)
	}
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

// stampsRow is when the parts of a twin were changed.
type stampsRow struct {
	Desired  stampRow `json:"d"`
	Reported stampRow `json:"r"`
}

type stampRow struct {
	At      int64               `json:"t"`
	Version int64               `json:"v"`
	Parts   map[string]stampRow `json:"p,omitempty"`
}

func stampRowOf(s dps.Stamp) stampRow {
	r := stampRow{At: s.At.UnixNano(), Version: s.Version}
	for name, part := range s.Parts {
		if r.Parts == nil {
			r.Parts = make(map[string]stampRow, len(s.Parts))
		}
		r.Parts[name] = stampRowOf(part)
	}
	return r
}

func (r stampRow) stamp() dps.Stamp {
	s := dps.Stamp{At: fromNanos(r.At), Version: r.Version}
	for name, part := range r.Parts {
		if s.Parts == nil {
			s.Parts = make(map[string]dps.Stamp, len(r.Parts))
		}
		s.Parts[name] = part.stamp()
	}
	return s
}

// asCreated reports whether a section is as it was when the identity was created.
func asCreated(s dps.Stamp, created time.Time) bool {
	return s.Version == 1 && s.At.Equal(created) && len(s.Parts) == 0
}

func stampsText(d dps.HubDevice) (*string, error) {
	if asCreated(d.DesiredStamp, d.Created) && asCreated(d.ReportedStamp, d.Created) {
		return nil, nil //nolint:nilnil // NULL
	}
	text, err := json.Marshal(stampsRow{Desired: stampRowOf(d.DesiredStamp), Reported: stampRowOf(d.ReportedStamp)})
	return new(string(text)), err
}

func readStamps(d *dps.HubDevice, text *string) error {
	if text == nil {
		d.DesiredStamp = dps.Stamp{At: d.Created, Version: 1}
		d.ReportedStamp = d.DesiredStamp
		return nil
	}
	var r stampsRow
	if err := json.Unmarshal([]byte(*text), &r); err != nil {
		return err
	}
	d.DesiredStamp, d.ReportedStamp = r.Desired.stamp(), r.Reported.stamp()
	return nil
}

// putDevice writes an identity that is at version ifMatch, "" for a new one. Of one
// that is there it leaves the twin alone, which has versions of its own, unless d is of
// another generation: then all of it is replaced.
func (s *Store) putDevice(t tx, d dps.HubDevice, ifMatch dps.ETag) error {
	if ifMatch == "" {
		return unlessExists(s.insertDevice(t, d))
	}
	sealed, err := s.sealedKeys(d)
	if err != nil {
		return err
	}
	a := d.Authentication
	written, err := t.affect(
		`UPDATE hub_devices SET auth_type = $1, primary_thumbprint = $2, secondary_thumbprint = $3, keys = $4, iot_edge = $5,
		etag = $6, updated = $7 WHERE instance = $8 AND hub = $9 AND device_id = $10 AND etag = $11 AND generation = $12`,
		string(a.Type),
		a.PrimaryThumbprint,
		a.SecondaryThumbprint,
		sealed,
		d.IotEdge,
		string(d.ETag),
		d.Updated.UnixNano(),
		string(d.Instance),
		string(d.Hub),
		string(d.DeviceID),
		string(ifMatch),
		d.GenerationID,
	)
	if err != nil || written > 0 {
		return err
	}
	if err := unlessExists(deleteDevice(t, d.Instance, dps.HubStand{Hub: d.Hub, DeviceID: d.DeviceID}, ifMatch)); err != nil {
		return err
	}
	return unlessExists(s.insertDevice(t, d))
}

// deleteDevice removes an identity that is at version ifMatch, and says how many were.
func deleteDevice(t tx, in dps.InstanceID, at dps.HubStand, ifMatch dps.ETag) (int64, error) {
	return t.affect(`DELETE FROM hub_devices WHERE instance = $1 AND hub = $2 AND device_id = $3 AND etag = $4`,
		string(in), string(at.Hub), string(at.DeviceID), string(ifMatch))
}

func (s *Store) sealedKeys(d dps.HubDevice) ([]byte, error) {
	return s.sealed(keysRow(d.Authentication.Keys), label("device", string(d.Instance), string(d.Hub), string(d.DeviceID)))
}

// insertDevice writes a new identity and says how many it wrote: none where there is one.
func (s *Store) insertDevice(t tx, d dps.HubDevice) (int64, error) {
	sealed, err := s.sealedKeys(d)
	if err != nil {
		return 0, err
	}
	stamps, err := stampsText(d)
	if err != nil {
		return 0, err
	}
	a := d.Authentication
	return t.affect(`INSERT INTO hub_devices (instance, hub, device_id, generation, auth_type, primary_thumbprint, secondary_thumbprint,
		keys, iot_edge, disabled, status_reason, status_updated, parent, tags, desired, reported, twin_version, stamps, etag, created, updated)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) ON CONFLICT DO NOTHING`,
		string(d.Instance), string(d.Hub), string(d.DeviceID), d.GenerationID, string(a.Type), a.PrimaryThumbprint, a.SecondaryThumbprint,
		sealed, d.IotEdge, d.Disabled, d.StatusReason, nanosOrNever(d.StatusUpdated), d.Parent, jsonText(d.Twin.Tags), jsonText(d.Twin.Desired),
		jsonText(d.Twin.Reported), d.TwinVersion, stamps, string(d.ETag), d.Created.UnixNano(), d.Updated.UnixNano())
}

func nanosOrNever(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// CreateHubDevice writes a new identity with its twin. It fails with DeviceExists.
func (s *Store) CreateHubDevice(ctx context.Context, d dps.HubDevice) error {
	return s.change(ctx, func(t tx) error {
		written, err := s.insertDevice(t, d)
		if err == nil && written == 0 {
			return dps.Errorf(dps.DeviceExists, "A device with ID '%s' is already registered.", d.DeviceID)
		}
		return err
	})
}

// ChangeHubDevice writes an identity and its twin in the place of was. It fails with
// ConcurrentChange when either of them is at another version.
func (s *Store) ChangeHubDevice(ctx context.Context, was, d dps.HubDevice) error {
	return s.change(ctx, func(t tx) error {
		sealed, err := s.sealedKeys(d)
		if err != nil {
			return err
		}
		stamps, err := stampsText(d)
		if err != nil {
			return err
		}
		a := d.Authentication
		return unlessExists(t.affect(`UPDATE hub_devices SET auth_type = $1, primary_thumbprint = $2, secondary_thumbprint = $3, keys = $4,
			iot_edge = $5, disabled = $6, status_reason = $7, status_updated = $8, parent = $9, tags = $10, desired = $11, reported = $12,
			twin_version = $13, stamps = $14, etag = $15, updated = $16
			WHERE instance = $17 AND hub = $18 AND device_id = $19 AND etag = $20 AND twin_version = $21 AND generation = $22`,
			string(a.Type), a.PrimaryThumbprint, a.SecondaryThumbprint, sealed, d.IotEdge, d.Disabled, d.StatusReason,
			nanosOrNever(d.StatusUpdated), d.Parent, jsonText(d.Twin.Tags), jsonText(d.Twin.Desired), jsonText(d.Twin.Reported),
			d.TwinVersion, stamps, string(d.ETag), d.Updated.UnixNano(),
			string(d.Instance), string(d.Hub), string(d.DeviceID), string(was.ETag), was.TwinVersion, was.GenerationID))
	})
}

// DeleteHubDevice removes an identity with its twin. It fails with ConcurrentChange when
// the identity is at another version than ifMatch, or not there.
func (s *Store) DeleteHubDevice(ctx context.Context, in dps.InstanceID, hub dps.HubID, id dps.DeviceID, ifMatch dps.ETag) error {
	return s.change(ctx, func(t tx) error {
		at := dps.HubStand{Hub: hub, DeviceID: id}
		if err := unlessExists(deleteDevice(t, in, at, ifMatch)); err != nil {
			return err
		}
		return unrelease(t, in, at)
	})
}

// dropDevice removes an identity at any version; one that is not there is fine.
func dropDevice(t tx, in dps.InstanceID, at dps.HubStand) error {
	return t.exec(
		`DELETE FROM hub_devices WHERE instance = $1 AND hub = $2 AND device_id = $3`,
		string(in),
		string(at.Hub),
		string(at.DeviceID),
	)
}
