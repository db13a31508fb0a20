package register_test

import (
	"context"
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// killed is a store that a process has until it is killed: after some writes nothing
// that it does has an effect.
type killed struct {
	register.Store

	mu   sync.Mutex // guards left
	left int
}

// dead counts one write.
func (k *killed) dead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left--
	return k.left < 0
}

func (k *killed) Commit(ctx context.Context, c dps.RegistrationChange) error {
	if k.dead() {
		return errKilled
	}
	return k.Store.Commit(ctx, c)
}

func (k *killed) ClaimPlace(ctx context.Context, c dps.Claim) (dps.Remnant, error) {
	if k.dead() {
		return dps.Remnant{}, errKilled
	}
	return k.Store.ClaimPlace(ctx, c)
}

func (k *killed) NotPlaced(ctx context.Context, c dps.Claim) error {
	if k.dead() {
		return errKilled
	}
	return k.Store.NotPlaced(ctx, c)
}

func (k *killed) Removed(ctx context.Context, c dps.Claim) error {
	if k.dead() {
		return errKilled
	}
	return k.Store.Removed(ctx, c)
}

func (k *killed) NotRemoved(ctx context.Context, c dps.Claim, why string, due time.Time) error {
	if k.dead() {
		return errKilled
	}
	return k.Store.NotRemoved(ctx, c, why, due)
}
