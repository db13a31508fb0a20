package wire

// Paths of what Azure's APIs cannot say of linked hubs.
const (
	LinkedHubsPath = "/" + MooringPrefix + "/v1/linkedHubs"
	CleanupsPath   = "/" + MooringPrefix + "/v1/cleanups"
)

// HubStatusList is the answer to GET LinkedHubsPath.
type HubStatusList struct {
	Value []HubStatus `json:"value"`
}

// HubStatus is a linked hub with its health.
type HubStatus struct {
	Name                  string    `json:"name"` // the host name
	Kind                  string    `json:"kind"`
	Location              string    `json:"location"`
	AllocationWeight      int       `json:"allocationWeight"`
	ApplyAllocationPolicy bool      `json:"applyAllocationPolicy"`
	Health                HubHealth `json:"health"`
	PendingCleanups       int       `json:"pendingCleanups"` // identities that are to be removed from it
}

// HubHealth is the health of a linked hub since the service started. Times are
// RFC 3339.
type HubHealth struct {
	State                string `json:"state"`                     // up, down, unknown: was not called yet
	Since                string `json:"since,omitempty"`           // when it entered the state
	LastError            string `json:"lastError,omitempty"`       // the hub's words, or why it cannot be reached; while it is down
	PausedUntil          string `json:"pausedUntil,omitempty"`     // until when it is throttling
	WritesPerMinute      int    `json:"writesPerMinute,omitempty"` // registry writes that it is sent at most; 0 is no limit
	Waiting              int    `json:"waiting"`                   // registrations in the queue
	EstimatedWaitSeconds int64  `json:"estimatedWaitSeconds"`      // until the queue is empty
}

// CleanupPage is the answer to GET CleanupsPath.
type CleanupPage struct {
	Value        []Cleanup `json:"value"`
	Continuation string    `json:"continuation,omitempty"` // of the next page; "" at the end
}

// Cleanup is an identity that is to be removed from a hub where its device is no longer.
// Times are RFC 3339.
type Cleanup struct {
	Hub            string `json:"hub"` // host name
	DeviceID       string `json:"deviceId"`
	RegistrationID string `json:"registrationId"`
	Since          string `json:"since"`
	Attempts       int    `json:"attempts"`
	LastError      string `json:"lastError,omitempty"` // of the last attempt
	NextAttempt    string `json:"nextAttempt,omitempty"`
}
