package wire

import "encoding/json"

// AllocationRequest is what the webhook of a custom allocation is sent. Exactly one of
// the two enrollments is there, without secrets.
// Source: azure-docs, articles/iot-dps/concepts-custom-allocation.md and
// tutorial-custom-allocation-policies.md (logged requests).
type AllocationRequest struct {
	IndividualEnrollment *Enrollment          `json:"individualEnrollment,omitempty"`
	EnrollmentGroup      *Enrollment          `json:"enrollmentGroup,omitempty"`
	DeviceRuntimeContext DeviceRuntimeContext `json:"deviceRuntimeContext"`
	LinkedHubs           []string             `json:"linkedHubs"` // the hubs that it may choose
}

// DeviceRuntimeContext is the device that asks. Exactly one of X509, SymmetricKey and
// TPM is there.
type DeviceRuntimeContext struct {
	RegistrationID    string          `json:"registrationId"`
	CurrentIotHubHost string          `json:"currentIotHubHostName,omitempty"` // where it is assigned, if anywhere
	CurrentDeviceID   string          `json:"currentDeviceId,omitempty"`
	X509              *X509           `json:"x509,omitempty"`
	SymmetricKey      *SymmetricKey   `json:"symmetricKey,omitempty"` // always empty
	TPM               *TPM            `json:"tpm,omitempty"`
	Payload           json.RawMessage `json:"payload,omitempty"` // that the device sent
}

// AllocationResponse is what the webhook answers. Readers take its members in any case.
type AllocationResponse struct {
	IotHubHostName string          `json:"iotHubHostName"`        // one of the request's LinkedHubs
	InitialTwin    json.RawMessage `json:"initialTwin,omitempty"` // in place of the enrollment's
	Payload        json.RawMessage `json:"payload,omitempty"`     // an object, for the device
}
