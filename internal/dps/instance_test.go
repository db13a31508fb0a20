package dps_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

func TestCheckTags(t *testing.T) {
	many := make(map[string]string)
	for i := range 51 {
		many[fmt.Sprint("tag", i)] = ""
	}
	tests := []struct {
		name string
		tags map[string]string
		ok   bool
	}{
		{"none", nil, true},
		{"plain", map[string]string{"site": "hall 3", "line": ""}, true},
		{"longest", map[string]string{strings.Repeat("ü", 512): strings.Repeat("ü", 256)}, true},
		{"long name", map[string]string{strings.Repeat("a", 513): ""}, false},
		{"long value", map[string]string{"a": strings.Repeat("a", 257)}, false},
		{"no name", map[string]string{"": "a"}, false},
		{"forbidden character", map[string]string{"a/b": "a"}, false},
		{"backslash", map[string]string{`a\b`: "a"}, false},
		{"case does not count", map[string]string{"Site": "a", "site": "b"}, false},
		{"too many", many, false},
	}
	for _, tt := range tests {
		err := dps.CheckTags(tt.tags)
		if (err == nil) != tt.ok || err != nil && dps.CodeOf(err) != dps.Invalid {
			t.Errorf("%s: CheckTags = %v, want ok %t", tt.name, err, tt.ok)
		}
	}
}

func TestParsePolicyName(t *testing.T) {
	for _, name := range []string{"a", dps.OwnerPolicy, "A-b_c.d@e", strings.Repeat("x", 64)} {
		if got, err := dps.ParsePolicyName(name); got != name || err != nil {
			t.Errorf("ParsePolicyName(%q) = %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"", " ", "a b", "a;b", "a=b", "a&b", "a/b", "ä", strings.Repeat("x", 65)} {
		if got, err := dps.ParsePolicyName(name); got != "" || dps.CodeOf(err) != dps.Invalid {
			t.Errorf("ParsePolicyName(%q) = %q, %v", name, got, err)
		}
	}
}
