package query

import (
	"slices"
	"strings"
	"time"
)

// fit returns a literal as it is compared with a member, and whether that is done without
// case. problem is "" unless no record could ever match: then it says what the member can
// be compared with.
func (m member) fit(name string, op Op, literal any) (fitted any, folded bool, problem string) {
	if literal == nil || m.kind == anything {
		return literal, false, ""
	}
	switch m.kind {
	case hostList:
		return nil, false, name + " is a list; use ARRAY_CONTAINS(" + name + ", 'x')"
	case objectOf:
		return nil, false, name + " is an object; compare one of its members (" + names(m.below) + "), or compare with null"
	case closedSet:
		return m.fitSet(name, op, literal)
	case boolean:
		if _, ok := literal.(bool); !ok || !op.isEquality() {
			return nil, false, name + " can only be compared by = and != with true, false or null"
		}
		return literal, false, ""
	case integer:
		if _, ok := literal.(float64); !ok {
			return nil, false, name + " is a number; write it without quotes"
		}
		return literal, false, ""
	default:
		return m.fitText(name, literal)
	}
}

func (op Op) isEquality() bool { return op == Equal || op == NotEqual }

// fitSet spells a value of a closed set as the records have it.
func (m member) fitSet(name string, op Op, literal any) (fitted any, folded bool, problem string) {
	text, _ := literal.(string)
	i := slices.IndexFunc(m.values, func(v string) bool { return strings.EqualFold(v, text) })
	if i < 0 || !op.isEquality() {
		return nil, false, name + " can only be compared by = and != with '" + strings.Join(m.values, "', '") + "' or null"
	}
	return m.values[i], false, ""
}

func (m member) fitText(name string, literal any) (fitted any, folded bool, problem string) {
	text, ok := literal.(string)
	if !ok {
		return nil, false, name + " is a string; put the value in quotes"
	}
	if m.kind == foldedText {
		return strings.ToLower(text), true, ""
	}
	if m.kind == moment && !beginsTime(text) {
		return nil, false, name + " is a time; compare with one such as '2026-03-01T12:00:00Z', or with its beginning"
	}
	return text, false, ""
}

// fitPrefix is fit for the prefix of STARTS_WITH.
func (m member) fitPrefix(name, prefix string) (fitted string, folded bool, problem string) {
	switch m.kind {
	case plainText, moment, anything:
		return prefix, false, ""
	case foldedText, closedSet:
		return strings.ToLower(prefix), true, ""
	default:
		return "", false, name + " is not a string"
	}
}

// fitElement is fit for what ARRAY_CONTAINS looks for.
func (m member) fitElement(name string, literal any) (fitted any, folded bool, problem string) {
	switch m.kind {
	case anything:
		return literal, false, ""
	case hostList:
		if text, ok := literal.(string); ok {
			return strings.ToLower(text), true, ""
		}
		return nil, false, name + " is a list of host names; put the value in quotes"
	default:
		return nil, false, name + " is not a list"
	}
}

// timePatterns are times and their beginnings, as a person writes them. One without a
// zone is compared as text, with the times in UTC that records have.
var timePatterns = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.9", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02T", time.DateOnly,
	"2006-01", "2006",
}

// beginsTime reports whether text is a time or the beginning of one.
func beginsTime(text string) bool {
	return slices.ContainsFunc(timePatterns, func(pattern string) bool {
		_, err := time.Parse(pattern, text)
		return err == nil
	})
}
