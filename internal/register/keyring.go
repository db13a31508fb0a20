package register

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

// A token does not name its group, so the groups have to be tried. What that costs is
// bounded, whatever is stored and whatever is sent: each request tries some of the groups,
// those that were found last first, and a device that was not found among them is told
// to retry, and the next request goes on with the others.
const (
	// maxDerivations is how many keys are derived and tried for one request: two for each
	// group, twice as many for a registration ID with upper case letters.
	maxDerivations = 400

	// maxFound is how many of the groups that were found last are tried first.
	maxFound = 32

	// searchPause is when a device whose group was not found yet shall retry.
	searchPause = time.Second

	// maxSearches is how many searches are remembered in each half of their memory. One
	// that is forgotten begins anew.
	maxSearches = 8192
)

// keyring has the keys of the groups in memory, unsealed. They only say which group to
// read: the group itself is read from the store for each request.
type keyring struct {
	store    KeyGroups
	mu       sync.Mutex
	rings    map[dps.InstanceID]*ring
	searches searches

	derived atomic.Int64 // how many keys were derived and tried
}

// ring are the groups of one instance as they were at one version.
type ring struct {
	version int64
	groups  []attest.GroupKeys // sorted by ID
	found   []int              // indexes into groups: those found last, the latest first
}

func newKeyring(store KeyGroups) *keyring {
	return &keyring{store: store, rings: make(map[dps.InstanceID]*ring)}
}

// search is what a request found.
type search struct {
	group  dps.EntryRef // zero if none yet
	groups int          // how many there are
	done   bool         // every group was tried, or one was found
}

// find looks for the group under which the device's key signed token.
func (k *keyring) find(ctx context.Context, in dps.InstanceID, id dps.RegistrationID, token sas.Token) (search, error) {
	r, err := k.ring(ctx, in)
	if err != nil {
		return search{}, err
	}
	who := deviceKey{in, id.Key()}
	t := trial{ring: r, id: id, token: token, left: maxDerivations}
	from := k.searches.at(who, r.version)
	at, next := t.run(from)
	k.derived.Add(int64(maxDerivations - t.left))
	switch {
	case at >= 0:
		k.noteFound(in, r.version, at)
		k.searches.forget(who)
		return search{group: r.groups[at].Group, groups: len(r.groups), done: true}, nil
	case next < len(r.groups):
		k.searches.keep(who, progress{version: r.version, next: next})
		return search{groups: len(r.groups)}, nil
	default:
		k.searches.forget(who)
		return search{groups: len(r.groups), done: true}, nil
	}
}

// ring returns the groups as they are now. They are read once for each version, by the
// first who asks; what it returns is not changed any more.
func (k *keyring) ring(ctx context.Context, in dps.InstanceID) (ring, error) {
	version, err := k.store.GroupChanges(ctx, in)
	if err != nil {
		return ring{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.rings[in]; r != nil && r.version >= version {
		return *r, nil
	}
	groups, err := k.store.KeyGroups(context.WithoutCancel(ctx), in)
	if err != nil {
		return ring{}, err
	}
	r := &ring{version: version, groups: make([]attest.GroupKeys, len(groups))}
	for i, g := range groups {
		r.groups[i] = attest.NewGroupKeys(g)
	}
	k.rings[in] = r
	return *r, nil
}

// noteFound has a group tried earlier from now on.
func (k *keyring) noteFound(in dps.InstanceID, version int64, at int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.rings[in]
	if r == nil || r.version != version || (len(r.found) > 0 && r.found[0] == at) {
		return
	}
	found := append([]int{at}, slices.DeleteFunc(slices.Clone(r.found), func(i int) bool { return i == at })...)
	r.found = found[:min(len(found), maxFound)]
}

// trial tries groups for one request.
type trial struct {
	ring  ring
	id    dps.RegistrationID
	token sas.Token
	left  int // derivations
}

// run tries the groups that were found last, and then those from the index `from` on. It
// returns the index of the one that matched, else -1, and where to go on.
func (t *trial) run(from int) (at, next int) {
	if from == 0 {
		for _, i := range t.ring.found {
			if ok, room := t.try(i); ok || !room {
				return t.outcome(ok, i), 0
			}
		}
	}
	for i := from; i < len(t.ring.groups); i++ {
		if from == 0 && slices.Contains(t.ring.found, i) {
			continue
		}
		if ok, room := t.try(i); ok || !room {
			return t.outcome(ok, i), i
		}
	}
	return -1, len(t.ring.groups)
}

func (t *trial) outcome(ok bool, i int) int {
	if ok {
		return i
	}
	return -1
}

// try reports whether group i signed the token; room is false if that would cost more
// than is left.
func (t *trial) try(i int) (ok, room bool) {
	g := t.ring.groups[i]
	cost := g.Derivations(t.id)
	if cost > t.left {
		return false, false
	}
	t.left -= cost
	return g.Signed(t.token, t.id), true
}

// searches remembers how far the searches for devices' groups went.
type searches struct {
	mu       sync.Mutex
	now, old map[deviceKey]progress
}

type progress struct {
	version int64
	next    int // index of the group to go on with
}

func (s *searches) at(who deviceKey, version int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.now[who]
	if !ok {
		p = s.old[who]
	}
	if p.version != version {
		return 0
	}
	return p.next
}

func (s *searches) keep(who deviceKey, p progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || len(s.now) >= maxSearches {
		s.old, s.now = s.now, make(map[deviceKey]progress)
	}
	s.now[who] = p
}

func (s *searches) forget(who deviceKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, who)
	delete(s.old, who)
}
