package wire

import "encoding/json"

// EnrollmentRequest is an enrollment as clients write it.
type EnrollmentRequest struct {
	Enrollment
	PreviewMembers

	// What only the service sets may hold anything, and is ignored: many clients
	// send back what they were given.
	RegistrationState      json.RawMessage `json:"registrationState,omitempty"`
	CreatedDateTimeUTC     json.RawMessage `json:"createdDateTimeUtc,omitempty"`
	LastUpdatedDateTimeUTC json.RawMessage `json:"lastUpdatedDateTimeUtc,omitempty"`
}

// PreviewMembers belong to previews of certificate issuance, which is not offered.
// Source: azure-rest-api-specs, service.json of 2021-11-01-preview and later.
type PreviewMembers struct {
	CredentialPolicyName            json.RawMessage `json:"credentialPolicyName,omitempty"`
	TrustBundleID                   json.RawMessage `json:"trustBundleId,omitempty"`
	ClientCertificateIssuancePolicy json.RawMessage `json:"clientCertificateIssuancePolicy,omitempty"`
	ServerCertificateIssuancePolicy json.RawMessage `json:"serverCertificateIssuancePolicy,omitempty"`
	CertificatePolicyResourceID     json.RawMessage `json:"certificatePolicyResourceId,omitempty"`
}
