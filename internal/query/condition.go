package query

import (
	"slices"
	"strconv"
	"strings"
)

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
		p.want(")")
		return c
	}
	return p.test()
}

// want demands a sign.
func (p *parser) want(s string) {
	if p.err == nil && !p.sign(s) {
		p.fail(p.tok.at, "expected %s", s)
	}
}

// counted counts a comparison and fails where there are too many.
func (p *parser) counted() {
	if p.tests++; p.tests > maxTests {
		p.fail(p.tok.at, "more than %d conditions", maxTests)
	}
}

func (p *parser) test() Cond {
	p.counted()
	switch {
	case p.err != nil:
		return nil
	case p.word("STARTS_WITH"):
		return p.startsWith()
	case p.word("ARRAY_CONTAINS"):
		return p.arrayContains()
	case p.literalFirst():
		return p.flipped()
	}
	path, m := p.path()
	switch {
	case p.err != nil:
		return nil
	case p.word("IS"):
		return p.isNull(path)
	case p.word("IN"):
		return p.in(path, m)
	}
	op := p.op()
	at := p.tok.at
	return p.compare(path, m, op, p.literal(), at)
}

// compare returns a comparison; the literal is at byte at.
func (p *parser) compare(path []string, m member, op Op, literal any, at int) Cond {
	if p.err != nil {
		return nil
	}
	literal, folded, problem := m.fit(strings.Join(path, "."), op, literal)
	if problem != "" {
		p.fail(at, "%s", problem)
	}
	return Compare{Path: path, Op: op, Literal: literal, Folded: folded}
}

// literalFirst reports whether a literal comes next, where a member could. A text in
// double quotes is a member there.
func (p *parser) literalFirst() bool {
	t := p.tok
	return t.kind == numeral || t.kind == text && t.quote == '\'' || slices.ContainsFunc([]string{"true", "false", "null"}, p.isWord)
}

// flips are the relations seen from the other side.
var flips = map[Op]Op{Less: Greater, LessOrEqual: GreaterOrEqual, Greater: Less, GreaterOrEqual: LessOrEqual}

func (p *parser) flipped() Cond {
	at := p.tok.at
	literal := p.literal()
	op := p.op()
	if other, ok := flips[op]; ok {
		op = other
	}
	path, m := p.path()
	return p.compare(path, m, op, literal, at)
}

func (p *parser) isNull(path []string) Cond {
	op := Equal
	if p.word("NOT") {
		op = NotEqual
	}
	if !p.word("NULL") {
		p.fail(p.tok.at, "expected NULL")
	}
	return Compare{Path: path, Op: op}
}

// in reads the list behind IN. Each value counts as one condition.
func (p *parser) in(path []string, m member) Cond {
	closing := ")"
	if p.sign("[") {
		closing = "]"
	} else {
		p.want("(")
	}
	var c Cond
	for p.err == nil {
		at := p.tok.at
		one := p.compare(path, m, Equal, p.literal(), at)
		if c == nil {
			c = one
		} else {
			c = Or{c, one}
		}
		if p.err != nil || p.sign(closing) {
			break
		}
		if !p.sign(",") {
			p.fail(p.tok.at, "expected , or %s", closing)
		}
		p.counted()
	}
	return c
}

func (p *parser) startsWith() Cond {
	p.want("(")
	path, m := p.path()
	p.want(",")
	at := p.tok.at
	prefix, ok := p.literal().(string)
	if p.err == nil && !ok {
		p.fail(at, "expected a string")
	}
	p.want(")")
	if p.err != nil {
		return nil
	}
	prefix, folded, problem := m.fitPrefix(strings.Join(path, "."), prefix)
	if problem != "" {
		p.fail(at, "%s", problem)
	}
	return StartsWith{Path: path, Prefix: prefix, Folded: folded}
}

func (p *parser) arrayContains() Cond {
	p.want("(")
	path, m := p.path()
	p.want(",")
	at := p.tok.at
	literal := p.literal()
	p.want(")")
	if p.err != nil {
		return nil
	}
	literal, folded, problem := m.fitElement(strings.Join(path, "."), literal)
	if problem != "" {
		p.fail(at, "%s", problem)
	}
	return Contains{Path: path, Literal: literal, Folded: folded}
}

// path reads a member, as the schema spells it.
func (p *parser) path() ([]string, member) {
	at := p.tok.at
	path, star := p.rawPath("expected a member such as " + p.schema.ID)
	if star {
		p.fail(at, "expected a member, not *")
	}
	return p.resolve(pathAt{path: path, at: at})
}

// rawPath reads a path as it is written; star reports that it ends in an asterisk.
func (p *parser) rawPath(want string) (path []string, star bool) {
	for p.err == nil {
		if len(path) > 0 && p.sign("*") {
			return path, true
		}
		if p.tok.kind != name && p.tok.quote != '"' {
			p.fail(p.tok.at, "%s", want)
			break
		}
		path = append(path, p.tok.text)
		p.next()
		for p.sign("[") { // initialTwin.tags['two words']
			if p.tok.kind != text {
				p.fail(p.tok.at, "expected the name of a member in quotes")
				break
			}
			path = append(path, p.tok.text)
			p.next()
			p.want("]")
		}
		if !p.sign(".") {
			break
		}
		want = "expected a member after the dot"
	}
	return path, false
}

// resolve spells a path as the schema does. A member may be qualified with the source
// of the query or its alias.
func (p *parser) resolve(at pathAt) ([]string, member) {
	if p.err != nil {
		return nil, member{}
	}
	isFirst := func(s string) bool { return strings.EqualFold(s, at.path[0]) }
	if len(at.path) > 1 && slices.ContainsFunc(p.sources, isFirst) {
		if path, m, problem := p.schema.resolve(at.path[1:]); problem == "" {
			return path, m
		}
		if _, known := find(p.schema.members, at.path[0]); !known {
			at.path = at.path[1:]
		}
	}
	path, m, problem := p.schema.resolve(at.path)
	if problem != "" {
		p.fail(at.at, "%s", problem)
	}
	return path, m
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
	}
	switch {
	case p.sign("<>"):
		return NotEqual
	case p.sign("=="):
		return Equal
	}
	p.fail(t.at, "expected =, !=, <>, <, <=, >, >=, IN or IS")
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
			p.fail(t.at, "%q is not a number", clip(t.text))
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
	p.fail(t.at, "expected a string in quotes, a number, true, false or null")
	return nil
}
