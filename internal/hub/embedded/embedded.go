// Package embedded is the hub that stands in this process: the part of the IoT Hub
// registry REST that shows which devices were placed there, with their twins.
// Source: azure-iot-hub-python, service.json.
package embedded

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// Store keeps the identities.
type Store interface {
	// HubDevice fails with DeviceNotFound.
	HubDevice(ctx context.Context, in dps.InstanceID, hub dps.HubID, id dps.DeviceID) (dps.HubDevice, error)

	// HubDevices returns up to limit identities with IDs after the given one, sorted.
	HubDevices(ctx context.Context, in dps.InstanceID, hub dps.HubID, after dps.DeviceID, limit int) ([]dps.HubDevice, error)
}

// maxList is how many identities one list shows at most.
const maxList = 1000

// Options are what the API needs; all are required.
type Options struct {
	Store    Store
	Guard    *access.Guard
	Instance dps.InstanceID
	Hub      dps.HubID
	Log      *slog.Logger
	Now      func() time.Time
}

// server answers the operations.
type server struct{ Options }

// New returns the handler of the API.
func New(o Options) http.Handler {
	s := &server{o}
	return &httpio.API{
		Routes: route.NewTable(
			route.Route{Method: "GET", Pattern: "/devices", Handle: s.on(dps.RegistryRead, s.list)},
			route.Route{Method: "GET", Pattern: "/devices/{id}", Handle: s.on(dps.RegistryRead, s.device)},
			route.Route{Method: "GET", Pattern: "/twins/{id}", Handle: s.on(dps.ServiceConnect, s.twin)},
		),
		Refuse: s.refuse, Log: o.Log,
	}
}

// Prefixes are the first path segments of the API.
func Prefixes() []string { return []string{"devices", "twins"} }

// operation answers an authorized request.
type operation func(w http.ResponseWriter, r *http.Request, id dps.DeviceID) error

// on returns the handler of an operation: it checks who calls before anything else.
func (s *server) on(want dps.HubRights, op operation) route.Handler {
	return func(w http.ResponseWriter, r *http.Request, p route.Params) error {
		hub := dps.LinkedHub{Instance: s.Instance, ID: s.Hub}
		if err := s.Guard.Hub(r, hub, want); err != nil {
			return err
		}
		if !wire.DatedVersion(r.URL.Query().Get("api-version")) {
			return dps.Invalidf("api-version", "must be in the query, as a date like %s", wire.HubAPIVersion)
		}
		return op(w, r, dps.DeviceID(p["id"]))
	}
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, name, body := translate.HubError(err, httpio.TrackingID(r.Context()), s.Now())
	w.Header().Set(wire.HeaderHubErrorCode, name)
	if after := translate.RetryAfter(err); after > 0 {
		w.Header().Set("Retry-After", httpio.Seconds(after))
	}
	_ = httpio.WriteJSON(w, status, body)
}

func (s *server) list(w http.ResponseWriter, r *http.Request, _ dps.DeviceID) error {
	limit := maxList
	if text := r.URL.Query().Get("top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxList {
			return dps.Invalidf("top", "must be 1 to %d", maxList)
		}
		limit = n
	}
	devices, err := s.Store.HubDevices(r.Context(), s.Instance, s.Hub, "", limit)
	if err != nil {
		return err
	}
	out := make([]wire.HubDevice, len(devices))
	for i, d := range devices {
		out[i] = translate.HubDevice(d)
	}
	return httpio.WriteJSON(w, http.StatusOK, out)
}

func (s *server) device(w http.ResponseWriter, r *http.Request, id dps.DeviceID) error {
	d, err := s.Store.HubDevice(r.Context(), s.Instance, s.Hub, id)
	if err != nil {
		return err
	}
	body := translate.HubDevice(d)
	w.Header().Set("ETag", `"`+body.ETag+`"`)
	return httpio.WriteJSON(w, http.StatusOK, body)
}

func (s *server) twin(w http.ResponseWriter, r *http.Request, id dps.DeviceID) error {
	d, err := s.Store.HubDevice(r.Context(), s.Instance, s.Hub, id)
	if err != nil {
		return err
	}
	body, err := translate.HubTwin(d)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", `"`+body.ETag+`"`)
	return httpio.WriteJSON(w, http.StatusOK, body)
}
