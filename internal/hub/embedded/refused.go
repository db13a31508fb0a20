package embedded

import (
	"net/http"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/sas"
)

// refused are the operations of IoT Hub that an embedded hub does not have. Whoever
// calls them must have the right to, like everywhere.
func (s *server) refused() []route.Route {
	any := func(pattern string, want dps.HubRights, what string) route.Route {
		return route.Route{Method: route.AnyMethod, Pattern: pattern, Handle: s.on(want, notOffered(what))}
	}
	return []route.Route{
		{Method: "GET", Pattern: "/devices/{id}/modules", Handle: s.on(dps.RegistryRead, s.modules)},
		{Method: "GET", Pattern: "/devices/{id}/modules/{module}", Handle: s.on(dps.RegistryRead, s.noModule)},
		{Method: "DELETE", Pattern: "/devices/{id}/modules/{module}", Handle: s.on(dps.RegistryWrite, s.noModule)},
		any("/devices/{id}/modules/{rest...}", dps.RegistryWrite, "Modules are"),
		{Method: "GET", Pattern: "/twins/{id}/modules/{module}", Handle: s.on(dps.ServiceConnect, s.noModule)},
		{Method: "PATCH", Pattern: "/twins/{id}/modules/{module}", Handle: s.on(dps.ServiceConnect, s.noModule)},
		{Method: "PUT", Pattern: "/twins/{id}/modules/{module}", Handle: s.on(dps.ServiceConnect, s.noModule)},
		any("/twins/{id}/modules/{rest...}", dps.ServiceConnect, "Modules are"),
		any("/twins/{id}/methods", dps.ServiceConnect, "Direct methods are"),
		any("/devices/{id}/commands", dps.ServiceConnect, "Cloud-to-device messages are"),
		any("/devices/{id}/messages/{rest...}", dps.ServiceConnect, "Messages are"),
		any("/devices/{id}/files/{rest...}", dps.ServiceConnect, "File upload is"),
		any("/devices/{id}/applyConfigurationContent", dps.RegistryWrite, "Configurations are"),
		any("/devices/keys/regenerate", dps.RegistryWrite, "Regenerating keys in bulk is"),
		any("/configurations/{rest...}", dps.RegistryRead, "Configurations are"),
		any("/jobs/{rest...}", dps.RegistryRead, "Jobs are"),
		any("/digitaltwins/{rest...}", dps.ServiceConnect, "Digital twins are"),
		any("/messages/{rest...}", dps.ServiceConnect, "Messages are"),
	}
}

// asDevice fails where a request has the token of a device, which names no policy: devices
// cannot connect to an embedded hub, whatever their token is.
func asDevice(r *http.Request) error {
	token, err := sas.Parse(r.Header.Get("Authorization"))
	if err != nil || token.KeyName != "" || !strings.Contains(strings.ToLower(token.Resource), "/devices/") {
		return nil //nolint:nilerr // the guard explains what is no token
	}
	return dps.Errorf(dps.NotOffered, "Devices cannot connect to an embedded hub; it only stores identities and twins for services.")
}

func notOffered(what string) operation {
	return func(http.ResponseWriter, *http.Request, call) error {
		return dps.Errorf(dps.NotOffered, "%s not offered by an embedded hub.", what)
	}
}

// modules lists the modules of a device: it has none.
func (s *server) modules(w http.ResponseWriter, r *http.Request, c call) error {
	if _, err := s.Store.HubDevice(r.Context(), c.hub.Instance, c.hub.ID, c.id); err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, []struct{}{})
}

func (s *server) noModule(_ http.ResponseWriter, r *http.Request, c call) error {
	if _, err := s.Store.HubDevice(r.Context(), c.hub.Instance, c.hub.ID, c.id); err != nil {
		return err
	}
	return dps.Errorf(dps.ModuleNotFound, "Device '%s' has no module of this ID.", c.id)
}
