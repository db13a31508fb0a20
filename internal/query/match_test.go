package query_test

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
	"github.com/mooring-iot/mooring/internal/translate"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 120_000_000, time.UTC)

// certificate returns a fresh self-signed certificate.
func certificate(tb testing.TB, name string) *dps.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(4711),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    start,
		NotAfter:     start.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return &dps.Certificate{DER: der}
}

// sensor has something of everything.
func sensor() dps.Enrollment {
	return dps.Enrollment{
		Ref: dps.EntryRef{Kind: dps.Individual, ID: "Sensor-7"}, DeviceID: "Dev-7", Status: dps.StatusEnabled, ETag: "IjEi",
		Placement: dps.Placement{
			Policy: dps.Hashed, HubHostName: "Hub-A.example", IotHubs: []dps.HostName{"Hub-A.example", "hub-b.example"},
		},
		Attestation: dps.Attestation{Type: dps.TPM, TPM: &dps.TPMAttestation{EndorsementKey: "AToA"}},
		Created:     start, Updated: start.Add(1234567 * time.Nanosecond),
		InitialTwin: json.RawMessage(
			`{"tags":{"site":"Oslo","floor":3,"ratio":-0.5,"on":true,"off":false,"gone":null,"list":[1,2],"mixed":[{"x":["y"]},["y"],"Oslo",true,null,-1.5],"deep":{"a":{"b":"c"}},` +
				`"when":"2026-03-01T12:00:00.1Z","quote":"it's \"so\"","uni":"gr\u00fcn","a b":1,"":2,"x":"no","x":"yes","big":1e999,"empty":""}}`,
		),
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // by what holds
		"yes": `
			registrationId = 'sensor-7'
			registrationId = 'SENSOR-7'
			registrationId >= 'Sensor-7'
			registrationId < 'sensor-8'
			registrationId > 'SENSOR-6'
			registrationId != 'other'
			STARTS_WITH(registrationId, 'SENS')
			STARTS_WITH(registrationId, '')
			deviceId = 'Dev-7'
			STARTS_WITH(deviceId, 'Dev')
			initialTwin.tags.site = 'Oslo'
			initialTwin.tags.floor = 3
			initialTwin.tags.floor = 3.0
			initialTwin.tags.floor = 30e-1
			initialTwin.tags.floor > 2 AND initialTwin.tags.floor < 4
			initialTwin.tags.ratio = -0.5
			initialTwin.tags.ratio < 0
			initialTwin.tags.on = true
			initialTwin.tags.off = false
			initialTwin.tags.off < true
			initialTwin.tags.on != false
			initialTwin.tags.gone = null
			initialTwin.tags.gone <= null
			initialTwin.tags.missing = null
			initialTwin.missing.deeper = null
			initialTwin.tags.site.deeper = null
			initialTwin.tags.list != null
			initialTwin.tags.deep != null
			initialTwin.tags.deep.a.b = 'c'
			initialTwin.tags.quote = 'it''s "so"'
			initialTwin.tags.uni = 'grün'
			initialTwin.tags."a b" = 1
			initialTwin.tags."" = 2
			initialTwin.tags.x = 'yes'
			initialTwin.tags.big > 1e300
			initialTwin.tags.empty = ''
			initialTwin.tags.empty != null
			initialTwin != null
			NOT initialTwin.tags.missing = 'x'
			NOT initialTwin.tags.missing != 'x'
			initialTwin.tags.when = '2026-03-01T12:00:00.100Z'
			initialTwin.tags.when = '2026-03-01T13:00:00.1+01:00'
			initialTwin.tags.when < '2026-03-01T12:00:00.11Z'
			createdDateTimeUtc = '2026-03-01T12:00:00.12Z'
			createdDateTimeUtc = '2026-03-01T12:00:00.1200000Z'
			createdDateTimeUtc > '2026-03-01T12:00:00.1Z'
			createdDateTimeUtc > '2026-03-01'
			STARTS_WITH(createdDateTimeUtc, '2026-03-01T')
			lastUpdatedDateTimeUtc = '2026-03-01T12:00:00.1212345Z'
			lastUpdatedDateTimeUtc <= '2026-03-01T12:00:00.1212345Z'
			etag = 'IjEi'
			provisioningStatus = 'enabled'
			attestation.type = 'tpm'
			attestation.tpm.endorsementKey = 'AToA'
			attestation.tpm.storageRootKey = null
			attestation.x509 = null
			attestation.tpm != null
			capabilities = null
			capabilities.iotEdge = null
			reprovisionPolicy.updateHubAssignment = null
			customAllocationDefinition.webhookUrl = null
			iotHubs != null
			ARRAY_CONTAINS(iotHubs, 'hub-a.example')
			ARRAY_CONTAINS(iotHubs, 'HUB-B.EXAMPLE')
			array_contains ( iotHubs , "Hub-A.example" )
			NOT ARRAY_CONTAINS(iotHubs, 'hub-c.example')
			iotHubHostName = 'HUB-A.example'
			STARTS_WITH(iotHubHostName, 'HUB')
			provisioningStatus = 'Enabled'
			provisioningStatus != 'DISABLED'
			STARTS_WITH(provisioningStatus, 'ENA')
			attestation.type = 'TPM'
			allocationPolicy = 'Hashed'
			allocationPolicy IN ['GEOLATENCY', 'HASHED']
			registrationState.status = 'Unassigned'
			registrationState.registrationId = 'SENSOR-7'
			ARRAY_CONTAINS(initialTwin.tags.list, 2)
			ARRAY_CONTAINS(initialTwin.tags.mixed, 'Oslo')
			ARRAY_CONTAINS(initialTwin.tags.mixed, true)
			ARRAY_CONTAINS(initialTwin.tags.mixed, null)
			ARRAY_CONTAINS(initialTwin.tags.mixed, -1.5)
			'Sensor-7' = registrationId
			3 = initialTwin.tags.floor
			4 > initialTwin.tags.floor
			initialTwin.tags.floor IN (1, 3)
			initialTwin.tags.site == 'Oslo'
			initialTwin.tags['site'] = 'Oslo'
			initialTwin.tags["a b"] = 1
			initialTwin['tags']['deep'].a['b'] = 'c'
			initialTwin.tags.site IS NOT NULL
			initialTwin.tags.gone IS NULL
			enrollments.registrationId = 'sensor-7'
			optionalDeviceInformation.x = null
			registrationState.status = 'unassigned'
			registrationState.registrationId = 'Sensor-7'
			registrationState.etag = null
			registrationState != null`,
		"no": `
			registrationId = 'sensor'
			registrationId < 'sensor-7'
			registrationId = null
			deviceId = 'dev-7'
			STARTS_WITH(deviceId, 'dev')
			STARTS_WITH(initialTwin.tags.floor, '3')
			STARTS_WITH(initialTwin.tags.missing, '')
			initialTwin.tags.site = 'oslo'
			initialTwin.Tags.site = 'Oslo'
			initialTwin.tags.site = null
			initialTwin.tags.floor = '3'
			initialTwin.tags.floor != '3'
			initialTwin.tags.floor < '4'
			initialTwin.tags.on = 'true'
			initialTwin.tags.on = 1
			initialTwin.tags.on > true
			initialTwin.tags.gone != null
			initialTwin.tags.gone < null
			initialTwin.tags.gone > null
			initialTwin.tags.gone = 'null'
			initialTwin.tags.missing = 'x'
			initialTwin.tags.missing != 'x'
			initialTwin.tags.missing < 'x'
			initialTwin.tags.missing >= 0
			initialTwin.tags.list = null
			initialTwin.tags.list = 1
			initialTwin.tags.list != 1
			initialTwin.tags.list."0" = 1
			initialTwin.tags.deep = 'c'
			initialTwin.tags.deep.a = 'c'
			initialTwin.tags.x = 'no'
			initialTwin.tags.empty = null
			initialTwin.tags.when = '2026-03-01T12:00:00Z'
			createdDateTimeUtc < '2026-03-01T12:00:00.1Z'
			createdDateTimeUtc = '2026-03-01T12:00:00Z'
			lastUpdatedDateTimeUtc > '2026-03-01T12:00:00.1212345Z'
			etag = 'ijei'
			provisioningStatus = 'DISABLED'
			provisioningStatus IN ('disabled')
			provisioningStatus != 'Enabled'
			attestation.type != 'tpm'
			attestation.type = 'SymmetricKey'
			attestation.x509.clientCertificates.primary.info.subjectName != 'x'
			iotHubs IS NULL
			iotHubHostName = 'hub-b.example'
			ARRAY_CONTAINS(iotHubs, 'hub-a')
			ARRAY_CONTAINS(initialTwin.tags.list, '1')
			ARRAY_CONTAINS(initialTwin.tags.list, 3)
			ARRAY_CONTAINS(initialTwin.tags.list, null)
			ARRAY_CONTAINS(initialTwin.tags.site, 'Oslo')
			ARRAY_CONTAINS(initialTwin.tags.deep, 'a')
			ARRAY_CONTAINS(initialTwin.tags.missing, 1)
			ARRAY_CONTAINS(initialTwin.tags.mixed, 'oslo')
			ARRAY_CONTAINS(initialTwin.tags.mixed, 'y')
			initialTwin.tags.floor IN (1, 2)
			4 <= initialTwin.tags.floor
			initialTwin.tags.site IS NULL
			registrationState.assignedHub != null
			registrationState.status != 'unassigned'`,
	}
	for want, lines := range tests {
		for line := range strings.Lines(strings.TrimSpace(lines)) {
			q, err := query.Parse("SELECT * WHERE "+line, query.Enrollments())
			if err != nil {
				t.Error(err)
				continue
			}
			if got := q.Match(query.Record{Enrollment: sensor()}); got != (want == "yes") {
				t.Errorf("%s: %t", strings.TrimSpace(line), got)
			}
		}
	}
}

func TestMatchNothing(t *testing.T) {
	t.Parallel()
	if !(query.Query{}).Match(query.Record{}) {
		t.Error("no condition does not match")
	}
	e := sensor()
	e.InitialTwin, e.Status = json.RawMessage(`"text"`), dps.StatusNull
	for text, want := range map[string]bool{
		"initialTwin = 'text'": true, "initialTwin.x = null": true, "provisioningStatus = null": true, "provisioningStatus != 'enabled'": false,
	} {
		q, err := query.Parse("SELECT * WHERE "+text, query.Enrollments())
		if err != nil || q.Match(query.Record{Enrollment: e}) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"", "{", `{"a`, `{"a"`, `{"a":`, `{"a":{`, `{"a":"`, `{"a":"\`, `{"a" 1}`, `{a:1}`, `[`, `[1`, `{"b":[{,"a":1}`, `}`, `{"a":x}`,
		`{"a":"\q"}`, "\x00",
	} {
		if value, ok := query.Find(raw, []string{"a"}); ok != (value != nil) {
			t.Errorf("%q: %v, %t", raw, value, ok)
		}
	}
	for raw, want := range map[string]any{
		`{"a":1}`: 1.0, "{\t\"b\" : { \"a\" : 2 } , \"a\" : \"x\" }": "x", `{"b":[1,{"a":2},"]}"],"a":true}`: true, `{"b":"\"a\":","a":null}`: nil,
		`{"a\u0062":1,"\u0061":7}`: 7.0, `{"a":1,"a":2}`: 2.0, `{"":0,"b":{},"c":[],"a":"\ud83c\udf31\n"}`: "🌱\n",
	} {
		if value, ok := query.Find(raw, []string{"a"}); !ok || value != want {
			t.Errorf("%s: %v, %t", raw, value, ok)
		}
	}
}

// FuzzFind checks Find against encoding/json.
func FuzzFind(f *testing.F) {
	f.Add(`{"a":{"b":"c"},"d":[1,{"a":null}]}`, "a", "b")
	f.Add(`{"a":1,"a":{"b":-1.5e3}}`, "a", "b")
	f.Add(`{"\u0061":{"b":true}}`, "a", "b")
	f.Add(`{"c":"\\\\\"\"\\","a" : {"b":"\\"} , "d":"\\\""}`, "a", "b")
	f.Fuzz(func(t *testing.T, raw string, first, second string) {
		got, ok := query.Find(raw, []string{first, second})
		var all any
		if !utf8.ValidString(raw) || json.Unmarshal([]byte(raw), &all) != nil {
			return
		}
		want, there := walk(all, []string{first, second})
		if ok != there || (ok && !same(got, want)) {
			t.Errorf("%s: %v, %t; want %v, %t", raw, got, ok, want, there)
		}
		once := json.NewDecoder(strings.NewReader(raw))
		if twice(once) {
			return
		}
		if got, ok = query.FindOnce(raw, []string{first, second}); ok != there || (ok && !same(got, want)) {
			t.Errorf("once, %s: %v, %t; want %v, %t", raw, got, ok, want, there)
		}
		want, there = walk(all, []string{first})
		text, ok := query.RawOnce(raw, first)
		var inside any
		if ok != there || ok && (json.Unmarshal([]byte(text), &inside) != nil || !reflect.DeepEqual(inside, want)) {
			t.Errorf("%s: %q, %t; want %v, %t", raw, text, ok, want, there)
		}
	})
}

// twice reports whether the value that comes next has an object with two members of one
// name.
func twice(d *json.Decoder) bool {
	open, _ := d.Token()
	if open != json.Delim('{') && open != json.Delim('[') {
		return false
	}
	seen := make(map[string]bool)
	found := false
	for d.More() {
		if open == json.Delim('{') {
			name, _ := d.Token()
			text, _ := name.(string)
			found = found || seen[text]
			seen[text] = true
		}
		found = twice(d) || found
	}
	_, _ = d.Token()
	return found
}

// same compares plain values; objects and arrays are alike.
func same(got, want any) bool {
	switch want.(type) {
	case map[string]any, []any:
		switch got.(type) {
		case nil, string, bool, float64:
			return false
		}
		return true
	default:
		return got == want
	}
}

func walk(value any, path []string) (any, bool) {
	for _, name := range path {
		members, _ := value.(map[string]any)
		var ok bool
		if value, ok = members[name]; !ok {
			return nil, false
		}
	}
	return value, true
}

// condition is one as text, and as a function over the JSON of the wire.
type condition struct {
	text  string
	holds func(doc map[string]any) bool
}

// conditions draws conditions over members, with literals that docs have.
func conditions(paths [][]string, docs []map[string]any, depth int) *rapid.Generator[condition] {
	return rapid.Custom(func(t *rapid.T) condition {
		kind := 0
		if depth > 0 {
			kind = rapid.IntRange(0, 4).Draw(t, "kind")
		}
		below := func(label string) condition { return conditions(paths, docs, depth-1).Draw(t, label) }
		switch kind {
		case 1:
			l, r := below("left"), below("right")
			return condition{"(" + l.text + ") AND (" + r.text + ")", func(d map[string]any) bool { return l.holds(d) && r.holds(d) }}
		case 2:
			l, r := below("left"), below("right")
			return condition{"(" + l.text + ") OR (" + r.text + ")", func(d map[string]any) bool { return l.holds(d) || r.holds(d) }}
		case 3:
			c := below("inner")
			return condition{"NOT (" + c.text + ")", func(d map[string]any) bool { return !c.holds(d) }}
		default:
			return plainCondition(t, paths, docs)
		}
	})
}

func plainCondition(t *rapid.T, paths [][]string, docs []map[string]any) condition {
	path := rapid.SampledFrom(paths).Draw(t, "path")
	value, _ := walk(rapid.SampledFrom(docs).Draw(t, "doc"), path)
	if rapid.IntRange(0, 3).Draw(t, "other") == 0 {
		value = rapid.SampledFrom([]any{
			nil, true, false, 0.0, -1.5, 3.0, "", "x", "it's", "2026-03-01T12:00:00.12Z", "2026-03-01T12:00:00.1200000Z", "2026",
		}).
			Draw(t, "literal")
	}
	switch value.(type) {
	case map[string]any, []any:
		value = nil
	}
	if text, ok := value.(string); ok && rapid.Bool().Draw(t, "prefix") {
		prefix := string([]rune(text)[:rapid.IntRange(0, len([]rune(text))).Draw(t, "length")])
		c := condition{"STARTS_WITH(" + spelled(path) + ", " + quoted(prefix) + ")", func(d map[string]any) bool {
			got, _ := walk(d, path)
			text, isText := fold(path, got).(string)
			folded, _ := fold(path, prefix).(string) // a string stays one
			return isText && strings.HasPrefix(text, folded)
		}}
		if _, err := query.Parse("SELECT * WHERE "+c.text, query.Enrollments()); err == nil {
			return c
		}
		for _, d := range docs {
			if c.holds(d) {
				t.Fatalf("%s is refused", c.text)
			}
		}
		return comparison(path, "=", nil)
	}
	op := rapid.SampledFrom([]string{"=", "!=", "<>", "<", "<=", ">", ">="}).Draw(t, "op")
	c := comparison(path, op, value)
	if _, err := query.Parse("SELECT * WHERE "+c.text, query.Enrollments()); err == nil {
		return c
	}
	equal := comparison(path, "=", value)
	for _, d := range docs { // only what can match no record is refused
		_, err := query.Parse("SELECT * WHERE "+equal.text, query.Enrollments())
		if err != nil && equal.holds(d) {
			t.Fatalf("%s is refused: %v", equal.text, err)
		}
	}
	return comparison(path, "!=", nil)
}

func comparison(path []string, op string, value any) condition {
	return condition{spelled(path) + op + quoted(value), func(d map[string]any) bool {
		got, _ := walk(d, path)
		return naive(fold(path, got), op, fold(path, value))
	}}
}

func spelled(path []string) string {
	parts := []string{path[0]}
	for _, p := range path[1:] {
		parts = append(parts, `"`+strings.ReplaceAll(p, `"`, `""`)+`"`)
	}
	return strings.Join(parts, ".")
}

func quoted(value any) string {
	switch v := value.(type) {
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	default:
		return "null"
	}
}

// caseless are the members that are compared without case, but for those inside what
// holds anything.
var caseless = []string{
	"registrationId", "iotHubHostName", "assignedHub", "provisioningStatus", "allocationPolicy", "type", "status", "substatus",
	"sha1Thumbprint", "sha256Thumbprint", "serialNumber",
}

// fold makes values of such members lower case.
func fold(path []string, value any) any {
	free := slices.Contains([]string{"initialTwin", "optionalDeviceInformation"}, path[0]) || len(path) > 2 && path[1] == "payload"
	if text, ok := value.(string); ok && !free && slices.Contains(caseless, path[len(path)-1]) {
		return strings.ToLower(text)
	}
	return value
}

// naive says what a comparison means, by the documentation.
func naive(got any, op string, want any) bool {
	if want == nil {
		return map[string]bool{"=": got == nil, "<=": got == nil, ">=": got == nil, "!=": got != nil, "<>": got != nil}[op]
	}
	var order int
	switch want := want.(type) {
	case string:
		text, ok := got.(string)
		if !ok {
			return false
		}
		order = cmp.Compare(text, want)
		a, errA := time.Parse(time.RFC3339, text)
		b, errB := time.Parse(time.RFC3339, want)
		if errA == nil && errB == nil {
			order = a.Compare(b)
		}
	case float64:
		number, ok := got.(float64)
		if !ok {
			return false
		}
		order = cmp.Compare(number, want)
	case bool:
		b, ok := got.(bool)
		if !ok {
			return false
		}
		order = map[bool]int{true: 1}[b] - map[bool]int{true: 1}[want]
	}
	return map[string]bool{
		"=": order == 0, "!=": order != 0, "<>": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0,
	}[op]
}

// records draws enrollments with their registrations.
func records(certificates []*dps.Certificate) *rapid.Generator[query.Record] {
	return rapid.Custom(func(t *rapid.T) query.Record {
		at := func(label string) time.Time {
			return start.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 100, 1_000_000, 250_000_000, 880_000_000}).Draw(t, label)))
		}
		e := dps.Enrollment{
			Ref:      dps.EntryRef{Kind: dps.Individual, ID: rapid.StringMatching(`[abAB]{1,3}`).Draw(t, "id")},
			DeviceID: dps.DeviceID(rapid.SampledFrom([]string{"", "a", "A", "ab"}).Draw(t, "deviceId")), ETag: "IjEi",
			Status:      rapid.SampledFrom([]dps.ProvisioningStatus{dps.StatusEnabled, dps.StatusDisabled, dps.StatusNull}).Draw(t, "status"),
			Attestation: attestations(t, certificates), Placement: placements(t), Created: at("created"), Updated: at("updated"),
			InitialTwin: json.RawMessage(
				rapid.SampledFrom(twins).Draw(t, "twin"),
			), DeviceInfo: json.RawMessage(rapid.SampledFrom(twins[:4]).Draw(t, "info")),
		}
		if rapid.Bool().Draw(t, "capable") {
			e.Capabilities = &dps.Capabilities{IotEdge: rapid.Bool().Draw(t, "edge")}
		}
		r := query.Record{Enrollment: e, Number: translate.Number}
		if rapid.Bool().Draw(t, "registered") {
			r.Registration, r.Hub = registrations(t, dps.RegistrationID(e.Ref.ID), at), "hub.example.com"
		}
		return r
	})
}

// twins are those of records; the first are objects.
var twins = []string{
	"", `{}`, `{"tags":{"a":"x","b":3,"c":null}}`, `{"tags":{"a":"it's","b":-1.5,"c":{"d":[]}}}`,
	`{"tags":{"a":true,"b":"2026-03-01T12:00:00.120Z","c":{"d":"\u0078"}}}`, `{"tags":{"a":"gr\u00fcn","b":0,"c":{"d":{"e":false}}}}`, `[1]`, `"x"`, `{"tags":"x"}`,
}

func attestations(t *rapid.T, certificates []*dps.Certificate) dps.Attestation {
	switch rapid.IntRange(0, 3).Draw(t, "attestation") {
	case 0:
		return dps.Attestation{
			Type: dps.TPM,
			TPM:  &dps.TPMAttestation{EndorsementKey: "AToA", StorageRootKey: rapid.SampledFrom([]string{"", "x"}).Draw(t, "srk")},
		}
	case 1:
		keys := dps.NewKeyPair()
		return dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys}
	case 2:
		return dps.Attestation{
			Type: dps.X509,
			X509: &dps.X509Attestation{CAPrimary: "root", CASecondary: dps.CAName(rapid.SampledFrom([]string{"", "x"}).Draw(t, "ca"))},
		}
	default:
		x := &dps.X509Attestation{Primary: certificates[0]}
		if rapid.Bool().Draw(t, "second") {
			x.Secondary = certificates[1]
		}
		return dps.Attestation{Type: dps.X509, X509: x}
	}
}

func placements(t *rapid.T) dps.Placement {
	p := dps.Placement{
		Policy:      rapid.SampledFrom([]dps.AllocationPolicy{"", dps.Hashed, dps.Custom}).Draw(t, "policy"),
		HubHostName: rapid.SampledFrom([]dps.HostName{"", "x"}).Draw(t, "desired hub"),
	}
	if rapid.Bool().Draw(t, "hubs") {
		p.IotHubs = []dps.HostName{"x"}
	}
	if p.Policy == dps.Custom {
		p.Custom = &dps.CustomAllocation{WebhookURL: "https://x?code=1", APIVersion: rapid.SampledFrom([]string{"", "x"}).Draw(t, "version")}
	}
	if rapid.Bool().Draw(t, "reprovisioned") {
		p.Reprovision = &dps.ReprovisionPolicy{
			UpdateHubAssignment: rapid.Bool().Draw(t, "update"),
			MigrateDeviceData:   rapid.Bool().Draw(t, "migrate"),
		}
	}
	return p
}

func registrations(t *rapid.T, id dps.RegistrationID, at func(string) time.Time) *dps.Registration {
	reg := &dps.Registration{
		ID: id, ETag: "IjIi", Created: at("registered"), Updated: at("registered again"),
		Status: rapid.SampledFrom([]dps.RegistrationStatus{dps.Assigned, dps.Assigning, dps.Failed, dps.Disabled}).Draw(t, "state"),
	}
	if rapid.Bool().Draw(t, "was assigned") {
		reg.Assignment = &dps.Assignment{Hub: dps.EmbeddedHub, DeviceID: "x", Substatus: dps.InitialAssignment}
	}
	if rapid.Bool().Draw(t, "payload") {
		reg.Payload = json.RawMessage(`{"x":"x","deep":{"x":1}}`)
	}
	if reg.Status == dps.Failed {
		reg.Failure = &dps.Failure{Code: dps.NoHub, Message: "it's"}
	}
	return reg
}

// wireJSON is what the service API shows of a record.
func wireJSON(t rapid.TB, r query.Record) map[string]any {
	t.Helper()
	body, err := translate.Enrollment(r.Enrollment, false)
	if err != nil {
		t.Fatal(err)
	}
	body.RegistrationState = translate.NeverRegistered(dps.RegistrationID(r.Enrollment.Ref.ID), "2021-10-01")
	if r.Registration != nil {
		body.RegistrationState = translate.ServiceState(*r.Registration, r.Hub, "2021-10-01")
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// pathsOf collects where something stands in docs.
func pathsOf(docs []map[string]any) [][]string {
	all := map[string][]string{}
	var visit func(path []string, value any)
	visit = func(path []string, value any) {
		if len(path) > 0 {
			all[strings.Join(path, "\x00")] = slices.Clone(path)
		}
		if members, ok := value.(map[string]any); ok {
			for name, v := range members {
				visit(append(path, name), v)
			}
		}
	}
	for _, d := range docs {
		visit(nil, d)
	}
	var paths [][]string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		paths = append(paths, all[key])
	}
	return append(paths, []string{"initialTwin", "tags", "ghost"}, []string{"optionalDeviceInformation", "ghost"})
}

// TestMatchIsNaive checks Match against an evaluation of the JSON that the API shows.
func TestMatchIsNaive(t *testing.T) {
	t.Parallel()
	certificates := []*dps.Certificate{certificate(t, "one"), certificate(t, "two")}
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(records(certificates), 1, 8).Draw(t, "records")
		docs := make([]map[string]any, len(all))
		for i, r := range all {
			docs[i] = wireJSON(t, r)
		}
		c := conditions(pathsOf(docs), docs, 3).Draw(t, "condition")
		q, err := query.Parse("SELECT * WHERE "+c.text, query.Enrollments())
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		for i, r := range all {
			if got, want := q.Match(r), c.holds(docs[i]); got != want {
				t.Fatalf("%s: %t, want %t on %v", c.text, got, want, docs[i])
			} else if got {
				matched++
			}
		}
	})
	if matched == 0 {
		t.Error("no condition matched any record")
	}
}

// TestBounds checks that no match lies outside of what a plan promises.
func TestBounds(t *testing.T) {
	t.Parallel()
	schema, certificates := query.Enrollments(), []*dps.Certificate{certificate(t, "one"), certificate(t, "two")}
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(records(certificates), 1, 8).Draw(t, "records")
		docs := make([]map[string]any, len(all))
		for i, r := range all {
			docs[i] = wireJSON(t, r)
		}
		paths := [][]string{{"registrationId"}, {"lastUpdatedDateTimeUtc"}, {"deviceId"}}
		c := conditions(paths, docs, 3).Draw(t, "condition")
		q, err := query.Parse("SELECT * WHERE "+c.text, schema)
		if err != nil {
			t.Fatal(err)
		}
		ids := q.IDs(schema)
		from, to := q.Times(schema)
		for _, r := range all {
			key, at := r.Enrollment.Ref.Key(), r.Enrollment.Updated.UnixNano()
			inside := key >= ids.From && (ids.To == "" || key < ids.To) && (from == nil || at >= *from) && (to == nil || at < *to)
			if q.Match(r) && !inside {
				t.Fatalf("%s: %s at %d is outside of %+v", c.text, key, at, ids)
			}
		}
	})
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]query.Range{
		"etag = 'x'":                                             {},
		"registrationId = 'B'":                                   {From: "b", To: "b\x00"},
		"registrationId > 'B'":                                   {From: "b\x00"},
		"registrationId >= 'B'":                                  {From: "b"},
		"registrationId < 'B'":                                   {To: "b"},
		"registrationId <= 'B'":                                  {To: "b\x00"},
		"registrationId != 'B'":                                  {},
		"registrationId IN ('a')":                                {From: "a", To: "a\x00"},
		"NOT registrationId = 'B'":                               {},
		"STARTS_WITH(registrationId,'')":                         {},
		"STARTS_WITH(registrationId,'Ab') AND etag = 'x'":        {From: "ab", To: "ac"},
		"STARTS_WITH(registrationId,'é')":                        {From: "é", To: "\xc3\xaa"},
		"STARTS_WITH(registrationId,'\U0010ffff')":               {From: "\U0010ffff", To: "\xf4\x8f\xbf\xc0"},
		"registrationId >= 'a' AND registrationId < 'c'":         {From: "a", To: "c"},
		"registrationId >= 'a' AND (registrationId >= 'b')":      {From: "b"},
		"registrationId = 'a' OR registrationId = 'b'":           {},
		"etag = 'x' AND (registrationId = 'a' AND etag != null)": {From: "a", To: "a\x00"},
	} {
		q, err := query.Parse("SELECT * WHERE "+text, query.Enrollments())
		if got := q.IDs(query.Enrollments()); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}
