package sqlite_test

import (
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// TestSettingsReadBeforeAChange holds that what was read before a change, and arrives
// after it, is not remembered: every registration would use it until the next change.
func TestSettingsReadBeforeAChange(t *testing.T) {
	for _, changed := range []bool{false, true} {
		var s sqlite.Settings
		_, before, _ := s.Instance("scope")
		_, hubsBefore, _ := s.HubsOf("in")
		if changed {
			s.Forget()
		}
		s.KeepInstance(dps.Instance{ID: "in", Scope: "scope"}, before)
		s.KeepHubs("in", []dps.LinkedHub{{ID: "old"}}, hubsBefore)
		if _, _, kept := s.Instance("scope"); kept == changed {
			t.Errorf("changed meanwhile: %v; the instance is remembered: %v", changed, kept)
		}
		if _, _, kept := s.HubsOf("in"); kept == changed {
			t.Errorf("changed meanwhile: %v; the hubs are remembered: %v", changed, kept)
		}
		s.Forget()
		if _, _, kept := s.Instance("scope"); kept {
			t.Error("the instance is remembered after a change")
		}
		if _, _, kept := s.HubsOf("in"); kept {
			t.Error("the hubs are remembered after a change")
		}
	}
}
