package enroll

import (
	"context"
	"reflect"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// ImportStore writes many enrollments at once.
type ImportStore interface {
	// ImportEnrollments processes refs in order in one transaction. For each it calls
	// decide with the index and the stored record (nil if none), and writes the record
	// that decide returns, if any. A later ref sees what an earlier one wrote. Etags are
	// not compared.
	//
	// The errors are those of the single refs (nil for none), from decide or as in
	// PutEnrollment: that record is not written, the others are. If the second result is
	// an error, nothing is written.
	ImportEnrollments(ctx context.Context, in dps.InstanceID, refs []dps.EntryRef,
		decide func(i int, stored *dps.Enrollment) (*dps.Enrollment, error)) ([]error, error)
}

// Outcome is the result for one imported record.
type Outcome uint8

// The outcomes.
const (
	Refused   Outcome = iota
	Created           // it did not exist
	Replaced          // a different one existed
	Unchanged         // the same one existed
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
// out; the comparison includes them. A refused record does not stop the others. An
// error means that nothing was written.
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
		return nil, Refused, dps.Errorf(dps.GroupExists, "EnrollmentGroup already exists with other content.")
	default:
		return nil, Refused, dps.Errorf(dps.EnrollmentExists, "Enrollment already exists with other content.")
	}
}

// unmasked refuses a webhook URL whose query is masked: calls to it would fail.
func unmasked(e dps.Enrollment) error {
	if c := e.Placement.Custom; c != nil && strings.HasSuffix(c.WebhookURL, dps.MaskedQuery) {
		return dps.Invalidf("customAllocationDefinition.webhookUrl",
			"has a masked query, and there is no stored URL to take the query from; send the full URL")
	}
	return nil
}

// same reports whether two records are equal except for etags and times.
func same(a, b dps.Enrollment) bool {
	a.ETag, a.Created, a.Updated = b.ETag, b.Created, b.Updated
	return reflect.DeepEqual(a, b)
}
