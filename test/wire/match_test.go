package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// kinds are the values that an answer may leave open.
var kinds = map[string]string{
	"any":       `(?s).*`,
	"text":      `(?s).+`,
	"uuid":      `[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`,
	"etag":      `I[jm][A-Za-z0-9+/]+=*`,                                                        // base64 of a quoted hexadecimal number
	"time":      `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{0,6}[1-9])?Z`,                           // zeros trimmed
	"time7":     `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z`,                                       // always seven digits
	"rfc1123":   `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`, // RFC 1123
	"code":      `[0-9A-F]{48}`,
	"key":       `[A-Za-z0-9+/]{86}==`, // base64 of 64 bytes
	"operation": `[A-Za-z0-9.-]+`,
	"digits":    `\d+`,
	"hex":       `[0-9A-F]+`,
}

var placeholder = regexp.MustCompile(`\{\{([^}]+)\}\}`)

// facts are what placeholders stand for: remembered values, and certificates'.
type facts struct {
	remembered map[string]string
	look       func(name string) (string, bool)
}

func (f *facts) value(name string) (string, error) {
	if v, ok := f.remembered[name]; ok {
		return v, nil
	}
	if v, ok := f.look(name); ok {
		return v, nil
	}
	return "", fmt.Errorf("{{%s}} is neither a kind nor a value", name)
}

// expand puts values in the place of placeholders; quote changes each of them.
func (f *facts) expand(t *testing.T, text string, quote func(string) string) string {
	t.Helper()
	return placeholder.ReplaceAllStringFunc(text, func(m string) string {
		v, err := f.value(m[2 : len(m)-2])
		if err != nil {
			t.Fatal(err)
		}
		return quote(v)
	})
}

// plain leaves a value as it is.
func plain(s string) string { return s }

// inJSON writes a value as it stands between the quotes of a JSON string.
func inJSON(s string) string {
	text, _ := json.Marshal(s)
	return string(text[1 : len(text)-1])
}

// match compares a text with a pattern, and remembers.
func (f *facts) match(pattern, text string) error {
	var expr strings.Builder
	var names []string
	last := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(pattern, -1) {
		expr.WriteString(regexp.QuoteMeta(pattern[last:at[0]]))
		kind, name, _ := strings.Cut(pattern[at[2]:at[3]], " ")
		if known, ok := kinds[kind]; ok {
			expr.WriteString("(" + known + ")")
			names = append(names, name)
		} else {
			v, err := f.value(kind)
			if err != nil {
				return err
			}
			expr.WriteString(regexp.QuoteMeta(v))
		}
		last = at[1]
	}
	expr.WriteString(regexp.QuoteMeta(pattern[last:]))
	found := regexp.MustCompile(`^` + expr.String() + `$`).FindStringSubmatch(text)
	if found == nil {
		return fmt.Errorf("is %q, want %q", text, pattern)
	}
	for i, name := range names {
		if name != "" {
			f.remembered[name] = found[i+1]
		}
	}
	return nil
}

// matchJSON compares two JSON texts by their values.
func (f *facts) matchJSON(want, got string) error {
	w, err := decode(want)
	if err != nil {
		return fmt.Errorf("the expected body: %w", err)
	}
	g, err := decode(got)
	if err != nil {
		return fmt.Errorf("the body is no JSON: %w", err)
	}
	return f.compare("body", w, g)
}

func decode(text string) (any, error) {
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber()
	var v any
	err := dec.Decode(&v)
	return v, err
}

func (f *facts) compare(path string, want, got any) error {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: is %v, want an object", path, got)
		}
		return f.compareObjects(path, w, g)
	case []any:
		g, ok := got.([]any)
		if !ok || len(w) != len(g) {
			return fmt.Errorf("%s: is %v, want %d elements", path, got, len(w))
		}
		for i := range w {
			if err := f.compare(fmt.Sprintf("%s[%d]", path, i), w[i], g[i]); err != nil {
				return err
			}
		}
		return nil
	case string:
		return f.compareString(path, w, got)
	default:
		if want != got {
			return fmt.Errorf("%s: is %v, want %v", path, got, want)
		}
		return nil
	}
}

func (f *facts) compareObjects(path string, want, got map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := got[name]; !ok {
			return fmt.Errorf("%s: has no member %s", path, name)
		}
		if err := f.compare(path+"."+name, want[name], got[name]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			return fmt.Errorf("%s: has a member %s = %v that nobody expects", path, name, got[name])
		}
	}
	return nil
}

func (f *facts) compareString(path, want string, got any) error {
	if want == "{{any}}" {
		return nil
	}
	text, ok := got.(string)
	if !ok {
		return fmt.Errorf("%s: is %v, want the string %q", path, got, want)
	}
	if err := f.match(want, text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
