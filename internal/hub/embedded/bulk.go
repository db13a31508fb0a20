package embedded

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// maxBulk bounds the body of a bulk operation, in bytes: a hundred elements whose twins
// are as large as they may be.
const maxBulk = 10 << 20

// bulkWorkers is how many elements of one call are written at once: they share commits.
const bulkWorkers = 16

// bulk runs each element for itself. All that succeeded is durable when it answers.
func (s *server) bulk(w http.ResponseWriter, r *http.Request, c call) error {
	var items []wire.HubBulkItem
	if err := read(w, r, maxBulk, &items); err != nil {
		return err
	}
	if len(items) == 0 || len(items) > wire.MaxHubBulkItems {
		return dps.Invalidf("body", "must be 1 to %d devices, not %d", wire.MaxHubBulkItems, len(items))
	}
	outcomes, err := s.runAll(r.Context(), c.hub, items)
	if err != nil {
		return err
	}
	result := wire.HubBulkResult{Errors: []wire.HubBulkError{}, Warnings: []wire.HubBulkWarning{}}
	for i, err := range outcomes {
		if err != nil {
			s.Log.InfoContext(r.Context(), "bulk element refused", "trackingId", httpio.TrackingID(r.Context()),
				"deviceId", items[i].ID, "mode", items[i].ImportMode, "code", dps.CodeOf(err).String(), "reason", err.Error())
			result.Errors = append(result.Errors, translate.HubBulkError(err, items[i]))
		}
	}
	result.IsSuccessful = len(result.Errors) == 0
	status := http.StatusOK
	if !result.IsSuccessful {
		status = http.StatusBadRequest
	}
	return httpio.WriteJSON(w, status, result)
}

// runAll returns what became of each element. Its own error is a failure of the store,
// after which it is not known which elements were written: the call may be repeated.
func (s *server) runAll(ctx context.Context, hub dps.LinkedHub, items []wire.HubBulkItem) ([]error, error) {
	outcomes := make([]error, len(items))
	seen := make(map[string]bool, len(items))
	var group errgroup.Group
	group.SetLimit(bulkWorkers)
	for i, item := range items {
		if seen[item.ID] {
			outcomes[i] = dps.Errorf(dps.DeviceTwice, "id: %q is named more than once", item.ID)
			continue
		}
		seen[item.ID] = true
		group.Go(func() error {
			err := s.run(ctx, call{hub: hub, id: dps.DeviceID(item.ID)}, item)
			if code := dps.CodeOf(err); err != nil && (code == dps.Internal || code == dps.Unavailable) {
				return err
			}
			outcomes[i] = err
			return nil
		})
	}
	return outcomes, group.Wait()
}

// mode is what becomes of an element.
type mode struct {
	name   string
	run    func(s *server, ctx context.Context, c call, item bulkItem) error
	etag   func(wire.HubBulkItem) string // nil: whatever the version
	member string                        // where the etag stands
}

func identityETag(item wire.HubBulkItem) string { return item.ETag }

func twinETag(item wire.HubBulkItem) string { return item.TwinETag }

// modes are the import modes.
var modes = []mode{
	{name: wire.HubCreate, run: (*server).bulkCreate},
	{name: wire.HubUpdate, run: (*server).bulkUpdate},
	{name: wire.HubUpdateIfMatchETag, run: (*server).bulkUpdate, etag: identityETag, member: "eTag"},
	{name: wire.HubDelete, run: (*server).bulkDelete},
	{name: wire.HubDeleteIfMatchETag, run: (*server).bulkDelete, etag: identityETag, member: "eTag"},
	{name: wire.HubUpdateTwin, run: (*server).bulkUpdateTwin},
	{name: wire.HubUpdateTwinIfMatchETag, run: (*server).bulkUpdateTwin, etag: twinETag, member: "twinETag"},
}

// bulkItem is an element that was understood.
type bulkItem struct {
	draft dps.HubDeviceDraft
	twin  dps.TwinChange
	cond  dps.Condition
}

func (s *server) run(ctx context.Context, c call, item wire.HubBulkItem) error {
	if item.ID == "" {
		return dps.Invalidf("id", "is required")
	}
	if item.ModuleID != "" {
		return dps.Errorf(dps.NotOffered, "moduleId: is not supported by embedded hubs")
	}
	i := slices.IndexFunc(modes, func(m mode) bool { return strings.EqualFold(m.name, item.ImportMode) })
	if i < 0 {
		return dps.Invalidf("importMode", "must be one of %s", modeNames())
	}
	understood, err := understand(modes[i], item)
	if err != nil {
		return err
	}
	return modes[i].run(s, ctx, c, understood)
}

func modeNames() string {
	names := make([]string, len(modes))
	for i, m := range modes {
		names[i] = m.name
	}
	return strings.Join(names, ", ")
}

func understand(m mode, item wire.HubBulkItem) (bulkItem, error) {
	draft, err := translate.HubDeviceDraft(wire.HubDeviceRequest{
		Status: item.Status, StatusReason: item.StatusReason, Authentication: item.Authentication,
		Capabilities: item.Capabilities, DeviceScope: item.DeviceScope, ParentScopes: item.ParentScopes,
	})
	if err != nil {
		return bulkItem{}, err
	}
	out := bulkItem{draft: draft, twin: dps.TwinChange{Tags: item.Tags, Desired: item.Properties.Desired, Reported: item.Properties.Reported}}
	if m.etag == nil {
		return out, nil
	}
	text := m.etag(item)
	if text == "" {
		return out, dps.Invalidf(m.member, "is required for %s", m.name)
	}
	if out.cond, err = dps.ParseCondition(text); err != nil {
		return out, dps.Invalidf(m.member, "must be one etag or *")
	}
	return out, nil
}

func (s *server) bulkCreate(ctx context.Context, c call, item bulkItem) error {
	twin, err := dps.NewTwin(item.twin)
	if err != nil {
		return err
	}
	_, err = s.create(ctx, c, item.draft, twin)
	return err
}

// bulkUpdate writes an identity, and merges the sections of a twin that are given.
func (s *server) bulkUpdate(ctx context.Context, c call, item bulkItem) error {
	_, err := s.change(ctx, c, func(d dps.HubDevice) (dps.HubDevice, error) {
		if err := check(item.cond, d.ETag); err != nil {
			return d, err
		}
		d, err := d.Written(item.draft, s.Now())
		if err != nil {
			return d, err
		}
		d, _, err = d.WithTwin(item.twin, s.Now())
		return d, err
	})
	return err
}

func (s *server) bulkDelete(ctx context.Context, c call, item bulkItem) error {
	return s.delete(ctx, c, item.cond)
}

func (s *server) bulkUpdateTwin(ctx context.Context, c call, item bulkItem) error {
	_, err := s.change(ctx, c, s.twinEdit(item.twin, item.cond))
	return err
}
