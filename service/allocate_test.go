package service_test

import (
	"net/http"
	"testing"

	"github.com/mooring-iot/mooring/wire"
)

func TestAllocate(t *testing.T) {
	f := newFake(t)
	f.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
		answer(w, wire.AllocateAnswer{RegistrationID: "sensor-7", Outcome: "moves", IotHubHostName: "hub.example"})
		return true
	}
	got, err := f.client().Allocate(t.Context(), wire.AllocateRequest{RegistrationID: "sensor-7", EnrollmentGroupID: "line-7"})
	if err != nil || got.Outcome != "moves" || got.IotHubHostName != "hub.example" {
		t.Errorf("Allocate = %+v, %v", got, err)
	}
	if r := f.last(); r.Method != http.MethodPost || r.Path != wire.AllocatePath ||
		r.Body != `{"registrationId":"sensor-7","enrollmentGroupId":"line-7"}` {
		t.Errorf("request = %+v", r)
	}
	f.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
		refuse(w, false, 400, 400004, "enrollmentGroupId: is required")
		return true
	}
	if _, err := f.client().Allocate(t.Context(), wire.AllocateRequest{RegistrationID: "ghost"}); !hasCode(err, 400004) {
		t.Errorf("refused: %v", err)
	}
}

// TestRealAllocate asks a running service.
func TestRealAllocate(t *testing.T) {
	client, ctx := newReal(t).owner(), t.Context()
	group := &wire.Enrollment{EnrollmentGroupID: "g", Attestation: &wire.Attestation{Type: "symmetricKey"}}
	if _, err := client.Groups().Put(ctx, group); err != nil {
		t.Fatal(err)
	}
	got, err := client.Allocate(ctx, wire.AllocateRequest{RegistrationID: "sensor-7", EnrollmentGroupID: "g"})
	if err != nil || got.Outcome != "assigned" || got.IotHubHostName != "localhost" || len(got.Why) == 0 {
		t.Errorf("Allocate = %+v, %v", got, err)
	}
}
