package wire

// Modes of a bulk operation. Services compare them without regard to case: the
// type declarations of the Node SDK spell the third one updateIfMatchEtag.
// Source: azure-rest-api-specs, service.json of 2021-10-01, BulkEnrollmentOperation.
const (
	BulkCreate            = "create"
	BulkUpdate            = "update"
	BulkUpdateIfMatchETag = "updateIfMatchETag"
	BulkDelete            = "delete"
)

// MaxBulkItems is how many records one bulk operation takes.
const MaxBulkItems = 10

// BulkEnrollmentOperation is the body of a bulk operation on individual
// enrollments. The ETag inside an item is its precondition.
type BulkEnrollmentOperation struct {
	Mode        string              `json:"mode"`
	Enrollments []EnrollmentRequest `json:"enrollments"`
}

// BulkEnrollmentGroupOperation is the body of a bulk operation on enrollment
// groups.
type BulkEnrollmentGroupOperation struct {
	Mode             string              `json:"mode"`
	EnrollmentGroups []EnrollmentRequest `json:"enrollmentGroups"`
}

// BulkResult is the answer to a bulk operation; its status is 200 even when
// every item failed.
type BulkResult struct {
	Errors       []BulkError `json:"errors"` // one for each item that failed; an empty array and never null
	IsSuccessful bool        `json:"isSuccessful"`
}

// BulkError says why one item of a bulk operation was refused. The ID is a
// registration ID or that of a group, as in the request.
type BulkError struct {
	RegistrationID    string `json:"registrationId,omitempty"`
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`
	ErrorCode         int    `json:"errorCode"`
	ErrorStatus       string `json:"errorStatus"`
}
