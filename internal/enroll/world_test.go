package enroll_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

const in = dps.DefaultInstance

// world is a service over a fresh store, with a clock that the test moves.
type world struct {
	*enroll.Service
	store *sqlite.Store
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.OpenKey(filepath.Join(dir, "master.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{now: time.Now().UTC()}
	w.store, err = sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(dir, "mooring.db"), Key: key, Observer: deaf{}, Log: slog.New(slog.DiscardHandler), Now: w.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	setup := dps.Setup{
		Instance:  dps.NewInstance(in, w.now),
		Policy:    dps.Policy{Instance: in, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub:       dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "localhost", Weight: 1},
		HubPolicy: dps.HubPolicy{Instance: in, Hub: dps.EmbeddedHub, Name: dps.HubOwnerPolicy, Keys: dps.NewKeyPair()},
	}
	if err := w.store.Create(t.Context(), setup); err != nil {
		t.Fatal(err)
	}
	w.Service = enroll.New(w.store, w.clock)
	return w
}

func (w *world) clock() time.Time { return w.now }

// deaf is an observer that listens to nothing.
type deaf struct{}

func (deaf) Committed(int, time.Duration, error) {}

func individual(id string) dps.EntryRef { return dps.EntryRef{Kind: dps.Individual, ID: id} }

func group(id string) dps.EntryRef { return dps.EntryRef{Kind: dps.Group, ID: id} }

func draft(ref dps.EntryRef, a dps.Attestation) dps.EnrollmentDraft {
	return dps.EnrollmentDraft{Enrollment: dps.Enrollment{Instance: in, Ref: ref, Attestation: a}}
}

func byTPM() dps.Attestation {
	return dps.Attestation{Type: dps.TPM, TPM: &dps.TPMAttestation{EndorsementKey: "AToAAQ=="}}
}

func byKeys(k dps.KeyPair) dps.Attestation {
	return dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &k}
}

func byX509(x dps.X509Attestation) dps.Attestation {
	return dps.Attestation{Type: dps.X509, X509: &x}
}

// put writes a draft that has to be taken, whatever is stored.
func (w *world) put(t *testing.T, d dps.EnrollmentDraft) dps.Enrollment {
	t.Helper()
	cond := dps.Condition{}
	if _, err := w.Get(t.Context(), in, d.Ref); err == nil {
		cond = anyVersion
	}
	e, err := w.Put(t.Context(), d, cond)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var anyVersion = dps.Condition{Set: true, Any: true}

func root(t *testing.T, name string) *pki.Issued {
	t.Helper()
	return issue(t, pki.Request{Kind: pki.Root, CommonName: name})
}

func issue(t *testing.T, r pki.Request) *pki.Issued {
	t.Helper()
	issued, err := pki.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func certificateOf(i *pki.Issued) dps.Certificate { return dps.Certificate{DER: i.Certificate.Raw} }

func certificate(t *testing.T, name string) *dps.Certificate {
	t.Helper()
	c := certificateOf(root(t, name))
	return &c
}

// upload stores a CA certificate that has to be taken.
func (w *world) upload(t *testing.T, name dps.CAName, c dps.Certificate) dps.CACertificate {
	t.Helper()
	ca, err := w.PutCACertificate(t.Context(), in, enroll.Upload{Name: name, Certificate: &c}, dps.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// proofFor returns a certificate for code, signed by ca.
func proofFor(t *testing.T, ca *pki.Issued, code string) dps.Certificate {
	t.Helper()
	until := time.Now().Add(30 * 24 * time.Hour)
	return certificateOf(issue(t, pki.Request{Kind: pki.Verification, CommonName: code, Issuer: ca.Issuer(), NotAfter: until}))
}

// proofNamed returns a certificate for code that names ca as its issuer, signed by
// another key.
func proofNamed(t *testing.T, ca *pki.Issued, code string) dps.Certificate {
	t.Helper()
	other := root(t, "other")
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: code}, NotAfter: time.Now().Add(time.Hour)}
	parent := &x509.Certificate{RawSubject: ca.Certificate.RawSubject}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, other.Key.Public(), other.Key)
	if err != nil {
		t.Fatal(err)
	}
	return dps.Certificate{DER: der}
}

// equal compares secrets by their bytes.
var equal = cmp.Comparer(func(a, b dps.Secret) bool { return bytes.Equal(a.Reveal(), b.Reveal()) })

// same fails unless got is want.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// fails fails unless err has the code want and says all of words.
func fails(t *testing.T, what string, err error, want dps.Code, words ...string) {
	t.Helper()
	if err == nil || dps.CodeOf(err) != want {
		t.Errorf("%s: error = %v, want code %v", what, err, want)
		return
	}
	for _, word := range words {
		if !strings.Contains(dps.MessageOf(err), word) {
			t.Errorf("%s: message = %q, want it to say %q", what, dps.MessageOf(err), word)
		}
	}
}
