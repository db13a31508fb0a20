package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Bounds of a query.
const (
	maxText  = 16 << 10 // bytes
	maxDepth = 50       // parentheses and NOTs inside each other
	maxTests = 200
)

// Parse reads a query over records of a schema. It fails with Invalid, and says at
// which character the text is not understood, and why.
func Parse(text string, schema *Schema) (Query, error) {
	if len(text) > maxText {
		return Query{}, dps.Invalidf("query", "is longer than %d bytes", maxText)
	}
	p := &parser{text: text, schema: schema, sources: slices.Clone(usualSources)}
	p.next()
	q := p.query()
	if p.err != nil {
		return Query{}, p.err
	}
	return q, nil
}

// usualSources may qualify a member without FROM.
var usualSources = []string{"enrollments", "enrollmentGroups", "deviceRegistrations", "registrations"}

// parser is a recursive descent over the tokens. The first error stays.
type parser struct {
	text   string
	schema *Schema
	pos    int // behind tok
	tok    token
	err    error
	tests  int

	sources []string // names that may qualify a member
}

func (p *parser) fail(at int, format string, args ...any) {
	if p.err == nil {
		p.err = dps.Invalidf("query", "at character %d: %s", len([]rune(p.text[:at]))+1, fmt.Sprintf(format, args...))
	}
	p.tok = token{kind: end, at: at}
}

// isWord reports whether the next token is a keyword.
func (p *parser) isWord(keyword string) bool {
	return p.tok.kind == name && strings.EqualFold(p.tok.text, keyword)
}

// word is isWord that passes the keyword.
func (p *parser) word(keyword string) bool {
	if p.isWord(keyword) {
		p.next()
		return true
	}
	return false
}

func (p *parser) sign(s string) bool {
	if p.tok.kind == sign && p.tok.text == s {
		p.next()
		return true
	}
	return false
}

func (p *parser) query() Query {
	var q Query
	switch {
	case p.tok.kind == end:
		return q
	case p.sign("*"), p.tok.kind == sign && p.tok.text == ";":
		p.end("the end")
		return q
	case !p.word("SELECT"):
		p.fail(p.tok.at, "expected SELECT, * or nothing")
		return q
	}
	selected := p.selection()
	if p.word("FROM") {
		p.source()
	}
	q.Select = p.resolved(selected)
	if p.word("WHERE") {
		q.Where = p.or(0)
	}
	if p.word("ORDER") {
		q.Order = p.order()
	}
	p.end("FROM, WHERE, ORDER BY, AND, OR or the end")
	return q
}

// end demands that nothing follows but semicolons.
func (p *parser) end(want string) {
	closed := false
	for p.sign(";") {
		closed = true
	}
	if closed {
		want = "the end"
	}
	if p.tok.kind != end {
		p.fail(p.tok.at, "unexpected %q; expected %s", clip(p.tok.text), want)
	}
}

// clip bounds text of a caller that an error repeats.
func clip(text string) string {
	const most = 64
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

// pathAt is a path as it was written, from byte at on.
type pathAt struct {
	path []string
	at   int
	star bool // it ends in .*
}

// maxSelected bounds the members of a projection.
const maxSelected = 100

// selection reads what follows SELECT: nil for *. The names are looked up when the
// source and its alias are known.
func (p *parser) selection() []pathAt {
	if p.sign("*") {
		return nil
	}
	var all []pathAt
	for p.err == nil {
		at := p.tok.at
		if len(all) > 0 && p.sign("*") {
			p.fail(at, "* cannot be combined with members")
		}
		path, star := p.rawPath("expected *, or members such as " + p.schema.ID)
		if all = append(all, pathAt{path, at, star}); len(all) > maxSelected {
			p.fail(at, "more than %d members", maxSelected)
		}
		if !p.goesOn(all) {
			return all
		}
	}
	return nil
}

// goesOn passes the comma behind the last of the selected members, and reports whether
// there was one.
func (p *parser) goesOn(all []pathAt) bool {
	last := all[len(all)-1]
	comma := p.tok.kind == sign && p.tok.text == ","
	switch {
	case p.err != nil:
		return false
	case last.star && (comma || len(all) > 1):
		p.fail(p.tok.at, "* cannot be combined with members")
	case p.tok.kind == sign && p.tok.text == "(":
		p.fail(last.at, "functions are not supported after SELECT; expected * or members")
	case p.isWord("AS"):
		p.fail(p.tok.at, "unexpected AS: members keep their names")
	}
	return p.sign(",")
}

func (p *parser) resolved(selected []pathAt) [][]string {
	var all [][]string
	for _, s := range selected {
		if s.star {
			isFirst := func(source string) bool { return strings.EqualFold(source, s.path[0]) }
			if len(s.path) > 1 || !slices.ContainsFunc(p.sources, isFirst) {
				p.fail(s.at, "only the source or its alias can precede .*")
			}
			return nil
		}
		if path, _ := p.resolve(s); p.err == nil {
			all = append(all, path)
		}
	}
	return all
}

// reserved are words that cannot be a source or an alias.
var reserved = []string{"WHERE", "ORDER", "GROUP", "HAVING", "LIMIT", "OFFSET", "UNION", "JOIN", "INNER", "LEFT", "RIGHT", "CROSS", "ON"}

// source reads what follows FROM. Any name will do: the path of the request says
// which records are searched.
func (p *parser) source() {
	if p.tok.kind != name && p.tok.kind != text || slices.ContainsFunc(reserved, p.isWord) {
		p.fail(p.tok.at, "expected a name such as enrollments")
		return
	}
	p.sources = append(p.sources, p.tok.text)
	p.next()
	for p.sign(".") {
		if p.tok.kind != name && p.tok.kind != text {
			p.fail(p.tok.at, "expected a name after the dot")
			return
		}
		p.next()
	}
	if as := p.word("AS"); as || p.tok.kind == name && !slices.ContainsFunc(reserved, p.isWord) {
		if p.tok.kind != name && p.tok.quote != '"' {
			p.fail(p.tok.at, "expected an alias")
			return
		}
		p.sources = append(p.sources, p.tok.text)
		p.next()
	}
}

// order reads what follows ORDER.
func (p *parser) order() Order {
	var o Order
	if !p.word("BY") {
		p.fail(p.tok.at, "expected BY")
		return o
	}
	at := p.tok.at
	path, _ := p.path()
	switch {
	case p.err != nil:
		return o
	case len(path) == 1 && path[0] == p.schema.ID:
	case len(path) == 1 && path[0] == p.schema.Updated:
		o.ByUpdated = true
	default:
		p.fail(at, "can only be %s or %s", p.schema.ID, p.schema.Updated)
		return o
	}
	if p.word("DESC") {
		o.Descending = true
	} else {
		p.word("ASC")
	}
	return o
}
