package register

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/keylock"
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
	loads    keylock.Locks[dps.InstanceID] // that are being read
	mu       sync.Mutex                    // guards rings, and found of each
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
	tried  int          // how many of them were tried so far, unless done
	done   bool         // every group was tried with this token, or one was found
}

// find looks for the group under which the device's key signed the token of a request.
func (k *keyring) find(ctx context.Context, in dps.InstanceID, req Request, token sas.Token) (search, error) {
	r, err := k.ring(ctx, in)
	if err != nil {
		return search{}, err
	}
	who := deviceKey{in, req.ID.Key()}
	p := k.searches.at(who, r.version).with(dps.ThumbprintOf([]byte(string(req.ID)+" "+req.Evidence.Token)), len(r.groups))
	t := trial{ring: r, id: req.ID, token: token, left: p.room()}
	at, walked := t.run(p)
	k.derived.Add(t.spent)
	p = p.after(walked)
	switch {
	case at >= 0:
		k.noteFound(in, r.version, at)
		k.searches.forget(who)
		return search{group: r.groups[at].Group, groups: len(r.groups), done: true}, nil
	case p.tried < len(r.groups):
		k.searches.keep(who, p.of(r.version))
		return search{groups: len(r.groups), tried: p.tried}, nil
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
	if r, ok := k.loaded(in, version); ok {
		return r, nil
	}
	unlock, err := k.loads.Lock(ctx, in)
	if err != nil {
		return ring{}, err
	}
	defer unlock()
	if r, ok := k.loaded(in, version); ok { // by who had the lock before
		return r, nil
	}
	groups, err := k.store.KeyGroups(context.WithoutCancel(ctx), in)
	if err != nil {
		return ring{}, err
	}
	r := ring{version: version, groups: make([]attest.GroupKeys, len(groups))}
	for i, g := range groups {
		r.groups[i] = attest.NewGroupKeys(g)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rings[in] = &r
	return r, nil
}

// loaded returns the groups in memory, unless they were changed before version.
func (k *keyring) loaded(in dps.InstanceID, version int64) (ring, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.rings[in]; r != nil && r.version >= version {
		return *r, true
	}
	return ring{}, false
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
	left  int64 // derivations
	spent int64
}

// run tries, with a new token, the groups that were found last, and then those where p
// goes on. It returns the index of the one that matched, else -1, and how many of those
// that p goes on with are dealt with.
func (t *trial) run(p progress) (at, walked int) {
	var first []int
	if p.tried == 0 {
		first = t.ring.found
	}
	for _, i := range first {
		if ok, room := t.try(i); ok || !room {
			return t.outcome(ok, i), 0
		}
	}
	for n := len(t.ring.groups); walked < n-p.tried; walked++ {
		i := (p.next + walked) % n
		if slices.Contains(first, i) {
			continue
		}
		if ok, room := t.try(i); ok || !room {
			return t.outcome(ok, i), walked
		}
	}
	return -1, walked
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
	cost := int64(g.Derivations(t.id))
	if cost > t.left {
		return false, false
	}
	t.left -= cost
	t.spent += cost
	return g.Signed(t.token, t.id), true
}

// progress is how far the search for a device's group went. Groups form a circle, and a
// token is refused only after it was tried with all of them. Whoever sends other tokens
// with a device's ID cannot choose where the search for the device goes on: with each
// new token it begins anywhere. A device that makes a new token for each call is found,
// or refused, by a call that tries all groups, once as many groups were tried for its ID:
// on average a call costs at most twice its bound.
type progress struct {
	version int64
	next    int            // index of the group to go on with
	tried   int            // how many groups were tried with token
	token   dps.Thumbprint // of the latest one, and the ID as it was spelled
	groups  int            // how many there are
	swept   int            // how many were tried for the ID, with whatever token
}

// with is p for a request with a token, among so many groups.
func (p progress) with(token dps.Thumbprint, groups int) progress {
	p.groups = groups
	if p.token == token || groups == 0 {
		return p
	}
	p.token, p.tried = token, 0
	p.next = rand.IntN(groups) //nolint:gosec // nothing secret
	return p
}

// room is how many derivations a request may cost.
func (p progress) room() int64 {
	if p.tried == 0 && p.swept >= p.groups {
		return math.MaxInt64
	}
	return maxDerivations
}

// after is p when so many groups more were tried.
func (p progress) after(walked int) progress {
	if p.groups == 0 {
		return p
	}
	p.next = (p.next + walked) % p.groups
	p.tried += walked
	p.swept += walked
	return p
}

// of is p at a version of the groups.
func (p progress) of(version int64) progress {
	p.version = version
	return p
}

// searches remembers the searches that did not end.
type searches struct {
	mu       sync.Mutex
	now, old map[deviceKey]progress
}

func (s *searches) at(who deviceKey, version int64) progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.now[who]
	if !ok {
		p = s.old[who]
	}
	if p.version != version {
		return progress{}
	}
	return p
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
