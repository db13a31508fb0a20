package translate

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Decode reads one JSON value into v. It fails with Malformed when the text is no
// JSON, and with Invalid, naming the member, when a member has another type.
func Decode(body []byte, v any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return dps.Errorf(dps.Malformed, "body: is empty; a JSON object is required")
	}
	if !utf8.Valid(body) {
		return dps.Errorf(dps.Malformed, "body: must be UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(v); err != nil {
		return decodeError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return dps.Errorf(dps.Malformed, "body: has something after the JSON value, near byte %d", dec.InputOffset())
	}
	return nil
}

func decodeError(err error) error {
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return typeError(mismatch)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return dps.Errorf(dps.Malformed, "body: is not JSON: %s, near byte %d", syntax.Error(), syntax.Offset)
	}
	return dps.Wrap(dps.Malformed, err, "body: is not JSON: it ends too early")
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
