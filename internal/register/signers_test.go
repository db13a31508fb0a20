package register_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
)

// Of a thousand CA certificates of one name, all are read and decoded once, not for each
// device, be it accepted or refused.
func TestNamesakesAreReadOnce(t *testing.T) {
	w := newWorld(t)
	counter := &work{Store: w.store}
	s := w.over(counter)
	var last *pki.Issued
	for i := range 200 {
		last = issue(t, pki.Request{Kind: pki.Root, CommonName: "Plant"})
		w.upload(t, dps.CAName(fmt.Sprintf("plant-%d", i)), last, true)
	}
	w.put(t, group("plant"), dps.X509Attestation{CAPrimary: "plant-199"}, nil)
	for i := range 5 {
		id := fmt.Sprintf("pump-%d", i)
		for name, req := range map[string]register.Request{
			"accepted": w.request(id, issue(t, pki.Request{Kind: pki.Device, CommonName: id, Issuer: last.Issuer()})),
			"refused":  w.request("x", issue(t, pki.Request{Kind: pki.Device, CommonName: "x", Issuer: issue(t, pki.Request{Kind: pki.Root, CommonName: "Plant"}).Issuer()})),
		} {
			before := counter.rows
			_, err := s.Register(t.Context(), req)
			if (err == nil) != (name == "accepted") {
				t.Fatalf("%s: %v", name, err)
			}
			if rows := counter.rows - before; i > 0 && rows > 12 {
				t.Errorf("%s, request %d: %d rows were read", name, i, rows)
			}
		}
	}
}

// What is remembered of signers never outlives a change.
func TestChangedSignersCountAtOnce(t *testing.T) {
	w := newWorld(t)
	n := 0
	admitted := func(what string, want bool) {
		t.Helper()
		n++
		id := fmt.Sprintf("dev-%d", n)
		_, err := w.Register(t.Context(), w.request(id, w.leaf(t, id)))
		if (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	admitted("no group", false)
	w.put(t, group("line"), dps.X509Attestation{Primary: certificateOf(w.root)}, nil)
	admitted("a new group", true)
	must(t, w.enroll.DeleteCACertificate(t.Context(), in, "root", dps.Condition{}))
	admitted("its CA certificate deleted", false)
	w.upload(t, "root", w.root, false)
	admitted("uploaded again", false)
	must(t, w.enroll.DeleteCACertificate(t.Context(), in, "root", dps.Condition{}))
	w.upload(t, "root", w.root, true)
	admitted("uploaded as verified", true)
	other := issue(t, pki.Request{Kind: pki.Root, CommonName: "Root"})
	w.put(t, group("line"), dps.X509Attestation{Primary: certificateOf(other)}, nil)
	admitted("the group has another certificate of the name", false)
	w.put(t, group("line"), dps.X509Attestation{CAPrimary: "root"}, nil)
	admitted("the group refers to the CA certificate", true)
	must(t, w.enroll.Delete(t.Context(), in, group("line"), dps.Condition{}))
	admitted("the group deleted", false)
}

// Changes and requests at the same time: in the end, what is stored decides.
func TestSignersWhileTheyChange(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 4 {
		id := fmt.Sprintf("dev-%d", i)
		req := w.request(id, w.leaf(t, id))
		wg.Go(func() {
			for range 50 {
				_, _ = w.Register(context.WithoutCancel(t.Context()), req)
			}
		})
	}
	for range 10 {
		w.group(t, nil)
		must(t, w.enroll.Delete(t.Context(), in, group("line"), dps.Condition{}))
	}
	wg.Wait()
	_, err := w.Register(t.Context(), w.request("late", w.leaf(t, "late")))
	fails(t, "without a group", err, dps.UnknownCredential)
	w.group(t, nil)
	_, err = w.Register(t.Context(), w.request("late", w.leaf(t, "late")))
	must(t, err)
}
