// Package register takes one registration from evidence to an assigned hub.
//
//	evidence → attest → allocate → place at the hub → record → answer
//
// A registration is an operation that outlives its connection: it is durable
// before Register returns, and any later Poll, on any connection, finds it.
package register

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/keylock"
	"github.com/mooring-iot/mooring/internal/query"
)

// Store is what registration asks of storage. A missing record is an error with
// a NotFound code, never a zero value.
type Store interface {
	Records
	KeyGroups
	Line

	// InstanceByScope finds the instance that devices call scope. It fails with
	// InstanceNotFound.
	InstanceByScope(ctx context.Context, scope dps.IDScope) (dps.Instance, error)

	// Instance fails with InstanceNotFound.
	Instance(ctx context.Context, id dps.InstanceID) (dps.Instance, error)

	// Hubs returns the linked hubs.
	Hubs(ctx context.Context, in dps.InstanceID) ([]dps.LinkedHub, error)

	// FormerHubs returns the hubs that are no longer linked.
	FormerHubs(ctx context.Context, in dps.InstanceID) ([]dps.FormerHub, error)

	// HubDevice returns an identity of an embedded hub. It fails with DeviceNotFound.
	HubDevice(ctx context.Context, in dps.InstanceID, hub dps.HubID, id dps.DeviceID) (dps.HubDevice, error)

	// Holder returns whose an identity at a hub is, other than id's: nil if nobody's. An
	// operator has what no record names and the service did not create, should it be there.
	Holder(ctx context.Context, in dps.InstanceID, at dps.HubStand, id dps.RegistrationID) (*dps.Holder, error)

	// Operation returns the record as the operation op left it. It fails with
	// OperationNotFound also when op belongs to another registration ID.
	Operation(ctx context.Context, in dps.InstanceID, id dps.RegistrationID, op dps.OperationID) (dps.Registration, error)

	// FindRegistrations returns up to limit records that f selects, behind the cursor, in
	// the order that f documents.
	FindRegistrations(
		ctx context.Context,
		in dps.InstanceID,
		f dps.RegistrationFilter,
		limit int,
		after *dps.Cursor,
	) ([]dps.Registration, error)

	// QueryRegistrations returns up to limit records of a group that q selects, behind
	// the cursor (nil: from the start), in q's order.
	QueryRegistrations(
		ctx context.Context,
		in dps.InstanceID,
		group string,
		q query.Query,
		limit int,
		after *dps.Cursor,
	) ([]dps.Registration, error)

	// DeleteRegistration forgets a device at version ifMatch; its identity at the hub
	// stays. It fails with ConcurrentChange.
	DeleteRegistration(ctx context.Context, in dps.InstanceID, id dps.RegistrationID, ifMatch dps.ETag) error

	// Commit writes one registration with all that belongs to it, or nothing.
	// It fails with ConcurrentChange when a record is not at the version that the
	// change was made from, or another device has the identity than the change says.
	Commit(ctx context.Context, c dps.RegistrationChange) error
}

// Records are the look-ups of attestation.
type Records interface {
	// Enrollment fails with EnrollmentNotFound or GroupNotFound.
	Enrollment(ctx context.Context, in dps.InstanceID, ref dps.EntryRef) (dps.Enrollment, error)

	// Registration fails with RegistrationNotFound.
	Registration(ctx context.Context, in dps.InstanceID, id dps.RegistrationID) (dps.Registration, error)

	// Anchors returns the stored certificates that have one of the subjects (DER).
	Anchors(ctx context.Context, in dps.InstanceID, subjects [][]byte) ([]dps.Anchor, error)

	// SignerChanges returns a number that grows with each change of what Anchors returns.
	SignerChanges(ctx context.Context, in dps.InstanceID) (int64, error)

	// CertificateOwner returns the enrollment that holds a certificate; ok is
	// false when none does.
	CertificateOwner(ctx context.Context, in dps.InstanceID, t dps.Thumbprint) (ref dps.EntryRef, ok bool, err error)
}

// KeyGroups are the look-ups of a search for the group of a token.
type KeyGroups interface {
	// KeyGroups returns the groups that attest by symmetric keys, sorted by ID.
	KeyGroups(ctx context.Context, in dps.InstanceID) ([]dps.Enrollment, error)

	// GroupChanges returns a number that grows with each change of a group.
	GroupChanges(ctx context.Context, in dps.InstanceID) (int64, error)
}

// Observer hears of every outcome.
type Observer interface {
	// Registered is called once for each registration that came to an end, or was
	// refused; reason is ReasonNone unless the device was refused.
	Registered(a dps.AttestationType, status dps.RegistrationStatus, reason dps.Reason, took time.Duration)
}

// Decisions hears of every refusal.
type Decisions interface {
	// Refused is called with each call of a device that is refused, before the device
	// hears of it. It returns at once.
	Refused(r dps.Refusal)
}

// Evidence is what a device proved on its connection.
type Evidence struct {
	Chain []*x509.Certificate // client certificates of the TLS handshake, leaf first
	Token string              // SAS token, unchecked; "" if none
}

// Request is one call of a device, whatever the transport.
type Request struct {
	Scope      dps.IDScope
	ID         dps.RegistrationID
	Evidence   Evidence
	APIVersion string
	Payload    json.RawMessage // for the webhook of a custom allocation; nil if the device sent none
	Transport  dps.Transport
	TrackingID string // names the call in answer and log
	Remote     string // address of the caller, with or without a port
}

// Ticket is an accepted registration, to be polled.
type Ticket struct {
	Operation  dps.OperationID
	RetryAfter time.Duration // when the answer will be ready
}

// Record is the state of a registration with the name of its hub.
type Record struct {
	dps.Registration
	Hub        dps.HostName  // "" while the device has no assignment
	RetryAfter time.Duration // while Assigning: when to ask again
}

// ReadyAfter is the RetryAfter of a registration that is already finished: polling
// at once would be fine, but zero makes some clients fall back to their default.
const ReadyAfter = time.Second

// Options are what a Service needs; all are required but Decisions, Rate, Networks, Home and
// the budgets, and Hubs and Webhook where no enrollment leads to them.
type Options struct {
	Store     Store
	Hubs      Hubs
	Webhook   Webhook
	Observer  Observer
	Decisions Decisions // nil if nobody wants to know
	Log       *slog.Logger
	Now       func() time.Time
	Takeover  dps.Takeover       // whether devices may take over identities; "" is TakeoverAllow
	Rate      int                // registrations per minute, for the whole service; 0 is no limit
	Networks  *allocate.Networks // which locations are near to whom; nil is none

	// Home is the instance whose record has refusals of calls that name no instance yet; ""
	// is dps.DefaultInstance.
	Home dps.InstanceID

	HubBudget     time.Duration // for a hub that is slow, from the first attempt on; 0 is DefaultHubBudget
	WebhookBudget time.Duration // for a webhook that fails; 0 is DefaultWebhookBudget
}

// What a registration may take at most.
const (
	DefaultHubBudget     = time.Minute
	DefaultWebhookBudget = 10 * time.Minute
)

// Service registers devices. It is safe for concurrent use.
type Service struct {
	store     Store
	hubs      Hubs
	webhook   Webhook
	observer  Observer
	decisions Decisions
	log       *slog.Logger
	now       func() time.Time
	networks  *allocate.Networks
	takeover  dps.Takeover
	home      dps.InstanceID

	line          *line
	budget        time.Duration
	webhookBudget time.Duration

	registrations *rateLimit
	polls         *pollLimit
	devices       keylock.Locks[deviceKey] // that are being registered
	recent        *recent
	links         *attest.Links
	keyring       *keyring
	signers       *signers
}

// New returns a Service.
func New(o Options) *Service {
	s := &Service{
		store: o.Store, hubs: o.Hubs, webhook: o.Webhook, observer: o.Observer, decisions: o.Decisions,
		log: o.Log, now: o.Now, networks: o.Networks,
		takeover: cmp.Or(o.Takeover, dps.TakeoverAllow),
		home:     cmp.Or(o.Home, dps.DefaultInstance),
		budget:   cmp.Or(o.HubBudget, DefaultHubBudget), webhookBudget: cmp.Or(o.WebhookBudget, DefaultWebhookBudget),
		registrations: newRateLimit(o.Rate), polls: newPollLimit(),
		recent: &recent{}, links: &attest.Links{}, keyring: newKeyring(o.Store), signers: &signers{store: o.Store},
	}
	s.line = newLine(s)
	return s
}

// Register proves who the device is, assigns it to a hub and records it. The
// outcome is durable, and read by Poll.
//
// It fails with InstanceNotFound, with Unauthorized or UnknownCredential when the device
// could not prove itself, or with Throttled; a disabled enrollment and a failed
// allocation are outcomes.
func (s *Service) Register(ctx context.Context, req Request) (Ticket, error) {
	start := s.now()
	in, err := s.store.InstanceByScope(ctx, req.Scope)
	if err != nil {
		return Ticket{}, err
	}
	proved, err := s.prove(ctx, in, req)
	if err != nil {
		return Ticket{}, err
	}
	if !proved.refused() {
		if wait := s.registrations.take(s.now()); wait > 0 {
			return Ticket{}, s.registrations.exceeded(wait)
		}
	}
	reg, err := s.settle(ctx, in, req, &proved)
	if errors.Is(err, errUnproved) {
		s.observer.Registered(proved.kind, dps.Unassigned, proved.decision.Reason, s.now().Sub(start))
		return Ticket{}, s.refuse(ctx, in.ID, req, proved.decision)
	}
	if held, ok := errors.AsType[*heldError](err); ok {
		held.refuse(proved.decision)
		s.observer.Registered(proved.kind, dps.Unassigned, proved.decision.Reason, s.now().Sub(start))
		return Ticket{}, s.refuseHeld(ctx, in.ID, req, proved.decision, held.move)
	}
	if err != nil {
		return Ticket{}, err
	}
	if reg.Status == dps.Assigning { // heard of when it ends
		return Ticket{Operation: reg.Operation, RetryAfter: s.line.wait(in.ID, req.ID)}, nil
	}
	s.observer.Registered(proved.kind, reg.Status, proved.decision.Reason, s.now().Sub(start))
	s.logOutcome(ctx, req, reg, proved)
	return Ticket{Operation: reg.Operation, RetryAfter: ReadyAfter}, nil
}

// Poll returns the record as an operation left it. The caller has to show what it
// registered with.
//
// It fails with InstanceNotFound, OperationNotFound, Unauthorized, UnknownCredential or Throttled.
func (s *Service) Poll(ctx context.Context, req Request, op dps.OperationID) (Record, error) {
	in, err := s.store.InstanceByScope(ctx, req.Scope)
	if err != nil {
		return Record{}, err
	}
	reg, known := s.recent.operation(in.ID, req.ID, op, s.now())
	if !known || reg.Status == dps.Assigning { // another process may have ended it
		if reg, err = s.store.Operation(ctx, in.ID, req.ID, op); err != nil {
			return Record{}, err
		}
	}
	if wait := s.polls.take(in.ID, req.ID, s.now()); wait > 0 {
		return Record{}, pollsExceeded(wait)
	}
	d, err := s.proveAgain(ctx, in, req, reg)
	if err != nil {
		return Record{}, err
	}
	if d.Refused() {
		d.Entry = reg.Entry
		return Record{}, s.refuse(ctx, in.ID, req, d)
	}
	if reg.Status == dps.Assigning {
		if reg, err = s.followed(ctx, reg); err != nil {
			return Record{}, err
		}
	}
	rec, err := s.record(ctx, reg)
	if rec.Status == dps.Assigning {
		rec.RetryAfter = max(s.line.wait(in.ID, req.ID), s.polls.next(in.ID, req.ID, s.now()))
	}
	return rec, err
}

// followed returns what an operation that was left open has led to: another one of the
// same device took its place.
func (s *Service) followed(ctx context.Context, reg dps.Registration) (dps.Registration, error) {
	latest, err := s.store.Registration(ctx, reg.Instance, reg.ID)
	if dps.CodeOf(err) == dps.RegistrationNotFound {
		return reg, dps.Errorf(dps.OperationNotFound, "Operation not found.")
	}
	return latest, err
}

// LookUp proves who the device is and returns its record, unchanged. It counts as a
// registration.
//
// It fails with InstanceNotFound, RegistrationNotFound, Unauthorized, UnknownCredential or Throttled.
func (s *Service) LookUp(ctx context.Context, req Request) (Record, error) {
	in, err := s.store.InstanceByScope(ctx, req.Scope)
	if err != nil {
		return Record{}, err
	}
	proved, err := s.prove(ctx, in, req)
	if err != nil {
		return Record{}, err
	}
	if proved.refused() {
		return Record{}, s.refuse(ctx, in.ID, req, proved.decision)
	}
	if wait := s.registrations.take(s.now()); wait > 0 {
		return Record{}, s.registrations.exceeded(wait)
	}
	reg, err := s.store.Registration(ctx, in.ID, req.ID)
	if err != nil {
		return Record{}, err
	}
	if err := s.mayLookUp(ctx, in.ID, req, reg, proved); err != nil {
		return Record{}, err
	}
	if proved.disabled() {
		reg.Status, reg.Failure = dps.Disabled, nil
		s.logRefusal(ctx, in.ID, req, proved.decision)
	}
	return s.record(ctx, reg)
}

// refuse records why a device is refused and returns what it is told.
func (s *Service) refuse(ctx context.Context, in dps.InstanceID, req Request, d *dps.Decision) error {
	s.logRefusal(ctx, in, req, d)
	return dps.Errorf(d.Reason.Code(), "%s", d.Answer)
}

func (s *Service) logRefusal(ctx context.Context, in dps.InstanceID, req Request, d *dps.Decision) {
	s.keep(s.refusal(in, req, d))
	s.log.InfoContext(ctx, "registration refused", append(requestAttrs(req), slog.Any("decision", d))...)
}

func (s *Service) logOutcome(ctx context.Context, req Request, reg dps.Registration, p proof) {
	switch {
	case p.disabled():
		s.logRefusal(ctx, reg.Instance, req, p.decision)
	case reg.Failure != nil:
		s.log.InfoContext(ctx, "registration failed", append(requestAttrs(req),
			slog.String("code", reg.Failure.Code.String()), slog.String("message", reg.Failure.Message))...)
	default:
		s.log.DebugContext(ctx, "registered", append(requestAttrs(req),
			slog.String("hub", string(reg.Assignment.Hub)), slog.String("deviceId", string(reg.Assignment.DeviceID)))...)
	}
}

func requestAttrs(req Request) []any {
	return []any{
		slog.String("trackingId", req.TrackingID), slog.String("scope", string(req.Scope)),
		slog.String("registrationId", string(req.ID)), slog.String("remote", req.Remote),
	}
}
