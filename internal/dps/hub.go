package dps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

// HubID names a linked hub inside an instance; it stays when the host name changes.
type HubID string

// EmbeddedHub is the hub that every instance starts with.
const EmbeddedHub HubID = "embedded"

// HubKind says who serves a hub.
type HubKind string

// KindEmbedded is a hub in this process, in the same store.
const KindEmbedded HubKind = "embedded"

// LinkedHub is a hub that devices can be assigned to.
type LinkedHub struct {
	Instance    InstanceID
	ID          HubID
	Kind        HubKind
	HostName    HostName
	Weight      int  // share under the hashed policy, 1 to 1000
	ApplyPolicy bool // whether it is a candidate for enrollments that name no hubs
}

// HubLink is a linked hub with the policy that speaks for it.
type HubLink struct {
	Hub    LinkedHub
	Policy HubPolicy
}

// HubDraft is a linked hub as a client writes it.
type HubDraft struct {
	HostName    HostName
	KeyName     string // "" where the client names no policy
	Key         Secret // none where the client sent the mask, or nothing
	Weight      *int   // nil leaves it
	ApplyPolicy *bool  // nil leaves it
}

// HubPolicy is a shared access policy of an embedded hub.
type HubPolicy struct {
	Instance InstanceID
	Hub      HubID
	Name     string
	Rights   HubRights
	Keys     KeyPair
}

// HubRights is a set of permissions at a hub.
type HubRights uint8

// The permissions at a hub.
// Source: azure-docs, articles/iot-hub/iot-hub-dev-guide-sas.md, "Access control and permissions".
const (
	RegistryRead HubRights = 1 << iota
	RegistryWrite
	ServiceConnect
	HubDeviceConnect
)

// HubOwnerPolicy is the policy of a hub that has every right.
const (
	HubOwnerPolicy           = "iothubowner"
	HubOwnerRights HubRights = RegistryRead | RegistryWrite | ServiceConnect | HubDeviceConnect
)

// Allow reports whether the set grants want; RegistryWrite includes RegistryRead.
func (r HubRights) Allow(want HubRights) bool {
	if r&RegistryWrite != 0 {
		r |= RegistryRead
	}
	return want != 0 && r&want == want
}

// HubAuthType is how a device proves itself to its hub.
type HubAuthType string

// The types that we write.
const (
	HubAuthSelfSigned HubAuthType = "selfSigned"
	HubAuthSAS        HubAuthType = "sas"
)

// HubAuthentication is how a device proves itself to its hub.
type HubAuthentication struct {
	Type                HubAuthType
	PrimaryThumbprint   string // upper-case hexadecimal, for selfSigned
	SecondaryThumbprint string
	Keys                KeyPair // for sas
}

// SelfSigned returns the authentication of a device that shows the certificate
// with thumbprint t: both thumbprints are set to it.
// Source: azure-docs, articles/iot-dps/how-to-roll-certificates.md.
func SelfSigned(t Thumbprint) HubAuthentication {
	return HubAuthentication{Type: HubAuthSelfSigned, PrimaryThumbprint: t.String(), SecondaryThumbprint: t.String()}
}

// Equal reports whether a device would be let in by the same proof.
func (a HubAuthentication) Equal(b HubAuthentication) bool {
	return a.Type == b.Type &&
		a.PrimaryThumbprint == b.PrimaryThumbprint && a.SecondaryThumbprint == b.SecondaryThumbprint &&
		bytes.Equal(a.Keys.Primary.Reveal(), b.Keys.Primary.Reveal()) && bytes.Equal(a.Keys.Secondary.Reveal(), b.Keys.Secondary.Reveal())
}

// HubDevice is an identity in an embedded hub, with its twin.
type HubDevice struct {
	Instance       InstanceID
	Hub            HubID
	DeviceID       DeviceID
	GenerationID   string // decimal digits, new on every creation
	Authentication HubAuthentication
	IotEdge        bool
	Twin           Twin

	ETag             ETag
	Created, Updated time.Time
}

// Twin is the document of a device at its hub as it was first written: nobody
// changes it after that yet, so every part of it has version 1 and one time.
type Twin struct {
	Tags    json.RawMessage // an object, or nil
	Desired json.RawMessage // an object, or nil
}

// NewGenerationID returns a number that tells this creation of a device from
// every other: 18 digits that grow with time.
func NewGenerationID(now time.Time) string {
	// Ticks of 100 ns since year 1, like the ones Azure shows, with the lowest
	// digits random so that two creations in one tick still differ.
	const unixEpochTicks = 621_355_968_000_000_000
	ticks := now.UnixNano()/100 + unixEpochTicks
	return fmt.Sprintf("%018d", ticks/1000*1000+rand.Int64N(1000)) //nolint:gosec // no secret
}
