package dps_test

import (
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

func TestHubIDsSort(t *testing.T) {
	last := dps.EmbeddedHub
	for range 1000 {
		id := dps.NewHubID()
		if id <= last {
			t.Fatalf("%s is made after %s", id, last)
		}
		last = id
	}
}

func TestIsHostName(t *testing.T) {
	for name, want := range map[string]bool{
		"hub": true, "Hub-1.example": true, "192.0.2.7": true, "a_b.example": true, strings.Repeat("a", 253): true,
		"": false, "-a": false, "a-": false, "a.": false, "a b": false, "a:1": false, "https://a": false, "a/b": false, "::1": false,
		"bücher": false, strings.Repeat("a", 254): false,
	} {
		if got := dps.IsHostName(name); got != want {
			t.Errorf("IsHostName(%q) = %t", name, got)
		}
	}
}
