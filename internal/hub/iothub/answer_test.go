package iothub_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/register"
)

const (
	oldForm  = `{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized","ExceptionMessage":"Tracking ID:x-G:0-TimeStamp:01/01/2026 00:00:00"}`
	jsonForm = `{"Message":"{\"errorCode\":404103,\"trackingId\":\"x\",\"message\":\"m\",\"info\":{},\"timestampUtc\":\"2026\"}","ExceptionMessage":""}`
)

// TestErrorForms: each form of an error that hubs were seen to send, on a call that
// creates.
func TestErrorForms(t *testing.T) {
	t.Parallel()
	code := func(name string) map[string]string { return map[string]string{"iothub-errorcode": name} }
	bulk := func(code string) string {
		return `{"isSuccessful":false,"errors":[{"deviceId":"dev-1","errorCode":` + code + `,"errorStatus":"s"}],"warnings":[]}`
	}
	for _, tt := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		code   dps.Code
		number int
		after  time.Duration
		words  string // in the message; that body when empty
	}{
		{name: "older form", status: 401, body: oldForm, code: dps.HubRefused, number: 401002},
		{name: "newer form", status: 409, body: jsonForm, code: dps.HubRefused, number: 404103},
		{name: "newer form with a name", status: 403, body: `{"Message":"{\"errorCode\":\"IotHubQuotaExceeded\"}"}`, code: dps.HubRefused, number: 403002},
		{name: "newer form, not in quotes", status: 400, body: `{"errorCode":400004,"message":"m"}`, code: dps.HubRefused, number: 400004},
		{name: "header alone", status: 400, header: code("ArgumentNull"), body: "bad", code: dps.HubRefused, number: 400005},
		{name: "header and body differ", status: 400, header: code("ArgumentNull"), body: oldForm, code: dps.HubRefused, number: 401002},
		{name: "a name that is new", status: 403, body: `{"Message":"ErrorCode:BrandNew;text"}`, code: dps.HubRefused},
		{name: "a name that is none", status: 403, header: code("not a name!"), body: `{"Message":"ErrorCode:<b>;text"}`, code: dps.HubRefused},
		{name: "a number out of range", status: 403, body: `{"errorCode":99999999}`, code: dps.HubRefused},
		{name: "no form at all", status: 403, body: "<html>\n\t<b>no\x00 \x1b[31m</b>", code: dps.HubRefused, words: "<html> <b>no [31m</b>"},
		{name: "full", status: 403, header: code("TooManyDevices"), body: "full", code: dps.HubRefused, number: 413002},
		{name: "deleted hub", status: 404, header: code("IotHubNotFound"), body: "gone", code: dps.HubRefused, number: 401001},

		{name: "bulk, number", status: 400, body: bulk("413002"), code: dps.HubRefused, number: 413002},
		{name: "bulk, name", status: 400, body: bulk(`"TooManyDevices"`), code: dps.HubRefused, number: 413002},
		{name: "bulk, number in quotes", status: 400, body: bulk(`"413002"`), code: dps.HubRefused, number: 413002},
		{name: "bulk, status 200", status: 200, body: bulk("400004"), code: dps.HubRefused, number: 400004},
		{name: "bulk, no code", status: 400, body: bulk("null"), code: dps.HubRefused},
		{name: "bulk, throttled", status: 400, body: bulk("429001"), code: dps.Throttled, number: 429001, after: 10 * time.Second},
		{name: "bulk, the hub's own failure", status: 400, body: bulk("500001"), code: dps.HubUnavailable, number: 500001, words: "it returned 400"},
		{name: "bulk as a whole", status: 400, body: oldForm, code: dps.HubRefused, number: 401002},

		{name: "throttled", status: 429, header: code("ThrottlingException"), body: "slow down", code: dps.Throttled, number: 429001, after: 10 * time.Second},
		{name: "throttled, seconds", status: 429, header: map[string]string{"Retry-After": "7"}, body: "slow down", code: dps.Throttled, after: 7 * time.Second},
		{name: "throttled, nothing to wait for", status: 429, header: map[string]string{"Retry-After": "0"}, body: "slow down", code: dps.Throttled, after: time.Second},
		{name: "throttled for ever", status: 429, header: map[string]string{"Retry-After": "99999999999"}, body: "slow down", code: dps.Throttled, after: 15 * time.Minute},

		{name: "server error", status: 500, header: code("ServerError"), body: "oh", code: dps.HubUnavailable, number: 500001, words: "it returned 500: oh"},
		{name: "busy, with a time", status: 503, header: map[string]string{"Retry-After": "5"}, body: "oh", code: dps.HubUnavailable, after: 5 * time.Second, words: "it returned 503: oh"},
		{name: "timeout", status: 408, body: "oh", code: dps.HubUnavailable, words: "it returned 408: oh"},
		{name: "redirect", status: 307, header: map[string]string{"Location": "https://elsewhere.example/"}, code: dps.HubUnavailable, words: "redirects are not followed"},

		{name: "no JSON", status: 200, body: "<html>", code: dps.HubUnavailable, words: "malformed answer"},
		{name: "no result", status: 200, body: "{}", code: dps.HubUnavailable, words: "malformed answer"},
		{name: "nothing", status: 200, code: dps.HubUnavailable, words: "malformed answer"},
		{name: "unsuccessful for no reason", status: 200, body: `{"isSuccessful":false}`, code: dps.HubUnavailable, words: "malformed answer"},
		{name: "too large", status: 200, body: strings.Repeat("a", 2<<20+1), code: dps.HubUnavailable, words: "exceeds the size limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := remote(says(tt.status, tt.header, tt.body)).Put(t.Context(), put("a"))
			failure := dps.FailureOf(err)
			if failure.Code != tt.code || failure.Number != tt.number {
				t.Errorf("%v %d, want %v %d (%v)", failure.Code, failure.Number, tt.code, tt.number, err)
			}
			words := tt.words
			if words == "" {
				words = tt.body
			}
			if !strings.Contains(failure.Message, words) {
				t.Errorf("message %q", failure.Message)
			}
			after, again := dps.MayRepeat(err)
			if again != (tt.code != dps.HubRefused) || after.Round(time.Second) != tt.after {
				t.Errorf("again %v after %v, want after %v", again, after, tt.after)
			}
		})
	}
}

// Every code that has a name comes with its number, whichever form the name has.
func TestEveryCodeHasItsNumber(t *testing.T) {
	t.Parallel()
	for name, number := range iothub.Numbers {
		header := http.Header{"Iothub-Errorcode": {name}}
		body := []byte(`{"Message":"ErrorCode:` + name + `;text"}`)
		if _, got, _ := iothub.ReadRefusal(400, header, nil); got != number {
			t.Errorf("%s by header: %d", name, got)
		}
		if _, got, _ := iothub.ReadRefusal(400, nil, body); got != number {
			t.Errorf("%s by body: %d", name, got)
		}
		if status := number / 1000; status < 400 || status > 504 {
			t.Errorf("%s: %d", name, number)
		}
	}
}

func TestWordsAreBounded(t *testing.T) {
	t.Parallel()
	got := iothub.Words([]byte(strings.Repeat("ä ", 5000)))
	if len(got) > 1024 || len(got) < 1000 || !strings.HasPrefix(got, "ä ä ") || strings.ContainsRune(got, unicode.ReplacementChar) {
		t.Errorf("%d bytes: %q", len(got), got[len(got)-8:])
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-3": 0, "soon": 0, "1.5": 0, "901": 15 * time.Minute,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
		now.Add(time.Hour).Format(http.TimeFormat): 15 * time.Minute,
	} {
		if got := iothub.RetryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// An identity is compared by type, whatever else its document holds, and one that is
// no identity is the hub's failure.
func TestHoldsReads(t *testing.T) {
	t.Parallel()
	thumb := x509("a").PrimaryThumbprint
	for _, tt := range []struct {
		name, body string
		holds      bool
		code       dps.Code // checked where it does not hold
	}{
		{"whole", `{"etag":"e","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"` + thumb + `","secondaryThumbprint":"` + thumb + `"}},"capabilities":{"iotEdge":false}}`, true, 0},
		{"no type", `{"etag":"e","authentication":{"x509Thumbprint":{"primaryThumbprint":"` + thumb + `","secondaryThumbprint":"` + thumb + `"}}}`, true, 0},
		{"no secondary", `{"etag":"e","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"` + thumb + `","secondaryThumbprint":null}}}`, false, 0},
		{"by a CA", `{"etag":"e","authentication":{"type":"certificateAuthority"}}`, false, 0},
		{"keys that are no base64", `{"etag":"e","authentication":{"type":"sas","symmetricKey":{"primaryKey":"!"}}}`, false, 0},
		{"no authentication", `{"etag":"e"}`, false, 0},
		{"no etag", `{"authentication":{}}`, false, dps.HubUnavailable},
		{"an etag that would break the header", `{"etag":"a\r\nb"}`, false, dps.HubUnavailable},
		{"a list", `[]`, false, dps.HubUnavailable},
		{"null", `null`, false, dps.HubUnavailable},
	} {
		got, err := remote(says(200, nil, tt.body)).Holds(t.Context(), put("a").HubIdentity)
		if got != tt.holds || dps.CodeOf(err) != tt.code {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
}

// A 404 that no hub has said is not "no such device": the device may well be there.
func TestNotFoundOfSomethingElse(t *testing.T) {
	t.Parallel()
	hub := remote(says(404, nil, "404 page not found"))
	if _, err := hub.Holds(t.Context(), put("a").HubIdentity); dps.CodeOf(err) != dps.HubRefused {
		t.Errorf("Holds: %v", err)
	}
	if err := hub.Remove(t.Context(), "dev-1"); dps.CodeOf(err) != dps.HubRefused {
		t.Errorf("Remove: %v", err)
	}
	if _, err := hub.Twin(t.Context(), "dev-1"); dps.CodeOf(err) != dps.HubRefused {
		t.Errorf("Twin: %v", err)
	}
	if got := hub.Health(); got.State != dps.HubUp || !strings.Contains(got.LastError, "404") {
		t.Errorf("health %+v", got)
	}
}

func TestTwinReads(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"tags":{"a":1},"properties":{"desired":{"$metadata":{},"$version":4,"b":{"$x":1}},"reported":{"$metadata":{},"$version":1}}}`: `{"a":1} {"b":{"$x":1}} `,
		`{}`: "  ",
		`{"tags":null,"properties":{"desired":null}}`: "  ",
	} {
		got, err := remote(says(200, nil, body)).Twin(t.Context(), "dev-1")
		if text := string(got.Tags) + " " + string(got.Desired) + " " + string(got.Reported); err != nil || text != want {
			t.Errorf("%s: %q, %v", body, text, err)
		}
	}
	for _, body := range []string{``, `[]`, `null`, `{"tags":[]}`, `{"properties":{"desired":7}}`, `{"properties":[]}`} {
		if _, err := remote(says(200, nil, body)).Twin(t.Context(), "dev-1"); dps.CodeOf(err) != dps.HubUnavailable {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func FuzzReadRefusal(f *testing.F) {
	for _, seed := range []string{oldForm, jsonForm, `{"errorCode":1}`, `{"Message":"ErrorCode:;"}`, "x", "", `{"Message":"{\"errorCode\":-1}"}`, "\xff\x00"} {
		f.Add(404, "DeviceNotFound", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, header string, body []byte) {
		name, number, words := iothub.ReadRefusal(status, http.Header{"Iothub-Errorcode": {header}}, body)
		if len(name) > 64 || number < 0 || number > 999_999 || len(words) > 1024 {
			t.Errorf("%q %d %q", name, number, words)
		}
		if strings.ContainsFunc(words, unicode.IsControl) {
			t.Errorf("words %q", words)
		}
	})
}

func FuzzReadAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"isSuccessful":true,"errors":[],"warnings":[{"warningCode":"DeviceRegisteredWithoutTwin"}]}`, `{"isSuccessful":false,"errors":[{"errorCode":409001}]}`,
		`{"etag":"e","authentication":{"type":"sas","symmetricKey":{"primaryKey":"AA=="}},"capabilities":{"iotEdge":true}}`,
		`{"tags":{},"properties":{"desired":{"$version":1,"a":{}}}}`, `null`, `[]`, `{"etag":"\r\n"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = iothub.ReadBulk(200, body)
		etag, _, err := iothub.ReadIdentity(http.Header{}, body)
		if err == nil && (etag == "" || strings.ContainsAny(etag, "\"\r\n ")) {
			t.Errorf("etag %q", etag)
		}
		twin, err := iothub.ReadTwin(body)
		if err != nil {
			return
		}
		for _, section := range []json.RawMessage{twin.Tags, twin.Desired, twin.Reported} {
			var members map[string]json.RawMessage
			if section != nil && (json.Unmarshal(section, &members) != nil || len(members) == 0 || members["$version"] != nil) {
				t.Errorf("section %s", section)
			}
		}
	})
}

var _ register.Hubs = (*iothub.Pool)(nil)
