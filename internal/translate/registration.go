package translate

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// NeverRegistered is the state of an enrollment whose device has not called yet.
func NeverRegistered(id dps.RegistrationID, apiVersion string) *wire.RegistrationState {
	return &wire.RegistrationState{
		RegistrationID: string(id), Status: string(dps.Unassigned), ConnectionProfile: connectionProfile(apiVersion),
	}
}

// ServiceState writes a registration as the service API shows it to a client of an API
// version; hub is the name of the hub that it is assigned to. The last assignment stays
// when a later attempt is refused or fails: whoever deprovisions the device needs it.
// Source: azure-docs, articles/iot-dps/how-to-unprovision-devices.md.
func ServiceState(reg dps.Registration, hub dps.HostName, apiVersion string) *wire.RegistrationState {
	state := commonState(reg, apiVersion)
	if reg.Assignment != nil {
		assignedTo(state, *reg.Assignment, hub)
	}
	state.CreatedDateTimeUTC, state.LastUpdatedDateTimeUTC = serviceTime(reg.Created), serviceTime(reg.Updated)
	state.Payload = reg.Payload
	return state
}

// firstVersionWithReturn is the first device API version that knows the sub-status
// reprovisionedToInitialAssignment.
// Source: azure-iot-sdk-java, ProvisioningDeviceClientSubstatus.java.
const firstVersionWithReturn = "2019-04-15"

// firstVersionWithPayload is the first device API version that knows custom allocation,
// and with it payloads for devices. From which version on DPS shows them is not
// documented.
const firstVersionWithPayload = "2019-03-31"

// firstVersionWithProfile is the first version of either API that knows connection profiles.
// Source: azure-rest-api-specs pull request 45041.
const firstVersionWithProfile = "2026-11-02-preview"

// connectionProfile returns what clients of an API version receive; "" leaves it out.
func connectionProfile(apiVersion string) string {
	if dps.APIVersionReaches(apiVersion, firstVersionWithProfile) {
		return wire.ConnectionProfileClassic
	}
	return ""
}

// DeviceState writes a registration as a device of an API version sees it.
func DeviceState(reg dps.Registration, hub dps.HostName, apiVersion string) *wire.RegistrationState {
	state := commonState(reg, apiVersion)
	if reg.Status == dps.Assigned && reg.Assignment != nil { // some devices demand both hub and device ID, or neither
		assignedTo(state, *reg.Assignment, hub)
	}
	state.CreatedDateTimeUTC, state.LastUpdatedDateTimeUTC = deviceTime(reg.Created), deviceTime(reg.Updated)
	if state.Substatus == string(dps.ReprovisionedToInitialAssignment) && !dps.APIVersionReaches(apiVersion, firstVersionWithReturn) {
		state.Substatus = string(dps.InitialAssignment)
	}
	state.X509, state.SymmetricKey = through(reg)
	if dps.APIVersionReaches(apiVersion, firstVersionWithPayload) {
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

func assignedTo(state *wire.RegistrationState, a dps.Assignment, hub dps.HostName) {
	state.AssignedHub, state.DeviceID, state.Substatus = string(hub), string(a.DeviceID), string(a.Substatus)
}

// commonState leaves the assignment out.
func commonState(reg dps.Registration, apiVersion string) *wire.RegistrationState {
	state := &wire.RegistrationState{
		RegistrationID: string(reg.ID), Status: string(reg.Status), ETag: string(reg.ETag), ConnectionProfile: connectionProfile(apiVersion),
	}
	if reg.Failure != nil {
		state.ErrorCode, state.ErrorMessage = Number(*reg.Failure), reg.Failure.Message
	}
	return state
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
		return nil, dps.Invalidf("registrationId", "must match the registration ID of the connection, %q", id)
	}
	if body.CSR != "" {
		return nil, dps.Invalidf("csr", "is not supported: this service does not issue device certificates")
	}
	payload := compact(body.Payload)
	return payload, dps.CheckNumbers("payload", payload)
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
