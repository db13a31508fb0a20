// Package sas creates and verifies Shared Access Signature tokens:
//
//	SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={name}]
//
// The signature is HMAC-SHA256 over resource and expiry exactly as the token spells
// them, so a token is verified over its own text, never over a re-encoded form.
// Source: azure-docs, articles/iot-dps/how-to-control-access.md.
package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// scheme starts every token; case does not matter.
const scheme = "SharedAccessSignature"

// MaxLength bounds a token, in bytes. Real ones are under 400.
const MaxLength = 4096

// maxKeyName bounds skn.
// Source: azure-iot-sdk-csharp, provisioning/service/src/Auth/SharedAccessSignatureConstants.cs.
const maxKeyName = 256

// Leeway is how long after its expiry a token is still accepted, because clocks differ.
// Source: azure-iot-sdk-csharp, provisioning/service/src/Auth/SharedAccessSignature.cs.
const Leeway = 5 * time.Minute

// ErrMalformed is the cause of every error of Parse.
var ErrMalformed = errors.New("malformed SAS token")

// Token is a parsed token. Nothing in it can be trusted before Verify.
type Token struct {
	Resource string    // what it is for, decoded
	KeyName  string    // skn, decoded; may be ""
	Expiry   time.Time // without the leeway

	rawResource, rawExpiry string // as written: this is what was signed
	signature              []byte
}

// Parse parses a token. Fields may be in any order, and their names in any case; unknown
// fields are ignored, repeated ones are an error.
func Parse(text string) (Token, error) {
	if len(text) > MaxLength {
		return Token{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxLength)
	}
	words := strings.Fields(text)
	if len(words) != 2 || !strings.EqualFold(words[0], scheme) {
		return Token{}, fmt.Errorf("%w: must be %q, a space and the fields", ErrMalformed, scheme)
	}
	fields, err := split(words[1])
	if err != nil {
		return Token{}, err
	}
	return build(fields)
}

func split(s string) (map[string]string, error) {
	fields := make(map[string]string, 4)
	for part := range strings.SplitSeq(s, "&") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.ToLower(name)
		if !ok {
			return nil, fmt.Errorf("%w: a field has no '='", ErrMalformed)
		}
		if _, again := fields[name]; again {
			return nil, fmt.Errorf("%w: a field is repeated", ErrMalformed) // its name may be a key put in the wrong place
		}
		fields[name] = value
	}
	for _, name := range []string{"sr", "sig", "se"} {
		if fields[name] == "" {
			return nil, fmt.Errorf("%w: field %s is missing", ErrMalformed, name)
		}
	}
	return fields, nil
}

func build(fields map[string]string) (Token, error) {
	t := Token{rawResource: fields["sr"], rawExpiry: fields["se"]}
	var err error
	if t.Resource, err = url.PathUnescape(t.rawResource); err != nil {
		return Token{}, fmt.Errorf("%w: sr must be URL-encoded", ErrMalformed)
	}
	seconds, err := strconv.ParseInt(t.rawExpiry, 10, 64)
	if err != nil || seconds < 0 {
		return Token{}, fmt.Errorf("%w: se must be a whole number of seconds since 1970", ErrMalformed)
	}
	t.Expiry = time.Unix(seconds, 0)
	if t.KeyName, err = url.PathUnescape(fields["skn"]); err != nil || len(t.KeyName) > maxKeyName {
		return Token{}, fmt.Errorf("%w: skn must be URL-encoded, with at most %d bytes", ErrMalformed, maxKeyName)
	}
	// PathUnescape leaves '+' alone: some clients do not escape it in base64.
	sig, err := url.PathUnescape(fields["sig"])
	if err != nil {
		return Token{}, fmt.Errorf("%w: sig must be URL-encoded", ErrMalformed)
	}
	if t.signature, err = base64.StdEncoding.DecodeString(sig); err != nil {
		return Token{}, fmt.Errorf("%w: sig must be base64", ErrMalformed)
	}
	return t, nil
}

// Verify reports whether one of keys signed the token. Every key is tried, in
// constant time, so that timing does not tell which one matched.
func (t Token) Verify(keys ...[]byte) bool {
	matched := false
	for _, key := range keys {
		if hmac.Equal(t.signature, sign(key, t.rawResource, t.rawExpiry)) && len(key) > 0 {
			matched = true
		}
	}
	return matched
}

// Expired reports whether the token has expired at now, including the leeway.
func (t Token) Expired(now time.Time) bool { return now.After(t.Expiry.Add(Leeway)) }

func sign(key []byte, resource, expiry string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(resource + "\n" + expiry))
	return mac.Sum(nil)
}

// Sign returns a token for resource, unencoded, that expires at expiry. An empty keyName
// is omitted.
func Sign(resource, keyName string, key []byte, expiry time.Time) string {
	sr := escape(resource)
	se := strconv.FormatInt(expiry.Unix(), 10)
	sig := base64.StdEncoding.EncodeToString(sign(key, sr, se))
	token := scheme + " sr=" + sr + "&sig=" + escape(sig) + "&se=" + se
	if keyName != "" {
		token += "&skn=" + escape(keyName)
	}
	return token
}

// escape encodes a space as %20, not as the '+' of forms, which Parse does not decode.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// Covers reports whether a token for resource grants hostPath, which is host and
// path without scheme and port. A resource may be a host alone or a host and a
// path prefix; a scheme and a port in it are ignored; prefixes end at a segment.
func Covers(resource, hostPath string) bool {
	have := normalize(resource)
	want := normalize(hostPath)
	return have != "" && (want == have || strings.HasPrefix(want, have+"/"))
}

func normalize(resource string) string {
	r := strings.ToLower(strings.TrimSpace(resource))
	r = strings.TrimPrefix(strings.TrimPrefix(r, "https://"), "amqps://")
	host, path, _ := strings.Cut(r, "/")
	return strings.TrimRight(withoutPort(host)+"/"+path, "/")
}

// withoutPort cuts the port off; a bare IPv6 address has none.
func withoutPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i <= 0 || !isDigits(host[i+1:]) || strings.Count(host, ":") > 1 && !strings.HasSuffix(host[:i], "]") {
		return host
	}
	return host[:i]
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
