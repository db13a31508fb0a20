package dps_test

import (
	"fmt"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

func TestReasonCode(t *testing.T) {
	t.Parallel()
	unknown := map[dps.Reason]bool{
		dps.ReasonNoEvidence: true, dps.ReasonNoEnrollment: true, dps.ReasonOtherAttestation: true, dps.ReasonTokenMalformed: true,
		dps.ReasonTokenResource: true, dps.ReasonTokenExpired: true, dps.ReasonWrongKey: true,
	}
	for _, r := range dps.Reasons() {
		want := dps.Unauthorized
		if unknown[r] {
			want = dps.UnknownCredential
		}
		if got := r.Code(); got != want {
			t.Errorf("%s: %v, want %v", r, got, want)
		}
	}
}

func TestIsRefusal(t *testing.T) {
	t.Parallel()
	for _, code := range dps.Codes() {
		err := fmt.Errorf("registering: %w", dps.Errorf(code, "no"))
		if got, want := dps.IsRefusal(err), code == dps.Unauthorized || code == dps.UnknownCredential; got != want {
			t.Errorf("%v: %t, want %t", code, got, want)
		}
	}
	if dps.IsRefusal(nil) {
		t.Error("nil is a refusal")
	}
}
