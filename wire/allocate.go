package wire

import "encoding/json"

// AllocatePath is where the dry run of an allocation is asked for.
const AllocatePath = "/" + MooringPrefix + "/v1/allocate"

// AllocateRequest asks which hub a device would get, were it to register now. All but
// RegistrationID may be left out.
type AllocateRequest struct {
	RegistrationID string `json:"registrationId"`

	// At most one of them: the enrollment that the device would come through. Without it
	// that is the individual enrollment of the ID, else the group of its registration
	// record.
	EnrollmentID      string `json:"enrollmentId,omitempty"`
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`

	RemoteAddress string          `json:"remoteAddress,omitempty"` // where the device would call from, for geoLatency
	APIVersion    string          `json:"apiVersion,omitempty"`    // of the device API; by default the service API's latest
	Payload       json.RawMessage `json:"payload,omitempty"`       // that the device would send to the webhook
	CallWebhook   bool            `json:"callWebhook,omitempty"`   // under custom allocation: ask the webhook, once
}

// AllocateAnswer says what would become of a device.
type AllocateAnswer struct {
	RegistrationID    string `json:"registrationId"`
	EnrollmentID      string `json:"enrollmentId,omitempty"` // the enrollment that decides, or
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`

	// Outcome is assigned (it gets its first hub), stays, moves (to another hub),
	// undecided (the webhook decides, and was not asked), failed or disabled.
	Outcome          string   `json:"outcome"`
	AllocationPolicy string   `json:"allocationPolicy,omitempty"`
	Candidates       []string `json:"candidates"`

	IotHubHostName string `json:"iotHubHostName,omitempty"`
	DeviceID       string `json:"deviceId,omitempty"`
	Substatus      string `json:"substatus,omitempty"`

	// DeviceData is initialTwin (the twin is new), kept, migrated (it follows to the
	// new hub) or reset (left behind, the twin is new).
	DeviceData string `json:"deviceData,omitempty"`

	ErrorCode    int    `json:"errorCode,omitempty"`
	ErrorMessage string `json:"errorMessage,omitempty"`

	Current *AllocateCurrent `json:"current,omitempty"` // where the device is now; absent if nowhere

	// By the webhook, when it was asked.
	InitialTwin json.RawMessage `json:"initialTwin,omitempty"`
	Payload     json.RawMessage `json:"payload,omitempty"`

	Why []AllocateStep `json:"why"` // what was considered, in order
}

// AllocateCurrent is where a device is.
type AllocateCurrent struct {
	IotHubHostName string `json:"iotHubHostName,omitempty"` // absent if the hub is no longer linked
	DeviceID       string `json:"deviceId"`
	Substatus      string `json:"substatus"`
}

// AllocateStep is one thing that was considered.
type AllocateStep struct {
	Step string `json:"step"`
	Text string `json:"text"`
}
