package query

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// Project returns what a query asks for of a record's JSON: the members that it selects,
// inside their objects, and always the ID. It returns the record itself
// where the query selects everything.
func (q Query) Project(record json.RawMessage, schema *Schema) (json.RawMessage, error) {
	if q.Select == nil {
		return record, nil
	}
	return keep(record, append(slices.Clone(q.Select), []string{schema.ID}))
}

// keep returns the members of a JSON object at paths. What is no object stays as it is.
func keep(object json.RawMessage, paths [][]string) (json.RawMessage, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(object), []byte("{")) || slices.ContainsFunc(paths, func(p []string) bool { return len(p) == 0 }) {
		return object, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, err
	}
	below := make(map[string][][]string)
	for _, p := range paths {
		below[p[0]] = append(below[p[0]], p[1:])
	}
	out := make(map[string]json.RawMessage, len(below))
	for _, name := range slices.Sorted(maps.Keys(below)) {
		value, ok := members[name]
		if !ok {
			continue
		}
		var err error
		if out[name], err = keep(value, below[name]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
}
