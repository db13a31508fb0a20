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
	from  string // the columns and the tables
	where []string
	order string
	args  []any
}

func (s *statement) text() string {
	return s.from + " WHERE " + strings.Join(s.where, " AND ") + s.order
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

// changed bounds the time of the last change by those that a query can match.
func (s *statement) changed(column string, from, to *int64) {
	if from != nil {
		s.and(column + " >= " + s.arg(*from))
	}
	if to != nil {
		s.and(column + " < " + s.arg(*to))
	}
}

// behind goes on behind a cursor in an order.
func (s *statement) behind(key, updated string, o query.Order, after *dps.Cursor) {
	relation, direction := " > ", ""
	if o.Descending {
		relation, direction = " < ", " DESC"
	}
	if !o.ByUpdated {
		if after != nil {
			s.and(key + relation + s.arg(after.Key))
		}
		s.order = " ORDER BY " + key + direction
		return
	}
	if after != nil {
		s.and("(" + updated + ", " + key + ")" + relation + "(" + s.arg(after.Updated) + ", " + s.arg(after.Key) + ")")
	}
	s.order = " ORDER BY " + updated + direction + ", " + key + direction
}

// inBody reports whether a member stands in the JSON of an enrollment's row word for
// word. Descriptions of certificates, times and states are made when they are shown.
func inBody(path []string) bool {
	switch path[0] {
	case "deviceId", "iotHubHostName", "provisioningStatus", "allocationPolicy", "initialTwin", "optionalDeviceInformation":
		return true
	case "attestation":
		return len(path) > 1 && (path[1] == "tpm" || path[1] == "type")
	default:
		return false
	}
}

const queryColumns = `SELECT e.id, e.body, e.secrets, e.etag, e.created, e.updated`

// stateColumns are those of a registration that may not be there.
const stateColumns = `, r.id, r.status, r.substatus, r.hub, r.device_id,
	r.error_code, r.error_message, r.error_number, r.etag, r.created, r.updated, r.payload`

const (
	enrollmentTable = ` FROM enrollments e`
	stateTable      = ` LEFT JOIN registrations r ON r.instance = e.instance AND r.id_key = e.id_key`
)

// QueryEnrollments returns up to limit enrollments of a kind that q selects, behind
// the cursor, in q's order.
func (s *Store) QueryEnrollments(
	ctx context.Context,
	in dps.InstanceID,
	kind dps.EntryKind,
	q query.Query,
	limit int,
	after *dps.Cursor,
) ([]dps.Enrollment, error) {
	sel := selection{q: q, texts: q.Texts(inBody), limit: limit, instance: string(in), kind: string(kind)}
	sel.states = kind == dps.Individual && q.Uses("registrationState")
	if print256, ok := q.Certificate(); ok {
		ref, held, err := s.CertificateOwner(ctx, in, print256)
		if err != nil || !held || ref.Kind != kind {
			return nil, err
		}
		sel.only = ref.Key()
	}
	var err error
	if sel.hubs, err = s.hubNames(ctx, in); err != nil {
		return nil, err
	}
	st, err := s.enrollmentStatement(ctx, sel, after)
	if err != nil {
		return nil, err
	}
	return s.selectEnrollments(ctx, st, sel)
}

// enrollmentStatement picks the index: that of the order, so that the first rows come
// at once, but that of the IDs when few are left to be sorted. A plus keeps SQLite from
// using an index for a term.
// Source: sqlite.org, optoverview.html, section 2.
func (s *Store) enrollmentStatement(ctx context.Context, sel selection, after *dps.Cursor) (statement, error) {
	schema := query.Enrollments()
	if dps.EntryKind(sel.kind) == dps.Group {
		schema = query.Groups()
	}
	ids, by := sel.q.IDs(schema), sel.q.Order
	if sel.only != "" {
		ids = ids.Only(sel.only)
	}
	few := false
	if by.ByUpdated && ids != (query.Range{}) {
		var err error
		if few, err = s.fewIDs(ctx, sel, ids); err != nil {
			return statement{}, err
		}
	}
	key, updated := "e.id_key", "+e.updated"
	if by.ByUpdated && !few {
		key, updated = "+e.id_key", "e.updated"
	}
	st := statement{from: queryColumns + enrollmentTable}
	if sel.states {
		st.from = queryColumns + stateColumns + enrollmentTable + stateTable
	}
	st.and("e.instance = " + st.arg(sel.instance))
	st.and("e.kind = " + st.arg(sel.kind))
	st.within(key, ids)
	from, to := sel.q.Times(schema)
	st.changed(updated, from, to)
	st.behind("e.id_key", updated, by, after)
	return st, nil
}

// mostSorted is how many rows are sorted for a query, at the most.
const mostSorted = 2000

// fewIDs reports whether few enrollments lie within bounds.
func (s *Store) fewIDs(ctx context.Context, sel selection, ids query.Range) (bool, error) {
	st := statement{from: `SELECT count(*) FROM (SELECT 1 FROM enrollments`, order: ` LIMIT ` + strconv.Itoa(mostSorted+1) + `)`}
	st.and("instance = " + st.arg(sel.instance))
	st.and("kind = " + st.arg(sel.kind))
	st.within("id_key", ids)
	var n int
	err := s.readers.row(ctx, st.text(), st.args...).Scan(&n)
	return n <= mostSorted, storeError(err)
}

// selection is what is kept of the rows.
type selection struct {
	instance, kind string
	q              query.Query
	texts          []string // that stand in the body of every match
	limit          int
	only           string // key of the one enrollment that can match, "" for all
	states         bool   // rows have the columns of a state
	hubs           map[dps.HubID]dps.HostName
}

// mayMatch passes over rows whose body lacks a text. Where the client escaped what JSON
// need not escape, the body has two backslashes, and the text may be there all the same.
func (s *selection) mayMatch(body string) bool {
	for _, text := range s.texts {
		if !strings.Contains(body, text) && !strings.Contains(body, `\\`) {
			return false
		}
	}
	return true
}

func (s *Store) hubNames(ctx context.Context, in dps.InstanceID) (map[dps.HubID]dps.HostName, error) {
	hubs, err := s.Hubs(ctx, in)
	if err != nil {
		return nil, err
	}
	former, err := s.FormerHubs(ctx, in)
	if err != nil {
		return nil, err
	}
	names := make(map[dps.HubID]dps.HostName, len(hubs)+len(former))
	for _, h := range former {
		names[h.ID] = h.HostName
	}
	for _, h := range hubs {
		names[h.ID] = h.HostName
	}
	return names, nil
}

// stateRow are the columns of an enrollment's state.
type stateRow struct {
	id, status, substatus, hub, device, code, message, etag sql.NullString
	number, created, updated                                sql.NullInt64
	payload                                                 *string
}

func (r *stateRow) columns() []any {
	return []any{
		&r.id,
		&r.status,
		&r.substatus,
		&r.hub,
		&r.device,
		&r.code,
		&r.message,
		&r.number,
		&r.etag,
		&r.created,
		&r.updated,
		&r.payload,
	}
}

func (r *stateRow) registration() *dps.Registration {
	if r == nil || !r.id.Valid {
		return nil
	}
	reg := registrationRow{
		ID: r.id.String, Status: r.status.String, Substatus: r.substatus.String, Hub: r.hub.String, DeviceID: r.device.String,
		ErrorCode: r.code.String, ErrorMessage: r.message.String, ErrorNumber: int(r.number.Int64),
		ETag: r.etag.String, Created: r.created.Int64, Updated: r.updated.Int64, Payload: r.payload,
	}.registration()
	return &reg
}

// QueryRegistrations returns up to limit registration records of a group that q
// selects, behind the cursor, in q's order.
func (s *Store) QueryRegistrations(
	ctx context.Context,
	in dps.InstanceID,
	group string,
	q query.Query,
	limit int,
	after *dps.Cursor,
) (found []dps.Registration, err error) {
	st := statement{from: registrationColumns + ` r`}
	st.and("r.instance = " + st.arg(string(in)))
	st.and("r.entry_kind = 'group'")
	st.and("r.entry_key = " + st.arg(dps.EntryRef{ID: group}.Key()))
	st.within("r.id_key", q.IDs(query.Registrations()))
	st.behind("r.id_key", "r.updated", q.Order, after)
	hubs, err := s.hubNames(ctx, in)
	if err != nil {
		return nil, err
	}
	rows, err := s.readers.db.QueryContext(ctx, st.text(), st.args...)
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
// stays, and is released: it is nobody's. It fails with ConcurrentChange.
func (s *Store) DeleteRegistration(ctx context.Context, in dps.InstanceID, id dps.RegistrationID, ifMatch dps.ETag) error {
	return s.managed(ctx, ifMatch, "", func(t tx) error {
		old, err := replaced(t, dps.RegistrationChange{Registration: dps.Registration{Instance: in, ID: id}, IfMatch: ifMatch})
		if err != nil {
			return err
		}
		if err := unlessExists(t.affect(`DELETE FROM registrations WHERE instance = $1 AND id_key = $2 AND etag = $3`,
			string(in), id.Key(), string(ifMatch))); err != nil {
			return err
		}
		if old.Assignment != nil {
			if err := handOver(t, *old, true); err != nil {
				return err
			}
		}
		if err := t.exec(`DELETE FROM operations WHERE instance = $1 AND id_key = $2`, string(in), id.Key()); err != nil {
			return err
		}
		// The device of an open registration was told of no hub.
		return t.exec(
			`UPDATE remnants SET state = 'leaving', stale = 0, owner = '', due = max($1, busy_until)
			WHERE instance = $2 AND id_key = $3 AND state = 'placing'`,
			s.now().UnixNano(),
			string(in),
			id.Key(),
		)
	})
}
