package dps

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// ETag is the version of a record as clients see it: base64 of a quoted opaque
// string. "" is no version: the record does not exist.
type ETag string

// NewETag returns a version that no record has had.
func NewETag() ETag {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	h := hex.EncodeToString(b[:])
	quoted := `"` + h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:] + `"`
	return ETag(base64.StdEncoding.EncodeToString([]byte(quoted)))
}

// Condition is what a caller demands of the stored record before it is written.
// The zero Condition demands nothing.
type Condition struct {
	Set bool // whether there is a demand
	Any bool // any version will do, but the record must exist
	Tag ETag // the version that it must have, when not Any
}

// Match returns the condition "the stored version is tag".
func Match(tag ETag) Condition { return Condition{Set: true, Tag: tag} }

// maxETagLength bounds what a client may send; ours are 52 characters.
const maxETagLength = 512

// ParseCondition reads an If-Match value: "" is no demand; "*", also quoted, is
// any version; else one etag, bare, quoted, or quoted behind W/.
//
// It fails with Invalid when the value is no single etag.
func ParseCondition(value string) (Condition, error) {
	v := strings.TrimSpace(value)
	if v == "" {
		return Condition{}, nil
	}
	if len(v) > maxETagLength {
		return Condition{}, Invalidf("If-Match", "is longer than %d characters", maxETagLength)
	}
	v = strings.TrimPrefix(v, "W/")
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	if v == "*" {
		return Condition{Set: true, Any: true}, nil
	}
	if v == "" || strings.ContainsAny(v, "\", \t\r\n") {
		return Condition{}, Invalidf("If-Match", "must be one etag or *")
	}
	return Match(ETag(v)), nil
}

// Holds reports whether a record of version current meets the condition; current
// "" means that there is no record.
func (c Condition) Holds(current ETag) bool {
	switch {
	case !c.Set:
		return true
	case c.Any:
		return current != ""
	default:
		return current != "" && c.Tag == current
	}
}
