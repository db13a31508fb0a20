package wire

// RegistrationsPath finds registration records whatever enrollment they came through.
const RegistrationsPath = "/" + MooringPrefix + "/v1/registrations"

// MaxRegistrationIDs is how many registration IDs can be asked for at once.
const MaxRegistrationIDs = 100

// RegistrationRecord is the record of a device with the enrollment that it came through.
type RegistrationRecord struct {
	RegistrationState
	EnrollmentID      string `json:"enrollmentId,omitempty"`      // the individual enrollment
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"` // or the group
}

// RegistrationPage is a page of records.
type RegistrationPage struct {
	Value        []RegistrationRecord `json:"value"`
	Continuation string               `json:"continuation,omitempty"` // asks for the next page; absent on the last
}
