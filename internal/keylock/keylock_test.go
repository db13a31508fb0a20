package keylock_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/mooring-iot/mooring/internal/keylock"
)

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	var locks keylock.Locks[string]
	var wg sync.WaitGroup
	var a, b int // each guarded by its lock alone
	for range 200 {
		wg.Go(func() {
			unlock, err := locks.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			a++
			unlock()
		})
		wg.Go(func() {
			unlock, err := locks.Lock(t.Context(), "b")
			if err != nil {
				t.Error(err)
				return
			}
			b++
			unlock()
		})
	}
	wg.Wait()
	if a != 200 || b != 200 || locks.Len() != 0 {
		t.Errorf("counted %d and %d, %d locks left", a, b, locks.Len())
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	var locks keylock.Locks[int]
	unlock, err := locks.Lock(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	other, err := locks.Lock(t.Context(), 8)
	if err != nil {
		t.Fatal(err)
	}
	other()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := locks.Lock(ctx, 7); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	if locks.Len() != 1 {
		t.Errorf("%d locks, want 1", locks.Len())
	}
	unlock()
	if locks.Len() != 0 {
		t.Errorf("%d locks left", locks.Len())
	}
}
