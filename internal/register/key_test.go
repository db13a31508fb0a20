package register_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/sas"
)

// keyed stores an enrollment that attests by keys, and returns these.
func (w *world) keyed(t *testing.T, ref dps.EntryRef, edit func(*dps.Enrollment)) dps.KeyPair {
	t.Helper()
	keys := dps.NewKeyPair()
	w.put(t, ref, dps.X509Attestation{}, func(e *dps.Enrollment) {
		e.Attestation = dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys}
		if edit != nil {
			edit(e)
		}
	})
	return keys
}

// tokened returns the call of a device that signs with key.
func (w *world) tokened(id string, key dps.Secret) register.Request {
	req := w.request(id, nil)
	resource := string(w.scope) + "/registrations/" + id
	req.Evidence.Token = sas.Sign(resource, "registration", key.Reveal(), w.clock().Add(time.Hour))
	return req
}

func TestKeys(t *testing.T) {
	w := newWorld(t)
	own := w.keyed(t, individual("pump"), nil)
	w.keyed(t, group("alpha"), nil)
	line := w.keyed(t, group("keyed-line"), withTwin)
	for _, tt := range []struct {
		name  string
		req   register.Request
		entry dps.EntryRef
		hub   dps.KeyPair
	}{
		{"primary", w.tokened("pump", own.Primary), individual("pump"), own},
		{"secondary", w.tokened("pump", own.Secondary), individual("pump"), own},
		{
			"derived", w.tokened("Sensor", dps.DeriveKey(line.Primary, "Sensor")), group("keyed-line"),
			dps.KeyPair{Primary: dps.DeriveKey(line.Primary, "Sensor"), Secondary: dps.DeriveKey(line.Secondary, "Sensor")},
		},
		{
			"derived, again", w.tokened("Sensor", dps.DeriveKey(line.Secondary, "Sensor")), group("keyed-line"),
			dps.KeyPair{Primary: dps.DeriveKey(line.Primary, "Sensor"), Secondary: dps.DeriveKey(line.Secondary, "Sensor")},
		},
	} {
		rec := w.registered(t, tt.req)
		if rec.Status != dps.Assigned || rec.Entry != tt.entry || rec.Attestation != dps.SymmetricKey || rec.Hub != hostName {
			t.Errorf("%s: record = %+v", tt.name, rec)
			continue
		}
		want := dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: tt.hub}
		if got := w.device(t, rec.Assignment.DeviceID); !got.Authentication.Equal(want) {
			t.Errorf("%s: the identity has other keys", tt.name)
		}
	}
}

func TestKeysRefused(t *testing.T) {
	w := newWorld(t)
	own := w.keyed(t, individual("sensor"), nil)
	line := w.keyed(t, group("keyed-line"), nil)
	w.put(t, individual("certified"), dps.X509Attestation{CAPrimary: "root"}, nil)
	expired := w.tokened("sensor", own.Primary)
	w.advance(2 * time.Hour)
	renamed := w.tokened("sensor", own.Primary)
	renamed.ID = "other"
	for _, tt := range []struct {
		name   string
		req    register.Request
		reason dps.Reason
	}{
		{"wrong key", w.tokened("sensor", dps.NewKey()), dps.ReasonWrongKey},
		{"group's key for an individual", w.tokened("sensor", dps.DeriveKey(line.Primary, "sensor")), dps.ReasonWrongKey},
		{"group's key itself", w.tokened("other", line.Primary), dps.ReasonNoEnrollment},
		{"key of another device", w.tokened("other", dps.DeriveKey(line.Primary, "another")), dps.ReasonNoEnrollment},
		{"token of another device", renamed, dps.ReasonTokenResource},
		{"expired", expired, dps.ReasonTokenExpired},
		{"enrollment by certificate", w.tokened("certified", own.Primary), dps.ReasonOtherAttestation},
		{"enrollment by keys, certificate shown", w.request("sensor", w.leaf(t, "sensor")), dps.ReasonOtherAttestation},
	} {
		_, err := w.Register(t.Context(), tt.req)
		fails(t, tt.name, err, dps.UnknownCredential)
		if last, _ := w.outcomes.last(); last.Reason != tt.reason {
			t.Errorf("%s: reason %q, want %q", tt.name, last.Reason, tt.reason)
		}
		if l := w.lastLine(t); l.Decision.Reason != string(tt.reason) || l.Decision.Remedy == "" {
			t.Errorf("%s: log line = %+v", tt.name, l)
		}
	}
}

func TestDisabledKeys(t *testing.T) {
	w := newWorld(t)
	keys := w.keyed(t, individual("sensor"), disabled)
	if rec := w.registered(t, w.tokened("sensor", keys.Primary)); rec.Status != dps.Disabled {
		t.Errorf("record = %+v", rec)
	}
}

// A poll is proved anew, by any token under the enrollment that decided.
func TestPollByKeys(t *testing.T) {
	w := newWorld(t)
	own, line := w.keyed(t, individual("pump"), nil), w.keyed(t, group("keyed-line"), nil)
	pump := w.registered(t, w.tokened("pump", own.Primary))
	sensor := w.registered(t, w.tokened("sensor", dps.DeriveKey(line.Primary, "sensor")))
	poll := func(req register.Request, rec register.Record) error {
		w.advance(5 * time.Second)
		_, err := w.Poll(t.Context(), req, rec.Operation)
		return err
	}
	must(t, poll(w.tokened("pump", own.Secondary), pump))
	must(t, poll(w.tokened("sensor", dps.DeriveKey(line.Secondary, "sensor")), sensor))
	fails(t, "wrong key", poll(w.tokened("pump", dps.NewKey()), pump), dps.UnknownCredential)
	fails(t, "wrong group key", poll(w.tokened("sensor", dps.NewKey()), sensor), dps.UnknownCredential)
	fails(t, "no token", poll(w.request("pump", nil), pump), dps.UnknownCredential)
	fails(t, "a certificate", poll(w.request("pump", selfSigned(t, "pump")), pump), dps.Unauthorized)
	stale := w.tokened("pump", own.Primary)
	w.advance(2 * time.Hour)
	fails(t, "expired", poll(stale, pump), dps.UnknownCredential)
	must(t, w.enroll.Delete(t.Context(), in, group("keyed-line"), dps.Condition{}))
	fails(t, "enrollment deleted", poll(w.tokened("sensor", dps.DeriveKey(line.Primary, "sensor")), sensor), dps.UnknownCredential)
}

// A device whose group was deleted is found under another one.
func TestGroupOfLastRegistrationIsGone(t *testing.T) {
	w := newWorld(t)
	first := w.keyed(t, group("first"), nil)
	w.registered(t, w.tokened("sensor", dps.DeriveKey(first.Primary, "sensor")))
	must(t, w.enroll.Delete(t.Context(), in, group("first"), dps.Condition{}))
	second := w.keyed(t, group("second"), nil)
	rec := w.registered(t, w.tokened("sensor", dps.DeriveKey(second.Primary, "sensor")))
	if rec.Entry != group("second") || rec.Status != dps.Assigned {
		t.Errorf("record = %+v", rec)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	req := w.request("sensor", w.leaf(t, "sensor"))
	s := register.New(register.Options{Store: w.store, Observer: w.outcomes, Log: w.logger(), Now: w.clock, Rate: 2})
	ticket, err := s.Register(t.Context(), req)
	must(t, err)
	_, err = s.LookUp(t.Context(), req)
	must(t, err)
	_, err = s.Register(t.Context(), req)
	fails(t, "third in a minute", err, dps.Throttled)
	_, err = s.LookUp(t.Context(), req)
	fails(t, "fourth in a minute", err, dps.Throttled)
	w.advance(time.Minute)
	_, err = s.LookUp(t.Context(), req)
	must(t, err)

	throttled := 0
	for range 20 {
		if _, err := s.Poll(t.Context(), req, ticket.Operation); err != nil {
			fails(t, "poll", err, dps.Throttled)
			throttled++
		}
	}
	if throttled == 0 || throttled == 20 {
		t.Errorf("%d of 20 polls at once were throttled", throttled)
	}
	w.advance(time.Minute)
	_, err = s.Poll(t.Context(), req, ticket.Operation)
	must(t, err)
}

// What a refused poll is told to be about is what it is about.
func TestPollByKeysExplained(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, w *world)
		poll   func(t *testing.T, w *world, good register.Request) register.Request
		reason dps.Reason
		check  string
	}{
		{
			name: "a certificate instead of the token", reason: dps.ReasonOperationOwner,
			poll: func(t *testing.T, w *world, _ register.Request) register.Request {
				return w.request("sensor", w.leaf(t, "sensor"))
			},
			check: "the device showed a client certificate, and registered with a token",
		},
		{
			name: "nothing", reason: dps.ReasonNoEvidence, check: "no client certificate and no token",
			poll: func(_ *testing.T, w *world, _ register.Request) register.Request { return w.request("sensor", nil) },
		},
		{
			name: "new keys of the group", reason: dps.ReasonWrongKey,
			check:  `the token is not signed with a key that is derived for "sensor" from the keys of the enrollment group line`,
			change: func(t *testing.T, w *world) { w.keyed(t, group("line"), nil) },
		},
		{
			name:   "the group attests by certificates now",
			reason: dps.ReasonOtherAttestation, check: "enrollment group line uses the attestation x509",
			change: func(t *testing.T, w *world) { w.put(t, group("line"), dps.X509Attestation{CAPrimary: "root"}, nil) },
		},
		{
			name: "the group is gone", reason: dps.ReasonNoEnrollment, check: "enrollment group line was deleted",
			change: func(t *testing.T, w *world) {
				must(t, w.enroll.Delete(t.Context(), in, group("line"), dps.Condition{}))
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			line := w.keyed(t, group("line"), nil)
			good := w.tokened("sensor", dps.DeriveKey(line.Primary, "sensor"))
			rec := w.registered(t, good)
			if tt.change != nil {
				tt.change(t, w)
			}
			if tt.poll != nil {
				good = tt.poll(t, w, good)
			}
			_, err := w.Poll(t.Context(), good, rec.Operation)
			fails(t, "poll", err, tt.reason.Code())
			if l := w.lastLine(t); l.Decision.Reason != string(tt.reason) || !strings.Contains(l.Decision.Checks, tt.check) {
				t.Errorf("log line = %+v, want %s and %q", l.Decision, tt.reason, tt.check)
			}
		})
	}
}
