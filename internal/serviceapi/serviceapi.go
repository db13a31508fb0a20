// Package serviceapi is the HTTPS API for operators' programs: individual
// enrollments, enrollment groups and registration records, as the service SDKs of DPS
// call it.
// Source: azure-rest-api-specs, specification/deviceprovisioningservices/data-plane, service.
package serviceapi

import (
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// maxBody bounds a request, in bytes.
const maxBody = 1 << 20

// Options are what the API needs; all but Audit and Rate are required.
type Options struct {
	Guard    *access.Guard
	Enroll   *enroll.Service
	Register *register.Service
	Instance dps.InstanceID // the instance that this host serves
	Log      *slog.Logger
	Now      func() time.Time
	Audit    *audit.Log // nil records no changes
	Rate     int        // calls per minute, for the whole service; 0 is no limit
}

// server answers the operations.
type server struct {
	Options
	calls *callLimit
}

// New returns the handler of the API.
func New(o Options) http.Handler {
	s := &server{Options: o, calls: newCallLimit(o.Rate)}
	routes := s.registrations()
	for _, c := range []collection{{"/enrollments", dps.Individual}, {"/enrollmentGroups", dps.Group}} {
		routes = append(
			routes,
			route.Route{Method: "GET", Pattern: c.path + "/{id}", Handle: s.on(c, dps.EnrollmentRead, s.get)},
			route.Route{
				Method:  "PUT",
				Pattern: c.path + "/{id}",
				Handle:  s.records(audit.Put, audit.KindOf(c.kind), s.on(c, dps.EnrollmentWrite, s.put)),
			},
			route.Route{
				Method:  "DELETE",
				Pattern: c.path + "/{id}",
				Handle:  s.records(audit.Delete, audit.KindOf(c.kind), s.on(c, dps.EnrollmentWrite, s.remove)),
			},
			route.Route{Method: "POST", Pattern: c.path + "/{id}/attestationmechanism", Handle: s.on(c, dps.EnrollmentWrite, s.mechanism)},
			route.Route{Method: "POST", Pattern: c.path + "/query", Handle: s.query(c)},
			route.Route{Method: "POST", Pattern: c.path, Handle: s.records(audit.Bulk, audit.KindOf(c.kind), s.bulk(c))},
		)
	}
	return &httpio.API{Routes: route.NewTable(routes...), Refuse: s.refuse, Log: o.Log}
}

// Prefixes are the first path segments of the API.
func Prefixes() []string { return []string{"enrollments", "enrollmentGroups", "registrations"} }

// collection is one kind of enrollments under its path.
type collection struct {
	path string
	kind dps.EntryKind
}

// operation answers an authorized request about one enrollment.
type operation func(w http.ResponseWriter, r *http.Request, ref dps.EntryRef) error

// guarded returns a handler that checks who calls before anything else: strangers do
// not use up what operators may call.
func (s *server) guarded(want dps.Rights, handle route.Handler) route.Handler {
	return func(w http.ResponseWriter, r *http.Request, p route.Params) error {
		if err := s.Guard.Service(r, s.Instance, want); err != nil {
			return err
		}
		if err := s.calls.take(s.Now()); err != nil {
			return err
		}
		if err := dps.CheckAPIVersion("api-version", version(r)); err != nil {
			return err
		}
		return handle(w, r, p)
	}
}

// records returns a handler whose changes are recorded.
func (s *server) records(op audit.Operation, kind audit.Kind, handle route.Handler) route.Handler {
	return httpio.Audited(s.Audit, audit.Entry{Instance: s.Instance, Operation: op, Kind: kind}, "id", handle)
}

// on returns the handler of an operation on one enrollment.
func (s *server) on(c collection, want dps.Rights, op operation) route.Handler {
	return s.guarded(want, func(w http.ResponseWriter, r *http.Request, p route.Params) error {
		ref, err := dps.ParseEntryID(c.kind, idField(c.kind), p["id"])
		if err != nil {
			return err
		}
		return op(w, r, ref)
	})
}

func idField(kind dps.EntryKind) string {
	if kind == dps.Group {
		return "enrollmentGroupId"
	}
	return "registrationId"
}

// version returns the api-version of a call.
func version(r *http.Request) string { return r.URL.Query().Get("api-version") }

func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, body := translate.Error(err, httpio.TrackingID(r.Context()), s.Now())
	httpio.RefusalHeaders(w, body.ErrorCode, translate.RetryAfter(err))
	_ = httpio.WriteJSON(w, status, body)
}

func (s *server) get(w http.ResponseWriter, r *http.Request, ref dps.EntryRef) error {
	e, err := s.Enroll.Get(r.Context(), s.Instance, ref)
	if err != nil {
		return err
	}
	body, err := translate.Enrollment(e, false)
	if err != nil {
		return err
	}
	if ref.Kind == dps.Individual {
		if body.RegistrationState, err = s.state(r, dps.RegistrationID(e.Ref.ID)); err != nil {
			return err
		}
	}
	httpio.Warn(w, s.Enroll.Warnings(r.Context(), e)...)
	return httpio.WriteJSON(w, http.StatusOK, body)
}

// state returns what an individual enrollment's device has come to.
func (s *server) state(r *http.Request, id dps.RegistrationID) (*wire.RegistrationState, error) {
	rec, err := s.Register.Record(r.Context(), s.Instance, id)
	if dps.CodeOf(err) == dps.RegistrationNotFound {
		return translate.NeverRegistered(id, version(r)), nil
	}
	if err != nil {
		return nil, err
	}
	return translate.ServiceState(rec.Registration, rec.Hub, version(r)), nil
}

func (s *server) put(w http.ResponseWriter, r *http.Request, ref dps.EntryRef) error {
	if err := checkContentType(r); err != nil {
		return err
	}
	text, err := httpio.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	var req wire.EnrollmentRequest
	if err := translate.Decode(text, &req); err != nil {
		return err
	}
	draft, err := translate.Draft(s.Instance, ref, req)
	if err != nil {
		return err
	}
	cond, err := condition(r, req.ETag)
	if err != nil {
		return err
	}
	e, err := s.Enroll.Put(r.Context(), draft, cond)
	if err != nil {
		return err
	}
	body, err := translate.Enrollment(e, true)
	if err != nil {
		return err
	}
	httpio.Warn(w, s.Enroll.Warnings(r.Context(), e)...)
	return httpio.WriteJSON(w, http.StatusOK, body)
}

// checkContentType refuses a body that says it is no JSON; most clients that send
// none mean JSON.
func checkContentType(r *http.Request) error {
	value := r.Header.Get("Content-Type")
	if value == "" {
		return nil
	}
	kind, _, err := mime.ParseMediaType(value)
	if err != nil || kind != "application/json" {
		return dps.Errorf(dps.UnsupportedMediaType, "Content-Type: must be application/json")
	}
	return nil
}

// condition reads If-Match. Without the header an etag in the body counts, as some
// clients leave it there.
func condition(r *http.Request, etag string) (dps.Condition, error) {
	if v := r.Header.Get("If-Match"); v != "" {
		return dps.ParseCondition(v)
	}
	return dps.ParseCondition(etag)
}

func (s *server) remove(w http.ResponseWriter, r *http.Request, ref dps.EntryRef) error {
	cond, err := dps.ParseCondition(r.Header.Get("If-Match"))
	if err != nil {
		return err
	}
	if err := s.Enroll.Delete(r.Context(), s.Instance, ref, cond); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) mechanism(w http.ResponseWriter, r *http.Request, ref dps.EntryRef) error {
	e, err := s.Enroll.Get(r.Context(), s.Instance, ref)
	if err != nil {
		return err
	}
	body, err := translate.Attestation(e, true)
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, body)
}
