package query

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Unwrap returns the text of a query that was sent inside another query specification, and
// any other text as it is.
//
// Azure CLI 2.65 with its extension azure-iot 0.25 sends what Python prints of such a
// specification: {'additional_properties': {}, 'query': 'SELECT *'}. The same as JSON is
// understood too. Members other than query do not count, and a missing one, None or null is
// the empty query. It fails with Invalid where the text begins as such a specification and
// is not one.
func Unwrap(text string) (string, error) {
	r := literalReader{text: strings.TrimSpace(text)}
	if !strings.HasPrefix(r.text, "{") {
		return text, nil
	}
	if len(text) > maxText {
		return "", dps.Invalidf("query", "is longer than %d bytes", maxText)
	}
	query, ok := r.specification()
	if !ok {
		return "", dps.Invalidf("query", "is neither a query nor a nested query specification such as {'query': 'SELECT *'}")
	}
	return query, nil
}

// literalReader reads a literal of Python or JSON.
type literalReader struct {
	text  string
	at    int
	depth int
}

// specification reads an object and returns its member query.
func (r *literalReader) specification() (query string, ok bool) {
	r.pass('{')
	for !r.pass('}') {
		name, isText := r.str()
		if !isText || !r.pass(':') {
			return "", false
		}
		if r.peek(); name != "query" {
			ok = r.value()
		} else if query, ok = "", r.word("None") || r.word("null"); !ok {
			query, ok = r.str()
		}
		if !ok || !r.pass(',') && !r.closes('}') {
			return "", false
		}
	}
	r.peek()
	return query, r.at == len(r.text)
}

// peek returns the next byte that is no white space, 0 at the end.
func (r *literalReader) peek() byte {
	rest := r.text[r.at:]
	trimmed := strings.TrimLeft(rest, " \t\r\n")
	r.at += len(rest) - len(trimmed)
	if trimmed == "" {
		return 0
	}
	return trimmed[0]
}

func (r *literalReader) closes(c byte) bool { return r.peek() == c }

func (r *literalReader) pass(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.at++
	return true
}

func (r *literalReader) word(w string) bool {
	if strings.HasPrefix(r.text[r.at:], w) {
		r.at += len(w)
		return true
	}
	return false
}

// value passes any value.
func (r *literalReader) value() bool {
	if r.depth++; r.depth > maxDepth {
		return false
	}
	defer func() { r.depth-- }()
	switch c := r.peek(); {
	case c == '\'' || c == '"':
		_, ok := r.str()
		return ok
	case c == '{':
		return r.values('}')
	case c == '[':
		return r.values(']')
	case c == '(':
		return r.values(')')
	default:
		n := strings.IndexFunc(r.text[r.at:], func(c rune) bool { return !isNumberPart(c) && !isNamePart(c) })
		if n <= 0 {
			return false
		}
		r.at += n
		return true
	}
}

// values passes what is between brackets: values, or pairs of them.
func (r *literalReader) values(closing byte) bool {
	r.at++
	for !r.pass(closing) {
		if !r.value() || r.pass(':') && !r.value() {
			return false
		}
		if !r.pass(',') && !r.closes(closing) {
			return false
		}
	}
	return true
}

// str reads a string in quotes.
func (r *literalReader) str() (string, bool) {
	quote := r.peek()
	if quote != '\'' && quote != '"' {
		return "", false
	}
	var b strings.Builder
	for r.at++; r.at < len(r.text); {
		switch c := r.text[r.at]; c {
		case quote:
			r.at++
			return b.String(), true
		case '\\':
			char, size := escaped(r.text[r.at:])
			if size == 0 {
				return "", false
			}
			b.WriteRune(char)
			r.at += size
		default:
			b.WriteByte(c)
			r.at++
		}
	}
	return "", false
}

// escaped reads an escape sequence that is the same in Python and JSON, or one of the two;
// size is 0 where there is none.
func escaped(text string) (char rune, size int) {
	const plain, means = "nrtbf\\'\"/", "\n\r\t\b\f\\'\"/"
	if len(text) < 2 {
		return 0, 0
	}
	if i := strings.IndexByte(plain, text[1]); i >= 0 {
		return rune(means[i]), 2
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[text[1]]
	if digits == 0 || len(text) < 2+digits {
		return 0, 0
	}
	n, err := strconv.ParseUint(text[2:2+digits], 16, 32)
	if err != nil || !utf8.ValidRune(rune(n)) { //nolint:gosec // 32 bits at most
		return 0, 0
	}
	return rune(n), 2 + digits //nolint:gosec // checked above
}
