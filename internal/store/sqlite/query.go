package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

// statement is a SELECT in the making. Its text depends on the query's shape only,
// values are arguments.
type statement struct {
	where []string
	args  []any
}

func (s *statement) arg(value any) string {
	s.args = append(s.args, value)
	return "$" + strconv.Itoa(len(s.args))
}

func (s *statement) and(format string) { s.where = append(s.where, format) }

// within bounds a key column by the IDs that a query can match.
func (s *statement) within(column string, r query.Range) {
	if r.From != "" {
		s.and(column + " >= " + s.arg(r.From))
	}
	if r.To != "" {
		s.and(column + " < " + s.arg(r.To))
	}
}

// behind goes on behind a cursor and returns the order.
func (s *statement) behind(table string, o query.Order, after *dps.Cursor) string {
	relation, direction := " > ", ""
	if o.Descending {
		relation, direction = " < ", " DESC"
	}
	key, updated := table+".id_key", table+".updated"
	if !o.ByUpdated {
		if after != nil {
			s.and(key + relation + s.arg(after.Key))
		}
		return " ORDER BY " + key + direction
	}
	if after != nil {
		s.and("(" + updated + ", " + key + ")" + relation + "(" + s.arg(after.Updated) + ", " + s.arg(after.Key) + ")")
	}
	return " ORDER BY " + updated + direction + ", " + key + direction
}

// inBody reports whether a member stands in the JSON of an enrollment's row word for
// word. Descriptions of certificates, times and states are made when they are shown.
func inBody(path []string) bool {
	switch path[0] {
	case "deviceId", "iotHubHostName", "initialTwin", "optionalDeviceInformation":
		return true
	case "attestation":
		return len(path) > 1 && path[1] == "tpm"
	default:
		return false
	}
}

const queryColumns = `SELECT e.instance, e.kind, e.id_key, e.id, e.body, e.secrets, e.etag, e.created, e.updated`

// stateColumns are those of a registration that may not be there.
const stateColumns = `, r.id, r.status, r.substatus, r.hub, r.device_id, r.error_code, r.error_message, r.etag, r.created, r.updated`

// QueryEnrollments returns up to limit enrollments of a kind that q selects, behind
// the cursor, in q's order.
func (s *Store) QueryEnrollments(ctx context.Context, in dps.InstanceID, kind dps.EntryKind, q query.Query, limit int, after *dps.Cursor) ([]dps.Enrollment, error) {
	schema := query.Enrollments()
	if kind == dps.Group {
		schema = query.Groups()
	}
	states := kind == dps.Individual && q.Uses("registrationState")
	var st statement
	st.and("e.instance = " + st.arg(string(in)))
	st.and("e.kind = " + st.arg(string(kind)))
	st.within("e.id_key", q.IDs(schema))
	for _, text := range q.Texts(inBody) {
		st.and("instr(e.body, " + st.arg(text) + ") > 0")
	}
	order := st.behind("e", q.Order, after)
	text := queryColumns
	if states {
		text += stateColumns
	}
	text += ` FROM enrollments e`
	if states {
		text += ` LEFT JOIN registrations r ON r.instance = e.instance AND r.id_key = e.id_key`
	}
	hubs, err := s.hubNames(ctx, in)
	if err != nil {
		return nil, err
	}
	return s.selectEnrollments(ctx, text+` WHERE `+strings.Join(st.where, " AND ")+order, st.args, selection{q: q, limit: limit, states: states, hubs: hubs})
}

// selection is what is kept of the rows.
type selection struct {
	q      query.Query
	limit  int
	states bool // rows have the columns of a state
	hubs   map[dps.HubID]dps.HostName
}

func (s *Store) hubNames(ctx context.Context, in dps.InstanceID) (map[dps.HubID]dps.HostName, error) {
	hubs, err := s.Hubs(ctx, in)
	if err != nil {
		return nil, err
	}
	names := make(map[dps.HubID]dps.HostName, len(hubs))
	for _, h := range hubs {
		names[h.ID] = h.HostName
	}
	return names, nil
}

// selectEnrollments reads rows until enough match. Texts are not prepared for good: there
// are as many as shapes of queries.
func (s *Store) selectEnrollments(ctx context.Context, text string, args []any, sel selection) (found []dps.Enrollment, err error) {
	rows, err := s.readers.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, storeError(err)
	}
	defer func() { err = errors.Join(err, storeError(rows.Close())) }()
	for len(found) < sel.limit && rows.Next() {
		e, matches, err := s.readMatch(rows, sel)
		if err != nil {
			return nil, err
		}
		if matches {
			found = append(found, e)
		}
	}
	return found, storeError(rows.Err())
}

func (s *Store) readMatch(rows *sql.Rows, sel selection) (dps.Enrollment, bool, error) {
	row := &stateRow{scanner: rows, with: sel.states}
	e, err := s.scanEnrollment(row)
	if err != nil {
		return e, false, err
	}
	doc := query.Record{Enrollment: e, Registration: row.registration(), Number: sel.q.Number}
	if a := doc.Registration; a != nil && a.Assignment != nil {
		doc.Hub = sel.hubs[a.Assignment.Hub]
	}
	return e, sel.q.Match(doc), nil
}

// stateRow scans the columns of an enrollment, and those of its state behind them.
type stateRow struct {
	scanner
	with bool

	id, status, substatus, hub, device, code, message, etag sql.NullString
	created, updated                                        sql.NullInt64
}

func (r *stateRow) Scan(dest ...any) error {
	if r.with {
		dest = append(dest, &r.id, &r.status, &r.substatus, &r.hub, &r.device, &r.code, &r.message, &r.etag, &r.created, &r.updated)
	}
	return r.scanner.Scan(dest...)
}

func (r *stateRow) registration() *dps.Registration {
	if !r.id.Valid {
		return nil
	}
	reg := registrationRow{
		ID: r.id.String, Status: r.status.String, Substatus: r.substatus.String, Hub: r.hub.String, DeviceID: r.device.String,
		ErrorCode: r.code.String, ErrorMessage: r.message.String, ETag: r.etag.String, Created: r.created.Int64, Updated: r.updated.Int64,
	}.registration()
	return &reg
}

// QueryRegistrations returns up to limit registration records of a group that q
// selects, behind the cursor, in q's order.
func (s *Store) QueryRegistrations(ctx context.Context, in dps.InstanceID, group string, q query.Query, limit int, after *dps.Cursor) (found []dps.Registration, err error) {
	var st statement
	st.and("r.instance = " + st.arg(string(in)))
	st.and("r.entry_kind = 'group'")
	st.and("r.entry_key = " + st.arg(dps.EntryRef{ID: group}.Key()))
	st.within("r.id_key", q.IDs(query.Registrations()))
	order := st.behind("r", q.Order, after)
	hubs, err := s.hubNames(ctx, in)
	if err != nil {
		return nil, err
	}
	rows, err := s.readers.db.QueryContext(ctx, registrationColumns+` r WHERE `+strings.Join(st.where, " AND ")+order, st.args...)
	if err != nil {
		return nil, storeError(err)
	}
	defer func() { err = errors.Join(err, storeError(rows.Close())) }()
	for len(found) < limit && rows.Next() {
		row, err := scanRegistration(rows)
		if err != nil {
			return nil, storeError(err)
		}
		doc := query.Registration{Record: row.registration(), Number: q.Number}
		if doc.Record.Assignment != nil {
			doc.Hub = hubs[doc.Record.Assignment.Hub]
		}
		if q.Match(doc) {
			found = append(found, doc.Record)
		}
	}
	return found, storeError(rows.Err())
}

// DeleteRegistration forgets a device at version ifMatch; its identity at the hub
// stays. It fails with ConcurrentChange.
func (s *Store) DeleteRegistration(ctx context.Context, in dps.InstanceID, id dps.RegistrationID, ifMatch dps.ETag) error {
	return s.change(ctx, func(t tx) error {
		if err := unlessExists(t.affect(`DELETE FROM registrations WHERE instance = $1 AND id_key = $2 AND etag = $3`,
			string(in), id.Key(), string(ifMatch))); err != nil {
			return err
		}
		return t.exec(`DELETE FROM operations WHERE instance = $1 AND id_key = $2`, string(in), id.Key())
	})
}
