package translate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/plaintext"
)

// Decode reads one JSON value into v. It fails with Malformed when the text is no
// JSON, and with Invalid, naming the member, when a member has another type.
func Decode(body []byte, v any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return dps.Errorf(dps.Malformed, "body: is empty; a JSON object is required")
	}
	body, err := plaintext.Read(body)
	if err != nil {
		return dps.Errorf(dps.Malformed, "body: %s", err.Error())
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(v); err != nil {
		return decodeError(body, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		line, column := plaintext.Position(body, int(dec.InputOffset())-1)
		return dps.Errorf(dps.Malformed, "body: line %d, column %d: there is text after the JSON value", line, column)
	}
	return nil
}

func decodeError(body []byte, err error) error {
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return typeError(mismatch)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at := int(syntax.Offset) - 1
		line, column := plaintext.Position(body, at)
		return dps.Errorf(dps.Malformed, "body: is not JSON: line %d, column %d: %s", line, column, syntaxText(body, at, syntax))
	}
	return dps.Wrap(dps.Malformed, err, "body: is not JSON: it is incomplete")
}

// syntaxText says what is wrong at a byte of body, with the remedy for what people write
// most often.
func syntaxText(body []byte, at int, syntax *json.SyntaxError) string {
	if at < 0 || at >= len(body) {
		return syntax.Error()
	}
	closing := body[at] == '}' || body[at] == ']'
	switch {
	case closing && bytes.HasSuffix(bytes.TrimSpace(body[:at]), []byte(",")):
		return fmt.Sprintf("remove the comma before %c", body[at])
	case body[at] == '\'':
		return "use double quotes instead of single quotes"
	default:
		return wholeCharacter(body[at:], syntax.Error())
	}
}

// wholeCharacter corrects a message of encoding/json, which shows the first byte of a character.
func wholeCharacter(rest []byte, message string) string {
	r, size := utf8.DecodeRune(rest)
	if size < 2 {
		return message
	}
	return strings.Replace(message, strconv.QuoteRune(rune(rest[0])), strconv.QuoteRune(r), 1)
}

func typeError(mismatch *json.UnmarshalTypeError) error {
	field := memberPath(mismatch.Field)
	if field == "" {
		return dps.Errorf(dps.Invalid, "body: must be a JSON %s, not %s", rootType(mismatch.Type.Kind()), article(mismatch.Value))
	}
	return dps.Invalidf(field, "must be %s, not %s", jsonType(mismatch.Type.Kind().String()), article(mismatch.Value))
}

// memberPath drops the names of embedded Go structs, which are no JSON members.
func memberPath(field string) string {
	parts := strings.Split(field, ".")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool {
		return p == "" || (p[0] >= 'A' && p[0] <= 'Z')
	}), ".")
}

func rootType(kind reflect.Kind) string {
	if kind == reflect.Slice {
		return "array"
	}
	return "object"
}

func jsonType(kind string) string {
	switch kind {
	case "string":
		return "a string"
	case "bool":
		return "true or false"
	case "int", "int64":
		return "a whole number"
	case "slice", "array":
		return "an array"
	default:
		return "an object"
	}
}

func article(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	switch kind {
	case "array", "object":
		return "an " + kind
	case "bool":
		return "true or false"
	default:
		return "a " + kind
	}
}
