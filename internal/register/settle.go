package register

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// maxAttempts bounds how often a registration is made anew because another change of the
// same device came between. Registrations of one device wait for each other, so that only
// a step at its hub, another process or an operator does.
const maxAttempts = 128

// settle works out the outcome of a proved registration and writes it, again and
// again until no other writer came between. What has to be done at a hub over the
// wire is left open.
//
// Where the enrollment was changed meanwhile, the device is attested anew, and p is what
// that shows; settle fails with errUnproved where the device is refused.
func (s *Service) settle(ctx context.Context, in dps.Instance, req Request, p *proof) (dps.Registration, error) {
	if p.refused() {
		return dps.Registration{}, errUnproved
	}
	unlock, err := s.devices.Lock(ctx, deviceKey{in.ID, req.ID.Key()})
	if err != nil {
		return dps.Registration{}, err
	}
	defer unlock()
	for attempt := range maxAttempts {
		var c dps.RegistrationChange
		var joined bool
		if c, joined, err = s.change(ctx, in, req, *p, attempt == 0); err != nil || joined {
			return c.Registration, err
		}
		if err = s.store.Commit(ctx, c); err == nil {
			s.recent.keep(c.Registration, s.now())
			if len(c.Moves) > 0 {
				s.keepMoves(ctx, s.refusal(in.ID, req, p.decision), c.Moves)
			}
			if c.Work != nil {
				s.line.add(*c.Work, c.Registration.Assignment)
			}
			return c.Registration, nil
		}
		if dps.CodeOf(err) != dps.ConcurrentChange {
			return dps.Registration{}, err
		}
		if err := s.renew(ctx, in, req, p); err != nil {
			return dps.Registration{}, err
		}
	}
	return dps.Registration{}, err
}

// errUnproved is why nothing was written for a device that was refused.
var errUnproved = errors.New("the device is refused")

// renew attests a device anew where the enrollment that decided was changed.
func (s *Service) renew(ctx context.Context, in dps.Instance, req Request, p *proof) error {
	e, err := s.store.Enrollment(ctx, in.ID, p.entry.Ref)
	switch code := dps.CodeOf(err); {
	case err == nil && e.ETag == p.entry.ETag:
		return nil
	case err != nil && code != dps.EnrollmentNotFound && code != dps.GroupNotFound:
		return err
	}
	if *p, err = s.prove(ctx, in, req); err == nil && p.refused() {
		err = errUnproved
	}
	return err
}

// change works out what one registration writes; joined says that nothing is to be
// written, since the same request is under way. A device without a record hardly ever
// has an identity: at the first attempt none is looked for, and writing a second one
// would fail with ConcurrentChange.
func (s *Service) change(
	ctx context.Context,
	in dps.Instance,
	req Request,
	p proof,
	first bool,
) (c dps.RegistrationChange, joined bool, err error) {
	prev, err := s.previous(ctx, in.ID, req.ID)
	if err != nil {
		return c, false, err
	}
	c = dps.RegistrationChange{Registration: s.next(in, req, p, prev), IfMatch: prev.ETag, WasOpen: prev.Status == dps.Assigning}
	c.EntryMatch = p.entry.ETag
	c.TrackingID, c.Remote = req.TrackingID, req.Remote
	if p.disabled() {
		c.Registration.Status = dps.Disabled
		return c, false, nil
	}
	open, err := s.openWork(ctx, prev)
	if err != nil {
		return c, false, err
	}
	if open != nil && sameCall(*open, req) && prev.Entry == p.entry.Ref && prev.Evidence == p.evidence {
		c.Registration = prev
		return c, true, nil
	}
	c, err = s.decide(ctx, in, req, p, before{prev, open}, c, first)
	return c, false, err
}

// before is what was stored of a device when it registered.
type before struct {
	record dps.Registration // zero without one
	open   *dps.Work        // what an open registration still has to do; else nil
}

// decide selects the hub of a device that proved itself, and makes c place it there or
// leave the registration open.
func (s *Service) decide(
	ctx context.Context,
	in dps.Instance,
	req Request,
	p proof,
	was before,
	c dps.RegistrationChange,
	first bool,
) (dps.RegistrationChange, error) {
	prev := was.record
	hubs, err := s.store.Hubs(ctx, in.ID)
	if err != nil {
		return c, err
	}
	if err := s.mayReplace(ctx, prev, p.entry.Ref, hubs); err != nil {
		return c, err
	}
	pl, err := s.plan(question{
		in: in, id: req.ID, entry: p.entry, assignment: prev.Assignment, apiVersion: req.APIVersion, remote: remoteAddr(req.Remote), hubs: hubs,
	})
	switch {
	case dps.CodeOf(err) == dps.NoHub:
		return failed(c, err), nil
	case err != nil:
		return c, err
	case pl.webhook() || !pl.local():
		if !pl.webhook() {
			_, err = s.takes(ctx, c.Registration, pl.to, desiredDeviceID(p.entry, c.Registration), false)
		}
		if err == nil {
			c, err = s.open(c, req, p, pl, was.open)
		}
		return c, err
	}
	c, err = s.place(ctx, c, subject{entry: p.entry, auth: p.hubAuth}, pl, first)
	c.Moves = moves(prev, c, hubs)
	return c, err
}

// openWork returns what a record still has to do; nil if it is not Assigning, or if that
// was done meanwhile.
func (s *Service) openWork(ctx context.Context, reg dps.Registration) (*dps.Work, error) {
	if reg.Status != dps.Assigning {
		return nil, nil
	}
	w, err := s.store.Work(ctx, reg.Instance, reg.ID)
	if dps.CodeOf(err) == dps.OperationNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// sameCall reports whether a request asks for what is under way.
func sameCall(w dps.Work, req Request) bool {
	return w.ID == req.ID && w.APIVersion == req.APIVersion && bytes.Equal(w.Payload, req.Payload)
}

// failed makes err the outcome of c.
func failed(c dps.RegistrationChange, err error) dps.RegistrationChange {
	c.Registration.Status, c.Registration.Failure = dps.Failed, dps.FailureOf(err)
	return c
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

// open makes c leave the registration open. A device that asks anew keeps its place
// in the line.
func (s *Service) open(c dps.RegistrationChange, req Request, p proof, pl plan, before *dps.Work) (dps.RegistrationChange, error) {
	lane := laneKey{c.Registration.Instance, pl.to.ID}
	if pl.to.Kind == dps.KindIoTHub {
		s.line.meet(lane, s.hubs.Hub(pl.to))
	}
	if err := s.line.room(lane); err != nil {
		return c, err
	}
	c.Registration.Status = dps.Assigning
	c.Work = &dps.Work{
		Instance: c.Registration.Instance, ID: req.ID, Operation: c.Registration.Operation,
		APIVersion: req.APIVersion, Payload: req.Payload,
		Remote: req.Remote, TrackingID: req.TrackingID, Transport: req.Transport,
		Hub: pl.to.ID, Since: s.now(),
	}
	if p.kind == dps.X509 && pl.webhook() {
		c.Work.Certificate = &dps.Certificate{DER: req.Evidence.Chain[0].Raw}
	}
	if p.kind == dps.SymmetricKey && p.entry.Ref.Kind == dps.Group {
		c.Work.KeyOf = keyOf(p, req.ID)
	}
	if before != nil {
		c.Work.Since = before.Since
	}
	return c, nil
}

// keyOf is the spelling of the ID under which a proved device derived its key.
func keyOf(p proof, id dps.RegistrationID) dps.RegistrationID {
	as := dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: attest.DerivedKeys(*p.entry.Attestation.SymmetricKey, id)}
	if p.hubAuth.Equal(as) {
		return id
	}
	return dps.RegistrationID(id.Key())
}

// subject is a device that is to be placed.
type subject struct {
	entry dps.Enrollment
	auth  dps.HubAuthentication // how it will prove itself to its hub
	twin  json.RawMessage       // initial twin by a webhook; nil: that of the enrollment
}

// identity is what a hub shall know of the subject.
func (s subject) identity(id dps.DeviceID) dps.HubIdentity {
	return dps.HubIdentity{
		DeviceID: id, Authentication: s.auth, IotEdge: s.entry.Capabilities != nil && s.entry.Capabilities.IotEdge,
	}
}

// initialTwin is what the subject's twin starts with. It was checked when it was
// written.
func (s subject) initialTwin() (dps.Twin, error) {
	if s.twin != nil {
		return dps.ParseInitialTwin(s.twin)
	}
	return dps.ParseInitialTwin(s.entry.InitialTwin)
}

// place makes c assign the device to an embedded hub, with all that changes in the
// store: a new identity with its first twin, or with the one that follows it from
// another embedded hub; or the one that is there with its authentication refreshed
// and its twin kept.
func (s *Service) place(ctx context.Context, c dps.RegistrationChange, sub subject, pl plan, first bool) (dps.RegistrationChange, error) {
	reg := &c.Registration
	id := sub.identity(desiredDeviceID(sub.entry, *reg))
	if first && reg.Assignment == nil {
		return s.create(c, sub, pl.to, id, dps.InitialAssignment)
	}
	device, err := s.store.HubDevice(ctx, reg.Instance, pl.to.ID, id.DeviceID)
	if err != nil && dps.CodeOf(err) != dps.DeviceNotFound {
		return dps.RegistrationChange{}, err
	}
	there := err == nil
	if c.From, err = s.takes(ctx, *reg, pl.to, id.DeviceID, there); err != nil {
		return dps.RegistrationChange{}, err
	}
	switch {
	case there:
		c = s.refresh(c, device, id)
		c = leave(c, pl)
		assign(&c.Registration, pl.to, id.DeviceID, dps.ReprovisionedToInitialAssignment)
		return c, nil
	case !pl.moves:
		return s.create(c, sub, pl.to, id, dps.InitialAssignment)
	case pl.migrate && pl.from.Kind == dps.KindEmbedded:
		return s.migrate(ctx, c, sub, pl, id)
	}
	c = leave(c, pl)
	return s.create(c, sub, pl.to, id, dps.DeviceDataReset)
}

// migrate makes c move an identity with its twin from one embedded hub to another.
// Where there is none any more, the device starts afresh.
func (s *Service) migrate(
	ctx context.Context,
	c dps.RegistrationChange,
	sub subject,
	pl plan,
	id dps.HubIdentity,
) (dps.RegistrationChange, error) {
	old, err := s.store.HubDevice(ctx, c.Registration.Instance, pl.from.ID, c.Registration.Assignment.DeviceID)
	if err != nil && dps.CodeOf(err) != dps.DeviceNotFound {
		return dps.RegistrationChange{}, err
	}
	c = leave(c, pl)
	if err != nil {
		return s.create(c, sub, pl.to, id, dps.DeviceDataReset)
	}
	moved := old.MovedTo(pl.to, id, s.now())
	c.Device = &moved
	assign(&c.Registration, pl.to, id.DeviceID, dps.DeviceDataMigrated)
	return c, nil
}

// leave makes c give up the place on the hub that the device moves away from.
func leave(c dps.RegistrationChange, pl plan) dps.RegistrationChange {
	if !pl.moves || pl.from == nil {
		return c
	}
	stand := dps.HubStand{Hub: pl.from.ID, DeviceID: c.Registration.Assignment.DeviceID}
	if pl.from.Kind == dps.KindEmbedded {
		c.Removed = &stand
	} else {
		c.Leaving = &stand
	}
	return c
}

// assign records where the device is. One that was there keeps how it came there.
func assign(reg *dps.Registration, hub dps.LinkedHub, id dps.DeviceID, as dps.Substatus) {
	reg.Status = dps.Assigned
	a := dps.Assignment{Hub: hub.ID, DeviceID: id, Substatus: as}
	if reg.Assignment != nil && reg.Assignment.Hub == hub.ID {
		a = *reg.Assignment
	}
	a.Entry, a.TakenBy = reg.Entry, ""
	reg.Assignment = &a
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
func (s *Service) create(
	c dps.RegistrationChange,
	sub subject,
	hub dps.LinkedHub,
	id dps.HubIdentity,
	as dps.Substatus,
) (dps.RegistrationChange, error) {
	twin, err := sub.initialTwin()
	if err != nil {
		return dps.RegistrationChange{}, err
	}
	assign(&c.Registration, hub, id.DeviceID, as)
	device := dps.NewHubDevice(hub, id, twin, s.now())
	c.Device = &device
	return c, nil
}

// refresh rewrites the identity only where the device proves itself differently or
// has other capabilities than last time: a reboot writes no identity.
func (s *Service) refresh(c dps.RegistrationChange, device dps.HubDevice, id dps.HubIdentity) dps.RegistrationChange {
	if refreshed, changed := device.Refreshed(id, s.now()); changed {
		c.Device, c.DeviceMatch = &refreshed, device.ETag
	}
	return c
}
