package dps

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
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

// Assignment says which identity at which hub a device was assigned to last. It outlives
// later attempts that are refused or fail.
type Assignment struct {
	Hub       HubID
	DeviceID  DeviceID
	Substatus Substatus
	Entry     EntryRef       // the enrollment that assigned it
	TakenBy   RegistrationID // which device has the identity now; "" if it is still this one
}

// Place returns where the identity is.
func (a Assignment) Place() HubStand { return HubStand{Hub: a.Hub, DeviceID: a.DeviceID} }

// Failure is why an accepted registration could not be finished.
type Failure struct {
	Code    Code
	Message string
	Number  int // error code of the hub, where it gave one; else Code says it
}

// Registration is the record of a device that has registered, with its latest
// operation.
type Registration struct {
	Instance    InstanceID
	ID          RegistrationID
	Entry       EntryRef        // the enrollment that decided the latest operation
	Attestation AttestationType // how the device proved itself
	Evidence    string          // what it proved itself with: a leaf's SHA-256 for X.509
	Status      RegistrationStatus
	Assignment  *Assignment // nil until first assigned
	Failure     *Failure    // set when Status is Failed
	Operation   OperationID
	Payload     json.RawMessage // what the operator's webhook has for the device; nil if nothing

	ETag             ETag
	Created, Updated time.Time
}

// RegistrationFilter selects records of an instance, whatever enrollment they came
// through. At most one member is set; the zero RegistrationFilter selects all, ordered by
// registration ID.
type RegistrationFilter struct {
	Status   RegistrationStatus // other than Assigned; ordered by the latest change first
	DeviceID DeviceID           // at any hub; case counts; ordered by registration ID
	Prefix   RegistrationID     // of the registration ID, in any case; ordered by registration ID
	IDs      []RegistrationID   // in any case; ordered by registration ID
}

// Work is what an open registration still has to do: it belongs to a record whose
// Status is Assigning. It holds no secrets: they come from the enrollment each time.
type Work struct {
	Instance  InstanceID
	ID        RegistrationID // as the device spelled it in this call
	Operation OperationID    // of the record that it belongs to

	APIVersion  string          // of the call
	Remote      string          // address of the caller
	TrackingID  string          // of the call
	Transport   Transport       // of the call
	Certificate *Certificate    // that the device showed; nil if none
	KeyOf       RegistrationID  // the spelling under which its key derives from its group's; "" if it does not
	Payload     json.RawMessage // that the device sent; nil if none

	Hub      HubID           // at which the device is to be placed; "" while a webhook has to choose
	Twin     json.RawMessage // initial twin by the webhook; nil: that of the enrollment
	Returned json.RawMessage // payload for the device, by the webhook; nil if none

	Since time.Time // when the device asked first: its place in the line
}

// HubStand is a place that a device can have: an ID at a hub.
type HubStand struct {
	Hub      HubID
	DeviceID DeviceID
}

// RemnantState says why there may be an identity beside the one in a record.
type RemnantState string

// The states of a remnant.
const (
	Placing RemnantState = "placing" // a registration is about to record it
	Leaving RemnantState = "leaving" // it is to be removed
)

// Remnant is an identity that may stand at a hub over the wire without being the one
// in its device's record: it is written down before the hub hears of it, and until
// the hub no longer has it, so that no crash leaves an identity that nobody knows.
type Remnant struct {
	Instance InstanceID
	HubStand
	ID    RegistrationID // whose
	State RemnantState
	Stale bool // placing: what stands there is left over from before, and goes first

	Since     time.Time
	Attempts  int       // at removing it
	Due       time.Time // of the next attempt at removing it
	LastError string    // of the last attempt; "" if none failed

	Owner     string    // process that is at it; "" if none
	BusyUntil time.Time // until when something that Owner sent may still arrive

	// Kept says that the record of another device names the identity: it must not be
	// deleted. Only ClaimPlace sets it.
	Kept bool
}

// Claim asks for the sole right to write to a place at a hub over the wire.
type Claim struct {
	Instance InstanceID
	HubStand
	ID         RegistrationID // whose
	State      RemnantState   // what for
	Owner      string         // process that asks
	Now, Until time.Time

	From *Holder // placing: which other device has the identity, as far as the caller knows; nil: none
}

// RegistrationChange is one registration to be written, with the identities at
// embedded hubs where these change too, and what is left to do at hubs over the
// wire. Where it brings a new operation, the replaced one stays readable for
// OperationLifetime.
type RegistrationChange struct {
	Registration Registration
	IfMatch      ETag // version of the record that it was made from; "" for none

	// EntryMatch is the version of the enrollment that decided; "" if it does not matter. Commit
	// compares it with what is stored: one that was disabled, changed or deleted meanwhile
	// assigns nobody.
	EntryMatch ETag

	Device      *HubDevice
	DeviceMatch ETag      // the same for Device
	Removed     *HubStand // identity of an embedded hub that goes

	// From is whose identity the assignment takes over: that of another device, or one that
	// an operator created; nil: nobody's. Commit compares it with what is stored.
	From *Holder

	Moves      []IdentityMove // identities that change hands, for the audit
	TrackingID string         // of the call, for the audit
	Remote     string         // address of the caller, for the audit

	WasOpen bool      // whether the replaced record had work
	Work    *Work     // left to do; nil: the registration is done
	Leaving *HubStand // identity at a hub over the wire that nobody needs any more
}
