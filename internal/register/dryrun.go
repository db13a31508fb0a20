package register

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/dps"
)

// DryRunQuestion asks which hub a device would get, were it to register now.
type DryRunQuestion struct {
	ID          dps.RegistrationID
	Entry       dps.EntryRef    // zero: the individual enrollment of ID, else the group of its record
	Remote      netip.Addr      // where the device would call from; the zero Addr is unknown
	APIVersion  string          // that the device would speak
	Payload     json.RawMessage // that the device would send; nil if none
	CallWebhook bool            // whether a webhook that decides is asked; else it is only named
}

// DryRunOutcome is what would become of a registration.
type DryRunOutcome string

// The outcomes.
const (
	WouldAssign   DryRunOutcome = "assigned"  // it has no hub, and gets one
	WouldStay     DryRunOutcome = "stays"     // it keeps its hub
	WouldMove     DryRunOutcome = "moves"     // it gets another hub
	WouldAsk      DryRunOutcome = "undecided" // the webhook decides, and was not asked
	WouldFail     DryRunOutcome = "failed"
	WouldDisabled DryRunOutcome = "disabled" // the enrollment is disabled
)

// DryRunOutcomes returns every outcome.
func DryRunOutcomes() []DryRunOutcome {
	return []DryRunOutcome{WouldAssign, WouldStay, WouldMove, WouldAsk, WouldFail, WouldDisabled}
}

// DryRunData is what would become of the device's twin.
type DryRunData string

// What can become of a twin.
const (
	DataInitial  DryRunData = "initialTwin" // the twin is new
	DataKept     DryRunData = "kept"        // the twin that stands at the hub stays
	DataMigrated DryRunData = "migrated"    // it follows to the new hub
	DataReset    DryRunData = "reset"       // it is left behind: the twin is new
)

// DryRunAnswer is what would become of a registration, and why.
type DryRunAnswer struct {
	Entry      dps.EntryRef // the enrollment that would decide
	Outcome    DryRunOutcome
	Policy     dps.AllocationPolicy
	Candidates []dps.HostName
	Steps      []allocate.Step

	Hub       dps.HostName // "" unless the device is assigned, stays or moves
	DeviceID  dps.DeviceID
	Substatus dps.Substatus
	Data      DryRunData
	Failure   *dps.Failure // why it would fail

	Current *DryRunStand // where the device is now; nil if it is nowhere

	Twin    json.RawMessage // initial twin by the webhook; nil: that of the enrollment
	Payload json.RawMessage // for the device by the webhook; nil if none
}

// DryRunStand is where a device is.
type DryRunStand struct {
	Hub       dps.HostName // "" if the hub is no longer linked
	DeviceID  dps.DeviceID
	Substatus dps.Substatus
}

// Steps of a dry run besides those of allocation.
const (
	StepEnrollment  allocate.StepName = "enrollment"
	StepReprovision allocate.StepName = "reprovision"
	StepWebhook     allocate.StepName = "webhook"
	StepIdentity    allocate.StepName = "identity"
)

// dryRunPatience is how long a webhook is waited for, once: somebody waits for the answer.
const dryRunPatience = 20 * time.Second

// dryRun is one of them under way.
type dryRun struct {
	service *Service
	q       DryRunQuestion
	in      dps.Instance
	entry   dps.Enrollment
	prev    dps.Registration // zero if the device never registered
	hubs    []dps.LinkedHub
	answer  DryRunAnswer
}

// DryRun says what would become of a device that registered now. Nothing is changed
// anywhere; whether the device could prove itself is not looked at. An allocation that
// would fail is an answer.
//
// It fails with EnrollmentNotFound or GroupNotFound, and with Invalid when the question
// names no enrollment and none is known.
func (s *Service) DryRun(ctx context.Context, in dps.InstanceID, q DryRunQuestion) (DryRunAnswer, error) {
	d := &dryRun{service: s, q: q}
	if err := d.load(ctx, in); err != nil {
		return DryRunAnswer{}, err
	}
	d.answer.Entry = d.entry.Ref
	if d.entry.Disabled() {
		d.answer.Outcome = WouldDisabled
		d.step(StepEnrollment, d.entry.Ref.String()+" is disabled")
		return d.answer, nil
	}
	d.step(StepEnrollment, d.entry.Ref.String())
	pl, err := d.choose(ctx)
	if err != nil {
		return d.fail(err)
	}
	if pl.to.ID == "" {
		d.answer.Outcome = WouldAsk
		return d.answer, nil
	}
	if err := d.takes(ctx, pl.to); err != nil {
		return d.fail(err)
	}
	err = d.place(ctx, pl)
	return d.answer, err
}

// takes says whose hub identities the device would take over. It fails with a heldError
// where it must not.
func (d *dryRun) takes(ctx context.Context, hub dps.LinkedHub) error {
	s := d.service
	reg := dps.Registration{Instance: d.in.ID, ID: d.spelling(), Entry: d.entry.Ref, Assignment: d.prev.Assignment}
	if m := replacement(d.prev, d.entry.Ref, d.hubs); m != nil {
		d.step(StepIdentity, m.Planned())
	}
	if err := s.mayReplace(ctx, d.prev, d.entry.Ref, d.hubs); err != nil {
		return err
	}
	id := desiredDeviceID(d.entry, reg)
	there := false
	if hub.Kind == dps.KindEmbedded {
		_, err := s.store.HubDevice(ctx, d.in.ID, hub.ID, id)
		if err != nil && dps.CodeOf(err) != dps.DeviceNotFound {
			return err
		}
		there = err == nil
	}
	from, err := s.takes(ctx, reg, hub, id, there)
	if from != nil {
		m := dps.IdentityMove{HostName: hub.HostName, DeviceID: id, From: *from, To: dps.Holder{ID: reg.ID, Entry: reg.Entry}}
		d.step(StepIdentity, m.Planned())
	}
	return err
}

func (d *dryRun) step(name allocate.StepName, text string) {
	d.answer.Steps = append(d.answer.Steps, allocate.Step{Name: name, Text: text})
}

// fail makes a failure of the registration the answer; others are failures of the dry
// run itself.
func (d *dryRun) fail(err error) (DryRunAnswer, error) {
	if held, ok := errors.AsType[*heldError](err); ok {
		d.step(StepIdentity, "refused (--takeover refuse): "+held.Error())
		d.answer.Outcome, d.answer.Failure = WouldFail, dps.FailureOf(err)
		return d.answer, nil
	}
	switch dps.CodeOf(err) {
	case dps.NoHub, dps.CustomAllocationFailed, dps.CustomAllocationNoHub, dps.CustomAllocationUnauthorized:
	default:
		return DryRunAnswer{}, err
	}
	d.answer.Outcome, d.answer.Failure = WouldFail, dps.FailureOf(err)
	return d.answer, nil
}

// load reads what is known of the device.
func (d *dryRun) load(ctx context.Context, in dps.InstanceID) error {
	s := d.service
	var err error
	if d.in, err = s.store.Instance(ctx, in); err != nil {
		return err
	}
	if d.prev, err = s.previous(ctx, in, d.q.ID); err != nil {
		return err
	}
	if d.entry, err = d.enrollment(ctx); err != nil {
		return err
	}
	if d.hubs, err = s.store.Hubs(ctx, in); err != nil {
		return err
	}
	if a := d.prev.Assignment; a != nil {
		d.answer.Current = &DryRunStand{DeviceID: a.DeviceID, Substatus: a.Substatus}
		if h := linked(d.hubs, a); h != nil {
			d.answer.Current.Hub = h.HostName
		}
	}
	return nil
}

// enrollment returns the one that would decide. An individual enrollment goes before any
// group, as in attestation.
func (d *dryRun) enrollment(ctx context.Context) (dps.Enrollment, error) {
	store := d.service.store
	if d.q.Entry.ID != "" {
		return store.Enrollment(ctx, d.in.ID, d.q.Entry)
	}
	e, err := store.Enrollment(ctx, d.in.ID, dps.EntryRef{Kind: dps.Individual, ID: string(d.q.ID)})
	if dps.CodeOf(err) != dps.EnrollmentNotFound {
		return e, err
	}
	if d.prev.Entry.Kind == dps.Group {
		e, err = store.Enrollment(ctx, d.in.ID, d.prev.Entry)
		if dps.CodeOf(err) != dps.GroupNotFound {
			return e, err
		}
	}
	return e, dps.Invalidf(
		"enrollmentGroupId",
		"is required: %q has no individual enrollment and is not registered through an existing group",
		d.q.ID,
	)
}

// choose returns the plan that a registration would follow, with a hub unless a webhook
// decides that is not asked.
func (d *dryRun) choose(ctx context.Context) (plan, error) {
	q := question{
		in: d.in, id: d.q.ID, entry: d.entry, assignment: d.prev.Assignment, apiVersion: d.q.APIVersion, remote: d.q.Remote, hubs: d.hubs,
		explain: true,
	}
	pl, err := d.service.plan(q)
	d.answer.Policy, d.answer.Candidates = pl.policy, hostNames(pl.candidates)
	switch {
	case pl.stays:
		d.step(StepReprovision, "the device keeps its hub: "+whyItStays(d.entry.Placement.Reprovision))
	case d.prev.Assignment != nil && linked(d.hubs, d.prev.Assignment) == nil:
		d.step(StepReprovision, "the hub that the device was on is no longer linked")
	}
	d.answer.Steps = append(d.answer.Steps, pl.steps...)
	switch {
	case err != nil || !pl.webhook():
		return pl, err
	case d.q.CallWebhook:
		hub, err := d.ask(ctx, pl.candidates)
		return pl.toward(hub, q), err
	case pl.stays:
		d.step(StepWebhook, "the webhook is still called for a payload; this dry run did not call it")
		return pl.toward(pl.candidates[0], q), nil
	default:
		return pl, nil
	}
}

func whyItStays(policy *dps.ReprovisionPolicy) string {
	if policy == nil {
		return "the enrollment has no reprovisionPolicy, and devices with an api-version before " + firstMovableVersion + " are not moved"
	}
	return "updateHubAssignment is false"
}

// ask lets the webhook choose.
func (d *dryRun) ask(ctx context.Context, candidates []dps.LinkedHub) (dps.LinkedHub, error) {
	if d.service.webhook == nil {
		return dps.LinkedHub{}, dps.Errorf(dps.CustomAllocationFailed, "Custom allocation failed: webhooks are not available.")
	}
	ctx, cancel := context.WithTimeout(ctx, dryRunPatience)
	defer cancel()
	answer, err := d.service.webhook.Ask(ctx, d.question(candidates))
	if err != nil {
		d.step(StepWebhook, dps.MessageOf(err))
		return dps.LinkedHub{}, err
	}
	d.step(StepWebhook, "the webhook chose "+string(answer.Hub))
	i := slices.IndexFunc(candidates, func(h dps.LinkedHub) bool { return h.HostName.Equal(answer.Hub) })
	if i < 0 {
		return dps.LinkedHub{}, noSuchHub(answer.Hub)
	}
	d.answer.Twin, d.answer.Payload = answer.Twin, answer.Payload
	return candidates[i], nil
}

func (d *dryRun) question(candidates []dps.LinkedHub) WebhookQuestion {
	q := WebhookQuestion{
		Enrollment: d.entry, ID: d.q.ID, Attestation: d.entry.Attestation.Type, Payload: d.q.Payload, LinkedHubs: hostNames(candidates),
	}
	if x := d.entry.Attestation.X509; x != nil && d.entry.Ref.Kind == dps.Individual {
		q.Certificate = x.Primary // what the device would show is not known
	}
	if c := d.answer.Current; c != nil && c.Hub != "" {
		q.CurrentHub, q.CurrentID = c.Hub, c.DeviceID
	}
	return q
}

func hostNames(hubs []dps.LinkedHub) []dps.HostName {
	names := make([]dps.HostName, len(hubs))
	for i, h := range hubs {
		names[i] = h.HostName
	}
	return names
}

// place says what would happen at the hub.
func (d *dryRun) place(ctx context.Context, pl plan) error {
	a := &d.answer
	a.Hub, a.DeviceID = pl.to.HostName, desiredDeviceID(d.entry, dps.Registration{ID: d.spelling(), Assignment: d.prev.Assignment})
	if d.prev.Assignment != nil && !pl.moves {
		return d.stay(ctx, pl.to)
	}
	migrate, err := d.migrates(ctx, pl)
	if err != nil {
		return err
	}
	switch {
	case !pl.moves:
		a.Outcome, a.Data, a.Substatus = WouldAssign, DataInitial, dps.InitialAssignment
	case migrate:
		a.Outcome, a.Data, a.Substatus = WouldMove, DataMigrated, dps.DeviceDataMigrated
		d.step(StepReprovision, "the device moves with its twin: migrateDeviceData is true")
	default:
		a.Outcome, a.Data, a.Substatus = WouldMove, DataReset, dps.DeviceDataReset
		d.step(StepReprovision, "the device moves and gets a new twin: "+whyAnew(pl))
	}
	return d.found(ctx, pl.to)
}

// stay says what would happen at the hub that the device keeps.
func (d *dryRun) stay(ctx context.Context, hub dps.LinkedHub) error {
	a := &d.answer
	a.Outcome, a.Data, a.Substatus = WouldStay, DataKept, d.prev.Assignment.Substatus
	gone, err := d.gone(ctx, hub)
	if gone {
		a.Data = DataInitial
		d.step(StepIdentity, "the hub has no identity "+string(a.DeviceID)+"; it is created again")
	}
	return err
}

// migrates reports whether there is a twin to follow the device.
func (d *dryRun) migrates(ctx context.Context, pl plan) (bool, error) {
	if !pl.migrate {
		return false, nil
	}
	gone, err := d.gone(ctx, *pl.from)
	return !gone, err
}

// gone reports whether a hub no longer has the identity that the device's record says
// it has. Hubs over the wire are not asked.
func (d *dryRun) gone(ctx context.Context, hub dps.LinkedHub) (bool, error) {
	if hub.Kind != dps.KindEmbedded {
		return false, nil
	}
	_, err := d.service.store.HubDevice(ctx, d.in.ID, hub.ID, d.prev.Assignment.DeviceID)
	if dps.CodeOf(err) == dps.DeviceNotFound {
		return true, nil
	}
	return false, err
}

func whyAnew(pl plan) string {
	switch {
	case pl.from == nil:
		return "its old hub is no longer linked"
	case pl.migrate:
		return "the old hub no longer has its identity"
	}
	return "migrateDeviceData is false"
}

// spelling returns the registration ID as the record would have it.
func (d *dryRun) spelling() dps.RegistrationID {
	if d.prev.ID != "" {
		return d.prev.ID
	}
	return d.q.ID
}

// found looks for an identity that is at the hub already. Hubs over the wire are
// not asked.
func (d *dryRun) found(ctx context.Context, hub dps.LinkedHub) error {
	if hub.Kind != dps.KindEmbedded {
		d.step(StepIdentity, "remote hubs are not queried for an existing identity")
		return nil
	}
	_, err := d.service.store.HubDevice(ctx, d.in.ID, hub.ID, d.answer.DeviceID)
	switch {
	case dps.CodeOf(err) == dps.DeviceNotFound:
		return nil
	case err != nil:
		return err
	}
	d.answer.Data, d.answer.Substatus = DataKept, dps.ReprovisionedToInitialAssignment
	d.step(StepIdentity, "the hub has an identity "+string(d.answer.DeviceID)+" already; the device takes it over with its twin")
	return nil
}
