package enroll_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/pki"
)

// signed returns a certificate for a new key that change made of a CA's, signed by parent,
// or by itself if parent is nil.
func signed(t *testing.T, parent *pki.Issued, change func(*x509.Certificate)) dps.Certificate {
	t.Helper()
	key := root(t, "only a key").Key
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	change(template)
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.Certificate, parent.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return dps.Certificate{DER: der}
}

func notCA(c *x509.Certificate)      { c.IsCA, c.KeyUsage = false, 0 }
func noCertSign(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }
func noExtensions(c *x509.Certificate) {
	c.BasicConstraintsValid, c.IsCA, c.KeyUsage = false, false, 0
}

func withoutBasicConstraints(c *x509.Certificate) {
	c.BasicConstraintsValid, c.IsCA, c.KeyUsage = false, false, x509.KeyUsageDigitalSignature
}

func TestGroupNeedsACA(t *testing.T) {
	t.Parallel()
	parent := root(t, "parent")
	tests := map[string]struct {
		cert dps.Certificate
		says string // "" if it is accepted
		warn string // "" for none
	}{
		"root":                         {cert: certificateOf(parent)},
		"CA:FALSE":                     {cert: signed(t, nil, notCA), says: "basicConstraints do not say CA:TRUE"},
		"a device's own":               {cert: certificateOf(issue(t, pki.Request{Kind: pki.Device, CommonName: "dev"})), says: "CA:TRUE"},
		"a device's, issued":           {cert: signed(t, parent, notCA), says: "CA:TRUE"},
		"keyUsage without keyCertSign": {cert: signed(t, nil, noCertSign), says: "keyUsage lacks keyCertSign"},
		"extensions, none about CAs":   {cert: signed(t, nil, withoutBasicConstraints), says: "CA:TRUE"},
		"no extensions, self-signed":   {cert: signed(t, nil, noExtensions), warn: "devices that it signed are refused"},
		"key identifier alone, issued": {cert: signed(t, parent, noExtensions), says: "CA:TRUE"},
	}
	for name, tt := range tests {
		for _, slot := range []string{"primary", "secondary"} {
			w := newWorld(t)
			x := dps.X509Attestation{Primary: &tt.cert}
			if slot == "secondary" {
				x = dps.X509Attestation{Secondary: &tt.cert}
			}
			d := draft(group("g"), byX509(x))
			e, err := w.Put(t.Context(), d, dps.Condition{})
			imported, importErr := w.Import(t.Context(), in, []dps.EnrollmentDraft{d}, true)
			if importErr != nil {
				t.Fatal(importErr)
			}
			field := "attestation.x509.signingCertificates." + slot
			if tt.says != "" {
				fails(t, name, err, dps.Invalid, field+".certificate: ", tt.says)
				fails(t, name+", imported", imported[0].Err, dps.Invalid, field+".certificate: ", tt.says)
				continue
			}
			if err != nil || imported[0].Outcome != enroll.Unchanged {
				t.Errorf("%s: %v, %+v", name, err, imported[0])
			}
			warned(t, name, w.Warnings(t.Context(), e), field+": ", tt.warn)
		}
	}
}

// warned fails unless there is one warning that begins with field and says text, or none
// for "".
func warned(t *testing.T, what string, got []string, field, text string) {
	t.Helper()
	if text == "" {
		if len(got) > 0 {
			t.Errorf("%s: warnings %q, want none", what, got)
		}
		return
	}
	if len(got) != 1 || !strings.HasPrefix(got[0], field) || !strings.Contains(got[0], text) {
		t.Errorf("%s: warnings %q, want one that begins with %q and says %q", what, got, field, text)
	}
}

// TestStoredSignerStays has groups whose certificate was accepted before: other changes of
// them are possible.
func TestStoredSignerStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := signed(t, nil, notCA)
	d := draft(group("g"), byX509(dps.X509Attestation{Primary: &bad}))
	stored := d.Enrollment
	stored.ETag, stored.Created, stored.Updated = dps.NewETag(), w.now, w.now
	if err := w.store.PutEnrollment(t.Context(), stored, ""); err != nil {
		t.Fatal(err)
	}
	d.Status = dps.StatusDisabled
	if _, err := w.Put(t.Context(), d, anyVersion); err != nil {
		t.Errorf("the same certificate again: %v", err)
	}
	described := draft(group("g"), byX509(dps.X509Attestation{}))
	described.KeepPrimary = bad.Thumbprint().String()
	e, err := w.Put(t.Context(), described, anyVersion)
	if err != nil {
		t.Errorf("its description: %v", err)
	}
	warned(t, "stored", w.Warnings(t.Context(), e), "attestation.x509.signingCertificates.primary: ", "CA:TRUE")
	other := signed(t, nil, notCA)
	_, err = w.Put(t.Context(), draft(group("g"), byX509(dps.X509Attestation{Primary: &other})), anyVersion)
	fails(t, "another one", err, dps.Invalid, "CA:TRUE")
}

func TestReferencesNeedACA(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.upload(t, "leaf", signed(t, nil, notCA))
	w.upload(t, "plain", signed(t, nil, noExtensions))
	w.upload(t, "Good", certificateOf(root(t, "good")))
	byCA := func(primary, secondary dps.CAName) dps.Attestation {
		return byX509(dps.X509Attestation{CAPrimary: primary, CASecondary: secondary})
	}
	for _, ref := range []dps.EntryRef{group("g"), individual("dev")} {
		_, err := w.Put(t.Context(), draft(ref, byCA("Leaf", "")), dps.Condition{})
		fails(t, "primary", err, dps.Invalid, "attestation.x509.caReferences.primary: ", "the CA certificate Leaf is not a CA certificate")
		_, err = w.Put(t.Context(), draft(ref, byCA("good", "leaf")), dps.Condition{})
		fails(t, "secondary", err, dps.Invalid, "attestation.x509.caReferences.secondary: ")
		imported, err := w.Import(t.Context(), in, []dps.EnrollmentDraft{draft(ref, byCA("leaf", ""))}, false)
		if err != nil {
			t.Fatal(err)
		}
		fails(t, "imported", imported[0].Err, dps.Invalid, "attestation.x509.caReferences.primary: ")
	}
	e := w.put(t, draft(group("g"), byCA("good", "plain")))
	got := w.Warnings(t.Context(), e)
	want := []string{
		"primary: the CA certificate Good is not verified", "secondary: the CA certificate plain is not verified",
		"secondary: the CA certificate plain is not a CA certificate",
	}
	if len(got) != len(want) {
		t.Fatalf("warnings = %q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], "attestation.x509.caReferences."+want[i]) {
			t.Errorf("warning %d = %q, want %q", i, got[i], want[i])
		}
	}
	verified := true
	if _, err := w.PutCACertificate(t.Context(), in, enroll.Upload{Name: "good", Verified: &verified}, anyVersion); err != nil {
		t.Fatal(err)
	}
	warned(t, "verified", w.Warnings(t.Context(), w.put(t, draft(group("g"), byCA("good", "")))), "", "")
}

func TestNameWarnings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			notCA(c)
			c.Subject = pkix.Name{Organization: []string{"Contoso"}}
			for _, n := range names {
				c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: n})
			}
		}
	}
	for name, tt := range map[string]struct {
		change func(*x509.Certificate)
		warn   string
	}{
		"the ID":             {named("pump-7"), ""},
		"the ID in capitals": {named("PUMP-7"), ""},
		"another":            {named("pump-8"), `common name "pump-8" is not the registration ID "pump-7"`},
		"a longer one":       {named("pump-7 "), `common name "pump-7 " is not`},
		"of another script":  {named("\u212aump-7"), "is not the registration ID"},
		"none":               {named(), "has no common name"},
		"two, the ID first":  {named("pump-7", "b"), "has 2 common names"},
		"two, the ID last":   {named("b", "pump-7"), "has 2 common names"},
		"expired":            {func(c *x509.Certificate) { named("pump-7")(c); c.NotAfter = time.Now().Add(-time.Minute) }, "expired at"},
		"not valid yet":      {func(c *x509.Certificate) { named("pump-7")(c); c.NotBefore = time.Now().Add(time.Minute) }, "is not valid before"},
	} {
		cert := signed(t, nil, tt.change)
		for _, slot := range []string{"primary", "secondary"} {
			x := dps.X509Attestation{Primary: &cert}
			if slot == "secondary" {
				x = dps.X509Attestation{Secondary: &cert}
			}
			e := w.put(t, draft(individual("pump-7"), byX509(x)))
			warned(t, name, w.Warnings(t.Context(), e), "attestation.x509.clientCertificates."+slot+": ", tt.warn)
		}
	}
	if got := w.Warnings(t.Context(), w.put(t, draft(individual("tpm"), byTPM()))); got != nil {
		t.Errorf("TPM: %q", got)
	}
}

func TestCAWarnings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		cert dps.Certificate
		warn []string
	}{
		"root":      {cert: certificateOf(root(t, "root"))},
		"not a CA":  {signed(t, nil, notCA), []string{"certificate: the certificate is not a CA certificate"}},
		"no keyUse": {signed(t, nil, noCertSign), []string{"certificate: the certificate must not sign certificates"}},
		"says none": {signed(t, nil, noExtensions), []string{"certificate: the certificate is not a CA certificate"}},
		"and expired": {
			signed(t, nil, func(c *x509.Certificate) { notCA(c); c.NotAfter = w.now.Add(-time.Minute) }),
			[]string{"certificate: the certificate is not a CA certificate", "certificate: the certificate expired at "},
		},
	} {
		got := w.CAWarnings(dps.CACertificate{Name: "x", Certificate: tt.cert})
		if !slices.EqualFunc(got, tt.warn, strings.HasPrefix) {
			t.Errorf("%s: %q, want %q", name, got, tt.warn)
		}
	}
}
