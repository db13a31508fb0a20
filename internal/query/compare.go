package query

import (
	"cmp"
	"time"
)

// compare orders two values of one type; values of different types, and arrays and
// objects, cannot be compared. Strings that are both times compare as times, since
// the wire drops the zeros at their end.
func compare(a, b any) (order int, ok bool) {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		if !ok {
			return 0, false
		}
		return compareText(a, b), true
	case float64:
		b, ok := b.(float64)
		return cmp.Compare(a, b), ok
	case bool:
		b, ok := b.(bool)
		return cmp.Compare(number(a), number(b)), ok
	default:
		return 0, false
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func compareText(a, b string) int {
	if looksLikeTime(a) && looksLikeTime(b) {
		ta, errA := time.Parse(time.RFC3339Nano, a)
		tb, errB := time.Parse(time.RFC3339Nano, b)
		if errA == nil && errB == nil {
			return ta.Compare(tb)
		}
	}
	return cmp.Compare(a, b)
}

// looksLikeTime spares most strings the attempt to parse them.
func looksLikeTime(s string) bool {
	return len(s) >= len("2006-01-02T15:04:05Z") && s[4] == '-' && s[10] == 'T'
}
