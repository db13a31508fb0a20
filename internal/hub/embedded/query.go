package embedded

import (
	"encoding/base64"
	"net/http"
	"strconv"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// Bounds of queries: twins are large, what is projected is not.
const (
	maxQuery      = 64 << 10 // bytes of the body
	maxTwinPage   = 100
	maxRawPage    = 1000
	firstPageSize = 100 // when nobody says how many
)

// query answers a page of a query. The next one begins behind the last ID of this one.
func (s *server) query(w http.ResponseWriter, r *http.Request, c call) error {
	var spec wire.QuerySpecification
	if err := read(w, r, maxQuery, &spec); err != nil {
		return err
	}
	q, err := parseStatement(spec.Query)
	if err != nil {
		return err
	}
	limit, err := pageSize(r, q)
	if err != nil {
		return err
	}
	after, err := continuation(r)
	if err != nil {
		return err
	}
	page, err := s.Store.FindHubDevices(r.Context(), c.hub.Instance, c.hub.ID, q.filter, after, limit+1)
	if err != nil {
		return err
	}
	if len(page) > limit {
		page = page[:limit]
		w.Header().Set(wire.HeaderContinuation, base64.RawURLEncoding.EncodeToString([]byte(page[limit-1].DeviceID)))
	}
	return q.show(w, page)
}

func pageSize(r *http.Request, q statement) (int, error) {
	most := maxTwinPage
	if !q.twins() {
		most = maxRawPage
	}
	text := r.Header.Get(wire.HeaderMaxItemCount)
	if text == "" {
		return firstPageSize, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, dps.Invalidf(wire.HeaderMaxItemCount, "must be a whole number above 0")
	}
	return min(n, most), nil
}

func continuation(r *http.Request) (dps.DeviceID, error) {
	text := r.Header.Get(wire.HeaderContinuation)
	if text == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		if id, err := dps.ParseDeviceID(string(raw)); err == nil {
			return id, nil
		}
	}
	return "", dps.Invalidf(wire.HeaderContinuation, "is not a valid continuation token")
}

// show writes a page: whole twins, or the selected members.
func (q statement) show(w http.ResponseWriter, page []dps.HubDevice) error {
	if !q.twins() {
		out := make([]wire.HubProjection, len(page))
		for i, d := range page {
			out[i] = q.project(d)
		}
		w.Header().Set(wire.HeaderItemType, wire.ItemTypeRaw)
		return httpio.WriteJSON(w, http.StatusOK, out)
	}
	out := make([]wire.HubTwin, len(page))
	for i, d := range page {
		var err error
		if out[i], err = translate.HubTwin(d); err != nil {
			return err
		}
	}
	w.Header().Set(wire.HeaderItemType, wire.ItemTypeTwin)
	return httpio.WriteJSON(w, http.StatusOK, out)
}

func (q statement) project(d dps.HubDevice) wire.HubProjection {
	var p wire.HubProjection
	if q.selects(deviceIDMember) {
		p.DeviceID = string(d.DeviceID)
	}
	if q.selects(deviceScopeMember) {
		p.DeviceScope = d.Scope()
	}
	return p
}
