package translate

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/plaintext"
)

// DecodeStrict is Decode for text that people write: it fails with Invalid for a member
// that v has no place for, unless that is null, and for one that comes twice. The official
// APIs ignore both, because their clients send more than the service knows.
func DecodeStrict(body []byte, v any) error {
	if err := Decode(body, v); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(plaintext.TrimMark(body)))
	return checkValue(dec, reflect.TypeOf(v), "")
}

// checkValue reads one value that is to go into t; nil takes anything.
func checkValue(dec *json.Decoder, t reflect.Type, path string) error {
	token, err := dec.Token()
	if err != nil {
		return dps.Wrap(dps.Malformed, err, "body: is not JSON")
	}
	t = plainType(t)
	switch token {
	case json.Delim('{'):
		err = checkObject(dec, t, path)
	case json.Delim('['):
		err = checkArray(dec, t, path)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	_, err = dec.Token() // the closing one
	return err
}

func checkArray(dec *json.Decoder, t reflect.Type, path string) error {
	var elem reflect.Type
	if t != nil && t.Kind() == reflect.Slice {
		elem = t.Elem()
	}
	for dec.More() {
		if err := checkValue(dec, elem, path); err != nil {
			return err
		}
	}
	return nil
}

// checkObject reads the members of an object.
func checkObject(dec *json.Decoder, t reflect.Type, path string) error {
	known := membersOf(t)
	seen := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return dps.Wrap(dps.Malformed, err, "body: is not JSON")
		}
		name, _ := token.(string)
		var into reflect.Type
		if known != nil {
			at := strings.TrimPrefix(path+"."+name, ".")
			m, ok := known[strings.ToLower(name)]
			if !ok {
				if err := refuseUnlessNull(dec, at, name, known); err != nil {
					return err
				}
				continue
			}
			if seen[m.name] {
				return dps.Invalidf(at, "is given twice")
			}
			seen[m.name], into = true, m.typ
		}
		if err := checkValue(dec, into, strings.TrimPrefix(path+"."+name, ".")); err != nil {
			return err
		}
	}
	return nil
}

// refuseUnlessNull reads the value of an unknown member.
func refuseUnlessNull(dec *json.Decoder, at, name string, known map[string]member) error {
	var value any
	if err := dec.Decode(&value); err != nil {
		return dps.Wrap(dps.Malformed, err, "body: is not JSON")
	}
	if value == nil {
		return nil
	}
	return unknownMember(at, name, namesOf(known))
}

// maxShownName bounds what is repeated of a name, in characters.
const maxShownName = 128

func unknownMember(at, name string, names []string) error {
	if shown := []rune(at); len(shown) > maxShownName {
		at = string(shown[:maxShownName]) + "..."
	}
	return dps.Invalidf(at, "is not a known member%s", plaintext.DidYouMean(name, names))
}

// member is a member of a JSON object that a Go struct has a field for.
type member struct {
	name string
	typ  reflect.Type
}

func namesOf(known map[string]member) []string {
	var names []string
	for _, m := range known {
		names = append(names, m.name)
	}
	slices.Sort(names)
	return names
}

// unmarshaler is what reads itself: what its members are is its own matter.
var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// plainType returns the type that values of t are read into, nil for one that takes
// anything.
func plainType(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	return t
}

// membersOf returns the members of t by their name in lower case: encoding/json takes any
// case. It is nil for what is not a struct.
func membersOf(t reflect.Type) map[string]member {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	known := make(map[string]member)
	depth := make(map[string]int)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		key := strings.ToLower(name)
		if at, ok := depth[key]; ok && at <= len(f.Index) {
			continue
		}
		known[key], depth[key] = member{name, f.Type}, len(f.Index)
	}
	return known
}

// CheckTwinNames refuses an initial twin with a member that is a misspelled tags,
// properties or desired. Other members are stored as they are, as DPS does.
func CheckTwinNames(twin json.RawMessage) error {
	names := []string{"tags", "properties", "etag", "version", "deviceId", "status"} // a whole twin may be sent
	members, err := misspelled(twin, "initialTwin", names)
	if err != nil {
		return err
	}
	_, err = misspelled(members["properties"], "initialTwin.properties", []string{"desired", "reported"})
	return err
}

// misspelled returns the members of an object. It fails for one whose name is near to a
// known one, and none of them. What is not an object has no members.
func misspelled(object json.RawMessage, path string, known []string) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, nil //nolint:nilerr // what is not an object is refused elsewhere
	}
	for name := range members {
		near := plaintext.Nearest(name, known)
		if near != "" && !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }) {
			return nil, unknownMember(path+"."+name, name, known)
		}
	}
	return members, nil
}
