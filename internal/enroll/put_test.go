package enroll_test

import (
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// The table in Put's comment, for both kinds.
func TestPutDecision(t *testing.T) {
	const current, other = "current", "other"
	tests := []struct {
		name   string
		stored bool
		cond   string // "", "*", current or other
		code   dps.Code
		taken  bool
	}{
		{name: "new", taken: true},
		{name: "new, any version", cond: "*", code: dps.PreconditionFailed},
		{name: "new, one version", cond: other, code: dps.PreconditionFailed},
		{name: "stored, no version", stored: true, code: dps.EnrollmentExists},
		{name: "stored, any version", stored: true, cond: "*", taken: true},
		{name: "stored, current version", stored: true, cond: current, taken: true},
		{name: "stored, other version", stored: true, cond: other, code: dps.PreconditionFailed},
	}
	for _, kind := range []dps.EntryKind{dps.Individual, dps.Group} {
		for _, tt := range tests {
			t.Run(string(kind)+", "+tt.name, func(t *testing.T) {
				w := newWorld(t)
				ref := dps.EntryRef{Kind: kind, ID: "Entry"}
				var before dps.Enrollment
				if tt.stored {
					before = w.put(t, draft(ref, byKeys(dps.KeyPair{})))
				}
				cond := map[string]dps.Condition{"": {}, "*": anyVersion, current: dps.Match(before.ETag), other: dps.Match(dps.NewETag())}[tt.cond]
				w.now = w.now.Add(time.Minute)
				after, err := w.Put(t.Context(), draft(dps.EntryRef{Kind: kind, ID: "eNTRY"}, byTPM()), cond)
				if !tt.taken {
					want := tt.code
					if want == dps.EnrollmentExists && kind == dps.Group {
						want = dps.GroupExists
					}
					fails(t, "Put", err, want)
					same(t, "returned", after, dps.Enrollment{})
				} else if err != nil {
					t.Fatal(err)
				}
				checkAfterPut(t, w, ref, before, after)
			})
		}
	}
}

// checkAfterPut compares the store with what Put returned: after, or before if
// nothing was written.
func checkAfterPut(t *testing.T, w *world, ref dps.EntryRef, before, after dps.Enrollment) {
	t.Helper()
	got, err := w.Get(t.Context(), in, ref)
	switch {
	case after.ETag != "":
		same(t, "stored", got, after)
		if after.ETag == before.ETag || !after.Updated.Equal(w.now) {
			t.Errorf("version %q at %v, want a new one at %v", after.ETag, after.Updated, w.now)
		}
		if before.ETag != "" && (!after.Created.Equal(before.Created) || after.Ref != ref) {
			t.Errorf("%v created %v, want %v created %v as before", after.Ref, after.Created, ref, before.Created)
		}
	case before.ETag != "":
		same(t, "untouched", got, before)
	case err == nil:
		t.Errorf("stored = %+v, want nothing", got)
	}
}

func TestPutFillsIn(t *testing.T) {
	w := newWorld(t)
	if e := w.put(t, draft(individual("a"), byTPM())); e.Status != dps.StatusEnabled {
		t.Errorf("status = %q, want enabled", e.Status)
	}
	for _, status := range []dps.ProvisioningStatus{dps.StatusNull, dps.StatusDisabled, dps.StatusEnabled} {
		d := draft(individual("a"), byTPM())
		d.Status = status
		if e := w.put(t, d); e.Status != status {
			t.Errorf("status = %q, want %q as given", e.Status, status)
		}
	}
}

func TestSymmetricKeys(t *testing.T) {
	given, later := dps.NewKeyPair(), dps.NewKeyPair()
	w := newWorld(t)
	keys := func(k dps.KeyPair) dps.KeyPair {
		t.Helper()
		return *w.put(t, draft(individual("sensor"), byKeys(k))).Attestation.SymmetricKey
	}
	first := keys(dps.KeyPair{Primary: given.Primary})
	if first.Primary.Base64() != given.Primary.Base64() || first.Secondary.IsZero() {
		t.Errorf("one given: %q and %q, want the given and a generated one", first.Primary.Base64(), first.Secondary.Base64())
	}
	same(t, "left out: kept", keys(dps.KeyPair{}), first)
	same(t, "one replaced", keys(dps.KeyPair{Secondary: later.Secondary}), dps.KeyPair{Primary: given.Primary, Secondary: later.Secondary})
	same(t, "both replaced", keys(later), later)

	w.put(t, draft(individual("sensor"), byTPM())) // another attestation ends the keys
	fresh := keys(dps.KeyPair{})
	for _, k := range []dps.Secret{fresh.Primary, fresh.Secondary} {
		if len(k.Reveal()) != 64 || k.Base64() == later.Primary.Base64() || k.Base64() == later.Secondary.Base64() {
			t.Error("after another attestation: want keys generated anew, of 64 bytes")
		}
	}
	if fresh.Primary.Base64() == fresh.Secondary.Base64() {
		t.Error("both generated keys are the same")
	}
}

func TestKeepCertificates(t *testing.T) {
	one, two := *certificate(t, "one"), *certificate(t, "two")
	sha1 := dps.SHA1Thumbprint(two.DER)
	tests := []struct {
		name                  string
		primary               *dps.Certificate // sent in full
		keepFirst, keepSecond string
		want                  dps.X509Attestation
		field                 string // the end of the member that the error names
	}{
		{name: "both", keepFirst: one.Thumbprint().String(), keepSecond: sha1, want: dps.X509Attestation{Primary: &one, Secondary: &two}},
		{name: "lower case", keepFirst: lower(one.Thumbprint().String()), want: dps.X509Attestation{Primary: &one}},
		{name: "swapped", keepFirst: sha1, keepSecond: one.Thumbprint().String(), want: dps.X509Attestation{Primary: &two, Secondary: &one}},
		{name: "only the second", keepSecond: sha1, want: dps.X509Attestation{Secondary: &two}},
		{name: "one sent", primary: &two, keepSecond: one.Thumbprint().String(), want: dps.X509Attestation{Primary: &two, Secondary: &one}},
		{name: "wrong first", keepFirst: "00FF", field: "primary"},
		{name: "wrong second", keepFirst: sha1, keepSecond: sha1[:39] + "x", field: "secondary"},
	}
	for _, kind := range []dps.EntryKind{dps.Individual, dps.Group} {
		for _, tt := range tests {
			t.Run(string(kind)+", "+tt.name, func(t *testing.T) {
				w, ref := newWorld(t), dps.EntryRef{Kind: kind, ID: "entry"}
				before := w.put(t, draft(ref, byX509(dps.X509Attestation{Primary: &one, Secondary: &two})))
				d := draft(ref, byX509(dps.X509Attestation{Primary: tt.primary}))
				d.KeepPrimary, d.KeepSecondary = tt.keepFirst, tt.keepSecond
				e, err := w.Put(t.Context(), d, anyVersion)
				if tt.field != "" {
					member := map[dps.EntryKind]string{dps.Individual: "clientCertificates", dps.Group: "signingCertificates"}[kind]
					fails(t, "Put", err, dps.Invalid, "attestation.x509."+member+"."+tt.field, "info")
					checkAfterPut(t, w, ref, before, dps.Enrollment{})
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				same(t, "certificates", *e.Attestation.X509, tt.want)
				checkAfterPut(t, w, ref, before, e)
			})
		}
	}
}

func lower(s string) string { return dps.EntryRef{ID: s}.Key() }

func TestNothingToKeep(t *testing.T) {
	w := newWorld(t)
	one := certificate(t, "one")
	d := draft(individual("sensor"), byX509(dps.X509Attestation{}))
	d.KeepPrimary = one.Thumbprint().String()
	_, err := w.Put(t.Context(), d, dps.Condition{})
	fails(t, "new enrollment", err, dps.Invalid, "attestation.x509.clientCertificates.primary")
	w.put(t, draft(individual("sensor"), byTPM()))
	_, err = w.Put(t.Context(), d, anyVersion)
	fails(t, "enrollment of another type", err, dps.Invalid, "attestation.x509.clientCertificates.primary")
	w.put(t, draft(individual("other"), byX509(dps.X509Attestation{Primary: one})))
	_, err = w.Put(t.Context(), d, anyVersion)
	fails(t, "another enrollment's", err, dps.Invalid, "attestation.x509.clientCertificates.primary")
}

func TestAttestationTypeMayChange(t *testing.T) {
	w, ref := newWorld(t), individual("sensor")
	w.upload(t, "root", *certificate(t, "root"))
	for _, a := range []dps.Attestation{
		byTPM(), byKeys(dps.NewKeyPair()), byX509(dps.X509Attestation{Primary: certificate(t, "one")}),
		byX509(dps.X509Attestation{CAPrimary: "root"}), byTPM(),
	} {
		w.now = w.now.Add(time.Second)
		e := w.put(t, draft(ref, a))
		same(t, "attestation", e.Attestation, a)
		got, err := w.Get(t.Context(), in, ref)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "stored", got, e)
	}
}

func TestWebhookIsUnmasked(t *testing.T) {
	const secret, open = "https://f.example.com/api?code=secret", "https://f.example.com/api"
	w := newWorld(t)
	for i, step := range []struct{ sent, want string }{ // refused where want is ""
		{secret, secret},
		{"https://f.example.com/api?****", secret},
		{"https://other.example.com/api?****", ""}, // the key of another one
		{open, open},
		{"https://f.example.com/api?****", ""}, // the key was given up above
		{secret, secret},
	} {
		d := draft(individual("sensor"), byTPM())
		d.Placement = dps.Placement{Policy: dps.Custom, Custom: &dps.CustomAllocation{WebhookURL: step.sent, APIVersion: "2019-03-31"}}
		cond := dps.Condition{Set: true, Any: true}
		if i == 0 {
			cond = dps.Condition{}
		}
		e, err := w.Put(t.Context(), d, cond)
		if step.want == "" {
			fails(t, "Put of "+step.sent, err, dps.Invalid, "customAllocationDefinition.webhookUrl: has a masked query")
			continue
		}
		if err != nil || e.Placement.Custom.WebhookURL != step.want {
			t.Errorf("sent %q, stored %v, %v, want %q", step.sent, e.Placement.Custom, err, step.want)
		}
	}
}

func TestCAReferences(t *testing.T) {
	w := newWorld(t)
	root := *certificate(t, "root")
	w.upload(t, "root", root)
	for _, ref := range []dps.EntryRef{individual("sensor"), group("line")} {
		_, err := w.Put(t.Context(), draft(ref, byX509(dps.X509Attestation{CAPrimary: "root", CASecondary: "ghost"})), dps.Condition{})
		fails(t, "reference that leads nowhere", err, dps.Invalid, "attestation.x509.caReferences", "ghost")
		w.put(t, draft(ref, byX509(dps.X509Attestation{CAPrimary: "ROOT"})))
	}
	_, err := w.Put(t.Context(), draft(group("next"), byX509(dps.X509Attestation{CAPrimary: "root"})), dps.Condition{})
	fails(t, "another group's", err, dps.Conflict, "line")
	_, err = w.Put(t.Context(), draft(group("next"), byX509(dps.X509Attestation{Primary: &root})), dps.Condition{})
	fails(t, "certificate of another group's", err, dps.Conflict, "line")
}

func TestDelete(t *testing.T) {
	for _, kind := range []dps.EntryKind{dps.Individual, dps.Group} {
		w, ref := newWorld(t), dps.EntryRef{Kind: kind, ID: "entry"}
		missing := map[dps.EntryKind]dps.Code{dps.Individual: dps.EnrollmentNotFound, dps.Group: dps.GroupNotFound}[kind]
		for _, cond := range []dps.Condition{{}, anyVersion, dps.Match(dps.NewETag())} {
			fails(t, "missing", w.Delete(t.Context(), in, ref, cond), missing)
			e := w.put(t, draft(ref, byTPM()))
			if cond.Set && !cond.Any {
				fails(t, "another version", w.Delete(t.Context(), in, ref, cond), dps.PreconditionFailed)
				cond = dps.Match(e.ETag)
			}
			if err := w.Delete(t.Context(), in, ref, cond); err != nil {
				t.Errorf("under %+v: %v", cond, err)
			}
			_, err := w.Get(t.Context(), in, ref)
			fails(t, "deleted", err, missing)
		}
	}
}

// Of many clients that create one enrollment at once, one succeeds.
func TestConcurrentCreate(t *testing.T) {
	w := newWorld(t)
	const clients = 16
	var mu sync.Mutex
	created := 0
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			_, err := w.Put(t.Context(), draft(individual("sensor"), byTPM()), dps.Condition{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created++
			} else {
				fails(t, "the others", err, dps.EnrollmentExists)
			}
		})
	}
	all.Wait()
	if created != 1 {
		t.Errorf("%d clients created it, want one", created)
	}
}
