package translate

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// NeverRegistered is the state of an enrollment whose device has not called yet.
func NeverRegistered(id dps.RegistrationID) *wire.RegistrationState {
	return &wire.RegistrationState{RegistrationID: string(id), Status: string(dps.Unassigned)}
}

// ServiceState writes a registration as the service API shows it; hub is the name
// of the hub that it is assigned to.
func ServiceState(reg dps.Registration, hub dps.HostName) *wire.RegistrationState {
	state := commonState(reg, hub)
	state.CreatedDateTimeUTC, state.LastUpdatedDateTimeUTC = serviceTime(reg.Created), serviceTime(reg.Updated)
	state.Payload = reg.Payload
	return state
}

// lastVersionWithoutReturn is the last device API version that does not know the
// sub-status reprovisionedToInitialAssignment.
// Source: azure-iot-sdk-java, ProvisioningDeviceClientSubstatus.java.
const lastVersionWithoutReturn = "2019-03-31"

// firstVersionWithPayload is the first device API version that knows custom allocation,
// and with it payloads for devices. From which version on DPS shows them is not
// documented.
const firstVersionWithPayload = "2019-03-31"

// DeviceState writes a registration as a device of an API version sees it.
func DeviceState(reg dps.Registration, hub dps.HostName, apiVersion string) *wire.RegistrationState {
	state := commonState(reg, hub)
	state.CreatedDateTimeUTC, state.LastUpdatedDateTimeUTC = deviceTime(reg.Created), deviceTime(reg.Updated)
	if state.Substatus == string(dps.ReprovisionedToInitialAssignment) && apiVersion <= lastVersionWithoutReturn {
		state.Substatus = string(dps.InitialAssignment)
	}
	state.X509, state.SymmetricKey = through(reg)
	if apiVersion >= firstVersionWithPayload {
		state.Payload = reg.Payload
	}
	return state
}

// through says by what a device came: an individual certificate is shown as an empty
// object, an individual key not at all.
// Source: azure-docs, articles/iot-dps/iot-dps-https-sym-key-support.md and
// iot-dps-https-x509-support.md (sample answers).
func through(reg dps.Registration) (x509, key *wire.EntryReference) {
	ref := &wire.EntryReference{}
	if reg.Entry.Kind == dps.Group {
		ref.EnrollmentGroupID = reg.Entry.ID
	}
	switch {
	case reg.Attestation == dps.X509:
		return ref, nil
	case reg.Attestation == dps.SymmetricKey && reg.Entry.Kind == dps.Group:
		return nil, ref
	default:
		return nil, nil
	}
}

// commonState leaves the assignment out unless it holds: some devices demand both
// hub and device ID, or neither.
func commonState(reg dps.Registration, hub dps.HostName) *wire.RegistrationState {
	state := &wire.RegistrationState{RegistrationID: string(reg.ID), Status: string(reg.Status), ETag: string(reg.ETag)}
	if reg.Status == dps.Assigned && reg.Assignment != nil {
		state.AssignedHub, state.DeviceID = string(hub), string(reg.Assignment.DeviceID)
		state.Substatus = string(reg.Assignment.Substatus)
	}
	if reg.Failure != nil {
		state.ErrorCode, state.ErrorMessage = Number(*reg.Failure), reg.Failure.Message
	}
	return state
}

// CheckDeviceVersion checks the api-version of a device. It fails with Invalid.
func CheckDeviceVersion(version string) error {
	if version == "" {
		return dps.Invalidf("api-version", "is required")
	}
	if !wire.KnownDeviceVersion(version) {
		return dps.Invalidf("api-version", "is not one of %s", strings.Join(wire.DeviceVersions, ", "))
	}
	return nil
}

// DevicePayload checks what a device says about itself against who it is: id, of its
// connection. Devices send nothing, a blank or an object. It returns the payload in it,
// which may be any JSON value but null; nil if there is none. It fails with Invalid or
// Malformed.
func DevicePayload(text []byte, id dps.RegistrationID) (json.RawMessage, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var body wire.DeviceRegistration
	if err := Decode(text, &body); err != nil {
		return nil, err
	}
	if body.RegistrationID != "" && !strings.EqualFold(body.RegistrationID, string(id)) {
		return nil, dps.Invalidf("registrationId", "must be the registration ID of the connection, %q", id)
	}
	if body.CSR != "" {
		return nil, dps.Invalidf("csr", "is not offered: this service issues no device certificates")
	}
	return compact(body.Payload), nil
}

// Accepted is the answer to a registration that was taken.
func Accepted(op dps.OperationID) *wire.RegistrationOperation {
	return &wire.RegistrationOperation{OperationID: string(op), Status: string(dps.Assigning)}
}

// Operation is the answer to a poll, for a device of an API version.
func Operation(op dps.OperationID, reg dps.Registration, hub dps.HostName, apiVersion string) *wire.RegistrationOperation {
	return &wire.RegistrationOperation{
		OperationID: string(op), Status: string(reg.Status), RegistrationState: DeviceState(reg, hub, apiVersion),
	}
}
