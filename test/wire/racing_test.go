package wire_test

import (
	"net/http"
	"testing"
)

// TestRacingRegistrations registers one device many times at once: where DPS answers some of
// them with 409 (409203), each is made again until it was the only one.
func TestRacingRegistrations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(
		t,
		http.MethodPut,
		"/enrollments/x",
		`{"registrationId": "x", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "`+deviceKey+`"}}}`,
	)
	o := operation{name: "register", id: "x", scope: w.info.IDScope, version: "2019-03-31", body: `{"registrationId": "x"}`}
	o.sign(t, "Key", deviceKey)
	const devices = 32
	got := race(devices, func(int) int { return https{}.do(t, w, o).status })
	if len(got[http.StatusAccepted]) != devices {
		t.Errorf("answers by status: %v", got)
	}
	state, _ := w.must(t, http.MethodGet, "/registrations/x", "")["status"].(string)
	if state != "assigned" {
		t.Errorf("the record says %q", state)
	}
}
