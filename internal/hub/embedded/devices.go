package embedded

import (
	"context"
	"net/http"
	"strconv"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// maxList is how many identities one list shows at most.
const maxList = 1000

// maxIdentity bounds the document of an identity, in bytes: whole ones are under 4 KB.
const maxIdentity = 64 << 10

func (s *server) list(w http.ResponseWriter, r *http.Request, c call) error {
	limit := maxList
	if text := r.URL.Query().Get("top"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxList {
			return dps.Invalidf("top", "must be 1 to %d", maxList)
		}
		limit = n
	}
	devices, err := s.Store.FindHubDevices(r.Context(), c.hub.Instance, c.hub.ID, dps.HubDeviceFilter{}, "", limit)
	if err != nil {
		return err
	}
	out := make([]wire.HubDevice, len(devices))
	for i, d := range devices {
		out[i] = translate.HubDevice(d)
	}
	return httpio.WriteJSON(w, http.StatusOK, out)
}

func (s *server) device(w http.ResponseWriter, r *http.Request, c call) error {
	d, err := s.Store.HubDevice(r.Context(), c.hub.Instance, c.hub.ID, c.id)
	if err != nil {
		return err
	}
	return showDevice(w, d)
}

func showDevice(w http.ResponseWriter, d dps.HubDevice) error {
	setETag(w, d.ETag)
	return httpio.WriteJSON(w, http.StatusOK, translate.HubDevice(d))
}

func setETag(w http.ResponseWriter, tag dps.ETag) { w.Header().Set("ETag", `"`+string(tag)+`"`) }

// put creates an identity, or with If-Match changes it. Both are answered with 200:
// the Python SDK takes no 201.
func (s *server) put(w http.ResponseWriter, r *http.Request, c call) error {
	cond, err := dps.ParseCondition(r.Header.Get("If-Match"))
	if err != nil {
		return err
	}
	var req wire.HubDeviceRequest
	if err := read(w, r, maxIdentity, &req); err != nil {
		return err
	}
	if req.DeviceID != "" && req.DeviceID != string(c.id) {
		return dps.Invalidf("deviceId", "is %q in the body and %q in the path", req.DeviceID, c.id)
	}
	draft, err := translate.HubDeviceDraft(req)
	if err != nil {
		return err
	}
	d, err := s.write(r.Context(), c, draft, cond)
	if err != nil {
		return err
	}
	return showDevice(w, d)
}

func (s *server) write(ctx context.Context, c call, draft dps.HubDeviceDraft, cond dps.Condition) (dps.HubDevice, error) {
	if !cond.Set {
		return s.create(ctx, c, draft, dps.Twin{})
	}
	return s.change(ctx, c, func(d dps.HubDevice) (dps.HubDevice, error) {
		if err := check(cond, d.ETag); err != nil {
			return d, err
		}
		return d.Written(draft, s.Now())
	})
}

func (s *server) create(ctx context.Context, c call, draft dps.HubDeviceDraft, twin dps.Twin) (dps.HubDevice, error) {
	id, err := dps.ParseDeviceID(string(c.id))
	if err != nil {
		return dps.HubDevice{}, err
	}
	now := s.Now()
	d, err := dps.NewHubDevice(c.hub, dps.NewHubIdentity(id), twin, now).Written(draft, now)
	if err != nil {
		return d, err
	}
	return d, s.Store.CreateHubDevice(ctx, d)
}

func (s *server) remove(w http.ResponseWriter, r *http.Request, c call) error {
	cond, err := dps.ParseCondition(r.Header.Get("If-Match"))
	if err != nil {
		return err
	}
	if err := s.delete(r.Context(), c, cond); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) delete(ctx context.Context, c call, cond dps.Condition) error {
	unlock, err := s.lock(ctx, c)
	if err != nil {
		return err
	}
	defer unlock()
	for range maxAttempts {
		var d dps.HubDevice
		if d, err = s.Store.HubDevice(ctx, c.hub.Instance, c.hub.ID, c.id); err != nil {
			return err
		}
		if err = check(cond, d.ETag); err != nil {
			return err
		}
		if err = s.Store.DeleteHubDevice(ctx, c.hub.Instance, c.hub.ID, c.id, d.ETag); dps.CodeOf(err) != dps.ConcurrentChange {
			return err
		}
	}
	return err
}

func (s *server) registryStatistics(w http.ResponseWriter, r *http.Request, c call) error {
	n, err := s.Store.CountHubDevices(r.Context(), c.hub.Instance, c.hub.ID)
	if err != nil {
		return err
	}
	return httpio.WriteJSON(w, http.StatusOK, wire.HubRegistryStatistics{
		TotalDeviceCount: n.Total, EnabledDeviceCount: n.Total - n.Disabled, DisabledDeviceCount: n.Disabled,
	})
}

// serviceStatistics counts connected devices: none, since devices cannot connect here.
func (s *server) serviceStatistics(w http.ResponseWriter, _ *http.Request, _ call) error {
	return httpio.WriteJSON(w, http.StatusOK, wire.HubServiceStatistics{})
}
