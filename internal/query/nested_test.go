package query_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

func TestUnwrap(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", " ": " ", "*": "*", "SELECT *": "SELECT *", "SELECT {": "SELECT {",
		`{'additional_properties': {}, 'query': 'SELECT *'}`:                                   "SELECT *",
		`{'additional_properties': {}, 'query': "SELECT * WHERE registrationId = 'x'"}`:        "SELECT * WHERE registrationId = 'x'",
		`{'additional_properties': {}, 'query': 'SELECT * WHERE "etag" = \'x\''}`:              `SELECT * WHERE "etag" = 'x'`,
		`{'additional_properties': {'a': [1, -2.5e3, None, True], 'b': ('x',)}, 'query': '*'}`: "*",
		`{'query': None}`:                            "",
		`{'additional_properties': {}}`:              "",
		`{}`:                                         "",
		` { "query" : "SELECT *" } `:                 "SELECT *",
		`{"query":null}`:                             "",
		`{"query":"a\u0062\"\\\/\n"}`:                "ab\"\\/\n",
		`{'query': 'gr\xfcn \U0001f331 \t'}`:         "grün 🌱 \t",
		`{'query': 'first', 'query': 'last',}`:       "last",
		"{'query': 'SELECT *\n  WHERE etag = null'}": "SELECT *\n  WHERE etag = null",
	} {
		if got, err := query.Unwrap(text); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"{", "{'", "{'query'", "{'query':", "{'query': 'x'", "{'query': 'x", "{'query': x}", "{'query': 5}", "{'query': ['x']}", "{'query': {'query': 'x'}}",
		"{query: 'x'}", "{'query' 'x'}", "{'a': }", "{'a': [}", "{'a': [1 2]}", "{'a': 1 'query': 'x'}", "{'query': 'x'} x", "{'query': '\\x1'}",
		"{'query': '\\ud800'}", "{'query': '\\q'}", "{'a': " + strings.Repeat("[", 60), "{'query': '" + strings.Repeat("x", 20000) + "'}",
	} {
		if got, err := query.Unwrap(text); dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(dps.MessageOf(err), "query: ") ||
			len(dps.MessageOf(err)) > 200 {
			t.Errorf("%.40s: %q, %v; expected Invalid", text, got, err)
		}
	}
}

// FuzzUnwrap checks that JSON is read as JSON is, and that nothing else ends badly.
func FuzzUnwrap(f *testing.F) {
	for _, text := range []string{
		"SELECT *", `{'additional_properties': {}, 'query': 'SELECT *'}`, `{'query': "it's \x41\u00e9", 'a': [None, (1, 2), {'b': -1.5e3}]}`,
		`{"query": "SELECT * WHERE etag = \"x\"", "other": [1, true, null, {"a": "b"}]}`, `{"query": null}`, "{", "{'a': [[[[",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := query.Unwrap(text)
		if err != nil && dps.CodeOf(err) != dps.Invalid {
			t.Fatal(err)
		}
		if !strings.HasPrefix(strings.TrimSpace(text), "{") {
			if got != text {
				t.Fatalf("%q became %q", text, got)
			}
			return
		}
		var spec struct {
			Query *string `json:"query"`
		}
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &spec) != nil || json.Unmarshal([]byte(text), &members) != nil || len(text) > 1000 {
			return
		}
		if _, there := members["query"]; !there || spec.Query == nil || strings.Contains(text, "\\") || strings.ContainsRune(text, '\ufffd') {
			return // encoding/json finds other spellings too, and repairs texts
		}
		if strings.Count(strings.ToLower(text), "query") == 1 && err == nil && got != *spec.Query {
			t.Errorf("%q: %q, want %q", text, got, *spec.Query)
		}
	})
}
