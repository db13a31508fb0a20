package query_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

func TestTexts(t *testing.T) {
	t.Parallel()
	stored := func(path []string) bool { return path[0] == "initialTwin" }
	for text, want := range map[string][]string{
		"initialTwin.a = 'oslo'":                             {"oslo"},
		"STARTS_WITH(initialTwin.a, 'os')":                   {"os"},
		"initialTwin.a = 'oslo' AND initialTwin.b = 'xy'":    {"oslo", "xy"},
		"initialTwin.a = 'oslo' AND deviceId = 'elsewhere'":  {"oslo"},
		"initialTwin.a = 'oslo' OR initialTwin.b = 'xy'":     nil,
		"NOT initialTwin.a = 'oslo'":                         nil,
		"initialTwin.a != 'oslo'":                            nil,
		"initialTwin.a >= 'oslo'":                            nil,
		"initialTwin.a = 'o'":                                nil, // too short to be worth it
		"initialTwin.a = 5":                                  nil,
		"initialTwin.a = null":                               nil,
		"initialTwin.a = 'it''s \"so\"'":                     nil, // JSON escapes these
		`initialTwin.a = 'c:\x'`:                             nil,
		"initialTwin.a = '<b>'":                              nil,
		"initialTwin.a = 'a&b'":                              nil,
		"initialTwin.a = 'grün'":                             nil,
		"initialTwin.a = 'a\tb'":                             nil,
		"initialTwin.a = '2026-03-01T12:00:00Z'":             nil, // equals other texts, too
		"STARTS_WITH(initialTwin.a, '2026-03-01T12:00:00Z')": {"2026-03-01T12:00:00Z"},
		"registrationId = 'oslo'":                            nil,
	} {
		q, err := query.Parse("SELECT * WHERE "+text, query.Enrollments())
		if got := q.Texts(stored); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}

func TestUses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"*":                         false,
		"SELECT * WHERE etag = 'x'": false,
		"SELECT * WHERE initialTwin.registrationState = 'x'":                          false,
		"SELECT * WHERE registrationState.status = 'failed'":                          true,
		"SELECT * WHERE REGISTRATIONSTATE != null":                                    true,
		"SELECT * WHERE etag = 'x' OR NOT (STARTS_WITH(registrationState.etag, 'x'))": true,
		"SELECT * WHERE registrationState.status = 'failed' AND etag = 'x'":           true,
	} {
		q, err := query.Parse(text, query.Enrollments())
		if got := q.Uses("registrationState"); err != nil || got != want {
			t.Errorf("%s: %t, %v", text, got, err)
		}
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	sum := dps.ThumbprintOf([]byte("a"))
	const member = "attestation.x509.clientCertificates.secondary.info.sha256Thumbprint"
	is := " = '" + sum.String() + "'"
	for text, want := range map[string]bool{
		member + is: true, member + " = '" + strings.ToLower(sum.String()) + "'": true,
		"etag = 'x' AND (" + member + is + " AND deviceId = 'y')": true,
		"etag = 'x' OR " + member + is:                            false, "NOT " + member + is: false, member + " != '" + sum.String() + "'": false, member + " = null": false,
		member + " = '" + sum.String()[1:] + "'": false, member + " = '" + sum.String()[2:] + "'": false,
		"initialTwin.tags.sha256Thumbprint" + is:                               false,
		"attestation.x509.clientCertificates.primary.info.sha1Thumbprint" + is: false, "STARTS_WITH(" + member + ", '" + sum.String() + "')": false,
	} {
		q, err := query.Parse("SELECT * WHERE "+text, query.Enrollments())
		if got, ok := q.Certificate(); err != nil || ok != want || ok && got != sum {
			t.Errorf("%s: %v, %t, %v", text, got, ok, err)
		}
	}
}
