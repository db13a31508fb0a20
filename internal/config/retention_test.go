package config_test

import (
	"strings"
	"testing"
	"time"
)

func TestRetention(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "1d": day, "0": 0, "0d": 0, "36h": 36 * time.Hour, "1h30m": 90 * time.Minute, "36500d": 36500 * day,
	} {
		got, err := source{args: []string{"--audit-retention=" + text}}.load(t)
		if err != nil || got.AuditRetention != want {
			t.Errorf("%q: %v, %v; want %v", text, got.AuditRetention, err, want)
		}
	}
	for _, text := range []string{
		"", "90", "d", "-1d", "-1h", "1.5d", "90 d", "90days", "36501d", "99999999d", "876001h", "9999999h",
		"forever", "+1d", "1d12h",
	} {
		_, err := source{args: []string{"--audit-retention=" + text}}.load(t)
		if err == nil || !strings.HasPrefix(err.Error(), "--audit-retention: ") {
			t.Errorf("%q: error = %v", text, err)
		}
	}
}
