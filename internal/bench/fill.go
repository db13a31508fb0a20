package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"sort"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// fill sees to it that n further individual enrollments stand in the store: of
// certificates when the devices have some, else of keys. Those that an earlier run kept
// count.
func (e *estate) fill(ctx context.Context, a Attestation, n int) error {
	kind := "key"
	if a.certificates() {
		kind = "x509"
	}
	present, err := e.present(ctx, kind, n)
	if err != nil || present >= n {
		return err
	}
	maker, err := newFiller(kind)
	if err != nil {
		return err
	}
	e.later(n-present, func(ctx context.Context) error {
		e.say("Removing %d enrollments", n-present)
		return parallel(ctx, e.workers, n-present, func(ctx context.Context, i int) error {
			return unlessMissing(e.service.enrollments(ctx, http.MethodDelete, individuals, fillName(kind, present+i), nil))
		})
	})
	e.say("Creating %d enrollments", n-present)
	start := time.Now()
	err = parallel(ctx, e.workers, n-present, func(ctx context.Context, i int) error {
		return e.fillOne(ctx, maker, fillName(kind, present+i))
	})
	if err == nil {
		e.say("Created them in %s: %.0f per second", time.Since(start).Round(time.Second), float64(n-present)/time.Since(start).Seconds())
	}
	return err
}

func fillName(kind string, i int) string { return fmt.Sprintf("bench-fill-%s-%07d", kind, i) }

// fillOne creates an enrollment unless it is there.
func (e *estate) fillOne(ctx context.Context, maker *filler, id string) error {
	attestation, err := maker.attestation(id)
	if err != nil {
		return err
	}
	err = e.service.enrollments(ctx, http.MethodPut, individuals, id, wire.Enrollment{RegistrationID: id, Attestation: attestation})
	if statusOf(err) == http.StatusConflict {
		return nil
	}
	return err
}

// present returns how many enrollments up to n are surely there. They are created in
// order, so it looks for the first that is missing, and distrusts those that were under
// way beside the last.
func (e *estate) present(ctx context.Context, kind string, n int) (int, error) {
	var failed error
	first := sort.Search(n, func(i int) bool {
		if failed != nil {
			return true
		}
		err := e.service.enrollments(ctx, http.MethodGet, individuals, fillName(kind, i), nil)
		missing := statusOf(err) == http.StatusNotFound
		if err != nil && !missing {
			failed = err
		}
		return missing
	})
	if first == n {
		return n, failed
	}
	return max(0, first-e.workers), failed
}

// filler makes what enrollments hold that nobody registers with. All certificates have
// one key: what the store sees of them differs all the same.
type filler struct {
	key *ecdsa.PrivateKey // nil for symmetric keys
}

func newFiller(kind string) (*filler, error) {
	if kind == "key" {
		return &filler{}, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &filler{key: key}, err
}

func (f *filler) attestation(id string) (*wire.Attestation, error) {
	if f.key == nil {
		return keyAttestation(keyFor("fill", id)), nil
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: id},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, f.key.Public(), f.key)
	if err != nil {
		return nil, err
	}
	return certificateAttestation(der), nil
}
