package query_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

func is(op query.Op, literal any, path ...string) query.Cond {
	folded := slices.Contains([]string{"registrationId", "sha1Thumbprint"}, path[len(path)-1])
	return query.Compare{Path: path, Op: op, Literal: literal, Folded: folded}
}

func eq(literal any, path ...string) query.Cond { return is(query.Equal, literal, path...) }

var (
	a = eq("1", "etag")
	b = eq("2", "deviceId")
	c = eq(3.0, "initialTwin", "c")
)

const (
	textA = "etag = '1'"
	textB = "deviceId = '2'"
	textC = "initialTwin.c = 3"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want query.Cond
	}{
		{"", nil},
		{" \t\r\n ", nil},
		{"*", nil},
		{" * ", nil},
		{"SELECT *", nil},
		{"select*", nil},
		{"sElEcT *", nil},
		{"SELECT * FROM enrollments", nil},
		{"select * from enrollmentGroups", nil},
		{"select * from ENROLLMENTGROUPS", nil},
		{"SELECT * FROM deviceRegistrations", nil},
		{"SELECT * FROM registrations", nil},
		{"SELECT * FROM devices", nil},
		{"SELECT * FROM 'enrollments'", nil},
		{"SELECT * FROM c", nil},
		{"SELECT * FROM devices.enrollments", nil},
		{"SELECT * FROM enrollments e", nil},
		{"SELECT * FROM enrollments AS e", nil},
		{"SELECT e.* FROM enrollments e", nil},
		{"SELECT enrollments.* FROM enrollments", nil},
		{"SELECT *;", nil},
		{"SELECT * ; ;", nil},
		{"*;", nil},
		{";", nil},
		{"SELECT * FROM enrollments e WHERE e.etag = '1'", a},
		{"SELECT * FROM enrollments AS E WHERE e.etag = '1';", a},
		{"SELECT * FROM enrollments WHERE enrollments.etag = '1'", a},
		{"SELECT * FROM c WHERE c.etag = '1' ORDER BY c.registrationId", a},
		{"SELECT * WHERE enrollments.etag = '1'", a},
		{"SELECT * FROM x etag WHERE etag.etag = '1' ", a},
		{"SELECT * FROM x initialTwin WHERE initialTwin.c = 3", c},
		{"SELECT * WHERE '1' = etag", a},
		{"SELECT * WHERE etag == '1'", a},
		{"SELECT * WHERE etag IN ('1')", a},
		{"SELECT * WHERE etag IN ['1'];", a},
		{"SELECT * WHERE initialTwin['c'] = 3", c},
		{"SELECT * WHERE 3 < initialTwin.c", is(query.Greater, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE 3 <= initialTwin.c", is(query.GreaterOrEqual, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE 3 > initialTwin.c", is(query.Less, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE 3 >= initialTwin.c", is(query.LessOrEqual, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE 3 <> initialTwin.c", is(query.NotEqual, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE null != initialTwin.c", is(query.NotEqual, nil, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c IS NULL", eq(nil, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c is not null", is(query.NotEqual, nil, "initialTwin", "c")},
		{"SELECT * WHERE provisioningStatus = 'ENABLED'", eq("enabled", "provisioningStatus")},
		{"SELECT * WHERE attestation.type IN ('X509', 'symmetrickey')", query.Or{Left: eq("x509", "attestation", "type"), Right: eq("symmetricKey", "attestation", "type")}},
		{"SELECT * WHERE createdDateTimeUtc > '2026-03'", is(query.Greater, "2026-03", "createdDateTimeUtc")},
		{"SELECT * WHERE ARRAY_CONTAINS(iotHubs, 'Hub-A')", query.Contains{Path: []string{"iotHubs"}, Literal: "hub-a", Folded: true}},
		{"SELECT * WHERE ARRAY_CONTAINS(initialTwin.tags.list, 3)", query.Contains{Path: []string{"initialTwin", "tags", "list"}, Literal: 3.0}},
		{"SELECT * FROM enrollments WHERE " + textA, a},
		{"select * from enrollments where " + textA, a},
		{"SELECT * WHERE etag='1'", a},
		{"SELECT\n*\nWHERE\n\tetag\n=\n'1'\n", a},
		{"SELECT * WHERE ETAG = '1'", a},
		{`SELECT * WHERE "etag" = "1"`, a},
		{`SELECT * WHERE deviceId = "2"`, b},

		{"SELECT * WHERE initialTwin.c = 3", c},
		{"SELECT * WHERE initialTwin.c != 3", is(query.NotEqual, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c <> 3", is(query.NotEqual, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c < 3", is(query.Less, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c <= 3", is(query.LessOrEqual, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c > 3", is(query.Greater, 3.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c >= 3", is(query.GreaterOrEqual, 3.0, "initialTwin", "c")},

		{"SELECT * WHERE initialTwin.c = -3", eq(-3.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c=-3", eq(-3.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c<-3", is(query.Less, -3.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = +3", c},
		{"SELECT * WHERE initialTwin.c = 3.0", c},
		{"SELECT * WHERE initialTwin.c = 0.25", eq(0.25, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = 25e-2", eq(0.25, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = -2.5E+3", eq(-2500.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = 1e3", eq(1000.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = 9007199254740993", eq(9007199254740992.0, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = true", eq(true, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = FALSE", eq(false, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = Null", eq(nil, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = ''", eq("", "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = 'it''s'", eq("it's", "initialTwin", "c")},
		{`SELECT * WHERE initialTwin.c = "it's"`, eq("it's", "initialTwin", "c")},
		{`SELECT * WHERE initialTwin.c = 'a "b"'`, eq(`a "b"`, "initialTwin", "c")},
		{`SELECT * WHERE initialTwin.c = "a ""b"""`, eq(`a "b"`, "initialTwin", "c")},
		{`SELECT * WHERE initialTwin.c = ''''`, eq("'", "initialTwin", "c")},
		{`SELECT * WHERE initialTwin.c = 'a\nb'`, eq(`a\nb`, "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = 'grün 🌱'", eq("grün 🌱", "initialTwin", "c")},
		{"SELECT * WHERE initialTwin.c = ' AND '", eq(" AND ", "initialTwin", "c")},

		{"SELECT * WHERE initialTwin.tags.a.b.c = 1", eq(1.0, "initialTwin", "tags", "a", "b", "c")},
		{"SELECT * WHERE initialTwin . tags . a = 1", eq(1.0, "initialTwin", "tags", "a")},
		{"SELECT * WHERE INITIALTWIN.Tags.A = 1", eq(1.0, "initialTwin", "Tags", "A")},
		{`SELECT * WHERE initialTwin.tags."two words" = 1`, eq(1.0, "initialTwin", "tags", "two words")},
		{`SELECT * WHERE initialTwin.tags."a.b"."c""d" = 1`, eq(1.0, "initialTwin", "tags", "a.b", `c"d`)},
		{`SELECT * WHERE initialTwin.tags."" = 1`, eq(1.0, "initialTwin", "tags", "")},
		{`SELECT * WHERE initialTwin.tags."*" = 1`, eq(1.0, "initialTwin", "tags", "*")},
		{"SELECT * WHERE initialTwin.tags.$x_1-y = 1", eq(1.0, "initialTwin", "tags", "$x_1-y")},
		{"SELECT * WHERE initialTwin.tags.größe = 1", eq(1.0, "initialTwin", "tags", "größe")},
		{"SELECT * WHERE initialTwin.and = 1", eq(1.0, "initialTwin", "and")},
		{"SELECT * WHERE initialTwin = null", eq(nil, "initialTwin")},
		{"SELECT * WHERE optionalDeviceInformation.maker = 'x'", eq("x", "optionalDeviceInformation", "maker")},
		{"SELECT * WHERE Attestation.Type = 'Tpm'", eq("tpm", "attestation", "type")},
		{"SELECT * WHERE attestation.x509.clientcertificates.PRIMARY.info.sha1thumbprint = 'x'", eq("x", "attestation", "x509", "clientCertificates", "primary", "info", "sha1Thumbprint")},
		{"SELECT * WHERE registrationState.errorCode = 400208", eq(400208.0, "registrationState", "errorCode")},
		{"SELECT * WHERE iotHubs != null", is(query.NotEqual, nil, "iotHubs")},
		{"SELECT * WHERE registrationId = 'Sensor-7'", eq("sensor-7", "registrationId")},

		{"SELECT * WHERE STARTS_WITH(deviceId, 'x')", query.StartsWith{Path: []string{"deviceId"}, Prefix: "x"}},
		{"SELECT * WHERE starts_with ( deviceId , \"x\" )", query.StartsWith{Path: []string{"deviceId"}, Prefix: "x"}},
		{"SELECT * WHERE STARTS_WITH(registrationid, 'X')", query.StartsWith{Path: []string{"registrationId"}, Prefix: "x", Folded: true}},

		{"SELECT * WHERE NOT " + textA, query.Not{Cond: a}},
		{"SELECT * WHERE not not " + textA, query.Not{Cond: query.Not{Cond: a}}},
		{"SELECT * WHERE NOT(" + textA + ")", query.Not{Cond: a}},
		{"SELECT * WHERE ((" + textA + "))", a},
		{"SELECT * WHERE " + textA + " AND " + textB, query.And{Left: a, Right: b}},
		{"SELECT * WHERE " + textA + " or " + textB, query.Or{Left: a, Right: b}},
		{"SELECT * WHERE " + textA + " OR " + textB + " AND " + textC, query.Or{Left: a, Right: query.And{Left: b, Right: c}}},
		{"SELECT * WHERE " + textA + " AND " + textB + " OR " + textC, query.Or{Left: query.And{Left: a, Right: b}, Right: c}},
		{"SELECT * WHERE (" + textA + " OR " + textB + ") AND " + textC, query.And{Left: query.Or{Left: a, Right: b}, Right: c}},
		{"SELECT * WHERE NOT " + textA + " AND " + textB, query.And{Left: query.Not{Cond: a}, Right: b}},
		{"SELECT * WHERE NOT (" + textA + " AND " + textB + ")", query.Not{Cond: query.And{Left: a, Right: b}}},
		{"SELECT * WHERE " + textA + " AND " + textB + " AND " + textC, query.And{Left: query.And{Left: a, Right: b}, Right: c}},
		{"SELECT * WHERE " + textA + " OR " + textB + " OR " + textC, query.Or{Left: query.Or{Left: a, Right: b}, Right: c}},
		{"SELECT * WHERE etag='1'AND deviceId='2'", query.And{Left: a, Right: b}},
	}
	for _, tt := range tests {
		got, err := query.Parse(tt.text, query.Enrollments())
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got.Where); diff != "" || got.Order != (query.Order{}) {
			t.Errorf("%s: order %+v, condition (-want +got):\n%s", tt.text, got.Order, diff)
		}
	}
}

func TestParseOrder(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]query.Order{
		"SELECT * ORDER BY registrationId":                                                     {},
		"SELECT * ORDER BY registrationId ASC":                                                 {},
		"SELECT * order by REGISTRATIONID desc":                                                {Descending: true},
		"SELECT * ORDER BY lastUpdatedDateTimeUtc":                                             {ByUpdated: true},
		"SELECT * ORDER BY lastUpdatedDateTimeUtc asc":                                         {ByUpdated: true},
		"SELECT * ORDER BY lastUpdatedDateTimeUtc DESC":                                        {ByUpdated: true, Descending: true},
		"SELECT * FROM enrollments WHERE etag = 'x' ORDER BY lastUpdatedDateTimeUtc DESC":      {ByUpdated: true, Descending: true},
		"SELECT * FROM enrollments WHERE NOT (etag = 'x') ORDER BY \"lastUpdatedDateTimeUtc\"": {ByUpdated: true},
	} {
		if got, err := query.Parse(text, query.Enrollments()); err != nil || got.Order != want {
			t.Errorf("%s: %+v, %v", text, got.Order, err)
		}
	}
}

func TestParseSchemas(t *testing.T) {
	t.Parallel()
	tests := []struct {
		schema *query.Schema
		text   string
		ok     bool
	}{
		{query.Groups(), "SELECT * WHERE enrollmentGroupId = 'x' ORDER BY enrollmentGroupId", true},
		{query.Groups(), "SELECT * WHERE attestation.x509.signingCertificates.primary != null", true},
		{query.Groups(), "SELECT * WHERE attestation.x509.clientCertificates.primary != null", false},
		{query.Groups(), "SELECT * WHERE registrationId = 'x'", false},
		{query.Groups(), "SELECT * WHERE registrationState.status = 'x'", false},
		{query.Enrollments(), "SELECT * WHERE enrollmentGroupId = 'x'", false},
		{query.Enrollments(), "SELECT * WHERE attestation.symmetricKey.primaryKey = 'x'", false},
		{query.Registrations(), "SELECT * WHERE registrationId = 'x' AND status = 'assigned' AND assignedHub != null", true},
		{query.Registrations(), "SELECT * WHERE initialTwin.tags.x = 1", false},
	}
	for _, tt := range tests {
		if _, err := query.Parse(tt.text, tt.schema); (err == nil) != tt.ok {
			t.Errorf("%s by %s: %v", tt.text, tt.schema.ID, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		at   int // character, from 1
		want string
	}{
		{"x", 1, "expected SELECT, * or nothing"},
		{"  x", 3, "expected SELECT, * or nothing"},
		{"* *", 3, `unexpected "*"; expected the end`},
		{"* SELECT *", 3, `unexpected "SELECT"; expected the end`},
		{"SELECT", 7, "expected *, or members such as registrationId"},
		{"SELECT ghost", 8, "there is no member ghost"},
		{"SELECT *, etag", 9, `unexpected ","`},
		{"SELECT etag, *", 14, "* cannot be combined with members"},
		{"SELECT e.*, etag FROM enrollments e", 11, "* cannot be combined with members"},
		{"SELECT f.* FROM enrollments e", 8, "only the source or its alias can precede .*"},
		{"SELECT COUNT() FROM enrollments", 8, "functions are not supported after SELECT"},
		{"SELECT etag AS e FROM enrollments", 13, "unexpected AS"},
		{"SELECT etag,", 13, "expected *, or members"},
		{"SELECT etag deviceId", 13, `unexpected "deviceId"`},
		{"SELECT DISTINCT etag", 8, "there is no member DISTINCT"},
		{"SELECT TOP 10 *", 8, "there is no member TOP"},
		{"SELECT * FROM", 14, "expected a name such as enrollments"},
		{"SELECT * FROM WHERE etag = 'x'", 15, "expected a name such as enrollments"},
		{"SELECT * FROM enrollments AS", 29, "expected an alias"},
		{"SELECT * FROM enrollments.", 27, "expected a name after the dot"},
		{"SELECT * FROM enrollments, registrations", 26, `unexpected ","`},
		{"SELECT * FROM enrollments e WHERE f.etag = 'x'", 35, "there is no member f"},
		{"SELECT * FROM enrollments e WHERE e.ghost = 'x'", 35, "there is no member ghost"},
		{"SELECT * FROM enrollments JOIN registrations", 27, `unexpected "JOIN"`},
		{"SELECT *; SELECT *", 11, `unexpected "SELECT"; expected the end`},
		{"SELECT * FORM enrollments", 10, `unexpected "FORM"; expected FROM, WHERE, ORDER BY`},
		{"SELECT * WHERE", 15, "expected a member such as registrationId"},
		{"SELECT * WHERE ", 16, "expected a member such as registrationId"},
		{"SELECT * WHERE 'etag' = 'x'", 25, "expected a member such as registrationId"},
		{"SELECT * WHERE etag", 20, "expected =, !=, <>, <, <=, >, >=, IN or IS"},
		{"SELECT * WHERE etag LIKE 'x'", 21, "expected =, !=, <>, <, <=, >, >=, IN or IS"},
		{"SELECT * WHERE etag IN 'x'", 24, "expected ("},
		{"SELECT * WHERE etag IN ()", 25, "expected a string in quotes"},
		{"SELECT * WHERE etag IN ('x' 'y')", 29, "expected , or )"},
		{"SELECT * WHERE etag IN ['x')", 28, "expected , or ]"},
		{"SELECT * WHERE etag NOT IN ('x')", 21, "expected =, !=,"},
		{"SELECT * WHERE etag IS 'x'", 24, "expected NULL"},
		{"SELECT * WHERE etag === 'x'", 23, "expected a string in quotes, a number, true, false or null"},
		{"SELECT * WHERE provisioningStatus = 'on'", 37, "provisioningStatus can only be compared by = and != with 'enabled', 'disabled' or null"},
		{"SELECT * WHERE 'on' = provisioningStatus", 16, "can only be compared by = and != with 'enabled', 'disabled' or null"},
		{"SELECT * WHERE provisioningStatus IN ('enabled', 'on')", 50, "'enabled', 'disabled' or null"},
		{"SELECT * WHERE provisioningStatus < 'enabled'", 37, "can only be compared by = and !="},
		{"SELECT * WHERE provisioningStatus = true", 37, "'enabled', 'disabled' or null"},
		{"SELECT * WHERE attestation.type = 'certificate'", 35, "'tpm', 'x509', 'symmetricKey' or null"},
		{"SELECT * WHERE allocationPolicy = 'random'", 35, "'hashed', 'geoLatency', 'static', 'custom' or null"},
		{"SELECT * WHERE registrationState.status = 'done'", 43, "'unassigned', 'assigning', 'assigned', 'failed', 'disabled' or null"},
		{"SELECT * WHERE registrationState.substatus = 'x'", 46, "'initialAssignment', "},
		{"SELECT * WHERE capabilities.iotEdge = 'true'", 39, "with true, false or null"},
		{"SELECT * WHERE registrationState.errorCode = '400208'", 46, "is a number; write it without quotes"},
		{"SELECT * WHERE registrationId = 7", 33, "registrationId is a string; put the value in quotes"},
		{"SELECT * WHERE deviceId = true", 27, "deviceId is a string; put the value in quotes"},
		{"SELECT * WHERE createdDateTimeUtc > 'yesterday'", 37, "is a time; compare with one such as"},
		{"SELECT * WHERE iotHubs = 'hub-a.example'", 26, "iotHubs is a list; use ARRAY_CONTAINS(iotHubs, 'x')"},
		{"SELECT * WHERE attestation = 'x509'", 30, "attestation is an object; compare one of its members (tpm, type, x509)"},
		{"SELECT * WHERE STARTS_WITH(iotHubs, 'x')", 37, "iotHubs is not a string"},
		{"SELECT * WHERE ARRAY_CONTAINS(etag, 'x')", 37, "etag is not a list"},
		{"SELECT * WHERE ARRAY_CONTAINS(iotHubs, 5)", 40, "iotHubs is a list of host names"},
		{"SELECT * WHERE ARRAY_CONTAINS(iotHubs)", 38, "expected ,"},
		{"SELECT * WHERE etag =", 22, "expected a string in quotes, a number, true, false or null"},
		{"SELECT * WHERE etag = x", 23, "expected a string in quotes, a number, true, false or null"},
		{"SELECT * WHERE etag = 'x", 23, "the string has no closing quote"},
		{"SELECT * WHERE etag = 'x''", 23, "the string has no closing quote"},
		{`SELECT * WHERE etag = "x'`, 23, "the string has no closing quote"},
		{"SELECT * WHERE etag = 'x' 'y'", 27, `unexpected "y"; expected`},
		{"SELECT * WHERE etag = 'x' AND", 30, "expected a member such as registrationId"},
		{"SELECT * WHERE etag = 'x' OR OR", 30, "there is no member OR"},
		{"SELECT * WHERE (etag = 'x'", 27, "expected )"},
		{"SELECT * WHERE etag = 'x')", 26, `unexpected ")"; expected`},
		{"SELECT * WHERE ()", 17, "expected a member"},
		{"SELECT * WHERE NOT", 19, "expected a member"},
		{"SELECT * WHERE ghost = 'x'", 16, "there is no member ghost; the members are allocationPolicy, "},
		{"SELECT * WHERE tags.site = 'x'", 16, "there is no member tags; the members are "},
		{"SELECT * WHERE attestation.kind = 'x'", 16, "attestation has no member kind; the members are tpm, type, x509"},
		{"SELECT * WHERE etag.x = 'x'", 16, "etag has no members"},
		{"SELECT * WHERE initialTwin. = 'x'", 29, "expected a member after the dot"},
		{"SELECT * WHERE initialTwin.'c' = 'x'", 28, "expected a member after the dot"},
		{"SELECT * WHERE initialTwin.2nd = 'x'", 28, "expected a member after the dot"},
		{"SELECT * WHERE initialTwin.c = 1.2.3", 32, `"1.2.3" is not a number`},
		{"SELECT * WHERE initialTwin.c = 1e999", 32, `"1e999" is not a number`},
		{"SELECT * WHERE initialTwin.c = -", 32, `"-" is not a number`},
		{"SELECT * WHERE initialTwin.c = 0x10", 33, `unexpected "x10"`},
		{"SELECT * WHERE initialTwin.c = .5", 32, "expected a string in quotes, a number"},
		{"SELECT * WHERE initialTwin.c[0] = 5", 30, "expected the name of a member in quotes"},
		{"SELECT * WHERE STARTS_WITH deviceId, 'x'", 28, "expected ("},
		{"SELECT * WHERE STARTS_WITH(deviceId 'x')", 37, "expected ,"},
		{"SELECT * WHERE STARTS_WITH(deviceId, 5)", 38, "expected a string"},
		{"SELECT * WHERE STARTS_WITH(deviceId, null)", 38, "expected a string"},
		{"SELECT * WHERE STARTS_WITH(deviceId, 'x'", 41, "expected )"},
		{"SELECT * WHERE STARTS_WITH(ghost, 'x')", 28, "there is no member ghost"},
		{"SELECT * ORDER", 15, "expected BY"},
		{"SELECT * ORDER BY", 18, "expected a member"},
		{"SELECT * ORDER BY etag", 19, "can only be registrationId or lastUpdatedDateTimeUtc"},
		{"SELECT * ORDER BY registrationId UP", 34, `unexpected "UP"`},
		{"SELECT * ORDER BY registrationId, etag", 33, `unexpected ","`},
		{"SELECT * GROUP BY etag", 10, `unexpected "GROUP"`},
		{"SELECT * WHERE etag = 'größe🌱' ü", 32, `unexpected "ü"`},
		{"SELECT * WHERE etag = “x”", 23, `unexpected '“'`},
		{"SELECT * WHERE “etag” = 'x'", 16, `unexpected '“'`},
	}
	for _, tt := range tests {
		_, err := query.Parse(tt.text, query.Enrollments())
		prefix := fmt.Sprintf("query: at character %d: ", tt.at)
		if dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(dps.MessageOf(err), prefix) || !strings.Contains(dps.MessageOf(err), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s%s", tt.text, err, prefix, tt.want)
		}
	}
}

func TestParseLimits(t *testing.T) {
	t.Parallel()
	conditions := func(n int) string { return "SELECT * WHERE " + strings.Repeat(textA+" OR ", n-1) + textA }
	nested := func(n int) string { return "SELECT * WHERE " + strings.Repeat("(", n) + textA + strings.Repeat(")", n) }
	nots := func(n int) string { return "SELECT * WHERE " + strings.Repeat("NOT ", n) + textA }
	tests := []struct{ name, within, beyond, want string }{
		{"length", "SELECT * WHERE etag = '" + strings.Repeat("x", 16<<10-24) + "'", strings.Repeat(" ", 16<<10+1), "longer than 16384 bytes"},
		{"conditions", conditions(200), conditions(201), "more than 200 conditions"},
		{"parentheses", nested(50), nested(51), "at character 67: is nested deeper than 50 levels"},
		{"NOTs", nots(50), nots(51), "deeper than 50 levels"},
		{"parentheses without end", nested(1), "SELECT * WHERE " + strings.Repeat("(", 16000), "deeper than 50 levels"},
	}
	for _, tt := range tests {
		if _, err := query.Parse(tt.within, query.Enrollments()); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := query.Parse(tt.beyond, query.Enrollments()); dps.CodeOf(err) != dps.Invalid ||
			!strings.Contains(dps.MessageOf(err), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for _, text := range []string{
		"SELECT * WHERE %s = 1", "SELECT * %s", "SELECT * WHERE initialTwin.c = 1%s", "SELECT * WHERE attestation.%s = 1",
	} {
		_, err := query.Parse(fmt.Sprintf(text, strings.Repeat("1x", 8000)), query.Enrollments())
		if len(dps.MessageOf(err)) > 1000 {
			t.Errorf("%s: a message of %d bytes", text, len(dps.MessageOf(err)))
		}
	}
}

var position = regexp.MustCompile(`^query: at character (\d+): .`)

// FuzzParse checks that every text is understood, or refused at one of its characters.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"SELECT e.registrationId, e.initialTwin.tags FROM enrollments AS e WHERE '1' = e.etag AND e.iotHubs IS NOT NULL;",
		"SELECT * FROM c WHERE ARRAY_CONTAINS(iotHubs, 'x') OR initialTwin['a b'] IN (1, 'x', null) OR provisioningStatus IN ['Enabled'];;",
		"SELECT e.* FROM x.y e WHERE ARRAY_CONTAINS(initialTwin.a, true) ORDER BY e.registrationId",
		"", "*", "SELECT * FROM enrollments WHERE NOT (registrationId >= 'a''b' OR initialTwin.tags.\"x y\" <> -1.5e3) AND STARTS_WITH(deviceId, \"p\") ORDER BY lastUpdatedDateTimeUtc DESC",
		"SELECT * WHERE etag = null", "SELECT * WHERE ((", "\xff", "SELECT * WHERE é", "SELECT * WHERE etag = '\x00\xff'", "SELECT * WHERE initialTwin.\xff = 1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, schema := range []*query.Schema{query.Enrollments(), query.Groups(), query.Registrations()} {
			q, err := query.Parse(text, schema)
			if err == nil {
				again, err := query.Parse(text, schema)
				if diff := cmp.Diff(q, again, cmp.Comparer(func(a, b func(dps.Code) int) bool { return (a == nil) == (b == nil) })); err != nil ||
					diff != "" {
					t.Errorf("again: %v %s", err, diff)
				}
				q.IDs(schema)
				q.Times(schema)
				q.Match(query.Record{})
				continue
			}
			m := position.FindStringSubmatch(dps.MessageOf(err))
			if dps.CodeOf(err) != dps.Invalid || (m == nil && len(text) <= 16<<10) {
				t.Fatalf("%q: %v", text, err)
			}
			if m == nil {
				continue
			}
			if at, _ := strconv.Atoi(m[1]); at < 1 || at > utf8.RuneCountInString(text)+1 {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}
