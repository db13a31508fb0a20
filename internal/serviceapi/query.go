package serviceapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/query"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// pageSize is the maximum and the default number of records in a page.
const pageSize = 1000

// search is a query with the page that is asked for.
type search struct {
	query.Query
	schema *query.Schema
	limit  int
	after  *dps.Cursor
}

// readSearch reads body and headers of a query. A body may be missing.
func (s *server) readSearch(w http.ResponseWriter, r *http.Request, schema *query.Schema) (search, error) {
	out := search{limit: pageSize}
	text, err := httpio.ReadBody(w, r, maxBody)
	if err != nil {
		return out, err
	}
	if text, err = specified(text); err != nil {
		return out, err
	}
	if out.Query, err = query.Parse(string(text), schema); err != nil {
		return out, err
	}
	out.schema = schema
	out.Number = translate.Number
	if out.limit, err = pageLimit(r.Header.Get(wire.HeaderMaxItemCount)); err != nil {
		return out, err
	}
	out.after, err = readToken(r.Header.Get(wire.HeaderContinuation), out.Order)
	return out, err
}

// specified returns the query of a body, which may be missing. Some clients put the
// specification of a query into another one, as text or as an object.
func specified(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	var spec struct {
		Query json.RawMessage `json:"query"`
	}
	if err := translate.Decode(body, &spec); err != nil {
		return nil, err
	}
	if bytes.HasPrefix(spec.Query, []byte("{")) { // {"query": {"query": "SELECT *"}}
		body = spec.Query
	}
	var text wire.QuerySpecification
	if err := translate.Decode(body, &text); err != nil {
		return nil, err
	}
	unwrapped, err := query.Unwrap(text.Query)
	return []byte(unwrapped), err
}

// pageLimit reads how many records are asked for. 0 asks for the usual number.
func pageLimit(text string) (int, error) {
	if text == "" {
		return pageSize, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, dps.Invalidf(wire.HeaderMaxItemCount, "must be a whole number")
	}
	if n == 0 {
		return pageSize, nil
	}
	return min(n, pageSize), nil
}

// token is the content of a continuation: where the next page begins, and in which
// order that was. It holds for any page size, after restarts and after changes.
type token struct {
	Key        string `json:"k"`
	Updated    int64  `json:"u,omitempty"`
	ByUpdated  bool   `json:"b,omitempty"`
	Descending bool   `json:"d,omitempty"`
}

// maxToken bounds a continuation, in bytes.
const maxToken = 1024

func writeToken(c dps.Cursor, o query.Order) (string, error) {
	text, err := json.Marshal(token{Key: c.Key, Updated: c.Updated, ByUpdated: o.ByUpdated, Descending: o.Descending})
	return base64.RawURLEncoding.EncodeToString(text), err
}

func readToken(text string, o query.Order) (*dps.Cursor, error) {
	if text == "" {
		return nil, nil
	}
	var t token
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > maxToken || json.Unmarshal(raw, &t) != nil || t.Key == "" {
		return nil, dps.Invalidf(wire.HeaderContinuation, "is not a continuation token of this service; request the first page again")
	}
	if t.ByUpdated != o.ByUpdated || t.Descending != o.Descending {
		return nil, dps.Invalidf(wire.HeaderContinuation, "belongs to a query with a different ORDER BY")
	}
	return &dps.Cursor{Key: t.Key, Updated: t.Updated}, nil
}

// writePage answers a query: a bare array, never null, of what the query selects.
func writePage[T any](w http.ResponseWriter, itemType string, items []T, next *dps.Cursor, q search) error {
	if next != nil {
		text, err := writeToken(*next, q.Order)
		if err != nil {
			return err
		}
		w.Header().Set(wire.HeaderContinuation, text)
	}
	w.Header().Set(wire.HeaderItemType, itemType)
	if items == nil {
		items = []T{}
	}
	if q.Select == nil {
		return httpio.WriteJSON(w, http.StatusOK, items)
	}
	selected := make([]json.RawMessage, len(items))
	for i, item := range items {
		text, err := json.Marshal(item)
		if err != nil {
			return err
		}
		if selected[i], err = q.Project(text, q.schema); err != nil {
			return err
		}
	}
	return httpio.WriteJSON(w, http.StatusOK, selected)
}

func (s *server) query(c collection) route.Handler {
	schema, itemType := query.Enrollments(), wire.ItemTypeEnrollment
	if c.kind == dps.Group {
		schema, itemType = query.Groups(), wire.ItemTypeEnrollmentGroup
	}
	return s.guarded(dps.EnrollmentRead, func(w http.ResponseWriter, r *http.Request, _ route.Params) error {
		q, err := s.readSearch(w, r, schema)
		if err != nil {
			return err
		}
		page, next, err := s.Enroll.Query(r.Context(), s.Instance, c.kind, q.Query, q.limit, q.after)
		if err != nil {
			return err
		}
		items := make([]wire.Enrollment, len(page))
		for i, e := range page {
			if items[i], err = translate.Enrollment(e, false); err != nil {
				return err
			}
		}
		return writePage(w, itemType, items, next, q)
	})
}

// registrations are the operations on registration records.
func (s *server) registrations() []route.Route {
	return []route.Route{
		{Method: "GET", Pattern: "/registrations/{id}", Handle: s.guarded(dps.RegistrationStatusRead, s.registration)},
		{
			Method:  "DELETE",
			Pattern: "/registrations/{id}",
			Handle:  s.records(audit.Delete, audit.Registration, s.guarded(dps.RegistrationStatusWrite, s.forget)),
		},
		{Method: "POST", Pattern: "/registrations/{id}/query", Handle: s.guarded(dps.RegistrationStatusRead, s.queryRegistrations)},
	}
}

func (s *server) registration(w http.ResponseWriter, r *http.Request, p route.Params) error {
	id, err := dps.ParseRegistrationID(p["id"])
	if err != nil {
		return err
	}
	rec, err := s.Register.Record(r.Context(), s.Instance, id)
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, translate.ServiceState(rec.Registration, rec.Hub, version(r)))
}

func (s *server) forget(w http.ResponseWriter, r *http.Request, p route.Params) error {
	id, err := dps.ParseRegistrationID(p["id"])
	if err != nil {
		return err
	}
	cond, err := dps.ParseCondition(r.Header.Get("If-Match"))
	if err != nil {
		return err
	}
	if err := s.Register.Forget(r.Context(), s.Instance, id, cond); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) queryRegistrations(w http.ResponseWriter, r *http.Request, p route.Params) error {
	group, err := dps.ParseEntryID(dps.Group, idField(dps.Group), p["id"])
	if err != nil {
		return err
	}
	q, err := s.readSearch(w, r, query.Registrations())
	if err != nil {
		return err
	}
	page, next, err := s.Register.Query(r.Context(), s.Instance, group.ID, q.Query, q.limit, q.after)
	if err != nil {
		return err
	}
	items := make([]*wire.RegistrationState, len(page))
	for i, rec := range page {
		items[i] = translate.ServiceState(rec.Registration, rec.Hub, version(r))
	}
	return writePage(w, wire.ItemTypeDeviceRegistration, items, next, q)
}
