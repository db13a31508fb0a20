package access_test

import (
	"net/http"
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
	service := func(r *http.Request) error { return w.Service(r, "default", dps.EnrollmentWrite) }
	control := func(r *http.Request) error { return w.Control(r, "default") }
	manage := func(r *http.Request) error { return w.Manage(r, "default") }
	tests := []struct {
		authorization string
		pass          func(r *http.Request) error
		want          audit.Principal
	}{
		{w.token("owner"), service, "policy:owner"},
		{w.token("reader"), service, ""},
		{"", service, ""},
		{"Bearer " + token, control, "token:operator"},
		{"Bearer x", control, ""},
		{"Bearer " + token, service, "token:operator"},
		{"Bearer x", service, ""},
		{w.token("owner"), manage, "policy:owner"},
		{w.token("writer"), manage, ""},
		{"Bearer " + token, manage, "token:operator"},
	}
	for _, tt := range tests {
		r := request("/enrollments/a", tt.authorization)
		ctx, c := audit.Begin(r.Context(), audit.Entry{})
		r = r.WithContext(ctx)
		err := tt.pass(r)
		if got := c.Written(1, "", "").Principal; got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("principal = %q, %v; want %q", got, err, tt.want)
		}
	}
}
