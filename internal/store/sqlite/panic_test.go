package sqlite_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// A change that panics is rolled back, fails alone, and leaves the writer at work.
func TestChangePanics(t *testing.T) {
	t.Parallel()
	s := newPlace(t).openWith(t, newSetup())
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			if err := s.Panic(t.Context()); dps.CodeOf(err) != dps.Internal || !strings.Contains(err.Error(), "out of cheese") {
				t.Errorf("a change that panics: %v", err)
			}
		})
		callers.Go(func() {
			if err := s.ExpireDecisions(t.Context(), start); err != nil {
				t.Errorf("another change: %v", err)
			}
		})
	}
	callers.Wait()
	if all, err := s.Policies(t.Context(), dps.DefaultInstance); err != nil || len(all) == 0 {
		t.Errorf("what the change did is not undone: %v, %v", all, err)
	}
}
