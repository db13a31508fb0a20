package register

import (
	"context"
	"errors"
	"log/slog"

	"github.com/mooring-iot/mooring/internal/dps"
)

// checkHolder names the check of whose identity a device is about to get.
const checkHolder = "hub identity"

// heldError is why a device does not get an identity: it belongs to another enrollment,
// which keeps it.
type heldError struct{ move dps.IdentityMove }

// Error says who has the identity.
func (e *heldError) Error() string {
	return "identity " + string(e.move.DeviceID) + " at " + string(e.move.HostName) + " belongs to " + e.owner()
}

func (e *heldError) owner() string {
	from, to := e.move.From, e.move.To
	if from.Operator() || from.ID.Key() == to.ID.Key() {
		return from.String()
	}
	return "device " + string(from.ID) + " of " + from.String()
}

// Unwrap returns what the failure is to a device that polls for the outcome.
func (e *heldError) Unwrap() error {
	return dps.Errorf(dps.Unauthorized, "The hub identity %s belongs to another enrollment.", e.move.DeviceID)
}

// refuse ends a decision that was good so far.
func (e *heldError) refuse(d *dps.Decision) {
	remedy := "Delete the registration record of " + string(e.move.From.ID) + ", or disable or delete the " + e.move.From.String() + "."
	if e.move.From.Operator() {
		remedy = "Delete the identity at the hub, or give the device another ID."
	}
	d.Refuse(checkHolder, e.Error(), dps.Verdict{Reason: dps.ReasonIdentityHeld, Answer: "Unauthorized", Remedy: remedy})
}

// refuseHeld records why a device does not get an identity, and returns what it is told.
func (s *Service) refuseHeld(ctx context.Context, in dps.InstanceID, req Request, d *dps.Decision, m dps.IdentityMove) error {
	r := s.refusal(in, req, d)
	r.Move = &m
	s.keep(r)
	s.log.InfoContext(ctx, "registration refused", append(requestAttrs(req), slog.Any("decision", d))...)
	return dps.Errorf(d.Reason.Code(), "%s", d.Answer)
}

// mayTake fails with a heldError where a device must not take over what another holder
// has.
func (s *Service) mayTake(ctx context.Context, in dps.InstanceID, m dps.IdentityMove) error {
	if s.takeover != dps.TakeoverRefuse {
		return nil
	}
	if m.From.Operator() {
		return &heldError{m}
	}
	e, err := s.store.Enrollment(ctx, in, m.From.Entry)
	switch code := dps.CodeOf(err); {
	case code == dps.EnrollmentNotFound || code == dps.GroupNotFound:
		return nil
	case err != nil:
		return err
	case e.Disabled():
		return nil
	}
	return &heldError{m}
}

// mayReplace fails with a heldError where the enrollment that assigned a device keeps it
// from the one that decides now. An individual enrollment is made for this very device:
// its operator has released it.
func (s *Service) mayReplace(ctx context.Context, prev dps.Registration, now dps.EntryRef, hubs []dps.LinkedHub) error {
	m := replacement(prev, now, hubs)
	if m == nil || now.Kind == dps.Individual {
		return nil
	}
	return s.mayTake(ctx, prev.Instance, *m)
}

// mayLookUp refuses a device its record where another enrollment keeps it.
func (s *Service) mayLookUp(ctx context.Context, in dps.InstanceID, req Request, reg dps.Registration, p proof) error {
	if s.takeover != dps.TakeoverRefuse || p.disabled() {
		return nil
	}
	hubs, err := s.store.Hubs(ctx, in)
	if err != nil {
		return err
	}
	err = s.mayReplace(ctx, reg, p.entry.Ref, hubs)
	held, ok := errors.AsType[*heldError](err)
	if !ok {
		return err
	}
	held.refuse(p.decision)
	return s.refuseHeld(ctx, in, req, p.decision, held.move)
}

// replacement is the move of a device's own identity to another enrollment, nil where it
// keeps its own.
func replacement(prev dps.Registration, now dps.EntryRef, hubs []dps.LinkedHub) *dps.IdentityMove {
	a := prev.Assignment
	if a == nil || a.TakenBy != "" {
		return nil
	}
	from, to := dps.Holder{ID: prev.ID, Entry: a.Entry}, dps.Holder{ID: prev.ID, Entry: now}
	if from.Same(to) {
		return nil
	}
	return &dps.IdentityMove{HostName: hostOf(hubs, a.Hub), DeviceID: a.DeviceID, From: from, To: to}
}

func hostOf(hubs []dps.LinkedHub, id dps.HubID) dps.HostName {
	if h := hubByID(hubs, id); h != nil {
		return h.HostName
	}
	return dps.HostName(id)
}

// takes returns whose identity the device of reg takes over at a place, nil if nobody's;
// there says whether the identity is known to be there. It fails with a heldError.
func (s *Service) takes(ctx context.Context, reg dps.Registration, hub dps.LinkedHub, id dps.DeviceID, there bool) (*dps.Holder, error) {
	at := dps.HubStand{Hub: hub.ID, DeviceID: id}
	if a := reg.Assignment; a != nil && a.Place() == at && a.TakenBy == "" {
		return nil, nil //nolint:nilnil // its own
	}
	h, err := s.store.Holder(ctx, reg.Instance, at, reg.ID)
	if err != nil || h == nil || h.Operator() && !there {
		return nil, err
	}
	m := dps.IdentityMove{HostName: hub.HostName, DeviceID: id, From: *h, To: dps.Holder{ID: reg.ID, Entry: reg.Entry}}
	return h, s.mayTake(ctx, reg.Instance, m)
}

// moves returns the identities that change hands with c, which replaces prev.
func moves(prev dps.Registration, c dps.RegistrationChange, hubs []dps.LinkedHub) []dps.IdentityMove {
	reg := c.Registration
	if reg.Status != dps.Assigned {
		return nil
	}
	var all []dps.IdentityMove
	if m := replacement(prev, reg.Entry, hubs); m != nil {
		all = append(all, *m)
	}
	if c.From != nil {
		all = append(all, dps.IdentityMove{
			HostName: hostOf(hubs, reg.Assignment.Hub), DeviceID: reg.Assignment.DeviceID,
			From: *c.From, To: dps.Holder{ID: reg.ID, Entry: reg.Entry},
		})
	}
	return all
}

// keepMoves tells of identities that changed hands.
func (s *Service) keepMoves(ctx context.Context, r dps.Refusal, all []dps.IdentityMove) {
	for _, m := range all {
		r.Move = &m
		r.Decision.Checks = append(r.Decision.Checks[:len(r.Decision.Checks):len(r.Decision.Checks)],
			dps.Check{Name: checkHolder, OK: true, Detail: m.String() + " at " + string(m.HostName)})
		r.Decision.Reason, r.Decision.Answer = dps.ReasonIdentityMoved, string(dps.Assigned)
		r.Decision.Remedy = "If this was not intended, disable the " + m.To.String()
		if s.takeover != dps.TakeoverRefuse {
			r.Decision.Remedy += " and start the service with --takeover refuse"
		}
		r.Decision.Remedy += "."
		s.keep(r)
		s.log.WarnContext(ctx, m.String(), "hub", string(m.HostName),
			"registrationId", string(r.ID), "remote", r.Remote, "trackingId", r.TrackingID)
	}
}

// call describes the call that an open registration came from.
func (j *job) call(s *Service) dps.Refusal {
	return dps.Refusal{
		Instance: j.reg.Instance, TrackingID: j.work.TrackingID, Time: s.now(), ID: j.reg.ID, Attestation: j.reg.Attestation,
		Transport: j.work.Transport, Remote: j.work.Remote, Decision: dps.Decision{Entry: j.reg.Entry},
	}
}
