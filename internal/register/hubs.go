package register

import (
	"context"
	"encoding/json"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Hubs gives the linked hubs over the wire.
type Hubs interface {
	// Hub returns the client of a hub. It is cheap: clients are kept.
	Hub(h dps.LinkedHub) RemoteHub
}

// RemoteHub is a linked hub over the wire. Whatever it does may be done again without
// harm. It is safe for concurrent use.
//
// Its failures have the code HubRefused (the hub understood and said no: nothing to
// repeat), HubUnavailable (no answer, or a failure of its own; may be repeated, see
// dps.MayRepeat) or Throttled (with the time to wait). Message has the hub's words.
type RemoteHub interface {
	// Health says how the hub has been doing; Waiting and Wait are not filled in.
	Health() dps.HubHealth

	// Turn waits until the hub may be sent one more write, and takes that turn: it
	// belongs to the Put or Remove that follows.
	Turn(ctx context.Context) error

	// Holds reports whether the hub has the identity exactly as given. It only reads.
	Holds(ctx context.Context, id dps.HubIdentity) (bool, error)

	// Put makes the hub have the identity. Writes beyond the first take their turns.
	Put(ctx context.Context, p Put) (PutOutcome, error)

	// Twin returns what services and device wrote into the twin, without the members
	// that hubs write. It fails with DeviceNotFound.
	Twin(ctx context.Context, id dps.DeviceID) (dps.Twin, error)

	// Remove makes the hub not have the identity.
	Remove(ctx context.Context, id dps.DeviceID) error
}

// Put is an identity that a hub shall have.
type Put struct {
	dps.HubIdentity
	Twin dps.Twin // where the identity is new

	// Ours says that an identity that is there may come from an earlier attempt at this
	// Put, whose answer was lost. One with this very authentication, or with no twin but
	// this one, counts as new, and gets the twin.
	Ours bool

	// Fresh says that an identity that is there is left over from earlier: it is
	// removed first.
	Fresh bool

	// New says that an identity that is there, and not from an earlier attempt, is not to
	// be touched: Put then fails with DeviceExists.
	New bool
}

// PutOutcome says what a hub had before.
type PutOutcome struct {
	Existed bool // the identity was there, and its twin was kept

	// Untouched comes with an error: nothing that was sent can have made the identity.
	Untouched bool
}

// Webhook asks the operator's own function which hub a device gets.
type Webhook interface {
	// Ask makes one call. It fails with CustomAllocationFailed,
	// CustomAllocationUnauthorized or CustomAllocationNoHub; see dps.MayRepeat.
	Ask(ctx context.Context, q WebhookQuestion) (WebhookAnswer, error)
}

// WebhookQuestion is what the function is told. The enrollment holds secrets, which
// are not told.
type WebhookQuestion struct {
	Enrollment  dps.Enrollment
	ID          dps.RegistrationID
	CurrentHub  dps.HostName // "" where the device was never assigned
	CurrentID   dps.DeviceID
	Attestation dps.AttestationType
	Certificate *dps.Certificate // that the device showed; nil if none
	Payload     json.RawMessage  // that the device sent; nil if none
	LinkedHubs  []dps.HostName   // the hubs that it may choose
}

// WebhookAnswer is what the function said.
type WebhookAnswer struct {
	Hub     dps.HostName    // one of the question's LinkedHubs
	Twin    json.RawMessage // initialTwin, checked; nil: that of the enrollment
	Payload json.RawMessage // for the device; nil if none
}
