package dps

import (
	"encoding/json"
	"strings"
	"time"
)

// EntryKind distinguishes individual enrollments and enrollment groups.
type EntryKind string

// The kinds, as stores keep them.
const (
	Individual EntryKind = "individual"
	Group      EntryKind = "group"
)

// EntryRef names one enrollment of an instance: a single device's, or a group's.
type EntryRef struct {
	Kind EntryKind
	ID   string // as spelled
}

// Key returns the normalized ID: two spellings of one ID have the same key.
func (r EntryRef) Key() string { return strings.ToLower(r.ID) }

// String returns the reference for messages: "enrollment group line-7".
func (r EntryRef) String() string {
	if r.Kind == Group {
		return "enrollment group " + r.ID
	}
	return "individual enrollment " + r.ID
}

// ParseEntryID checks the ID of an enrollment or a group; field is named in the
// error, which has the code Invalid.
func ParseEntryID(kind EntryKind, field, id string) (EntryRef, error) {
	if !idPattern.MatchString(id) {
		return EntryRef{}, Invalidf(field, idRule)
	}
	return EntryRef{Kind: kind, ID: id}, nil
}

// ProvisioningStatus says whether an enrollment may be used.
type ProvisioningStatus string

// The provisioning statuses. StatusNull is an explicit null of a client, which is
// shown again as null and works as enabled.
const (
	StatusEnabled  ProvisioningStatus = "enabled"
	StatusDisabled ProvisioningStatus = "disabled"
	StatusNull     ProvisioningStatus = "null"
)

// AllocationPolicy says how a hub is selected. "" means the policy of the instance.
type AllocationPolicy string

// The allocation policies, as the wire spells them.
const (
	Hashed     AllocationPolicy = "hashed"
	GeoLatency AllocationPolicy = "geoLatency"
	Static     AllocationPolicy = "static"
	Custom     AllocationPolicy = "custom"
)

// ReprovisionPolicy says what a later registration may change.
type ReprovisionPolicy struct {
	UpdateHubAssignment bool // the hub is selected again
	MigrateDeviceData   bool // the twin moves with the device
}

// CustomAllocation names the webhook of the custom policy. The URL's query may
// hold a key: it is a secret.
type CustomAllocation struct {
	WebhookURL string
	APIVersion string
}

// Capabilities of a device at its hub.
type Capabilities struct{ IotEdge bool }

// Placement is what an enrollment says about hubs.
type Placement struct {
	Policy      AllocationPolicy
	IotHubs     []HostName // candidates; empty means every linked hub
	HubHostName HostName   // the single desired hub of the first API versions
	Custom      *CustomAllocation
	Reprovision *ReprovisionPolicy
}

// Enrollment is an individual enrollment or an enrollment group.
type Enrollment struct {
	Instance     InstanceID
	Ref          EntryRef
	DeviceID     DeviceID // desired ID at the hub; individual enrollments only, may be ""
	Attestation  Attestation
	Status       ProvisioningStatus
	Placement    Placement
	Capabilities *Capabilities
	InitialTwin  json.RawMessage // as given; nil if none
	DeviceInfo   json.RawMessage // optionalDeviceInformation as given; nil if none

	ETag             ETag
	Created, Updated time.Time
}

// Disabled reports whether the enrollment refuses its devices.
func (e Enrollment) Disabled() bool { return e.Status == StatusDisabled }

// MaskedQuery stands for the query of a webhook URL wherever it is shown.
const MaskedQuery = "?****"

// MaskedURL returns the webhook URL without its query, which may hold a key.
// Source: azure-docs, articles/iot-dps/concepts-custom-allocation.md (logged requests).
func (c CustomAllocation) MaskedURL() string {
	base, _, found := strings.Cut(c.WebhookURL, "?")
	if !found {
		return c.WebhookURL
	}
	return base + MaskedQuery
}

// Unmask returns c with the stored URL put back where the client sent the masked
// form of it.
func (c CustomAllocation) Unmask(stored *CustomAllocation) CustomAllocation {
	if stored != nil && strings.HasSuffix(c.WebhookURL, MaskedQuery) && c.WebhookURL == stored.MaskedURL() {
		c.WebhookURL = stored.WebhookURL
	}
	return c
}

// EnrollmentDraft is an enrollment as a client writes it. A certificate that it
// only describes is to be kept, and is named by its SHA-1 or SHA-256 thumbprint.
type EnrollmentDraft struct {
	Enrollment
	KeepPrimary, KeepSecondary string
}
