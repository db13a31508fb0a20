package register_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// The poll right after a registration costs no look-up; later ones, and polls of
// earlier operations, find the store.
func TestRecentOutcomesAreRemembered(t *testing.T) {
	r := register.NewRecent()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	reg := dps.Registration{Instance: in, ID: "Sensor", Operation: "op-2", Status: dps.Assigned}
	r.Keep(reg, at)
	for _, tt := range []struct {
		name string
		id   dps.RegistrationID
		op   dps.OperationID
		at   time.Time
		want bool
	}{
		{"at once, other spelling", "sensor", "op-2", at, true},
		{"earlier operation", "sensor", "op-1", at, false},
		{"another device", "sensor-2", "op-2", at, false},
		{"a little later", "sensor", "op-2", at.Add(9 * time.Second), true},
		{"much later", "sensor", "op-2", at.Add(time.Minute), false},
	} {
		if got, ok := r.Operation(in, tt.id, tt.op, tt.at); ok != tt.want || (ok && got.Status != dps.Assigned) {
			t.Errorf("%s: found %v, want %v", tt.name, ok, tt.want)
		}
	}
}

func TestForgottenDevicesAreNotRemembered(t *testing.T) {
	r := register.NewRecent()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.Keep(dps.Registration{Instance: in, ID: "sensor", Operation: "op"}, at)
	r.Forget(in, "SENSOR")
	if _, ok := r.Operation(in, "sensor", "op", at); ok {
		t.Error("a forgotten device is remembered")
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := register.NewRecent()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 100_000 {
		r.Keep(dps.Registration{Instance: in, ID: dps.RegistrationID(fmt.Sprint("d", i)), Operation: "op"}, at)
	}
	if n := r.Len(); n > 2*register.RecentMax {
		t.Errorf("%d outcomes are remembered, want at most %d", n, 2*register.RecentMax)
	}
}

// What a webhook has for a device may be large, and there are many devices: such an
// outcome is found in the store, and no earlier one in its place.
func TestLargePayloadsAreNotRemembered(t *testing.T) {
	r := register.NewRecent()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	reg := dps.Registration{Instance: in, ID: "sensor", Operation: "op", Payload: json.RawMessage(`{"a":1}`)}
	r.Keep(reg, at)
	if _, ok := r.Operation(in, "sensor", "op", at); !ok {
		t.Error("a small one is not remembered")
	}
	reg.Payload = json.RawMessage(`{"a":"` + strings.Repeat("x", 64<<10) + `"}`)
	r.Keep(reg, at)
	if _, ok := r.Operation(in, "sensor", "op", at); ok || r.Len() != 0 {
		t.Errorf("a large one is remembered: %d outcomes", r.Len())
	}
}

// A device whose record an operator deleted is told so at its next poll.
func TestPollAfterForget(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	req := w.request("sensor", w.leaf(t, "sensor"))
	ticket, err := w.Register(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Forget(t.Context(), in, "sensor", dps.Condition{}); err != nil {
		t.Fatal(err)
	}
	_, err = w.Poll(t.Context(), req, ticket.Operation)
	fails(t, "poll", err, dps.OperationNotFound)
}
