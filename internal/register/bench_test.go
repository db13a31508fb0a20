package register_test

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// BenchmarkRegister is what one registration costs beyond TLS and the transport:
// attestation of a chain under a group, the durable write, and the poll. Each is a
// new device; many run at once, as they do behind a busy listener.
func BenchmarkRegister(b *testing.B) {
	svc, scope, leaf := benchService(b)
	leaves := make([]*x509.Certificate, 64)
	for i := range leaves {
		leaves[i] = leaf("dev-" + fmt.Sprint(i))
	}
	var n atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			cert := *leaves[i%64]
			cert.Subject.CommonName = fmt.Sprintf("dev-%d", i) // its signature is checked over the bytes, which stay
			req := register.Request{
				Scope: scope, ID: dps.RegistrationID(cert.Subject.CommonName), APIVersion: apiVersion,
				Evidence: register.Evidence{Chain: []*x509.Certificate{&cert}},
			}
			ticket, err := svc.Register(b.Context(), req)
			if err != nil {
				b.Error(err)
				return
			}
			if rec, err := svc.Poll(b.Context(), req, ticket.Operation); err != nil || rec.Status != dps.Assigned {
				b.Error(rec.Status, err)
				return
			}
		}
	})
}

func benchService(b *testing.B) (*register.Service, dps.IDScope, func(string) *x509.Certificate) {
	b.Helper()
	dir := b.TempDir()
	key, err := seal.OpenKey(filepath.Join(dir, "key"), true)
	check(b, err)
	store, err := sqlite.Open(b.Context(), sqlite.Options{
		Path: filepath.Join(dir, "db"), Key: key, Observer: ignored{}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	check(b, err)
	b.Cleanup(func() { check(b, store.Close()) })
	instance := dps.NewInstance(in, time.Now())
	check(b, store.Create(b.Context(), dps.Setup{
		Instance: instance,
		Policy:   dps.Policy{Instance: in, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub:      dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: hostName, Weight: 1, ApplyPolicy: true},
		HubPolicy: dps.HubPolicy{
			Instance: in, Hub: dps.EmbeddedHub, Name: dps.HubOwnerPolicy, Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair(),
		},
	}))
	root, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: "Root"})
	check(b, err)
	enrolling := enroll.New(store, time.Now)
	cert, verified := dps.Certificate{DER: root.Certificate.Raw}, true
	_, err = enrolling.PutCACertificate(b.Context(), in, enroll.Upload{Name: "root", Certificate: &cert, Verified: &verified}, dps.Condition{})
	check(b, err)
	_, err = enrolling.Put(b.Context(), dps.EnrollmentDraft{Enrollment: dps.Enrollment{
		Instance: in, Ref: dps.EntryRef{Kind: dps.Group, ID: "line"},
		Attestation: dps.Attestation{Type: dps.X509, X509: &dps.X509Attestation{CAPrimary: "root"}},
	}}, dps.Condition{})
	check(b, err)
	leaf := func(id string) *x509.Certificate {
		issued, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: id, Issuer: root.Issuer()})
		check(b, err)
		return issued.Certificate
	}
	return register.New(
		register.Options{Store: store, Observer: ignored{}, Log: slog.New(slog.DiscardHandler), Now: time.Now},
	), instance.Scope, leaf
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// ignored hears of everything and keeps nothing.
type ignored struct{}

func (ignored) Committed(int, time.Duration, error) {}

func (ignored) Registered(dps.AttestationType, dps.RegistrationStatus, dps.Reason, time.Duration) {}
