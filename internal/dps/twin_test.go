package dps_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// nested is {"a":{"a":...}} of n objects.
func nested(n int) string { return long(`{"a":`, n-1) + "{}" + long("}", n-1) }

// filler is an object that counts n bytes: four for each name, the rest in strings.
func filler(n int) string {
	var members []string
	for i := 0; n > 0; i++ {
		size := min(n-4, 4096)
		members = append(members, fmt.Sprintf(`"k%03d":%q`, i, long("x", size)))
		n -= size + 4
	}
	return "{" + strings.Join(members, ",") + "}"
}

func desired(s string) string { return `{"properties":{"desired":` + s + `}}` }

func tags(s string) string { return `{"tags":` + s + `}` }

func TestParseInitialTwin(t *testing.T) {
	tests := []struct {
		name, in      string
		tags, desired string
	}{
		{"nothing", "", "", ""},
		{"null", "null", "", ""},
		{"blanks and null", " null\n", "", ""},
		{"empty", "{}", "", ""},
		{"nulls inside", `{"tags":null,"properties":null}`, "", ""},
		{"null desired", desired("null"), "", ""},
		{"both", `{"tags":{"a":1},"properties":{"desired":{"b":true}}}`, `{"a":1}`, `{"b":true}`},
		{"empty sections", `{"tags":{},"properties":{"desired":{}}}`, `{}`, `{}`},
		{"other members", `{"x":1,"properties":{"reported":{"a":1},"desired":{}}}`, "", `{}`},
		{"members of hubs", desired(`{"$metadata":{"$lastUpdated":"x","a.b":null},"$version":7,"a":1}`), "", `{"a":1}`},
		{"members of hubs in tags", tags(`{"$metadata":{},"a":1}`), `{"a":1}`, ""},
		{"large members of hubs", tags(`{"$metadata":` + nested(30) + `,"a":1}`), `{"a":1}`, ""},
		{"nulls dropped", desired(`{"a":null,"b":{"c":null,"d":{}},"e":[null]}`), "", `{"b":{"d":{}},"e":[null]}`},
		{"numbers as written", desired(`{"a":1.50,"b":-0,"c":1e3,"d":4503599627370495,"e":-4503599627370496}`), "", `{"a":1.50,"b":-0,"c":1e3,"d":4503599627370495,"e":-4503599627370496}`},
		{"arrays", desired(`{"a":[1,"x",true,{"b":[[]]}]}`), "", `{"a":[1,"x",true,{"b":[[]]}]}`},
		{"a name that is called version", tags(`{"version":"2"}`), `{"version":"2"}`, ""},
		{"not ASCII", tags(`{"größe":"ü"}`), `{"größe":"ü"}`, ""},
		{"deepest objects", tags(nested(10)), nested(10), ""},
		{"deepest arrays", tags(`{"a":` + long("[", 9) + long("]", 9) + `}`), `{"a":` + long("[", 9) + long("]", 9) + `}`, ""},
		{"longest name", tags(`{"` + long("n", 1024) + `":1}`), `{"` + long("n", 1024) + `":1}`, ""},
		{"longest string", tags(`{"a":"` + long("x", 4096) + `"}`), `{"a":"` + long("x", 4096) + `"}`, ""},
		{"largest tags", tags(filler(8192)), filler(8192), ""},
		{"largest desired", desired(filler(32768)), "", filler(32768)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dps.ParseInitialTwin(json.RawMessage(tt.in))
			if err != nil || string(got.Tags) != tt.tags || string(got.Desired) != tt.desired {
				t.Errorf("ParseInitialTwin = %.200s, %.200s, %v", got.Tags, got.Desired, err)
			}
		})
	}
	if got, err := dps.ParseInitialTwin(nil); err != nil || got.Tags != nil || got.Desired != nil {
		t.Errorf("ParseInitialTwin(nil) = %+v, %v", got, err)
	}
}

func TestParseInitialTwinRefuses(t *testing.T) {
	tests := []struct {
		name, in, field, rule string
	}{
		{"no JSON", "{", "initialTwin", "must be an object"},
		{"array", "[]", "initialTwin", "must be an object"},
		{"string", `"x"`, "initialTwin", "must be an object"},
		{"tags are an array", tags("[]"), "initialTwin.tags", "must be an object"},
		{"tags are a number", tags("1"), "initialTwin.tags", "must be an object"},
		{"properties are a string", `{"properties":"x"}`, "initialTwin.properties", "must be an object"},
		{"desired are an array", desired("[]"), "initialTwin.properties.desired", "must be an object"},
		{"name too long", tags(`{"` + long("n", 1025) + `":1}`), "initialTwin.tags", "longer than 1024 bytes"},
		{"empty name", tags(`{"":1}`), "initialTwin.tags", "names must not be empty"},
		{"dot in a name", tags(`{"a.b":1}`), "initialTwin.tags", `"a.b"`},
		{"dollar in a name", desired(`{"$a":1}`), "initialTwin.properties.desired", `"$a"`},
		{"blank in a name", tags(`{"a b":1}`), "initialTwin.tags", `"a b"`},
		{"control character in a name", tags(`{"a\u0007":1}`), "initialTwin.tags", `"a\a"`},
		{"C1 control character in a name", tags(`{"a\u0085":1}`), "initialTwin.tags", `"a\u0085"`},
		{"metadata below the top", tags(`{"a":{"$metadata":{}}}`), "initialTwin.tags.a", `"$metadata"`},
		{"bad name with null", tags(`{"a.b":null}`), "initialTwin.tags", `"a.b"`},
		{"bad name in an array", tags(`{"a":[{"b.c":1}]}`), "initialTwin.tags.a", `"b.c"`},
		{"string too long", tags(`{"a":"` + long("x", 4097) + `"}`), "initialTwin.tags.a", "4097 bytes; the limit for a string is 4096"},
		{"string too long in bytes", tags(`{"a":"` + long("ü", 2049) + `"}`), "initialTwin.tags.a", "4098 bytes"},
		{"string too long in an array", tags(`{"a":["` + long("x", 4097) + `"]}`), "initialTwin.tags.a", "limit for a string"},
		{"too deep", tags(nested(11)), "initialTwin.tags" + long(".a", 10), "deeper than 10 levels"},
		{"array too deep", tags(`{"a":` + long("[", 10) + long("]", 10) + `}`), "initialTwin.tags.a", "deeper than 10 levels"},
		{"objects in arrays too deep", tags(`{"a":` + long(`[{"a":`, 5) + "1" + long("}]", 5) + `}`), "initialTwin.tags.a.a.a.a.a", "deeper than 10 levels"},
		{"integer too large", desired(`{"a":4503599627370496}`), "initialTwin.properties.desired.a", "from -4503599627370496 to 4503599627370495"},
		{"integer too small", desired(`{"a":-4503599627370497}`), "initialTwin.properties.desired.a", "from -4503599627370496"},
		{"integer beyond 64 bits", desired(`{"a":123456789012345678901234567890}`), "initialTwin.properties.desired.a", "must be from"},
		{"integer in an array", desired(`{"a":[1,[4503599627370496]]}`), "initialTwin.properties.desired.a", "must be from"},
		{"tags too large", tags(filler(8193)), "initialTwin.tags", "is 8193 bytes by the rules for twins; the limit is 8192"},
		{"desired too large", desired(filler(32769)), "initialTwin.properties.desired", "is 32769 bytes"},
		{"numbers too many", tags(`{"a":[` + long("0,", 1023) + `0]}`), "initialTwin.tags", "is 8193 bytes"},
		{"booleans too many", tags(`{"a":[` + long("true,", 2047) + `true]}`), "initialTwin.tags", "is 8193 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dps.ParseInitialTwin(json.RawMessage(tt.in))
			checkInvalid(t, err, tt.field)
			if got.Tags != nil || got.Desired != nil || !strings.Contains(err.Error(), tt.rule) {
				t.Errorf("error = %v, want %q in it", err, tt.rule)
			}
		})
	}
}

func FuzzParseInitialTwin(f *testing.F) {
	for _, in := range []string{
		"null", "{}", tags(`{"a":null,"$version":1}`), desired(`{"a":[1,{"b":"x"}]}`), desired(nested(11)), tags(`{"a.b":1}`), tags(`{"a":1e400}`), tags(filler(500)),
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		twin, err := dps.ParseInitialTwin(in)
		if err != nil {
			if dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(err.Error(), "initialTwin") || len(err.Error()) > 6*len(in)+500 {
				t.Errorf("error = %v", err)
			}
			return
		}
		for _, section := range []json.RawMessage{twin.Tags, twin.Desired} {
			checkSection(t, section)
		}
		if len(twin.Tags)+len(twin.Desired) > 6*len(in) {
			t.Errorf("%d bytes became %d and %d", len(in), len(twin.Tags), len(twin.Desired))
		}
		written, err := json.Marshal(map[string]any{"tags": twin.Tags, "properties": map[string]any{"desired": twin.Desired}})
		if err != nil {
			t.Fatal(err)
		}
		again, err := dps.ParseInitialTwin(written)
		if err != nil || string(again.Tags) != string(twin.Tags) || string(again.Desired) != string(twin.Desired) {
			t.Errorf("parsed again: %v\n%s\n%s", err, twin.Tags, again.Tags)
		}
	})
}

// checkSection reports when a section of an accepted twin is no object without
// nulls and reserved names.
func checkSection(t *testing.T, section json.RawMessage) {
	t.Helper()
	if section == nil {
		return
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(section, &object); err != nil || object == nil {
		t.Fatalf("section %s: %v", section, err)
	}
	for name, value := range object {
		if name == "" || len(name) > 1024 || strings.ContainsAny(name, ".$ ") || string(value) == "null" {
			t.Errorf("section has the member %q: %s", name, value)
		}
		if len(value) > 0 && value[0] == '{' {
			checkSection(t, value)
		}
	}
}
