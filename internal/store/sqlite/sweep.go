package sqlite

import (
	"context"
	"time"
)

// How often expired operations are removed, and how many by one change: a few, so
// that registrations hardly wait for them.
const (
	sweepEvery = 10 * time.Second
	sweepBatch = 200
)

// sweep removes expired operations until ctx ends.
func (s *Store) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("removing expired operations", "err", err)
			}
		}
	}
}

// Sweep removes the operations that have expired.
func (s *Store) Sweep(ctx context.Context) error {
	for {
		var removed int64
		err := s.change(ctx, func(t tx) error {
			var err error
			removed, err = t.affect(`DELETE FROM operations WHERE (instance, operation) IN
				(SELECT instance, operation FROM operations WHERE expires < $1 LIMIT $2)`, s.now().UnixNano(), sweepBatch)
			return err
		})
		if err != nil || removed < sweepBatch {
			return err
		}
	}
}
