package storetest

import (
	"errors"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// importAll imports records, each in place of what is stored, and fails when nothing
// could be stored at all.
func (w *world) importAll(t *testing.T, all ...dps.Enrollment) []error {
	t.Helper()
	refs := make([]dps.EntryRef, len(all))
	for i, e := range all {
		refs[i] = e.Ref
	}
	errs, err := w.ImportEnrollments(t.Context(), here, refs, func(i int, _ *dps.Enrollment) (*dps.Enrollment, error) { return &all[i], nil })
	if err != nil || len(errs) != len(all) {
		t.Fatalf("import: %d results of %d, %v", len(errs), len(all), err)
	}
	return errs
}

var importCases = []testCase{
	{"each record finds what is stored, and what an earlier one wrote", func(t *testing.T, w *world) {
		old := w.put(t, enrollment(individual("Old"), byKeys()))
		first, second, third := enrollment(individual("new"), byTPM()), enrollment(individual("NEW"), byKeys()), enrollment(old.Ref, byTPM())
		second.Ref.ID = "new" // the first spelling stays: that is for the caller to see to
		refs := []dps.EntryRef{individual("new"), individual("NEW"), individual("old"), group("old")}
		write := []*dps.Enrollment{&first, &second, &third, nil}
		want := []*dps.Enrollment{nil, &first, &old, nil}
		errs, err := w.ImportEnrollments(t.Context(), here, refs, func(i int, stored *dps.Enrollment) (*dps.Enrollment, error) {
			same(t, refs[i].String(), stored, want[i])
			return write[i], nil
		})
		same(t, "results", errs, make([]error, 4))
		must(t, err)
		same(t, "new", w.enrollment(t, individual("new")), second)
		same(t, "old", w.enrollment(t, old.Ref), third)
		_, err = w.Enrollment(t.Context(), here, group("old"))
		fails(t, "a record that nobody wrote", err, dps.GroupNotFound)
	}},
	{"a refused record is not there, and the others are", func(t *testing.T, w *world) {
		holder := enrollment(group("holder"), byCertificate(certificate(t, "one")))
		rival := enrollment(group("rival"), byCertificate(*holder.Attestation.X509.Primary))
		errs := w.importAll(t, holder, rival, enrollment(individual("last"), byTPM()))
		if errs[0] != nil || errs[2] != nil {
			t.Errorf("results = %v", errs)
		}
		fails(t, "the certificate's second owner", errs[1], dps.Conflict, "holder")
		_, err := w.Enrollment(t.Context(), here, rival.Ref)
		fails(t, "it", err, dps.GroupNotFound)
		w.enrollment(t, individual("last"))

		without := enrollment(group("holder"), byKeys())
		for _, err := range w.importAll(t, without, rival) { // freed by a replacement
			must(t, err)
		}
		same(t, "owner", w.owner(t, *rival.Attestation.X509.Primary), rival.Ref.ID)
	}},
	{"what decide refuses is not written", func(t *testing.T, w *world) {
		refusal := errors.New("no")
		e := enrollment(individual("a"), byTPM())
		errs, err := w.ImportEnrollments(
			t.Context(),
			here,
			[]dps.EntryRef{e.Ref},
			func(int, *dps.Enrollment) (*dps.Enrollment, error) { return &e, refusal },
		)
		must(t, err)
		same(t, "result", errors.Is(errs[0], refusal), true)
		_, err = w.Enrollment(t.Context(), here, e.Ref)
		fails(t, "it", err, dps.EnrollmentNotFound)
	}},
	{"nothing to import", func(t *testing.T, w *world) {
		if errs := w.importAll(t); len(errs) != 0 {
			t.Errorf("results = %v", errs)
		}
	}},
}
