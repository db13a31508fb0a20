package service_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/service"
)

func TestCertificates(t *testing.T) {
	f := newFake(t)
	c, ctx := f.control(), t.Context()
	der := issue(t, pki.Request{Kind: pki.Root, CommonName: "Plant"}).Certificate.Raw
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

// TestOneCertificateIsSent has files with more than the one certificate that counts.
func TestOneCertificateIsSent(t *testing.T) {
	root := issue(t, pki.Request{Kind: pki.Root, CommonName: "Plant"})
	line := issue(t, pki.Request{Kind: pki.Intermediate, CommonName: "Line", Issuer: root.Issuer()})
	key, err := line.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	sent := `{"properties":{"certificate":"` + base64.StdEncoding.EncodeToString(line.Certificate.Raw) + `"}}`
	chain := slices.Concat(line.CertificatePEM(), root.CertificatePEM())
	trusted := bytes.ReplaceAll(line.CertificatePEM(), []byte("CERTIFICATE"), []byte("TRUSTED CERTIFICATE"))
	for name, tt := range map[string]struct {
		file []byte
		want string // of the error, "" for the certificate
	}{
		"chain":              {file: chain},
		"byte order mark":    {file: slices.Concat([]byte("\ufeff"), chain)},
		"DER":                {file: line.Certificate.Raw},
		"wrong order":        {slices.Concat(root.CertificatePEM(), line.CertificatePEM()), "did not sign"},
		"key beside":         {slices.Concat(key, line.CertificatePEM()), "holds a private key (PEM block 1, line 1)"},
		"first is not taken": {slices.Concat(trusted, root.CertificatePEM()), "block 1 (TRUSTED CERTIFICATE, line 1)"},
		"garbage":            {[]byte{0x30, 0x03, 0x02, 0x01, 0x07}, "must be an X.509 certificate"},
	} {
		f := newFake(t)
		_, err := f.control().Put(t.Context(), "n", service.Upload{Certificate: tt.file})
		if tt.want == "" {
			if err != nil || f.last().Body != sent {
				t.Errorf("%s: %v, sent %s", name, err, f.last().Body)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(f.requests) > 0 {
			t.Errorf("%s: %v, %d requests; want %q and none", name, err, len(f.requests), tt.want)
		}
	}
}

func issue(t *testing.T, r pki.Request) *pki.Issued {
	t.Helper()
	issued, err := pki.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func TestWarnings(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Mooring-Warning", r.URL.Path)
		w.Header().Add("Mooring-Warning", "second")
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(server.Close)
	type key struct{}
	var got []string
	c, err := service.NewClientWithToken("svc.example", service.StaticToken("t"), &service.Options{
		HTTPClient: &http.Client{Transport: toServer(server)},
		Warning:    func(ctx context.Context, text string) { got = append(got, fmt.Sprint(ctx.Value(key{}), " ", text)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Groups().Get(context.WithValue(t.Context(), key{}, "ctx"), "g"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"ctx /enrollmentGroups/g", "ctx second"}; !slices.Equal(got, want) {
		t.Errorf("warnings = %q, want %q", got, want)
	}
}

// toServer sends every request to a server that speaks no TLS.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func toServer(s *httptest.Server) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host = "http", s.Listener.Addr().String()
		return http.DefaultTransport.RoundTrip(r)
	})
}
