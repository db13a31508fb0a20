package register_test

import (
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
)

func TestUnknownScope(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	req := w.request("sensor", w.leaf(t, "sensor"))
	rec := w.registered(t, req)
	req.Scope = "0ne00000000"
	_, err := w.Register(t.Context(), req)
	fails(t, "Register", err, dps.InstanceNotFound)
	_, err = w.Poll(t.Context(), req, rec.Operation)
	fails(t, "Poll", err, dps.InstanceNotFound)
	_, err = w.LookUp(t.Context(), req)
	fails(t, "LookUp", err, dps.InstanceNotFound)
}

// Every refusal is one log line that lists the checks in order, the failed one
// last, and says what to do; the device hears no more than DPS tells it.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		device func(t *testing.T, w *world) *pki.Issued
		token  string
		reason dps.Reason
		checks []string // in this order
		remedy string
		kind   dps.AttestationType
	}{
		{
			name: "nothing shown", device: func(*testing.T, *world) *pki.Issued { return nil },
			reason: dps.ReasonNoEvidence, checks: []string{"evidence: FAILED"}, remedy: "certificate",
		},
		{
			name: "a token that is none", device: func(*testing.T, *world) *pki.Issued { return nil }, token: "SharedAccessSignature sr=secret",
			reason: dps.ReasonTokenMalformed, checks: []string{"token: FAILED"}, remedy: "token", kind: dps.SymmetricKey,
		},
		{
			name: "another name", kind: dps.X509, device: func(t *testing.T, w *world) *pki.Issued { return w.leaf(t, "other") },
			reason: dps.ReasonNameMismatch, checks: []string{"chain length: ok", "common name: FAILED"}, remedy: "registration ID",
		},
		{
			name: "no enrollment", kind: dps.X509, device: func(t *testing.T, _ *world) *pki.Issued { return selfSigned(t, "sensor") },
			reason: dps.ReasonNoEnrollment, checks: []string{"chain length: ok", "common name: ok", "enrollment: FAILED"}, remedy: "Create",
		},
		{
			name: "unverified CA", kind: dps.X509, device: func(t *testing.T, w *world) *pki.Issued {
				ca := issue(t, pki.Request{Kind: pki.Root, CommonName: "Unproved"})
				w.upload(t, "unproved", ca, false)
				w.put(t, group("unproved"), dps.X509Attestation{CAPrimary: "unproved"}, nil)
				return issue(t, pki.Request{Kind: pki.Device, CommonName: "sensor", Issuer: ca.Issuer()})
			},
			reason: dps.ReasonCANotVerified,
			checks: []string{"chain length: ok", "common name: ok", "enrollment: ok", "proof of possession: FAILED"},
			remedy: "mooring certificate generate-verification-code --certificate-name unproved",
		},
		{
			name: "another enrollment's certificate", kind: dps.X509, device: func(t *testing.T, w *world) *pki.Issued {
				device := selfSigned(t, "sensor")
				w.put(t, individual("owner"), dps.X509Attestation{Primary: certificateOf(device)}, nil)
				return device
			},
			reason: dps.ReasonCertificateTaken, checks: []string{"common name: ok", "enrollment: FAILED"}, remedy: "common name",
		},
		{
			name: "chain too long", kind: dps.X509, device: func(t *testing.T, w *world) *pki.Issued {
				device := *w.leaf(t, "sensor")
				for len(device.Chain) < 20 {
					device.Chain = append(device.Chain, w.root.Certificate)
				}
				return &device
			},
			reason: dps.ReasonChainTooLong, checks: []string{"chain length: FAILED"}, remedy: "leaf",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.group(t, nil)
			req := w.request("sensor", tt.device(t, w))
			req.Evidence.Token = tt.token
			_, err := w.Register(t.Context(), req)
			fails(t, "Register", err, tt.reason.Code())
			checkRefusal(t, w, tt.reason, tt.checks, tt.remedy)
			if last, n := w.outcomes.last(); n != 1 || last != (outcome{tt.kind, dps.Unassigned, tt.reason}) {
				t.Errorf("observer heard %+v, %d times", last, n)
			}
			if got := dps.MessageOf(err); strings.Contains(got, tt.remedy) {
				t.Errorf("the device is told %q", got)
			}
			if strings.Contains(w.log.text.String(), "sr=secret") {
				t.Error("the log tells the token")
			}
			_, err = w.Record(t.Context(), in, "sensor")
			fails(t, "a refusal leaves no record", err, dps.RegistrationNotFound)
			_, err = w.LookUp(t.Context(), req)
			fails(t, "LookUp", err, tt.reason.Code())
		})
	}
}

// checkRefusal looks at the latest log line.
func checkRefusal(t *testing.T, w *world, reason dps.Reason, checks []string, remedy string) {
	t.Helper()
	l := w.lastLine(t)
	if l.Level != "INFO" || l.Message != "registration refused" || l.RegistrationID != "sensor" || l.Scope != string(w.scope) ||
		l.TrackingID != "tracking-1" || l.Remote != "192.0.2.7:4711" {
		t.Errorf("log line = %+v", l)
	}
	if l.Decision.Reason != string(reason) || !strings.Contains(l.Decision.Remedy, remedy) {
		t.Errorf("decision = %+v, want reason %s and a remedy with %q", l.Decision, reason, remedy)
	}
	at := 0
	for _, check := range checks {
		i := strings.Index(l.Decision.Checks[at:], check)
		if i < 0 {
			t.Errorf("checks = %q, want %q in this order", l.Decision.Checks, checks)
			return
		}
		at += i
	}
	if strings.Contains(l.Decision.Checks[at+1:], "; ") {
		t.Errorf("checks = %q, want the failed one last", l.Decision.Checks)
	}
}

func disabled(e *dps.Enrollment) { e.Status = dps.StatusDisabled }

func TestDisabled(t *testing.T) {
	tests := []struct {
		name  string
		setup func(t *testing.T, w *world, device *pki.Issued)
		entry dps.EntryRef
	}{
		{"group", func(t *testing.T, w *world, _ *pki.Issued) { w.group(t, disabled) }, group("line")},
		{"individual under an enabled group", func(t *testing.T, w *world, device *pki.Issued) {
			w.group(t, nil)
			w.put(t, individual("sensor"), dps.X509Attestation{Primary: certificateOf(device)}, disabled)
		}, individual("sensor")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			device := w.leaf(t, "sensor")
			tt.setup(t, w, device)
			req := w.request("sensor", device)
			rec := w.registered(t, req)
			if rec.Status != dps.Disabled || rec.Entry != tt.entry || rec.Assignment != nil || rec.Failure != nil {
				t.Errorf("record = %+v", rec)
			}
			if last, n := w.outcomes.last(); n != 1 || last != (outcome{dps.X509, dps.Disabled, dps.ReasonDisabled}) {
				t.Errorf("observer heard %+v, %d times", last, n)
			}
			checkRefusal(
				t,
				w,
				dps.ReasonDisabled,
				[]string{"common name: ok", "enrollment enabled: FAILED"},
				"update "+tt.entry.ID+" --provisioning-status enabled",
			)
			_, err := w.store.HubDevice(t.Context(), in, dps.EmbeddedHub, "sensor")
			fails(t, "identity", err, dps.DeviceNotFound)
		})
	}
}

// Disabling takes effect at once, and what the device had stays for later.
func TestDisabledLater(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	req := w.request("sensor", w.leaf(t, "sensor"))
	first := w.registered(t, req)
	identity := w.device(t, "sensor")
	w.group(t, disabled)

	looked, err := w.LookUp(t.Context(), req)
	if err != nil || looked.Status != dps.Disabled || looked.Operation != first.Operation {
		t.Errorf("LookUp = %+v, %v", looked, err)
	}
	checkRefusal(t, w, dps.ReasonDisabled, []string{"enrollment enabled: FAILED"}, "enable")
	if rec, err := w.Record(t.Context(), in, "sensor"); err != nil || rec.Status != dps.Assigned {
		t.Errorf("a look-up changed the record: %+v, %v", rec, err)
	}
	rec := w.registered(t, req)
	if rec.Status != dps.Disabled || *rec.Assignment != *first.Assignment || w.device(t, "sensor").ETag != identity.ETag {
		t.Errorf("registration = %+v", rec)
	}
	w.group(t, nil)
	if rec := w.registered(t, req); rec.Status != dps.Assigned || *rec.Assignment != *first.Assignment {
		t.Errorf("enabled again = %+v", rec)
	}
}

func TestPollNeedsTheSameProof(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	device := w.leaf(t, "sensor")
	rec := w.registered(t, w.request("sensor", device))
	w.registered(t, w.request("other", w.leaf(t, "other")))

	_, err := w.Poll(t.Context(), w.request("sensor", w.leaf(t, "sensor")), rec.Operation)
	fails(t, "another certificate", err, dps.Unauthorized, "Unauthorized")
	checkRefusal(t, w, dps.ReasonOperationOwner, []string{"same evidence as at registration: FAILED"}, "Poll with the certificate")
	_, err = w.Poll(t.Context(), w.request("sensor", nil), rec.Operation)
	fails(t, "no certificate", err, dps.Unauthorized)
	checkRefusal(t, w, dps.ReasonOperationOwner, []string{"nothing shown"}, "Poll with the certificate")
	_, err = w.Poll(t.Context(), w.request("sensor", device), dps.NewOperationID())
	fails(t, "unknown operation", err, dps.OperationNotFound)
	_, err = w.Poll(t.Context(), w.request("other", device), rec.Operation)
	fails(t, "another device's operation", err, dps.OperationNotFound)
	if _, err := w.Poll(t.Context(), w.request("SENSOR", device), rec.Operation); err != nil {
		t.Errorf("another spelling: %v", err)
	}
}

func TestLookUp(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	device := w.leaf(t, "sensor")
	req := w.request("sensor", device)
	_, err := w.LookUp(t.Context(), req)
	fails(t, "before any registration", err, dps.RegistrationNotFound)
	_, err = w.Record(t.Context(), in, "sensor")
	fails(t, "Record before any registration", err, dps.RegistrationNotFound)
	rec := w.registered(t, req)
	for name, read := range map[string]func() (register.Record, error){
		"LookUp": func() (register.Record, error) { return w.LookUp(t.Context(), req) },
		"Record": func() (register.Record, error) { return w.Record(t.Context(), in, "SENSOR") },
		"with a renewed certificate": func() (register.Record, error) {
			return w.LookUp(t.Context(), w.request("sensor", w.leaf(t, "sensor")))
		},
	} {
		if got, err := read(); err != nil || got.ETag != rec.ETag || got.Hub != hostName {
			t.Errorf("%s = %+v, %v; want %+v", name, got, err, rec)
		}
	}
	_, err = w.LookUp(t.Context(), w.request("sensor", selfSigned(t, "sensor")))
	fails(t, "with a foreign certificate", err, dps.UnknownCredential)
}

func TestConcurrentChanges(t *testing.T) {
	w := newWorld(t)
	w.group(t, nil)
	req := w.request("sensor", w.leaf(t, "sensor"))
	tries, busy := 0, 3
	o := &overlay{Store: w.store, commit: func(dps.RegistrationChange) error {
		if tries++; tries <= busy {
			return dps.Errorf(dps.ConcurrentChange, "Precondition failed.")
		}
		return nil
	}}
	if _, err := w.over(o).Register(t.Context(), req); err != nil || tries != 4 {
		t.Errorf("after 3 concurrent changes: %v, %d tries", err, tries)
	}
	tries, busy = 0, 1<<20
	_, err := w.over(o).Register(t.Context(), req)
	fails(t, "endless changes", err, dps.ConcurrentChange)
	if tries > 1000 {
		t.Errorf("gave up after %d tries", tries)
	}
}

// An enrollment that is changed after the device was attested, and before its assignment is
// written, decides as it is then.
func TestEnrollmentChangesDuringARequest(t *testing.T) {
	for name, tt := range map[string]struct {
		between func(t *testing.T, w *world)
		want    dps.Code // 0: an outcome
		status  dps.RegistrationStatus
		reason  dps.Reason
	}{
		"deleted": {between: func(t *testing.T, w *world) {
			must(t, w.enroll.Delete(t.Context(), in, group("line"), dps.Condition{}))
		}, want: dps.UnknownCredential, reason: dps.ReasonNoEnrollment},
		"disabled": {between: func(t *testing.T, w *world) {
			w.change(t, group("line"), disabled)
		}, status: dps.Disabled, reason: dps.ReasonDisabled},
		"new keys": {between: func(t *testing.T, w *world) {
			w.change(t, group("line"), func(e *dps.Enrollment) { *e.Attestation.SymmetricKey = dps.NewKeyPair() })
		}, want: dps.UnknownCredential, reason: dps.ReasonNoEnrollment},
		"still the same device": {between: func(t *testing.T, w *world) { w.change(t, group("line"), func(*dps.Enrollment) {}) }, status: dps.Assigned},
		"disabled by an individual enrollment": {between: func(t *testing.T, w *world) {
			w.keyed(t, individual("sensor"), nil)
			w.change(t, group("line"), func(*dps.Enrollment) {})
		}, want: dps.UnknownCredential, reason: dps.ReasonWrongKey},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			keys := w.keyed(t, group("line"), nil)
			req := w.tokened("sensor", dps.DeriveKey(keys.Primary, "sensor"))
			tries := 0
			s := w.over(&overlay{Store: w.store, commit: func(dps.RegistrationChange) error {
				if tries++; tries == 1 {
					tt.between(t, w)
				}
				return nil
			}})
			_, err := s.Register(t.Context(), req)
			if tt.want != dps.Code(0) {
				fails(t, "registration", err, tt.want)
				if _, err := w.store.Registration(t.Context(), in, "sensor"); dps.CodeOf(err) != dps.RegistrationNotFound {
					t.Errorf("there is a record: %v", err)
				}
			} else {
				must(t, err)
				reg, err := w.store.Registration(t.Context(), in, "sensor")
				must(t, err)
				if reg.Status != tt.status || tt.status == dps.Disabled && reg.Assignment != nil {
					t.Errorf("record = %+v", reg)
				}
			}
			if o, n := w.outcomes.last(); n != 1 || o.Reason != tt.reason {
				t.Errorf("%d outcomes, the last %+v", n, o)
			}
		})
	}
}

// A failure of the store is no refusal: the device may come again.
func TestStoreUnavailable(t *testing.T) {
	down := dps.Errorf(dps.Unavailable, "Try again later.")
	fail := func(method string) func(*overlay) {
		return func(o *overlay) { o.fail = map[string]error{method: down} }
	}
	only := func(kind dps.EntryKind) func(*overlay) {
		return func(o *overlay) {
			o.enrollment = func(ref dps.EntryRef) error {
				if ref.Kind == kind {
					return down
				}
				return nil
			}
		}
	}
	for name, set := range map[string]func(*overlay){
		"Registration": fail("Registration"), "Anchors": fail("Anchors"), "CertificateOwner": fail("CertificateOwner"),
		"individual": only(dps.Individual), "group": only(dps.Group),
		"Hubs":   func(o *overlay) { o.hubs = func() ([]dps.LinkedHub, error) { return nil, down } },
		"Commit": func(o *overlay) { o.commit = func(dps.RegistrationChange) error { return down } },
		// The identity is looked for only once writing a new one met another.
		"HubDevice": func(o *overlay) {
			fail("HubDevice")(o)
			o.commit = func(dps.RegistrationChange) error { return dps.Errorf(dps.ConcurrentChange, "Precondition failed.") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.group(t, nil)
			o := &overlay{Store: w.store}
			set(o)
			_, err := w.over(o).Register(t.Context(), w.request("sensor", w.leaf(t, "sensor")))
			fails(t, "Register", err, dps.Unavailable)
			_, err = w.Record(t.Context(), in, "sensor")
			fails(t, "record", err, dps.RegistrationNotFound)
		})
	}
	w := newWorld(t)
	w.group(t, nil)
	req := w.request("sensor", w.leaf(t, "sensor"))
	rec := w.registered(t, req)
	s := w.over(&overlay{Store: w.store, hubs: func() ([]dps.LinkedHub, error) { return nil, down }})
	_, err := s.Poll(t.Context(), req, rec.Operation)
	fails(t, "Poll", err, dps.Unavailable)
	s = w.over(&overlay{Store: w.store, fail: map[string]error{"Anchors": down}})
	_, err = s.LookUp(t.Context(), req)
	fails(t, "LookUp", err, dps.Unavailable)
}
