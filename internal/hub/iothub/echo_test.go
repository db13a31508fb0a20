package iothub_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// What a proxy or a gateway shows of a request in its page of an error is neither told to
// a device nor kept: not the token, not the device's keys.
func TestSecretsThatAreSentBack(t *testing.T) {
	t.Parallel()
	keys := dps.KeyPair{
		Primary:   dps.NewSecret([]byte(strings.Repeat("\xfb\xff\xfe", 10))),
		Secondary: dps.NewSecret([]byte(strings.Repeat("\xff\xfb", 11))),
	}
	p := register.Put{HubIdentity: dps.HubIdentity{DeviceID: "dev-1", Authentication: dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: keys}}}
	for name, write := range map[string]func(string) string{
		"as it is": func(s string) string { return s },
		"in HTML":  html.EscapeString,
		"escaped":  url.QueryEscape,
		"in JSON": func(s string) string {
			return strings.NewReplacer("/", `\/`, "+", `\u002b`, "=", `\u003d`, `"`, `\"`).Replace(s)
		},
	} {
		for _, status := range []int{200, 302, 400, 401, 404, 429, 500, 502} {
			var signature string
			hub := remote(direct(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "sig=")
				signature, _, _ = strings.Cut(rest, "&")
				plain, _ := url.QueryUnescape(signature)
				body, _ := io.ReadAll(r.Body)
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(
					w,
					`{"isSuccessful":false,"errors":[{"errorCode":400001,"errorStatus":"%s"}]}`,
					write(signature+" "+plain)+" "+write(string(body)),
				)
			})))
			_, err := hub.Put(t.Context(), p)
			if err == nil {
				t.Fatalf("%s, %d: it succeeds", name, status)
			}
			plain, _ := url.QueryUnescape(signature)
			said := dps.MessageOf(err) + err.Error() + hub.Health().LastError
			for what, secret := range map[string]string{
				"signature": plain, "primary key": keys.Primary.Base64(), "secondary key": keys.Secondary.Base64(),
			} {
				if strings.Contains(said, secret) || strings.Contains(said, write(secret)) || strings.Contains(said, signature) {
					t.Errorf("%s, %d: the %s is told: %.200s", name, status, what, said)
				}
			}
		}
	}
}
