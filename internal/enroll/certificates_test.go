package enroll_test

import (
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/pki"
)

func yes() *bool { b := true; return &b }

func no() *bool { b := false; return &b }

func (w *world) ca(t *testing.T, name dps.CAName) dps.CACertificate {
	t.Helper()
	c, err := w.CACertificate(t.Context(), in, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUpload(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	put := func(up enroll.Upload, cond dps.Condition) (dps.CACertificate, error) {
		w.now = w.now.Add(time.Second)
		return w.PutCACertificate(ctx, in, up, cond)
	}
	one, two := certificate(t, "one"), certificate(t, "two")
	_, err := put(enroll.Upload{Name: "Root"}, dps.Condition{})
	fails(t, "without certificate", err, dps.Invalid, "certificate")
	for _, cond := range []dps.Condition{anyVersion, dps.Match(dps.NewETag())} {
		_, err = put(enroll.Upload{Name: "Root", Certificate: one}, cond)
		fails(t, "If-Match on nothing", err, dps.PreconditionFailed)
	}
	first, err := put(enroll.Upload{Name: "Root", Certificate: one}, dps.Condition{})
	if err != nil || first.Verified || first.Challenge != nil {
		t.Fatalf("first = %+v, %v", first, err)
	}
	same(t, "stored", w.ca(t, "rOOT"), first)
	_, err = put(enroll.Upload{Name: "root", Certificate: two}, dps.Condition{})
	fails(t, "again", err, dps.CertificateExists, "Root")
	_, err = put(enroll.Upload{Name: "root", Certificate: two}, dps.Match(dps.NewETag()))
	fails(t, "another version", err, dps.PreconditionFailed)
	same(t, "untouched", w.ca(t, "root"), first)

	second, err := put(enroll.Upload{Name: "ROOT", Certificate: two, Verified: yes()}, dps.Match(first.ETag))
	if err != nil || !second.Verified || second.Name != "Root" || !second.Created.Equal(first.Created) || second.ETag == first.ETag {
		t.Fatalf("second = %+v, %v", second, err)
	}
	same(t, "replaced", w.ca(t, "root"), second)
	third, err := put(enroll.Upload{Name: "skipped", Certificate: one, Verified: yes()}, dps.Condition{})
	if err != nil || !third.Verified {
		t.Errorf("uploaded as verified = %+v, %v", third, err)
	}
	all, err := w.CACertificates(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "all", all, []dps.CACertificate{second, third})
}

// What a replacement does to the proof of possession.
func TestReplacementAndProof(t *testing.T) {
	one, two := certificate(t, "one"), certificate(t, "two")
	tests := []struct {
		name       string
		up         enroll.Upload
		verified   bool
		challenged bool
	}{
		{"nothing sent", enroll.Upload{}, true, true},
		{"the same certificate", enroll.Upload{Certificate: one}, true, true},
		{"another certificate", enroll.Upload{Certificate: two}, false, false},
		{"another certificate, verified", enroll.Upload{Certificate: two, Verified: yes()}, true, false},
		{"verified", enroll.Upload{Verified: yes()}, true, true},
		{"not verified", enroll.Upload{Verified: no()}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.upload(t, "root", *one)
			if _, err := w.PutCACertificate(t.Context(), in, enroll.Upload{Name: "root", Verified: yes()}, anyVersion); err != nil {
				t.Fatal(err)
			}
			if _, err := w.GenerateCode(t.Context(), in, "root", dps.Condition{}); err != nil {
				t.Fatal(err)
			}
			tt.up.Name = "root"
			got, err := w.PutCACertificate(t.Context(), in, tt.up, anyVersion)
			if err != nil {
				t.Fatal(err)
			}
			if got.Verified != tt.verified || (got.Challenge != nil) != tt.challenged {
				t.Errorf("verified %t, challenge %v; want %t and %t", got.Verified, got.Challenge, tt.verified, tt.challenged)
			}
		})
	}
}

func TestProofOfPossession(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ca, other := root(t, "CA"), root(t, "Other")
	w.upload(t, "root", certificateOf(ca))
	w.upload(t, "other", certificateOf(other))
	_, err := w.Verify(ctx, in, "root", proofFor(t, ca, dps.NewChallenge(w.now).Code), dps.Condition{})
	fails(t, "before any code", err, dps.Invalid, "generate one")

	old := code(t, w, "root")
	current := code(t, w, "root")
	others := code(t, w, "other")
	impostor := root(t, "Impostor")
	for name, tt := range map[string]struct {
		proof dps.Certificate
		says  string
	}{
		"earlier code":       {proofFor(t, ca, old), "common name"},
		"other CA's code":    {proofFor(t, ca, others), "common name"},
		"other CA's key":     {proofFor(t, other, current), "issuer"},
		"key of nobody":      {proofNamed(t, ca, current), "not signed by the key of root"},
		"self-signed":        {certificateOf(impostor), "common name"},
		"the CA certificate": {certificateOf(ca), "common name"},
	} {
		_, err := w.Verify(ctx, in, "root", tt.proof, dps.Condition{})
		fails(t, name, err, dps.Invalid, "certificate", tt.says)
		if got := w.ca(t, "root"); got.Verified || got.Challenge == nil {
			t.Errorf("%s: verified %t, challenge %v after a refusal", name, got.Verified, got.Challenge)
		}
	}
	got, err := w.Verify(ctx, in, "ROOT", proofFor(t, ca, current), dps.Condition{})
	if err != nil || !got.Verified || got.Challenge != nil {
		t.Fatalf("verified = %+v, %v", got, err)
	}
	same(t, "stored", w.ca(t, "root"), got)
	_, err = w.Verify(ctx, in, "root", proofFor(t, ca, current), dps.Condition{})
	fails(t, "a code is used once", err, dps.Invalid)
	if w.ca(t, "other").Verified {
		t.Error("the other CA is verified too")
	}
}

// code generates a verification code.
func code(t *testing.T, w *world, name dps.CAName) string {
	t.Helper()
	c, err := w.GenerateCode(t.Context(), in, name, dps.Condition{})
	if err != nil || c.Challenge == nil {
		t.Fatalf("GenerateCode = %+v, %v", c, err)
	}
	if !c.Challenge.Expires.Equal(w.now.Add(7 * 24 * time.Hour)) {
		t.Errorf("expires %v, want in 7 days from %v", c.Challenge.Expires, w.now)
	}
	return c.Challenge.Code
}

func TestCodesExpire(t *testing.T) {
	w := newWorld(t)
	ca := root(t, "CA")
	w.upload(t, "root", certificateOf(ca))
	proof := proofFor(t, ca, code(t, w, "root"))
	w.now = w.now.Add(7 * 24 * time.Hour)
	_, err := w.Verify(t.Context(), in, "root", proof, dps.Condition{})
	fails(t, "expired", err, dps.Invalid, "expired", "generate a new one")
	w.now = w.now.Add(-time.Nanosecond)
	if _, err := w.Verify(t.Context(), in, "root", proof, dps.Condition{}); err != nil {
		t.Errorf("at the last moment: %v", err)
	}
}

func TestCAConditions(t *testing.T) {
	w := newWorld(t)
	ca := issue(t, pki.Request{Kind: pki.Root, CommonName: "CA"})
	steps := []struct {
		name string
		call func(cond dps.Condition) error
	}{
		{"GenerateCode", func(cond dps.Condition) error { _, err := w.GenerateCode(t.Context(), in, "root", cond); return err }},
		{"Verify", func(cond dps.Condition) error {
			proof := certificateOf(ca)
			if c, err := w.CACertificate(t.Context(), in, "root"); err == nil && c.Challenge != nil {
				proof = proofFor(t, ca, c.Challenge.Code)
			}
			_, err := w.Verify(t.Context(), in, "root", proof, cond)
			return err
		}},
		{"DeleteCACertificate", func(cond dps.Condition) error { return w.DeleteCACertificate(t.Context(), in, "root", cond) }},
	}
	for _, step := range steps {
		for _, cond := range []dps.Condition{{}, anyVersion, dps.Match(dps.NewETag())} {
			fails(t, step.name+" of nothing", step.call(cond), dps.CertificateNotFound, "root")
		}
	}
	for _, cond := range []func() dps.Condition{
		func() dps.Condition { return dps.Condition{} },
		func() dps.Condition { return anyVersion },
		func() dps.Condition { return dps.Match(w.ca(t, "root").ETag) },
	} {
		before := w.upload(t, "root", certificateOf(ca))
		for _, step := range steps {
			fails(t, step.name+" of another version", step.call(dps.Match(dps.NewETag())), dps.PreconditionFailed)
			same(t, "untouched by "+step.name, w.ca(t, "root"), before)
			if err := step.call(cond()); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			if step.name != "DeleteCACertificate" {
				after := w.ca(t, "root")
				if after.ETag == before.ETag {
					t.Errorf("%s kept the version", step.name)
				}
				before = after
			}
		}
		_, err := w.CACertificate(t.Context(), in, "root")
		fails(t, "deleted", err, dps.CertificateNotFound)
	}
}

func TestCAInUse(t *testing.T) {
	w := newWorld(t)
	ca := w.upload(t, "root", *certificate(t, "root"))
	w.put(t, draft(group("Line-1"), byX509(dps.X509Attestation{CAPrimary: "root"})))
	for _, cond := range []dps.Condition{{}, anyVersion, dps.Match(ca.ETag)} {
		fails(t, "in use", w.DeleteCACertificate(t.Context(), in, "root", cond), dps.Conflict, "Line-1")
	}
	taken := certificate(t, "taken")
	w.put(t, draft(group("Line-2"), byX509(dps.X509Attestation{Primary: taken})))
	_, err := w.PutCACertificate(t.Context(), in, enroll.Upload{Name: "root", Certificate: taken}, anyVersion)
	fails(t, "another's certificate", err, dps.Conflict, "Line-2")
	if err := w.Delete(t.Context(), in, group("Line-1"), dps.Condition{}); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteCACertificate(t.Context(), in, "root", dps.Condition{}); err != nil {
		t.Error(err)
	}
}
