package wire

import (
	"bytes"
	"encoding/json"
)

// Enrollment is an individual enrollment (registrationId) or an enrollment group
// (enrollmentGroupId) of the service API. Exactly one of the two IDs is set.
type Enrollment struct {
	RegistrationID             string             `json:"registrationId,omitempty"`
	EnrollmentGroupID          string             `json:"enrollmentGroupId,omitempty"`
	DeviceID                   string             `json:"deviceId,omitempty"`
	RegistrationState          *RegistrationState `json:"registrationState,omitempty"`
	OptionalDeviceInformation  json.RawMessage    `json:"optionalDeviceInformation,omitempty"`
	Attestation                *Attestation       `json:"attestation,omitempty"`
	Capabilities               *Capabilities      `json:"capabilities,omitempty"`
	IotHubHostName             string             `json:"iotHubHostName,omitempty"`
	InitialTwin                json.RawMessage    `json:"initialTwin,omitempty"`
	ETag                       string             `json:"etag,omitempty"`
	ProvisioningStatus         NullableString     `json:"provisioningStatus,omitzero"`
	ReprovisionPolicy          *ReprovisionPolicy `json:"reprovisionPolicy,omitempty"`
	CreatedDateTimeUTC         string             `json:"createdDateTimeUtc,omitempty"`
	LastUpdatedDateTimeUTC     string             `json:"lastUpdatedDateTimeUtc,omitempty"`
	AllocationPolicy           string             `json:"allocationPolicy,omitempty"`
	IotHubs                    []string           `json:"iotHubs,omitempty"`
	CustomAllocationDefinition *CustomAllocation  `json:"customAllocationDefinition,omitempty"`
}

// NullableString is a string member that tells absent, null and a value apart.
type NullableString struct {
	Present bool   // the member is there, maybe as null
	Null    bool   // it is null
	Value   string // else its value
}

// StringValue returns a member that is present with the value s.
func StringValue(s string) NullableString { return NullableString{Present: true, Value: s} }

// MarshalJSON writes the value or null; an absent member is left out by omitzero.
func (n NullableString) MarshalJSON() ([]byte, error) {
	if n.Null {
		return []byte("null"), nil
	}
	return json.Marshal(n.Value)
}

// UnmarshalJSON is called only for members that are present.
func (n *NullableString) UnmarshalJSON(b []byte) error {
	*n = NullableString{Present: true}
	if bytes.Equal(b, []byte("null")) {
		n.Null = true
		return nil
	}
	return json.Unmarshal(b, &n.Value)
}

// Attestation is the attestation mechanism of an enrollment.
type Attestation struct {
	Type         string        `json:"type"`
	TPM          *TPM          `json:"tpm,omitempty"`
	X509         *X509         `json:"x509,omitempty"`
	SymmetricKey *SymmetricKey `json:"symmetricKey,omitempty"`
}

// TPM holds base64 of TPM2B_PUBLIC structures.
type TPM struct {
	EndorsementKey string `json:"endorsementKey,omitempty"`
	StorageRootKey string `json:"storageRootKey,omitempty"`
}

// X509 has exactly one member in an answer.
type X509 struct {
	ClientCertificates  *Certificates `json:"clientCertificates,omitempty"`
	SigningCertificates *Certificates `json:"signingCertificates,omitempty"`
	CAReferences        *CAReferences `json:"caReferences,omitempty"`
}

// Certificates are two certificates of equal power.
type Certificates struct {
	Primary   *Certificate `json:"primary,omitempty"`
	Secondary *Certificate `json:"secondary,omitempty"`
}

// Certificate carries the certificate in requests (PEM, base64 of DER or base64
// of PEM) and only its description in answers.
type Certificate struct {
	Certificate string           `json:"certificate,omitempty"`
	Info        *CertificateInfo `json:"info,omitempty"`
}

// CertificateInfo describes a certificate. Every member is always present.
type CertificateInfo struct {
	SubjectName      string `json:"subjectName"`
	SHA1Thumbprint   string `json:"sha1Thumbprint"`
	SHA256Thumbprint string `json:"sha256Thumbprint"`
	IssuerName       string `json:"issuerName"`
	NotBeforeUTC     string `json:"notBeforeUtc"`
	NotAfterUTC      string `json:"notAfterUtc"`
	SerialNumber     string `json:"serialNumber"`
	Version          int    `json:"version"`
}

// CAReferences are names of CA certificates of the control plane.
type CAReferences struct {
	Primary   string `json:"primary,omitempty"`
	Secondary string `json:"secondary,omitempty"`
}

// SymmetricKey holds base64 keys of 16 to 64 bytes.
type SymmetricKey struct {
	PrimaryKey   string `json:"primaryKey,omitempty"`
	SecondaryKey string `json:"secondaryKey,omitempty"`
}

// Capabilities of a device at its hub.
type Capabilities struct {
	IotEdge bool `json:"iotEdge"`
}

// ReprovisionPolicy says what a later registration may change. A member that is
// absent in a request counts as true; answers have both.
type ReprovisionPolicy struct {
	UpdateHubAssignment *bool `json:"updateHubAssignment,omitempty"`
	MigrateDeviceData   *bool `json:"migrateDeviceData,omitempty"`
}

// CustomAllocation names the webhook of the custom allocation policy.
type CustomAllocation struct {
	WebhookURL string `json:"webhookUrl"`
	APIVersion string `json:"apiVersion"`
}

// RegistrationState is the state of a device's registration, on both APIs.
type RegistrationState struct {
	X509                   *EntryReference `json:"x509,omitempty"`
	SymmetricKey           *EntryReference `json:"symmetricKey,omitempty"`
	RegistrationID         string          `json:"registrationId,omitempty"`
	CreatedDateTimeUTC     string          `json:"createdDateTimeUtc,omitempty"`
	AssignedHub            string          `json:"assignedHub,omitempty"`
	DeviceID               string          `json:"deviceId,omitempty"`
	Status                 string          `json:"status"`
	Substatus              string          `json:"substatus,omitempty"`
	ErrorCode              int             `json:"errorCode,omitempty"`
	ErrorMessage           string          `json:"errorMessage,omitempty"`
	LastUpdatedDateTimeUTC string          `json:"lastUpdatedDateTimeUtc,omitempty"`
	ETag                   string          `json:"etag,omitempty"`
	Payload                json.RawMessage `json:"payload,omitempty"` // an object that the webhook of a custom allocation has for the device

	// ConnectionProfile is how the device connects to its hub; from 2026-11-02-preview on.
	// Absent means ConnectionProfileClassic.
	ConnectionProfile string `json:"connectionProfile,omitempty"`
}

// ConnectionProfileClassic is the connection profile of devices that use MQTT 3.1.1, AMQP
// or HTTPS.
// Source: azure-rest-api-specs pull request 45041.
const ConnectionProfileClassic = "classic"

// EntryReference says which enrollment group a device came through; it is empty
// for an individual enrollment.
type EntryReference struct {
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`
}
