package wire

import "encoding/json"

// HubAPIVersion is the api-version that our own clients send to a hub.
const HubAPIVersion = "2021-04-12"

// HubNever is how a hub writes a time that never was.
const HubNever = "0001-01-01T00:00:00"

// HubDevice is a device identity of a hub's registry.
// Source: azure-iot-hub-python, service.json, definition Device.
type HubDevice struct {
	DeviceID                   string            `json:"deviceId"`
	GenerationID               string            `json:"generationId"`
	ETag                       string            `json:"etag"`
	ConnectionState            string            `json:"connectionState"`
	Status                     string            `json:"status"`
	StatusReason               *string           `json:"statusReason"`
	ConnectionStateUpdatedTime string            `json:"connectionStateUpdatedTime"`
	StatusUpdatedTime          string            `json:"statusUpdatedTime"`
	LastActivityTime           string            `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int               `json:"cloudToDeviceMessageCount"`
	Authentication             HubAuthentication `json:"authentication"`
	Capabilities               Capabilities      `json:"capabilities"`
	DeviceScope                string            `json:"deviceScope,omitempty"`
}

// HubAuthentication is how a device proves itself to its hub.
type HubAuthentication struct {
	SymmetricKey   HubSymmetricKey `json:"symmetricKey"`
	X509Thumbprint HubThumbprint   `json:"x509Thumbprint"`
	Type           string          `json:"type"`
}

// HubSymmetricKey holds base64 keys, null when the type is another.
type HubSymmetricKey struct {
	PrimaryKey   *string `json:"primaryKey"`
	SecondaryKey *string `json:"secondaryKey"`
}

// HubThumbprint holds certificate thumbprints, null when the type is another.
type HubThumbprint struct {
	PrimaryThumbprint   *string `json:"primaryThumbprint"`
	SecondaryThumbprint *string `json:"secondaryThumbprint"`
}

// HubTwin is the document of a device as services see it.
// Source: azure-iot-hub-python, service.json, definition Twin.
type HubTwin struct {
	DeviceID                  string          `json:"deviceId"`
	ETag                      string          `json:"etag"`
	DeviceETag                string          `json:"deviceEtag"`
	Status                    string          `json:"status"`
	StatusUpdateTime          string          `json:"statusUpdateTime"`
	ConnectionState           string          `json:"connectionState"`
	LastActivityTime          string          `json:"lastActivityTime"`
	CloudToDeviceMessageCount int             `json:"cloudToDeviceMessageCount"`
	AuthenticationType        string          `json:"authenticationType"`
	X509Thumbprint            HubThumbprint   `json:"x509Thumbprint"`
	ModelID                   string          `json:"modelId"`
	Version                   int64           `json:"version"`
	Tags                      json.RawMessage `json:"tags,omitempty"`
	Properties                HubProperties   `json:"properties"`
	Capabilities              Capabilities    `json:"capabilities"`
	DeviceScope               string          `json:"deviceScope,omitempty"`
}

// HubProperties are the two halves of a twin, each with $metadata and $version.
type HubProperties struct {
	Desired  json.RawMessage `json:"desired"`
	Reported json.RawMessage `json:"reported"`
}

// HubError is the body of a hub's refusal: Message is "ErrorCode:Name;text".
type HubError struct {
	Message          string `json:"Message"`
	ExceptionMessage string `json:"ExceptionMessage"`
}
