// Package transferapi is import and export over HTTPS: any number of enrollments or
// enrollment groups with their certificates, as JSON Lines or CSV. It is an extension:
// the official API neither returns certificates nor takes more than ten records.
package transferapi

import (
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/plaintext"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/transfer"
	"github.com/mooring-iot/mooring/wire"
)

// stall bounds how long a page of an export may wait for its client.
const stall = time.Minute

// Options are what the API needs; all but Audit are required.
type Options struct {
	Guard    *access.Guard
	Audit    *audit.Log // nil records no changes
	Enroll   *enroll.Service
	Instance dps.InstanceID // the instance that this host serves
	Log      *slog.Logger
	Now      func() time.Time
}

// server answers the operations.
type server struct{ Options }

// Routes are the operations. They check for themselves who calls: import needs the
// right EnrollmentWrite, as every write of an enrollment does; export needs
// ServiceConfig, and EnrollmentWrite too when it shows keys.
func Routes(o Options) []route.Route {
	s := &server{o}
	return []route.Route{
		{Method: "POST", Pattern: wire.ImportPath, Handle: s.load},
		{Method: "GET", Pattern: wire.ExportPath, Handle: s.dump},
	}
}

// allow lets a request pass whose policy has every right of wants.
func (s *server) allow(r *http.Request, wants ...dps.Rights) error {
	for _, want := range wants {
		if err := s.Guard.Service(r, s.Instance, want); err != nil {
			return err
		}
	}
	return nil
}

// kindOf reads which records a request is about.
func kindOf(r *http.Request) (dps.EntryKind, error) {
	switch r.URL.Query().Get("kind") {
	case "enrollments":
		return dps.Individual, nil
	case "enrollmentGroups":
		return dps.Group, nil
	default:
		return "", dps.Invalidf("kind", "must be enrollments or enrollmentGroups, in the query")
	}
}

// checkParameters refuses a parameter that an operation does not know: a misspelled one
// would be without effect.
func checkParameters(r *http.Request, known ...string) error {
	for name := range r.URL.Query() {
		if !slices.Contains(known, name) && name != "api-version" {
			return dps.Invalidf("query", "%q is not one of %s%s", name, strings.Join(known, ", "), plaintext.DidYouMean(name, known))
		}
	}
	return nil
}

// flagOf reads a member of the query that is true or false, and false when absent.
func flagOf(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, dps.Invalidf(name, "must be true or false")
	}
	return value, nil
}

// formatOf reads a media type.
func formatOf(field, value string) (transfer.Format, error) {
	kind, _, err := mime.ParseMediaType(value)
	if err == nil {
		switch kind {
		case wire.ContentTypeJSONLines, "application/jsonl", "application/json":
			return transfer.JSONLines, nil
		case wire.ContentTypeCSV:
			return transfer.CSV, nil
		}
	}
	return "", dps.Errorf(dps.UnsupportedMediaType, "%s: must be %s or %s", field, wire.ContentTypeJSONLines, wire.ContentTypeCSV)
}
