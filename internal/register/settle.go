package register

import (
	"context"
	"slices"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/dps"
)

// maxAttempts bounds how often a registration is made anew because another one of
// the same device came between. Each time one of them succeeds, so it takes that
// many calls at once of one device before one is told to come again.
const maxAttempts = 128

// settle works out the outcome of a proved registration and writes it, again and
// again until no other writer came between.
func (s *Service) settle(ctx context.Context, in dps.Instance, req Request, p proof) (dps.Registration, error) {
	var err error
	for attempt := range maxAttempts {
		var c dps.RegistrationChange
		if c, err = s.change(ctx, in, req, p, attempt == 0); err != nil {
			return dps.Registration{}, err
		}
		if err = s.store.Commit(ctx, c); err == nil {
			return c.Registration, nil
		}
		if dps.CodeOf(err) != dps.ConcurrentChange {
			return dps.Registration{}, err
		}
	}
	return dps.Registration{}, err
}

// change works out what one registration writes. A device without a record hardly
// ever has an identity: at the first attempt none is looked for, and writing a second one
// would fail with ConcurrentChange.
func (s *Service) change(ctx context.Context, in dps.Instance, req Request, p proof, first bool) (dps.RegistrationChange, error) {
	prev, err := s.previous(ctx, in.ID, req.ID)
	if err != nil {
		return dps.RegistrationChange{}, err
	}
	c := dps.RegistrationChange{Registration: s.next(in, req, p, prev), IfMatch: prev.ETag}
	if p.disabled() {
		c.Registration.Status = dps.Disabled
		return c, nil
	}
	hubs, err := s.store.Hubs(ctx, in.ID)
	if err != nil {
		return dps.RegistrationChange{}, err
	}
	hub, err := chooseHub(in, req, p.entry, prev, hubs)
	if err != nil {
		return failed(c, err)
	}
	if first && prev.Assignment == nil {
		return s.create(c, p, hub)
	}
	return s.place(ctx, c, p, hub)
}

// failed turns an allocation that found no hub into the outcome of c.
func failed(c dps.RegistrationChange, err error) (dps.RegistrationChange, error) {
	if code := dps.CodeOf(err); code != dps.NoHub {
		return dps.RegistrationChange{}, err
	}
	c.Registration.Status = dps.Failed
	c.Registration.Failure = &dps.Failure{Code: dps.CodeOf(err), Message: dps.MessageOf(err)}
	return c, nil
}

// previous returns the stored record, or a zero one.
func (s *Service) previous(ctx context.Context, in dps.InstanceID, id dps.RegistrationID) (dps.Registration, error) {
	prev, err := s.store.Registration(ctx, in, id)
	if dps.CodeOf(err) == dps.RegistrationNotFound {
		return dps.Registration{}, nil
	}
	return prev, err
}

// next returns the record of a new operation, with the assignment of prev.
func (s *Service) next(in dps.Instance, req Request, p proof, prev dps.Registration) dps.Registration {
	now := s.now()
	reg := dps.Registration{
		Instance: in.ID, ID: req.ID, Entry: p.entry.Ref, Attestation: p.kind, Evidence: p.evidence,
		Assignment: prev.Assignment, Operation: dps.NewOperationID(),
		ETag: dps.NewETag(), Created: prev.Created, Updated: now,
	}
	if prev.ETag == "" {
		reg.Created = now
	} else {
		reg.ID = prev.ID // the first spelling stays
	}
	return reg
}

// chooseHub returns the hub of the device: the one it is on where policy says that
// it stays, else the one that allocation picks.
func chooseHub(in dps.Instance, req Request, e dps.Enrollment, prev dps.Registration, hubs []dps.LinkedHub) (dps.LinkedHub, error) {
	if prev.Assignment != nil && stays(e.Placement.Reprovision, req.APIVersion) {
		i := slices.IndexFunc(hubs, func(h dps.LinkedHub) bool { return h.ID == prev.Assignment.Hub })
		if i >= 0 {
			return hubs[i], nil
		}
	}
	c, err := allocate.Choose(allocate.Request{ID: req.ID, Placement: e.Placement, Default: in.Allocation, Linked: hubs})
	return c.Hub, err
}

// lastStickyVersion is the last device API version whose callers cannot be moved
// unless the enrollment has a reprovision policy.
// Source: azure-docs, articles/iot-dps/concepts-device-reprovision.md, "Backwards compatibility".
const lastStickyVersion = "2018-04-01"

// stays reports whether a device that has a hub keeps it.
func stays(policy *dps.ReprovisionPolicy, apiVersion string) bool {
	if policy != nil {
		return !policy.UpdateHubAssignment
	}
	return apiVersion <= lastStickyVersion
}

// place makes c assign the device to hub: a new identity with the initial twin, or
// the one that is there with its authentication refreshed and its twin kept.
func (s *Service) place(ctx context.Context, c dps.RegistrationChange, p proof, hub dps.LinkedHub) (dps.RegistrationChange, error) {
	reg := &c.Registration
	deviceID := desiredDeviceID(p.entry, *reg)
	device, err := s.store.HubDevice(ctx, reg.Instance, hub.ID, deviceID)
	if dps.CodeOf(err) == dps.DeviceNotFound {
		return s.create(c, p, hub)
	}
	if err != nil {
		return dps.RegistrationChange{}, err
	}
	assign(reg, hub, deviceID, dps.ReprovisionedToInitialAssignment)
	return s.refresh(c, p, device), nil
}

// assign records where the device is. One that was there keeps how it came there.
func assign(reg *dps.Registration, hub dps.LinkedHub, id dps.DeviceID, as dps.Substatus) {
	reg.Status = dps.Assigned
	if reg.Assignment == nil || reg.Assignment.Hub != hub.ID {
		reg.Assignment = &dps.Assignment{Hub: hub.ID, DeviceID: id, Substatus: as}
	}
}

// desiredDeviceID is the ID at the hub: the one that the device has, else the one
// that its individual enrollment asks for, else its registration ID.
func desiredDeviceID(e dps.Enrollment, reg dps.Registration) dps.DeviceID {
	switch {
	case reg.Assignment != nil:
		return reg.Assignment.DeviceID
	case e.DeviceID != "":
		return e.DeviceID
	default:
		return dps.DeviceID(reg.ID)
	}
}

// create makes c write a new identity.
func (s *Service) create(c dps.RegistrationChange, p proof, hub dps.LinkedHub) (dps.RegistrationChange, error) {
	twin, err := dps.ParseInitialTwin(p.entry.InitialTwin)
	if err != nil {
		return dps.RegistrationChange{}, err // checked when the enrollment was written
	}
	deviceID := desiredDeviceID(p.entry, c.Registration)
	assign(&c.Registration, hub, deviceID, dps.InitialAssignment)
	device := dps.NewHubDevice(hub, dps.HubIdentity{DeviceID: deviceID, Authentication: p.hubAuth, IotEdge: edge(p.entry)}, twin, s.now())
	c.Device = &device
	return c, nil
}

// refresh rewrites the identity only where the device proves itself differently or
// has other capabilities than last time: a reboot writes no identity.
func (s *Service) refresh(c dps.RegistrationChange, p proof, device dps.HubDevice) dps.RegistrationChange {
	refreshed, changed := device.Refreshed(dps.HubIdentity{DeviceID: device.DeviceID, Authentication: p.hubAuth, IotEdge: edge(p.entry)}, s.now())
	if changed {
		c.Device, c.DeviceMatch = &refreshed, device.ETag
	}
	return c
}

func edge(e dps.Enrollment) bool { return e.Capabilities != nil && e.Capabilities.IotEdge }
