package enroll

import (
	"context"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Mode is what a bulk operation does with each item.
type Mode uint8

// The modes.
const (
	Create        Mode = iota // it must not exist
	Update                    // as Put: it is created, or replaced if the item has its etag
	UpdateIfMatch             // it must be at the item's etag
	Remove                    // whatever its version
)

// Apply runs one item of a bulk operation; etag is that of the item. It fails as Put
// and Delete do.
func (s *Service) Apply(ctx context.Context, mode Mode, draft dps.EnrollmentDraft, etag string) error {
	cond, err := dps.ParseCondition(etag)
	if err != nil {
		return err
	}
	switch mode {
	case Create:
		_, err = s.Put(ctx, draft, dps.Condition{})
	case Update:
		_, err = s.Put(ctx, draft, cond)
	case UpdateIfMatch:
		if !cond.Set {
			return dps.Errorf(dps.PreconditionFailed, "Precondition failed: the item has no etag.")
		}
		_, err = s.Put(ctx, draft, cond)
	default:
		err = s.Delete(ctx, draft.Instance, draft.Ref, dps.Condition{})
	}
	return err
}
