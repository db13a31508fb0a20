package translate

import (
	"encoding/json"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// The statuses of an identity, as the wire spells them.
const (
	hubEnabled  = "enabled"
	hubDisabled = "disabled"
)

func hubStatus(d dps.HubDevice) string {
	if d.Disabled {
		return hubDisabled
	}
	return hubEnabled
}

// HubDevice writes an identity as a hub's registry shows it.
func HubDevice(d dps.HubDevice) wire.HubDevice {
	var reason *string
	if d.StatusReason != "" {
		reason = &d.StatusReason
	}
	return wire.HubDevice{
		DeviceID: string(d.DeviceID), GenerationID: d.GenerationID, ETag: string(d.ETag),
		ConnectionState: "Disconnected", Status: hubStatus(d), StatusReason: reason,
		ConnectionStateUpdatedTime: wire.HubNever, StatusUpdatedTime: hubTime(d.StatusUpdated), LastActivityTime: wire.HubNever,
		Authentication: hubAuthentication(d.Authentication), Capabilities: wire.Capabilities{IotEdge: d.IotEdge},
		DeviceScope: d.Scope(), ParentScopes: parentScopes(d),
	}
}

func parentScopes(d dps.HubDevice) []string {
	if d.Parent == "" {
		return nil
	}
	return []string{d.Parent}
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
	return wire.HubThumbprint{PrimaryThumbprint: orNull(a.PrimaryThumbprint), SecondaryThumbprint: orNull(a.SecondaryThumbprint)}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// HubTwin writes the twin of an identity as services see it.
func HubTwin(d dps.HubDevice) (wire.HubTwin, error) {
	desired, err := section(d.Twin.Desired, d.DesiredStamp, true)
	if err != nil {
		return wire.HubTwin{}, err
	}
	reported, err := section(d.Twin.Reported, d.ReportedStamp, false)
	if err != nil {
		return wire.HubTwin{}, err
	}
	tags := d.Twin.Tags
	if tags == nil {
		tags = json.RawMessage(`{}`)
	}
	return wire.HubTwin{
		DeviceID: string(d.DeviceID), ETag: string(d.TwinETag()), DeviceETag: string(d.ETag), Status: hubStatus(d), StatusReason: d.StatusReason,
		StatusUpdateTime: hubTime(d.StatusUpdated), ConnectionState: "Disconnected", LastActivityTime: wire.HubNever,
		AuthenticationType: string(d.Authentication.Type), X509Thumbprint: hubThumbprint(d.Authentication),
		Version: d.TwinVersion, Tags: tags, Properties: wire.HubProperties{Desired: desired, Reported: reported},
		Capabilities: wire.Capabilities{IotEdge: d.IotEdge}, DeviceScope: d.Scope(), ParentScopes: parentScopes(d),
	}, nil
}

// section adds $metadata and $version to one half of a twin's properties.
func section(data json.RawMessage, stamp dps.Stamp, versioned bool) (json.RawMessage, error) {
	members := make(map[string]json.RawMessage)
	if data != nil {
		if err := json.Unmarshal(data, &members); err != nil {
			return nil, err
		}
	}
	metadata, err := json.Marshal(metadataOf(data, stamp, versioned))
	if err != nil {
		return nil, err
	}
	version, err := json.Marshal(stamp.Version)
	if err != nil {
		return nil, err
	}
	members["$metadata"], members["$version"] = metadata, version
	return json.Marshal(members)
}

// metadataOf mirrors the tree of objects: when, and for desired at which version,
// each part was last changed.
func metadataOf(data json.RawMessage, stamp dps.Stamp, versioned bool) map[string]any {
	out := map[string]any{"$lastUpdated": hubTime(stamp.At)}
	if versioned {
		out["$lastUpdatedVersion"] = stamp.Version
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return out // a value, not an object: nothing below it
	}
	for name, value := range members {
		out[name] = metadataOf(value, stamp.Part(name), versioned)
	}
	return out
}

// HubDeviceDraft reads an identity that a client wrote. It fails with Invalid.
func HubDeviceDraft(req wire.HubDeviceRequest) (dps.HubDeviceDraft, error) {
	draft := dps.HubDeviceDraft{StatusReason: req.StatusReason, Scope: req.DeviceScope, ParentScopes: req.ParentScopes}
	if req.Capabilities != nil {
		draft.IotEdge = req.Capabilities.IotEdge
	}
	switch {
	case req.Status == "":
	case strings.EqualFold(req.Status, hubEnabled):
		draft.Disabled = new(false)
	case strings.EqualFold(req.Status, hubDisabled):
		draft.Disabled = new(true)
	default:
		return draft, dps.Invalidf("status", "must be enabled or disabled")
	}
	if req.Authentication == nil {
		return draft, nil
	}
	a, err := hubAuthenticationOf(*req.Authentication)
	draft.Authentication = &a
	return draft, err
}

func hubAuthenticationOf(req wire.HubAuthenticationRequest) (dps.HubAuthentication, error) {
	primary, err := dps.ParseKey("authentication.symmetricKey.primaryKey", req.SymmetricKey.PrimaryKey)
	if err != nil {
		return dps.HubAuthentication{}, err
	}
	secondary, err := dps.ParseKey("authentication.symmetricKey.secondaryKey", req.SymmetricKey.SecondaryKey)
	if err != nil {
		return dps.HubAuthentication{}, err
	}
	return dps.NewHubAuthentication(req.Type, req.X509Thumbprint.PrimaryThumbprint, req.X509Thumbprint.SecondaryThumbprint,
		dps.KeyPair{Primary: primary, Secondary: secondary})
}

// HubTwinChange reads what a service wrote into a twin. Reported properties belong to
// the device: a document that is sent back holds them, and they stay as they are.
func HubTwinChange(req wire.HubTwinRequest, replace bool) dps.TwinChange {
	return dps.TwinChange{Tags: req.Tags, Desired: req.Properties.Desired, Replace: replace}
}

// HubBulkError writes why an element of a bulk operation was refused.
func HubBulkError(err error, item wire.HubBulkItem) wire.HubBulkError {
	row, message := failureOf(err)
	return wire.HubBulkError{
		DeviceID: item.ID, ModuleID: item.ModuleID, ErrorCode: row.number, ErrorStatus: message, Operation: item.ImportMode,
	}
}
