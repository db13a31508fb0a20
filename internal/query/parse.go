package query

import (
	"fmt"
	"strconv"
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
	p := &parser{text: text, schema: schema}
	p.next()
	q := p.query()
	if p.err != nil {
		return Query{}, p.err
	}
	return q, nil
}

// parser is a recursive descent over the tokens. The first error stays.
type parser struct {
	text   string
	schema *Schema
	pos    int // behind tok
	tok    token
	err    error
	tests  int
}

func (p *parser) fail(at int, format string, args ...any) {
	if p.err == nil {
		p.err = dps.Invalidf("query", "at character %d: %s", len([]rune(p.text[:at]))+1, fmt.Sprintf(format, args...))
	}
	p.tok = token{kind: end, at: at}
}

// word reports whether the next token is a keyword, and passes it.
func (p *parser) word(keyword string) bool {
	if p.tok.kind == name && strings.EqualFold(p.tok.text, keyword) {
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
	if p.tok.kind == end {
		return q
	}
	if p.sign("*") {
		p.end("the end")
		return q
	}
	if !p.word("SELECT") {
		p.fail(p.tok.at, "want SELECT, * or nothing")
		return q
	}
	if !p.sign("*") {
		p.fail(p.tok.at, "want *: projections are not offered")
		return q
	}
	if p.word("FROM") {
		p.source()
	}
	if p.word("WHERE") {
		q.Where = p.or(0)
	}
	if p.word("ORDER") {
		q.Order = p.order()
	}
	p.end("FROM, WHERE, ORDER BY, AND, OR or the end")
	return q
}

// end demands that nothing follows.
func (p *parser) end(want string) {
	if p.tok.kind != end {
		p.fail(p.tok.at, "did not expect %q; want %s", clip(p.tok.text), want)
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

// sources are the names after FROM. None is held against the endpoint: comments in
// the SDKs tell people to name enrollments everywhere.
var sources = []string{"enrollments", "enrollmentGroups", "deviceRegistrations", "registrations"}

func (p *parser) source() {
	for _, s := range sources {
		if p.word(s) {
			return
		}
	}
	p.fail(p.tok.at, "want %s", strings.Join(sources, ", "))
}

func (p *parser) or(depth int) Cond {
	c := p.and(depth)
	for p.err == nil && p.word("OR") {
		c = Or{c, p.and(depth)}
	}
	return c
}

func (p *parser) and(depth int) Cond {
	c := p.not(depth)
	for p.err == nil && p.word("AND") {
		c = And{c, p.not(depth)}
	}
	return c
}

func (p *parser) not(depth int) Cond {
	if depth > maxDepth {
		p.fail(p.tok.at, "is nested deeper than %d levels", maxDepth)
		return nil
	}
	if p.word("NOT") {
		return Not{p.not(depth + 1)}
	}
	if p.sign("(") {
		c := p.or(depth + 1)
		if p.err == nil && !p.sign(")") {
			p.fail(p.tok.at, "want )")
		}
		return c
	}
	return p.test()
}

func (p *parser) test() Cond {
	if p.tests++; p.tests > maxTests {
		p.fail(p.tok.at, "more than %d conditions", maxTests)
		return nil
	}
	if p.word("STARTS_WITH") {
		return p.startsWith()
	}
	path, folded := p.path()
	op := p.op()
	literal := p.literal()
	if text, ok := literal.(string); ok && folded {
		literal = strings.ToLower(text)
	}
	return Compare{Path: path, Op: op, Literal: literal, Folded: folded}
}

func (p *parser) startsWith() Cond {
	if !p.sign("(") {
		p.fail(p.tok.at, "want (")
	}
	path, folded := p.path()
	if p.err == nil && !p.sign(",") {
		p.fail(p.tok.at, "want ,")
	}
	at := p.tok.at
	prefix, ok := p.literal().(string)
	if p.err == nil && !ok {
		p.fail(at, "want a string")
	}
	if p.err == nil && !p.sign(")") {
		p.fail(p.tok.at, "want )")
	}
	if folded {
		prefix = strings.ToLower(prefix)
	}
	return StartsWith{Path: path, Prefix: prefix, Folded: folded}
}

// path reads a member, as the schema spells it.
func (p *parser) path() (path []string, folded bool) {
	at := p.tok.at
	for what := "want a member, like " + p.schema.ID; p.err == nil; what = "want a member after the dot" {
		if p.tok.kind != name && p.tok.quote != '"' {
			p.fail(p.tok.at, "%s", what)
			break
		}
		path = append(path, p.tok.text)
		p.next()
		if !p.sign(".") {
			break
		}
	}
	if p.err != nil {
		return nil, false
	}
	path, folded, problem := p.schema.resolve(path)
	if problem != "" {
		p.fail(at, "%s", problem)
	}
	return path, folded
}

func (p *parser) op() Op {
	t := p.tok
	if t.kind == sign {
		for _, op := range []Op{Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual} {
			if t.text == string(op) {
				p.next()
				return op
			}
		}
		if t.text == "<>" {
			p.next()
			return NotEqual
		}
	}
	p.fail(t.at, "want =, !=, <>, <, <=, > or >=")
	return Equal
}

func (p *parser) literal() any {
	t := p.tok
	switch {
	case t.kind == text:
		p.next()
		return t.text
	case t.kind == numeral:
		value, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			p.fail(t.at, "%q is no number", clip(t.text))
		}
		p.next()
		return value
	case p.word("true"):
		return true
	case p.word("false"):
		return false
	case p.word("null"):
		return nil
	}
	p.fail(t.at, "want a string in quotes, a number, true, false or null")
	return nil
}

// order reads what stands behind ORDER.
func (p *parser) order() Order {
	var o Order
	if !p.word("BY") {
		p.fail(p.tok.at, "want BY")
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
