package translate

import (
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
	return state
}

// lastVersionWithoutReturn is the last device API version that does not know the
// sub-status reprovisionedToInitialAssignment.
// Source: azure-iot-sdk-java, ProvisioningDeviceClientSubstatus.java.
const lastVersionWithoutReturn = "2019-03-31"

// DeviceState writes a registration as a device of an API version sees it.
func DeviceState(reg dps.Registration, hub dps.HostName, apiVersion string) *wire.RegistrationState {
	state := commonState(reg, hub)
	state.CreatedDateTimeUTC, state.LastUpdatedDateTimeUTC = deviceTime(reg.Created), deviceTime(reg.Updated)
	if state.Substatus == string(dps.ReprovisionedToInitialAssignment) && apiVersion <= lastVersionWithoutReturn {
		state.Substatus = string(dps.InitialAssignment)
	}
	if reg.Attestation == dps.X509 {
		state.X509 = &wire.EntryReference{}
		if reg.Entry.Kind == dps.Group {
			state.X509.EnrollmentGroupID = reg.Entry.ID
		}
	}
	return state
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
		state.ErrorCode, state.ErrorMessage = Number(reg.Failure.Code), reg.Failure.Message
	}
	return state
}
