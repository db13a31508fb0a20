package dps

// Code returns the code with which a device hears of a reason: UnknownCredential where its
// token is not good, or where nothing is enrolled that its certificate or token could belong
// to; Unauthorized where something was found about its certificate, and where the device is
// known and refused all the same.
//
// A device with several credentials tries the next one only after UnknownCredential.
// Source: azure-iot-sdk, c/docs/connecting.md; DPS has answered refused tokens so
// (azure-docs issue 43157, dps-keygen issue 7), and with the other code (azure-iot-sdk-c
// issue 1748).
func (r Reason) Code() Code {
	switch r {
	case ReasonNoEvidence, ReasonNoEnrollment, ReasonOtherAttestation,
		ReasonTokenMalformed, ReasonTokenResource, ReasonTokenExpired, ReasonWrongKey:
		return UnknownCredential
	default:
		return Unauthorized
	}
}

// IsRefusal reports whether err says that the caller did not prove who it is, or may not do
// what it asks for.
func IsRefusal(err error) bool {
	code := CodeOf(err)
	return code == Unauthorized || code == UnknownCredential
}
