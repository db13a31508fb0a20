// Package decision records why devices were refused.
//
// # What is kept
//
// There is one entry for each device, reason and source: repeated refusals are one entry
// with a count, the first and the latest time, and the details of the latest refusal.
// Entries are kept for a time, and their number is limited for each device, for each
// source, for all whose device is unknown, and in total; the oldest are removed first.
// A flood of refusals takes a bounded space, and one source alone cannot displace the
// entries of others.
//
// # What it costs
//
// A refusal costs no durable write of its own: it is queued in memory, in a bounded queue,
// and a background task writes small batches at a bounded rate. What does not fit is
// dropped and counted. Readers see queued entries too, because reading flushes the queue.
package decision

import (
	"context"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Entry is what is kept of a refusal and of those that it repeats.
type Entry struct {
	Seq         int64 // given by the store; 0 before it is stored
	dps.Refusal       // the latest
	First       time.Time
	Count       int64
}

// Key is what repeated refusals have in common.
type Key struct {
	Instance dps.InstanceID
	ID       string // in the form under which spellings are equal
	Reason   dps.Reason
	Source   string
}

// Key returns what e has in common with its repetitions.
func (e Entry) Key() Key {
	return Key{Instance: e.Instance, ID: e.ID.Key(), Reason: e.Decision.Reason, Source: dps.SourceOf(e.Remote)}
}

// merged returns one entry for two of the same key.
func merged(a, b Entry) Entry {
	if b.Time.Before(a.Time) {
		a, b = b, a
	}
	if a.First.Before(b.First) {
		b.First = a.First
	}
	b.Count += a.Count
	return b
}

// Caps bound how many entries an instance has.
type Caps struct {
	Total     int
	PerDevice int
	PerSource int
	Unnamed   int // entries whose device is unknown, together
}

// Parts of the whole that one device and one source may take.
const (
	perDevice   = 10
	sourceShare = 10 // a tenth
	unnamed     = 10 // a tenth, for all whose device is unknown
)

// CapsOf returns the caps that go with a total.
func CapsOf(total int) Caps {
	return Caps{Total: total, PerDevice: perDevice, PerSource: max(total/sourceShare, 1), Unnamed: max(total/unnamed, 1)}
}

// Filter selects entries; what is zero selects all. Case does not count in IDs.
type Filter struct {
	ID         dps.RegistrationID
	Enrollment string // ID of the individual enrollment that was reached
	Group      string // ID of the enrollment group that was reached
	Reason     dps.Reason
	Source     string    // as SourceOf returns it
	Since      time.Time // the first moment of the latest refusal
	Until      time.Time // the moment after the last
}

// Cursor is a place between two entries: before, in time, the one that it names.
type Cursor struct {
	Time time.Time
	Seq  int64
}

// Store keeps entries.
type Store interface {
	// RecordDecisions writes entries with different keys, or none of them. One whose key
	// is there already takes its place: the count is the sum of both, and its first time
	// the earlier one. Then it removes the oldest ones beyond caps, a bounded number of
	// them: what is left goes with the next calls.
	RecordDecisions(ctx context.Context, entries []Entry, caps Caps) error

	// ExpireDecisions removes the entries whose latest refusal was before a time.
	ExpireDecisions(ctx context.Context, before time.Time) error

	// Decisions returns up to limit entries that f selects, those with the latest
	// refusals first, older than the cursor (nil: from the newest). Calls that go on
	// where the last one ended neither pass over an entry that does not change meanwhile
	// nor meet one twice.
	Decisions(ctx context.Context, in dps.InstanceID, f Filter, limit int, after *Cursor) ([]Entry, error)

	// Decision returns the entry whose latest refusal has a tracking ID. It fails with
	// DecisionNotFound.
	Decision(ctx context.Context, in dps.InstanceID, trackingID string) (Entry, error)
}

// ParseReason reads the name of a reason, in any case. It fails with Invalid.
func ParseReason(text string) (dps.Reason, error) {
	for _, r := range dps.Reasons() {
		if strings.EqualFold(string(r), text) {
			return r, nil
		}
	}
	return "", dps.Invalidf("reason", "%q is not a reason; GET /mooring/v1/decisions/reasons lists them", text)
}
