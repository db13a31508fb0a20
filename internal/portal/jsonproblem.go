package portal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonProblem says where a text stops being JSON, in lines and characters, and what was
// expected there; "" if it is JSON.
func jsonProblem(text string) string {
	var v any
	err := json.Unmarshal([]byte(text), &v)
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return "This is not valid JSON."
	}
	at, what := len(text), "the JSON ends too early"
	if rest, found := strings.CutPrefix(e.Error(), "invalid character "); found && e.Offset > 0 && int(e.Offset) <= len(text) {
		at = int(e.Offset) - 1
		r, _ := utf8.DecodeRuneInString(text[at:])
		// Of a character that has several bytes the message shows the first.
		what = fmt.Sprintf("unexpected %s%s", named(r), expected(strings.TrimPrefix(rest, quotedByte(text[at]))))
	}
	line := 1 + strings.Count(text[:at], "\n")
	column := 1 + utf8.RuneCountInString(text[strings.LastIndex(text[:at], "\n")+1:at])
	return fmt.Sprintf("Line %d, column %d: %s.", line, column, what)
}

// named is a character in a sentence.
func named(r rune) string {
	switch r {
	case '\'':
		return "single quote"
	case '"':
		return "double quote"
	case '\t':
		return "tab"
	case '\n', '\r':
		return "line break"
	}
	return "character " + strconv.QuoteRune(r)
}

// quotedByte is how encoding/json writes a byte into its message.
func quotedByte(b byte) string {
	switch b {
	case '\'':
		return `'\''`
	case '"':
		return `'"'`
	}
	s := strconv.Quote(string(rune(b)))
	return "'" + s[1:len(s)-1] + "'"
}

// expectations are what encoding/json was about to read, for people.
var expectations = []struct{ context, text string }{
	{" looking for beginning of value", ", expected a value"},
	{" looking for beginning of object key string", ", expected a member name in double quotes"},
	{" after object key:value pair", ", expected a comma or }"},
	{" after object key", ", expected a colon"},
	{" after array element", ", expected a comma or ]"},
	{" after top-level value", " after the end of the JSON value"},
	{" in string literal", " in a string, it must be escaped"},
	{" in string escape code", " in an escape sequence"},
}

func expected(context string) string {
	for _, e := range expectations {
		if context == e.context {
			return e.text
		}
	}
	return context
}
