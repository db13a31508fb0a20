package register

import (
	"context"
	"encoding/hex"
	"log/slog"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// placeRemote creates the identity of a device on a hub over the wire, with its first
// twin or with the one that it brings along. The order of steps leaves the device on
// its old hub until the new one has it and its record says so.
func (s *Service) placeRemote(r *run, j *job, pl plan) (verdict, error) {
	hub := s.hubs.Hub(pl.to)
	if hub.Health().State == dps.HubDown {
		if v, moved, err := s.elsewhere(r, j, pl); moved || err != nil {
			return v, err
		}
	}
	if err := s.leavable(r, j, pl); err != nil {
		return verdict{}, err
	}
	if !j.writes {
		return j.at(true, 0), nil
	}
	if err := hub.Turn(r.waiting); err != nil {
		return verdict{}, err
	}
	s.begin(j)
	ctx, cancel := context.WithTimeout(r.acting, stepTime)
	defer cancel()
	twin, migrated, err := s.firstTwin(ctx, j, pl)
	if err != nil {
		return verdict{}, err
	}
	p, err := s.putIdentity(ctx, r, j, pl, twin)
	if err != nil {
		return verdict{}, err
	}
	c := leave(j.change(), pl)
	c.From = p.from
	assign(&c.Registration, pl.to, p.id, arrival(p.outcome, pl, migrated))
	v, err := s.finish(r.acting, j, c)
	if err != nil && !p.outcome.Existed {
		j.fresh = pl.to.ID
	}
	return v, err
}

// placed is an identity that a hub over the wire has now.
type placed struct {
	id      dps.DeviceID
	from    *dps.Holder // who had it before; nil: nobody
	outcome PutOutcome
}

// putIdentity claims the identity of a device at the hub that it moves to, and writes it
// there with its twin.
func (s *Service) putIdentity(ctx context.Context, r *run, j *job, pl plan, twin dps.Twin) (placed, error) {
	id := j.sub.identity(desiredDeviceID(j.sub.entry, j.reg))
	taken, err := s.taken(ctx, j, pl.to, id.DeviceID)
	if err != nil {
		return placed{}, err
	}
	claim := s.claim(j.item, dps.HubStand{Hub: pl.to.ID, DeviceID: id.DeviceID}, dps.Placing)
	claim.From = taken.from
	before, err := s.store.ClaimPlace(ctx, claim)
	if err != nil {
		return placed{}, err
	}
	stale := !before.Kept && (before.State == dps.Leaving || before.Stale || j.fresh == pl.to.ID)
	ours := before.State == dps.Placing && before.ID.Key() == j.reg.ID.Key()
	outcome, err := s.hubs.Hub(pl.to).Put(ctx, Put{HubIdentity: id, Twin: twin, Ours: ours, Fresh: stale, New: taken.mustBeNew})
	if dps.CodeOf(err) == dps.DeviceExists {
		err = taken.held
	}
	if err != nil {
		return placed{}, s.notPlaced(r, claim, before, outcome, err)
	}
	from := taken.from
	if from == nil && outcome.Existed && taken.operator {
		from = &dps.Holder{}
	}
	return placed{id: id.DeviceID, from: from, outcome: outcome}, nil
}

// takenPlace says whose identity a device gets at a hub over the wire.
type takenPlace struct {
	from      *dps.Holder // another device; nil: none
	operator  bool        // an identity that is there was created by an operator
	mustBeNew bool        // and is not to be taken over
	held      error       // why not
}

// taken finds out whose identity a device takes over at a hub over the wire. It fails with
// a heldError.
func (s *Service) taken(ctx context.Context, j *job, to dps.LinkedHub, id dps.DeviceID) (takenPlace, error) {
	from, err := s.takes(ctx, j.reg, to, id, false)
	if err != nil || from != nil {
		return takenPlace{from: from}, err
	}
	own := j.reg.Assignment != nil && j.reg.Assignment.Place() == dps.HubStand{Hub: to.ID, DeviceID: id}
	h, err := s.store.Holder(ctx, j.reg.Instance, dps.HubStand{Hub: to.ID, DeviceID: id}, j.reg.ID)
	if err != nil || h == nil || own {
		return takenPlace{}, err
	}
	m := dps.IdentityMove{HostName: to.HostName, DeviceID: id, To: dps.Holder{ID: j.reg.ID, Entry: j.reg.Entry}}
	return takenPlace{operator: true, mustBeNew: s.takeover == dps.TakeoverRefuse, held: &heldError{m}}, nil
}

// notPlaced forgets a place at which this attempt, the first one, made nothing for
// sure: what stands there was there before, and is not to be cleaned up. It returns err,
// that of the attempt.
func (s *Service) notPlaced(r *run, claim dps.Claim, before dps.Remnant, outcome PutOutcome, err error) error {
	if before.State != "" || !outcome.Untouched {
		return err
	}
	if failure := s.store.NotPlaced(r.acting, claim); failure != nil {
		s.log.WarnContext(r.acting, "cannot drop the claim on a hub identity that was not created",
			"registrationId", string(claim.ID), "err", failure)
	}
	return err
}

// leavable fails where a device is to bring its data along from a hub that is down: it
// would take turns at the other one in vain.
func (s *Service) leavable(r *run, j *job, pl plan) error {
	if !pl.migrate || pl.from.Kind == dps.KindEmbedded || s.hubs.Hub(*pl.from).Health().State != dps.HubDown {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.acting, stepTime)
	defer cancel()
	_, err := s.oldTwin(ctx, j, *pl.from)
	if dps.CodeOf(err) == dps.DeviceNotFound {
		return nil
	}
	return err
}

// arrival says how a device came to its hub.
func arrival(o PutOutcome, pl plan, migrated bool) dps.Substatus {
	switch {
	case o.Existed:
		return dps.ReprovisionedToInitialAssignment
	case !pl.moves:
		return dps.InitialAssignment
	case migrated:
		return dps.DeviceDataMigrated
	default:
		return dps.DeviceDataReset
	}
}

// begin starts the budget of a job at its first attempt.
func (s *Service) begin(j *job) {
	if j.began.IsZero() {
		j.began = s.now()
	}
}

// claim is a claim of this process on a place.
func (s *Service) claim(it *item, stand dps.HubStand, state dps.RemnantState) dps.Claim {
	now := s.now()
	return dps.Claim{
		Instance: it.instance, HubStand: stand, ID: it.id, State: state, Owner: s.line.owner, Now: now, Until: now.Add(leaseTime),
	}
}

// elsewhere sends a job whose hub is down to another one, where its policy has one
// that is up.
func (s *Service) elsewhere(r *run, j *job, pl plan) (v verdict, moved bool, err error) {
	other, err := s.plan(j.question())
	if err != nil || other.webhook() || other.to.ID == pl.to.ID {
		return verdict{}, false, nil //nolint:nilerr // where no other is to be had, this one will do
	}
	s.log.InfoContext(r.acting, "hub is down; using another one",
		"registrationId", string(j.id), "down", string(pl.to.HostName), "to", string(other.to.HostName))
	v, err = s.head(r, j, other)
	return v, true, err
}

// firstTwin is what the device's twin at a new hub starts with; migrated says that it
// is the old one. A device that is gone from its old hub starts afresh.
func (s *Service) firstTwin(ctx context.Context, j *job, pl plan) (twin dps.Twin, migrated bool, err error) {
	if pl.migrate {
		twin, err = s.oldTwin(ctx, j, *pl.from)
		if err == nil {
			return twin, true, nil
		}
		if dps.CodeOf(err) != dps.DeviceNotFound {
			return twin, false, err
		}
		s.log.InfoContext(ctx, "identity not found at the old hub; using the initial twin",
			"registrationId", string(j.id), "hub", string(pl.from.HostName))
	}
	twin, err = j.sub.initialTwin()
	return twin, false, err
}

// oldTwin reads the twin of a device on the hub that it leaves. It fails with
// DeviceNotFound.
func (s *Service) oldTwin(ctx context.Context, j *job, from dps.LinkedHub) (dps.Twin, error) {
	if from.Kind != dps.KindEmbedded {
		return s.hubs.Hub(from).Twin(ctx, j.reg.Assignment.DeviceID)
	}
	d, err := s.store.HubDevice(ctx, j.reg.Instance, from.ID, j.reg.Assignment.DeviceID)
	return d.Twin, err
}

// refreshRemote makes the hub on which a device stands know how the device proves
// itself now. One that knows already is not written to: most registrations are reboots.
func (s *Service) refreshRemote(r *run, j *job, pl plan) (verdict, error) {
	hub := s.hubs.Hub(pl.to)
	id := j.sub.identity(j.reg.Assignment.DeviceID)
	if !j.writes {
		s.begin(j)
		ctx, cancel := context.WithTimeout(r.acting, stepTime)
		defer cancel()
		holds, err := hub.Holds(ctx, id)
		if err != nil {
			return verdict{}, err
		}
		if !holds {
			j.began = time.Time{} // it waits for its turn now
			return j.at(true, 0), nil
		}
		return s.stay(r, j, pl)
	}
	if err := hub.Turn(r.waiting); err != nil {
		return verdict{}, err
	}
	s.begin(j)
	ctx, cancel := context.WithTimeout(r.acting, stepTime)
	defer cancel()
	twin, err := j.sub.initialTwin()
	if err != nil {
		return verdict{}, err
	}
	// Claimed, though the device stands there by its record: should this process be
	// killed, what it sent may arrive after the device has moved away.
	claim := s.claim(j.item, dps.HubStand{Hub: pl.to.ID, DeviceID: id.DeviceID}, dps.Placing)
	if claim.From, err = s.takes(ctx, j.reg, pl.to, id.DeviceID, false); err != nil {
		return verdict{}, err
	}
	if _, err := s.store.ClaimPlace(ctx, claim); err != nil {
		return verdict{}, err
	}
	if _, err := hub.Put(ctx, Put{HubIdentity: id, Twin: twin}); err != nil {
		return verdict{}, err
	}
	return s.stay(r, j, pl)
}

// stay records that a device is where it was.
func (s *Service) stay(r *run, j *job, pl plan) (verdict, error) {
	c := j.change()
	var err error
	if c.From, err = s.takes(r.acting, j.reg, pl.to, j.reg.Assignment.DeviceID, false); err != nil {
		return verdict{}, err
	}
	assign(&c.Registration, pl.to, j.reg.Assignment.DeviceID, j.reg.Assignment.Substatus)
	return s.finish(r.acting, j, c)
}

// arrive takes a device from a hub over the wire into an embedded one.
func (s *Service) arrive(r *run, j *job, pl plan) (verdict, error) {
	if pl.local() {
		return s.head(r, j, pl)
	}
	id := j.sub.identity(desiredDeviceID(j.sub.entry, j.reg))
	_, err := s.store.HubDevice(r.acting, j.reg.Instance, pl.to.ID, id.DeviceID)
	if err != nil && dps.CodeOf(err) != dps.DeviceNotFound {
		return verdict{}, err
	}
	absent := err != nil
	s.begin(j)
	ctx, cancel := context.WithTimeout(r.acting, stepTime)
	defer cancel()
	if absent {
		twin, migrated, err := s.firstTwin(ctx, j, pl)
		if err != nil {
			return verdict{}, err
		}
		if migrated {
			return s.bringTwin(r, j, pl, id, twin)
		}
	}
	pl.migrate = false
	c, err := s.place(ctx, j.change(), j.sub, pl, false)
	if err != nil {
		return verdict{}, err
	}
	return s.finish(r.acting, j, c)
}

// bringTwin creates the identity of a device in an embedded hub, with the twin that it
// had on the hub that it leaves.
func (s *Service) bringTwin(r *run, j *job, pl plan, id dps.HubIdentity, twin dps.Twin) (verdict, error) {
	c := leave(j.change(), pl)
	var err error
	if c.From, err = s.takes(r.acting, j.reg, pl.to, id.DeviceID, false); err != nil {
		return verdict{}, err
	}
	if twin.Reported == nil {
		twin.Reported = []byte(`{}`) // a twin that was moved has its section, if an empty one
	}
	device := dps.NewHubDevice(pl.to, id, twin, s.now())
	c.Device = &device
	assign(&c.Registration, pl.to, id.DeviceID, dps.DeviceDataMigrated)
	return s.finish(r.acting, j, c)
}

// certificateCredential is the authentication of a device that showed the certificate
// of a fingerprint.
func certificateCredential(fingerprint string) (dps.HubAuthentication, bool) {
	text, ok := strings.CutPrefix(fingerprint, fingerprintScheme)
	raw, err := hex.DecodeString(text)
	if !ok || err != nil || len(raw) != len(dps.Thumbprint{}) {
		return dps.HubAuthentication{}, false
	}
	return dps.SelfSigned(dps.Thumbprint(raw)), true
}

// HubHealth says how the linked hubs of an instance are doing, and how many
// registrations wait for each.
func (s *Service) HubHealth(ctx context.Context, in dps.InstanceID) (map[dps.HubID]dps.HubHealth, error) {
	hubs, err := s.store.Hubs(ctx, in)
	if err != nil {
		return nil, err
	}
	all := make(map[dps.HubID]dps.HubHealth, len(hubs))
	for _, h := range hubs {
		health := dps.HubHealth{State: dps.HubUp}
		if h.Kind != dps.KindEmbedded {
			health = s.hubs.Hub(h).Health()
		}
		health.Waiting, health.Wait = s.line.counts(laneKey{in, h.ID})
		all[h.ID] = health
	}
	return all, nil
}

// Remnants returns up to limit identities that may stand at a hub over the wire beside
// the ones in the records, behind the place after (nil: from the start), sorted by hub
// and device ID.
func (s *Service) Remnants(
	ctx context.Context,
	in dps.InstanceID,
	state dps.RemnantState,
	limit int,
	after *dps.HubStand,
) ([]dps.Remnant, error) {
	return s.store.Remnants(ctx, in, state, limit, after)
}

// logCleanup tells what became of an identity to clean up.
func (s *Service) logCleanup(ctx context.Context, r dps.Remnant, message string, err error) {
	attrs := []any{slog.String("registrationId", string(r.ID)), slog.String("hub", string(r.Hub)), slog.String("deviceId", string(r.DeviceID))}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	s.log.InfoContext(ctx, message, attrs...)
}
