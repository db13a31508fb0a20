package enroll

import (
	"context"
	"fmt"
	"slices"

	"github.com/mooring-iot/mooring/internal/dps"
)

// IdentityStore knows who has which identity at a hub.
type IdentityStore interface {
	// EnrollmentsByDeviceID returns up to limit individual enrollments whose device has
	// id at its hub, sorted by ID.
	EnrollmentsByDeviceID(ctx context.Context, in dps.InstanceID, id dps.DeviceID, limit int) ([]dps.Enrollment, error)

	// FindRegistrations returns up to limit records that f selects.
	FindRegistrations(ctx context.Context, in dps.InstanceID, f dps.RegistrationFilter, limit int,
		after *dps.Cursor) ([]dps.Registration, error)

	// Hubs returns the linked hubs.
	Hubs(ctx context.Context, in dps.InstanceID) ([]dps.LinkedHub, error)

	// HubDevice returns an identity of an embedded hub. It fails with DeviceNotFound.
	HubDevice(ctx context.Context, in dps.InstanceID, hub dps.HubID, id dps.DeviceID) (dps.HubDevice, error)

	// Holder returns whose an identity is, other than id's: nil if nobody's.
	Holder(ctx context.Context, in dps.InstanceID, at dps.HubStand, id dps.RegistrationID) (*dps.Holder, error)
}

// mostCollisions bounds how many other claimants of an identity are named.
const mostCollisions = 3

// latestWins says what happens to an identity that two devices want.
const latestWins = "whichever registers last gets the identity, unless the service runs with --takeover refuse"

// collisions says who else wants, or has, the identity that the device of an individual
// enrollment is going to have. Which devices a group lets in is not known beforehand.
func (s *Service) collisions(ctx context.Context, e dps.Enrollment) []string {
	if e.Ref.Kind != dps.Individual || e.Disabled() {
		return nil
	}
	c := collision{Service: s, ctx: ctx, e: e, id: e.DeviceID}
	if c.id == "" {
		c.id = dps.DeviceID(e.Ref.ID)
	}
	var err error
	if c.hubs, err = s.store.Hubs(ctx, e.Instance); err != nil {
		return nil
	}
	return slices.Concat(c.own(), c.enrolled(), c.assigned(), c.created())
}

// collision looks for the claimants of one identity. What storage does not answer is
// left out.
type collision struct {
	*Service
	ctx  context.Context
	e    dps.Enrollment
	id   dps.DeviceID
	hubs []dps.LinkedHub
}

// own warns of a device that is assigned through another enrollment.
func (c collision) own() []string {
	filter := dps.RegistrationFilter{IDs: []dps.RegistrationID{dps.RegistrationID(c.e.Ref.ID)}}
	found, err := c.store.FindRegistrations(c.ctx, c.e.Instance, filter, 1, nil)
	if err != nil || len(found) == 0 || found[0].Assignment == nil || found[0].Assignment.TakenBy != "" {
		return nil
	}
	a := found[0].Assignment
	if a.Entry.Kind == c.e.Ref.Kind && a.Entry.Key() == c.e.Ref.Key() {
		return nil
	}
	return []string{fmt.Sprintf("registrationId: the device %s is assigned to %s through the %s; "+
		"it moves to this enrollment when it registers again",
		c.e.Ref.ID, c.host(a.Hub), a.Entry)}
}

// enrolled warns of enrollments that ask for the same device ID, and may lead to the same
// hub.
func (c collision) enrolled() []string {
	found, err := c.store.EnrollmentsByDeviceID(c.ctx, c.e.Instance, c.id, mostCollisions+1)
	if err != nil {
		return nil
	}
	var all []string
	for _, other := range found {
		if other.Ref.Key() == c.e.Ref.Key() || len(all) == mostCollisions || !mayMeet(c.e.Placement, other.Placement) {
			continue
		}
		all = append(all, fmt.Sprintf("deviceId: the %s has the device ID %q too; %s", other.Ref, c.id, latestWins))
	}
	return all
}

// mayMeet reports whether two placements may lead to one hub.
func mayMeet(a, b dps.Placement) bool {
	hubs := func(p dps.Placement) []dps.HostName {
		if len(p.IotHubs) == 0 && p.HubHostName != "" {
			return []dps.HostName{p.HubHostName}
		}
		return p.IotHubs
	}
	first, second := hubs(a), hubs(b)
	if len(first) == 0 || len(second) == 0 {
		return true
	}
	return slices.ContainsFunc(first, func(h dps.HostName) bool {
		return slices.ContainsFunc(second, h.Equal)
	})
}

// assigned warns of devices of groups that have the identity already.
func (c collision) assigned() []string {
	found, err := c.store.FindRegistrations(c.ctx, c.e.Instance, dps.RegistrationFilter{DeviceID: c.id}, mostCollisions+1, nil)
	if err != nil {
		return nil
	}
	var all []string
	for _, reg := range found {
		a := reg.Assignment
		if reg.ID.Key() == c.e.Ref.Key() || a == nil || a.TakenBy != "" || a.Entry.Kind == dps.Individual || len(all) == mostCollisions {
			continue // those of individual enrollments are named as such
		}
		if !mayMeet(c.e.Placement, dps.Placement{IotHubs: []dps.HostName{c.host(a.Hub)}}) {
			continue
		}
		all = append(all, fmt.Sprintf("deviceId: the device %s of the %s is assigned to %s with the device ID %q; %s",
			reg.ID, a.Entry, c.host(a.Hub), c.id, latestWins))
	}
	return all
}

// created warns of identities that an operator created at an embedded hub.
func (c collision) created() []string {
	var all []string
	for _, h := range c.hubs {
		if h.Kind != dps.KindEmbedded || !mayMeet(c.e.Placement, dps.Placement{IotHubs: []dps.HostName{h.HostName}}) {
			continue
		}
		if _, err := c.store.HubDevice(c.ctx, c.e.Instance, h.ID, c.id); err != nil {
			continue
		}
		holder, err := c.store.Holder(c.ctx, c.e.Instance, dps.HubStand{Hub: h.ID, DeviceID: c.id}, "")
		if err != nil || holder == nil || !holder.Operator() {
			continue
		}
		all = append(all, fmt.Sprintf("deviceId: the hub %s has an identity %q that an operator created; "+
			"the device takes it over when it registers, "+
			"unless the service runs with --takeover refuse", h.HostName, c.id))
	}
	return all
}

// host returns the name of a hub, or its ID where it is no longer linked.
func (c collision) host(id dps.HubID) dps.HostName {
	if i := slices.IndexFunc(c.hubs, func(h dps.LinkedHub) bool { return h.ID == id }); i >= 0 {
		return c.hubs[i].HostName
	}
	return dps.HostName(id)
}
