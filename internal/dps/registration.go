package dps

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/google/uuid"
)

// RegistrationStatus is where a registration stands.
type RegistrationStatus string

// The statuses, as the wire spells them. A disabled enrollment gives Disabled.
const (
	Unassigned RegistrationStatus = "unassigned"
	Assigning  RegistrationStatus = "assigning"
	Assigned   RegistrationStatus = "assigned"
	Failed     RegistrationStatus = "failed"
	Disabled   RegistrationStatus = "disabled"
)

// Substatus says how an assignment came about.
type Substatus string

// The sub-statuses, as the wire spells them.
const (
	InitialAssignment                Substatus = "initialAssignment"
	DeviceDataMigrated               Substatus = "deviceDataMigrated"
	DeviceDataReset                  Substatus = "deviceDataReset"
	ReprovisionedToInitialAssignment Substatus = "reprovisionedToInitialAssignment"
)

// OperationID names one registration attempt. It goes into URLs and topics as it is.
type OperationID string

// NewOperationID returns a name that no operation has had.
func NewOperationID() OperationID {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return OperationID("5." + hex.EncodeToString(b[:]) + "." + uuid.NewString())
}

// OperationLifetime is how long a finished operation can be polled, at the least: the
// latest one of a device stays readable until a newer one replaces it.
const OperationLifetime = 10 * time.Minute

// Assignment says where a device stands. It outlives a later failure.
type Assignment struct {
	Hub       HubID
	DeviceID  DeviceID
	Substatus Substatus
}

// Failure is why an accepted registration could not be finished.
type Failure struct {
	Code    Code
	Message string
}

// Registration is the record of a device that has registered, with its latest
// operation.
type Registration struct {
	Instance    InstanceID
	ID          RegistrationID
	Entry       EntryRef        // the enrollment that decided
	Attestation AttestationType // how the device proved itself
	Evidence    string          // what it proved itself with: a leaf's SHA-256 for X.509
	Status      RegistrationStatus
	Assignment  *Assignment // nil until first assigned
	Failure     *Failure    // set when Status is Failed
	Operation   OperationID

	ETag             ETag
	Created, Updated time.Time
}

// RegistrationChange is one registration to be written, with the identity at an
// embedded hub where that changes too. The operation that it replaces stays
// readable for OperationLifetime.
type RegistrationChange struct {
	Registration Registration
	IfMatch      ETag // version of the record that it was made from; "" for none
	Device       *HubDevice
	DeviceMatch  ETag // the same for Device
}
