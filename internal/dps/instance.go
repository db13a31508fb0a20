package dps

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"
)

// Instance is one provisioning service with its own scope, keys and records.
type Instance struct {
	ID         InstanceID
	Scope      IDScope
	Allocation AllocationPolicy // for enrollments that name none
	TokenKey   Secret           // signs the tokens of the control plane
	Tags       map[string]string
	ETag       ETag // of the instance with its policies
	Created    time.Time
}

// NewInstance returns an instance with a random scope and token key.
func NewInstance(id InstanceID, now time.Time) Instance {
	var b [4]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	scope := IDScope("0ne" + strings.ToUpper(hex.EncodeToString(b[:])))
	return Instance{ID: id, Scope: scope, Allocation: Hashed, TokenKey: NewKey(), ETag: NewETag(), Created: now}
}

// Setup is what an instance starts with.
type Setup struct {
	Instance  Instance
	Policy    Policy
	Hub       LinkedHub
	HubPolicy HubPolicy
}

// InstanceDraft is an instance as a client writes it. What is nil or "" stays as
// it is.
type InstanceDraft struct {
	Tags       map[string]string // all there shall be
	Allocation AllocationPolicy
	Policies   []Policy   // all there shall be; in a stored one, no rights and a missing key stay as they are
	Hubs       []HubDraft // all there shall be

	SkipCheck     bool       // hubs are linked without being called
	DeleteDevices []HostName // embedded hubs that are unlinked even where they hold devices
}

// InstanceChange is what becomes of an instance in one step.
type InstanceChange struct {
	Instance Instance
	IfMatch  ETag     // the version that it replaces
	Policies []Policy // all there shall be; nil leaves them
	Hubs     HubsChange
}

// Bounds of tags.
// Source: azure-docs, articles/azure-resource-manager/management/tag-resources.md, "Limitations".
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
	notInTags   = `<>%&\?/`
)

// CheckTags checks the tags of an instance. It fails with Invalid.
func CheckTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return Invalidf("tags", "has %d tags; the limit is %d", len(tags), maxTags)
	}
	spelled := make(map[string]string, len(tags))
	for name, value := range tags {
		if n := utf8.RuneCountInString(name); n == 0 || n > maxTagName || strings.ContainsAny(name, notInTags) {
			return Invalidf("tags", "a name must have 1 to %d characters, none of them one of %s", maxTagName, notInTags)
		}
		if utf8.RuneCountInString(value) > maxTagValue {
			return Invalidf("tags", "the value of %q is longer than %d characters", name, maxTagValue)
		}
		key := strings.ToLower(name)
		if other, twice := spelled[key]; twice {
			return Invalidf("tags", "%q and %q are the same name: case is ignored", min(name, other), max(name, other))
		}
		spelled[key] = name
	}
	return nil
}

// Cursor is a place between two records of a list: behind the record it names.
type Cursor struct {
	Key     string // of the ID
	Updated int64  // nanoseconds since 1970, where the list is ordered by change; else 0
}
