package dps

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// HubAuthType is how a device proves itself to its hub.
type HubAuthType string

// The types. Provisioning writes the first two.
const (
	HubAuthSelfSigned HubAuthType = "selfSigned"
	HubAuthSAS        HubAuthType = "sas"
	HubAuthCA         HubAuthType = "certificateAuthority"
	HubAuthNone       HubAuthType = "none"
)

// HubAuthTypes returns every type, for checks and tests that walk the set.
func HubAuthTypes() []HubAuthType {
	return []HubAuthType{HubAuthSelfSigned, HubAuthSAS, HubAuthCA, HubAuthNone}
}

// HubAuthentication is how a device proves itself to its hub.
type HubAuthentication struct {
	Type                HubAuthType
	PrimaryThumbprint   string // hexadecimal of SHA-1 or SHA-256, as it was spelled, for selfSigned
	SecondaryThumbprint string
	Keys                KeyPair // for sas
}

// SelfSigned returns the authentication of a device that shows the certificate
// with thumbprint t: both thumbprints are set to it.
// Source: azure-docs, articles/iot-dps/how-to-roll-certificates.md.
func SelfSigned(t Thumbprint) HubAuthentication {
	return HubAuthentication{Type: HubAuthSelfSigned, PrimaryThumbprint: t.String(), SecondaryThumbprint: t.String()}
}

// hubThumbprintPattern takes SHA-1 and SHA-256, which a hub tells apart by length.
var hubThumbprintPattern = regexp.MustCompile(`^([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$`)

// NewHubAuthentication returns what a client wrote, without what does not belong to
// its type: clients send whole documents back after they changed the type. Missing
// keys are left to be filled in. A type of "" follows from the rest: selfSigned with a
// thumbprint, else sas.
//
// It fails with Invalid.
// Source: azure-docs, articles/iot-hub/iot-hub-devguide-identity-registry.md.
func NewHubAuthentication(kind, primary, secondary string, keys KeyPair) (HubAuthentication, error) {
	if kind == "" {
		kind = string(HubAuthSAS)
		if primary != "" || secondary != "" {
			kind = string(HubAuthSelfSigned)
		}
	}
	for _, known := range HubAuthTypes() {
		if !strings.EqualFold(string(known), kind) {
			continue
		}
		switch known {
		case HubAuthSelfSigned:
			return thumbprints(primary, secondary)
		case HubAuthSAS:
			return HubAuthentication{Type: known, Keys: keys}, nil
		default:
			return HubAuthentication{Type: known}, nil
		}
	}
	return HubAuthentication{}, Invalidf("authentication.type", "must be sas, selfSigned, certificateAuthority or none")
}

func thumbprints(primary, secondary string) (HubAuthentication, error) {
	const field = "authentication.x509Thumbprint"
	if primary == "" && secondary == "" {
		return HubAuthentication{}, Invalidf(field, "requires a thumbprint for selfSigned")
	}
	for name, text := range map[string]string{".primaryThumbprint": primary, ".secondaryThumbprint": secondary} {
		if text != "" && !hubThumbprintPattern.MatchString(text) {
			return HubAuthentication{}, Invalidf(field+name, "must be 40 (SHA-1) or 64 (SHA-256) hexadecimal digits")
		}
	}
	return HubAuthentication{Type: HubAuthSelfSigned, PrimaryThumbprint: primary, SecondaryThumbprint: secondary}, nil
}

// Equal reports whether a device would be let in by the same proof.
func (a HubAuthentication) Equal(b HubAuthentication) bool {
	return a.Type == b.Type &&
		strings.EqualFold(a.PrimaryThumbprint, b.PrimaryThumbprint) && strings.EqualFold(a.SecondaryThumbprint, b.SecondaryThumbprint) &&
		bytes.Equal(a.Keys.Primary.Reveal(), b.Keys.Primary.Reveal()) && bytes.Equal(a.Keys.Secondary.Reveal(), b.Keys.Secondary.Reveal())
}

// HubDevice is an identity in an embedded hub, with its twin. Identity and twin are
// versioned apart: ETag and Updated are of the identity.
type HubDevice struct {
	Instance       InstanceID
	Hub            HubID
	DeviceID       DeviceID
	GenerationID   string // decimal digits, new on every creation
	Authentication HubAuthentication
	IotEdge        bool
	Disabled       bool
	StatusReason   string    // why it is enabled or disabled, in an operator's words; may be ""
	StatusUpdated  time.Time // when Disabled last changed; zero if it never did
	Parent         string    // scope of the edge device that it belongs to; "" if none

	Twin          Twin
	TwinVersion   int64 // grows with each change of the twin
	DesiredStamp  Stamp // its version is that of the section
	ReportedStamp Stamp

	ETag             ETag
	Created, Updated time.Time
}

// HubIdentity is an identity as provisioning writes it to a hub, whatever its kind.
type HubIdentity struct {
	DeviceID       DeviceID
	Authentication HubAuthentication
	IotEdge        bool
}

// NewHubDevice returns a new identity of an embedded hub that starts with twin. A twin
// that brings reported properties, be they empty, was moved here, and so its versions are not
// those of a new one.
func NewHubDevice(hub LinkedHub, id HubIdentity, twin Twin, now time.Time) HubDevice {
	version := int64(newSectionVersion)
	if twin.Reported != nil {
		version++
	}
	return HubDevice{
		Instance: hub.Instance, Hub: hub.ID, DeviceID: id.DeviceID, GenerationID: NewGenerationID(now),
		Authentication: id.Authentication, IotEdge: id.IotEdge,
		Twin: twin, TwinVersion: version + 1, DesiredStamp: Stamp{At: now, Version: version}, ReportedStamp: Stamp{At: now, Version: version},
		ETag: NewETag(), Created: now, Updated: now,
	}
}

// MovedTo returns d as a new identity of another embedded hub, with its twin. The
// versions of the twin go on, so that nobody takes it for a new one.
func (d HubDevice) MovedTo(hub LinkedHub, id HubIdentity, now time.Time) HubDevice {
	moved := NewHubDevice(hub, id, d.Twin, now)
	moved.TwinVersion = d.TwinVersion + 1
	moved.DesiredStamp.Version, moved.ReportedStamp.Version = d.DesiredStamp.Version+1, d.ReportedStamp.Version+1
	return moved
}

// Refreshed returns d with the authentication and capabilities of id, as a new
// version; changed is false where it has them already. One that an operator disabled
// stays disabled.
func (d HubDevice) Refreshed(id HubIdentity, now time.Time) (refreshed HubDevice, changed bool) {
	if d.Authentication.Equal(id.Authentication) && d.IotEdge == id.IotEdge {
		return d, false
	}
	d.Authentication, d.IotEdge = id.Authentication, id.IotEdge
	d.ETag, d.Updated = NewETag(), now
	return d, true
}

// edgeScheme starts the scope of an edge device.
const edgeScheme = "ms-azure-iot-edge://"

// Scope is the scope that the device belongs to: an edge device has one of its own, any other
// that of its parent, or "".
// Source: azure-docs, articles/iot-edge/iot-edge-as-gateway.md; azure-iot-hub-python, service.json, Device.
func (d HubDevice) Scope() string {
	if d.IotEdge {
		return edgeScheme + string(d.DeviceID) + "-" + d.GenerationID
	}
	return d.Parent
}

// HubDeviceDraft is an identity as a client writes it. What is nil stays as it is, or
// is what a new identity has.
type HubDeviceDraft struct {
	Authentication *HubAuthentication // without keys that shall stay or be generated
	Disabled       *bool
	StatusReason   string // "" removes it
	IotEdge        *bool
	Scope          *string
	ParentScopes   *[]string
}

// maxStatusReason bounds a status reason, in characters.
// Source: azure-docs, articles/iot-hub/iot-hub-devguide-identity-registry.md.
const maxStatusReason = 128

// maxScope bounds a device scope: scheme, device ID, dash, generation ID.
const maxScope = 256

// NewHubIdentity returns the identity for a client that creates one: without an
// authentication of its own it gets keys.
func NewHubIdentity(id DeviceID) HubIdentity {
	return HubIdentity{DeviceID: id, Authentication: HubAuthentication{Type: HubAuthSAS, Keys: NewKeyPair()}}
}

// Written returns d with what a client wrote, as a new version. It fails with Invalid.
func (d HubDevice) Written(draft HubDeviceDraft, now time.Time) (HubDevice, error) {
	if n := utf8.RuneCountInString(draft.StatusReason); n > maxStatusReason {
		return d, Invalidf("statusReason", "has %d characters; the limit is %d", n, maxStatusReason)
	}
	d.StatusReason = draft.StatusReason
	if draft.Disabled != nil && *draft.Disabled != d.Disabled {
		d.Disabled, d.StatusUpdated = *draft.Disabled, now
	}
	if draft.IotEdge != nil {
		d.IotEdge = *draft.IotEdge
	}
	if draft.Authentication != nil {
		d.Authentication = draft.Authentication.filled(d.Authentication)
	}
	if err := d.belong(draft); err != nil {
		return d, err
	}
	d.ETag, d.Updated = NewETag(), now
	return d, nil
}

// filled returns a with the keys that it lacks taken from old, or generated.
func (a HubAuthentication) filled(old HubAuthentication) HubAuthentication {
	if a.Type == HubAuthSAS {
		a.Keys = a.Keys.Fill(old.Keys)
	}
	return a
}

// belong sets the parent by the two members that may name it.
func (d *HubDevice) belong(draft HubDeviceDraft) error {
	if draft.ParentScopes != nil {
		scopes := *draft.ParentScopes
		if len(scopes) > 1 {
			return Invalidf("parentScopes", "has %d scopes; a device has one parent", len(scopes))
		}
		parent := ""
		if len(scopes) == 1 {
			parent = scopes[0]
		}
		if err := d.adopt("parentScopes", parent); err != nil {
			return err
		}
	}
	if draft.Scope == nil {
		return nil
	}
	if d.IotEdge {
		if *draft.Scope != "" && *draft.Scope != d.Scope() {
			return Invalidf("deviceScope", "is read-only for an edge device; set parentScopes")
		}
		return nil
	}
	return d.adoptLeaf(draft)
}

// adoptLeaf sets the parent of a device that is no edge device: deviceScope names it,
// and parentScopes repeats it or is left to the hub.
func (d *HubDevice) adoptLeaf(draft HubDeviceDraft) error {
	scope := *draft.Scope
	if draft.ParentScopes != nil && d.Parent != "" && scope != "" && d.Parent != scope {
		return Invalidf("parentScopes", "differs from deviceScope; leave one of them out")
	}
	if scope == "" && draft.ParentScopes != nil {
		return nil
	}
	return d.adopt("deviceScope", scope)
}

func (d *HubDevice) adopt(field, scope string) error {
	if scope == edgeScheme+string(d.DeviceID)+"-"+d.GenerationID {
		scope = "" // its own, from when it was an edge device
	}
	if scope != "" && (!strings.HasPrefix(scope, edgeScheme) || len(scope) > maxScope || len(scope) == len(edgeScheme)) {
		return Invalidf(field, "must be the deviceScope of an edge device, which begins with %s", edgeScheme)
	}
	d.Parent = scope
	return nil
}

// HubDeviceFilter says which identities of a hub are meant; what is zero matches all.
type HubDeviceFilter struct {
	ID     DeviceID
	Prefix string // of the ID
	Edge   *bool
	Parent string // scope of the edge device above
}

// Matches reports whether d is meant.
func (f HubDeviceFilter) Matches(d HubDevice) bool {
	return (f.ID == "" || d.DeviceID == f.ID) && strings.HasPrefix(string(d.DeviceID), f.Prefix) &&
		(f.Edge == nil || *f.Edge == d.IotEdge) && (f.Parent == "" || f.Parent == d.Parent)
}

// HubDeviceCount is how many identities a hub has.
type HubDeviceCount struct{ Total, Disabled int64 }

// NewGenerationID returns a number that tells this creation of a device from
// every other: 18 digits that grow with time.
func NewGenerationID(now time.Time) string {
	// Ticks of 100 ns since year 1, like the ones Azure shows, with the lowest
	// digits random so that two creations in one tick still differ.
	const unixEpochTicks = 621_355_968_000_000_000
	ticks := now.UnixNano()/100 + unixEpochTicks
	return fmt.Sprintf("%018d", ticks/1000*1000+rand.Int64N(1000)) //nolint:gosec // no secret
}
