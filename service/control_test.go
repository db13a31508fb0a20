package service_test

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/service"
)

func TestCertificates(t *testing.T) {
	f := newFake(t)
	c, ctx := f.control(), t.Context()
	der := []byte{0x30, 0x03, 0x02, 0x01, 0x07}
	cert, err := c.Put(ctx, "factory", service.Upload{Certificate: der})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"properties":{"certificate":"` + base64.StdEncoding.EncodeToString(der) + `"}}`
	if r := f.last(); r.Path != resourceID+"/certificates/factory" || r.Body != want || r.Header.Get("Authorization") != "Bearer t" {
		t.Errorf("Put() sent %+v, want body %s", r, want)
	}
	if _, err := c.Put(ctx, "factory", service.Upload{Certificate: der}); !service.IsConflict(err) {
		t.Errorf("Put() again: %v", err)
	}
	if cert, err = c.Put(ctx, "factory", service.Upload{Certificate: der, Verified: true, ETag: cert.ETag}); err != nil ||
		!cert.Properties.IsVerified {
		t.Errorf("Put() with the ETag = %+v, %v", cert, err)
	}
	if cert, err = c.Get(ctx, "factory"); err != nil {
		t.Fatal(err)
	}
	if list, err := c.List(ctx); err != nil || len(list) != 1 || list[0].ETag != cert.ETag {
		t.Errorf("List() = %+v, %v", list, err)
	}
	code, err := c.GenerateVerificationCode(ctx, "factory", cert.ETag)
	if err != nil || code.Properties.VerificationCode != "C0DE" {
		t.Fatalf("GenerateVerificationCode() = %+v, %v", code, err)
	}
	proof := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	done, err := c.Verify(ctx, "factory", code.ETag, proof)
	if err != nil || !done.Properties.IsVerified || !strings.Contains(done.Properties.Thumbprint, base64.StdEncoding.EncodeToString(der)) {
		t.Errorf("Verify() = %+v, %v", done, err)
	}
	if _, err := c.Verify(ctx, "factory", "old", der); !service.IsPreconditionFailed(err) {
		t.Errorf("Verify() of an old version: %v", err)
	}
	if err := c.Delete(ctx, "factory", service.AnyETag); err != nil {
		t.Errorf("Delete(): %v", err)
	}
	_, err = c.Get(ctx, "factory")
	if refusal, ok := errors.AsType[*service.Error](err); !ok || !service.IsNotFound(err) || refusal.TrackingID != "track-me" {
		t.Errorf("Get() after Delete(): %v", err)
	}
}

func TestCertificatesRefuseLocally(t *testing.T) {
	f := newFake(t)
	c, ctx := f.control(), t.Context()
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})
	errs := map[string]error{}
	_, errs["no certificate"] = c.Put(ctx, "n", service.Upload{})
	_, errs["a key"] = c.Put(ctx, "n", service.Upload{Certificate: key})
	_, errs["no name"] = c.Put(ctx, "", service.Upload{Certificate: []byte{1}})
	_, errs["code without ETag"] = c.GenerateVerificationCode(ctx, "n", "")
	_, errs["proof without ETag"] = c.Verify(ctx, "n", "", []byte{1})
	_, errs["proof without certificate"] = c.Verify(ctx, "n", "e", nil)
	errs["delete without ETag"] = c.Delete(ctx, "n", "")
	errs["delete without name"] = c.Delete(ctx, "", "*")
	for name, err := range errs {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n := len(f.requests); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
}

// TestCertificateBesideKey sends the certificate of a file with both, and not the key.
func TestCertificateBesideKey(t *testing.T) {
	f := newFake(t)
	both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("first")})...)
	both = append(both, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("second")})...)
	if _, err := f.control().Put(t.Context(), "n", service.Upload{Certificate: both}); err != nil {
		t.Fatal(err)
	}
	want := `{"properties":{"certificate":"` + base64.StdEncoding.EncodeToString([]byte("first")) + `"}}`
	if got := f.last().Body; got != want {
		t.Errorf("Put() sent %s, want %s", got, want)
	}
}
