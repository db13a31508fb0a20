// Package mooringapi is the HTTPS API for what Azure's APIs cannot say. It stands under
// /mooring/v1 and refuses in the form of the service API. Each noun has a file.
package mooringapi

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/statistics"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// Options are what the API needs; all but Links, Hubs, Portal and Routes are required.
type Options struct {
	Guard         *access.Guard
	Audit         *audit.Log
	Decisions     *decision.Log
	Statistics    *statistics.Counter
	Allocator     Allocator
	Registrations Registrations
	Instance      dps.InstanceID // the instance that this host serves
	Log           *slog.Logger
	Now           func() time.Time
	Links         Links         // nil has no operations on hubs
	Hubs          Hubs          // nil calls no hubs over the wire: their health is unknown, nothing is to be cleaned up
	Portal        Portal        // nil where there is none
	Routes        []route.Route // further operations, which check for themselves who calls
}

// server answers the operations.
type server struct{ Options }

// New returns the handler of the API.
func New(o Options) http.Handler {
	s := &server{o}
	routes := slices.Concat(
		s.auditRoutes(),
		s.decisionRoutes(),
		s.statisticsRoutes(),
		s.hubRoutes(),
		s.allocateRoutes(),
		s.registrationRoutes(),
		o.Routes,
	)
	routes = append(routes, s.portalRoutes()...)
	return &httpio.API{Routes: route.NewTable(routes...), Refuse: s.refuse, Log: o.Log}
}

// Prefixes are the first path segments of the API.
func Prefixes() []string { return []string{wire.MooringPrefix} }

// guarded returns a handler that checks who calls before anything else: a SAS token of
// a policy with the right want, or a bearer token of the instance, will do.
func (s *server) guarded(want dps.Rights, handle route.Handler) route.Handler {
	return func(w http.ResponseWriter, r *http.Request, p route.Params) error {
		if err := s.Guard.Service(r, s.Instance, want); err != nil {
			return err
		}
		return handle(w, r, p)
	}
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, body := translate.Error(err, httpio.TrackingID(r.Context()), s.Now())
	httpio.RefusalHeaders(w, body.ErrorCode, translate.RetryAfter(err))
	_ = httpio.WriteJSON(w, status, body)
}

// parameters returns the parameters of a request's query, each given once. Besides known
// ones it may have api-version, which clients of the service API always send. It fails
// with Invalid.
func parameters(r *http.Request, known ...string) (map[string]string, error) {
	return parametersOf(r.URL.Query(), known...)
}

// parametersOf is parameters for what an operation has left of a query.
func parametersOf(query url.Values, known ...string) (map[string]string, error) {
	all := make(map[string]string)
	for name, values := range query {
		if !slices.Contains(known, name) && name != "api-version" {
			if len(known) == 0 {
				return nil, dps.Invalidf("query", "unknown parameter %q; this operation takes none", name)
			}
			return nil, dps.Invalidf("query", "unknown parameter %q; must be one of %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return nil, dps.Invalidf(name, "is given %d times", len(values))
		}
		all[name] = values[0]
	}
	return all, nil
}
