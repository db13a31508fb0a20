package plaintext

import (
	"fmt"
	"strings"
)

// maxWord bounds a word that is compared, in bytes: the work grows with its square.
const maxWord = 64

// Nearest returns the known word that a person may have meant by word: one with few
// letters changed, added, left out or swapped, whatever their case. It is "" when none is
// near enough. Of two that are equally near it is the one that begins more like word.
func Nearest(word string, known []string) string {
	if word == "" || len(word) > maxWord {
		return ""
	}
	best, least := "", allowed(word)+1
	for _, k := range known {
		if len(k) > maxWord {
			continue
		}
		d := distance(strings.ToLower(word), strings.ToLower(k))
		if d < least || d == least && best != "" && common(word, k) > common(word, best) {
			best, least = k, d
		}
	}
	return best
}

// common is how many bytes a and b have in common at their beginning, whatever their case.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && strings.EqualFold(a[:n+1], b[:n+1]) {
		n++
	}
	return n
}

// DidYouMean returns the hint `; did you mean "near"?`, "" when no known word is near.
func DidYouMean(word string, known []string) string {
	near := Nearest(word, known)
	if near == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", near)
}

// allowed is how many letters of a word may be wrong.
func allowed(word string) int {
	const short, long = 3, 8
	switch {
	case len(word) <= short:
		return 1
	case len(word) <= long:
		return 2
	default:
		return 3
	}
}

// distance is the number of letters to change, add, leave out or swap with the next one
// that turn a into b (optimal string alignment).
func distance(a, b string) int {
	two, one := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one = one, row
	}
	return one[len(b)]
}
