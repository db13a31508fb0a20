package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// workRow is the body of open work.
type workRow struct {
	ID          string          `json:"id"`
	APIVersion  string          `json:"apiVersion"`
	Remote      string          `json:"remote,omitempty"`
	TrackingID  string          `json:"trackingId,omitempty"`
	Transport   string          `json:"transport,omitempty"`
	Certificate []byte          `json:"certificate,omitempty"`
	KeyOf       string          `json:"keyOf,omitempty"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	Twin        json.RawMessage `json:"twin,omitempty"`
	Returned    json.RawMessage `json:"returned,omitempty"`
}

// commitWork writes what is left to do, and what becomes of the places at hubs over
// the wire that the registration no longer wants. Most registrations never have any.
func (s *Store) commitWork(t tx, c dps.RegistrationChange) error {
	if c.WasOpen || c.Work != nil {
		if err := s.settleRemnants(t, c); err != nil {
			return err
		}
	}
	if c.Work != nil {
		if err := putWork(t, *c.Work); err != nil {
			return err
		}
	} else if c.WasOpen {
		reg := c.Registration
		if err := t.exec(`DELETE FROM work WHERE instance = $1 AND id_key = $2`, string(reg.Instance), reg.ID.Key()); err != nil {
			return err
		}
	}
	if c.Leaving != nil {
		return s.leave(t, c.Registration, *c.Leaving)
	}
	return nil
}

func putWork(t tx, w dps.Work) error {
	row := workRow{
		ID:         string(w.ID),
		APIVersion: w.APIVersion,
		Remote:     w.Remote,
		TrackingID: w.TrackingID,
		Transport:  string(w.Transport),
		KeyOf:      string(w.KeyOf),
		Payload:    w.Payload,
		Twin:       w.Twin,
		Returned:   w.Returned,
	}
	if w.Certificate != nil {
		row.Certificate = w.Certificate.DER
	}
	body, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO work (instance, id_key, operation, hub, since, body) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (instance, id_key) DO UPDATE SET
		operation = excluded.operation, hub = excluded.hub, since = excluded.since, body = excluded.body`,
		string(w.Instance), w.ID.Key(), string(w.Operation), string(w.Hub), w.Since.UnixNano(), string(body))
}

const workColumns = `SELECT instance, operation, hub, since, body FROM work`

func scanWork(row scanner) (dps.Work, error) {
	var in, operation, hub, body string
	var since int64
	if err := row.Scan(&in, &operation, &hub, &since, &body); err != nil {
		return dps.Work{}, err
	}
	var r workRow
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		return dps.Work{}, fmt.Errorf("reading the work of operation %q: %w", operation, err)
	}
	w := dps.Work{
		Instance: dps.InstanceID(in), ID: dps.RegistrationID(r.ID), Operation: dps.OperationID(operation),
		Remote: r.Remote, TrackingID: r.TrackingID, Transport: dps.Transport(r.Transport),
		APIVersion: r.APIVersion, KeyOf: dps.RegistrationID(r.KeyOf), Payload: r.Payload,
		Hub: dps.HubID(hub), Twin: r.Twin, Returned: r.Returned, Since: fromNanos(since),
	}
	if r.Certificate != nil {
		w.Certificate = &dps.Certificate{DER: r.Certificate}
	}
	return w, nil
}

// Work returns what a registration still has to do. It fails with OperationNotFound
// when that is nothing.
func (s *Store) Work(ctx context.Context, in dps.InstanceID, id dps.RegistrationID) (dps.Work, error) {
	w, err := scanWork(s.readers.row(ctx, workColumns+` WHERE instance = $1 AND id_key = $2`, string(in), id.Key()))
	return w, notFound(err, dps.OperationNotFound, "Operation not found.")
}

// OpenWork returns what every open registration waits for, the longest waiting
// first: without what it brought along.
func (s *Store) OpenWork(ctx context.Context) ([]dps.Work, error) {
	rows, err := s.readers.rows(
		ctx,
		`SELECT instance, operation, hub, since, json_object('id', body ->> 'id') FROM work ORDER BY since, instance, id_key`,
	)
	return collect(rows, err, scanWork)
}

const remnantColumns = `SELECT instance, hub, device_id, id, state, stale, since, attempts, due, last_error, owner, busy_until
	FROM remnants`

func scanRemnant(row scanner) (dps.Remnant, error) {
	var in, hub, device, id, state string
	var since, due, busy int64
	var r dps.Remnant
	err := row.Scan(&in, &hub, &device, &id, &state, &r.Stale, &since, &r.Attempts, &due, &r.LastError, &r.Owner, &busy)
	r.Instance, r.Hub, r.DeviceID, r.ID, r.State = dps.InstanceID(
		in,
	), dps.HubID(
		hub,
	), dps.DeviceID(
		device,
	), dps.RegistrationID(
		id,
	), dps.RemnantState(
		state,
	)
	r.Since, r.Due, r.BusyUntil = fromNanos(since), fromNanos(due), fromNanos(busy)
	return r, err
}

// settleRemnants turns the places that a registration was about to take into places
// to clean up, but for the one that its work still wants and the one that it has now.
// They lose their owner: what it sent there may still arrive, so that it has to wait for
// the end of its own lease, like everybody else, before it removes anything.
func (s *Store) settleRemnants(t tx, c dps.RegistrationChange) error {
	rows, err := t.rows(context.Background(), remnantColumns+` WHERE instance = $1 AND id_key = $2 AND state = 'placing'`,
		string(c.Registration.Instance), c.Registration.ID.Key())
	remnants, err := collect(rows, err, scanRemnant)
	if err != nil {
		return err
	}
	for _, r := range remnants {
		a := c.Registration.Assignment
		own := a != nil && a.Hub == r.Hub && a.DeviceID == r.DeviceID
		switch {
		case c.Work != nil && (c.Work.Hub == r.Hub || own): // its lease counts, should the device leave
		case own:
			err = t.exec(
				`DELETE FROM remnants WHERE instance = $1 AND hub = $2 AND device_id = $3`,
				string(r.Instance),
				string(r.Hub),
				string(r.DeviceID),
			)
		default:
			err = t.exec(
				`UPDATE remnants SET state = 'leaving', stale = 0, owner = '', since = $1, due = max($1, busy_until)
				WHERE instance = $2 AND hub = $3 AND device_id = $4`,
				s.now().UnixNano(),
				string(r.Instance),
				string(r.Hub),
				string(r.DeviceID),
			)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leave makes a place one to clean up, unless another device has it by its record.
func (s *Store) leave(t tx, reg dps.Registration, stand dps.HubStand) error {
	taken, err := named(t, reg.Instance, stand, "")
	if err != nil || taken {
		return err
	}
	now := s.now().UnixNano()
	return t.exec(
		`INSERT INTO remnants (instance, hub, device_id, id_key, id, state, stale, since, attempts, due, last_error, owner, busy_until)
		SELECT $1, $2, $3, $4, $5, 'leaving', 0, $6, 0, $6, '', '', 0 FROM hubs WHERE instance = $1 AND id = $2
		ON CONFLICT (instance, hub, device_id) DO UPDATE SET state = 'leaving', stale = 0, owner = '',
		id_key = excluded.id_key, id = excluded.id, due = max($6, busy_until)`,
		string(reg.Instance),
		string(stand.Hub),
		string(stand.DeviceID),
		reg.ID.Key(),
		string(reg.ID),
		now,
	)
}

// named reports whether a record names a place, other than that of one device, whose ID
// is "" for none. A device is called like its registration, as most are, or is one of the
// few that are not.
func named(t tx, in dps.InstanceID, stand dps.HubStand, but dps.RegistrationID) (bool, error) {
	var n int
	err := t.row(context.Background(), `SELECT (SELECT count(*) FROM registrations
		WHERE instance = $1 AND id_key = $2 AND hub = $3 AND device_id = $4 AND id_key <> $5) +
		(SELECT count(*) FROM registrations
		WHERE instance = $1 AND hub = $3 AND device_id = $4 AND device_id <> id AND hub <> '' AND id_key <> $5)`,
		string(in), dps.RegistrationID(stand.DeviceID).Key(), string(stand.Hub), string(stand.DeviceID), but.Key()).Scan(&n)
	return n > 0, err
}

// ClaimPlace gives one process the right to write to a place at a hub over the wire
// until a time, and returns the remnant as it was before; its State is "" where there
// was none.
//
// It fails with Throttled, and says when to come again, while something that was sent
// there earlier may still arrive and would undo the write; with ConcurrentChange when
// a place to be cleaned up is none any more.
func (s *Store) ClaimPlace(ctx context.Context, c dps.Claim) (before dps.Remnant, err error) {
	err = s.change(ctx, func(t tx) error {
		var err error
		before, err = scanRemnant(t.row(ctx, remnantColumns+` WHERE instance = $1 AND hub = $2 AND device_id = $3`,
			string(c.Instance), string(c.Hub), string(c.DeviceID)))
		err = notFound(err, dps.DeviceNotFound, "")
		switch {
		case dps.CodeOf(err) == dps.DeviceNotFound:
			before = dps.Remnant{}
		case err != nil:
			return err
		}
		if c.State != dps.Leaving {
			before, err = claimPlacing(t, c, before)
			return err
		}
		claimed, err := claimLeaving(t, c, before)
		if !claimed {
			before = dps.Remnant{}
		}
		return err
	})
	return before, err
}

// claimLeaving claims nothing, and forgets the place, where a record has it.
func claimLeaving(t tx, c dps.Claim, before dps.Remnant) (claimed bool, err error) {
	if before.State != dps.Leaving {
		return false, changedMeanwhile()
	}
	taken, err := named(t, c.Instance, c.HubStand, "")
	if err != nil {
		return false, err
	}
	if taken {
		return false, t.exec(
			`DELETE FROM remnants WHERE instance = $1 AND hub = $2 AND device_id = $3`,
			string(c.Instance),
			string(c.Hub),
			string(c.DeviceID),
		)
	}
	if before.Owner != c.Owner && before.BusyUntil.After(c.Now) {
		return false, busy(before, c)
	}
	return true, t.exec(`UPDATE remnants SET owner = $1, busy_until = $2 WHERE instance = $3 AND hub = $4 AND device_id = $5`,
		c.Owner, c.Until.UnixNano(), string(c.Instance), string(c.Hub), string(c.DeviceID))
}

// claimPlacing: where something is to be removed first, or another device is being
// placed, nothing of that may be under way any more. Where another record names the
// identity, nothing is removed. It returns before as the caller may rely on it.
func claimPlacing(t tx, c dps.Claim, before dps.Remnant) (dps.Remnant, error) {
	holder, err := recordHolder(context.Background(), t, c.Instance, c.HubStand, c.ID)
	if err != nil {
		return before, err
	}
	if !sameHolder(holder, c.From) {
		return before, changedMeanwhile()
	}
	stale := before.State == dps.Leaving || before.Stale
	rival := before.State == dps.Placing && before.ID.Key() != c.ID.Key()
	if (stale || rival) && before.BusyUntil.After(c.Now) {
		return before, busy(before, c)
	}
	if before.Kept, err = named(t, c.Instance, c.HubStand, c.ID); err != nil {
		return before, err
	}
	stale = stale && !before.Kept
	return before, t.exec(
		`INSERT INTO remnants (instance, hub, device_id, id_key, id, state, stale, since, attempts, due, last_error, owner, busy_until)
		VALUES ($1, $2, $3, $4, $5, 'placing', 0, $6, 0, $6, '', $7, $8)
		ON CONFLICT (instance, hub, device_id) DO UPDATE SET state = 'placing', stale = $9, id_key = excluded.id_key, id = excluded.id,
			owner = excluded.owner, busy_until = max(busy_until, excluded.busy_until), last_error = ''`,
		string(c.Instance),
		string(c.Hub),
		string(c.DeviceID),
		c.ID.Key(),
		string(c.ID),
		c.Now.UnixNano(),
		c.Owner,
		c.Until.UnixNano(),
		stale,
	)
}

func busy(r dps.Remnant, c dps.Claim) error {
	return &dps.Error{
		Code: dps.Throttled, Message: "An earlier request for this device is still in progress at the hub.", RetryAfter: r.BusyUntil.Sub(c.Now),
	}
}

// NotPlaced forgets a place at which nothing was made under a claim, the first one of
// this place; one that was claimed again meanwhile stays.
func (s *Store) NotPlaced(ctx context.Context, c dps.Claim) error {
	return s.change(ctx, func(t tx) error {
		return t.exec(`DELETE FROM remnants WHERE instance = $1 AND hub = $2 AND device_id = $3 AND busy_until = $4`,
			string(c.Instance), string(c.Hub), string(c.DeviceID), c.Until.UnixNano())
	})
}

// Removed forgets a place whose identity is gone. One that a registration has come to
// want meanwhile stays, and is free for it.
func (s *Store) Removed(ctx context.Context, c dps.Claim) error {
	return s.change(ctx, func(t tx) error {
		n, err := t.affect(`DELETE FROM remnants WHERE instance = $1 AND hub = $2 AND device_id = $3 AND state = 'leaving' AND owner = $4`,
			string(c.Instance), string(c.Hub), string(c.DeviceID), c.Owner)
		if err != nil || n > 0 {
			return err
		}
		return t.exec(`UPDATE remnants SET busy_until = 0 WHERE instance = $1 AND hub = $2 AND device_id = $3 AND owner = $4`,
			string(c.Instance), string(c.Hub), string(c.DeviceID), c.Owner)
	})
}

// NotRemoved notes why the identity of a place could not be removed, and when to try
// again.
func (s *Store) NotRemoved(ctx context.Context, c dps.Claim, why string, due time.Time) error {
	return s.change(ctx, func(t tx) error {
		return t.exec(
			`UPDATE remnants SET attempts = attempts + 1, last_error = $1, due = $2
			WHERE instance = $3 AND hub = $4 AND device_id = $5 AND state = 'leaving'`,
			why,
			due.UnixNano(),
			string(c.Instance),
			string(c.Hub),
			string(c.DeviceID),
		)
	})
}

// LeavingHubs returns the hubs at which there is something to clean up.
func (s *Store) LeavingHubs(ctx context.Context) ([]dps.LinkedHub, error) {
	rows, err := s.readers.rows(ctx, `SELECT DISTINCT instance, hub FROM remnants WHERE state = 'leaving'`)
	return collect(rows, err, func(row scanner) (dps.LinkedHub, error) {
		var in, hub string
		err := row.Scan(&in, &hub)
		return dps.LinkedHub{Instance: dps.InstanceID(in), ID: dps.HubID(hub)}, err
	})
}

// DueRemnants returns up to limit places of a hub that are to be cleaned up by now,
// the longest due first.
func (s *Store) DueRemnants(ctx context.Context, in dps.InstanceID, hub dps.HubID, now time.Time, limit int) ([]dps.Remnant, error) {
	rows, err := s.readers.rows(
		ctx,
		remnantColumns+` WHERE instance = $1 AND hub = $2 AND state = 'leaving' AND due <= $3 ORDER BY due LIMIT $4`,
		string(in),
		string(hub),
		now.UnixNano(),
		limit,
	)
	return collect(rows, err, scanRemnant)
}

// Remnants returns up to limit remnants in a state, behind the place after (nil: from
// the start), sorted by hub and device ID.
func (s *Store) Remnants(
	ctx context.Context,
	in dps.InstanceID,
	state dps.RemnantState,
	limit int,
	after *dps.HubStand,
) ([]dps.Remnant, error) {
	if after == nil {
		after = &dps.HubStand{}
	}
	rows, err := s.readers.rows(
		ctx,
		remnantColumns+` WHERE instance = $1 AND (hub, device_id) > ($2, $3) AND state = $4 ORDER BY hub, device_id LIMIT $5`,
		string(in),
		string(after.Hub),
		string(after.DeviceID),
		string(state),
		limit,
	)
	return collect(rows, err, scanRemnant)
}
