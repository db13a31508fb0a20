package mooringapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// Registrations finds records of devices.
type Registrations interface {
	// Find returns a page of records; see register.Service.
	Find(
		ctx context.Context,
		in dps.InstanceID,
		f dps.RegistrationFilter,
		limit int,
		after *dps.Cursor,
	) ([]register.Record, *dps.Cursor, error)
}

func (s *server) registrationRoutes() []route.Route {
	return []route.Route{
		{Method: "GET", Pattern: wire.RegistrationsPath, Handle: s.guarded(dps.RegistrationStatusRead, s.findRegistrations)},
	}
}

// registrationFilters are the parameters that select records. A request has at most one of
// them: each has an index, and two together would not.
var registrationFilters = []string{"status", "deviceId", "startsWith", "registrationId"}

// findRegistrations answers with records of any enrollment.
func (s *server) findRegistrations(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	query := r.URL.Query()
	ids := query["registrationId"]
	query.Del("registrationId")
	given, err := parametersOf(query, "status", "deviceId", "startsWith", "registrationId", "top", "continuation")
	if err != nil {
		return err
	}
	filter, err := readRegistrationFilter(given, ids)
	if err != nil {
		return err
	}
	top, err := readTop(given["top"])
	if err != nil {
		return err
	}
	after, err := readRegistrationToken(given["continuation"])
	if err != nil {
		return err
	}
	found, next, err := s.Registrations.Find(r.Context(), s.Instance, filter, top, after)
	if err != nil {
		return err
	}
	page := wire.RegistrationPage{Value: make([]wire.RegistrationRecord, len(found))}
	for i, rec := range found {
		page.Value[i] = recordOf(rec, given["api-version"])
	}
	if next != nil {
		if page.Continuation, err = writeRegistrationToken(*next); err != nil {
			return err
		}
	}
	return httpio.WriteJSON(w, http.StatusOK, page)
}

func recordOf(rec register.Record, version string) wire.RegistrationRecord {
	out := wire.RegistrationRecord{RegistrationState: *translate.ServiceState(rec.Registration, rec.Hub, version)}
	switch rec.Entry.Kind {
	case dps.Individual:
		out.EnrollmentID = rec.Entry.ID
	case dps.Group:
		out.EnrollmentGroupID = rec.Entry.ID
	}
	return out
}

func readRegistrationFilter(given map[string]string, ids []string) (f dps.RegistrationFilter, err error) {
	set := 0
	for _, name := range registrationFilters {
		if given[name] != "" || (name == "registrationId" && len(ids) > 0) {
			set++
		}
	}
	if set > 1 {
		return f, dps.Invalidf("query", "must have at most one of status, deviceId, startsWith and registrationId")
	}
	switch {
	case given["status"] != "":
		f.Status, err = readOpenStatus(given["status"])
	case given["deviceId"] != "":
		f.DeviceID, err = dps.ParseDeviceID(given["deviceId"])
	case given["startsWith"] != "":
		f.Prefix, err = readPrefix(given["startsWith"])
	case len(ids) > 0:
		f.IDs, err = readRegistrationIDs(ids)
	}
	return f, err
}

// readPrefix reads the beginning of a registration ID, which may end as no ID does.
func readPrefix(text string) (dps.RegistrationID, error) {
	if _, err := dps.ParseRegistrationID(text); err == nil {
		return dps.RegistrationID(text), nil
	}
	if _, err := dps.ParseRegistrationID(text + "0"); err != nil {
		return "", dps.Invalidf("startsWith", "must be the beginning of a registration ID")
	}
	return dps.RegistrationID(text), nil
}

// readOpenStatus reads a status that few devices have at a time.
func readOpenStatus(text string) (dps.RegistrationStatus, error) {
	all := []dps.RegistrationStatus{dps.Assigning, dps.Failed, dps.Disabled}
	if !slices.Contains(all, dps.RegistrationStatus(text)) {
		return "", dps.Invalidf("status", "must be assigning, failed or disabled; query the records of a group for any other")
	}
	return dps.RegistrationStatus(text), nil
}

func readRegistrationIDs(texts []string) ([]dps.RegistrationID, error) {
	if len(texts) > wire.MaxRegistrationIDs {
		return nil, dps.Invalidf("registrationId", "is given %d times; the limit is %d", len(texts), wire.MaxRegistrationIDs)
	}
	ids := make([]dps.RegistrationID, len(texts))
	for i, text := range texts {
		var err error
		if ids[i], err = dps.ParseRegistrationID(text); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// registrationToken is what stands in a continuation of records.
type registrationToken struct {
	Updated int64  `json:"u,omitempty"` // nanoseconds since 1970
	Key     string `json:"k"`
}

func writeRegistrationToken(c dps.Cursor) (string, error) {
	text, err := json.Marshal(registrationToken{Updated: c.Updated, Key: c.Key})
	return base64.RawURLEncoding.EncodeToString(text), err
}

// readRegistrationToken returns nil for "".
func readRegistrationToken(text string) (*dps.Cursor, error) {
	if text == "" {
		return nil, nil
	}
	const most = 512 // bytes: an ID has up to 128 characters
	var t registrationToken
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > most || json.Unmarshal(raw, &t) != nil || t.Key == "" {
		return nil, notOurs()
	}
	return &dps.Cursor{Key: t.Key, Updated: t.Updated}, nil
}
