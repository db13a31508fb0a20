package sas_test

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/sas"
)

// The keys of the vectors: "foobar", and the bytes 00 to 3F.
var (
	foobar   = []byte("foobar")
	counting = func() []byte {
		b := make([]byte, 64)
		for i := range b {
			b[i] = byte(i)
		}
		return b
	}()
)

type vector struct {
	sr, se, sig string
	key         []byte
}

// vectors are signatures over sr as written. The first is of the Node SDK, the
// others were made with Python's hmac module.
var vectors = []vector{
	{"localhost", "1795448162", "+oYvlsJXrdj9n3axESvUjocpShmzxMIhFgPbgdHCW6k=", foobar},
	{"mydps.example.test", "1900000000", "ARzUeG7XLjHarhDN952ZFD3ebMDTEou4FVcjipqWZKY=", foobar},
	{"localhost:8443", "1900000000", "BQkqChSYNSjpwfSR3eMjYenm2Xhr8EjJ9vfr8o/1mKc=", foobar},
	{"localhost%3A8443", "1900000000", "+ZDqyErhYRsV+xA0zU42pAH2e356V2G0ZHxZY3Gaf1Y=", foobar},
	{"localhost%3a8443", "1900000000", "MqQWZaONnG9ruoZYSJ6GveHIwX5bnTFYJwi2wg6ITGY=", foobar},
	{"0ne00000001/registrations/dev-1", "1700000000", "+JnrFt/Sz94qn7GaDcn7l3+YZ20QU636RCNbRAyVV70=", counting},
	{"0ne00000001%2Fregistrations%2Fdev-1", "1700000000", "nT38Uuif0Y77ux9ffqM2KQar60U6OOQhrHWw1LErsnQ=", counting},
	{"0ne00000001%2fregistrations%2fdev-1", "1700000000", "N1FV0vGHtJU8esxl4A1rkKjf3t7mBchvwymvE8xXG88=", counting},
}

// lowerHex is how C clients escape.
func lowerHex(s string) string {
	return strings.NewReplacer("+", "%2b", "/", "%2f", "=", "%3d").Replace(s)
}

func TestVectors(t *testing.T) {
	spellings := map[string]func(string) string{
		"upper": url.QueryEscape, "lower": lowerHex,
		"slash left":   func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") },
		"not escaped":  func(s string) string { return s },
		"equals left":  func(s string) string { return strings.TrimRight(url.QueryEscape(strings.TrimRight(s, "=")), "=") + "=" },
		"all in ASCII": func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "A", "%41") },
	}
	for _, v := range vectors {
		for name, spell := range spellings {
			sig := spell(v.sig)
			for _, fields := range []string{
				"sr=" + v.sr + "&sig=" + sig + "&se=" + v.se + "&skn=owner",
				"sr=" + v.sr + "&sig=" + sig + "&skn=owner&se=" + v.se,
				"sig=" + sig + "&se=" + v.se + "&skn=owner&sr=" + v.sr,
				"SE=" + v.se + "&Skn=owner&SIG=" + sig + "&Sr=" + v.sr + "&more=1",
			} {
				token, err := sas.Parse("SharedAccessSignature " + fields)
				if err != nil {
					t.Fatalf("Parse(%q): %v", fields, err)
				}
				if !token.Verify(v.key) || !token.Verify(nil, []byte("wrong"), v.key) || !token.Verify(v.key, []byte("wrong")) {
					t.Errorf("%s: %q does not verify", name, fields)
				}
				if token.Verify() || token.Verify(nil) || token.Verify([]byte("wrong"), []byte{}) {
					t.Errorf("%s: %q verifies with a wrong key", name, fields)
				}
				if want, _ := url.PathUnescape(v.sr); token.Resource != want || token.KeyName != "owner" {
					t.Errorf("resource %q, key name %q; want %q, owner", token.Resource, token.KeyName, want)
				}
			}
		}
	}
}

// A key that is not there signs nothing, though HMAC would take it: whoever knows that a
// key is missing could sign with it.
func TestVerifyRefusesTheEmptyKey(t *testing.T) {
	for name, empty := range map[string][]byte{"nil": nil, "no bytes": {}} {
		token, err := sas.Parse(sas.Sign("scope/registrations/dev", "registration", empty, time.Now().Add(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		if token.Verify(empty) || token.Verify([]byte("another"), empty) {
			t.Errorf("%s: a token that was signed with the empty key is valid", name)
		}
	}
}

func TestSignGivesTheVectors(t *testing.T) {
	for _, v := range vectors {
		resource, _ := url.PathUnescape(v.sr)
		if url.QueryEscape(resource) != v.sr {
			continue // spelled as Sign does not
		}
		seconds, err := time.ParseDuration(v.se + "s")
		if err != nil {
			t.Fatal(err)
		}
		want := "SharedAccessSignature sr=" + v.sr + "&sig=" + url.QueryEscape(v.sig) + "&se=" + v.se
		if got := sas.Sign(resource, "", v.key, time.Unix(0, 0).Add(seconds)); got != want {
			t.Errorf("Sign(%q) = %q, want %q", resource, got, want)
		}
		if got := sas.Sign(resource, "a b+c", v.key, time.Unix(0, 0).Add(seconds)); got != want+"&skn=a%20b%2Bc" {
			t.Errorf("Sign(%q) with a key name = %q", resource, got)
		}
	}
}

func TestParse(t *testing.T) {
	const good = "sr=host&sig=AAAA&se=1"
	tests := []struct {
		name, in string
		ok       bool
	}{
		{"plain", "SharedAccessSignature " + good, true},
		{"scheme in other case", "sharedaccesssignature " + good, true},
		{"blanks around", "  SharedAccessSignature\t" + good + " ", true},
		{"no key name", "SharedAccessSignature sr=host&sig=AAAA&se=1&skn=", true},
		{"equals sign in a value", "SharedAccessSignature sr=a=b&sig=AA==&se=1", true},
		{"longest key name", "SharedAccessSignature " + good + "&skn=" + strings.Repeat("n", 256), true},
		{
			"longest",
			"SharedAccessSignature sr=" + strings.Repeat("h", sas.MaxLength-len("SharedAccessSignature sr=&sig=AAAA&se=1")) + "&sig=AAAA&se=1", true,
		},
		{"empty", "", false},
		{"scheme alone", "SharedAccessSignature", false},
		{"no scheme", good, false},
		{"other scheme", "Bearer " + good, false},
		{"three words", "SharedAccessSignature " + good + " x", false},
		{"no sr", "SharedAccessSignature sig=AAAA&se=1", false},
		{"no sig", "SharedAccessSignature sr=host&se=1", false},
		{"no se", "SharedAccessSignature sr=host&sig=AAAA", false},
		{"empty sr", "SharedAccessSignature sr=&sig=AAAA&se=1", false},
		{"empty sig", "SharedAccessSignature sr=host&sig=&se=1", false},
		{"field without equals sign", "SharedAccessSignature " + good + "&skn", false},
		{"empty field", "SharedAccessSignature " + good + "&", false},
		{"sr twice", "SharedAccessSignature " + good + "&sr=host", false},
		{"sig twice in other case", "SharedAccessSignature " + good + "&SIG=AAAA", false},
		{"unknown field twice", "SharedAccessSignature " + good + "&x=1&x=1", false},
		{"se is no number", "SharedAccessSignature sr=host&sig=AAAA&se=soon", false},
		{"se has a fraction", "SharedAccessSignature sr=host&sig=AAAA&se=1.5", false},
		{"se is negative", "SharedAccessSignature sr=host&sig=AAAA&se=-1", false},
		{"se does not fit", "SharedAccessSignature sr=host&sig=AAAA&se=9223372036854775808", false},
		{"sr is not escaped", "SharedAccessSignature sr=%zz&sig=AAAA&se=1", false},
		{"sig is not escaped", "SharedAccessSignature sr=host&sig=%A&se=1", false},
		{"sig is no base64", "SharedAccessSignature sr=host&sig=A&se=1", false},
		{"sig is base64 of URLs", "SharedAccessSignature sr=host&sig=A_-A&se=1", false},
		{"skn is not escaped", "SharedAccessSignature " + good + "&skn=%", false},
		{"key name too long", "SharedAccessSignature " + good + "&skn=" + strings.Repeat("n", 257), false},
		{"too long", "SharedAccessSignature sr=" + strings.Repeat("h", sas.MaxLength) + "&sig=AAAA&se=1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := sas.Parse(tt.in)
			if tt.ok && err != nil {
				t.Errorf("Parse(%q): %v", tt.in, err)
			}
			if !tt.ok && !errors.Is(err, sas.ErrMalformed) {
				t.Errorf("Parse(%q) error = %v, want ErrMalformed", tt.in, err)
			}
		})
	}
}

// TestParseSaysWhy holds that the error names what is wrong, for whoever reads the log.
func TestParseSaysWhy(t *testing.T) {
	const scheme = "SharedAccessSignature "
	for in, want := range map[string]string{
		strings.Repeat("x", sas.MaxLength+1): "longer than 4096 bytes",
		"Bearer x":                           `must be "SharedAccessSignature", a space and the fields`,
		scheme + "sr=host&skn":               "a field has no '='",
		scheme + "sr=host&sr=host":           "a field is repeated",
		scheme + "sig=AAAA&se=1":             "field sr is missing",
		scheme + "sr=host&se=1":              "field sig is missing",
		scheme + "sr=host&sig=AAAA":          "field se is missing",
		scheme + "sr=%zz&sig=AAAA&se=1":      "sr must be URL-encoded",
		scheme + "sr=host&sig=AAAA&se=x":     "se must be a whole number",
		scheme + "sr=host&sig=A&se=1":        "sig must be base64",
		scheme + "sr=host&sig=%A&se=1":       "sig must be URL-encoded",
	} {
		token, err := sas.Parse(in)
		if err == nil || !strings.Contains(err.Error(), want) || !token.Expiry.IsZero() {
			t.Errorf("Parse(%.60q) = %+v, %v; want an error with %q", in, token, err, want)
		}
	}
}

func TestErrorsHoldNoSignature(t *testing.T) {
	const sig = "topsecrettopsecret"
	for _, in := range []string{
		"SharedAccessSignature sr=h&sig=" + sig + "!&se=1", "SharedAccessSignature sr=h&sig=" + sig + "&se=x",
		"SharedAccessSignature sig=" + sig, "Other sig=" + sig, "SharedAccessSignature sig=" + sig + "&" + sig,
	} {
		if _, err := sas.Parse(in); err == nil || strings.Contains(err.Error(), sig) {
			t.Errorf("Parse(%q) error = %v", in, err)
		}
	}
}

func TestExpired(t *testing.T) {
	token, err := sas.Parse("SharedAccessSignature sr=host&sig=AAAA&se=1700000000")
	if err != nil {
		t.Fatal(err)
	}
	over := time.Unix(1700000000, 0).Add(sas.Leeway)
	for _, tt := range []struct {
		now  time.Time
		want bool
	}{
		{time.Unix(0, 0), false},
		{token.Expiry, false},
		{over.Add(-time.Nanosecond), false},
		{over, false},
		{over.Add(time.Nanosecond), true},
		{over.Add(time.Hour), true},
	} {
		if got := token.Expired(tt.now); got != tt.want {
			t.Errorf("Expired(%v) = %v, want %v", tt.now, got, tt.want)
		}
	}
}

func TestCovers(t *testing.T) {
	tests := []struct {
		resource, hostPath string
		want               bool
	}{
		{"host", "host", true},
		{"host", "host/enrollments/x", true},
		{"host/", "host/enrollments", true},
		{"HOST", "host/Enrollments", true},
		{"host/ENROLLMENTS", "Host/enrollments/x", true},
		{"host/a/b", "host/a/b", true},
		{"host/a/b/", "host/a/b/c", true},
		{"host/a/b", "host/a/bc", false},
		{"host/a/b", "host/a", false},
		{"host/a/b", "host", false},
		{"host", "hostile", false},
		{"host", "host.evil/x", false},
		{"other", "host/x", false},
		{"", "host", false},
		{" ", "host", false},
		{"/", "host", false},
		{"https://", "host", false},
		{"/enrollments", "host/enrollments", false},
		{"", "", false},
		{"", "/enrollments", false},
		{"/", "/enrollments", false},
		{"host:8443", "host/x", true},
		{"host:8443/a", "host/a/b", true},
		{"host", "host:8443/x", true},
		{"host:1", "host:2/x", true},
		{"host:port", "host/x", false},
		{"host:", "host/x", false},
		{":8443", "/x", false},
		{":8443/x", "/x", false},
		{"https://host", "host/x", true},
		{"https://Host:443/x", "host/x/y", true},
		{"amqps://host", "host/x", true},
		{"http://host", "host/x", false},
		{"[::1]:8443", "[::1]/x", true},
		{"[::1]", "[::1]:8443/x", true},
		{"https://[::1]:8443/a", "[::1]/a", true},
		{"[::1]", "[::2]/x", false},
		{"::1", "::1/x", true},
		{"fe80::1", "fe80:/x", false},
		{"0ne00000001/registrations/dev-1", "0NE00000001/registrations/DEV-1", true},
		{"0ne00000001/registrations/dev-1", "0ne00000001/registrations/dev-12", false},
	}
	for _, tt := range tests {
		if got := sas.Covers(tt.resource, tt.hostPath); got != tt.want {
			t.Errorf("Covers(%q, %q) = %v, want %v", tt.resource, tt.hostPath, got, tt.want)
		}
	}
}

func TestCoversSegmentsOnly(t *testing.T) {
	segment := rapid.StringMatching(`[a-zA-Z0-9._-]{1,8}`)
	rapid.Check(t, func(t *rapid.T) {
		resource := "host/" + strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "path"), "/")
		more := segment.Draw(t, "more")
		if !sas.Covers(resource, resource) || !sas.Covers(resource, resource+"/"+more) || !sas.Covers("host", resource) {
			t.Fatalf("%q does not cover itself and what is below", resource)
		}
		if sas.Covers(resource, resource+more) || sas.Covers(resource+"/"+more, resource) {
			t.Fatalf("%q is covered by another", resource)
		}
	})
}

func TestSignParseVerify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		resource := rapid.StringN(1, 60, 200).Draw(t, "resource")
		name := rapid.StringN(0, 60, 200).Draw(t, "name")
		key := rapid.SliceOfN(rapid.Byte(), 1, 80).Draw(t, "key")
		expiry := time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "expiry"), 0)

		text := sas.Sign(resource, name, key, expiry)
		token, err := sas.Parse(text)
		if err != nil {
			t.Fatalf("Parse(%q): %v", text, err)
		}
		if token.Resource != resource || token.KeyName != name || !token.Expiry.Equal(expiry) {
			t.Fatalf("Parse(%q) = %q, %q, %v", text, token.Resource, token.KeyName, token.Expiry)
		}
		wrong := append([]byte{^key[0]}, key[1:]...)
		if !token.Verify(wrong, key) || token.Verify(wrong) {
			t.Fatalf("Verify is wrong for %q", text)
		}
		if token.Expired(expiry) || !token.Expired(expiry.Add(sas.Leeway+1)) {
			t.Fatalf("Expired is wrong for %q", text)
		}
		changed, err := sas.Parse(strings.Replace(text, "&se=", "&se=1", 1))
		if err == nil && changed.Verify(key) {
			t.Fatalf("%q verifies after its expiry was changed", text)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add("SharedAccessSignature sr="+v.sr+"&sig="+url.QueryEscape(v.sig)+"&se="+v.se+"&skn=owner", v.key)
	}
	f.Add("SharedAccessSignature sr=%&sig==&se=", []byte{})
	f.Add("sharedaccesssignature SR=a=b&se=+1&sig=AA%3d%3D&x=", []byte("k"))
	f.Fuzz(func(t *testing.T, text string, key []byte) {
		token, err := sas.Parse(text)
		if err != nil {
			if !errors.Is(err, sas.ErrMalformed) || len(err.Error()) > len(text)+200 {
				t.Errorf("error = %v", err)
			}
			return
		}
		if len(text) > sas.MaxLength || len(token.KeyName) > 256 || token.Resource == "" || token.Expiry.Unix() < 0 {
			t.Errorf("Parse(%q) = %+v", text, token)
		}
		if token.Verify() || token.Verify(nil) {
			t.Errorf("%q verifies without a key", text)
		}
		again, err := sas.Parse(sas.Sign(token.Resource, token.KeyName, key, token.Expiry))
		if err == nil && (again.Resource != token.Resource || again.KeyName != token.KeyName || again.Verify(key) != (len(key) > 0)) {
			t.Errorf("signed again: %+v, want %+v", again, token)
		}
		_ = sas.Covers(token.Resource, base64.StdEncoding.EncodeToString(key))
	})
}
