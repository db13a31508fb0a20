package enroll

import (
	"context"
	"reflect"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// ImportStore writes many enrollments at once.
type ImportStore interface {
	// ImportEnrollments goes through refs in their order within one change. Each time
	// it tells decide which record it is and what is stored under it, nil for nothing,
	// and writes what decide returns, if anything. What an earlier ref wrote, a later
	// one finds stored. The versions of the records are not compared: nothing comes
	// between reading and writing.
	//
	// The errors belong to refs one by one, nil for none: that of decide, and those of
	// PutEnrollment; such a record is not written and the others are. When the last
	// result is an error nothing is stored at all.
	ImportEnrollments(ctx context.Context, in dps.InstanceID, refs []dps.EntryRef,
		decide func(i int, stored *dps.Enrollment) (*dps.Enrollment, error)) ([]error, error)
}

// Outcome is what became of a record that was imported.
type Outcome uint8

// The outcomes.
const (
	Refused   Outcome = iota
	Created           // there was none
	Replaced          // another one was there
	Unchanged         // the same one was there
)

// Imported is the outcome of one record; Err says why it was refused.
type Imported struct {
	Outcome    Outcome
	Err        error
	Enrollment *dps.Enrollment // that was created or replaced, else nil
}

// Import writes the records of drafts in their order, as one change, all of them in
// the instance in:
//
//	stored      replace  outcome
//	no          any      Created
//	the same    any      Unchanged: nothing is written, its version and times stay
//	another     no       Refused with EnrollmentExists or GroupExists
//	another     yes      Replaced
//
// Like Put it keeps certificates that a draft only describes and keys that it leaves
// out, and records are the same when that makes them so. A record that is refused
// does not keep the others from being written. The error means that none was.
func (s *Service) Import(ctx context.Context, in dps.InstanceID, drafts []dps.EnrollmentDraft, replace bool) ([]Imported, error) {
	results := make([]Imported, len(drafts))
	refs := make([]dps.EntryRef, len(drafts))
	for i, d := range drafts {
		refs[i] = d.Ref
	}
	found, err := s.referred(ctx, drafts...)
	if err != nil {
		return nil, err
	}
	errs, err := s.store.ImportEnrollments(ctx, in, refs, func(i int, stored *dps.Enrollment) (*dps.Enrollment, error) {
		if err := found.check(drafts[i], stored); err != nil {
			return nil, err
		}
		next, outcome, err := s.importOne(drafts[i], stored, replace)
		results[i].Outcome, results[i].Enrollment = outcome, next
		return next, err
	})
	if err != nil {
		return nil, err
	}
	for i, err := range errs {
		if err != nil {
			results[i] = Imported{Outcome: Refused, Err: missingCA(err)}
		}
	}
	return results, nil
}

func (s *Service) importOne(draft dps.EnrollmentDraft, stored *dps.Enrollment, replace bool) (*dps.Enrollment, Outcome, error) {
	if err := s.check(draft.Enrollment); err != nil {
		return nil, Refused, err
	}
	next, err := s.complete(draft, stored)
	if err != nil {
		return nil, Refused, err
	}
	switch {
	case stored == nil:
		return &next, Created, nil
	case same(next, *stored):
		return nil, Unchanged, nil
	case replace:
		return &next, Replaced, nil
	case draft.Ref.Kind == dps.Group:
		return nil, Refused, dps.Errorf(dps.GroupExists, "EnrollmentGroup already exists, and differs.")
	default:
		return nil, Refused, dps.Errorf(dps.EnrollmentExists, "Enrollment already exists, and differs.")
	}
}

// unmasked refuses a webhook whose key was left out when it was read: it would never be
// called with success.
func unmasked(e dps.Enrollment) error {
	if c := e.Placement.Custom; c != nil && strings.HasSuffix(c.WebhookURL, dps.MaskedQuery) {
		return dps.Invalidf("customAllocationDefinition.webhookUrl", "has a masked query, and no stored record has the whole; put the query back")
	}
	return nil
}

// same reports whether two records say the same, whatever their versions and times.
func same(a, b dps.Enrollment) bool {
	a.ETag, a.Created, a.Updated = b.ETag, b.Created, b.Updated
	return reflect.DeepEqual(a, b)
}
