package embedded_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

const version = "?api-version=2021-04-12"

// parsed reads a body that has to be of type T.
func parsed[T any](t *testing.T, res *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(res.Body.Bytes(), &v); err != nil {
		t.Fatalf("%d %s: %v", res.Code, res.Body, err)
	}
	return v
}

// refused fails unless the answer is a refusal in the form of hubs, with all of words.
func refused(t *testing.T, what string, res *httptest.ResponseRecorder, status int, name string, words ...string) {
	t.Helper()
	var body wire.HubError
	if err := json.Unmarshal(res.Body.Bytes(), &body); err != nil {
		t.Errorf("%s: %d %s", what, res.Code, res.Body)
		return
	}
	if res.Code != status || res.Header().Get("iothub-errorcode") != name || !strings.HasPrefix(body.Message, "ErrorCode:"+name+";") {
		t.Errorf("%s: %d %s %s, want %d %s", what, res.Code, res.Header().Get("iothub-errorcode"), body.Message, status, name)
	}
	for _, word := range words {
		if !strings.Contains(body.Message, word) {
			t.Errorf("%s: %q does not name %q", what, body.Message, word)
		}
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	key := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))
	thumb := strings.Repeat("aB", 20)
	tests := []struct {
		name, body string
		check      func(d wire.HubDevice) bool
	}{
		{"nothing", `{}`, func(d wire.HubDevice) bool {
			return d.Authentication.Type == "sas" && d.Authentication.SymmetricKey.PrimaryKey != nil && d.Status == "enabled" &&
				d.StatusReason == nil
		}},
		{"one key", `{"authentication":{"symmetricKey":{"primaryKey":"` + key + `","secondaryKey":null}}}`, func(d wire.HubDevice) bool {
			return *d.Authentication.SymmetricKey.PrimaryKey == key && len(*d.Authentication.SymmetricKey.SecondaryKey) == 88
		}},
		{"a thumbprint", `{"authentication":{"x509Thumbprint":{"primaryThumbprint":"` + thumb + `"}}}`, func(d wire.HubDevice) bool {
			a := d.Authentication
			return a.Type == "selfSigned" && *a.X509Thumbprint.PrimaryThumbprint == thumb && a.X509Thumbprint.SecondaryThumbprint == nil &&
				a.SymmetricKey.PrimaryKey == nil
		}},
		{"a CA", `{"authentication":{"type":"CertificateAuthority","symmetricKey":{"primaryKey":null}}}`, func(d wire.HubDevice) bool {
			return d.Authentication.Type == "certificateAuthority" && d.Authentication.SymmetricKey.PrimaryKey == nil
		}},
		{"no proof", `{"authentication":{"type":"none"}}`, func(d wire.HubDevice) bool { return d.Authentication.Type == "none" }},
		{"disabled", `{"status":"Disabled","statusReason":"in the box"}`, func(d wire.HubDevice) bool {
			return d.Status == "disabled" && *d.StatusReason == "in the box" && d.StatusUpdatedTime == "2026-03-01T12:00:00.0000000Z"
		}},
		{"an edge device", `{"capabilities":{"iotEdge":true},"parentScopes":["ms-azure-iot-edge://up-1"]}`, func(d wire.HubDevice) bool {
			return d.Capabilities.IotEdge && d.DeviceScope == "ms-azure-iot-edge://dev-"+d.GenerationID && len(d.ParentScopes) == 1
		}},
		{"a leaf below one", `{"deviceScope":"ms-azure-iot-edge://up-1"}`, func(d wire.HubDevice) bool {
			return d.DeviceScope == "ms-azure-iot-edge://up-1" && d.ParentScopes[0] == d.DeviceScope
		}},
		{
			"members of the hub and unknown ones",
			`{"etag":"x","generationId":"1","connectionState":"Connected","cloudToDeviceMessageCount":9,"whatever":[1]}`,
			func(d wire.HubDevice) bool {
				return d.GenerationID != "1" && d.ETag != "x" && d.ConnectionState == "Disconnected" && d.CloudToDeviceMessageCount == 0
			},
		},
	}
	for _, tt := range tests {
		w := newWorld()
		res := w.do("PUT", "/devices/dev"+version, tt.body)
		d := parsed[wire.HubDevice](t, res)
		if res.Code != 200 || d.DeviceID != "dev" || res.Header().Get("ETag") != `"`+d.ETag+`"` || d.ETag == "" || !tt.check(d) {
			t.Errorf("%s: %d %s", tt.name, res.Code, res.Body)
		}
		if again := w.get("/devices/dev" + version); again.Body.String() != res.Body.String() {
			t.Errorf("%s: read back as %s, written as %s", tt.name, again.Body, res.Body)
		}
		refused(t, tt.name+", again", w.do("PUT", "/devices/dev"+version, tt.body), 409, "DeviceAlreadyExists", "dev")
	}
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, body string
		status           int
		code             string
		words            []string
	}{
		{"another ID", "dev", `{"deviceId":"other"}`, 400, "ArgumentInvalid", []string{"deviceId", "other"}},
		{"an ID with a blank", "a%20b", `{}`, 400, "ArgumentInvalid", []string{"deviceId"}},
		{"a long ID", strings.Repeat("x", 129), `{}`, 400, "ArgumentInvalid", []string{"deviceId"}},
		{"status", "dev", `{"status":"broken"}`, 400, "ArgumentInvalid", []string{"status", "enabled"}},
		{"reason", "dev", `{"statusReason":"` + strings.Repeat("x", 129) + `"}`, 400, "ArgumentInvalid", []string{"statusReason", "128"}},
		{"key", "dev", `{"authentication":{"symmetricKey":{"primaryKey":"?"}}}`, 400, "ArgumentInvalid", []string{"authentication.symmetricKey.primaryKey", "base64"}},
		{"short key", "dev", `{"authentication":{"symmetricKey":{"secondaryKey":"YWJj"}}}`, 400, "ArgumentInvalid", []string{"authentication.symmetricKey.secondaryKey", "16 to 64"}},
		{"thumbprint", "dev", `{"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"12"}}}`, 400, "ArgumentInvalid", []string{"x509Thumbprint.primaryThumbprint"}},
		{"no thumbprint", "dev", `{"authentication":{"type":"selfSigned"}}`, 400, "ArgumentInvalid", []string{"thumbprint"}},
		{"type", "dev", `{"authentication":{"type":"psk"}}`, 400, "ArgumentInvalid", []string{"authentication.type"}},
		{"scope", "dev", `{"deviceScope":"up"}`, 400, "ArgumentInvalid", []string{"deviceScope"}},
		{"parents", "dev", `{"parentScopes":["a","b"]}`, 400, "ArgumentInvalid", []string{"parentScopes"}},
		{"a member of another type", "dev", `{"capabilities":{"iotEdge":"yes"}}`, 400, "ArgumentInvalid", []string{"capabilities.iotEdge", "true or false"}},
		{"no JSON", "dev", `{`, 400, "IotHubFormatError", nil},
		{"nothing", "dev", ``, 400, "IotHubFormatError", nil},
		{"an array", "dev", `[]`, 400, "ArgumentInvalid", []string{"object"}},
		{"a large body", "dev", `{"x":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "MessageTooLarge", nil},
	}
	for _, tt := range tests {
		w := newWorld()
		refused(t, tt.name, w.do("PUT", "/devices/"+tt.path+version, tt.body), tt.status, tt.code, tt.words...)
		if len(w.store.devices) != 0 {
			t.Errorf("%s: refused and stored", tt.name)
		}
	}
}

// Node, C#, Python and the CLI send "*" in quotes, Java bare.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		header string
		status int // of an identity that is at version ZQ==
	}{
		{`"*"`, 200},
		{`*`, 200},
		{`"ZQ=="`, 200},
		{`ZQ==`, 200},
		{`W/"ZQ=="`, 200},
		{`"other"`, 412},
		{`"a", "b"`, 400},
	}
	for _, tt := range tests {
		w := newWorld("dev")
		res := w.do("PUT", "/devices/dev"+version, `{"status":"disabled"}`, "If-Match", tt.header)
		if res.Code != tt.status || (tt.status == 200) != w.store.devices["dev"].Disabled {
			t.Errorf("PUT with %s: %d %s", tt.header, res.Code, res.Body)
		}
		if tt.status == 412 {
			refused(t, tt.header, res, 412, "PreconditionFailed", "ZQ==")
		}
		w = newWorld("dev")
		want := tt.status
		if want == 200 {
			want = 204
		}
		res = w.do("DELETE", "/devices/dev"+version, "", "If-Match", tt.header)
		if res.Code != want || (want == 204) != (len(w.store.devices) == 0) || want == 204 && res.Body.Len() > 0 {
			t.Errorf("DELETE with %s: %d %s", tt.header, res.Code, res.Body)
		}
	}
	w := newWorld("dev")
	for _, method := range []string{"PUT", "DELETE"} {
		refused(t, method+" of nobody", w.do(method, "/devices/ghost"+version, `{}`, "If-Match", "*"), 404, "DeviceNotFound", "ghost")
	}
	if res := w.do("DELETE", "/devices/dev"+version, ""); res.Code != 204 {
		t.Errorf("DELETE without If-Match: %d %s", res.Code, res.Body)
	}
}

// What an update leaves out stays, and the generation always does.
func TestUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld()
	first := parsed[wire.HubDevice](
		t,
		w.do("PUT", "/devices/dev"+version, `{"capabilities":{"iotEdge":true},"parentScopes":["ms-azure-iot-edge://up-1"]}`),
	)
	res := w.do("PUT", "/devices/dev"+version, `{"status":"disabled","statusReason":"lost"}`, "If-Match", "*")
	got := parsed[wire.HubDevice](t, res)
	want := first
	want.ETag, want.Status, want.StatusReason, want.StatusUpdatedTime = got.ETag, "disabled", new("lost"), got.StatusUpdatedTime
	if !same(got, want) || got.ETag == first.ETag || res.Header().Get("ETag") != `"`+got.ETag+`"` {
		t.Errorf("update: %s", res.Body)
	}
	whole := w.get("/devices/dev" + version)
	back := w.do("PUT", "/devices/dev"+version, whole.Body.String(), "If-Match", `"`+got.ETag+`"`)
	want = got
	want.ETag = parsed[wire.HubDevice](t, back).ETag
	if back.Code != 200 || !same(parsed[wire.HubDevice](t, back), want) {
		t.Errorf("the whole document sent back: %d %s", back.Code, back.Body)
	}
}

func same(a, b any) bool {
	left, _ := json.Marshal(a)
	right, _ := json.Marshal(b)
	return string(left) == string(right)
}

// A change that another writer came before is made anew, from what stands then.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	w := newWorld("dev")
	w.store.conflicts = 3
	if res := w.do("PUT", "/devices/dev"+version, `{"status":"disabled"}`, "If-Match", "*"); res.Code != 200 ||
		!w.store.devices["dev"].Disabled {
		t.Errorf("PUT: %d %s", res.Code, res.Body)
	}
	w.store.conflicts = 1
	tag := string(w.store.devices["dev"].ETag)
	refused(t, "PUT at a version", w.do("PUT", "/devices/dev"+version, `{}`, "If-Match", tag), 412, "PreconditionFailed")
	w.store.conflicts = 3
	if res := w.do("PATCH", "/twins/dev"+version, `{"tags":{"a":1}}`); res.Code != 200 {
		t.Errorf("PATCH: %d %s", res.Code, res.Body)
	}
	w.store.conflicts = 3
	if res := w.do("DELETE", "/devices/dev"+version, "", "If-Match", "*"); res.Code != 204 {
		t.Errorf("DELETE: %d %s", res.Code, res.Body)
	}
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	w := newWorld("a", "b", "c")
	w.do("PUT", "/devices/b"+version, `{"status":"disabled"}`, "If-Match", "*")
	const counts = `{"totalDeviceCount":3,"enabledDeviceCount":2,"disabledDeviceCount":1}`
	if res := w.get("/statistics/devices" + version); res.Body.String() != counts {
		t.Errorf("devices: %s", res.Body)
	}
	if res := w.get("/statistics/service" + version); res.Body.String() != `{"connectedDeviceCount":0}` {
		t.Errorf("service: %s", res.Body)
	}
}

// What the hub does not have is refused, never silently taken.
func TestNotOffered(t *testing.T) {
	t.Parallel()
	tests := []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/devices/dev/modules/m", 404, "ModuleNotFound"},
		{"DELETE", "/devices/dev/modules/m", 404, "ModuleNotFound"},
		{"PUT", "/devices/dev/modules/m", 501, "InvalidOperation"},
		{"GET", "/devices/ghost/modules", 404, "DeviceNotFound"},
		{"GET", "/devices/ghost/modules/m", 404, "DeviceNotFound"},
		{"GET", "/twins/dev/modules/m", 404, "ModuleNotFound"},
		{"PATCH", "/twins/dev/modules/m", 404, "ModuleNotFound"},
		{"PUT", "/twins/dev/modules/m", 404, "ModuleNotFound"},
		{"POST", "/twins/dev/modules/m/methods", 501, "InvalidOperation"},
		{"POST", "/twins/dev/methods", 501, "InvalidOperation"},
		{"DELETE", "/devices/dev/commands", 501, "InvalidOperation"},
		{"POST", "/devices/dev/messages/deviceBound", 501, "InvalidOperation"},
		{"POST", "/devices/dev/files", 501, "InvalidOperation"},
		{"POST", "/devices/dev/applyConfigurationContent", 501, "InvalidOperation"},
		{"POST", "/devices/keys/regenerate", 501, "InvalidOperation"},
		{"GET", "/configurations", 501, "InvalidOperation"},
		{"PUT", "/configurations/x", 501, "InvalidOperation"},
		{"POST", "/configurations/testQueries", 501, "InvalidOperation"},
		{"GET", "/jobs/v2/query", 501, "InvalidOperation"},
		{"POST", "/jobs/create", 501, "InvalidOperation"},
		{"GET", "/digitaltwins/dev", 501, "InvalidOperation"},
		{"GET", "/messages/serviceBound/feedback", 501, "InvalidOperation"},
		{"POST", "/devices/dev", 405, "InvalidOperation"},
		{"POST", "/twins/dev", 405, "InvalidOperation"},
		{"GET", "/devices/dev/whatever", 404, "ResourceNotFound"},
	}
	w := newWorld("dev")
	for _, tt := range tests {
		refused(t, tt.method+" "+tt.path, w.do(tt.method, tt.path+version, `{}`), tt.status, tt.code)
		if tt.status == 501 {
			refused(
				t,
				tt.method+" "+tt.path+" of a stranger",
				w.do(tt.method, tt.path+version, `{}`, "Authorization", ""),
				401,
				"IotHubUnauthorizedAccess",
			)
		}
	}
	if res := w.get("/devices/dev/modules" + version); res.Code != 200 || res.Body.String() != "[]" {
		t.Errorf("modules: %d %s", res.Code, res.Body)
	}
}

func FuzzPut(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"` + strings.Repeat("a", 64) + `"}}}`,
		`{"status":"disabled","statusReason":"x","capabilities":{"iotEdge":true},"deviceScope":"","parentScopes":[]}`, `[`, `null`,
	} {
		f.Add(seed, "*")
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, body, ifMatch string) {
		w := newWorld("dev")
		for _, path := range []string{"/devices/dev", "/devices/new"} {
			res := w.do("PUT", path+version, body, "If-Match", ifMatch)
			if res.Code >= 500 || !json.Valid(res.Body.Bytes()) {
				t.Fatalf("PUT %s: %d %s", path, res.Code, res.Body)
			}
			if res.Code == 200 && path == "/devices/dev" {
				if back := w.do("PUT", path+version, w.get(path+version).Body.String(), "If-Match", "*"); back.Code != 200 {
					t.Fatalf("what was taken is refused when it is sent back: %s", back.Body)
				}
			}
		}
		if len(w.store.devices) > 2 || w.store.devices["dev"].Hub != dps.HubID("embedded") {
			t.Fatalf("stored: %v", w.store.devices)
		}
	})
}

// A device that calls its hub hears that it cannot, and not that its key is wrong.
func TestDevicesCannotConnect(t *testing.T) {
	t.Parallel()
	w := newWorld("dev-1")
	for _, path := range []string{"/devices/dev-1/messages/events", "/devices/dev-1/files", "/devices/dev-1"} {
		for _, resource := range []string{"hub.example/devices/dev-1", "hub.example/Devices/dev-1/modules/m"} {
			token := sas.Sign(resource, "", []byte("the key of the device, whatever it is"), now.Add(time.Hour))
			res := w.do("POST", path+"?api-version=2021-04-12", "{}", "Authorization", token)
			if path == "/devices/dev-1" {
				res = w.do("GET", path+"?api-version=2021-04-12", "", "Authorization", token)
			}
			if res.Code != http.StatusNotImplemented || !strings.Contains(res.Body.String(), "Devices cannot connect to an embedded hub") {
				t.Errorf("%s with a token for %s: %d %s", path, resource, res.Code, res.Body)
			}
		}
	}
	if res := w.do("GET", "/devices/dev-1?api-version=2021-04-12", "", "Authorization", "nonsense"); res.Code != http.StatusUnauthorized {
		t.Errorf("no token: %d", res.Code)
	}
}
