package access_test

import (
	"testing"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

// TestWhoseChange checks that a change belongs to whoever the guard let pass, and to
// nobody else.
func TestWhoseChange(t *testing.T) {
	t.Parallel()
	w := newWorld()
	token, err := access.NewToken(w.store.instances["default"], now)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		authorization string
		control       bool
		want          audit.Principal
	}{
		{w.token("owner"), false, "policy:owner"},
		{w.token("reader"), false, ""},
		{"", false, ""},
		{"Bearer " + token, true, "token:operator"},
		{"Bearer x", true, ""},
		{"Bearer " + token, false, "token:operator"},
		{"Bearer x", false, ""},
	}
	for _, tt := range tests {
		r := request("/enrollments/a", tt.authorization)
		ctx, c := audit.Begin(r.Context(), audit.Entry{})
		r = r.WithContext(ctx)
		if tt.control {
			err = w.Control(r, "default")
		} else {
			err = w.Service(r, "default", dps.EnrollmentWrite)
		}
		if got := c.Written(1, "", "").Principal; got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("principal = %q, %v; want %q", got, err, tt.want)
		}
	}
}
