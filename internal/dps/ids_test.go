package dps_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
)

var long = strings.Repeat

// checkInvalid reports when err is not Invalid with a message that names field.
func checkInvalid(t testing.TB, err error, field string) {
	t.Helper()
	if dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(dps.MessageOf(err), field+": ") {
		t.Errorf("error = %v (%v), want Invalid that names %s", err, dps.CodeOf(err), field)
	}
}

// registrationIDs are texts, and whether each is a registration ID.
var registrationIDs = []struct {
	name, in string
	ok       bool
}{
	{"one letter", "a", true},
	{"upper case kept", "Sensor-7", true},
	{"every character", "a.b_c:d-9", true},
	{"specials first", "._:-a", true},
	{"hyphen last", "a-", true},
	{"hyphen alone", "-", true},
	{"longest", long("a", 128), true},
	{"empty", "", false},
	{"too long", long("a", 129), false},
	{"dot last", "a.", false},
	{"underscore last", "a_", false},
	{"colon last", "a:", false},
	{"blank", "a b", false},
	{"line feed last", "a\n", false},
	{"slash", "a/b", false},
	{"percent", "a%20b", false},
	{"plus", "a+b", false},
	{"no ASCII", "sensör", false},
	{"kelvin sign", "\u212A", false},
	{"NUL", "a\x00b", false},
	{"no UTF-8", "a\xffb", false},
}

func TestParseRegistrationID(t *testing.T) {
	for _, tt := range registrationIDs {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dps.ParseRegistrationID(tt.in)
			entry, entryErr := dps.ParseEntryID(dps.Group, "enrollmentGroupId", tt.in)
			if !tt.ok {
				checkInvalid(t, err, "registrationId")
				checkInvalid(t, entryErr, "enrollmentGroupId")
				return
			}
			if string(got) != tt.in || err != nil || got.Key() != strings.ToLower(tt.in) {
				t.Errorf("ParseRegistrationID(%q) = %q, %v, key %q", tt.in, got, err, got.Key())
			}
			if entry != (dps.EntryRef{Kind: dps.Group, ID: tt.in}) || entryErr != nil || entry.Key() != got.Key() {
				t.Errorf("ParseEntryID(%q) = %v, %v", tt.in, entry, entryErr)
			}
		})
	}
}

func FuzzParseRegistrationID(f *testing.F) {
	for _, tt := range registrationIDs {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		id, err := dps.ParseRegistrationID(in)
		if err != nil {
			if checkInvalid(t, err, "registrationId"); id != "" || len(err.Error()) > 200 {
				t.Errorf("ParseRegistrationID(%q) = %q, %v", in, id, err)
			}
			return
		}
		allowed := func(r rune) bool {
			return r < 128 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._:", r))
		}
		if string(id) != in || in == "" || len(in) > dps.MaxIDLength || strings.ContainsFunc(in, func(r rune) bool { return !allowed(r) }) ||
			strings.ContainsAny(in[len(in)-1:], "._:") {
			t.Errorf("ParseRegistrationID(%q) = %q", in, id)
		}
	})
}

func TestParseOtherIDs(t *testing.T) {
	device := func(s string) (string, error) { id, err := dps.ParseDeviceID(s); return string(id), err }
	ca := func(s string) (string, error) { id, err := dps.ParseCAName(s); return string(id), err }
	tests := []struct {
		field string
		parse func(string) (string, error)
		in    string
		ok    bool
	}{
		{"deviceId", device, "Dev-1", true},
		{"deviceId", device, "-:.+%_#*?!(),=@;$'", true},
		{"deviceId", device, "ends.", true},
		{"deviceId", device, long("d", 128), true},
		{"deviceId", device, "", false},
		{"deviceId", device, long("d", 129), false},
		{"deviceId", device, "a b", false},
		{"deviceId", device, "a/b", false},
		{"deviceId", device, "a&b", false},
		{"deviceId", device, "a\n", false},
		{"deviceId", device, "ä", false},
		{"certificateName", ca, "Plant_CA-1.x", true},
		{"certificateName", ca, long("c", 64), true},
		{"certificateName", ca, "", false},
		{"certificateName", ca, long("c", 65), false},
		{"certificateName", ca, "a b", false},
		{"certificateName", ca, "a:b", false},
		{"certificateName", ca, "a\n", false},
	}
	for _, tt := range tests {
		got, err := tt.parse(tt.in)
		if tt.ok && (got != tt.in || err != nil) {
			t.Errorf("%s %q = %q, %v", tt.field, tt.in, got, err)
		}
		if !tt.ok {
			checkInvalid(t, err, tt.field)
		}
	}
	if _, err := dps.ParseDeviceID(""); !strings.Contains(err.Error(), ". + % _ #") {
		t.Errorf("error = %v, want the list of characters with one %%", err)
	}
}

func TestNamesWithoutCase(t *testing.T) {
	if !dps.HostName("Hub.Example").Equal("hub.example") || dps.HostName("hub.example").Equal("hub.example.org") {
		t.Error("host names are compared wrongly")
	}
	if dps.CAName("Plant").Key() != "plant" || (dps.EntryRef{ID: "A"}).Key() != "a" {
		t.Error("keys are not folded")
	}
	for want, ref := range map[string]dps.EntryRef{
		"enrollment group Line-7":  {Kind: dps.Group, ID: "Line-7"},
		"individual enrollment d1": {Kind: dps.Individual, ID: "d1"},
	} {
		if ref.String() != want {
			t.Errorf("String = %q, want %q", ref, want)
		}
	}
}

var conditions = []struct {
	name, in string
	want     dps.Condition
	ok       bool
}{
	{"none", "", dps.Condition{}, true},
	{"blanks", " \t", dps.Condition{}, true},
	{"raw", "IjAwMCI=", dps.Match("IjAwMCI="), true},
	{"quoted", `"IjAwMCI="`, dps.Match("IjAwMCI="), true},
	{"weak", `W/"IjAwMCI="`, dps.Match("IjAwMCI="), true},
	{"weak without quotes", `W/IjAwMCI=`, dps.Match("IjAwMCI="), true},
	{"blanks around", ` "IjAwMCI=" `, dps.Match("IjAwMCI="), true},
	{"any", "*", dps.Condition{Set: true, Any: true}, true},
	{"any quoted", `"*"`, dps.Condition{Set: true, Any: true}, true},
	{"longest", long("a", 512), dps.Match(dps.ETag(long("a", 512))), true},
	{"too long", long("a", 513), dps.Condition{}, false},
	{"list", `"a", "b"`, dps.Condition{}, false},
	{"list without quotes", `a,b`, dps.Condition{}, false},
	{"blank inside", "a b", dps.Condition{}, false},
	{"line feed inside", "a\nb", dps.Condition{}, false},
	{"open quote", `"a`, dps.Condition{}, false},
	{"closing quote", `a"`, dps.Condition{}, false},
	{"one quote", `"`, dps.Condition{}, false},
	{"nothing quoted", `""`, dps.Condition{}, false},
	{"quoted twice", `""a""`, dps.Condition{}, false},
	{"weak nothing", `W/`, dps.Condition{}, false},
}

func TestParseCondition(t *testing.T) {
	for _, tt := range conditions {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dps.ParseCondition(tt.in)
			if got != tt.want {
				t.Errorf("ParseCondition(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
			}
			if tt.ok && err != nil {
				t.Errorf("error = %v", err)
			}
			if !tt.ok {
				checkInvalid(t, err, "If-Match")
			}
		})
	}
}

func FuzzParseCondition(f *testing.F) {
	for _, tt := range conditions {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		c, err := dps.ParseCondition(in)
		if err != nil {
			if checkInvalid(t, err, "If-Match"); c != (dps.Condition{}) || len(err.Error()) > 200 {
				t.Errorf("ParseCondition(%q) = %+v, %v", in, c, err)
			}
			return
		}
		if c.Set != (strings.TrimSpace(in) != "") || c.Any && c.Tag != "" || c.Set && !c.Any && c.Tag == "" {
			t.Errorf("ParseCondition(%q) = %+v", in, c)
		}
		if len(c.Tag) > 512 || strings.ContainsAny(string(c.Tag), "\" ,\r\n\t") || !strings.Contains(in, string(c.Tag)) {
			t.Errorf("ParseCondition(%q) has the tag %q", in, c.Tag)
		}
		if again, err := dps.ParseCondition(`"` + string(c.Tag) + `"`); c.Tag != "" && !strings.HasPrefix(string(c.Tag), "W/") &&
			(again != c || err != nil) &&
			len(c.Tag) < 510 {
			t.Errorf("quoted again: %+v, %v; want %+v", again, err, c)
		}
	})
}

func TestHolds(t *testing.T) {
	tests := []struct {
		name    string
		c       dps.Condition
		current dps.ETag
		want    bool
	}{
		{"no demand, no record", dps.Condition{}, "", true},
		{"no demand, record", dps.Condition{}, "a", true},
		{"any, no record", dps.Condition{Set: true, Any: true}, "", false},
		{"any, record", dps.Condition{Set: true, Any: true}, "a", true},
		{"the version", dps.Match("a"), "a", true},
		{"the version in other case", dps.Match("A"), "a", false},
		{"another version", dps.Match("b"), "a", false},
		{"a version, no record", dps.Match("a"), "", false},
		{"no version, no record", dps.Match(""), "", false},
	}
	for _, tt := range tests {
		if got := tt.c.Holds(tt.current); got != tt.want {
			t.Errorf("%s: Holds = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestNewETag(t *testing.T) {
	tag := dps.NewETag()
	inside, err := base64.StdEncoding.DecodeString(string(tag))
	if err != nil || !regexp.MustCompile(`^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$`).Match(inside) {
		t.Errorf("NewETag = %q, which is %q", tag, inside)
	}
	if c, err := dps.ParseCondition(string(tag)); c != dps.Match(tag) || err != nil {
		t.Errorf("ParseCondition(%q) = %+v, %v", tag, c, err)
	}
	if tag == dps.NewETag() {
		t.Error("two versions are the same")
	}
}

func TestCodes(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range dps.Codes() {
		name := c.String()
		if name == "" || seen[name] || strings.Contains(name, "Code(") {
			t.Errorf("code %d has the name %q", uint8(c), name)
		}
		seen[name] = true
		if dps.ParseCode(name) != c {
			t.Errorf("ParseCode(%q) = %v", name, dps.ParseCode(name))
		}
	}
	if len(seen) < 20 || dps.Codes()[0] != dps.Internal {
		t.Errorf("%d codes, the first is %v", len(seen), dps.Codes()[0])
	}
	beyond := dps.Code(len(dps.Codes()))
	if beyond.String() != fmt.Sprintf("Code(%d)", len(dps.Codes())) || dps.ParseCode("nonsense") != dps.Internal {
		t.Errorf("unknown code is %v, unknown name is %v", beyond, dps.ParseCode("nonsense"))
	}
}

func TestErrors(t *testing.T) {
	cause := io.ErrUnexpectedEOF
	tests := []struct {
		name          string
		err           error
		code          dps.Code
		message, text string
	}{
		{"message", dps.Errorf(dps.NoHub, "no %s", "hub"), dps.NoHub, "no hub", "no hub"},
		{"field", dps.Invalidf("tags.a", "is %d", 1), dps.Invalid, "tags.a: is 1", "tags.a: is 1"},
		{"cause", dps.Wrap(dps.Unavailable, cause, "try again"), dps.Unavailable, "try again", "try again: unexpected EOF"},
		{"cause alone", dps.Wrap(dps.Conflict, cause, ""), dps.Conflict, "", "unexpected EOF"},
		{"outermost counts", dps.Wrap(dps.Conflict, dps.Errorf(dps.NoHub, "in"), "out"), dps.Conflict, "out", "out: in"},
		{"under context", fmt.Errorf("loading: %w", dps.Errorf(dps.NoHub, "in")), dps.NoHub, "in", "loading: in"},
		{"of somebody else", cause, dps.Internal, "", "unexpected EOF"},
		{"none", nil, dps.Internal, "", "<nil>"},
	}
	for _, tt := range tests {
		if dps.CodeOf(tt.err) != tt.code || dps.MessageOf(tt.err) != tt.message || fmt.Sprint(tt.err) != tt.text {
			t.Errorf("%s: code %v, message %q, text %q", tt.name, dps.CodeOf(tt.err), dps.MessageOf(tt.err), fmt.Sprint(tt.err))
		}
	}
	if !errors.Is(tests[2].err, cause) {
		t.Error("the cause is lost")
	}
}

func TestRights(t *testing.T) {
	all := []dps.Rights{
		dps.ServiceConfig, dps.EnrollmentRead, dps.EnrollmentWrite, dps.DeviceConnect, dps.RegistrationStatusRead, dps.RegistrationStatusWrite,
	}
	implied := map[dps.Rights][]dps.Rights{
		dps.EnrollmentWrite:         {dps.EnrollmentRead, dps.RegistrationStatusRead, dps.RegistrationStatusWrite},
		dps.RegistrationStatusWrite: {dps.RegistrationStatusRead},
	}
	for _, have := range all {
		if parsed, err := dps.ParseRights(" " + strings.ToUpper(have.String())); parsed != have || err != nil {
			t.Errorf("ParseRights(%v) = %v, %v", have, parsed, err)
		}
		for _, want := range all {
			allowed := have == want
			for _, r := range implied[have] {
				allowed = allowed || r == want
			}
			if have.Allow(want) != allowed {
				t.Errorf("%v allows %v: %v, want %v", have, want, have.Allow(want), allowed)
			}
		}
	}
	if got := dps.OwnerRights.String(); got != "ServiceConfig, DeviceConnect, EnrollmentWrite" {
		t.Errorf("OwnerRights = %q", got)
	}
	for r := range dps.Rights(64) {
		if parsed, err := dps.ParseRights(r.String()); r != 0 && (parsed != r || err != nil) {
			t.Errorf("ParseRights(%q) = %v, %v", r, parsed, err)
		}
		if !dps.OwnerRights.Allow(r) && r != 0 {
			t.Errorf("the owner may not %v", r)
		}
	}
	if dps.OwnerRights.Allow(0) || dps.Rights(0).Allow(dps.EnrollmentRead) ||
		(dps.EnrollmentRead | dps.ServiceConfig).Allow(dps.EnrollmentRead|dps.DeviceConnect) {
		t.Error("too much is allowed")
	}
	for _, in := range []string{"", "Everything", "EnrollmentRead,", "EnrollmentRead EnrollmentWrite"} {
		if _, err := dps.ParseRights(in); dps.CodeOf(err) != dps.Invalid {
			t.Errorf("ParseRights(%q) error = %v, want Invalid", in, err)
		}
	}
}

func TestHubRights(t *testing.T) {
	if !dps.RegistryWrite.Allow(dps.RegistryRead) || dps.RegistryRead.Allow(dps.RegistryWrite) || dps.HubOwnerRights.Allow(0) ||
		!dps.HubOwnerRights.Allow(dps.RegistryRead|dps.ServiceConnect|dps.HubDeviceConnect) || dps.ServiceConnect.Allow(dps.HubDeviceConnect) {
		t.Error("rights at a hub are wrong")
	}
}

func TestParseKey(t *testing.T) {
	encode := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, tt := range []struct {
		in string
		n  int // bytes of the key, or -1 if refused
	}{
		{"", 0},
		{encode(16), 16},
		{encode(64), 64},
		{encode(15), -1},
		{encode(65), -1},
		{"not base64!", -1},
		{strings.TrimRight(encode(16), "="), -1},
		{strings.ReplaceAll(encode(16), "A", "_"), -1},
	} {
		key, err := dps.ParseKey("attestation.symmetricKey.primaryKey", tt.in)
		if tt.n < 0 {
			checkInvalid(t, err, "attestation.symmetricKey.primaryKey")
			if tt.in != "" && strings.Contains(err.Error(), tt.in) {
				t.Errorf("the error shows the key: %v", err)
			}
			continue
		}
		if err != nil || len(key.Reveal()) != tt.n || key.Base64() != tt.in || key.IsZero() != (tt.n == 0) {
			t.Errorf("ParseKey(%q) = %q, %v", tt.in, key.Base64(), err)
		}
	}
}

func TestKeyPairs(t *testing.T) {
	own := dps.NewSecret([]byte("0123456789abcdef"))
	other := dps.NewKeyPair()
	if n := len(other.Primary.Reveal()); n != 64 || other.Primary.Base64() == other.Secondary.Base64() {
		t.Errorf("a new pair has %d bytes, or two equal keys", n)
	}
	got := dps.KeyPair{Primary: own}.Fill(other)
	if got.Primary.Base64() != own.Base64() || got.Secondary.Base64() != other.Secondary.Base64() {
		t.Error("Fill took the wrong keys")
	}
	got = dps.KeyPair{}.Fill(dps.KeyPair{Secondary: own})
	if len(got.Primary.Reveal()) != 64 || got.Secondary.Base64() != own.Base64() {
		t.Error("Fill did not make the missing key")
	}
}

func TestDeriveKey(t *testing.T) {
	// The vector of azure-docs, articles/iot-dps/concepts-symmetric-key-attestation.md.
	group, err := dps.ParseKey("key", "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==")
	if err != nil {
		t.Fatal(err)
	}
	const id dps.RegistrationID = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"
	if got, want := dps.DeriveKey(group, id).Base64(), "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="; got != want {
		t.Errorf("DeriveKey = %s, want %s", got, want)
	}
	if dps.DeriveKey(group, "SN-007-888-abc-mac-a1-b2-c3-d4-e5-f6").Base64() == dps.DeriveKey(group, id).Base64() {
		t.Error("the key does not depend on the spelling")
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	secret := dps.NewSecret([]byte("hunter2"))
	holder := struct {
		Key  dps.Secret
		Pair *dps.KeyPair
		own  dps.Secret // fmt calls no method of an unexported field
	}{secret, &dps.KeyPair{Primary: secret, Secondary: secret}, secret}
	var log strings.Builder
	var shown []string
	for _, v := range []any{secret, &secret, holder, dps.KeyPair{Primary: secret}, []dps.Secret{secret}, map[string]dps.Secret{"k": secret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%08b", "%U", "%c", "%t"} {
			shown = append(shown, fmt.Sprintf(verb, v))
		}
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "v", v)
		if b, err := json.Marshal(v); err == nil {
			t.Errorf("json.Marshal(%T) = %s, want an error", v, b)
		} else {
			shown = append(shown, err.Error())
		}
	}
	all := strings.ToLower(strings.Join(append(shown, log.String(), secret.String(), secret.LogValue().String()), "\n"))
	raw := []byte("hunter2")
	for _, leak := range []string{
		string(raw), fmt.Sprintf("%x", raw), strings.Trim(fmt.Sprint(raw), "[]"), base64.StdEncoding.EncodeToString(raw), "0x68", "150 165",
		"01101000 01", "u+0068", "h u n",
	} {
		if strings.Contains(all, strings.ToLower(leak)) {
			t.Errorf("%q is shown in:\n%s", leak, all)
		}
	}
	if secret.String() != "[redacted]" || fmt.Sprintf("%#v", secret) != "[redacted]" {
		t.Errorf("a secret prints as %v, %#v", secret, secret)
	}
}

func TestWebhookURLs(t *testing.T) {
	const stored = "https://f.example/api/a?code=key&x=1?2"
	for in, want := range map[string]string{
		stored: "https://f.example/api/a?****", "https://f.example/a": "https://f.example/a", "https://f.example/a?": "https://f.example/a?****",
		"": "",
	} {
		if got := (dps.CustomAllocation{WebhookURL: in}).MaskedURL(); got != want {
			t.Errorf("MaskedURL(%q) = %q, want %q", in, got, want)
		}
	}
	old := &dps.CustomAllocation{WebhookURL: stored, APIVersion: "2019-03-31"}
	tests := []struct {
		name, in string
		stored   *dps.CustomAllocation
		want     string
	}{
		{"masked form of the stored one", "https://f.example/api/a?****", old, stored},
		{"masked form of another", "https://g.example/api/a?****", old, "https://g.example/api/a?****"},
		{"nothing stored", "https://f.example/api/a?****", nil, "https://f.example/api/a?****"},
		{"a new one", "https://f.example/api/a?code=new", old, "https://f.example/api/a?code=new"},
		{"without query", "https://f.example/api/a", old, "https://f.example/api/a"},
	}
	for _, tt := range tests {
		got := dps.CustomAllocation{WebhookURL: tt.in, APIVersion: "new"}.Unmask(tt.stored)
		if got.WebhookURL != tt.want || got.APIVersion != "new" {
			t.Errorf("%s: Unmask = %+v, want %q", tt.name, got, tt.want)
		}
	}
}

func TestDecision(t *testing.T) {
	d := &dps.Decision{}
	d.Pass("chain length", "1 certificate")
	if d.Refused() {
		t.Error("refused after a check that held")
	}
	d.Refuse("common name", "is x", dps.Verdict{Reason: dps.ReasonNameMismatch, Answer: "Invalid certificate", Remedy: "mend it"})
	if !d.Refused() || d.Answer != "Invalid certificate" {
		t.Errorf("decision = %+v", d)
	}
	got := map[string]string{}
	for _, a := range d.LogValue().Group() {
		got[a.Key] = a.Value.String()
	}
	want := map[string]string{
		"reason": "name-mismatch", "remedy": "mend it", "checks": "chain length: ok (1 certificate); common name: FAILED (is x)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestFreshNames(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	in := dps.NewInstance(dps.DefaultInstance, now)
	if !regexp.MustCompile(`^0ne[0-9A-F]{8}$`).MatchString(string(in.Scope)) || in.Allocation != dps.Hashed || in.TokenKey.IsZero() ||
		!in.Created.Equal(now) {
		t.Errorf("instance = %+v", in)
	}
	if in.Scope == dps.NewInstance(dps.DefaultInstance, now).Scope {
		t.Error("two instances have one scope")
	}
	op := dps.NewOperationID()
	if !regexp.MustCompile(`^5\.[0-9a-f]{16}\.[0-9a-f-]{36}$`).MatchString(string(op)) || op == dps.NewOperationID() {
		t.Errorf("operation = %q", op)
	}
	first, later := dps.NewGenerationID(now), dps.NewGenerationID(now.Add(time.Millisecond))
	if len(first) != 18 || first >= later {
		t.Errorf("generations = %q, %q", first, later)
	}
}

func TestEnrollmentDisabled(t *testing.T) {
	for status, want := range map[dps.ProvisioningStatus]bool{
		dps.StatusEnabled: false, dps.StatusNull: false, "": false, dps.StatusDisabled: true,
	} {
		if got := (dps.Enrollment{Status: status}).Disabled(); got != want {
			t.Errorf("Disabled with %q = %v", status, got)
		}
	}
}

func TestHubAuthentication(t *testing.T) {
	a, b := dps.SelfSigned(dps.ThumbprintOf([]byte("a"))), dps.SelfSigned(dps.ThumbprintOf([]byte("b")))
	if a.Type != dps.HubAuthSelfSigned || a.PrimaryThumbprint != dps.ThumbprintOf([]byte("a")).String() ||
		a.SecondaryThumbprint != a.PrimaryThumbprint {
		t.Errorf("SelfSigned = %+v", a)
	}
	keys := dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: dps.NewKeyPair()}
	same, other := keys, keys
	same.Keys.Primary = dps.NewSecret(keys.Keys.Primary.Reveal())
	other.Keys.Secondary = dps.NewKey()
	if a.Equal(b) || a.Equal(keys) || !keys.Equal(same) || keys.Equal(other) {
		t.Error("Equal is wrong")
	}
}
