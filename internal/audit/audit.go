// Package audit records who changed what: one entry for each management change,
// whether it succeeded or failed.
//
// # When an entry is durable
//
// The entry of a change that succeeds is written in the transaction of the change
// itself: whatever happens to the process, there is neither a change without its entry
// nor an entry without its change. A call that makes several changes, each in a
// transaction of its own, has one entry, which every one of these transactions brings
// up to date. A change that fails writes nothing of its own, so its entry is written
// before the caller hears of the failure.
//
// To this end a [Change] travels in the context of its request: the API begins it, the
// guard says whose it is, the store writes it, and [Log.Settle] writes what no
// transaction did. Calls that the guard refused have no entry: anybody can make those,
// and they are in the log of the service.
package audit

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Operation is what was done to a record.
type Operation string

// The operations. A put creates the record when the entry has no old etag.
const (
	Put               Operation = "put"
	Patch             Operation = "patch"
	Delete            Operation = "delete"
	GenerateCode      Operation = "generate-verification-code"
	Verify            Operation = "verify"
	Bulk              Operation = "bulk" // before its mode is known
	BulkCreate        Operation = "bulk-create"
	BulkUpdate        Operation = "bulk-update"
	BulkUpdateIfMatch Operation = "bulk-update-if-match"
	BulkDelete        Operation = "bulk-delete"
	Import            Operation = "import"
	Link              Operation = "link"
	UpdateLink        Operation = "update-link"
	Unlink            Operation = "unlink"
	ChangePassword    Operation = "change-password" // its owner chose another
	ResetPassword     Operation = "reset-password"  // a new one was given out
	Move              Operation = "move"            // a device took over an identity at a hub
)

// Operations returns every operation.
func Operations() []Operation {
	return []Operation{
		Put,
		Patch,
		Delete,
		GenerateCode,
		Verify,
		Bulk,
		BulkCreate,
		BulkUpdate,
		BulkUpdateIfMatch,
		BulkDelete,
		Import,
		Link,
		UpdateLink,
		Unlink,
		ChangePassword,
		ResetPassword,
		Move,
	}
}

// ParseOperation reads the name of an operation. It fails with Invalid.
func ParseOperation(text string) (Operation, error) { return parse("operation", text, Operations()) }

// Kind is what kind of record was changed.
type Kind string

// The kinds.
const (
	Enrollment          Kind = "enrollment"
	Group               Kind = "enrollment-group"
	Registration        Kind = "registration"
	Certificate         Kind = "certificate"
	ProvisioningService Kind = "provisioning-service" // with its policies and linked hubs
	LinkedHub           Kind = "linked-hub"           // beside the entry of the service: its etag counts for all
	PortalAccount       Kind = "portal-account"
	HubIdentity         Kind = "hub-identity"
)

// Kinds returns every kind.
func Kinds() []Kind {
	return []Kind{Enrollment, Group, Registration, Certificate, ProvisioningService, LinkedHub, PortalAccount, HubIdentity}
}

// ParseKind reads the name of a kind. It fails with Invalid.
func ParseKind(text string) (Kind, error) { return parse("kind", text, Kinds()) }

// KindOf returns the kind of an enrollment.
func KindOf(k dps.EntryKind) Kind {
	if k == dps.Group {
		return Group
	}
	return Enrollment
}

// Result is how a change ended: OK, or the name of an error's code.
type Result string

// Results that are no codes.
const (
	OK     Result = "ok"
	Failed Result = "failed" // only to filter by: whatever is not OK
)

// ResultOf returns how a change that returned err ended.
func ResultOf(err error) Result {
	if err == nil {
		return OK
	}
	return Result(dps.CodeOf(err).String())
}

// ParseResult reads what to filter by: a result in any case, or Failed. It fails with
// Invalid.
func ParseResult(text string) (Result, error) {
	all := []Result{OK, Failed}
	for _, c := range dps.Codes() {
		all = append(all, Result(c.String()))
	}
	if i := slices.IndexFunc(all, func(r Result) bool { return strings.EqualFold(string(r), text) }); i >= 0 {
		return all[i], nil
	}
	return "", dps.Invalidf("result", "must be ok, failed or the name of an error, such as PreconditionFailed")
}

func parse[T ~string](field, text string, all []T) (T, error) {
	names := make([]string, len(all))
	for i, v := range all {
		if strings.EqualFold(string(v), text) {
			return v, nil
		}
		names[i] = string(v)
	}
	return "", dps.Invalidf(field, "must be one of %s", strings.Join(names, ", "))
}

// Principal is who made a change.
type Principal string

// ByPolicy is whoever holds a key of a shared access policy.
func ByPolicy(name string) Principal { return Principal("policy:" + name) }

// ByToken is whoever holds a bearer token with this subject.
func ByToken(subject string) Principal { return Principal("token:" + subject) }

// ByPortal is whoever is signed in at the portal.
func ByPortal(account string) Principal { return Principal("portal:" + account) }

// ByCommand is whoever ran a command on the data directory of a service that did not run.
func ByCommand(name string) Principal { return Principal("command:" + name) }

// ByDevice is the device with a registration ID.
func ByDevice(id dps.RegistrationID) Principal { return Principal("device:" + string(id)) }

// Moved returns the entry of an identity at a hub that a device took over.
func Moved(in dps.InstanceID, m dps.IdentityMove, trackingID, remote string) Entry {
	return Entry{
		Instance: in, Principal: ByDevice(m.To.ID), Operation: Move, Kind: HubIdentity, ID: string(m.DeviceID), Result: OK,
		TrackingID: bounded(trackingID, maxID), Remote: bounded(remote, maxRemote), Detail: m.String() + " at " + string(m.HostName),
	}
}

// Entry says what one change was.
type Entry struct {
	Seq        int64 // given by the store: no two entries have the same; 0 before it is stored
	Instance   dps.InstanceID
	Time       time.Time // given by the store, when it is first written
	Principal  Principal
	Operation  Operation
	Kind       Kind
	ID         string   // as the request spelled it; "" for several records
	OldETag    dps.ETag // "" if there was no record before, of several, and of failures
	NewETag    dps.ETag // "" if there is no record after, of several, and of failures
	Result     Result   // of several records: of the first that failed
	Several    bool     // whether Succeeded and Failed say how many records
	Succeeded  int
	Failed     int
	TrackingID string
	Remote     string // the caller's address, with the port
	Detail     string // what happened, in a sentence without a period; "" where the members above say it
}

// Filter selects entries; what is zero selects all.
type Filter struct {
	From      time.Time // the first moment
	To        time.Time // the moment after the last
	Principal Principal // case does not count, here and of IDs
	Operation Operation
	Kind      Kind
	ID        string
	Result    Result
}

// Cursor is a place between two entries: before, in time, the one that it names.
type Cursor struct {
	Time time.Time
	Seq  int64
}

// Store keeps entries.
type Store interface {
	// RecordAudit writes an entry and returns its Seq: a new one, or in place of the
	// one with e's Seq, whose time stays.
	RecordAudit(ctx context.Context, e Entry) (seq int64, err error)

	// Audit returns up to limit entries that f selects, newest first, older than the
	// cursor (nil: from the newest). Calls that go on where the last one ended neither
	// pass over an entry nor meet one twice, whatever is written meanwhile.
	Audit(ctx context.Context, in dps.InstanceID, f Filter, limit int, after *Cursor) ([]Entry, error)
}
