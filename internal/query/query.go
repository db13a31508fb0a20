// Package query is the query language of the service API: it reads a text, checks it
// against what the records have, and says whether a record matches.
//
//	query     = [ "*" | select ] { ";" }
//	select    = "SELECT" what [ "FROM" source ] [ "WHERE" cond ] [ "ORDER" "BY" path [ "ASC" | "DESC" ] ]
//	what      = "*" | path { "," path }
//	source    = name { "." name } [ [ "AS" ] alias ]
//	cond      = or ; or = and { "OR" and } ; and = not { "AND" not }
//	not       = "NOT" not | "(" cond ")" | test
//	test      = path op literal | literal op path | path "IN" "(" literal { "," literal } ")"
//	          | path "IS" [ "NOT" ] "NULL"
//	          | "STARTS_WITH" "(" path "," string ")" | "ARRAY_CONTAINS" "(" path "," literal ")"
//	path      = member { "." member | "[" string "]" }
//	          member is a name, or any text in double quotes; the first may be the source or its alias
//	op        = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
//	literal   = 'string' | "string" | number | true | false | null
//
// Keywords have no case. Quotes inside a string are doubled. DPS accepts such texts and
// ignores their conditions; here they count. The source can have any name: the path of the
// request says what is searched. A literal that no record can match, because the member has
// another type or only certain values, is refused. STARTS_WITH and ORDER BY are ours.
package query

import (
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Query is a text that was understood.
type Query struct {
	Where Cond  // nil matches every record
	Order Order // by ID, ascending, unless the text says otherwise

	// Select are the members that are asked for; nil asks for all. See Project.
	Select [][]string

	// Number is how the wire numbers a failure; without it no condition on errorCode
	// holds.
	Number func(dps.Failure) int
}

// Order is how the records come.
type Order struct {
	ByUpdated  bool // by the time of the last change, then by ID; else by ID
	Descending bool
}

// Document is a record that a condition is tried on.
type Document interface {
	// Member returns the value at a path: a string, a float64, a bool, nil for null,
	// or something else that equals no literal. ok is false when there is no value.
	Member(path []string) (value any, ok bool)
}

// Cond is a condition.
type Cond interface {
	// Match reports whether the condition holds on doc.
	Match(doc Document) bool
}

// And holds when both do.
type And struct{ Left, Right Cond }

// Or holds when one does.
type Or struct{ Left, Right Cond }

// Not holds when its condition does not.
type Not struct{ Cond Cond }

// Compare holds when the member has the relation to the literal. A missing member
// equals null, and has no relation to anything else.
type Compare struct {
	Path    []string
	Op      Op
	Literal any // string, float64, bool or nil
	Folded  bool
}

// StartsWith holds when the member is a string that begins with the prefix.
type StartsWith struct {
	Path   []string
	Prefix string
	Folded bool
}

// Contains holds when the member is a list with an element equal to the literal.
type Contains struct {
	Path    []string
	Literal any // string, float64, bool or nil
	Folded  bool
}

// Op is a relation.
type Op string

// The relations.
const (
	Equal          Op = "="
	NotEqual       Op = "!="
	Less           Op = "<"
	LessOrEqual    Op = "<="
	Greater        Op = ">"
	GreaterOrEqual Op = ">="
)

// Match reports whether q selects doc.
func (q Query) Match(doc Document) bool { return q.Where == nil || q.Where.Match(doc) }

// Match reports whether the condition holds on doc.
func (c And) Match(doc Document) bool { return c.Left.Match(doc) && c.Right.Match(doc) }

// Match reports whether the condition holds on doc.
func (c Or) Match(doc Document) bool { return c.Left.Match(doc) || c.Right.Match(doc) }

// Match reports whether the condition holds on doc.
func (c Not) Match(doc Document) bool { return !c.Cond.Match(doc) }

// Match reports whether the condition holds on doc.
func (c StartsWith) Match(doc Document) bool {
	value, _ := doc.Member(c.Path)
	text, ok := value.(string)
	if c.Folded {
		text = strings.ToLower(text)
	}
	return ok && strings.HasPrefix(text, c.Prefix)
}

// Match reports whether the condition holds on doc.
func (c Contains) Match(doc Document) bool {
	value, _ := doc.Member(c.Path)
	elements, ok := value.(list)
	return ok && elements.contains(c.Literal, c.Folded)
}

// Match reports whether the condition holds on doc.
func (c Compare) Match(doc Document) bool {
	value, _ := doc.Member(c.Path) // what is not there is nil, like null
	if c.Literal == nil {
		return c.Op.holdsForNull(value == nil)
	}
	if text, ok := value.(string); ok && c.Folded {
		value = strings.ToLower(text)
	}
	order, comparable := compare(value, c.Literal)
	return comparable && c.Op.holds(order)
}

func (op Op) holdsForNull(isNull bool) bool {
	switch op {
	case Equal, LessOrEqual, GreaterOrEqual:
		return isNull
	case NotEqual:
		return !isNull
	default:
		return false
	}
}

func (op Op) holds(order int) bool {
	switch op {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	case LessOrEqual:
		return order <= 0
	case Greater:
		return order > 0
	default:
		return order >= 0
	}
}
