package portal_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/portal"
	"github.com/mooring-iot/mooring/wire"
)

// FuzzLocal holds that a browser is never sent to another site after it signed in.
func FuzzLocal(f *testing.F) {
	for _, seed := range []string{"/", "/audit?id=a", "//x", `/\x`, "https://x", "javascript:alert(1)", "/%2f/x", "/\t/x", ""} {
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
