package register

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// Times of what is done at a hub. What one step sends has arrived, or never will,
// when the lease that it holds on the place is over.
const (
	stepTime  = 20 * time.Second // one step at a hub
	leaseTime = 30 * time.Second
	graceTime = 5 * time.Second // that steps under way get when the service stops
	cleanTick = 2 * time.Second // between looks for places to clean up
	cleanMost = 64              // of one hub in line at a time
)

// Run works the line of open registrations and cleans up until ctx ends. Steps that
// are under way then get a moment to end; what they leave is found by the next run.
func (s *Service) Run(ctx context.Context) error {
	l := s.line
	acting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if err := l.load(ctx, &run{waiting: ctx, acting: acting}); err != nil {
		stop()
		l.end()
		if ctx.Err() != nil {
			return nil // told to stop before it began
		}
		return err
	}
	tick := time.NewTicker(cleanTick)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := s.findPlaces(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "cannot list identities to clean up", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	grace := time.AfterFunc(graceTime, stop)
	defer grace.Stop()
	l.end()
	return nil
}

// load begins a run with what the store says is open. What is added while the store is
// read is in line already.
func (l *line) load(ctx context.Context, r *run) error {
	l.mu.Lock()
	clear(l.items)
	clear(l.places)
	clear(l.lanes)
	l.run = r
	l.mu.Unlock()
	open, err := l.service.store.OpenWork(ctx)
	if err != nil {
		return err
	}
	for _, w := range open {
		l.add(w, nil)
	}
	if len(open) > 0 {
		l.service.log.InfoContext(ctx, "resuming open registrations", "count", len(open))
	}
	return nil
}

// end lets no step begin, and waits for those under way.
func (l *line) end() {
	l.mu.Lock()
	l.run = nil
	for _, it := range l.items {
		if it.timer != nil {
			it.timer.Stop()
		}
	}
	for _, it := range l.places {
		if it.timer != nil {
			it.timer.Stop()
		}
	}
	l.mu.Unlock()
	l.workers.Wait()
}

// done is the verdict on what needs no more.
var done = verdict{done: true}

// guarded is step, and has an item whose step panicked wait as if storage had failed (see
// dps.Recovered).
func (s *Service) guarded(r *run, it *item) (v verdict) {
	defer func() {
		if p := recover(); p != nil {
			err := dps.Recovered(p, s.observer, "worker")
			s.log.ErrorContext(r.acting, "a step of a registration failed", "registrationId", string(it.id), "err", err)
			v = s.mend(r, it, err)
		}
	}()
	return s.step(r, it)
}

// step does what is next for an item.
func (s *Service) step(r *run, it *item) verdict {
	if it.place != nil {
		return s.cleanUp(r, it)
	}
	j, err := s.job(r.acting, it)
	switch {
	case dps.CodeOf(err) == dps.OperationNotFound, dps.CodeOf(err) == dps.RegistrationNotFound:
		return done
	case err != nil:
		return s.mend(r, it, err)
	}
	if lane := (laneKey{it.instance, j.work.Hub}); lane != it.lane { // a newer call chose another hub
		return verdict{lane: lane}
	}
	v, err := s.advance(r, j)
	switch {
	case err == nil:
		return v
	case dps.CodeOf(err) == dps.ConcurrentChange, r.waiting.Err() != nil:
		return it.at(it.writes, 0)
	default:
		return s.setback(r, j, err)
	}
}

// at is the verdict that an item goes on where it is.
func (it *item) at(writes bool, after time.Duration) verdict {
	return verdict{lane: it.lane, writes: writes, after: after}
}

// mend waits for the store, which nothing else can replace.
func (s *Service) mend(r *run, it *item, err error) verdict {
	if r.acting.Err() == nil {
		s.log.WarnContext(r.acting, "storage failed; retrying an open registration", "registrationId", string(it.id), "err", err)
	}
	it.mended++
	return it.at(it.writes, backoff(it.mended))
}

// job is one open registration with all that says what is to be done.
type job struct {
	*item
	work     dps.Work
	reg      dps.Registration
	instance dps.Instance
	hubs     []dps.LinkedHub
	sub      subject
	disabled bool
}

// job reads what an item is about. The enrollment is read now: one that was disabled
// or deleted meanwhile assigns nobody.
func (s *Service) job(ctx context.Context, it *item) (*job, error) {
	j := &job{item: it}
	var err error
	if j.work, err = s.store.Work(ctx, it.instance, it.id); err != nil {
		return nil, err
	}
	if j.reg, err = s.store.Registration(ctx, it.instance, it.id); err != nil {
		return nil, err
	}
	if j.instance, err = s.store.Instance(ctx, it.instance); err != nil {
		return nil, err
	}
	if j.hubs, err = s.store.Hubs(ctx, it.instance); err != nil {
		return nil, err
	}
	j.sub.twin = j.work.Twin
	return j, nil
}

// errGone is why an open registration ends whose enrollment no longer lets it in.
var errGone = errors.New("the enrollment changed while the registration was in progress")

// admit reads the enrollment of a job. It fails with the code of a missing one, or
// with Unauthorized where it attests otherwise now.
func (s *Service) admit(ctx context.Context, j *job) error {
	e, err := s.store.Enrollment(ctx, j.reg.Instance, j.reg.Entry)
	if err != nil {
		return err
	}
	j.sub.entry, j.disabled = e, e.Disabled()
	var ok bool
	if j.sub.auth, ok = credential(j.reg, j.work.KeyOf, e); !ok {
		return dps.Wrap(dps.Unauthorized, errGone, "The enrollment changed while the registration was in progress.")
	}
	return nil
}

// advance does what is next for a job.
func (s *Service) advance(r *run, j *job) (verdict, error) {
	if err := s.admit(r.acting, j); err != nil {
		return verdict{}, err
	}
	if j.disabled {
		c := j.change()
		c.Registration.Status = dps.Disabled
		return s.finish(r.acting, j, c)
	}
	if j.work.Hub == "" {
		return s.ask(r, j)
	}
	to := hubByID(j.hubs, j.work.Hub)
	if to == nil { // unlinked meanwhile
		return s.chooseAgain(r, j)
	}
	pl := plan{}.toward(*to, j.question())
	if to.Kind == dps.KindEmbedded {
		return s.arrive(r, j, pl)
	}
	s.line.meet(j.lane, s.hubs.Hub(*to)) // the link may be new since, and so may this process
	if !pl.moves && j.reg.Assignment != nil {
		return s.refreshRemote(r, j, pl)
	}
	return s.placeRemote(r, j, pl)
}

func (j *job) question() question {
	return question{
		in: j.instance, id: j.work.ID, entry: j.sub.entry, assignment: j.reg.Assignment,
		apiVersion: j.work.APIVersion, remote: remoteAddr(j.work.Remote), hubs: j.hubs,
	}
}

// change is the record of a job, to be written as its next version.
func (j *job) change() dps.RegistrationChange {
	c := dps.RegistrationChange{Registration: j.reg, IfMatch: j.reg.ETag, EntryMatch: j.sub.entry.ETag, WasOpen: true}
	c.Registration.ETag = dps.NewETag()
	c.TrackingID, c.Remote = j.work.TrackingID, j.work.Remote
	return c
}

// finish writes the outcome of a job.
func (s *Service) finish(ctx context.Context, j *job, c dps.RegistrationChange) (verdict, error) {
	c.Registration.Updated = s.now()
	c.Registration.Payload = j.work.Returned
	c.Moves = moves(j.reg, c, j.hubs)
	if err := s.store.Commit(ctx, c); err != nil {
		return verdict{}, err
	}
	s.recent.keep(c.Registration, s.now())
	s.keepMoves(ctx, j.call(s), c.Moves)
	s.observer.Registered(c.Registration.Attestation, c.Registration.Status, dps.ReasonNone, s.now().Sub(j.work.Since))
	s.logFinished(ctx, j, c.Registration)
	return done, nil
}

func (s *Service) logFinished(ctx context.Context, j *job, reg dps.Registration) {
	attrs := []any{
		slog.String("operation", string(reg.Operation)),
		slog.String("registrationId", string(reg.ID)),
		slog.String("remote", j.work.Remote),
	}
	switch {
	case reg.Failure != nil:
		s.log.InfoContext(ctx, "registration failed", append(attrs,
			slog.String("code", reg.Failure.Code.String()), slog.String("message", reg.Failure.Message))...)
	case reg.Status == dps.Assigned:
		s.log.DebugContext(ctx, "registered", append(attrs,
			slog.String("hub", string(reg.Assignment.Hub)), slog.String("deviceId", string(reg.Assignment.DeviceID)))...)
	default:
		s.log.InfoContext(ctx, "registration finished", append(attrs, slog.String("status", string(reg.Status)))...)
	}
}

// goOn keeps a job open at another hub, and durably so.
func (s *Service) goOn(ctx context.Context, j *job, to dps.LinkedHub) (verdict, error) {
	c := j.change()
	j.work.Hub = to.ID
	c.Work = &j.work
	if err := s.store.Commit(ctx, c); err != nil {
		return verdict{}, err
	}
	lane := laneKey{j.item.instance, to.ID}
	if to.Kind == dps.KindIoTHub {
		s.line.meet(lane, s.hubs.Hub(to))
	}
	return verdict{lane: lane}, nil
}

// chooseAgain plans anew for a job whose hub is gone, or down while others are up.
func (s *Service) chooseAgain(r *run, j *job) (verdict, error) {
	pl, err := s.plan(j.question())
	if err != nil {
		return verdict{}, err
	}
	if pl.webhook() {
		j.work.Twin, j.work.Returned = nil, nil
		return s.goOn(r.acting, j, dps.LinkedHub{})
	}
	return s.head(r, j, pl)
}

// head sends a job to the hub of a plan: at once, where nothing over the wire is
// needed.
func (s *Service) head(r *run, j *job, pl plan) (verdict, error) {
	if pl.local() {
		c, err := s.place(r.acting, j.change(), j.sub, pl, false)
		if err != nil {
			return verdict{}, err
		}
		return s.finish(r.acting, j, c)
	}
	return s.goOn(r.acting, j, pl.to)
}

// fail ends a job.
func (s *Service) fail(r *run, j *job, err error) verdict {
	v, failure := s.finish(r.acting, j, failed(j.change(), err))
	switch {
	case failure == nil:
		if held, ok := errors.AsType[*heldError](err); ok {
			r := j.call(s)
			held.refuse(&r.Decision)
			r.Decision.Answer, r.Move = string(dps.Failed), &held.move
			s.keep(r)
		}
		return v
	case dps.CodeOf(failure) == dps.ConcurrentChange:
		return j.at(j.writes, 0)
	default:
		return s.mend(r, j.item, failure)
	}
}

// setback decides what an error means for a job: wait and try again within the
// budget, or the end.
func (s *Service) setback(r *run, j *job, err error) verdict {
	switch dps.CodeOf(err) {
	case dps.Internal, dps.Unavailable: // ours
		return s.mend(r, j.item, err)
	case dps.CustomAllocationFailed:
		return s.webhookSetback(r, j, err)
	}
	after, again := dps.MayRepeat(err)
	if !again {
		return s.fail(r, j, err)
	}
	now := s.now()
	if j.began.IsZero() {
		j.began = now
	}
	j.attempts++
	if dps.CodeOf(err) == dps.Throttled {
		after = max(after, time.Second)
		j.excused = min(j.excused+after, maxExcused)
	} else {
		after = max(after, backoff(j.attempts))
	}
	if now.Add(after).Sub(j.began)-j.excused > s.budget {
		return s.fail(r, j, err)
	}
	s.log.DebugContext(
		r.acting,
		"retrying an open registration",
		"registrationId",
		string(j.id),
		"attempt",
		j.attempts,
		"after",
		after,
		"err",
		err,
	)
	return j.at(j.writes, after)
}

// maxExcused bounds how much longer a registration may take because its hub asked to
// be left alone.
const maxExcused = 10 * time.Minute

// backoff is how long to wait after so many attempts.
func backoff(attempts int) time.Duration {
	return min(time.Second<<min(attempts-1, 10), 10*time.Second)
}

// credential is how the device of an open registration will prove itself to its hub;
// keyOf is the spelling of its ID under which its key derives from a group's. ok is
// false where the enrollment attests otherwise now.
func credential(reg dps.Registration, keyOf dps.RegistrationID, e dps.Enrollment) (a dps.HubAuthentication, ok bool) {
	if e.Attestation.Type != reg.Attestation {
		return a, false
	}
	switch reg.Attestation {
	case dps.X509:
		return certificateCredential(reg.Evidence)
	case dps.SymmetricKey:
		keys := *e.Attestation.SymmetricKey
		if reg.Entry.Kind == dps.Group {
			keys = attest.DerivedKeys(keys, keyOf)
		}
		return hubKeys(keys), true
	default:
		return a, false
	}
}
