package enroll

import (
	"context"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Mode is the operation on each item of a bulk request.
type Mode uint8

// The modes.
const (
	Create        Mode = iota // it must not exist
	Update                    // as Put: it is created, or replaced if the item has its etag
	UpdateIfMatch             // it must be at the item's etag
	Remove                    // whatever its version
)

// Apply runs one item of a bulk operation; etag is that of the item. It fails as Put
// and Delete do, and returns what was written, the zero value for Remove.
func (s *Service) Apply(ctx context.Context, mode Mode, draft dps.EnrollmentDraft, etag string) (dps.Enrollment, error) {
	cond, err := dps.ParseCondition(etag)
	if err != nil {
		return dps.Enrollment{}, err
	}
	switch mode {
	case Create:
		return s.Put(ctx, draft, dps.Condition{})
	case UpdateIfMatch:
		if !cond.Set {
			return dps.Enrollment{}, dps.Errorf(dps.PreconditionFailed, "Precondition failed: the item has no etag.")
		}
		fallthrough
	case Update:
		return s.Put(ctx, draft, cond)
	default:
		return dps.Enrollment{}, s.Delete(ctx, draft.Instance, draft.Ref, dps.Condition{})
	}
}
