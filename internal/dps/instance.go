package dps

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
)

// Instance is one provisioning service with its own scope, keys and records.
type Instance struct {
	ID         InstanceID
	Scope      IDScope
	Allocation AllocationPolicy // for enrollments that name none
	TokenKey   Secret           // signs the tokens of the control plane
	Created    time.Time
}

// NewInstance returns an instance with a random scope and token key.
func NewInstance(id InstanceID, now time.Time) Instance {
	var b [4]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	scope := IDScope("0ne" + strings.ToUpper(hex.EncodeToString(b[:])))
	return Instance{ID: id, Scope: scope, Allocation: Hashed, TokenKey: NewKey(), Created: now}
}

// Setup is what an instance starts with.
type Setup struct {
	Instance  Instance
	Policy    Policy
	Hub       LinkedHub
	HubPolicy HubPolicy
}
