package dps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"
)

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
	Tags     json.RawMessage // an object, or nil
	Desired  json.RawMessage // an object, or nil
	Reported json.RawMessage // an object, or nil: only a twin that was moved brings any
}

// Empty reports whether the twin holds nothing.
func (t Twin) Empty() bool { return t.Tags == nil && t.Desired == nil && t.Reported == nil }

// HubIdentity is an identity as provisioning writes it to a hub, whatever its kind.
type HubIdentity struct {
	DeviceID       DeviceID
	Authentication HubAuthentication
	IotEdge        bool
}

// NewHubDevice returns a new identity of an embedded hub that starts with twin.
func NewHubDevice(hub LinkedHub, id HubIdentity, twin Twin, now time.Time) HubDevice {
	return HubDevice{
		Instance: hub.Instance, Hub: hub.ID, DeviceID: id.DeviceID, GenerationID: NewGenerationID(now),
		Authentication: id.Authentication, IotEdge: id.IotEdge, Twin: twin, ETag: NewETag(), Created: now, Updated: now,
	}
}

// MovedTo returns d as a new identity of another embedded hub, with its twin.
func (d HubDevice) MovedTo(hub LinkedHub, id HubIdentity, now time.Time) HubDevice {
	return NewHubDevice(hub, id, d.Twin, now)
}

// Refreshed returns d with the authentication and capabilities of id, as a new
// version; changed is false where it has them already.
func (d HubDevice) Refreshed(id HubIdentity, now time.Time) (refreshed HubDevice, changed bool) {
	if d.Authentication.Equal(id.Authentication) && d.IotEdge == id.IotEdge {
		return d, false
	}
	d.Authentication, d.IotEdge = id.Authentication, id.IotEdge
	d.ETag, d.Updated = NewETag(), now
	return d, true
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
