package query

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind tells the tokens apart.
type tokenKind uint8

const (
	end tokenKind = iota
	name
	text // a string, without its quotes
	numeral
	sign
)

// token is a piece of the text, from byte at on.
type token struct {
	kind  tokenKind
	text  string
	quote byte // of a string
	at    int
}

// next reads the next token into p.tok.
func (p *parser) next() {
	if p.err != nil {
		return
	}
	rest := p.text[p.pos:]
	trimmed := strings.TrimLeftFunc(rest, unicode.IsSpace)
	p.pos += len(rest) - len(trimmed)
	at := p.pos
	if trimmed == "" {
		p.tok = token{kind: end, at: at}
		return
	}
	switch c := trimmed[0]; {
	case c == '\'' || c == '"':
		p.quoted(at, c)
	case isNameStart(rune(c)) || c >= utf8.RuneSelf:
		p.take(at, name, prefixLen(trimmed, isNamePart))
	case c >= '0' && c <= '9', c == '-' || c == '+':
		p.take(at, numeral, prefixLen(trimmed, isNumberPart))
	default:
		p.signAt(at, trimmed)
	}
}

func (p *parser) take(at int, kind tokenKind, n int) {
	if n == 0 {
		p.unexpected(at)
		return
	}
	p.tok = token{kind: kind, text: p.text[at : at+n], at: at}
	p.pos = at + n
}

func prefixLen(s string, part func(rune) bool) int {
	if i := strings.IndexFunc(s, func(r rune) bool { return !part(r) }); i >= 0 {
		return i
	}
	return len(s)
}

func isNameStart(r rune) bool { return unicode.IsLetter(r) || r == '_' || r == '$' }

func isNamePart(r rune) bool { return isNameStart(r) || unicode.IsDigit(r) || r == '-' }

func isNumberPart(r rune) bool { return strings.ContainsRune("0123456789+-.eE", r) }

// quoted reads a string; a doubled quote is one quote.
func (p *parser) quoted(at int, quote byte) {
	var b strings.Builder
	for i := at + 1; i < len(p.text); i++ {
		if p.text[i] != quote {
			b.WriteByte(p.text[i])
			continue
		}
		if i+1 < len(p.text) && p.text[i+1] == quote {
			b.WriteByte(quote)
			i++
			continue
		}
		p.tok = token{kind: text, text: b.String(), quote: quote, at: at}
		p.pos = i + 1
		return
	}
	p.fail(at, "the string has no closing quote")
}

// signs are the longest first.
var signs = []string{"<=", ">=", "<>", "!=", "==", "=", "<", ">", "(", ")", "[", "]", ",", ".", "*", ";"}

func (p *parser) signAt(at int, rest string) {
	for _, s := range signs {
		if strings.HasPrefix(rest, s) {
			p.take(at, sign, len(s))
			return
		}
	}
	p.unexpected(at)
}

func (p *parser) unexpected(at int) {
	r, _ := utf8.DecodeRuneInString(p.text[at:])
	p.fail(at, "unexpected %q", r)
}
