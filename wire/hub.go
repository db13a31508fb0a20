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
	ParentScopes               []string          `json:"parentScopes,omitempty"`
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
	StatusReason              string          `json:"statusReason,omitempty"`
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
	ParentScopes              []string        `json:"parentScopes,omitempty"`
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

// HubDeviceRequest is a device identity as clients write it. They send back whole
// documents: members that only the hub writes are not looked at.
type HubDeviceRequest struct {
	DeviceID       string                    `json:"deviceId"`
	Status         string                    `json:"status"`
	StatusReason   string                    `json:"statusReason"`
	Authentication *HubAuthenticationRequest `json:"authentication"`
	Capabilities   *HubCapabilitiesRequest   `json:"capabilities"`
	DeviceScope    *string                   `json:"deviceScope"`
	ParentScopes   *[]string                 `json:"parentScopes"`
}

// HubAuthenticationRequest is how a device shall prove itself to its hub.
type HubAuthenticationRequest struct {
	SymmetricKey struct {
		PrimaryKey   string `json:"primaryKey"`
		SecondaryKey string `json:"secondaryKey"`
	} `json:"symmetricKey"`
	X509Thumbprint struct {
		PrimaryThumbprint   string `json:"primaryThumbprint"`
		SecondaryThumbprint string `json:"secondaryThumbprint"`
	} `json:"x509Thumbprint"`
	Type string `json:"type"`
}

// HubCapabilitiesRequest is what a device shall be able to do.
type HubCapabilitiesRequest struct {
	IotEdge *bool `json:"iotEdge"`
}

// HubTwinRequest is a twin as services write it.
type HubTwinRequest struct {
	DeviceID   string               `json:"deviceId"`
	Tags       json.RawMessage      `json:"tags"`
	Properties HubPropertiesRequest `json:"properties"`
}

// HubPropertiesRequest are the halves of a twin. Reported properties are taken in bulk
// operations only.
type HubPropertiesRequest struct {
	Desired  json.RawMessage `json:"desired"`
	Reported json.RawMessage `json:"reported"`
}

// Modes of a bulk operation on identities. Services compare them without regard to
// case: the Node SDK spells some of them with a capital.
// Source: azure-iot-hub-python, service.json, definition ExportImportDevice.
const (
	HubCreate                = "create"
	HubUpdate                = "update"
	HubUpdateIfMatchETag     = "updateIfMatchETag"
	HubDelete                = "delete"
	HubDeleteIfMatchETag     = "deleteIfMatchETag"
	HubUpdateTwin            = "updateTwin"
	HubUpdateTwinIfMatchETag = "updateTwinIfMatchETag"
)

// MaxHubBulkItems is how many identities one bulk operation takes.
const MaxHubBulkItems = 100

// HubBulkItem is one element of a bulk operation on identities.
type HubBulkItem struct {
	ID             string                    `json:"id"`
	ModuleID       string                    `json:"moduleId"`
	ETag           string                    `json:"eTag"`
	ImportMode     string                    `json:"importMode"`
	Status         string                    `json:"status"`
	StatusReason   string                    `json:"statusReason"`
	Authentication *HubAuthenticationRequest `json:"authentication"`
	Capabilities   *HubCapabilitiesRequest   `json:"capabilities"`
	DeviceScope    *string                   `json:"deviceScope"`
	ParentScopes   *[]string                 `json:"parentScopes"`
	TwinETag       string                    `json:"twinETag"`
	Tags           json.RawMessage           `json:"tags"`
	Properties     HubPropertiesRequest      `json:"properties"`
}

// HubBulkResult is the answer to a bulk operation: 200 when all succeeded, else 400.
type HubBulkResult struct {
	IsSuccessful bool             `json:"isSuccessful"`
	Errors       []HubBulkError   `json:"errors"`   // never null, like warnings
	Warnings     []HubBulkWarning `json:"warnings"` // an identity and its twin are written as one, so there are none
}

// HubBulkError says why one element was refused.
type HubBulkError struct {
	DeviceID    string `json:"deviceId"`
	ModuleID    string `json:"moduleId,omitempty"`
	ErrorCode   int    `json:"errorCode"`
	ErrorStatus string `json:"errorStatus"`
	Operation   string `json:"operation"`
}

// HubBulkWarning says what is missing of an element that was taken.
type HubBulkWarning struct {
	DeviceID      string `json:"deviceId"`
	WarningCode   string `json:"warningCode"`
	WarningStatus string `json:"warningStatus"`
}

// HubRegistryStatistics counts the identities of a hub.
type HubRegistryStatistics struct {
	TotalDeviceCount    int64 `json:"totalDeviceCount"`
	EnabledDeviceCount  int64 `json:"enabledDeviceCount"`
	DisabledDeviceCount int64 `json:"disabledDeviceCount"`
}

// HubServiceStatistics counts the devices that are connected to a hub.
type HubServiceStatistics struct {
	ConnectedDeviceCount int64 `json:"connectedDeviceCount"`
}

// HubProjection is a record of a query that selects some members only.
type HubProjection struct {
	DeviceID    string `json:"deviceId"`
	DeviceScope string `json:"deviceScope,omitempty"`
}

// Item types of a page of a query at a hub.
const (
	ItemTypeTwin = "Twin"
	ItemTypeRaw  = "Raw"
)
