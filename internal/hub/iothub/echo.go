package iothub

import (
	"bytes"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// hidden stands for a secret of ours in what a hub says.
const hidden = "****"

// sentKeys are the keys of a device in a request's body.
var sentKeys = regexp.MustCompile(`"(?:primary|secondary)Key":"([^"]+)"`)

// withoutEcho returns what a hub says without the secrets that it was sent: the signature
// of our token, and the keys of a device. Hubs do not repeat them, but what stands between
// may show a whole request on the page of an error; and what a hub says of a failure is
// told to the device, kept in its record, and logged.
func withoutEcho(text []byte, authorization string, sent []byte) []byte {
	_, signature, _ := strings.Cut(authorization, "sig=")
	signature, _, _ = strings.Cut(signature, "&")
	secrets := []string{signature}
	if plain, err := url.PathUnescape(signature); err == nil {
		secrets = append(secrets, plain)
	}
	for _, m := range sentKeys.FindAllSubmatch(sent, -1) {
		secrets = append(secrets, string(m[1]))
	}
	for _, secret := range secrets {
		for _, form := range forms(secret) {
			text = bytes.ReplaceAll(text, []byte(form), []byte(hidden))
		}
	}
	return text
}

// forms are the ways in which a text in base64 may be written.
func forms(secret string) []string {
	if secret == "" {
		return nil
	}
	escaped := url.QueryEscape(secret)
	lower := strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3D", "%3d").Replace(escaped)
	inJSON := strings.NewReplacer("+", `\u002b`, "/", `\/`, "=", `\u003d`)
	inHTML := strings.NewReplacer("+", "&#43;", "=", "&#61;", "/", "&#47;")
	return []string{
		secret, escaped, lower, strings.ToLower(secret), inJSON.Replace(secret), strings.ReplaceAll(secret, "/", `\/`),
		strings.ReplaceAll(secret, "+", `\u002b`), inHTML.Replace(secret), strings.ReplaceAll(secret, "+", "&#43;"),
	}
}

// mayEcho reports whether an answer is one whose words are kept. What is read of a good
// answer has its keys.
func mayEcho(status int, r request) bool {
	return r.bulk || status < http.StatusOK || status >= http.StatusMultipleChoices
}
