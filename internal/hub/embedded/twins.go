package embedded

import (
	"net/http"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// maxTwin bounds the document of a twin, in bytes. Its sections count up to 72 KB, and
// one that is sent back has metadata for each member.
const maxTwin = 512 << 10

func (s *server) twin(w http.ResponseWriter, r *http.Request, c call) error {
	d, err := s.Store.HubDevice(r.Context(), c.hub.Instance, c.hub.ID, c.id)
	if err != nil {
		return err
	}
	return showTwin(w, d)
}

func showTwin(w http.ResponseWriter, d dps.HubDevice) error {
	body, err := translate.HubTwin(d)
	if err != nil {
		return err
	}
	setETag(w, d.TwinETag())
	return httpio.WriteJSON(w, http.StatusOK, body)
}

// changeTwin merges the sections of a document into a twin, or puts them in the place
// of what is there. Without If-Match it does so whatever the version.
func (s *server) changeTwin(replace bool) operation {
	return func(w http.ResponseWriter, r *http.Request, c call) error {
		cond, err := dps.ParseCondition(r.Header.Get("If-Match"))
		if err != nil {
			return err
		}
		var req wire.HubTwinRequest
		if err := read(w, r, maxTwin, &req); err != nil {
			return err
		}
		if req.DeviceID != "" && req.DeviceID != string(c.id) {
			return dps.Invalidf("deviceId", "is %q in the body and %q in the path", req.DeviceID, c.id)
		}
		d, err := s.change(r.Context(), c, s.twinEdit(translate.HubTwinChange(req, replace), cond))
		if err != nil {
			return err
		}
		return showTwin(w, d)
	}
}

// twinEdit returns the edit that changes a twin of the version that cond demands.
func (s *server) twinEdit(change dps.TwinChange, cond dps.Condition) func(dps.HubDevice) (dps.HubDevice, error) {
	return func(d dps.HubDevice) (dps.HubDevice, error) {
		if err := check(cond, d.TwinETag()); err != nil {
			return d, err
		}
		d, changed, err := d.WithTwin(change, s.Now())
		if err == nil && !changed {
			return d, errUnchanged
		}
		return d, err
	}
}
