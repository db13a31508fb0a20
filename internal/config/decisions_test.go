package config_test

import (
	"strings"
	"testing"
	"time"
)

func TestDecisionLimits(t *testing.T) {
	for text, want := range map[string]int{"100": 100, "100000": 100_000, "10000000": 10_000_000} {
		got, err := source{args: []string{"--decision-limit=" + text, "--decision-retention=36h"}}.load(t)
		if err != nil || got.DecisionLimit != want || got.DecisionRetention != 36*time.Hour {
			t.Errorf("%q: %d, %v, %v", text, got.DecisionLimit, got.DecisionRetention, err)
		}
	}
	for _, text := range []string{"", "0", "99", "-1", "10000001", "1e5", "many", "99999999999999999999"} {
		_, err := source{args: []string{"--decision-limit=" + text}}.load(t)
		if err == nil || !strings.HasPrefix(err.Error(), "--decision-limit: ") {
			t.Errorf("%q: error = %v", text, err)
		}
	}
	if _, err := (source{args: []string{"--decision-retention=7"}}).load(t); err == nil ||
		!strings.HasPrefix(err.Error(), "--decision-retention: ") {
		t.Errorf("retention without a unit: %v", err)
	}
}
