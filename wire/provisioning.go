package wire

import "encoding/json"

// ProvisioningService is a provisioning service of the control plane.
// Source: azure-rest-api-specs, iotdps.json of 2022-02-05, definition
// ProvisioningServiceDescription.
type ProvisioningService struct {
	ID             string                        `json:"id"`
	Name           string                        `json:"name"`
	Type           string                        `json:"type"`
	Location       string                        `json:"location"`
	Tags           map[string]string             `json:"tags"`
	ETag           string                        `json:"etag"`
	SKU            SKU                           `json:"sku"`
	Properties     ProvisioningServiceProperties `json:"properties"`
	ResourceGroup  string                        `json:"resourcegroup"`
	SubscriptionID string                        `json:"subscriptionid"`
}

// SKU is a size of a provisioning service; there is one, S1.
type SKU struct {
	Name     string `json:"name"`
	Tier     string `json:"tier,omitempty"`
	Capacity *int   `json:"capacity,omitempty"`
}

// ProvisioningServiceProperties describes a provisioning service. Policies are not
// among them: listkeys shows those.
type ProvisioningServiceProperties struct {
	State                      string      `json:"state"`
	ProvisioningState          string      `json:"provisioningState"`
	IotHubs                    []LinkedHub `json:"iotHubs"`
	AllocationPolicy           string      `json:"allocationPolicy"` // Hashed, GeoLatency, Static
	ServiceOperationsHostName  string      `json:"serviceOperationsHostName"`
	DeviceProvisioningHostName string      `json:"deviceProvisioningHostName"`
	IDScope                    string      `json:"idScope"`
}

// LinkedHub is a hub that devices can be assigned to. What a client leaves out
// stays as it is.
type LinkedHub struct {
	ConnectionString      string `json:"connectionString,omitempty"` // read with **** in place of the key; written so, the key stays
	Location              string `json:"location,omitempty"`
	Name                  string `json:"name,omitempty"`     // the host name; set by the service
	HostName              string `json:"hostName,omitempty"` // the same, in newer api-versions
	Kind                  string `json:"kind,omitempty"`     // Mooring's own: iothub, or embedded for a hub inside the service
	AllocationWeight      *int   `json:"allocationWeight,omitempty"`
	ApplyAllocationPolicy *bool  `json:"applyAllocationPolicy,omitempty"`

	// AuthenticationType is always AuthenticationKeyBased: hubs are called with the key in
	// ConnectionString. Managed identities are not supported.
	AuthenticationType                     string          `json:"authenticationType,omitempty"`
	SelectedUserAssignedIdentityResourceID json.RawMessage `json:"selectedUserAssignedIdentityResourceId,omitempty"`
}

// AuthenticationKeyBased is how linked hubs are called.
// Source: azure-mgmt-iothubprovisioningservices 2.1.0, IotHubAuthenticationType.
const AuthenticationKeyBased = "KeyBased"

// The kinds of linked hubs.
const (
	HubKindIoTHub   = "iothub"
	HubKindEmbedded = "embedded"
)

// Headers of Mooring's own on a PUT of a provisioning service.
const (
	// HeaderSkipCheck with "true" links hubs without calling them first.
	HeaderSkipCheck = "Mooring-Skip-Check"

	// HeaderDeleteDevices names the embedded hubs, separated by commas, that the request
	// unlinks even where they hold devices.
	HeaderDeleteDevices = "Mooring-Delete-Devices"
)

// SharedAccessPolicy is a policy of the control plane, with its keys in base64.
type SharedAccessPolicy struct {
	KeyName      string `json:"keyName"`
	PrimaryKey   string `json:"primaryKey,omitempty"`
	SecondaryKey string `json:"secondaryKey,omitempty"`
	Rights       string `json:"rights"` // separated by comma and blank
}

// SharedAccessPolicyRequest is a policy as clients write it. A key that is absent stays as
// it is, null asks for a new one.
type SharedAccessPolicyRequest struct {
	KeyName      string         `json:"keyName"`
	PrimaryKey   NullableString `json:"primaryKey,omitzero"`
	SecondaryKey NullableString `json:"secondaryKey,omitzero"`
	Rights       string         `json:"rights"`
}

// List is the answer to a list of the control plane.
type List[T any] struct {
	Value []T `json:"value"`
}

// ProvisioningServiceRequest is a provisioning service as clients write it. What
// only the service sets is ignored: clients send back what they were given.
type ProvisioningServiceRequest struct {
	Location   string                     `json:"location,omitempty"`
	Tags       map[string]string          `json:"tags,omitempty"`
	ETag       string                     `json:"etag,omitempty"`
	SKU        *SKU                       `json:"sku,omitempty"`
	Identity   json.RawMessage            `json:"identity,omitempty"`
	Properties ProvisioningServiceChanges `json:"properties"`

	ID             json.RawMessage `json:"id,omitempty"`
	Name           json.RawMessage `json:"name,omitempty"`
	Type           json.RawMessage `json:"type,omitempty"`
	SystemData     json.RawMessage `json:"systemData,omitempty"`
	ResourceGroup  json.RawMessage `json:"resourcegroup,omitempty"`
	SubscriptionID json.RawMessage `json:"subscriptionid,omitempty"`
}

// ProvisioningServiceChanges are the properties as clients write them. What is left
// out stays as it is.
type ProvisioningServiceChanges struct {
	AllocationPolicy      string               `json:"allocationPolicy,omitempty"`
	AuthorizationPolicies []SharedAccessPolicy `json:"authorizationPolicies,omitempty"` // the complete list; see SharedAccessPolicyRequest
	IotHubs               []LinkedHub          `json:"iotHubs,omitzero"`                // the complete list; nil leaves it unchanged

	// Not supported: these may only say what holds anyway.
	PublicNetworkAccess        string            `json:"publicNetworkAccess,omitempty"`
	IPFilterRules              []json.RawMessage `json:"ipFilterRules,omitempty"`
	PrivateEndpointConnections []json.RawMessage `json:"privateEndpointConnections,omitempty"`
	EnableDataResidency        bool              `json:"enableDataResidency,omitempty"`
	DisableLocalAuth           bool              `json:"disableLocalAuth,omitempty"`
	DeviceRegistryNamespace    json.RawMessage   `json:"deviceRegistryNamespace,omitempty"`
	DeviceRegistryNamespaces   []json.RawMessage `json:"deviceRegistryNamespaces,omitempty"`

	// Set by the service only.
	State                      json.RawMessage `json:"state,omitempty"`
	ProvisioningState          json.RawMessage `json:"provisioningState,omitempty"`
	ServiceOperationsHostName  json.RawMessage `json:"serviceOperationsHostName,omitempty"`
	DeviceProvisioningHostName json.RawMessage `json:"deviceProvisioningHostName,omitempty"`
	PortalOperationsHostName   json.RawMessage `json:"portalOperationsHostName,omitempty"`
	IDScope                    json.RawMessage `json:"idScope,omitempty"`
}

// TagsRequest is the body of a PATCH: the complete set of tags.
type TagsRequest struct {
	Tags map[string]string `json:"tags"`
}

// NameRequest asks whether a name can be had.
type NameRequest struct {
	Name string `json:"name"`
}

// NameAvailability is the answer. Reason is Invalid or AlreadyExists.
type NameAvailability struct {
	NameAvailable bool   `json:"nameAvailable"`
	Reason        string `json:"reason"`
	Message       string `json:"message"`
}

// ARMOperation is an operation that the control plane offers.
type ARMOperation struct {
	Name    string              `json:"name"`
	Display ARMOperationDisplay `json:"display"`
}

// ARMOperationDisplay says for people what an operation is about.
type ARMOperationDisplay struct {
	Provider  string `json:"provider"`
	Resource  string `json:"resource"`
	Operation string `json:"operation"`
}
