package query

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Range bounds IDs, in lower case. "" is no bound.
type Range struct {
	From, To string // From <= id, id < To
}

// successor makes the least text that is greater.
const successor = "\x00"

// IDs returns bounds within which every match lies, for a store that can seek by ID.
func (q Query) IDs(schema *Schema) Range {
	var r Range
	conjuncts(q.Where, func(c Cond) { r = r.narrow(c, schema.ID) })
	return r
}

// conjuncts calls visit with every condition that must hold.
func conjuncts(c Cond, visit func(Cond)) {
	if and, ok := c.(And); ok {
		conjuncts(and.Left, visit)
		conjuncts(and.Right, visit)
		return
	}
	if c != nil {
		visit(c)
	}
}

func (r Range) narrow(c Cond, id string) Range {
	switch c := c.(type) {
	case StartsWith:
		if isMember(c.Path, id) {
			r = r.from(c.Prefix).to(after(c.Prefix))
		}
	case Compare:
		if value, ok := c.Literal.(string); ok && isMember(c.Path, id) {
			r = r.compare(c.Op, value)
		}
	}
	return r
}

func (r Range) compare(op Op, value string) Range {
	switch op {
	case Equal:
		return r.from(value).to(value + successor)
	case Greater:
		return r.from(value + successor)
	case GreaterOrEqual:
		return r.from(value)
	case Less:
		return r.to(value)
	case LessOrEqual:
		return r.to(value + successor)
	default:
		return r
	}
}

func (r Range) from(bound string) Range {
	r.From = max(r.From, bound)
	return r
}

func (r Range) to(bound string) Range {
	if bound != "" && (r.To == "" || bound < r.To) {
		r.To = bound
	}
	return r
}

// Only narrows the bounds to one ID, in lower case.
func (r Range) Only(id string) Range { return r.compare(Equal, id) }

// after returns the least text that is greater than every text with the prefix; ""
// when there is none.
func after(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}

// Times returns bounds, in nanoseconds since 1970, within which every match was last
// changed. Only bounds that a condition names are there.
func (q Query) Times(schema *Schema) (from, to *int64) {
	conjuncts(q.Where, func(c Cond) {
		compare, ok := c.(Compare)
		if !ok || !isMember(compare.Path, schema.Updated) {
			return
		}
		literal, ok := instant(compare.Literal)
		if !ok {
			return
		}
		lower, upper := literal, literal+int64(shownPrecision) // times are cut before they are compared
		switch compare.Op {
		case Equal:
			from, to = &lower, &upper
		case Greater, GreaterOrEqual:
			from = &lower
		case Less, LessOrEqual:
			to = &upper
		}
	})
	return from, to
}

// shownPrecision is that of stampFormat.
const shownPrecision = 100 * time.Nanosecond

// instant reads a literal that is compared as a time.
func instant(literal any) (int64, bool) {
	text, ok := literal.(string)
	if !ok || !looksLikeTime(text) {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() < 1900 || t.Year() > 2200 { // others do not fit
		return 0, false
	}
	return t.UnixNano(), true
}

func isMember(path []string, name string) bool { return len(path) == 1 && path[0] == name }

// Certificate returns the thumbprint of a certificate that every match holds, if there
// is a condition that says so.
func (q Query) Certificate() (print256 dps.Thumbprint, ok bool) {
	conjuncts(q.Where, func(c Cond) {
		compare, isCompare := c.(Compare)
		if !isCompare || compare.Op != Equal || !slices.Contains(compare.Path, "sha256Thumbprint") || compare.Path[0] != "attestation" {
			return
		}
		text, _ := compare.Literal.(string)
		if sum, err := hex.DecodeString(text); err == nil && len(sum) == len(print256) {
			print256, ok = dps.Thumbprint(sum), true
		}
	})
	return print256, ok
}

// minHint is the least length of a text that is worth looking for.
const minHint = 2

// Texts returns strings that occur literally in every match, in members for
// which stored says so: a store can pass over records that lack them without
// reading them.
func (q Query) Texts(stored func(path []string) bool) []string {
	var all []string
	add := func(path []string, s string) {
		if len(s) >= minHint && plain(s) && stored(path) {
			all = append(all, s)
		}
	}
	conjuncts(q.Where, func(c Cond) {
		switch c := c.(type) {
		case StartsWith:
			if !c.Folded {
				add(c.Path, c.Prefix)
			}
		case Compare:
			if value, ok := c.Literal.(string); ok && c.Op == Equal && !c.Folded && !looksLikeTime(value) {
				add(c.Path, value)
			}
		}
	})
	return all
}

// plain reports whether JSON writes s as it is, however often it is quoted.
func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// Uses reports whether a condition looks at a member whose path begins with first.
func (q Query) Uses(first string) bool { return uses(q.Where, first) }

func uses(c Cond, first string) bool {
	switch c := c.(type) {
	case And:
		return uses(c.Left, first) || uses(c.Right, first)
	case Or:
		return uses(c.Left, first) || uses(c.Right, first)
	case Not:
		return uses(c.Cond, first)
	case Compare:
		return c.Path[0] == first
	case StartsWith:
		return c.Path[0] == first
	case Contains:
		return c.Path[0] == first
	default:
		return false
	}
}
