package query

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Find returns the value at a path of a JSON value, as Document.Member does,
// without reading the rest. Of members with one name the last counts. Text that is no
// JSON has no members.
func Find(raw string, path []string) (value any, ok bool) {
	at := walker{text: raw}
	return at.find(path)
}

// FindOnce is Find for JSON without duplicate members: it reads no further than
// to what it finds.
func FindOnce(raw string, path []string) (value any, ok bool) {
	at := walker{text: raw, once: true}
	return at.find(path)
}

// RawOnce returns the text of a member's value, as FindOnce finds it.
func RawOnce(raw, member string) (text string, ok bool) {
	at := walker{text: raw, once: true}
	if !at.enter(member) {
		return "", false
	}
	at.peek()
	from := at.at
	at.skip()
	return raw[from:at.at], true
}

// walker is positioned before a value.
type walker struct {
	text string
	at   int
	once bool // the first member with a name is the only one
}

func (w *walker) find(path []string) (any, bool) {
	for _, name := range path {
		if !w.enter(name) {
			return nil, false
		}
	}
	return w.value()
}

// peek returns the next byte that is no white space, 0 at the end.
func (w *walker) peek() byte {
	for ; w.at < len(w.text); w.at++ {
		switch c := w.text[w.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// pass goes on behind c and reports whether it stood there.
func (w *walker) pass(c byte) bool {
	if w.peek() != c {
		return false
	}
	w.at++
	return true
}

// enter goes from an object to its member.
func (w *walker) enter(name string) bool {
	found := -1
	if !w.pass('{') {
		return false
	}
	for w.peek() == '"' {
		key := w.quoted()
		if !w.pass(':') {
			return false
		}
		if isText(key, name) {
			found = w.at
			if w.once {
				return true
			}
		}
		w.skip()
		if !w.pass(',') {
			break
		}
	}
	w.at = found
	return found >= 0
}

// quoted passes a string and returns it with its quotes; without the last one when
// the text ends too early.
func (w *walker) quoted() string {
	from := w.at
	w.at++
	if end := strings.IndexByte(w.text[w.at:], '"'); end >= 0 && strings.IndexByte(w.text[w.at:w.at+end], '\\') < 0 {
		w.at += end + 1 // long texts are mostly base64
		return w.text[from:w.at]
	}
	for ; w.at < len(w.text); w.at++ {
		switch w.text[w.at] {
		case '\\':
			w.at++
		case '"':
			w.at++
			return w.text[from:w.at]
		}
	}
	w.at = len(w.text)
	return w.text[from:]
}

// skip passes a value.
func (w *walker) skip() {
	depth := 0
	for c := w.peek(); c != 0; c = w.peek() {
		switch c {
		case '"':
			w.quoted()
		case '{', '[':
			depth++
			w.at++
		case '}', ']':
			if depth == 0 {
				return
			}
			depth--
			w.at++
		case ',', ':':
			if depth == 0 {
				return
			}
			w.at++
			continue
		default:
			w.word()
		}
		if depth == 0 {
			return
		}
	}
}

// word passes a number, true, false or null.
func (w *walker) word() string {
	from := w.at
	for w.at < len(w.text) && strings.IndexByte(" \t\r\n,:[]{}\"", w.text[w.at]) < 0 {
		w.at++
	}
	return w.text[from:w.at]
}

func (w *walker) value() (any, bool) {
	switch w.peek() {
	case '{':
		return other{}, true
	case '[':
		from := w.at
		w.skip()
		return list(w.text[from:w.at]), true
	case '"':
		return unquoted(w.quoted())
	}
	switch word := w.word(); word {
	case "true", "false":
		return word == "true", true
	case "null":
		return nil, true
	default:
		number, err := strconv.ParseFloat(word, 64)
		if err != nil && number == 0 { // too large is infinite
			return nil, false
		}
		return number, true
	}
}

func isText(quoted, text string) bool {
	if strings.IndexByte(quoted, '\\') < 0 {
		return len(quoted) == len(text)+2 && quoted[1:len(quoted)-1] == text
	}
	value, ok := unquoted(quoted)
	return ok && value == text
}

// unquoted reads a string. JSON inside JSON, where quotes are escaped and little
// else, is read fast.
func unquoted(quoted string) (any, bool) {
	if len(quoted) < 2 || quoted[len(quoted)-1] != '"' {
		return nil, false
	}
	rest := quoted[1 : len(quoted)-1]
	at := strings.IndexByte(rest, '\\')
	if at < 0 {
		return rest, true
	}
	text := make([]byte, at, len(rest))
	copy(text, rest)
	for ; at < len(rest); at++ {
		c := rest[at]
		if c == '\\' {
			if at++; at == len(rest) {
				return nil, false
			}
			if c = rest[at]; c != '"' && c != '\\' {
				return decoded(quoted)
			}
		}
		text = append(text, c)
	}
	return string(text), true
}

func decoded(quoted string) (any, bool) {
	var text string
	if json.Unmarshal([]byte(quoted), &text) != nil {
		return nil, false
	}
	return text, true
}
