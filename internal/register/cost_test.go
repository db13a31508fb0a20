package register_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// work counts what requests cost: rows read, changes written.
type work struct {
	register.Store
	rows, commits int64
}

func (w *work) InstanceByScope(ctx context.Context, scope dps.IDScope) (dps.Instance, error) {
	w.rows++
	return w.Store.InstanceByScope(ctx, scope)
}

func (w *work) Enrollment(ctx context.Context, in dps.InstanceID, ref dps.EntryRef) (dps.Enrollment, error) {
	w.rows++
	return w.Store.Enrollment(ctx, in, ref)
}

func (w *work) Registration(ctx context.Context, in dps.InstanceID, id dps.RegistrationID) (dps.Registration, error) {
	w.rows++
	return w.Store.Registration(ctx, in, id)
}

func (w *work) CertificateOwner(ctx context.Context, in dps.InstanceID, t dps.Thumbprint) (dps.EntryRef, bool, error) {
	w.rows++
	return w.Store.CertificateOwner(ctx, in, t)
}

func (w *work) Anchors(ctx context.Context, in dps.InstanceID, subjects [][]byte) ([]dps.Anchor, error) {
	found, err := w.Store.Anchors(ctx, in, subjects)
	w.rows += 1 + int64(len(found))
	return found, err
}

func (w *work) SignerChanges(ctx context.Context, in dps.InstanceID) (int64, error) {
	w.rows++
	return w.Store.SignerChanges(ctx, in)
}

func (w *work) GroupChanges(ctx context.Context, in dps.InstanceID) (int64, error) {
	w.rows++
	return w.Store.GroupChanges(ctx, in)
}

func (w *work) KeyGroups(ctx context.Context, in dps.InstanceID) ([]dps.Enrollment, error) {
	found, err := w.Store.KeyGroups(ctx, in)
	w.rows += 1 + int64(len(found))
	return found, err
}

func (w *work) Hubs(ctx context.Context, in dps.InstanceID) ([]dps.LinkedHub, error) {
	w.rows++
	return w.Store.Hubs(ctx, in)
}

func (w *work) Commit(ctx context.Context, c dps.RegistrationChange) error {
	w.commits++
	return w.Store.Commit(ctx, c)
}

// The CPU time of each kind of work in microseconds, as measured on a machine of two
// cores in 2026; what counts are the proportions.
const (
	rowCost        = 20
	commitCost     = 400
	derivationCost = 2
)

// costOf returns what one call costs in microseconds, by what it did.
func costOf(s *register.Service, w *work, call func()) int64 {
	before, derived := *w, s.Derived()
	call()
	return (w.rows-before.rows)*rowCost + (w.commits-before.commits)*commitCost + (s.Derived()-derived)*derivationCost
}

// A refused token costs at most twice what an accepted one does, however many groups
// there are, whoever asks and however often.
func TestRefusedTokensCostNoMoreThanTwiceAnAcceptance(t *testing.T) {
	w := newWorld(t)
	counter := &work{Store: w.store}
	s := w.over(counter)
	var line dps.KeyPair
	made := 0
	for _, groups := range []int{1, 40, 700} {
		for ; made < groups; made++ {
			line = w.keyed(t, group(fmt.Sprintf("line-%04d", made)), nil)
		}
		good := w.tokened("sensor", dps.DeriveKey(line.Primary, "sensor"))
		retried(t, s, good) // reads the groups, once for all
		w.advance(time.Minute)
		accepted := costOf(s, counter, func() {
			_, err := s.Register(t.Context(), good)
			must(t, err)
		})
		for name, req := range map[string]register.Request{
			"unknown device": w.tokened("stranger", dps.NewKey()), "upper case": w.tokened("Stranger", dps.NewKey()),
			"known device": w.tokened("sensor", dps.NewKey()), "malformed": {Scope: w.scope, ID: "x", Evidence: register.Evidence{Token: "x"}},
		} {
			for i := range 1 + groups/100 {
				refused := costOf(s, counter, func() {
					if _, err := s.Register(t.Context(), req); err == nil {
						t.Fatalf("%s was accepted", name)
					}
				})
				if refused > 2*accepted {
					t.Errorf("%d groups, %s, request %d: a refusal costs %d, an acceptance %d", groups, name, i, refused, accepted)
				}
			}
		}
	}
}

// retried registers as a device does that is told to retry, and returns how often it
// was told so.
func retried(t *testing.T, s *register.Service, req register.Request) int {
	t.Helper()
	for retries := range 100 {
		_, err := s.Register(t.Context(), req)
		if err == nil {
			return retries
		}
		if dps.CodeOf(err) != dps.Throttled || dps.ReasonOf(err) != dps.ReasonGroupSearch {
			t.Fatal(err)
		}
		if e, _ := errors.AsType[*dps.Error](err); e.RetryAfter != time.Second {
			t.Fatalf("retry after %s", e.RetryAfter)
		}
	}
	t.Fatal("the group is never found")
	return 0
}

// With more groups than one request tries, each device finds its own when it retries, and
// one that has none is refused in the end.
func TestSearchGoesOn(t *testing.T) {
	const groups = register.MaxDerivations/2 + 50
	w := newWorld(t)
	pairs := make([]dps.KeyPair, groups)
	for i := range pairs {
		pairs[i] = w.keyed(t, group(fmt.Sprintf("line-%04d", i)), nil)
	}
	token := func(id string, i int) register.Request {
		return w.tokened(id, dps.DeriveKey(pairs[i].Secondary, dps.RegistrationID(id)))
	}
	for id, most := range map[string]int{"first": 1, "last": 1, "Upper-Case": 2} {
		i := map[string]int{"first": 0, "last": groups - 1, "Upper-Case": groups - 2}[id]
		if n := retried(t, w.Service, token(id, i)); n > most {
			t.Errorf("%s: %d retries, want at most %d", id, n, most)
		}
	}
	if n := retried(t, w.Service, token("same-line", groups-1)); n != 0 {
		t.Errorf("the next device of that group: %d retries, want 0", n)
	}
	if n := retried(t, w.Service, token("last", groups-1)); n != 0 {
		t.Errorf("the same device again: %d retries, want 0", n)
	}
	stranger := w.tokened("stranger", dps.NewKey())
	for range 2 {
		_, err := w.Register(t.Context(), stranger)
		fails(t, "first pass", err, dps.Throttled)
		_, err = w.Register(t.Context(), stranger)
		fails(t, "all groups", err, dps.UnknownCredential)
		if l := w.lastLine(t); l.Decision.Reason != string(dps.ReasonNoEnrollment) {
			t.Errorf("log line = %+v", l)
		}
	}
}

// What is remembered of groups never decides: they are read again for each request.
func TestChangedGroupsCountAtOnce(t *testing.T) {
	w := newWorld(t)
	first, second := w.keyed(t, group("first"), nil), w.keyed(t, group("second"), nil)
	token := func(id string, keys dps.KeyPair) register.Request {
		return w.tokened(id, dps.DeriveKey(keys.Primary, dps.RegistrationID(id)))
	}
	if rec := w.registered(t, token("a", second)); rec.Entry != group("second") {
		t.Fatalf("record = %+v", rec)
	}
	w.change(t, group("second"), disabled)
	if rec := w.registered(t, token("b", second)); rec.Status != dps.Disabled {
		t.Errorf("after the group was disabled: %+v", rec)
	}
	w.change(t, group("second"), func(e *dps.Enrollment) { e.Status = dps.StatusEnabled })
	if rec := w.registered(t, token("c", second)); rec.Status != dps.Assigned {
		t.Errorf("after it was enabled: %+v", rec)
	}
	must(t, w.enroll.Delete(t.Context(), in, group("second"), dps.Condition{}))
	_, err := w.Register(t.Context(), token("d", second))
	fails(t, "after it was deleted", err, dps.UnknownCredential)
	again := w.keyed(t, group("second"), nil)
	if rec := w.registered(t, token("d", again)); rec.Entry != group("second") {
		t.Errorf("after it was created again: %+v", rec)
	}
	if rec := w.registered(t, token("e", first)); rec.Entry != group("first") {
		t.Errorf("the other group: %+v", rec)
	}
}

// change writes an enrollment anew with its keys.
func (w *world) change(t *testing.T, ref dps.EntryRef, edit func(*dps.Enrollment)) {
	t.Helper()
	e, err := w.enroll.Get(t.Context(), in, ref)
	must(t, err)
	w.put(t, ref, dps.X509Attestation{}, func(next *dps.Enrollment) {
		*next = e
		edit(next)
	})
}

// However many strangers ask, what is remembered of their searches is bounded.
func TestSearchesAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range register.MaxDerivations/2 + 1 {
		w.keyed(t, group(fmt.Sprintf("line-%04d", i)), nil)
	}
	bad := dps.NewKey()
	for i := range 100 {
		_, err := w.Register(t.Context(), w.tokened(fmt.Sprintf("x-%d", i), bad))
		fails(t, "stranger", err, dps.Throttled)
	}
	if n := w.Searches(); n != 100 || n > 2*register.MaxSearches {
		t.Errorf("%d searches are remembered", n)
	}
}

// Whoever sends tokens with the ID of a device, wrong ones, neither has the device refused
// nor keeps it from being found.
func TestStrangersDoNotMoveTheSearchOfADevice(t *testing.T) {
	const groups = register.MaxDerivations/2 + 100
	w := newWorld(t)
	first := w.keyed(t, group("line-0000"), nil)
	for i := 1; i < groups; i++ {
		w.keyed(t, group(fmt.Sprintf("line-%04d", i)), nil)
	}
	for between := range 3 {
		id := fmt.Sprintf("dev-%d", between)
		admitted := false
		for range 20 {
			for range between {
				_, err := w.Register(t.Context(), w.tokened(id, dps.NewKey()))
				if err == nil {
					t.Fatal("a stranger was admitted")
				}
			}
			_, err := w.Register(t.Context(), w.tokened(id, dps.DeriveKey(first.Primary, dps.RegistrationID(id))))
			if err != nil && dps.CodeOf(err) != dps.Throttled {
				t.Fatalf("%d strangers: the device was refused: %v", between, err)
			}
			if err == nil {
				admitted = true
				break
			}
		}
		if !admitted {
			t.Errorf("%d strangers for each call of the device: it was never found", between)
		}
	}
}

// A device that makes a new token for each call is refused in the end, too.
func TestSearchOfNewTokensEnds(t *testing.T) {
	const groups = register.MaxDerivations + 50 // three calls for two keys each
	w := newWorld(t)
	for i := range groups {
		w.keyed(t, group(fmt.Sprintf("line-%04d", i)), nil)
	}
	key := dps.NewKey()
	for i := range 4 {
		w.advance(time.Second) // another expiry
		_, err := w.Register(t.Context(), w.tokened("stranger", key))
		if dps.CodeOf(err) == dps.UnknownCredential && i >= 2 {
			return
		}
		fails(t, fmt.Sprintf("call %d", i), err, dps.Throttled)
	}
	t.Error("never refused")
}
