package interop_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/connstring"
	"github.com/mooring-iot/mooring/internal/pki"
)

// The API versions that the tests themselves send. The SDKs send their own.
const (
	serviceVersion = "2021-10-01"
	armVersion     = "2022-02-05"
	hubVersion     = "2021-04-12"
)

const (
	requestTimeout = 30 * time.Second
	tokenLifetime  = 10 * time.Minute
	maxBody        = 1 << 20
)

// object is a JSON object as written in a test.
type object = map[string]any

// connectionString is a connection string taken apart.
type connectionString struct{ host, policy, key string }

// parseConnectionString takes apart HostName=...;SharedAccessKeyName=...;SharedAccessKey=....
func parseConnectionString(s string) connectionString {
	fields, err := connstring.Parse(s)
	if err != nil {
		return connectionString{} // which nothing accepts
	}
	return connectionString{fields.Get(connstring.HostName), fields.Get(connstring.KeyName), fields.Get(connstring.Key)}
}

// token returns a SAS token for the whole host.
// Source: azure-docs, articles/iot-dps/how-to-control-access.md.
func (c connectionString) token(t *testing.T) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(c.key)
	if err != nil {
		t.Fatalf("the key of %s is not base64", c.policy)
	}
	resource := url.QueryEscape(c.host)
	expiry := fmt.Sprint(time.Now().Add(tokenLifetime).Unix())
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n%s", resource, expiry)
	signature := url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%s&skn=%s", resource, signature, expiry, c.policy)
}

// newClient returns an HTTP client that trusts the service's authority alone.
func (s *service) newClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.authority(t)}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: requestTimeout}
}

// request is one call of the service by the test itself.
type request struct {
	method, path, version string
	authorization         string
	ifMatch               string
	body                  object // none when nil
}

// do sends r, fails the test unless the status is want, and decodes a JSON answer into
// out unless that is nil.
func (s *service) do(t *testing.T, r request, want int, out any) {
	t.Helper()
	var body io.Reader
	if r.body != nil {
		data, err := json.Marshal(r.body)
		if err != nil {
			t.Fatalf("encoding the body of %s %s: %v", r.method, r.path, err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, "https://"+hostName+r.path+"?api-version="+r.version, body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	req.Header.Set("Authorization", r.authorization)
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if r.ifMatch != "" {
		req.Header.Set("If-Match", r.ifMatch)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	if resp.StatusCode != want {
		t.Fatalf("%s %s answers %d, want %d: %s", r.method, r.path, resp.StatusCode, want, data)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatalf("%s %s answers what is no JSON: %v: %s", r.method, r.path, err, data)
	}
}

// serviceCall is a call of the service API under its owner's policy, which must succeed.
func (s *service) serviceCall(t *testing.T, method, path string, body object, out any) {
	t.Helper()
	owner := parseConnectionString(s.info.ConnectionStrings["provisioningserviceowner"])
	s.do(t, request{method: method, path: path, version: serviceVersion, authorization: owner.token(t), body: body}, http.StatusOK, out)
}

// enroll creates an individual enrollment with further members.
func (s *service) enroll(t *testing.T, id string, attestation object, more object) {
	t.Helper()
	body := object{"registrationId": id, "attestation": attestation}
	for name, value := range more {
		body[name] = value
	}
	s.serviceCall(t, http.MethodPut, "/enrollments/"+id, body, nil)
}

// enrollGroup creates an enrollment group with further members.
func (s *service) enrollGroup(t *testing.T, id string, attestation object, more object) {
	t.Helper()
	body := object{"enrollmentGroupId": id, "attestation": attestation}
	for name, value := range more {
		body[name] = value
	}
	s.serviceCall(t, http.MethodPut, "/enrollmentGroups/"+id, body, nil)
}

// clientCertificate, signingCertificate and caReference are the three forms of an
// X.509 attestation.
func clientCertificate(c *pki.Issued) object {
	return object{"type": "x509", "x509": object{
		"clientCertificates": object{"primary": object{"certificate": string(c.CertificatePEM())}},
	}}
}

func signingCertificate(c *pki.Issued) object {
	return object{"type": "x509", "x509": object{
		"signingCertificates": object{"primary": object{"certificate": string(c.CertificatePEM())}},
	}}
}

func caReference(name string) object {
	return object{"type": "x509", "x509": object{"caReferences": object{"primary": name}}}
}

// keyPair is a pair of symmetric keys in base64.
type keyPair struct {
	Primary   string `json:"primaryKey"`
	Secondary string `json:"secondaryKey"`
}

// newKeys makes two keys as long as those that the service makes.
func newKeys(t *testing.T) keyPair {
	t.Helper()
	var keys [2]string
	for i := range keys {
		key := make([]byte, 64)
		if _, err := rand.Read(key); err != nil {
			t.Fatal(err)
		}
		keys[i] = base64.StdEncoding.EncodeToString(key)
	}
	return keyPair{Primary: keys[0], Secondary: keys[1]}
}

// derived returns the keys of a device in a group with the keys k.
// Source: azure-docs, articles/iot-dps/concepts-symmetric-key-attestation.md.
func (k keyPair) derived(t *testing.T, registrationID string) keyPair {
	t.Helper()
	derive := func(groupKey string) string {
		key, err := base64.StdEncoding.DecodeString(groupKey)
		if err != nil {
			t.Fatalf("a group key is not base64")
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(registrationID))
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return keyPair{Primary: derive(k.Primary), Secondary: derive(k.Secondary)}
}

// symmetricKeys is an attestation by symmetric keys.
func symmetricKeys(k keyPair) object {
	return object{"type": "symmetricKey", "symmetricKey": k}
}

// caCertificate is what this suite reads of a CA certificate of the control plane.
type caCertificate struct {
	ETag       string `json:"etag"`
	Properties struct {
		Subject          string `json:"subject"`
		Thumbprint       string `json:"thumbprint"`
		IsVerified       bool   `json:"isVerified"`
		VerificationCode string `json:"verificationCode"`
	} `json:"properties"`
}

// certificateCall is a call of the control plane about the CA certificate called name.
func (s *service) certificateCall(t *testing.T, method, name, ifMatch string, body object) caCertificate {
	t.Helper()
	var c caCertificate
	s.do(t, request{
		method: method, path: s.info.ControlPlane.ResourceID + "/certificates/" + name, version: armVersion,
		authorization: "Bearer " + s.info.ControlPlane.Token, ifMatch: ifMatch, body: body,
	}, http.StatusOK, &c)
	return c
}

// uploadCA stores a CA certificate, verified at once or not at all.
func (s *service) uploadCA(t *testing.T, name string, ca *pki.Issued, verified bool) caCertificate {
	t.Helper()
	content := base64.StdEncoding.EncodeToString(ca.CertificatePEM())
	c := s.certificateCall(t, http.MethodPut, name, "", object{
		"properties": object{"certificate": content, "isVerified": verified},
	})
	if c.Properties.IsVerified != verified {
		t.Fatalf("CA %s: isVerified = %v after the upload, want %v", name, c.Properties.IsVerified, verified)
	}
	if c.Properties.Subject != ca.Certificate.Subject.CommonName || c.Properties.Thumbprint != ca.SHA1Thumbprint() {
		t.Errorf("CA %s: subject %q, thumbprint %q; want %q, %q", name, c.Properties.Subject, c.Properties.Thumbprint,
			ca.Certificate.Subject.CommonName, ca.SHA1Thumbprint())
	}
	return c
}

// proveCA stores a CA certificate and proves possession of its key.
// Source: azure-docs, articles/iot-dps/how-to-verify-certificates.md.
func (s *service) proveCA(t *testing.T, name string, ca *pki.Issued) {
	t.Helper()
	uploaded := s.uploadCA(t, name, ca, false)
	coded := s.certificateCall(t, http.MethodPost, name+"/generateVerificationCode", uploaded.ETag, nil)
	proof := issue(t, pki.Request{
		Kind: pki.Verification, CommonName: coded.Properties.VerificationCode, Issuer: ca.Issuer(),
	})
	verified := s.certificateCall(t, http.MethodPost, name+"/verify", coded.ETag, object{
		"certificate": base64.StdEncoding.EncodeToString(proof.Certificate.Raw),
	})
	if !verified.Properties.IsVerified {
		t.Fatalf("CA %s is not verified after the proof of possession", name)
	}
}

// issue makes a certificate.
func issue(t *testing.T, r pki.Request) *pki.Issued {
	t.Helper()
	c, err := pki.Issue(r)
	if err != nil {
		t.Fatalf("issuing %s %q: %v", r.Kind, r.CommonName, err)
	}
	return c
}

// newRoot, newIntermediate and newDevice make certificates with P-256 keys. A device
// without an issuer signs itself.
func newRoot(t *testing.T, name string) *pki.Issued {
	t.Helper()
	return issue(t, pki.Request{Kind: pki.Root, CommonName: name})
}

func newIntermediate(t *testing.T, name string, issuer *pki.Issued) *pki.Issued {
	t.Helper()
	return issue(t, pki.Request{Kind: pki.Intermediate, CommonName: name, Issuer: issuer.Issuer()})
}

func newDevice(t *testing.T, id string, issuer *pki.Issued) *pki.Issued {
	t.Helper()
	r := pki.Request{Kind: pki.Device, CommonName: id}
	if issuer != nil {
		r.Issuer = issuer.Issuer()
	}
	return issue(t, r)
}
