package dps

import (
	"log/slog"
	"strings"
)

// Reason is why a device was refused. The set is closed; each has a description and a
// remedy.
type Reason string

// The reasons.
const (
	ReasonNone                 Reason = ""
	ReasonNoEvidence           Reason = "no-evidence"
	ReasonChainTooLong         Reason = "chain-too-long"
	ReasonNameMismatch         Reason = "name-mismatch"
	ReasonNoEnrollment         Reason = "no-enrollment"
	ReasonOtherAttestation     Reason = "other-attestation"
	ReasonOtherCertificate     Reason = "other-certificate"
	ReasonCertificateTaken     Reason = "certificate-of-another-enrollment"
	ReasonSignerAsDevice       Reason = "ca-presented-as-device"
	ReasonLeafNotYetValid      Reason = "leaf-not-yet-valid"
	ReasonLeafExpired          Reason = "leaf-expired"
	ReasonSignerNotYetValid    Reason = "signer-not-yet-valid"
	ReasonSignerExpired        Reason = "signer-expired"
	ReasonIssuerMissing        Reason = "issuer-missing"
	ReasonSignature            Reason = "signature-mismatch"
	ReasonWeakSignature        Reason = "weak-signature"
	ReasonUnsupportedSignature Reason = "unsupported-signature"
	ReasonTooManySigners       Reason = "too-many-signers"
	ReasonNotCA                Reason = "signer-not-ca"
	ReasonChainRule            Reason = "chain-rule"
	ReasonCANotVerified        Reason = "ca-not-verified"
	ReasonOtherCA              Reason = "other-ca"
	ReasonTokenMalformed       Reason = "token-malformed"
	ReasonTokenResource        Reason = "token-for-another-device"
	ReasonTokenExpired         Reason = "token-expired"
	ReasonGroupSearch          Reason = "group-search-unfinished"
	ReasonWrongKey             Reason = "wrong-key"
	ReasonDisabled             Reason = "disabled"
	ReasonOperationOwner       Reason = "operation-of-another-proof"
	ReasonIdentityHeld         Reason = "identity-of-another-enrollment"
	ReasonIdentityMoved        Reason = "identity-moved"
)

// Check is one step of a decision.
type Check struct {
	Name   string // what was asked: "chain length"
	OK     bool
	Detail string // what was found, no secrets
}

// Decision is the ordered list of checks of a device. The first one that fails ends it.
type Decision struct {
	Checks []Check
	Entry  EntryRef // the enrollment that was found; zero if none
	Reason Reason   // why the device was refused, or ReasonNone
	Answer string   // the message that the device receives, when refused
	Remedy string   // what an operator can do, when refused
}

// Pass records a check that passed.
func (d *Decision) Pass(name, detail string) {
	d.Checks = append(d.Checks, Check{Name: name, OK: true, Detail: detail})
}

// Refuse records the check that failed and ends the decision.
func (d *Decision) Refuse(name, detail string, v Verdict) {
	d.Checks = append(d.Checks, Check{Name: name, Detail: detail})
	d.Reason, d.Answer, d.Remedy = v.Reason, v.Answer, v.Remedy
}

// Verdict is the consequence of a failed check.
type Verdict struct {
	Reason Reason
	Answer string // one of the texts that DPS sends with 401000 and 401002
	Remedy string
}

// Refused reports whether the device was refused.
func (d *Decision) Refused() bool { return d.Reason != ReasonNone }

// LogValue lists the checks in order: "chain length: ok (2 certificates)".
func (d *Decision) LogValue() slog.Value {
	lines := make([]string, len(d.Checks))
	for i, c := range d.Checks {
		lines[i] = c.String()
	}
	return slog.GroupValue(
		slog.String("reason", string(d.Reason)),
		slog.String("checks", strings.Join(lines, "; ")),
		slog.String("remedy", d.Remedy),
	)
}

// String returns one check as text: "chain length: ok (2 certificates)".
func (c Check) String() string {
	outcome := "ok"
	if !c.OK {
		outcome = "FAILED"
	}
	return c.Name + ": " + outcome + " (" + c.Detail + ")"
}
