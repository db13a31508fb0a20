package dps_test

import (
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

func TestCheckAPIVersion(t *testing.T) {
	t.Parallel()
	for _, version := range []string{
		"2017-08-31-preview", "2021-10-01", "2026-11-01", "2026-11-02-preview", "2026-11-15-preview", "2026-11-15-PREVIEW",
		"1999-12-31", "2099-02-28", "2028-02-29", "2000-01-01-preview",
	} {
		if err := dps.CheckAPIVersion("api-version", version); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
	for _, version := range []string{
		"", "latest", "1", "2021", "2021-10", "2021-10-1", "2021-1-01", "21-10-01", "2021-13-01", "2021-02-30", "2027-02-29", "2021-10-01 ",
		" 2021-10-01", "2021-10-01-", "2021-10-01-preview2", "2021-10-01-preview-preview", "2021-10-01preview", "-preview", "2021-10-01-beta",
		"2021/10/01", "2021-10-01T00:00:00Z", "20211-10-01", "２０２１-10-01", strings.Repeat("2", 4096),
	} {
		err := dps.CheckAPIVersion("api-version", version)
		if dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(dps.MessageOf(err), "api-version: ") || len(dps.MessageOf(err)) > 120 {
			t.Errorf("%q: %v, want Invalid that names the parameter", version, err)
		}
	}
}

func TestAPIVersionReaches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		version, first string
		want           bool
	}{
		{"2026-11-01", "2026-11-02-preview", false},
		{"2026-11-02-preview", "2026-11-02-preview", true},
		{"2026-11-02", "2026-11-02-preview", true},
		{"2026-11-02-preview", "2026-11-02", true},
		{"2026-11-15-preview", "2026-11-02-preview", true},
		{"2030-01-01", "2026-11-02-preview", true},
		{"2018-04-01-preview", "2018-09-01-preview", false},
		{"2018-08-31", "2018-09-01-preview", false},
		{"1999-12-31", "2018-09-01-preview", false},
		{"", "2018-09-01-preview", false},
	} {
		if got := dps.APIVersionReaches(tt.version, tt.first); got != tt.want {
			t.Errorf("%s reaches %s: %t", tt.version, tt.first, got)
		}
	}
}
