package wire_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// signed is a SAS token in the making, to be spelled as each client does.
type signed struct {
	sr, se, skn string
	key         []byte
	sig         func(string) string // how the signature is written
	order       string
}

func (s signed) String() string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(s.sr + "\n" + s.se))
	fields := map[string]string{"sr": s.sr, "se": s.se, "skn": s.skn, "sig": s.sig(base64.StdEncoding.EncodeToString(mac.Sum(nil)))}
	var parts []string
	for name := range strings.FieldsSeq(s.order) {
		parts = append(parts, name+"="+fields[strings.ToLower(name)])
	}
	return "SharedAccessSignature " + strings.Join(parts, "&")
}

func lowerHex(sig string) string {
	return strings.NewReplacer("+", "%2b", "/", "%2f", "=", "%3d").Replace(sig)
}

func rawSlash(sig string) string { return strings.ReplaceAll(url.QueryEscape(sig), "%2F", "/") }

func at(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }

// TestServiceTokens spells tokens in all the ways that clients do, and in some that
// nobody may.
func TestServiceTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner := parseConnection(t, w.info.ConnectionStrings["provisioningserviceowner"])
	good := signed{
		sr:    url.QueryEscape(owner.host),
		se:    at(time.Hour),
		skn:   owner.policy,
		key:   owner.key,
		sig:   url.QueryEscape,
		order: "sr sig se skn",
	}
	edit := func(change func(*signed)) string {
		s := good
		change(&s)
		return s.String()
	}
	tests := []struct {
		name, token string
		status      int
	}{
		{"as Python writes it", good.String(), 200},
		{"raw resource and Node's order", edit(func(s *signed) { s.sr, s.order = owner.host, "sr sig skn se" }), 200},
		{"the docs' order", edit(func(s *signed) { s.order = "sig se skn sr" }), 200},
		{"field names in upper case", edit(func(s *signed) { s.order = "SR SIG SE SKN" }), 200},
		{"host without port", edit(func(s *signed) { s.sr = "localhost" }), 200},
		{"host in upper case", edit(func(s *signed) { s.sr = "LOCALHOST" }), 200},
		{"the address for the name", edit(func(s *signed) { s.sr = "127.0.0.1" }), 200},
		{"another port", edit(func(s *signed) { s.sr = "localhost:1" }), 200},
		{"escapes in lower case", edit(func(s *signed) { s.sr, s.sig = strings.ReplaceAll(url.QueryEscape(owner.host), "%3A", "%3a"), lowerHex }), 200},
		{"a URL", edit(func(s *signed) { s.sr = url.QueryEscape("https://" + owner.host) }), 200},
		{"a URL with a slash at the end", edit(func(s *signed) { s.sr = url.QueryEscape("https://" + owner.host + "/") }), 200},
		{"unescaped slash in the signature", edit(func(s *signed) { s.sig = rawSlash }), 200},
		{"nothing escaped in the signature", edit(func(s *signed) { s.sig = plain }), 200},
		{"policy in upper case", edit(func(s *signed) { s.skn = strings.ToUpper(s.skn) }), 200},
		{"policy escaped", edit(func(s *signed) { s.skn = "%70rovisioningserviceowner" }), 200},
		{"expired within five minutes", edit(func(s *signed) { s.se = at(-4 * time.Minute) }), 200},
		{"path prefix", edit(func(s *signed) { s.sr = url.QueryEscape("localhost/enrollments") }), 200},
		{"path prefix in other case", edit(func(s *signed) { s.sr = url.QueryEscape("localhost/Enrollments/") }), 200},
		{"whole path", edit(func(s *signed) { s.sr = url.QueryEscape("localhost/enrollments/sensor:7") }), 200},
		{"whole path as sent", edit(func(s *signed) { s.sr = url.QueryEscape("localhost/enrollments/sensor%3A7") }), 200},
		{"bearer", "Bearer " + w.info.ControlPlane.Token, 200},
		{"bearer in lower case", "bearer " + w.info.ControlPlane.Token, 200},

		{"another path", edit(func(s *signed) { s.sr = url.QueryEscape("localhost/enrollmentGroups") }), 401},
		{"half a segment", edit(func(s *signed) { s.sr = url.QueryEscape("localhost/enroll") }), 401},
		{"a longer path", edit(func(s *signed) { s.sr = url.QueryEscape("localhost/enrollments/sensor:7/x") }), 401},
		{"another host", edit(func(s *signed) { s.sr = "other.example" }), 401},
		{"a longer host", edit(func(s *signed) { s.sr = "localhost.example" }), 401},
		{"half a host", edit(func(s *signed) { s.sr = "local" }), 401},
		{"expired before that", edit(func(s *signed) { s.se = at(-6 * time.Minute) }), 401},
		{"another key", edit(func(s *signed) { s.key = []byte("another key of some length") }), 401},
		{"an empty key", edit(func(s *signed) { s.key = nil }), 401},
		{"another policy", edit(func(s *signed) { s.skn = "nobody" }), 401},
		{"no policy", edit(func(s *signed) { s.order = "sr sig se" }), 401},
		{"no expiry", edit(func(s *signed) { s.order = "sr sig skn" }), 401},
		{"a field twice", edit(func(s *signed) { s.order = "sr sig se skn se" }), 401},
		{"expiry that is no number", edit(func(s *signed) { s.se = "soon" }), 401},
		{"signature that is no base64", edit(func(s *signed) { s.sig = func(string) string { return "%zz" } }), 401},
		{"other escapes than signed", strings.Replace(good.String(), "%3A", "%3a", 1), 401},
		{"no header", "", 401},
		{"bearer, altered", "Bearer " + w.info.ControlPlane.Token + "x", 401},
		{"bearer, signature of another", "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA", 401},
		{"bearer alone", "Bearer", 401},
		{"a scheme alone", "SharedAccessSignature", 401},
		{"too long", good.String() + "&x=" + strings.Repeat("a", 5000), 401},
		{"of the hub", parseConnection(t, w.info.Hubs[0].ConnectionStrings["iothubowner"]).sign(time.Now().Add(time.Hour)), 401},
	}
	w.must(t, "PUT", "/enrollments/sensor:7", `{"registrationId": "sensor:7", "attestation": {"type": "symmetricKey"}}`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			if tt.token != "" {
				h["authorization"] = []string{tt.token} // lower case, as the Java SDK writes it
			}
			r := w.do(t, call{method: "GET", path: "/enrollments/sensor%3A7?api-version=2021-10-01", header: h})
			if r.status != tt.status {
				t.Fatalf("status %d, want %d; token %s; body %s", r.status, tt.status, tt.token, r.body)
			}
			if tt.status == 401 {
				w.isUnauthorized(t, r)
			}
		})
	}
}

// isUnauthorized checks the one answer to every bad token.
func (w *world) isUnauthorized(t *testing.T, r reply) {
	t.Helper()
	const want = `{"errorCode": 401002, "trackingId": "{{uuid}}", "message": "Unauthorized", "timestampUtc": "{{time7}}"}`
	if err := w.matchJSON(want, r.body); err != nil {
		t.Error(err)
	}
	if got := r.header.Get("x-ms-error-code"); got != "401002" {
		t.Errorf("x-ms-error-code is %q", got)
	}
}

// TestHubTokens checks that the hub takes its own policies only.
func TestHubTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := parseConnection(t, w.info.ConnectionStrings["provisioningserviceowner"])
	hub := parseConnection(t, w.info.Hubs[0].ConnectionStrings["iothubowner"])
	renamed := service
	renamed.policy = hub.policy
	late := time.Now().Add(time.Hour)
	for _, path := range []string{"/devices", "/devices/x", "/twins/x"} {
		for name, token := range map[string]string{
			"policy of the service": service.sign(late), "key of the service": renamed.sign(late),
			"expired": hub.sign(time.Now().Add(-time.Hour)), "bearer": "Bearer " + w.info.ControlPlane.Token, "none": "",
		} {
			r := w.do(t, call{method: "GET", path: withVersion(path), header: http.Header{"Authorization": {token}}})
			if r.status != 401 || r.header.Get("iothub-errorcode") != "IotHubUnauthorizedAccess" {
				t.Errorf("GET %s with %s: %d %s", path, name, r.status, r.body)
			}
		}
	}
}

// TestAuthorizationComesFirst checks that a caller without a token learns nothing from
// bad requests either.
func TestAuthorizationComesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []call{
		{method: "PUT", path: "/enrollments/x?api-version=2021-10-01", body: strings.NewReader("{")},
		{method: "GET", path: "/enrollments/x"},
		{method: "GET", path: "/enrollmentGroups/not%20valid?api-version=1"},
		{method: "POST", path: "/enrollments/x/attestationmechanism?api-version=2021-10-01"},
		{method: "DELETE", path: "/enrollments/x?api-version=2021-10-01"},
	} {
		r := w.do(t, c)
		if r.status != 401 {
			t.Errorf("%s %s: status %d, want 401", c.method, c.path, r.status)
		}
		w.isUnauthorized(t, r)
	}
}

// TestEveryVersion walks the api-versions of both APIs.
// Source: the service and device SDKs' constants, from 2017-08-31-preview on.
func TestEveryVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(t, "PUT", "/enrollments/press-0042", `{"registrationId": "press-0042", "attestation": {"type": "symmetricKey"}}`)
	for _, v := range []string{
		"2017-08-31-preview", "2017-11-15", "2018-04-01", "2018-09-01-preview", "2018-11-01", "2019-01-15",
		"2019-03-31", "2021-06-01", "2021-10-01", "2021-11-01-preview", "2025-07-01-preview", "2026-11-01", "2026-11-02-preview", "2026-11-15-preview",
	} {
		if !slices.Contains(wire.ServiceVersions, v) {
			t.Errorf("service: %s is unknown", v)
		}
		w.must(t, "GET", "/enrollments/press-0042?api-version="+v, "")
	}
	for _, v := range []string{
		"2018-09-01-preview", "2018-11-01", "2019-03-31", "2021-06-01", "2021-10-01", "2021-11-01-preview", "2025-07-01-preview",
	} {
		if !slices.Contains(wire.DeviceVersions, v) {
			t.Errorf("device: %s is unknown", v)
		}
	}
	for _, v := range wire.DeviceVersions {
		id := "dev-" + v
		w.make(t, order{name: id, kind: "device", commonName: id})
		w.must(t, "PUT", "/enrollments/"+id, w.expand(t, fmt.Sprintf(
			`{"registrationId": %q, "attestation": {"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "{{pem:%s}}"}}}}}`, id, id), inJSON))
		path := "/" + w.info.IDScope + "/registrations/" + id
		ticket := w.must(t, "PUT", path+"/register?api-version="+v, "", id)
		polled := w.must(t, "GET", path+"/operations/"+fmt.Sprint(ticket["operationId"])+"?api-version="+v, "", id)
		if polled["status"] != "assigned" {
			t.Errorf("device %s: %v", v, polled)
		}
	}
}

// TestErrorsAreJSON checks that no path answers in another form.
func TestErrorsAreJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{
		"/", "//", "/enrollments", "/enrollments//", "/devices/a/b/c", "/subscriptions/x", "/providers", "/x/y/z", "/%2e%2e/x",
		"/enrollments/..%2f..%2fdevices", "/../../etc/passwd", "/mooring/v1/decisions", "/registrations/x",
	} {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"} {
			r := w.do(t, call{method: method, path: path + "?api-version=2021-10-01", body: strings.NewReader("{}")})
			var body map[string]any
			if err := json.Unmarshal([]byte(r.body), &body); err != nil || r.status < 400 || r.status >= 500 {
				t.Errorf("%s %s: %d %q", method, path, r.status, r.body)
			}
			if kind := r.header.Get("Content-Type"); kind != wire.ContentType {
				t.Errorf("%s %s: Content-Type %q", method, path, kind)
			}
		}
	}
}
