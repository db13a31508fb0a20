// Package embedded is the hubs that stand in this process: the registry REST of IoT
// Hub over the identities and twins that are kept here. What the REST of IoT Hub has
// beyond that (modules, configurations, jobs, digital twins, methods, messages) is refused.
// Source: azure-iot-hub-python, service.json.
package embedded

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/keylock"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// Store keeps the identities with their twins. What it was told is durable when it returns.
type Store interface {
	// HubDevice fails with DeviceNotFound.
	HubDevice(ctx context.Context, in dps.InstanceID, hub dps.HubID, id dps.DeviceID) (dps.HubDevice, error)

	// FindHubDevices returns up to limit identities that f means with IDs after the given
	// one, sorted by bytes.
	FindHubDevices(
		ctx context.Context,
		in dps.InstanceID,
		hub dps.HubID,
		f dps.HubDeviceFilter,
		after dps.DeviceID,
		limit int,
	) ([]dps.HubDevice, error)

	CountHubDevices(ctx context.Context, in dps.InstanceID, hub dps.HubID) (dps.HubDeviceCount, error)

	// CreateHubDevice fails with DeviceExists.
	CreateHubDevice(ctx context.Context, d dps.HubDevice) error

	// ChangeHubDevice writes identity and twin in the place of was. It fails with
	// ConcurrentChange when either of them is at another version.
	ChangeHubDevice(ctx context.Context, was, d dps.HubDevice) error

	// DeleteHubDevice fails with ConcurrentChange when the identity is not at version
	// ifMatch, or not there.
	DeleteHubDevice(ctx context.Context, in dps.InstanceID, hub dps.HubID, id dps.DeviceID, ifMatch dps.ETag) error
}

// Options are what the API needs; all are required.
type Options struct {
	Store Store
	Guard *access.Guard

	// Hub returns the hub that a request is for, by the host name that the client called:
	// bare, in lower case. See ByHost.
	Hub func(ctx context.Context, host string) (dps.LinkedHub, error)

	Log *slog.Logger
	Now func() time.Time
}

// HubStore knows the linked hubs.
type HubStore interface {
	Hubs(ctx context.Context, in dps.InstanceID) ([]dps.LinkedHub, error)
}

// ByHost finds the embedded hub of an instance by its host name. A name that none has is for
// the one that the instance started with, or else the first: a service is called by
// addresses too. It fails with HubNotFound when there is no embedded hub.
func ByHost(store HubStore, in dps.InstanceID) func(ctx context.Context, host string) (dps.LinkedHub, error) {
	return func(ctx context.Context, host string) (dps.LinkedHub, error) {
		hubs, err := store.Hubs(ctx, in)
		if err != nil {
			return dps.LinkedHub{}, err
		}
		var fallback *dps.LinkedHub
		for i, h := range hubs {
			switch {
			case h.Kind != dps.KindEmbedded:
			case h.HostName.Equal(dps.HostName(host)):
				return h, nil
			case fallback == nil || h.ID == dps.EmbeddedHub:
				fallback = &hubs[i]
			}
		}
		if fallback == nil {
			return dps.LinkedHub{}, dps.Errorf(dps.HubNotFound, "There is no embedded hub.")
		}
		return *fallback, nil
	}
}

// server answers the operations.
type server struct {
	Options
	devices keylock.Locks[deviceKey] // that are being changed
}

// deviceKey names an identity.
type deviceKey struct {
	instance dps.InstanceID
	hub      dps.HubID
	id       dps.DeviceID
}

// lock lets one change of an identity at a time: those that name no version then never
// meet each other.
func (s *server) lock(ctx context.Context, c call) (unlock func(), err error) {
	return s.devices.Lock(ctx, deviceKey{c.hub.Instance, c.hub.ID, c.id})
}

// New returns the handler of the API.
func New(o Options) http.Handler {
	s := &server{Options: o}
	routes := []route.Route{
		{Method: "GET", Pattern: "/devices", Handle: s.on(dps.RegistryRead, s.list)},
		{Method: "POST", Pattern: "/devices", Handle: s.on(dps.RegistryWrite, s.bulk)},
		{Method: "GET", Pattern: "/devices/{id}", Handle: s.on(dps.RegistryRead, s.device)},
		{Method: "PUT", Pattern: "/devices/{id}", Handle: s.on(dps.RegistryWrite, s.put)},
		{Method: "DELETE", Pattern: "/devices/{id}", Handle: s.on(dps.RegistryWrite, s.remove)},
		{Method: "POST", Pattern: "/devices/query", Handle: s.on(dps.ServiceConnect, s.query)},
		{Method: "GET", Pattern: "/twins/{id}", Handle: s.on(dps.ServiceConnect, s.twin)},
		{Method: "PATCH", Pattern: "/twins/{id}", Handle: s.on(dps.ServiceConnect, s.changeTwin(false))},
		{Method: "PUT", Pattern: "/twins/{id}", Handle: s.on(dps.ServiceConnect, s.changeTwin(true))},
		{Method: "GET", Pattern: "/statistics/devices", Handle: s.on(dps.RegistryRead, s.registryStatistics)},
		{Method: "GET", Pattern: "/statistics/service", Handle: s.on(dps.RegistryRead, s.serviceStatistics)},
	}
	return overridden(&httpio.API{Routes: route.NewTable(append(routes, s.refused()...)...), Refuse: s.refuse, Log: o.Log})
}

// Prefixes are the first path segments of the API.
func Prefixes() []string {
	return []string{"devices", "twins", "statistics", "configurations", "jobs", "digitaltwins", "messages"}
}

// overridden lets a POST stand for the PATCH that it says it is: the Java SDK sends
// its twin updates so.
// Source: azure-iot-service-sdk-java, HttpRequest.java.
func overridden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.EqualFold(r.Header.Get("X-HTTP-Method-Override"), http.MethodPatch) {
			r = r.WithContext(r.Context()) // a copy
			r.Method = http.MethodPatch
		}
		next.ServeHTTP(w, r)
	})
}

// call is a request that is let in.
type call struct {
	hub dps.LinkedHub
	id  dps.DeviceID // of the path; "" where it has none
}

// operation answers an authorized request.
type operation func(w http.ResponseWriter, r *http.Request, c call) error

// on returns the handler of an operation: it checks who calls before anything else.
func (s *server) on(want dps.HubRights, op operation) route.Handler {
	return func(w http.ResponseWriter, r *http.Request, p route.Params) error {
		hub, err := s.Hub(r.Context(), bareHost(r.Host))
		if err != nil {
			return err
		}
		if err := asDevice(r); err != nil {
			return err
		}
		if err := s.Guard.Hub(r, hub, want); err != nil {
			return err
		}
		if err := dps.CheckAPIVersion("api-version", r.URL.Query().Get("api-version")); err != nil {
			return err
		}
		return op(w, r, call{hub: hub, id: dps.DeviceID(p["id"])})
	}
}

// bareHost is a Host header without port and final dot, in lower case.
func bareHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, name, body := translate.HubError(err, httpio.TrackingID(r.Context()), s.Now())
	w.Header().Set(wire.HeaderHubErrorCode, name)
	if after := translate.RetryAfter(err); after > 0 {
		w.Header().Set("Retry-After", httpio.Seconds(after))
	}
	_ = httpio.WriteJSON(w, status, body)
}

// read decodes the body of a request, of up to limit bytes.
func read(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	body, err := httpio.ReadBody(w, r, limit)
	if err != nil {
		return err
	}
	return translate.Decode(body, v)
}

// maxAttempts bounds how often a change is made anew because a registration of the same
// device came between.
const maxAttempts = 128

// errUnchanged ends a change that has nothing to write.
var errUnchanged = errors.New("nothing changed")

// change writes what edit makes of an identity, again and again until no other
// writer came between. It returns the identity as it stands.
func (s *server) change(ctx context.Context, c call, edit func(dps.HubDevice) (dps.HubDevice, error)) (dps.HubDevice, error) {
	unlock, err := s.lock(ctx, c)
	if err != nil {
		return dps.HubDevice{}, err
	}
	defer unlock()
	for range maxAttempts {
		var was, d dps.HubDevice
		if was, err = s.Store.HubDevice(ctx, c.hub.Instance, c.hub.ID, c.id); err != nil {
			return was, err
		}
		if d, err = edit(was); errors.Is(err, errUnchanged) {
			return was, nil
		}
		if err != nil {
			return was, err
		}
		if err = s.Store.ChangeHubDevice(ctx, was, d); dps.CodeOf(err) != dps.ConcurrentChange {
			return d, err
		}
	}
	return dps.HubDevice{}, err
}

// check fails unless a record of version current meets the condition of the caller.
func check(cond dps.Condition, current dps.ETag) error {
	if cond.Holds(current) {
		return nil
	}
	return dps.Errorf(dps.PreconditionFailed, "Precondition failed: Device version did not match, existing ETag: %s", current)
}
