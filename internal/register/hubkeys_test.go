package register_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
)

// counted counts how often all groups with keys are fetched.
type counted struct {
	register.Store
	keyGroups atomic.Int64
}

func (c *counted) KeyGroups(ctx context.Context, in dps.InstanceID) ([]dps.Enrollment, error) {
	c.keyGroups.Add(1)
	return c.Store.KeyGroups(ctx, in)
}

// All groups are read for the first search, and again after one was changed.
func TestGroupOfLastRegistrationIsTriedFirst(t *testing.T) {
	w := newWorld(t)
	store := &counted{Store: w.store}
	s := w.over(store)
	pairs := map[string]dps.KeyPair{}
	for i := range 20 {
		id := fmt.Sprintf("line-%02d", i)
		pairs[id] = w.keyed(t, group(id), nil)
	}
	own := w.keyed(t, individual("pump"), nil)
	registers := func(what string, req register.Request, entry dps.EntryRef, looks int64) {
		t.Helper()
		before := store.keyGroups.Load()
		ticket, err := s.Register(t.Context(), req)
		must(t, err)
		rec, err := s.Poll(t.Context(), req, ticket.Operation)
		must(t, err)
		if rec.Entry != entry || rec.Status != dps.Assigned {
			t.Errorf("%s: record = %+v", what, rec)
		}
		if got := store.keyGroups.Load() - before; got != looks {
			t.Errorf("%s: all groups were fetched %d times, want %d", what, got, looks)
		}
		w.advance(time.Minute)
	}
	derived := func(group string) register.Request {
		return w.tokened("sensor", dps.DeriveKey(pairs[group].Secondary, "sensor"))
	}
	registers("first", derived("line-13"), group("line-13"), 1)
	registers("again", derived("line-13"), group("line-13"), 0)
	registers("under another group", derived("line-02"), group("line-02"), 0)
	registers("again there", derived("line-02"), group("line-02"), 0)
	registers("individual", w.tokened("pump", own.Primary), individual("pump"), 0)
	pairs["line-20"] = w.keyed(t, group("line-20"), nil)
	registers("under a new group", derived("line-20"), group("line-20"), 1)
	pairs["line-03"] = w.keyed(t, group("line-03"), nil) // other keys
	registers("under changed keys", derived("line-03"), group("line-03"), 1)

	_, err := s.Register(t.Context(), w.tokened("sensor", dps.NewKey()))
	fails(t, "wrong key", err, dps.UnknownCredential)
	if l := w.lastLine(t); l.Decision.Reason != string(dps.ReasonNoEnrollment) || l.Decision.Remedy == "" {
		t.Errorf("log line = %+v", l)
	}
}

// The identity at the hub has the keys that the device proves itself with, and new
// ones at the next registration after they changed.
func TestRolledKeysReachTheHub(t *testing.T) {
	w := newWorld(t)
	own, line := w.keyed(t, individual("pump"), nil), w.keyed(t, group("keyed-line"), nil)
	w.registered(t, w.tokened("pump", own.Primary))
	w.registered(t, w.tokened("sensor", dps.DeriveKey(line.Primary, "sensor")))
	before := w.device(t, "pump")

	w.registered(t, w.tokened("pump", own.Secondary))
	if again := w.device(t, "pump"); again.ETag != before.ETag || again.GenerationID != before.GenerationID {
		t.Error("a registration with nothing new rewrites the identity")
	}
	own, line = w.keyed(t, individual("pump"), nil), w.keyed(t, group("keyed-line"), nil) // new keys
	w.advance(time.Minute)
	w.registered(t, w.tokened("pump", own.Primary))
	w.registered(t, w.tokened("sensor", dps.DeriveKey(line.Secondary, "sensor")))
	derived := dps.KeyPair{Primary: dps.DeriveKey(line.Primary, "sensor"), Secondary: dps.DeriveKey(line.Secondary, "sensor")}
	for id, keys := range map[dps.DeviceID]dps.KeyPair{"pump": own, "sensor": derived} {
		if !w.device(t, id).Authentication.Equal(dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: keys}) {
			t.Errorf("%s: the identity has not the new keys", id)
		}
	}
	if after := w.device(t, "pump"); after.GenerationID != before.GenerationID || after.ETag == before.ETag {
		t.Errorf("identity %+v became %+v: want the same one with a new etag", before, after)
	}
}

// A device that shows a certificate and a token is judged by the token.
func TestCertificateAndToken(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	own := w.keyed(t, individual("pump"), nil)
	both := func(id string, key dps.Secret, shown *pki.Issued) register.Request {
		req := w.tokened(id, key)
		req.Evidence.Chain = shown.Chain
		return req
	}
	rec := w.registered(t, both("pump", own.Primary, w.leaf(t, "pump")))
	if rec.Attestation != dps.SymmetricKey || rec.Entry != individual("pump") {
		t.Errorf("record = %+v", rec)
	}
	w.advance(time.Minute)
	if _, err := w.Poll(t.Context(), w.tokened("pump", own.Secondary), rec.Operation); err != nil {
		t.Errorf("poll without the certificate: %v", err)
	}
	_, err := w.Register(t.Context(), both("press", dps.NewKey(), w.leaf(t, "press")))
	fails(t, "a wrong token beside a right certificate", err, dps.UnknownCredential)
	press := w.registered(t, w.request("press", w.leaf(t, "press")))
	_, err = w.Poll(t.Context(), w.tokened("press", dps.NewKey()), press.Operation)
	fails(t, "poll by a token for a registration by certificate", err, dps.Unauthorized)
}

func TestKeyGroupDisabled(t *testing.T) {
	w := newWorld(t)
	line := w.keyed(t, group("keyed-line"), disabled)
	req := w.tokened("sensor", dps.DeriveKey(line.Primary, "sensor"))
	for range 2 {
		if rec := w.registered(t, req); rec.Status != dps.Disabled || rec.Entry != group("keyed-line") || rec.Assignment != nil {
			t.Errorf("record = %+v", rec)
		}
	}
	if last, _ := w.outcomes.last(); last.Reason != dps.ReasonDisabled || last.Kind != dps.SymmetricKey {
		t.Errorf("outcome = %+v", last)
	}
}

// The individual enrollment decides alone, also when it is disabled or gone later.
func TestIndividualBeforeGroup(t *testing.T) {
	w := newWorld(t)
	line := w.keyed(t, group("keyed-line"), nil)
	own := w.keyed(t, individual("sensor"), disabled)
	derived := w.tokened("sensor", dps.DeriveKey(line.Primary, "sensor"))
	_, err := w.Register(t.Context(), derived)
	fails(t, "group's key", err, dps.UnknownCredential)
	rec := w.registered(t, w.tokened("sensor", own.Primary))
	if rec.Status != dps.Disabled {
		t.Errorf("record = %+v", rec)
	}
	must(t, w.enroll.Delete(t.Context(), in, individual("sensor"), dps.Condition{}))
	_, err = w.Poll(t.Context(), w.tokened("sensor", own.Primary), rec.Operation)
	fails(t, "poll after the enrollment is gone", err, dps.UnknownCredential, "Unauthorized")
	if rec := w.registered(t, derived); rec.Status != dps.Assigned || rec.Entry != group("keyed-line") {
		t.Errorf("record = %+v", rec)
	}
}
