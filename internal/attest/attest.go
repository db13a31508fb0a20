// Package attest decides whether a device's evidence satisfies the attestation of an
// enrollment. It is pure: its input is evidence, stored records and a time; its output
// is the deciding enrollment and the list of checks.
package attest

import (
	"fmt"

	"github.com/mooring-iot/mooring/internal/dps"
)

// The messages that a refused device receives with code 401002; answerUnauthorized with 401000
// too, see dps.Reason.Code.
// Source: azure-docs issue 119463, azure-iot-sdk-java issue 573, azure-iot-sdk-csharp issue 1010.
const (
	answerUnauthorized = "Unauthorized"
	answerCertificate  = "Invalid certificate"
	answerNoCA         = "CA certificate not found."
	answerMismatch     = "Signing certificate info did not match chain elements."
)

// Enabled adds the last check to d: whether the deciding enrollment may be used.
func Enabled(d *dps.Decision, e dps.Enrollment) bool {
	const name = "enrollment enabled"
	if !e.Disabled() {
		d.Pass(name, e.Ref.String())
		return true
	}
	command := "enrollment"
	if e.Ref.Kind == dps.Group {
		command = "enrollment-group"
	}
	d.Refuse(name, e.Ref.String()+" is disabled", dps.Verdict{
		Reason: dps.ReasonDisabled,
		Answer: answerUnauthorized,
		Remedy: fmt.Sprintf("Enable the enrollment: mooring %s update %s --provisioning-status enabled", command, e.Ref.ID),
	})
	return false
}

// NoEvidence refuses a device that presented neither a certificate nor a token.
func NoEvidence(d *dps.Decision) {
	d.Refuse("evidence", "no client certificate and no token", dps.Verdict{
		Reason: dps.ReasonNoEvidence,
		Answer: answerUnauthorized,
		Remedy: "Configure the device to present its certificate in the TLS handshake, or to send a token signed with its symmetric key.",
	})
}

// SameProof checks that a poll shows what the registration was made with; both
// sides are fingerprints of evidence.
func SameProof(shown, registered string) *dps.Decision {
	const name = "same evidence as at registration"
	d := &dps.Decision{}
	if shown != "" && shown == registered {
		d.Pass(name, shown)
		return d
	}
	if shown == "" {
		shown = "nothing shown"
	}
	d.Refuse(name, shown, dps.Verdict{
		Reason: dps.ReasonOperationOwner, Answer: answerUnauthorized,
		Remedy: "Poll with the certificate that the device registered with, or register again.",
	})
	return d
}

// OtherKindOfProof refuses a poll that shows another kind of proof than the registration
// was made with.
func OtherKindOfProof(d *dps.Decision, shown, registered dps.AttestationType) {
	names := map[dps.AttestationType]string{dps.X509: "a client certificate", dps.SymmetricKey: "a token"}
	detail := fmt.Sprintf("the device showed %s, and registered with %s", names[shown], names[registered])
	d.Refuse("same evidence as at registration", detail, dps.Verdict{
		Reason: dps.ReasonOperationOwner, Answer: answerUnauthorized,
		Remedy: "Poll with what the device registered with, or register again.",
	})
}

// Gone refuses a device whose enrollment was deleted while it was being attested.
func Gone(d *dps.Decision, ref dps.EntryRef) {
	d.Entry = ref
	d.Refuse("enrollment", ref.String()+" was deleted", dps.Verdict{
		Reason: dps.ReasonNoEnrollment, Answer: answerUnauthorized, Remedy: "Create the enrollment again, and register the device again.",
	})
}
