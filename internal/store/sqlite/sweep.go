package sqlite

import (
	"context"
	"errors"
	"time"
)

// How often what has expired is removed, and how many by one change: a few, so
// that registrations hardly wait for them.
const (
	sweepEvery = 10 * time.Second
	sweepBatch = 200
)

// sweep removes what has expired until ctx ends.
func (s *Store) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("removing expired records", "err", err)
			}
		}
	}
}

// Sweep removes the operations and the portal's sessions that have expired, and the audit
// entries that are older than Options.AuditRetention.
func (s *Store) Sweep(ctx context.Context) error {
	err := s.removeBatches(ctx, `DELETE FROM operations WHERE (instance, operation) IN
		(SELECT instance, operation FROM operations WHERE expires < $1 LIMIT $2)`, s.now())
	return errors.Join(err, s.sweepAudit(ctx), s.sweepPortal(ctx))
}

// removeBatches runs a DELETE of what is older than a time, with a limit, until nothing
// is left to remove.
func (s *Store) removeBatches(ctx context.Context, text string, before time.Time) error {
	for {
		var removed int64
		err := s.change(ctx, func(t tx) error {
			var err error
			removed, err = t.affect(text, before.UnixNano(), sweepBatch)
			return err
		})
		if err != nil || removed < sweepBatch {
			return err
		}
	}
}
