package wire

// ResourceType is the ARM type of a provisioning service.
const ResourceType = "Microsoft.Devices/provisioningServices"

// CertificateResourceType is the ARM type of a CA certificate, in the spelling of
// the live service.
const CertificateResourceType = "Microsoft.Devices/provisioningServices/Certificates"

// ARMVersion is the api-version that our own clients send to the control plane.
const ARMVersion = "2022-02-05"

// CACertificate is a CA certificate of the control plane.
type CACertificate struct {
	Properties CACertificateProperties `json:"properties"`
	ID         string                  `json:"id"`
	Name       string                  `json:"name"`
	Type       string                  `json:"type"`
	ETag       string                  `json:"etag"`
}

// CACertificateProperties describes a CA certificate. Dates are RFC 1123.
type CACertificateProperties struct {
	Subject          string  `json:"subject"` // only the common name
	Expiry           string  `json:"expiry"`
	Thumbprint       string  `json:"thumbprint"` // SHA-1
	IsVerified       bool    `json:"isVerified"`
	Created          string  `json:"created"`
	Updated          string  `json:"updated"`
	VerificationCode string  `json:"verificationCode,omitempty"`
	Certificate      *string `json:"certificate"` // base64, only beside a verification code
}

// CACertificateList is the answer to a list of CA certificates.
type CACertificateList struct {
	Value []CACertificate `json:"value"`
}

// CACertificateUpload is the body of an upload. Before 2022-02-05 the members
// are at the top level, since then under properties.
type CACertificateUpload struct {
	CACertificateContent
	Properties *CACertificateContent `json:"properties,omitempty"`
}

// CACertificateContent is a certificate (base64 of DER or of PEM, or PEM) and
// whether it counts as verified at once.
type CACertificateContent struct {
	Certificate string `json:"certificate,omitempty"`
	IsVerified  *bool  `json:"isVerified,omitempty"`
}

// VerificationRequest is the body of a proof of possession.
type VerificationRequest struct {
	Certificate string `json:"certificate"`
}

// ARMError is the body of every refusal of the control plane.
type ARMError struct {
	Error ARMErrorDetail `json:"error"`
}

// ARMErrorDetail is a code and a sentence.
type ARMErrorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Info is what `mooring info --json` prints.
type Info struct {
	ServiceEndpoint   string            `json:"serviceEndpoint"`
	DeviceEndpoint    string            `json:"deviceEndpoint"`
	IDScope           string            `json:"idScope"`
	CAFile            string            `json:"caFile"`             // "" where the CA of the operator's certificate is unknown
	CAIssuer          string            `json:"caIssuer,omitempty"` // its name then
	PortalURL         string            `json:"portalUrl,omitempty"`
	PortalPassword    string            `json:"portalPassword,omitempty"` // until it is used
	Listeners         map[string]string `json:"listeners"`
	ConnectionStrings map[string]string `json:"connectionStrings"`
	ControlPlane      ControlPlane      `json:"controlPlane"`
	Hubs              []HubInfo         `json:"hubs"`
}

// ControlPlane says where the instance is in the control plane, and carries a
// token for it that lives for an hour.
type ControlPlane struct {
	ResourceID string `json:"resourceId"`
	Token      string `json:"token"`
}

// HubInfo says how to manage a hub inside this service.
type HubInfo struct {
	HostName          string            `json:"hostName"`
	ConnectionStrings map[string]string `json:"connectionStrings"`
}
