package iothub

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/wire"
)

// enabled is the status of every identity that we make.
const enabled = "enabled"

// The modes of a bulk call that we use.
const (
	modeCreate     = "create"
	modeUpdateTwin = "updateTwin"
)

// bulkDevice is one element of a bulk call.
// Source: azure-iot-hub-python, service.json, definition ExportImportDevice.
type bulkDevice struct {
	ID             string                  `json:"id"`
	ImportMode     string                  `json:"importMode"`
	Status         string                  `json:"status,omitempty"`
	Authentication *wire.HubAuthentication `json:"authentication,omitempty"`
	Capabilities   *wire.Capabilities      `json:"capabilities,omitempty"`
	Tags           json.RawMessage         `json:"tags,omitempty"`
	Properties     *twinProperties         `json:"properties,omitempty"`
}

type twinProperties struct {
	Desired  json.RawMessage `json:"desired,omitempty"`
	Reported json.RawMessage `json:"reported,omitempty"`
}

// twinPatch is the body of PATCH /twins/{id}.
type twinPatch struct {
	Tags       json.RawMessage `json:"tags,omitempty"`
	Properties *twinProperties `json:"properties,omitempty"`
}

// newDevice is the body of a PUT that creates.
type newDevice struct {
	DeviceID       string                 `json:"deviceId"`
	Status         string                 `json:"status"`
	Authentication wire.HubAuthentication `json:"authentication"`
	Capabilities   wire.Capabilities      `json:"capabilities"`
}

func newBulkDevice(p register.Put) bulkDevice {
	authentication := writeAuthentication(p.Authentication)
	return bulkDevice{
		ID: string(p.DeviceID), ImportMode: modeCreate, Status: enabled, Authentication: &authentication,
		Capabilities: &wire.Capabilities{IotEdge: p.IotEdge}, Tags: p.Twin.Tags, Properties: writeProperties(p.Twin),
	}
}

func twinUpdate(id dps.DeviceID, t dps.Twin) bulkDevice {
	return bulkDevice{ID: string(id), ImportMode: modeUpdateTwin, Tags: t.Tags, Properties: writeProperties(t)}
}

func writeProperties(t dps.Twin) *twinProperties {
	if t.Desired == nil && t.Reported == nil {
		return nil
	}
	return &twinProperties{Desired: t.Desired, Reported: t.Reported}
}

// writeAuthentication says all of it, with null for what the type has no use for, so
// that nothing of an earlier type stays.
func writeAuthentication(a dps.HubAuthentication) wire.HubAuthentication {
	out := wire.HubAuthentication{Type: string(a.Type)}
	switch a.Type {
	case dps.HubAuthSelfSigned:
		out.X509Thumbprint = wire.HubThumbprint{PrimaryThumbprint: &a.PrimaryThumbprint, SecondaryThumbprint: &a.SecondaryThumbprint}
	case dps.HubAuthSAS:
		primary, secondary := a.Keys.Primary.Base64(), a.Keys.Secondary.Base64()
		out.SymmetricKey = wire.HubSymmetricKey{PrimaryKey: &primary, SecondaryKey: &secondary}
	}
	return out
}

// saysNoBulk reports whether a refusal means that the hub has no bulk calls at all: it
// says so, or knows no such method or path.
func saysNoBulk(err error) bool {
	r, ok := errors.AsType[*refused](err)
	if !ok {
		return false
	}
	switch {
	case r.is(bulkNotSupported), r.status == http.StatusMethodNotAllowed, r.status == http.StatusNotImplemented:
		return true
	}
	return r.status == http.StatusNotFound && !r.is(hubNotFound) && !r.is(deviceNotFound)
}
