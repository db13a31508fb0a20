package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/mooring-iot/mooring/internal/dps"
)

// registrationRow is a registration as columns, and as JSON where an earlier
// operation is kept.
type registrationRow struct {
	Instance     string  `json:"instance"`
	ID           string  `json:"id"`
	EntryKind    string  `json:"entryKind"`
	EntryID      string  `json:"entryId"`
	Attestation  string  `json:"attestation"`
	Evidence     string  `json:"evidence"`
	Status       string  `json:"status"`
	Substatus    string  `json:"substatus,omitempty"`
	Hub          string  `json:"hub,omitempty"`
	DeviceID     string  `json:"deviceId,omitempty"`
	ErrorCode    string  `json:"errorCode,omitempty"`
	ErrorMessage string  `json:"errorMessage,omitempty"`
	ErrorNumber  int     `json:"errorNumber,omitempty"`
	Operation    string  `json:"operation"`
	ETag         string  `json:"etag"`
	Created      int64   `json:"created"`
	Updated      int64   `json:"updated"`
	Payload      *string `json:"payload,omitempty"`
	LatestKind   string  `json:"latestKind,omitempty"` // the enrollment of the latest operation, where it is not that of the assignment
	LatestID     string  `json:"latestId,omitempty"`
	TakenBy      string  `json:"takenBy,omitempty"`
}

const registrationColumns = `SELECT instance, id, entry_kind, entry_id, attestation, evidence, status, substatus, hub, device_id,
	error_code, error_message, error_number, operation, etag, created, updated, payload,
	latest_kind, latest_id, taken_by FROM registrations`

func scanRegistration(row scanner) (registrationRow, error) {
	var r registrationRow
	err := row.Scan(&r.Instance, &r.ID, &r.EntryKind, &r.EntryID, &r.Attestation, &r.Evidence, &r.Status, &r.Substatus, &r.Hub, &r.DeviceID,
		&r.ErrorCode, &r.ErrorMessage, &r.ErrorNumber, &r.Operation, &r.ETag, &r.Created, &r.Updated, &r.Payload,
		&r.LatestKind, &r.LatestID, &r.TakenBy)
	return r, err
}

func (r registrationRow) registration() dps.Registration {
	reg := dps.Registration{
		Instance: dps.InstanceID(r.Instance), ID: dps.RegistrationID(r.ID),
		Entry:       dps.EntryRef{Kind: dps.EntryKind(r.EntryKind), ID: r.EntryID},
		Attestation: dps.AttestationType(r.Attestation), Evidence: r.Evidence,
		Status: dps.RegistrationStatus(r.Status), Operation: dps.OperationID(r.Operation),
		ETag: dps.ETag(r.ETag), Created: fromNanos(r.Created), Updated: fromNanos(r.Updated),
		Payload: rawJSON(r.Payload),
	}
	if r.Hub != "" {
		reg.Assignment = &dps.Assignment{
			Hub: dps.HubID(r.Hub), DeviceID: dps.DeviceID(r.DeviceID), Substatus: dps.Substatus(r.Substatus),
			Entry: reg.Entry, TakenBy: dps.RegistrationID(r.TakenBy),
		}
	}
	if r.LatestKind != "" {
		reg.Entry = dps.EntryRef{Kind: dps.EntryKind(r.LatestKind), ID: r.LatestID}
	}
	if r.ErrorCode != "" {
		reg.Failure = &dps.Failure{Code: dps.ParseCode(r.ErrorCode), Message: r.ErrorMessage, Number: r.ErrorNumber}
	}
	return reg
}

func registrationRowOf(reg dps.Registration) registrationRow {
	r := registrationRow{
		Instance: string(reg.Instance), ID: string(reg.ID), EntryKind: string(reg.Entry.Kind), EntryID: reg.Entry.ID,
		Attestation: string(reg.Attestation), Evidence: reg.Evidence, Status: string(reg.Status), Operation: string(reg.Operation),
		ETag: string(reg.ETag), Created: reg.Created.UnixNano(), Updated: reg.Updated.UnixNano(),
		Payload: jsonText(reg.Payload),
	}
	if a := reg.Assignment; a != nil {
		r.Hub, r.DeviceID, r.Substatus, r.TakenBy = string(a.Hub), string(a.DeviceID), string(a.Substatus), string(a.TakenBy)
		if a.Entry != reg.Entry {
			r.EntryKind, r.EntryID = string(a.Entry.Kind), a.Entry.ID
			r.LatestKind, r.LatestID = string(reg.Entry.Kind), reg.Entry.ID
		}
	}
	if f := reg.Failure; f != nil {
		r.ErrorCode, r.ErrorMessage, r.ErrorNumber = f.Code.String(), f.Message, f.Number
	}
	return r
}

func (r registrationRow) entryKey() string { return dps.EntryRef{ID: r.EntryID}.Key() }

// Registration returns the record of a device. It fails with RegistrationNotFound.
func (s *Store) Registration(ctx context.Context, in dps.InstanceID, id dps.RegistrationID) (dps.Registration, error) {
	r, err := scanRegistration(s.readers.row(ctx, registrationColumns+` WHERE instance = $1 AND id_key = $2`, string(in), id.Key()))
	return r.registration(), notFound(err, dps.RegistrationNotFound, "Registration not found.")
}

// Operation returns the record as an operation left it: the latest one, or an
// earlier one that has not expired. It fails with OperationNotFound.
func (s *Store) Operation(ctx context.Context, in dps.InstanceID, id dps.RegistrationID, op dps.OperationID) (dps.Registration, error) {
	r, err := scanRegistration(s.readers.row(ctx, registrationColumns+` WHERE instance = $1 AND id_key = $2 AND operation = $3`,
		string(in), id.Key(), string(op)))
	if err == nil {
		return r.registration(), nil
	}
	if err := notFound(err, dps.OperationNotFound, ""); dps.CodeOf(err) != dps.OperationNotFound {
		return dps.Registration{}, err
	}
	return s.earlierOperation(ctx, in, id, op)
}

func (s *Store) earlierOperation(
	ctx context.Context,
	in dps.InstanceID,
	id dps.RegistrationID,
	op dps.OperationID,
) (dps.Registration, error) {
	var body string
	err := s.readers.row(ctx, `SELECT body FROM operations WHERE instance = $1 AND operation = $2 AND id_key = $3 AND expires >= $4`,
		string(in), string(op), id.Key(), s.now().UnixNano()).Scan(&body)
	if err != nil {
		return dps.Registration{}, notFound(err, dps.OperationNotFound, "Operation not found.")
	}
	var r registrationRow
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		return dps.Registration{}, fmt.Errorf("reading operation %q: %w", op, err)
	}
	return r.registration(), nil
}

// Commit writes one registration with all that belongs to it, or nothing. It fails
// with ConcurrentChange.
func (s *Store) Commit(ctx context.Context, c dps.RegistrationChange) error {
	return s.change(ctx, func(t tx) error { return s.commitRegistration(t, c) })
}

func (s *Store) commitRegistration(t tx, c dps.RegistrationChange) error {
	if err := unchangedEntry(t, c); err != nil {
		return err
	}
	old, err := replaced(t, c)
	if err != nil {
		return err
	}
	if err := takePlace(t, old, c); err != nil {
		return err
	}
	if c.Device != nil {
		if err := s.putDevice(t, *c.Device, c.DeviceMatch); err != nil {
			return hubGone(err)
		}
	}
	if old != nil {
		if err := keepOperation(t, *old, c.Registration); err != nil {
			return err
		}
	}
	if err := putRegistration(t, c.Registration, c.IfMatch); err != nil {
		return err
	}
	if err := vacate(t, old, c); err != nil {
		return err
	}
	if err := s.auditMoves(t, c); err != nil {
		return err
	}
	return s.commitWork(t, c)
}

// unchangedEntry fails with ConcurrentChange where the enrollment that decided is not as c
// says.
func unchangedEntry(t tx, c dps.RegistrationChange) error {
	if c.EntryMatch == "" {
		return nil
	}
	ref := c.Registration.Entry
	var n int
	err := t.row(context.Background(), `SELECT count(*) FROM enrollments WHERE instance = $1 AND kind = $2 AND id_key = $3 AND etag = $4`,
		string(c.Registration.Instance), string(ref.Kind), ref.Key(), string(c.EntryMatch)).Scan(&n)
	if err == nil && n == 0 {
		return changedMeanwhile()
	}
	return err
}

// replaced returns the record that c replaces, nil if it is a new one.
func replaced(t tx, c dps.RegistrationChange) (*dps.Registration, error) {
	if c.IfMatch == "" {
		return nil, nil //nolint:nilnil // none
	}
	row, err := scanRegistration(t.row(context.Background(), registrationColumns+` WHERE instance = $1 AND id_key = $2`,
		string(c.Registration.Instance), c.Registration.ID.Key()))
	if err != nil {
		return nil, notFound(err, dps.ConcurrentChange, "Precondition failed.")
	}
	old := row.registration()
	return &old, nil
}

// keepOperation copies the operation that reg replaces, while devices may poll it.
func keepOperation(t tx, old, reg dps.Registration) error {
	expires := old.Updated.Add(dps.OperationLifetime)
	if old.Operation == reg.Operation || expires.Before(reg.Updated) {
		return nil
	}
	body, err := json.Marshal(registrationRowOf(old))
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO operations (instance, operation, id_key, body, expires) VALUES ($1, $2, $3, $4, $5)`,
		string(old.Instance), string(old.Operation), reg.ID.Key(), string(body), expires.UnixNano())
}

func putRegistration(t tx, reg dps.Registration, ifMatch dps.ETag) error {
	r := registrationRowOf(reg)
	if ifMatch == "" {
		return unlessExists(
			t.affect(`INSERT INTO registrations (instance, id_key, id, entry_kind, entry_key, entry_id, attestation, evidence, status, substatus,
			hub, device_id, error_code, error_message, error_number, operation, etag, created, updated, payload, latest_kind, latest_id, taken_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
			ON CONFLICT DO NOTHING`,
				r.Instance, reg.ID.Key(), r.ID, r.EntryKind, r.entryKey(), r.EntryID, r.Attestation, r.Evidence, r.Status, r.Substatus,
				r.Hub, r.DeviceID, r.ErrorCode, r.ErrorMessage, r.ErrorNumber, r.Operation, r.ETag, r.Created, r.Updated, r.Payload,
				r.LatestKind, r.LatestID, r.TakenBy),
		)
	}
	return unlessExists(
		t.affect(
			`UPDATE registrations SET entry_kind = $1, entry_key = $2, entry_id = $3, attestation = $4, evidence = $5, status = $6, substatus = $7,
		hub = $8, device_id = $9, error_code = $10, error_message = $11, operation = $12, etag = $13, updated = $14,
		error_number = $15, payload = $16, latest_kind = $17, latest_id = $18, taken_by = $19
		WHERE instance = $20 AND id_key = $21 AND etag = $22`,
			r.EntryKind,
			r.entryKey(),
			r.EntryID,
			r.Attestation,
			r.Evidence,
			r.Status,
			r.Substatus,
			r.Hub,
			r.DeviceID,
			r.ErrorCode,
			r.ErrorMessage,
			r.Operation,
			r.ETag,
			r.Updated,
			r.ErrorNumber,
			r.Payload,
			r.LatestKind,
			r.LatestID,
			r.TakenBy,
			r.Instance,
			reg.ID.Key(),
			string(ifMatch),
		),
	)
}
