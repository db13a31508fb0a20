package httpio_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/httpio"
)

func TestWarn(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 600)
	tests := map[string]struct{ in, want []string }{
		"none":  {},
		"two":   {in: []string{"a, b", "c"}, want: []string{"a, b", "c"}},
		"text":  {in: []string{"gr\u00f6\u00dfe\r\nX: \U0001f600"}, want: []string{`gr\u00f6\u00dfe\u000d\u000aX: \U0001f600`}},
		"long":  {in: []string{long}, want: []string{long[:497] + "..."}},
		"seven": {in: slices.Repeat([]string{"w"}, 7), want: slices.Repeat([]string{"w"}, 7)},
		"many": {in: slices.Repeat([]string{"w"}, 20), want: append(slices.Repeat([]string{"w"}, 7),
			"there are more warnings, which are not shown")},
	}
	for name, tt := range tests {
		w := httptest.NewRecorder()
		httpio.Warn(w, tt.in...)
		if got := w.Header().Values("Mooring-Warning"); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
