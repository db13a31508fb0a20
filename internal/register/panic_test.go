package register_test

import (
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// A step that panics is tried again, and holds up nobody else.
func TestWorkerPanics(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newRemoteWorld(t)
		w.to(t, nil, "a")
		left := 3
		w.hubs["a"].set(func(h *fakeHub) {
			h.before = func(string) error {
				if left > 0 {
					left--
					panic("out of cheese")
				}
				return nil
			}
		})
		if rec := w.finished(t, w.request("sensor", w.leaf(t, "sensor"))); rec.Status != dps.Assigned || left != 0 {
			t.Errorf("record = %+v, %d panics left", rec, left)
		}
		w.settled(t)
	})
}
