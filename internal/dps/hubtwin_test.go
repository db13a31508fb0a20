package dps_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/dps"
)

var (
	created = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	hubA    = dps.LinkedHub{Instance: "default", ID: "a"}
	hubB    = dps.LinkedHub{Instance: "default", ID: "b"}
)

func newDevice(twin dps.Twin) dps.HubDevice {
	return dps.NewHubDevice(hubA, dps.NewHubIdentity("dev"), twin, created)
}

func raw(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

func TestWithTwin(t *testing.T) {
	t.Parallel()
	const start = `{"a":1,"b":{"c":2,"d":3},"l":[1]}`
	tests := []struct {
		name, patch, want string
		replace           bool
		unchanged         bool
	}{
		{name: "a value", patch: `{"a":2}`, want: `{"a":2,"b":{"c":2,"d":3},"l":[1]}`},
		{name: "the same value counts", patch: `{"a":1}`, want: start},
		{name: "a new one", patch: `{"z":{"y":null,"x":1}}`, want: `{"a":1,"b":{"c":2,"d":3},"l":[1],"z":{"x":1}}`},
		{name: "null removes", patch: `{"a":null,"b":{"c":null}}`, want: `{"b":{"d":3},"l":[1]}`},
		{name: "null of what is not there", patch: `{"q":null}`, want: start},
		{name: "an object over a value", patch: `{"a":{"n":null,"m":1}}`, want: `{"a":{"m":1},"b":{"c":2,"d":3},"l":[1]}`},
		{name: "a value over an object", patch: `{"b":7}`, want: `{"a":1,"b":7,"l":[1]}`},
		{name: "arrays are replaced", patch: `{"l":[2,null]}`, want: `{"a":1,"b":{"c":2,"d":3},"l":[2,null]}`},
		{name: "empty", patch: `{}`, want: start, unchanged: true},
		{name: "null", patch: `null`, want: start, unchanged: true},
		{name: "absent", patch: ``, want: start, unchanged: true},
		{name: "members of the hub alone", patch: `{"$version":9,"$metadata":{"a":{}}}`, want: start, unchanged: true},
		{name: "members of the hub beside others", patch: `{"$version":9,"a":2}`, want: `{"a":2,"b":{"c":2,"d":3},"l":[1]}`},
		{name: "replaced", patch: `{"n":1,"gone":null,"o":{"gone":null}}`, want: `{"n":1,"o":{}}`, replace: true},
		{name: "replaced by nothing", patch: `{}`, want: `{}`, replace: true},
		{name: "replace without the section", patch: ``, want: start, replace: true, unchanged: true},
		{name: "numbers as written", patch: `{"a":1.50}`, want: `{"a":1.50,"b":{"c":2,"d":3},"l":[1]}`},
	}
	for _, tt := range tests {
		for _, part := range []string{"tags", "desired", "reported"} {
			d := newDevice(dps.Twin{Tags: raw(start), Desired: raw(start), Reported: raw(start)})
			c := dps.TwinChange{Replace: tt.replace}
			*map[string]*json.RawMessage{"tags": &c.Tags, "desired": &c.Desired, "reported": &c.Reported}[part] = raw(tt.patch)
			got, changed, err := d.WithTwin(c, created.Add(time.Minute))
			if err != nil || changed == tt.unchanged {
				t.Errorf("%s of %s: changed = %v, %v", tt.name, part, changed, err)
				continue
			}
			sections := map[string]json.RawMessage{"tags": got.Twin.Tags, "desired": got.Twin.Desired, "reported": got.Twin.Reported}
			if string(sections[part]) != tt.want {
				t.Errorf("%s of %s = %s, want %s", tt.name, part, sections[part], tt.want)
			}
			checkVersions(t, tt.name+" of "+part, d, got, part, changed)
		}
	}
}

// checkVersions compares the versions before and after a change of one part.
func checkVersions(t *testing.T, name string, was, got dps.HubDevice, part string, changed bool) {
	t.Helper()
	grown := func(is bool) int64 {
		if is && changed {
			return 1
		}
		return 0
	}
	if got.TwinVersion != was.TwinVersion+grown(true) ||
		got.DesiredStamp.Version != was.DesiredStamp.Version+grown(part == "desired") ||
		got.ReportedStamp.Version != was.ReportedStamp.Version+grown(part == "reported") {
		t.Errorf("%s: versions %d, %d, %d after %d, %d, %d", name, got.TwinVersion, got.DesiredStamp.Version, got.ReportedStamp.Version,
			was.TwinVersion, was.DesiredStamp.Version, was.ReportedStamp.Version)
	}
	if (got.TwinETag() != was.TwinETag()) != changed || got.ETag != was.ETag {
		t.Errorf("%s: etags %s, %s after %s, %s", name, got.TwinETag(), got.ETag, was.TwinETag(), was.ETag)
	}
}

func TestStamps(t *testing.T) {
	t.Parallel()
	d := newDevice(dps.Twin{Desired: raw(`{"a":1,"b":{"c":2,"d":{"e":3}}}`)})
	if d.TwinETag() != "AAAAAAAAAAE=" || d.TwinVersion != 2 || d.DesiredStamp.Version != 1 || d.ReportedStamp.Version != 1 {
		t.Errorf("a new twin: etag %s, versions %d, %d, %d", d.TwinETag(), d.TwinVersion, d.DesiredStamp.Version, d.ReportedStamp.Version)
	}
	t1 := created.Add(time.Minute)
	d, _, err := d.WithTwin(dps.TwinChange{Desired: raw(`{"b":{"c":5},"new":{"x":1}}`)}, t1)
	if err != nil {
		t.Fatal(err)
	}
	want := dps.Stamp{At: t1, Version: 2, Parts: map[string]dps.Stamp{
		"a": {At: created, Version: 1},
		"b": {At: t1, Version: 2, Parts: map[string]dps.Stamp{"d": {At: created, Version: 1}}},
	}}
	if diff := cmp.Diff(want, d.DesiredStamp); diff != "" {
		t.Errorf("after a patch (-want +got):\n%s", diff)
	}
	if d.DesiredStamp.Part("b").Part("d").Part("e").Version != 1 || d.DesiredStamp.Part("new").Part("x").Version != 2 {
		t.Errorf("parts without a stamp of their own: %+v", d.DesiredStamp)
	}
	d, _, err = d.WithTwin(dps.TwinChange{Desired: raw(`{"a":null,"b":{"d":null}}`)}, t1.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	want = dps.Stamp{At: t1.Add(time.Minute), Version: 3, Parts: map[string]dps.Stamp{
		"b":   {At: t1.Add(time.Minute), Version: 3, Parts: map[string]dps.Stamp{"c": {At: t1, Version: 2}}},
		"new": {At: t1, Version: 2},
	}}
	if diff := cmp.Diff(want, d.DesiredStamp); diff != "" {
		t.Errorf("after a removal (-want +got):\n%s", diff)
	}
	d, _, err = d.WithTwin(dps.TwinChange{Desired: raw(`{"b":{"c":5}}`), Replace: true}, t1.Add(time.Hour))
	if diff := cmp.Diff(dps.Stamp{At: t1.Add(time.Hour), Version: 4}, d.DesiredStamp); diff != "" || err != nil {
		t.Errorf("after a replacement: %v (-want +got):\n%s", err, diff)
	}
}

func TestWithTwinRefuses(t *testing.T) {
	t.Parallel()
	full := dps.Twin{Tags: raw(filler(8190)), Desired: raw(filler(32760)), Reported: raw(filler(32760))}
	tests := []struct {
		name, patch string
		word        string
	}{
		{"no object", `[]`, "must be an object"},
		{"text", `"x"`, "must be an object"},
		{"no JSON", `{`, "must be JSON"},
		{"a point in a name", `{"a.b":1}`, `"a.b"`},
		{"a dollar in a name", `{"a":{"$b":1}}`, `"$b"`},
		{"a blank in a name", `{"a b":null}`, `"a b"`},
		{"a control character in a name", `{"a\u0001":1}`, "control character"},
		{"an empty name", `{"":1}`, `""`},
		{"a long name", `{"` + long("n", 1025) + `":1}`, "longer than 1024"},
		{"a long string", `{"a":"` + long("x", 4097) + `"}`, "4096"},
		{"too deep", nested(11), "10 levels"},
		{"a large number", `{"a":4503599627370496}`, "4503599627370495"},
		{"too large with what is there", `{"more":"` + long("x", 100) + `"}`, "the limit is"},
		{"too large alone", filler(40000), "the limit is"},
	}
	for _, tt := range tests {
		for field, c := range map[string]dps.TwinChange{
			"tags": {Tags: raw(tt.patch)}, "properties.desired": {Desired: raw(tt.patch)}, "properties.reported": {Reported: raw(tt.patch)},
		} {
			d := newDevice(full)
			got, changed, err := d.WithTwin(c, created.Add(time.Minute))
			if dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(dps.MessageOf(err), field) || !strings.Contains(dps.MessageOf(err), tt.word) {
				t.Errorf("%s in %s: %v, want Invalid with %q", tt.name, field, err, tt.word)
			}
			if changed || got.TwinVersion != d.TwinVersion {
				t.Errorf("%s in %s: refused and changed", tt.name, field)
			}
			if tt.word == "the limit is" {
				continue // refused there for the size of what stands, which is none
			}
			if _, err := dps.NewTwin(c); dps.CodeOf(err) != dps.Invalid {
				t.Errorf("%s in a new %s: %v, want Invalid", tt.name, field, err)
			}
		}
	}
	if got, err := dps.NewTwin(dps.TwinChange{Tags: raw(`{"a":null}`), Reported: raw(`{"b":1}`)}); err != nil || string(got.Tags) != `{}` ||
		string(got.Reported) != `{"b":1}` {
		t.Errorf("NewTwin = %s, %v", got, err)
	}
}

// naiveMerge is RFC 7396, section 2, word for word.
func naiveMerge(target, patch any) any {
	object, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if t, ok := target.(map[string]any); ok {
		maps.Copy(out, t)
	}
	for name, value := range object {
		if value == nil {
			delete(out, name)
			continue
		}
		out[name] = naiveMerge(out[name], value)
	}
	return out
}

// document draws an object of a few names, so that patches meet what is there.
func document(nulls bool, depth int) *rapid.Generator[map[string]any] {
	return rapid.Custom(func(t *rapid.T) map[string]any {
		out := map[string]any{}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 4, rapid.ID).Draw(t, "names") {
			kinds := []string{"number", "text", "flag", "list"}
			if nulls {
				kinds = append(kinds, "null")
			}
			if depth > 0 {
				kinds = append(kinds, "object", "object")
			}
			switch rapid.SampledFrom(kinds).Draw(t, "kind") {
			case "number":
				out[name] = float64(rapid.IntRange(0, 9).Draw(t, "n"))
			case "text":
				out[name] = rapid.SampledFrom([]string{"", "x", "é"}).Draw(t, "s")
			case "flag":
				out[name] = rapid.Bool().Draw(t, "b")
			case "list":
				out[name] = []any{float64(rapid.IntRange(0, 9).Draw(t, "n"))}
			case "null":
				out[name] = nil
			default:
				out[name] = document(nulls, depth-1).Draw(t, "o")
			}
		}
		return out
	})
}

// naiveStamps is the last change of every path: what a patch names, and all above it.
type naiveStamps map[string]int64

func (n naiveStamps) apply(doc map[string]any, patch map[string]any, path string, version int64) {
	n[path] = version
	for name, value := range patch {
		below := path + "/" + name
		child, isObject := value.(map[string]any)
		if _, was := doc[name].(map[string]any); !isObject || !was {
			maps.DeleteFunc(n, func(p string, _ int64) bool { return p == below || strings.HasPrefix(p, below+"/") })
		}
		switch {
		case value == nil:
		case isObject:
			old, _ := doc[name].(map[string]any)
			n.apply(old, child, below, version)
		default:
			n[below] = version
		}
	}
}

// versions lists the version of every path of an object by its stamp.
func versions(doc map[string]any, s dps.Stamp, path string, out naiveStamps) naiveStamps {
	out[path] = s.Version
	for name, value := range doc {
		child, _ := value.(map[string]any)
		versions(child, s.Part(name), path+"/"+name, out)
	}
	return out
}

// Merge patches do what RFC 7396 says, and stamps are those of a model that writes down
// every path.
func TestMergeAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		model := document(false, 3).Draw(t, "start")
		d := newDevice(dps.Twin{Desired: marshal(model)})
		stamps := versions(model, d.DesiredStamp, "", naiveStamps{})
		for i := range rapid.IntRange(1, 6).Draw(t, "changes") {
			patch := document(true, 3).Draw(t, "patch")
			replace := rapid.IntRange(0, 4).Draw(t, "replace") == 0
			got, changed, err := d.WithTwin(dps.TwinChange{Desired: marshal(patch), Replace: replace}, created.Add(time.Duration(i+1)*time.Minute))
			if err != nil {
				t.Fatalf("patch %v: %v", patch, err)
			}
			if changed != (len(patch) > 0 || replace) {
				t.Fatalf("patch %v: changed = %v", patch, changed)
			}
			if changed {
				if replace {
					model, stamps = map[string]any{}, naiveStamps{}
				}
				stamps.apply(model, patch, "", d.DesiredStamp.Version+1)
				model, _ = naiveMerge(model, patch).(map[string]any)
			}
			d = got
			if have := unmarshal(d.Twin.Desired); !reflect.DeepEqual(have, model) {
				t.Fatalf("after %v: %v, want %v", patch, have, model)
			}
			if have := versions(model, d.DesiredStamp, "", naiveStamps{}); !maps.Equal(have, stamps) {
				t.Fatalf("after %v: stamps %v, want %v", patch, have, stamps)
			}
		}
	})
}

func marshal(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func unmarshal(raw json.RawMessage) map[string]any {
	out := map[string]any{}
	if raw != nil {
		if err := json.Unmarshal(raw, &out); err != nil {
			panic(err)
		}
	}
	return out
}

func FuzzWithTwin(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":null}}`, `{"a":[{"b":[]}]}`, `{"$version":1}`, `{"a.b":1}`, nested(12), `null`, `{"a":1e400}`} {
		f.Add(`{"a":{"b":1}}`, seed, true)
		f.Add(seed, `{"x":1}`, false)
	}
	f.Fuzz(func(t *testing.T, first, second string, replace bool) {
		twin, err := dps.NewTwin(dps.TwinChange{Tags: raw(first), Desired: raw(first)})
		if err != nil {
			if dps.CodeOf(err) != dps.Invalid {
				t.Fatalf("NewTwin: %v", err)
			}
			return
		}
		got, changed, err := newDevice(
			twin,
		).WithTwin(dps.TwinChange{Tags: raw(second), Desired: raw(second), Replace: replace}, created.Add(time.Minute))
		if err != nil {
			if dps.CodeOf(err) != dps.Invalid {
				t.Fatalf("WithTwin: %v", err)
			}
			return
		}
		for _, section := range []json.RawMessage{got.Twin.Tags, got.Twin.Desired} {
			if section != nil && (!json.Valid(section) || !strings.HasPrefix(string(section), "{")) {
				t.Fatalf("stored section: %s", section)
			}
		}
		if changed != (got.TwinVersion == 3) || changed != (got.TwinETag() != "AAAAAAAAAAE=") {
			t.Fatalf("changed = %v at version %d", changed, got.TwinVersion)
		}
		// What is stored can be written back as it is.
		if _, err := dps.NewTwin(dps.TwinChange{Tags: got.Twin.Tags, Desired: got.Twin.Desired}); err != nil {
			t.Fatalf("the result is refused: %v", err)
		}
	})
}

func TestMovedTwin(t *testing.T) {
	t.Parallel()
	d := newDevice(dps.Twin{Tags: raw(`{"t":1}`), Desired: raw(`{"d":1}`)})
	d, _, err := d.WithTwin(dps.TwinChange{Desired: raw(`{"e":2}`), Reported: raw(`{"r":1}`)}, created.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	later := created.Add(time.Hour)
	disabled := true
	d, err = d.Written(dps.HubDeviceDraft{Disabled: &disabled}, later)
	if err != nil {
		t.Fatal(err)
	}
	moved := d.MovedTo(
		hubB,
		dps.HubIdentity{DeviceID: "dev", Authentication: dps.SelfSigned(dps.ThumbprintOf([]byte("x"))), IotEdge: true},
		later,
	)
	if moved.Hub != "b" || moved.GenerationID == d.GenerationID || moved.ETag == d.ETag || !moved.IotEdge || moved.Disabled ||
		!moved.Created.Equal(later) {
		t.Errorf("moved = %+v", moved)
	}
	if fmt.Sprintf("%s", moved.Twin) != fmt.Sprintf("%s", d.Twin) {
		t.Errorf("twin = %s, want %s", moved.Twin, d.Twin)
	}
	if moved.TwinVersion != 4 || moved.DesiredStamp.Version != 3 || moved.ReportedStamp.Version != 3 || !moved.DesiredStamp.At.Equal(later) {
		t.Errorf("versions = %d, %+v, %+v", moved.TwinVersion, moved.DesiredStamp, moved.ReportedStamp)
	}
	fresh := newDevice(dps.Twin{Desired: raw(`{"d":1}`)}).MovedTo(hubB, dps.NewHubIdentity("dev"), later)
	if fresh.DesiredStamp.Version != 2 || fresh.TwinETag() == "AAAAAAAAAAE=" {
		t.Errorf("a twin that was never changed starts anew: %+v", fresh.DesiredStamp)
	}
	for reported, want := range map[string]int64{"": 1, `{}`: 2, `{"r":1}`: 2} {
		if got := newDevice(dps.Twin{Reported: raw(reported)}); got.DesiredStamp.Version != want || got.ReportedStamp.Version != want ||
			got.TwinVersion != want+1 {
			t.Errorf("a twin with reported %q starts at %d, %d, %d", reported, got.TwinVersion, got.DesiredStamp.Version, got.ReportedStamp.Version)
		}
	}
}

func TestRefreshed(t *testing.T) {
	t.Parallel()
	disabled := true
	d, err := newDevice(dps.Twin{Tags: raw(`{}`)}).Written(dps.HubDeviceDraft{Disabled: &disabled, StatusReason: "lost"}, created)
	if err != nil {
		t.Fatal(err)
	}
	same := dps.HubIdentity{DeviceID: "dev", Authentication: d.Authentication}
	if got, changed := d.Refreshed(same, created.Add(time.Hour)); changed || got.ETag != d.ETag {
		t.Error("refreshed with what it has")
	}
	renewed := dps.HubIdentity{DeviceID: "dev", Authentication: dps.SelfSigned(dps.ThumbprintOf([]byte("new")))}
	got, changed := d.Refreshed(renewed, created.Add(time.Hour))
	if !changed || !got.Disabled || got.StatusReason != "lost" || got.ETag == d.ETag || got.GenerationID != d.GenerationID ||
		got.TwinVersion != d.TwinVersion {
		t.Errorf("refreshed = %+v", got)
	}
	lower := renewed
	lower.Authentication.PrimaryThumbprint = strings.ToLower(lower.Authentication.PrimaryThumbprint)
	if _, changed := got.Refreshed(lower, created); changed {
		t.Error("the case of a thumbprint counts")
	}
}

func TestStandardHubPolicies(t *testing.T) {
	t.Parallel()
	want := map[string]dps.HubRights{
		"iothubowner": dps.HubOwnerRights, "service": dps.ServiceConnect, "device": dps.HubDeviceConnect,
		"registryRead": dps.RegistryRead, "registryReadWrite": dps.RegistryRead | dps.RegistryWrite,
	}
	var keys []string
	for _, p := range dps.StandardHubPolicies(hubA) {
		if p.Instance != "default" || p.Hub != "a" || want[p.Name] != p.Rights {
			t.Errorf("policy %+v, want rights %d", p, want[p.Name])
		}
		delete(want, p.Name)
		keys = append(keys, p.Keys.Primary.Base64(), p.Keys.Secondary.Base64())
	}
	slices.Sort(keys)
	if len(want) > 0 || len(slices.Compact(keys)) != 10 {
		t.Errorf("missing %v, %d keys", want, len(keys))
	}
}
