package fault_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
)

// The API versions of this suite.
const (
	deviceVersion  = "2021-06-01"
	serviceVersion = "2021-10-01"
	armVersion     = "2022-02-05"
	hubVersion     = "2021-04-12"
)

const (
	requestTimeout = 30 * time.Second
	tokenLifetime  = 10 * time.Minute
	maxBody        = 1 << 20
	maxTries       = 100 // of one call, over all restarts
)

// object is a JSON object as written in a test.
type object = map[string]any

// newClient returns an HTTP client that finds the service across restarts and trusts
// its authority alone.
func (s *service) newClient(leaf *pki.Issued) *http.Client {
	// One curve, the cheapest: thousands of handshakes happen here.
	config := &tls.Config{RootCAs: s.trust, CurvePreferences: []tls.CurveID{tls.CurveP256}}
	if leaf != nil {
		config.Certificates = []tls.Certificate{leaf.TLSCertificate()}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DialContext: s.dial}, Timeout: requestTimeout}
}

// sharedClient returns a client for many devices with keys, which keeps connections.
func (s *service) sharedClient(t *testing.T, connections int) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: s.trust, CurvePreferences: []tls.CurveID{tls.CurveP256}}
	c := &http.Client{
		Transport: &http.Transport{TLSClientConfig: config, DialContext: s.dial, MaxIdleConnsPerHost: connections},
		Timeout:   requestTimeout,
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// call is one request.
type call struct {
	client        *http.Client
	method, path  string
	version       string
	authorization string
	ifMatch       string
	body          object // none when nil
}

// answer is what came back, whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// statusError is an answer that was not wanted.
type statusError struct {
	call   string
	answer answer
	want   int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answers %d, want %d: %.300s", e.call, e.answer.status, e.want, e.answer.body)
}

// send makes the request once.
func (c call) send(ctx context.Context) (answer, error) {
	var body io.Reader = http.NoBody
	if c.body != nil {
		text, err := json.Marshal(c.body)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, "https://"+hostName+c.path+"?api-version="+c.version, body)
	if err != nil {
		return answer{}, err
	}
	if c.authorization != "" {
		req.Header.Set("Authorization", c.authorization)
	}
	if c.ifMatch != "" {
		req.Header.Set("If-Match", c.ifMatch)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	resp, err := c.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return answer{status: resp.StatusCode, header: resp.Header, body: text}, err
}

// once makes the request once, fails unless the status is want, and decodes a JSON
// answer into out unless that is nil.
func (c call) once(ctx context.Context, want int, out any) error {
	a, err := c.send(ctx)
	if err != nil {
		return err
	}
	if a.status != want {
		return &statusError{call: c.method + " " + c.path, answer: a, want: want}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(a.body, out)
}

// persist makes a call as clients do: again after a lost connection or a 503, when
// the service is there again. Another wrong answer is final.
func (s *service) persist(ctx context.Context, c call, want int, out any) error {
	var last error
	for range maxTries {
		if err := s.awaitUp(ctx); err != nil {
			return errors.Join(err, last)
		}
		last = c.once(ctx, want, out)
		wrong, answered := errors.AsType[*statusError](last)
		if last == nil || answered && wrong.answer.status != http.StatusServiceUnavailable {
			return last
		}
	}
	return fmt.Errorf("after %d tries: %w", maxTries, last)
}

// token returns a SAS token of a connection string for the whole host.
// Source: azure-docs, articles/iot-dps/how-to-control-access.md.
func token(connectionString string) string {
	fields := make(map[string]string)
	for part := range strings.SplitSeq(connectionString, ";") {
		name, value, _ := strings.Cut(part, "=")
		fields[name] = value
	}
	key, _ := base64.StdEncoding.DecodeString(fields["SharedAccessKey"]) // a wrong one is refused
	expiry := fmt.Sprint(time.Now().Add(tokenLifetime).Unix())
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n%s", hostName, expiry)
	signature := url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%s&skn=%s", hostName, signature, expiry, fields["SharedAccessKeyName"])
}

// serviceCall is a call of the service API under its owner's policy.
func (s *service) serviceCall(method, path string, body object) call {
	return call{
		client: s.admin, method: method, path: path, version: serviceVersion, body: body,
		authorization: token(s.info.ConnectionStrings["provisioningserviceowner"]),
	}
}

// hubCall is a GET of the hub's REST API under its owner's policy.
func (s *service) hubCall(path string) call {
	return call{
		client: s.admin, method: http.MethodGet, path: path, version: hubVersion,
		authorization: token(s.info.Hubs[0].ConnectionStrings["iothubowner"]),
	}
}

// The CA of the tests, the group that refers to it, and the twin of its devices.
const (
	caName    = "factory"
	groupName = "line"
	twinTags  = `{"site":"k1"}`
	twinValue = 60
)

// prepare stores a CA, proves possession of its key and enrolls a group under it.
func prepare(t *testing.T, s *service) *pki.Issued {
	t.Helper()
	ca := issue(t, pki.Request{Kind: pki.Root, CommonName: "Factory"})
	uploaded := s.certificate(t, http.MethodPut, caName, "", object{
		"properties": object{"certificate": base64.StdEncoding.EncodeToString(ca.CertificatePEM())},
	})
	coded := s.certificate(t, http.MethodPost, caName+"/generateVerificationCode", uploaded.ETag, nil)
	proof := issue(t, pki.Request{Kind: pki.Verification, CommonName: coded.Properties.VerificationCode, Issuer: ca.Issuer()})
	verified := s.certificate(t, http.MethodPost, caName+"/verify", coded.ETag, object{
		"certificate": base64.StdEncoding.EncodeToString(proof.Certificate.Raw),
	})
	if !verified.Properties.IsVerified {
		t.Fatal("the CA is not verified after the proof of possession")
	}
	err := s.serviceCall(http.MethodPut, "/enrollmentGroups/"+groupName, object{
		"enrollmentGroupId": groupName,
		"attestation":       object{"type": "x509", "x509": object{"caReferences": object{"primary": caName}}},
		"initialTwin": object{
			"tags": json.RawMessage(twinTags), "properties": object{"desired": object{"interval": twinValue}},
		},
	}).once(t.Context(), http.StatusOK, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// caCertificate is what this suite reads of a CA certificate of the control plane.
type caCertificate struct {
	ETag       string `json:"etag"`
	Properties struct {
		IsVerified       bool   `json:"isVerified"`
		VerificationCode string `json:"verificationCode"`
	} `json:"properties"`
}

// certificate is a call of the control plane about the CA certificate called name.
func (s *service) certificate(t *testing.T, method, name, ifMatch string, body object) caCertificate {
	t.Helper()
	var c caCertificate
	err := call{
		client: s.admin, method: method, path: s.info.ControlPlane.ResourceID + "/certificates/" + name, version: armVersion,
		authorization: "Bearer " + s.info.ControlPlane.Token, ifMatch: ifMatch, body: body,
	}.once(t.Context(), http.StatusOK, &c)
	if err != nil {
		t.Fatal(err)
	}
	return c
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
