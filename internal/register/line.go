package register

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Line is what the line of open registrations asks of storage, so that it survives
// the process.
type Line interface {
	// OpenWork returns what every open registration waits for, the longest waiting
	// first: without what it brought along.
	OpenWork(ctx context.Context) ([]dps.Work, error)

	// Work fails with OperationNotFound when nothing is left to do.
	Work(ctx context.Context, in dps.InstanceID, id dps.RegistrationID) (dps.Work, error)

	// ClaimPlace gives one process the right to write to a place until a time, and
	// returns the remnant as it was before; its State is "" where there was none, or
	// where a place to be cleaned up is in a record. It fails with Throttled while
	// something that was sent there earlier may still arrive, with ConcurrentChange
	// when a place to be cleaned up is none any more.
	ClaimPlace(ctx context.Context, c dps.Claim) (before dps.Remnant, err error)

	// NotPlaced forgets a place at which nothing was made under a claim, the first one of
	// this place; one that was claimed again meanwhile stays.
	NotPlaced(ctx context.Context, c dps.Claim) error

	// Removed forgets a place whose identity is gone.
	Removed(ctx context.Context, c dps.Claim) error

	// NotRemoved notes why an identity could not be removed, and when to try again.
	NotRemoved(ctx context.Context, c dps.Claim, why string, due time.Time) error

	// LeavingHubs returns the hubs at which there is something to clean up.
	LeavingHubs(ctx context.Context) ([]dps.LinkedHub, error)

	// DueRemnants returns up to limit places of a hub that are to be cleaned up by now.
	DueRemnants(ctx context.Context, in dps.InstanceID, hub dps.HubID, now time.Time, limit int) ([]dps.Remnant, error)

	// Remnants returns up to limit remnants in a state, behind the place after (nil:
	// from the start), sorted by hub and device ID.
	Remnants(ctx context.Context, in dps.InstanceID, state dps.RemnantState, limit int, after *dps.HubStand) ([]dps.Remnant, error)
}

// Bounds of the line.
const (
	maxWaiting  = 100_000 // registrations that wait for one hub
	maxWriters  = 8       // that are at one hub at a time to write
	maxLookers  = 16      // that are at one hub at a time to look
	maxWebhooks = 64      // that ask a webhook at a time
)

// line is where open registrations wait for their hub, or for a webhook. Each hub has
// a lane of its own: a slow one holds up nobody else. It holds names alone: what is to
// be done is read from the store when the turn has come, so that a restart, or a
// change meanwhile, finds it as it is.
type line struct {
	service *Service
	owner   string // names this process
	most    int    // registrations that may wait for one hub

	mu      sync.Mutex // guards what follows
	run     *run       // nil while nobody works the line
	items   map[deviceKey]*item
	places  map[placeKey]*item // to be cleaned up
	lanes   map[laneKey]*lane
	workers sync.WaitGroup
}

// run is the time during which a line is worked.
type run struct {
	waiting context.Context // ends when no new turn shall begin
	acting  context.Context // ends a little later, when what has begun is cut short
}

// laneKey names a lane; no hub is the lane of webhooks.
type laneKey struct {
	instance dps.InstanceID
	hub      dps.HubID
}

type placeKey struct {
	instance dps.InstanceID
	stand    dps.HubStand
}

// lane holds the items of one hub. Those that only look at the hub do not wait for
// the turns of those that write.
type lane struct {
	looks, writes queue
	hub           RemoteHub // nil for webhooks and embedded hubs
	held          int       // registrations in it: in a queue, under way, or until they are due
}

// queue is one half of a lane: first come, first served, but for those that had a turn
// already.
type queue struct {
	ready        []*item
	active, most int
	added, taken uint64
}

// item is one open registration, or one place to clean up.
type item struct {
	instance dps.InstanceID
	id       dps.RegistrationID
	place    *dps.Remnant // to be cleaned up; nil for a registration
	lane     laneKey

	seq      uint64 // its number in the queue
	writes   bool   // which queue
	reboot   bool   // the device is on this hub by its record: most likely nothing will be written
	due      time.Time
	timer    *time.Timer // until due; nil when ready or under way
	underway bool
	again    dps.RegistrationID // as another request spells it that came while it was under way; "" if none did

	began    time.Time     // of the first attempt in this lane
	excused  time.Duration // of the time since then, at the hub's own wish
	attempts int
	fresh    dps.HubID // where what stands is ours, and of no use any more; "" if nowhere

	mended int // how often storage failed
}

func newLine(s *Service) *line {
	return &line{
		service: s, owner: uuid.NewString(), most: maxWaiting,
		items: make(map[deviceKey]*item), places: make(map[placeKey]*item), lanes: make(map[laneKey]*lane),
	}
}

// laneOf returns the lane of a hub. The caller holds mu.
func (l *line) laneOf(key laneKey) *lane {
	ln, ok := l.lanes[key]
	if !ok {
		ln = &lane{looks: queue{most: maxLookers}, writes: queue{most: maxWriters}}
		if key.hub == "" {
			ln.looks.most = maxWebhooks
		}
		l.lanes[key] = ln
	}
	return ln
}

func (ln *lane) queueOf(it *item) *queue {
	if it.writes {
		return &ln.writes
	}
	return &ln.looks
}

// waiting is how many items of a lane are not under way.
func (ln *lane) waiting() int { return len(ln.looks.ready) + len(ln.writes.ready) }

// move takes an item into a lane. The caller holds mu.
func (l *line) move(it *item, to laneKey) {
	l.leave(it)
	it.lane = to
	if it.place == nil {
		l.laneOf(to).held++
	}
}

// leave takes an item out of its lane. The caller holds mu.
func (l *line) leave(it *item) {
	if it.place == nil && it.lane.instance != "" {
		l.laneOf(it.lane).held--
	}
}

// pace estimates how long a lane takes for a number of items.
func (ln *lane) pace(items uint64, now time.Time) time.Duration {
	if ln.hub == nil {
		return 0
	}
	h := ln.hub.Health()
	wait := max(0, h.Paused.Sub(now))
	if h.PerMinute > 0 {
		wait += time.Duration(items) * time.Minute / time.Duration(h.PerMinute)
	}
	return wait
}

// meet tells a lane which hub it leads to.
func (l *line) meet(key laneKey, hub RemoteHub) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.laneOf(key).hub = hub
}

// room fails with Throttled when a lane takes no more.
func (l *line) room(key laneKey) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.laneOf(key)
	if ln.held < l.most {
		return nil
	}
	return tooMany(max(ReadyAfter, ln.pace(uint64(ln.waiting()), l.service.now())),
		fmt.Sprintf("the queue of the hub is full (%d registrations)", ln.held),
		"Check that the hub is reachable and not throttling (mooring linked-hub list), or raise --hub-rate.")
}

// add puts an open registration into the lane of its hub. One that is in line already
// stays where it is, unless its hub is another now. at is where the device is by its
// record, nil if nowhere or unknown.
func (l *line) add(w dps.Work, at *dps.Assignment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key, to := deviceKey{w.Instance, w.ID.Key()}, laneKey{w.Instance, w.Hub}
	reboot := at != nil && at.Hub == w.Hub
	it, known := l.items[key]
	switch {
	case !known:
		l.enter(key, to, w.ID, reboot)
	case it.underway: // its worker reads id
		it.again = w.ID
	case it.lane != to:
		l.leaveQueue(it)
		l.leave(it)
		l.enter(key, to, w.ID, reboot)
	default:
		it.id = w.ID
	}
}

// enter puts a new item for a registration at the end of a lane.
func (l *line) enter(key deviceKey, to laneKey, id dps.RegistrationID, reboot bool) {
	it := &item{instance: key.instance, id: id, reboot: reboot}
	l.items[key] = it
	l.move(it, to)
	l.ready(it)
}

// addPlace puts a place to clean up into the lane of its hub.
func (l *line) addPlace(r dps.Remnant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := placeKey{r.Instance, r.HubStand}
	if _, known := l.places[key]; known {
		return
	}
	it := &item{instance: r.Instance, id: r.ID, place: &r, lane: laneKey{r.Instance, r.Hub}, writes: true}
	l.places[key] = it
	l.ready(it)
}

// ready puts an item at the end of its queue. One whose turn had come before goes to the
// front: its budget runs, and it has waited.
func (l *line) ready(it *item) {
	q := l.laneOf(it.lane).queueOf(it)
	it.timer, it.due = nil, time.Time{}
	if it.writes && !it.began.IsZero() {
		it.seq = q.taken
		q.ready = slices.Insert(q.ready, 0, it)
	} else {
		it.seq = q.added
		q.ready = append(q.ready, it)
	}
	q.added++
	l.staff(q)
}

// staff starts a worker for a queue that can use one.
func (l *line) staff(q *queue) {
	if l.run == nil || len(q.ready) == 0 || q.active >= q.most {
		return
	}
	q.active++
	r := l.run
	l.workers.Go(func() { l.work(r, q) })
}

// leaveQueue takes a waiting item out of its queue, or stops its timer.
func (l *line) leaveQueue(it *item) {
	if it.timer != nil {
		it.timer.Stop()
		it.timer = nil
		return
	}
	q := l.laneOf(it.lane).queueOf(it)
	for i, other := range q.ready {
		if other == it {
			q.ready = append(q.ready[:i], q.ready[i+1:]...)
			q.taken++
			return
		}
	}
}

// work serves a queue until it is empty or the run ends.
func (l *line) work(r *run, q *queue) {
	for {
		it := l.take(r, q)
		if it == nil {
			return
		}
		l.put(r, it, l.service.guarded(r, it))
	}
}

// take returns the next item of a queue; nil lets the worker go.
func (l *line) take(r *run, q *queue) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(q.ready) == 0 || r.waiting.Err() != nil {
		q.active--
		return nil
	}
	it := q.ready[0]
	q.ready[0] = nil
	q.ready = q.ready[1:]
	q.taken++
	it.underway, it.again = true, ""
	return it
}

// verdict is what becomes of an item after a step.
type verdict struct {
	done   bool
	lane   laneKey       // where it goes on
	writes bool          // in which queue
	after  time.Duration // not before this time
}

// put puts an item back into line, or lets it go.
func (l *line) put(r *run, it *item, v verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it.underway = false
	changed := it.again != ""
	if changed {
		it.id = it.again
	}
	if r.waiting.Err() != nil {
		return // the store knows; the next run begins with it
	}
	if v.done && !changed {
		if it.place != nil {
			delete(l.places, placeKey{it.instance, it.place.HubStand})
		} else {
			delete(l.items, deviceKey{it.instance, it.id.Key()})
			l.leave(it)
		}
		return
	}
	if v.done { // with what it was; there is more to do
		it.began, it.attempts, it.excused, it.writes = time.Time{}, 0, 0, false
		l.ready(it)
		return
	}
	if it.lane != v.lane {
		l.move(it, v.lane)
		it.began, it.attempts, it.excused, it.fresh, it.reboot = time.Time{}, 0, 0, "", false
	}
	it.writes = v.writes
	if v.after <= 0 || changed { // what came meanwhile does not wait for what was
		l.ready(it)
		return
	}
	it.due = l.service.now().Add(v.after)
	it.timer = time.AfterFunc(v.after, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if it.timer != nil && l.run == r {
			l.ready(it)
		}
	})
}

// wait estimates how long a registration will take from now.
func (l *line) wait(in dps.InstanceID, id dps.RegistrationID) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	it, ok := l.items[deviceKey{in, id.Key()}]
	if !ok {
		return ReadyAfter
	}
	if it.timer != nil {
		return max(ReadyAfter, it.due.Sub(l.service.now())+ReadyAfter)
	}
	ln := l.laneOf(it.lane)
	ahead := ln.queueOf(it).before(it)
	switch {
	case it.writes:
	case it.reboot:
		return max(ReadyAfter, ln.pace(0, l.service.now()))
	default:
		ahead += ln.writes.length()
	}
	return max(ReadyAfter, ln.pace(ahead+1, l.service.now()))
}

// length is how many items have not been done with.
func (q *queue) length() uint64 { return uint64(len(q.ready) + q.active) }

// before is how many items are done before one that waits or is under way.
func (q *queue) before(it *item) uint64 {
	return it.seq + uint64(q.active) - min(it.seq+uint64(q.active), q.taken)
}

// counts returns how many registrations wait in a lane, and how long the last one will.
func (l *line) counts(key laneKey) (waiting int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.laneOf(key)
	return ln.held, ln.pace(uint64(ln.waiting()+ln.writes.active), l.service.now())
}
