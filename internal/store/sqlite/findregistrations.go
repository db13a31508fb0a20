package sqlite

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/mooring-iot/mooring/internal/dps"
)

// FindRegistrations returns up to limit records of an instance that f selects, behind the
// cursor, in the order that f documents. Each kind of filter seeks in an index.
func (s *Store) FindRegistrations(
	ctx context.Context,
	in dps.InstanceID,
	f dps.RegistrationFilter,
	limit int,
	after *dps.Cursor,
) ([]dps.Registration, error) {
	st := statement{from: registrationColumns}
	st.and("instance = " + st.arg(string(in)))
	switch {
	case f.Status != "":
		// The second term is that of the index, which SQLite uses only where it reads it.
		st.and("status = " + st.arg(string(f.Status)) + " AND status <> 'assigned'")
		if after != nil {
			st.and("(updated, id_key) < (" + st.arg(after.Updated) + ", " + st.arg(after.Key) + ")")
		}
		st.order = " ORDER BY updated DESC, id_key DESC"
	case f.DeviceID != "":
		return s.byDeviceID(ctx, in, f.DeviceID, limit, after)
	case f.Prefix != "":
		st.and("id_key >= " + st.arg(f.Prefix.Key()))
		st.and("id_key < " + st.arg(f.Prefix.Key()+lastRune))
		st.behindKey(after)
	case len(f.IDs) > 0:
		keys := make([]string, len(f.IDs))
		for i, id := range f.IDs {
			keys[i] = id.Key()
		}
		st.and("id_key IN (SELECT value FROM json_each(" + st.arg(jsonList(keys)) + "))")
		st.behindKey(after)
	default:
		st.and("id_key >= ''") // all of the instance, page by page
		st.behindKey(after)
	}
	return s.registrations(ctx, st, limit)
}

// lastRune sorts behind everything that an ID can have.
const lastRune = "\U0010FFFF"

// behindKey goes on behind a cursor in the order of keys.
func (s *statement) behindKey(after *dps.Cursor) {
	if after != nil {
		s.and("id_key > " + s.arg(after.Key))
	}
	s.order = " ORDER BY id_key"
}

// byDeviceID finds records by the ID at the hub: the device that is called the same in
// both places, and those that are called otherwise at a hub, which have an index.
func (s *Store) byDeviceID(
	ctx context.Context,
	in dps.InstanceID,
	id dps.DeviceID,
	limit int,
	after *dps.Cursor,
) ([]dps.Registration, error) {
	hubs, err := s.hubNames(ctx, in)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(hubs))
	for hub := range hubs {
		ids = append(ids, string(hub))
	}
	slices.Sort(ids)
	same := statement{from: registrationColumns}
	same.and("instance = " + same.arg(string(in)))
	same.and("id_key = " + same.arg(dps.RegistrationID(id).Key()))
	same.and("device_id = " + same.arg(string(id)))
	same.behindKey(after)
	other := statement{from: registrationColumns}
	other.and("instance = " + other.arg(string(in)))
	other.and("hub IN (SELECT value FROM json_each(" + other.arg(jsonList(ids)) + "))")
	other.and("device_id = " + other.arg(string(id)) + " AND device_id <> id AND hub <> ''")
	other.behindKey(after)
	found := make(map[string]dps.Registration)
	for _, st := range []statement{same, other} {
		some, err := s.registrations(ctx, st, limit)
		if err != nil {
			return nil, err
		}
		for _, reg := range some {
			found[reg.ID.Key()] = reg
		}
	}
	all := make([]dps.Registration, 0, len(found))
	for _, reg := range found {
		all = append(all, reg)
	}
	slices.SortFunc(all, func(a, b dps.Registration) int { return cmp.Compare(a.ID.Key(), b.ID.Key()) })
	return all[:min(limit, len(all))], nil
}

// registrations reads up to limit rows of a statement.
func (s *Store) registrations(ctx context.Context, st statement, limit int) (found []dps.Registration, err error) {
	rows, err := s.readers.rows(ctx, st.text()+" LIMIT "+st.arg(limit), st.args...)
	if err != nil {
		return nil, storeError(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		row, err := scanRegistration(rows)
		if err != nil {
			return nil, storeError(err)
		}
		found = append(found, row.registration())
	}
	return found, storeError(rows.Err())
}

func jsonList(texts []string) string {
	out, _ := json.Marshal(texts) // strings can always be written
	return string(out)
}
