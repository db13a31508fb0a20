// Package plaintext reads text that people write: it checks UTF-8 and says where the
// text breaks it, removes a byte order mark, and finds the known word that a misspelled
// one is nearest to.
package plaintext

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Byte order marks. Source: Unicode Standard, section 23.8.
var (
	mark8   = []byte("\xef\xbb\xbf")
	mark16L = []byte("\xff\xfe")
	mark16B = []byte("\xfe\xff")
)

// TrimMark returns text without a byte order mark of UTF-8 at its beginning.
func TrimMark(text []byte) []byte { return bytes.TrimPrefix(text, mark8) }

// Error says where text is not UTF-8. The position is in lines and characters, both from 1.
type Error struct {
	Line, Column int
	Message      string // the rule and the remedy
}

// Error returns position and message.
func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Read returns text without a byte order mark. It fails with *Error for text that is
// not UTF-8, at the first byte that is not.
func Read(text []byte) ([]byte, error) {
	if IsUTF16(text) {
		return nil, &Error{1, 1, "is UTF-16, not UTF-8; save the file as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8"}
	}
	text = TrimMark(text)
	bad := invalidAt(text)
	if bad < 0 {
		return text, nil
	}
	line, column := Position(text, bad)
	return nil, &Error{line, column, fmt.Sprintf(
		"byte 0x%02X is not UTF-8; save the file as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8", text[bad],
	)}
}

// IsUTF16 reports whether text begins like UTF-16: with its byte order mark, or with an
// ASCII character and its zero byte.
func IsUTF16(text []byte) bool {
	if bytes.HasPrefix(text, mark16L) || bytes.HasPrefix(text, mark16B) {
		return true
	}
	const enough = 4
	return len(text) >= enough &&
		((text[0] != 0 && text[1] == 0 && text[2] != 0 && text[3] == 0) || (text[0] == 0 && text[1] != 0 && text[2] == 0 && text[3] != 0))
}

// invalidAt returns the offset of the first byte that is not UTF-8, -1 if there is none.
func invalidAt(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// Position returns the line and the column of a byte of text, both from 1. Columns count
// characters; bytes that are not UTF-8 count as one each.
func Position(text []byte, offset int) (line, column int) {
	before := text[:max(0, min(offset, len(text)))]
	line = bytes.Count(before, []byte("\n")) + 1
	if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
		before = before[i+1:]
	}
	return line, utf8.RuneCount(before) + 1
}
