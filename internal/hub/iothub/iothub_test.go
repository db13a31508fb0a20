package iothub_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/sas"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestParseConnectionString(t *testing.T) {
	t.Parallel()
	const key = "AAECAw=="
	tests := []struct {
		name, text string
		want       iothub.ConnectionString
		refused    bool
	}{
		{name: "as written", text: "HostName=hub.example;SharedAccessKeyName=iothubowner;SharedAccessKey=" + key, want: iothub.ConnectionString{HostName: "hub.example", KeyName: "iothubowner"}},
		{name: "with a port", text: "HostName=hub.example:8443;SharedAccessKeyName=a;SharedAccessKey=" + key, want: iothub.ConnectionString{HostName: "hub.example:8443", KeyName: "a"}},
		{name: "another order and case", text: " sharedaccesskey=" + key + ";SHAREDACCESSKEYNAME=a;hostname=h\n", want: iothub.ConnectionString{HostName: "h", KeyName: "a"}},
		{name: "a semicolon at the end", text: "HostName=h;SharedAccessKeyName=a;SharedAccessKey=" + key + ";", want: iothub.ConnectionString{HostName: "h", KeyName: "a"}},
		{name: "a gateway", text: "HostName=h;SharedAccessKeyName=a;SharedAccessKey=" + key + ";GatewayHostName=g:8443", want: iothub.ConnectionString{HostName: "h", Endpoint: "g:8443", KeyName: "a"}},
		{name: "fields that do not matter", text: "HostName=h;SharedAccessKeyName=a;SharedAccessKey=" + key + ";DeviceId=d", want: iothub.ConnectionString{HostName: "h", KeyName: "a"}},
		{name: "empty", refused: true},
		{name: "a field without a value", text: "HostName", refused: true},
		{name: "no host", text: "SharedAccessKeyName=a;SharedAccessKey=" + key, refused: true},
		{name: "no policy", text: "HostName=h;SharedAccessKey=" + key, refused: true},
		{name: "no key", text: "HostName=h;SharedAccessKeyName=a", refused: true},
		{name: "key that is no base64", text: "HostName=h;SharedAccessKeyName=a;SharedAccessKey=secret!", refused: true},
	}
	for _, tt := range tests {
		got, err := iothub.ParseConnectionString(tt.text)
		if (err != nil) != tt.refused {
			t.Errorf("%s: error %v, want refused = %v", tt.name, err, tt.refused)
		}
		if err != nil {
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), key) {
				t.Errorf("%s: the error has the key: %v", tt.name, err)
			}
			continue
		}
		if got.HostName != tt.want.HostName || got.KeyName != tt.want.KeyName || got.Endpoint != tt.want.Endpoint ||
			!bytes.Equal(got.Key, []byte{0, 1, 2, 3}) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

func FuzzParseConnectionString(f *testing.F) {
	for _, seed := range []string{
		"", ";", "=", "HostName=h;SharedAccessKeyName=a;SharedAccessKey=AAECAw==", "HostName==;SharedAccessKeyName=;SharedAccessKey===",
		"hostname=h;HOSTNAME=i;SharedAccessKeyName=a;SharedAccessKey=AAECAw==;", "HostName=h\x00;x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := iothub.ParseConnectionString(text)
		if err != nil {
			return
		}
		if c.HostName == "" || c.KeyName == "" || len(c.Key) == 0 {
			t.Fatalf("%q was taken as %+v", text, c)
		}
		again, err := iothub.ParseConnectionString(
			"HostName=" + c.HostName + ";SharedAccessKeyName=" + c.KeyName + ";SharedAccessKey=" + base64.StdEncoding.EncodeToString(c.Key),
		)
		if err != nil || again.HostName != c.HostName || !bytes.Equal(again.Key, c.Key) {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
	})
}

// hub answers every request with one answer, and remembers the request.
type hub struct {
	*httptest.Server
	status int
	code   string
	body   string
	asked  *http.Request
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{status: http.StatusOK}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked = r
		w.Header().Set("iothub-errorcode", h.code)
		w.WriteHeader(h.status)
		_, _ = w.Write([]byte(h.body))
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hub) client() *iothub.Client {
	conn := iothub.ConnectionString{HostName: strings.TrimPrefix(h.URL, "https://"), KeyName: "iothubowner", Key: []byte("a key")}
	return iothub.New(conn, h.Server.Client(), func() time.Time { return now })
}

func TestClientAsks(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.body = `{"a": 1}`
	c := h.client()
	calls := map[string]func() ([]byte, error){
		"/devices?api-version=2021-04-12&top=7":          func() ([]byte, error) { return c.Devices(t.Context(), 7) },
		"/devices/a%25b%3F%23%2F?api-version=2021-04-12": func() ([]byte, error) { return c.Device(t.Context(), "a%b?#/") },
		"/twins/dev-1?api-version=2021-04-12":            func() ([]byte, error) { return c.Twin(t.Context(), "dev-1") },
	}
	for target, call := range calls {
		body, err := call()
		if err != nil || string(body) != h.body {
			t.Errorf("%s: %s, %v", target, body, err)
		}
		if h.asked.Method != "GET" || h.asked.RequestURI != target {
			t.Errorf("asked %s %s, want %s", h.asked.Method, h.asked.RequestURI, target)
		}
		token, err := sas.Parse(h.asked.Header.Get("Authorization"))
		if err != nil || !token.Verify([]byte("a key")) || token.KeyName != "iothubowner" || !token.Expiry.After(now) ||
			!sas.Covers(token.Resource, "127.0.0.1/devices") {
			t.Errorf("token %+v, %v", token, err)
		}
	}
}

func TestClientHearsRefusals(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	tests := []struct {
		status     int
		code, body string
		message    string
	}{
		{404, "DeviceNotFound", `{"Message": "ErrorCode:DeviceNotFound;There is no such device.", "ExceptionMessage": "Tracking ID:x"}`, "There is no such device."},
		{500, "", "plain text\n", "plain text"},
		{502, "", `{"other": 1}`, `{"other": 1}`},
		{201, "", "", ""},
	}
	for _, tt := range tests {
		h.status, h.code, h.body = tt.status, tt.code, tt.body
		_, err := h.client().Device(t.Context(), "x")
		refused, ok := errors.AsType[*iothub.Error](err)
		if !ok || refused.Status != tt.status || refused.Code != tt.code || refused.Message != tt.message {
			t.Errorf("%d: %+v", tt.status, err)
		}
		if ok && !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%d: %v", tt.status, err)
		}
	}
}

func TestClientCannotReachTheHub(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	c := h.client()
	h.Close()
	if _, err := c.Devices(t.Context(), 1); err == nil {
		t.Error("a hub that is gone answers")
	}
	bad := iothub.New(iothub.ConnectionString{HostName: "a b", KeyName: "x", Key: []byte("k")}, http.DefaultClient, time.Now)
	if _, err := bad.Twin(t.Context(), "x"); err == nil {
		t.Error("a host name with a blank is asked")
	}
}
