package storetest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mooring-iot/mooring/internal/dps"
)

// equal compares records: keys by their bytes, no list like an empty one.
var equal = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b dps.Secret) bool { return bytes.Equal(a.Reveal(), b.Reveal()) }),
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read returns a record that has to be there.
func read[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// same fails unless got is want.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// fails fails unless err has the code want and names all of words.
func fails(t *testing.T, what string, err error, want dps.Code, words ...string) {
	t.Helper()
	if err == nil || dps.CodeOf(err) != want {
		t.Errorf("%s: error = %v, want code %v", what, err, want)
		return
	}
	for _, word := range words {
		if !strings.Contains(dps.MessageOf(err), word) {
			t.Errorf("%s: message = %q, want it to name %q", what, dps.MessageOf(err), word)
		}
	}
}

// certificate returns a fresh self-signed certificate.
func certificate(t *testing.T, commonName string) dps.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(start.UnixNano()), Subject: pkix.Name{CommonName: commonName},
		NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return dps.Certificate{DER: der}
}

func subjectOf(t *testing.T, c dps.Certificate) []byte {
	t.Helper()
	parsed, err := c.Parse()
	must(t, err)
	return parsed.RawSubject
}

func individual(id string) dps.EntryRef { return dps.EntryRef{Kind: dps.Individual, ID: id} }

func group(id string) dps.EntryRef { return dps.EntryRef{Kind: dps.Group, ID: id} }

// enrollment returns a plain one that attests by a.
func enrollment(ref dps.EntryRef, a dps.Attestation) dps.Enrollment {
	return dps.Enrollment{
		Instance: here, Ref: ref, Attestation: a, Status: dps.StatusEnabled,
		ETag: dps.NewETag(), Created: start, Updated: start,
	}
}

func byTPM() dps.Attestation {
	return dps.Attestation{Type: dps.TPM, TPM: &dps.TPMAttestation{EndorsementKey: "AToAAQALAAMAsgAg"}}
}

func byKeys() dps.Attestation {
	keys := dps.NewKeyPair()
	return dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys}
}

func byX509(x dps.X509Attestation) dps.Attestation {
	return dps.Attestation{Type: dps.X509, X509: &x}
}

func byCertificate(c dps.Certificate) dps.Attestation {
	return byX509(dps.X509Attestation{Primary: &c})
}

func byReference(name dps.CAName) dps.Attestation {
	return byX509(dps.X509Attestation{CAPrimary: name})
}

func caCertificate(name dps.CAName, c dps.Certificate) dps.CACertificate {
	return dps.CACertificate{Instance: here, Name: name, Certificate: c, ETag: dps.NewETag(), Created: start, Updated: start}
}

// put stores a new enrollment that has to be taken.
func (w *world) put(t *testing.T, e dps.Enrollment) dps.Enrollment {
	t.Helper()
	must(t, w.PutEnrollment(t.Context(), e, ""))
	return e
}

// upload stores a new CA certificate that has to be taken.
func (w *world) upload(t *testing.T, name dps.CAName, c dps.Certificate) dps.CACertificate {
	t.Helper()
	ca := caCertificate(name, c)
	must(t, w.PutCACertificate(t.Context(), ca, ""))
	return ca
}

// enrollment returns a stored one that has to be there.
func (w *world) enrollment(t *testing.T, ref dps.EntryRef) dps.Enrollment {
	t.Helper()
	return read[dps.Enrollment](t)(w.Enrollment(t.Context(), here, ref))
}

// owner returns the ID of the enrollment that holds c, "" if none does.
func (w *world) owner(t *testing.T, c dps.Certificate) string {
	t.Helper()
	ref, ok, err := w.CertificateOwner(t.Context(), here, c.Thumbprint())
	must(t, err)
	if !ok {
		return ""
	}
	return ref.ID
}

// registration returns an assigned one.
func registration(id dps.RegistrationID) dps.Registration {
	return dps.Registration{
		Instance: here, ID: id, Entry: group("line"), Attestation: dps.X509, Evidence: "x509:" + string(id),
		Status: dps.Assigned, Operation: dps.NewOperationID(), ETag: dps.NewETag(), Created: start, Updated: start,
		Assignment: &dps.Assignment{
			Hub: dps.EmbeddedHub, DeviceID: dps.DeviceID(id), Substatus: dps.InitialAssignment, Entry: group("line"),
		},
	}
}

// again returns the next registration of the same device, at now.
func again(reg dps.Registration, now time.Time) dps.Registration {
	reg.Operation, reg.ETag, reg.Updated = dps.NewOperationID(), dps.NewETag(), now
	return reg
}

func device(id dps.DeviceID) dps.HubDevice {
	hub := dps.LinkedHub{Instance: here, ID: dps.EmbeddedHub}
	return dps.NewHubDevice(
		hub,
		dps.HubIdentity{DeviceID: id, Authentication: dps.SelfSigned(dps.ThumbprintOf([]byte(id)))},
		dps.Twin{},
		start,
	)
}

// commit writes a change that has to be taken.
func (w *world) commit(t *testing.T, c dps.RegistrationChange) {
	t.Helper()
	must(t, w.Commit(t.Context(), c))
}

// commitNew writes a device's first registration with its identity.
func (w *world) commitNew(t *testing.T, id dps.RegistrationID) (dps.Registration, dps.HubDevice) {
	t.Helper()
	reg, d := registration(id), device(dps.DeviceID(id))
	w.commit(t, dps.RegistrationChange{Registration: reg, Device: &d})
	return reg, d
}
