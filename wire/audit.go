package wire

// Paths of what only Mooring has.
const (
	MooringPrefix = "mooring" // the first segment of each
	AuditPath     = "/" + MooringPrefix + "/v1/audit"

	// ResetPortalPath takes a POST without a body.
	ResetPortalPath = "/" + MooringPrefix + "/v1/portal/reset-password"
)

// MaxAuditPage is how many entries a page of the audit has at most.
const MaxAuditPage = 1000

// AuditPage is a page of the audit, newest first.
type AuditPage struct {
	Value        []AuditEntry `json:"value"`
	Continuation string       `json:"continuation,omitempty"` // asks for the next page; absent on the last
}

// AuditEntry says what one management change was.
type AuditEntry struct {
	Time      string `json:"time"`      // RFC 3339, UTC
	Principal string `json:"principal"` // policy:NAME, token:SUBJECT, portal:ACCOUNT, command:NAME or device:ID
	Operation string `json:"operation"`
	Kind      string `json:"kind"`
	ID        string `json:"id,omitempty"` // absent for a change of several records
	OldETag   string `json:"oldEtag,omitempty"`
	NewETag   string `json:"newEtag,omitempty"`
	Result    string `json:"result"` // ok, or the name of an error

	// Counts of a change of several records; absent for one.
	Succeeded *int `json:"succeeded,omitempty"`
	Failed    *int `json:"failed,omitempty"`

	TrackingID string `json:"trackingId"`
	Remote     string `json:"remote"`

	Detail string `json:"detail,omitempty"` // what happened, where the other members do not say it: operation move
}

// PortalPassword is the answer to a reset of the portal's password: one that must be
// changed when it is first used.
type PortalPassword struct {
	Password string `json:"password"`
}
