package enroll_test

import (
	"context"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
)

func (f *flaky) ImportEnrollments(ctx context.Context, id dps.InstanceID, refs []dps.EntryRef,
	decide func(int, *dps.Enrollment) (*dps.Enrollment, error),
) ([]error, error) {
	if err := f.write(); err != nil {
		return nil, err
	}
	return f.Store.ImportEnrollments(ctx, id, refs, decide)
}

// bring imports drafts and returns the outcomes; a refusal has to have the code that
// codes says for its place.
func (w *world) bring(t *testing.T, replace bool, codes map[int]dps.Code, drafts ...dps.EnrollmentDraft) []enroll.Outcome {
	t.Helper()
	results, err := w.Import(t.Context(), in, drafts, replace)
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []enroll.Outcome
	for i, r := range results {
		if r.Outcome == enroll.Refused {
			fails(t, "refused", r.Err, codes[i])
		} else if r.Err != nil {
			t.Errorf("record %d: outcome %d, %v", i, r.Outcome, r.Err)
		}
		outcomes = append(outcomes, r.Outcome)
	}
	return outcomes
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	keyed := draft(individual("Keyed"), byKeys(dps.NewKeyPair()))
	holder := draft(group("holder"), byX509(dps.X509Attestation{Primary: certificate(t, "one")}))
	same(
		t,
		"new",
		w.bring(t, false, nil, keyed, holder, draft(individual("tpm"), byTPM())),
		[]enroll.Outcome{enroll.Created, enroll.Created, enroll.Created},
	)
	before, err := w.Get(t.Context(), in, individual("keyed"))
	if err != nil {
		t.Fatal(err)
	}

	other, bad := keyed, keyed
	other.DeviceID, bad.DeviceID = "other", "a b"
	bare := draft(individual("keyed"), byKeys(dps.KeyPair{}))
	rival := draft(group("rival"), byX509(*holder.Attestation.X509))
	lost := draft(group("lost"), byX509(dps.X509Attestation{CAPrimary: "ghost"}))
	described := draft(individual("described"), byX509(dps.X509Attestation{}))
	described.KeepPrimary = "AB"
	otherGroup := draft(holder.Ref, byKeys(dps.KeyPair{}))
	codes := map[int]dps.Code{2: dps.EnrollmentExists, 3: dps.Invalid, 4: dps.Conflict, 5: dps.Invalid, 6: dps.Invalid, 7: dps.GroupExists}
	got := w.bring(t, false, codes, keyed, bare, other, bad, rival, lost, described, otherGroup, draft(individual("last"), byTPM()))
	same(t, "outcomes", got, []enroll.Outcome{enroll.Unchanged, enroll.Unchanged, 0, 0, 0, 0, 0, 0, enroll.Created})
	after, err := w.Get(t.Context(), in, individual("keyed"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what was the same already", after, before)

	same(t, "replaced, and then the same", w.bring(t, true, nil, other, other, otherGroup, rival),
		[]enroll.Outcome{enroll.Replaced, enroll.Unchanged, enroll.Replaced, enroll.Created})
	after, err = w.Get(t.Context(), in, individual("keyed"))
	if err != nil || after.DeviceID != "other" || after.Ref.ID != "Keyed" || after.ETag == before.ETag {
		t.Errorf("replaced: %+v, %v", after, err)
	}
}

func TestImportMaskedWebhook(t *testing.T) {
	w := newWorld(t)
	whole := draft(individual("a"), byTPM())
	whole.Placement = dps.Placement{
		Policy: dps.Custom,
		Custom: &dps.CustomAllocation{WebhookURL: "https://f.example/x?code=1", APIVersion: "1"},
	}
	masked := whole
	masked.Placement.Custom = &dps.CustomAllocation{WebhookURL: whole.Placement.Custom.MaskedURL(), APIVersion: "1"}
	codes := map[int]dps.Code{0: dps.Invalid}
	same(t, "outcomes", w.bring(t, true, codes, masked, whole, masked), []enroll.Outcome{enroll.Refused, enroll.Created, enroll.Unchanged})
}

func TestImportStoreUnavailable(t *testing.T) {
	_, f, s := flakyWorld(t)
	f.writes = dps.Errorf(dps.Unavailable, "Try again later.")
	_, err := s.Import(t.Context(), in, []dps.EnrollmentDraft{draft(individual("a"), byTPM())}, false)
	fails(t, "import", err, dps.Unavailable)
}
