package enroll

import (
	"context"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

// Query returns up to limit enrollments of a kind that q selects, after the cursor,
// and the cursor of the next page; next is nil at the end.
func (s *Service) Query(
	ctx context.Context,
	in dps.InstanceID,
	kind dps.EntryKind,
	q query.Query,
	limit int,
	after *dps.Cursor,
) (page []dps.Enrollment, next *dps.Cursor, err error) {
	page, err = s.store.QueryEnrollments(ctx, in, kind, q, limit+1, after)
	if err != nil || len(page) <= limit {
		return page, nil, err
	}
	last := page[limit-1]
	next = &dps.Cursor{Key: last.Ref.Key()}
	if q.Order.ByUpdated {
		next.Updated = last.Updated.UnixNano()
	}
	return page[:limit], next, nil
}
