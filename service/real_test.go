package service_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// real is a running service, as in 'mooring serve'.
type real struct {
	t     *testing.T
	info  wire.Info
	roots *x509.CertPool
}

func newReal(t *testing.T) *real {
	t.Helper()
	fs := pflag.NewFlagSet("service", pflag.ContinueOnError)
	config.AddFlags(fs)
	args := []string{"--data", filepath.Join(t.TempDir(), "data"), "--https", "127.0.0.1:0", "--mqtt", "off", "--portal", "off"}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(fs, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), app.Options{Config: c, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	info, err := a.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with: %v", err)
		}
	})
	ca, err := os.ReadFile(info.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	r := &real{t: t, info: info, roots: x509.NewCertPool()}
	r.roots.AppendCertsFromPEM(ca)
	return r
}

func (r *real) client(connectionString string) *service.Client {
	r.t.Helper()
	c, err := service.NewClient(connectionString, &service.Options{RootCAs: r.roots})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.CloseIdleConnections)
	return c
}

func (r *real) owner() *service.Client {
	r.t.Helper()
	return r.client(r.info.ConnectionStrings["provisioningserviceowner"])
}

func (r *real) control() *service.ControlPlane {
	r.t.Helper()
	plane := r.info.ControlPlane
	c, err := service.NewControlPlane(
		r.info.ServiceEndpoint,
		plane.ResourceID,
		service.StaticToken(plane.Token),
		&service.Options{RootCAs: r.roots},
	)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestRealEnrollments(t *testing.T) {
	r := newReal(t)
	for _, k := range collections {
		t.Run(k.name, func(t *testing.T) {
			c := k.of(r.owner())
			ctx := t.Context()
			draft := k.record("line-7")
			draft.Attestation = &wire.Attestation{Type: "symmetricKey"}
			made, err := c.Put(ctx, draft)
			if err != nil {
				t.Fatal(err)
			}
			keys := made.Attestation.SymmetricKey
			if keys == nil || keys.PrimaryKey == "" || made.ETag == "" {
				t.Fatalf("Put() = %+v, want keys and an ETag", made)
			}
			if _, err := c.Put(ctx, draft); !service.IsConflict(err) {
				t.Errorf("Put() again: %v", err)
			}
			read, err := c.Get(ctx, "LINE-7")
			if err != nil || read.Attestation.SymmetricKey != nil {
				t.Fatalf("Get() = %+v, %v", read, err)
			}
			read.ProvisioningStatus = wire.StringValue("disabled")
			changed, err := c.Put(ctx, read)
			if err != nil || changed.ProvisioningStatus.Value != "disabled" || changed.ETag == made.ETag {
				t.Fatalf("Put() with the ETag = %+v, %v", changed, err)
			}
			if _, err := c.Put(ctx, read); !service.IsPreconditionFailed(err) {
				t.Errorf("Put() of an old version: %v", err)
			}
			m, err := c.AttestationMechanism(ctx, "line-7")
			if err != nil || m.SymmetricKey == nil || *m.SymmetricKey != *keys {
				t.Errorf("AttestationMechanism() = %+v, %v, want the keys of the creation", m, err)
			}
			if err := c.Delete(ctx, "line-7", made.ETag); !service.IsPreconditionFailed(err) {
				t.Errorf("Delete() of an old version: %v", err)
			}
			if err := c.Delete(ctx, "line-7", service.AnyETag); err != nil {
				t.Errorf("Delete(): %v", err)
			}
			checkGone(t, c)
		})
	}
}

func checkGone(t *testing.T, c *service.Enrollments) {
	t.Helper()
	_, err := c.Get(t.Context(), "line-7")
	refusal, ok := errors.AsType[*service.Error](err)
	if !ok || !service.IsNotFound(err) || refusal.Code/1000 != 404 || refusal.TrackingID == "" {
		t.Errorf("Get() after Delete(): %v, want 404 with a tracking ID", err)
	}
	if err := c.Delete(t.Context(), "line-7", ""); !service.IsNotFound(err) {
		t.Errorf("Delete() again: %v", err)
	}
}

func TestRealRefusesOthers(t *testing.T) {
	r := newReal(t)
	text := r.info.ConnectionStrings["provisioningserviceowner"]
	wrong, _, _ := strings.Cut(text, ";SharedAccessKey=")
	_, err := r.client(wrong+";SharedAccessKey=Zm9vYmFy").Enrollments().Get(t.Context(), "a")
	if refusal, ok := errors.AsType[*service.Error](err); !ok || refusal.Status != 401 || refusal.Code != 401002 {
		t.Errorf("Get() with a wrong key: %v, want 401002", err)
	}
	stranger, err := service.NewClient(text, &service.Options{RootCAs: x509.NewCertPool()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stranger.Enrollments().Get(t.Context(), "a")
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("Get() without the CA: %v, want an unknown authority", err)
	}
}

func TestRealCertificates(t *testing.T) {
	r := newReal(t)
	c, ctx := r.control().Certificates(), t.Context()
	ca := newCA(t)
	made, err := c.Put(ctx, "factory", service.Upload{Certificate: ca.der})
	if err != nil {
		t.Fatal(err)
	}
	if made.Properties.IsVerified || made.Properties.Subject != "Test Root" {
		t.Errorf("Put() = %+v", made)
	}
	if _, err := c.Put(ctx, "factory", service.Upload{Certificate: ca.der}); !service.IsConflict(err) {
		t.Errorf("Put() again: %v", err)
	}
	code, err := c.GenerateVerificationCode(ctx, "factory", made.ETag)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(ctx, "factory", made.ETag, ca.der); !service.IsPreconditionFailed(err) {
		t.Errorf("Verify() of an old version: %v", err)
	}
	done, err := c.Verify(ctx, "factory", code.ETag, ca.sign(t, code.Properties.VerificationCode))
	if err != nil || !done.Properties.IsVerified {
		t.Fatalf("Verify() = %+v, %v", done, err)
	}
	got, err := c.Get(ctx, "factory")
	if err != nil || !got.Properties.IsVerified {
		t.Errorf("Get() = %+v, %v", got, err)
	}
	if list, err := c.List(ctx); err != nil || len(list) != 1 || list[0].Name != "factory" {
		t.Errorf("List() = %+v, %v", list, err)
	}
	if err := c.Delete(ctx, "factory", got.ETag); err != nil {
		t.Errorf("Delete(): %v", err)
	}
	_, err = c.Get(ctx, "factory")
	if refusal, ok := errors.AsType[*service.Error](err); !ok || !service.IsNotFound(err) || refusal.Reason == "" {
		t.Errorf("Get() after Delete(): %v", err)
	}
}

// authority is a CA of a test.
type authority struct {
	key *ecdsa.PrivateKey
	der []byte
}

func newCA(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	template := template("Test Root")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	if a.der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign returns a certificate with the common name.
func (a *authority) sign(t *testing.T, name string) []byte {
	t.Helper()
	parent, err := x509.ParseCertificate(a.der)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template(name), parent, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

// TestRealX509 writes a record with a certificate, and changes it without sending
// the certificate again.
func TestRealX509(t *testing.T) {
	c, ctx := newReal(t).owner().Groups(), t.Context()
	ca := newCA(t)
	e, err := c.Put(ctx, &wire.Enrollment{EnrollmentGroupID: "g", Attestation: &wire.Attestation{
		Type: "x509",
		X509: &wire.X509{
			SigningCertificates: &wire.Certificates{Primary: &wire.Certificate{Certificate: base64.StdEncoding.EncodeToString(ca.der)}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	thumbprint := e.Attestation.X509.SigningCertificates.Primary.Info.SHA256Thumbprint
	if e, err = c.Get(ctx, "g"); err != nil {
		t.Fatal(err)
	}
	e.InitialTwin = []byte(`{"tags":{"site":"hall 3"}}`)
	if e, err = c.Put(ctx, e); err != nil {
		t.Fatal(err)
	}
	if got := e.Attestation.X509.SigningCertificates.Primary.Info.SHA256Thumbprint; got != thumbprint {
		t.Errorf("the certificate became %s, was %s", got, thumbprint)
	}
}
