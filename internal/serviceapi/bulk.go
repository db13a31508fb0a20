package serviceapi

import (
	"net/http"
	"strings"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

// bulkRequest is a bulk operation of either kind.
type bulkRequest struct {
	Mode             string                   `json:"mode"`
	Enrollments      []wire.EnrollmentRequest `json:"enrollments"`
	EnrollmentGroups []wire.EnrollmentRequest `json:"enrollmentGroups"`
}

var bulkModes = map[string]enroll.Mode{
	wire.BulkCreate: enroll.Create, wire.BulkUpdate: enroll.Update,
	wire.BulkUpdateIfMatchETag: enroll.UpdateIfMatch, wire.BulkDelete: enroll.Remove,
}

var bulkOperations = map[enroll.Mode]audit.Operation{
	enroll.Create: audit.BulkCreate, enroll.Update: audit.BulkUpdate,
	enroll.UpdateIfMatch: audit.BulkUpdateIfMatch, enroll.Remove: audit.BulkDelete,
}

// bulk runs each item for itself: one that fails undoes no other. The answer is 200
// whatever became of them. They have one audit entry together.
func (s *server) bulk(c collection) route.Handler {
	return s.guarded(dps.EnrollmentWrite, func(w http.ResponseWriter, r *http.Request, _ route.Params) error {
		if err := checkContentType(r); err != nil {
			return err
		}
		text, err := httpio.ReadBody(w, r, maxBody)
		if err != nil {
			return err
		}
		var req bulkRequest
		if err := translate.Decode(text, &req); err != nil {
			return err
		}
		mode, items, err := readBulk(c.kind, req)
		if err != nil {
			return err
		}
		result := wire.BulkResult{Errors: []wire.BulkError{}, IsSuccessful: true}
		change := audit.From(r.Context())
		change.Several(bulkOperations[mode])
		for _, item := range items {
			warnings, err := s.bulkItem(r, c.kind, mode, item)
			httpio.Warn(w, warnings...)
			if err != nil {
				change.Failed(err)
				httpio.LogRefusal(s.Log, r, err, "item", itemID(c.kind, item))
				result.IsSuccessful = false
				result.Errors = append(result.Errors, s.bulkError(r, item, err))
			}
		}
		s.Audit.Settle(r.Context(), change, nil)
		return httpio.WriteJSON(w, http.StatusOK, result)
	})
}

// readBulk checks what the items have in common.
func readBulk(kind dps.EntryKind, req bulkRequest) (enroll.Mode, []wire.EnrollmentRequest, error) {
	var mode enroll.Mode
	found := false
	for name, m := range bulkModes {
		if strings.EqualFold(name, req.Mode) {
			mode, found = m, true
		}
	}
	if !found {
		return 0, nil, dps.Invalidf("mode", "must be create, update, updateIfMatchETag or delete")
	}
	field, items := "enrollments", req.Enrollments
	if kind == dps.Group {
		field, items = "enrollmentGroups", req.EnrollmentGroups
	}
	if len(items) == 0 || len(items) > wire.MaxBulkItems {
		return 0, nil, dps.Invalidf(field, "must contain 1 to %d items, not %d", wire.MaxBulkItems, len(items))
	}
	for _, item := range items {
		if itemID(kind, item) == "" {
			return 0, nil, dps.Invalidf(field, "has an item without %s", idField(kind))
		}
	}
	return mode, items, nil
}

func itemID(kind dps.EntryKind, item wire.EnrollmentRequest) string {
	if kind == dps.Group {
		return item.EnrollmentGroupID
	}
	return item.RegistrationID
}

// bulkItem returns the warnings about the record that it wrote, which begin with its ID.
func (s *server) bulkItem(r *http.Request, kind dps.EntryKind, mode enroll.Mode, item wire.EnrollmentRequest) ([]string, error) {
	ref, err := dps.ParseEntryID(kind, idField(kind), itemID(kind, item))
	if err != nil {
		return nil, err
	}
	draft := dps.EnrollmentDraft{Enrollment: dps.Enrollment{Instance: s.Instance, Ref: ref}}
	if mode != enroll.Remove { // whatever else the item says does not matter then
		if draft, err = translate.Draft(s.Instance, ref, item); err != nil {
			return nil, err
		}
	}
	e, err := s.Enroll.Apply(r.Context(), mode, draft, item.ETag)
	if err != nil {
		return nil, err
	}
	warnings := s.Enroll.Warnings(r.Context(), e)
	for i, text := range warnings {
		warnings[i] = e.Ref.String() + ": " + text
	}
	return warnings, nil
}

func (s *server) bulkError(r *http.Request, item wire.EnrollmentRequest, err error) wire.BulkError {
	_, body := translate.Error(err, httpio.TrackingID(r.Context()), s.Now())
	return wire.BulkError{
		RegistrationID: item.RegistrationID, EnrollmentGroupID: item.EnrollmentGroupID, ErrorCode: body.ErrorCode, ErrorStatus: body.Message,
	}
}
