package portal_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/portal"
	"github.com/mooring-iot/mooring/wire"
)

// FuzzLocal holds that a browser is never sent to another site after it signed in.
func FuzzLocal(f *testing.F) {
	for _, seed := range []string{
		"/", "/audit?id=a", "//x", "///x", "////x", `/\x`, "https://x", "javascript:alert(1)", "/%2f/x", "/\t/x", "",
	} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "http", Host: "portal.example", Path: "/sign-in"}
	f.Fuzz(func(t *testing.T, to string) {
		got := portal.Local(to)
		u, err := base.Parse(got)
		if err != nil || u.Host != base.Host || u.Scheme != "http" || !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") ||
			strings.ContainsAny(got, "\\\r\n\t") {
			t.Errorf("local(%q) = %q, which leads to %v (%v)", to, got, u, err)
		}
	})
}

// TestLocal holds where a browser is led to: paths of the portal stay, everything that a
// browser may read as another host does not. Browsers take more than two slashes for two.
// Source: https://url.spec.whatwg.org/#special-authority-ignore-slashes-state.
func TestLocal(t *testing.T) {
	for to, want := range map[string]string{
		"/":                     "/",
		"/audit?id=a":           "/audit?id=a",
		"/devices/a//b":         "/devices/a//b",
		"":                      "/",
		"audit":                 "/",
		"//host":                "/",
		"///host":               "/",
		"////host/x":            "/",
		`/\host`:                "/",
		"/\t/host":              "/",
		"https:host":            "/",
		"https://host/":         "/",
		"https:///host":         "/",
		"//user@host":           "/",
		"javascript:alert(1)":   "/",
		"/sign-in?to=///host":   "/sign-in?to=///host",
		"http://portal.example": "/",
	} {
		if got := portal.Local(to); got != want {
			t.Errorf("local(%q) = %q, want %q", to, got, want)
		}
	}
}

// FuzzTwin holds that whatever is typed for a twin gets an answer.
func FuzzTwin(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"tags":{"a":1}}`, "{\n", `{"tags":`, "\xff", `[[[[`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := portal.CheckOfTwin(strings.TrimSpace(text)); (got.OK == "") == (got.Problem == "") {
			t.Errorf("%q: %+v", text, got)
		}
	})
}

func TestFieldOf(t *testing.T) {
	for message, want := range map[string][2]string{
		"deviceId: must be short":                             {"deviceId", "must be short"},
		"properties.iotHubs[0].connectionString: is no: good": {"properties.iotHubs[0].connectionString", "is no: good"},
		"There is one: already":                               {"", "There is one: already"},
		"":                                                    {"", ""},
		"If-Match: is required":                               {"If-Match", "is required"},
	} {
		if field, rule := portal.FieldOf(message); field != want[0] || rule != want[1] {
			t.Errorf("fieldOf(%q) = %q, %q, want %q", message, field, rule, want)
		}
	}
}

func TestChart(t *testing.T) {
	count := func(b wire.StatisticsBucket) int64 { return b.Assigned }
	c := portal.NewChart(
		"a",
		"A",
		"bar",
		&wire.Statistics{Value: []wire.StatisticsBucket{{Assigned: 0}, {Assigned: 1}, {Assigned: 1000}}},
		count,
	)
	if c.Total != 1001 || c.Most != 1000 || len(c.Bars) != 3 || c.Bars[0].H != "0.00" || c.Bars[1].H != "2.00" || c.Bars[2].H != "120.00" ||
		c.Bars[2].Y != "0.00" {
		t.Errorf("chart = %+v", c)
	}
	if c := portal.NewChart("a", "A", "bar", &wire.Statistics{}, count); len(c.Bars) != 0 {
		t.Errorf("chart of nothing = %+v", c)
	}
}

// TestJSONProblems holds that a place in JSON is told in characters, not bytes, and that the
// character there is the one that people see.
func TestJSONProblems(t *testing.T) {
	for text, want := range map[string]string{
		`{"ä": x}`: "Line 1, column 7: unexpected character 'x', expected a value.",
		"{\r\n  \"größe\": 1,\r\n  \"🚂\" 2}": "Line 3, column 7: unexpected character '2', expected a colon.",
		`{"a": 1 ü}`:         "Line 1, column 9: unexpected character 'ü', expected a comma or }.",
		`{"a": “b”}`:         "Line 1, column 7: unexpected character '“', expected a value.",
		`["日本" "x"]`:         "Line 1, column 7: unexpected double quote, expected a comma or ].",
		`{'a': 1}`:           "Line 1, column 2: unexpected single quote, expected a member name in double quotes.",
		`{"a": 1} é`:         "Line 1, column 10: unexpected character 'é' after the end of the JSON value.",
		`{"ä": [1, 2`:        "Line 1, column 12: the JSON ends too early.",
		"{\"ä\":\n\"b\tc\"}": "Line 2, column 3: unexpected tab in a string, it must be escaped.",
		`{"a": 1}`:           "",
	} {
		if got := portal.JSONProblem(text); got != want {
			t.Errorf("%s:\n%s, want\n%s", text, got, want)
		}
	}
}

// FuzzJSONProblem holds that the place is in the text, whatever that is.
func FuzzJSONProblem(f *testing.F) {
	for _, seed := range []string{`{"a": x}`, "{\n", "\xff", `{"ä": 'ü'}`, `["`, "\x00", `"\u12`, "1 2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := portal.JSONProblem(text)
		if (got == "") != json.Valid([]byte(text)) {
			t.Fatalf("%q: %q", text, got)
		}
		var line, column int
		if n, _ := fmt.Sscanf(got, "Line %d, column %d:", &line, &column); n == 2 {
			lines := strings.Split(text, "\n")
			if line < 1 || line > len(lines) || column < 1 || column > utf8.RuneCountInString(lines[line-1])+1 {
				t.Errorf("%q: %q", text, got)
			}
		}
	})
}
