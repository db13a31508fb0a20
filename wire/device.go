package wire

import "encoding/json"

// DeviceRegistration is what a device sends with register and look-up; every
// member may be absent.
type DeviceRegistration struct {
	RegistrationID string          `json:"registrationId,omitempty"`
	TPM            *TPM            `json:"tpm,omitempty"`
	Payload        json.RawMessage `json:"payload,omitempty"`
	CSR            string          `json:"csr,omitempty"`
}

// RegistrationOperation is the answer to register and poll. RegistrationState is
// absent in the answer to register.
type RegistrationOperation struct {
	OperationID       string             `json:"operationId"`
	Status            string             `json:"status"`
	RegistrationState *RegistrationState `json:"registrationState,omitempty"`
}
