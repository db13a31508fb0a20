package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

// holderText finds the record, other than that of one device, whose device has an
// identity. A device is called like its registration, as most are, or is one of the few
// that are not.
const holderText = `SELECT id, entry_kind, entry_id FROM registrations
	WHERE instance = $1 AND id_key = $2 AND hub = $3 AND device_id = $4 AND id_key <> $5 AND taken_by = ''
	UNION ALL SELECT id, entry_kind, entry_id FROM registrations
	WHERE instance = $1 AND hub = $3 AND device_id = $4 AND device_id <> id AND hub <> '' AND id_key <> $5 AND taken_by = '' LIMIT 1`

// recordHolder returns which other device than id has an identity by its record, nil if
// none.
func recordHolder(ctx context.Context, q querier, in dps.InstanceID, at dps.HubStand, id dps.RegistrationID) (*dps.Holder, error) {
	var h dps.Holder
	var device, kind, entry string
	err := q.row(ctx, holderText, string(in), dps.RegistrationID(at.DeviceID).Key(), string(at.Hub), string(at.DeviceID), id.Key()).
		Scan(&device, &kind, &entry)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // none
	}
	h.ID, h.Entry = dps.RegistrationID(device), dps.EntryRef{Kind: dps.EntryKind(kind), ID: entry}
	return &h, err
}

// Holder returns whose an identity is, other than id's: nil if nobody's. Where no record
// names the identity and the service has not released it, it is an operator's, should it
// be there.
func (s *Store) Holder(ctx context.Context, in dps.InstanceID, at dps.HubStand, id dps.RegistrationID) (*dps.Holder, error) {
	h, err := recordHolder(ctx, s.readers, in, at, id)
	if err != nil || h != nil {
		return h, storeError(err)
	}
	var n int
	err = s.readers.row(ctx, `SELECT count(*) FROM released WHERE instance = $1 AND hub = $2 AND device_id = $3`,
		string(in), string(at.Hub), string(at.DeviceID)).Scan(&n)
	if err != nil || n > 0 {
		return nil, storeError(err)
	}
	return &dps.Holder{}, nil
}

// EnrollmentsByDeviceID returns up to limit individual enrollments whose device has id at
// its hub: those that ask for it, and the one that is called so and asks for nothing.
func (s *Store) EnrollmentsByDeviceID(ctx context.Context, in dps.InstanceID, id dps.DeviceID, limit int) ([]dps.Enrollment, error) {
	rows, err := s.readers.rows(ctx, `SELECT instance, kind, id_key, id, body, secrets, etag, created, updated FROM enrollments
		WHERE instance = $1 AND body ->> 'deviceId' = $2 AND body ->> 'deviceId' IS NOT NULL
		UNION ALL SELECT instance, kind, id_key, id, body, secrets, etag, created, updated FROM enrollments
		WHERE instance = $1 AND kind = 'individual' AND id_key = $3 AND id = $2 AND body ->> 'deviceId' IS NULL
		ORDER BY id_key LIMIT $4`, string(in), string(id), dps.RegistrationID(id).Key(), limit)
	return collect(rows, err, s.scanEnrollment)
}

// takePlace makes the place of an assignment that of c's device alone. It fails with
// ConcurrentChange where another device has it than c says. old is the stored record,
// nil if there is none.
func takePlace(t tx, old *dps.Registration, c dps.RegistrationChange) error {
	reg := c.Registration
	a := reg.Assignment
	if reg.Status != dps.Assigned || a == nil || had(old, *a) {
		return nil
	}
	holder, err := recordHolder(context.Background(), t, reg.Instance, a.Place(), reg.ID)
	if err != nil {
		return err
	}
	if !sameHolder(holder, c.From) {
		return changedMeanwhile()
	}
	if holder != nil {
		return t.exec(`UPDATE registrations SET taken_by = $1, etag = $2 WHERE instance = $3 AND id_key = $4`,
			string(reg.ID), string(dps.NewETag()), string(reg.Instance), holder.ID.Key())
	}
	if c.Device != nil && c.DeviceMatch == "" {
		return nil // the identity is new
	}
	return unrelease(t, reg.Instance, a.Place())
}

// had reports whether the device of a record has the identity of a.
func had(old *dps.Registration, a dps.Assignment) bool {
	return old != nil && old.Assignment != nil && old.Assignment.Place() == a.Place() && old.Assignment.TakenBy == ""
}

// sameHolder compares the device that has an identity with the one that a caller saw.
func sameHolder(stored, seen *dps.Holder) bool {
	if seen == nil || seen.Operator() {
		return stored == nil
	}
	return stored != nil && stored.Same(*seen)
}

// vacate lets go of the place that a device had before c: it is that of another device
// whose record names it, or removed, or released.
func vacate(t tx, old *dps.Registration, c dps.RegistrationChange) error {
	if c.Removed != nil {
		other, err := named(t, c.Registration.Instance, *c.Removed, "")
		if err == nil && !other {
			err = dropDevice(t, c.Registration.Instance, *c.Removed)
		}
		if err != nil {
			return err
		}
	}
	if old == nil || old.Assignment == nil || c.Registration.Assignment == nil && c.Leaving == nil && c.Removed == nil {
		return nil
	}
	if a := c.Registration.Assignment; a != nil && a.Place() == old.Assignment.Place() {
		return nil
	}
	return handOver(t, *old, c.Removed == nil && c.Leaving == nil)
}

// handOver gives the place of a record that no longer names it to the device from which
// it took it; where there is none, and release says so, to whoever comes next.
func handOver(t tx, old dps.Registration, release bool) error {
	in, at := old.Instance, old.Assignment.Place()
	rows, err := t.rows(context.Background(), `SELECT id_key FROM registrations
		WHERE instance = $1 AND id_key = $2 AND hub = $3 AND device_id = $4 AND lower(taken_by) = $5
		UNION SELECT id_key FROM registrations
		WHERE instance = $1 AND hub = $3 AND device_id = $4 AND device_id <> id AND hub <> '' AND lower(taken_by) = $5`,
		string(in), dps.RegistrationID(at.DeviceID).Key(), string(at.Hub), string(at.DeviceID), old.ID.Key())
	keys, err := collect(rows, err, func(row scanner) (key string, err error) { return key, row.Scan(&key) })
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := t.exec(`UPDATE registrations SET taken_by = $1, etag = $2 WHERE instance = $3 AND id_key = $4`,
			string(old.Assignment.TakenBy), string(dps.NewETag()), string(in), key); err != nil {
			return err
		}
	}
	if !release || old.Assignment.TakenBy != "" {
		return nil
	}
	other, err := named(t, in, at, "")
	if err != nil || other {
		return err
	}
	return t.exec(`INSERT INTO released (instance, hub, device_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		string(in), string(at.Hub), string(at.DeviceID))
}

func unrelease(t tx, in dps.InstanceID, at dps.HubStand) error {
	return t.exec(`DELETE FROM released WHERE instance = $1 AND hub = $2 AND device_id = $3`, string(in), string(at.Hub), string(at.DeviceID))
}

// repeatedMove is for how long the same move is not recorded again: two devices may take
// an identity from each other with every call.
const repeatedMove = time.Hour

// auditMoves records the identities that change hands, unless the same was just recorded.
func (s *Store) auditMoves(t tx, c dps.RegistrationChange) error {
	for _, m := range c.Moves {
		e := audit.Moved(c.Registration.Instance, m, c.TrackingID, c.Remote)
		var n int
		err := t.row(context.Background(), `SELECT count(*) FROM (SELECT 1 FROM audit
			WHERE instance = $1 AND id_key = $2 AND time > $3 AND operation = $4 AND detail = $5 LIMIT 1)`,
			string(e.Instance), strings.ToLower(e.ID), s.now().Add(-repeatedMove).UnixNano(), string(e.Operation), e.Detail).Scan(&n)
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		if _, err := putAudit(t, e, s.now()); err != nil {
			return err
		}
	}
	return nil
}
