package dps

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Limits of a twin.
// Source: azure-docs, articles/iot-hub/iot-hub-devguide-device-twins.md,
// "Device twin size" and "Tags and properties format".
const (
	maxTagsSize    = 8 << 10
	maxDesiredSize = 32 << 10
	maxTwinKey     = 1 << 10
	maxTwinString  = 4 << 10
	maxTwinDepth   = 10
	maxTwinInteger = 4503599627370495
	minTwinInteger = -4503599627370496

	numberSize  = 8
	booleanSize = 4
)

// ParseInitialTwin checks the initialTwin member of an enrollment and returns the
// twin that a device starts with. raw may be nil or null: an empty twin.
//
// It fails with Invalid and names the member and the rule.
func ParseInitialTwin(raw json.RawMessage) (Twin, error) {
	if isNull(raw) {
		return Twin{}, nil
	}
	var body struct {
		Tags       json.RawMessage `json:"tags"`
		Properties json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return Twin{}, Invalidf("initialTwin", "must be an object with tags and properties")
	}
	var properties struct {
		Desired json.RawMessage `json:"desired"`
	}
	if !isNull(body.Properties) {
		if err := json.Unmarshal(body.Properties, &properties); err != nil {
			return Twin{}, Invalidf("initialTwin.properties", "must be an object")
		}
	}
	tags, err := twinSection("initialTwin.tags", body.Tags, maxTagsSize)
	if err != nil {
		return Twin{}, err
	}
	desired, err := twinSection("initialTwin.properties.desired", properties.Desired, maxDesiredSize)
	if err != nil {
		return Twin{}, err
	}
	return Twin{Tags: tags, Desired: desired}, nil
}

func isNull(raw json.RawMessage) bool {
	trimmed := bytes.TrimSpace(raw)
	return len(trimmed) == 0 || string(trimmed) == "null"
}

// serviceMembers are written by hubs; a client that sends a twin back sends them
// along, and they are left out.
var serviceMembers = []string{"$metadata", "$version"}

// twinSection checks one section and returns it without nulls and without the
// members that hubs write.
func twinSection(field string, raw json.RawMessage, limit int) (json.RawMessage, error) {
	if isNull(raw) {
		return nil, nil
	}
	object, size, err := sectionObject(field, raw)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, tooLargeSection(field, size, limit)
	}
	dropNulls(object)
	return json.Marshal(object)
}

func tooLargeSection(field string, size, limit int) error {
	return Invalidf(field, "is %d bytes by the rules for twins; the limit is %d", size, limit)
}

// sectionObject reads one section, without the members that hubs write, and its size.
// Everything but the size is checked.
func sectionObject(field string, raw json.RawMessage) (object map[string]any, size int, err error) {
	value, err := decodeNumbers(raw)
	if err != nil {
		return nil, 0, Invalidf(field, "must be JSON")
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, 0, Invalidf(field, "must be an object")
	}
	for _, name := range serviceMembers {
		delete(object, name)
	}
	size, err = objectSize(field, object, 1)
	return object, size, err
}

func decodeNumbers(raw json.RawMessage) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return value, nil
}

func dropNulls(object map[string]any) {
	maps.DeleteFunc(object, func(_ string, v any) bool { return v == nil })
	for _, v := range object {
		if child, ok := v.(map[string]any); ok {
			dropNulls(child)
		}
	}
}

func objectSize(field string, object map[string]any, depth int) (int, error) {
	if depth > maxTwinDepth {
		return 0, Invalidf(field, "is nested deeper than %d levels", maxTwinDepth)
	}
	total := 0
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if err := checkTwinKey(field, key); err != nil {
			return 0, err
		}
		size, err := valueSize(field+"."+key, object[key], depth)
		if err != nil {
			return 0, err
		}
		total += countChars(key) + size
	}
	return total, nil
}

func checkTwinKey(field, key string) error {
	if len(key) > maxTwinKey {
		return Invalidf(field, "has a member name longer than %d bytes", maxTwinKey)
	}
	if key == "" || strings.ContainsAny(key, ".$ ") || strings.ContainsFunc(key, unicode.IsControl) {
		return Invalidf(field, "has a member name %q; names must not be empty or contain '.', '$', spaces or control characters", key)
	}
	return nil
}

func valueSize(field string, value any, depth int) (int, error) {
	switch v := value.(type) {
	case map[string]any:
		return objectSize(field, v, depth+1)
	case []any:
		return arraySize(field, v, depth+1)
	case string:
		if len(v) > maxTwinString {
			return 0, Invalidf(field, "is %d bytes; the limit for a string is %d", len(v), maxTwinString)
		}
		return countChars(v), nil
	case json.Number:
		return numberSize, checkNumber(field, v)
	case bool:
		return booleanSize, nil
	default: // null: leaves no trace
		return 0, nil
	}
}

func arraySize(field string, values []any, depth int) (int, error) {
	if depth > maxTwinDepth {
		return 0, Invalidf(field, "is nested deeper than %d levels", maxTwinDepth)
	}
	total := 0
	for _, v := range values {
		size, err := valueSize(field, v, depth)
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, nil
}

// checkNumber bounds whole numbers; one too large for int64 is out of bounds too. Other
// numbers have to be readable.
func checkNumber(field string, n json.Number) error {
	if strings.ContainsAny(n.String(), ".eE") {
		return checkFloat(field, n)
	}
	i, err := n.Int64()
	if err != nil || i > maxTwinInteger || i < minTwinInteger {
		return Invalidf(field, "must be from %d to %d", int64(minTwinInteger), int64(maxTwinInteger))
	}
	return nil
}

func countChars(s string) int {
	n := 0
	for _, r := range s {
		if !unicode.IsControl(r) {
			n++
		}
	}
	return n
}
