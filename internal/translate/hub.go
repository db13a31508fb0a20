package translate

import (
	"encoding/json"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// hubEdgeScheme starts the scope of an edge device.
const hubEdgeScheme = "ms-azure-iot-edge://"

// HubDevice writes an identity as a hub's registry shows it.
func HubDevice(d dps.HubDevice) wire.HubDevice {
	return wire.HubDevice{
		DeviceID: string(d.DeviceID), GenerationID: d.GenerationID, ETag: string(d.ETag),
		ConnectionState: "Disconnected", Status: "enabled",
		ConnectionStateUpdatedTime: wire.HubNever, StatusUpdatedTime: wire.HubNever, LastActivityTime: wire.HubNever,
		Authentication: hubAuthentication(d.Authentication), Capabilities: wire.Capabilities{IotEdge: d.IotEdge}, DeviceScope: scopeOf(d),
	}
}

func scopeOf(d dps.HubDevice) string {
	if !d.IotEdge {
		return ""
	}
	return hubEdgeScheme + string(d.DeviceID) + "-" + d.GenerationID
}

func hubAuthentication(a dps.HubAuthentication) wire.HubAuthentication {
	out := wire.HubAuthentication{Type: string(a.Type), X509Thumbprint: hubThumbprint(a)}
	if a.Type == dps.HubAuthSAS {
		primary, secondary := a.Keys.Primary.Base64(), a.Keys.Secondary.Base64()
		out.SymmetricKey = wire.HubSymmetricKey{PrimaryKey: &primary, SecondaryKey: &secondary}
	}
	return out
}

func hubThumbprint(a dps.HubAuthentication) wire.HubThumbprint {
	if a.Type != dps.HubAuthSelfSigned {
		return wire.HubThumbprint{}
	}
	return wire.HubThumbprint{PrimaryThumbprint: &a.PrimaryThumbprint, SecondaryThumbprint: &a.SecondaryThumbprint}
}

// A twin that nobody has changed is at these versions.
// Source: azure-docs, articles/iot-hub/iot-hub-devguide-device-twins.md.
const (
	newTwinVersion    = 2
	newSectionVersion = 1
	newTwinETag       = "AAAAAAAAAAE=" // base64 of a 64-bit 1
)

// HubTwin writes the twin of an identity as services see it.
func HubTwin(d dps.HubDevice) (wire.HubTwin, error) {
	desired, err := section(d.Twin.Desired, d.Created, true)
	if err != nil {
		return wire.HubTwin{}, err
	}
	reported, err := section(nil, d.Created, false)
	if err != nil {
		return wire.HubTwin{}, err
	}
	tags := d.Twin.Tags
	if tags == nil {
		tags = json.RawMessage(`{}`)
	}
	return wire.HubTwin{
		DeviceID: string(d.DeviceID), ETag: newTwinETag, DeviceETag: string(d.ETag), Status: "enabled",
		StatusUpdateTime: wire.HubNever, ConnectionState: "Disconnected", LastActivityTime: wire.HubNever,
		AuthenticationType: string(d.Authentication.Type), X509Thumbprint: hubThumbprint(d.Authentication),
		Version: newTwinVersion, Tags: tags, Properties: wire.HubProperties{Desired: desired, Reported: reported},
		Capabilities: wire.Capabilities{IotEdge: d.IotEdge}, DeviceScope: scopeOf(d),
	}, nil
}

// section adds $metadata and $version to one half of a twin's properties.
func section(data json.RawMessage, at time.Time, versioned bool) (json.RawMessage, error) {
	members := make(map[string]json.RawMessage)
	if data != nil {
		if err := json.Unmarshal(data, &members); err != nil {
			return nil, err
		}
	}
	metadata, err := json.Marshal(metadataOf(data, at, versioned))
	if err != nil {
		return nil, err
	}
	version, err := json.Marshal(newSectionVersion)
	if err != nil {
		return nil, err
	}
	members["$metadata"], members["$version"] = metadata, version
	return json.Marshal(members)
}

// metadataOf mirrors the tree of objects: when, and for desired at which version,
// each part was last changed.
func metadataOf(data json.RawMessage, at time.Time, versioned bool) map[string]any {
	out := map[string]any{"$lastUpdated": hubTime(at)}
	if versioned {
		out["$lastUpdatedVersion"] = newSectionVersion
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return out // a value, not an object: nothing below it
	}
	for name, value := range members {
		out[name] = metadataOf(value, at, versioned)
	}
	return out
}
