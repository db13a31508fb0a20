package signin

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mooring-iot/mooring/internal/dps"
)

// How many sign-ins may be tried: so many at once, and then one each interval. A right
// password gives its source all of them back.
//
// The limit on all is against many who guess together. They must not lock out the
// operator with it: it does not hold for this machine, nor for sources from which
// somebody has signed in.
const (
	sourceBurst    = 5
	sourceInterval = 30 * time.Second
	allBurst       = 50
	allInterval    = 2 * time.Second

	maxSources = 10_000 // remembered at a time
	maxKnown   = 100    // of those from which somebody has signed in
)

// limits counts attempts to sign in.
type limits struct {
	mu      sync.Mutex // guards all below
	all     *rate.Limiter
	sources map[string]*rate.Limiter
	known   map[string]bool // sources from which somebody has signed in
}

func newLimits() *limits {
	return &limits{
		all: rate.NewLimiter(rate.Every(allInterval), allBurst), sources: make(map[string]*rate.Limiter), known: make(map[string]bool),
	}
}

// take counts an attempt, or fails with Throttled and says when the next one counts. A
// source that has used up its own attempts takes nothing from the others, and one that
// has to wait for the others keeps its own.
func (l *limits) take(source string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := network(source)
	one, ok := l.sources[key]
	if !ok {
		l.makeRoom(now)
		one = rate.NewLimiter(rate.Every(sourceInterval), sourceBurst)
		l.sources[key] = one
	}
	if one.TokensAt(now) >= 1 && !l.known[key] && !isThisMachine(source) {
		if err := reserve(l.all, now); err != nil {
			return err
		}
	}
	return reserve(one, now)
}

func isThisMachine(source string) bool {
	ip, err := netip.ParseAddr(source)
	return err == nil && ip.Unmap().IsLoopback()
}

func reserve(l *rate.Limiter, now time.Time) error {
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait <= 0 {
		return nil
	}
	r.CancelAt(now)
	seconds := int((wait + time.Second - 1) / time.Second)
	return &dps.Error{Code: dps.Throttled, Message: fmt.Sprintf("Too many attempts. Try again in %d seconds.", seconds), RetryAfter: wait}
}

// forgive forgets the attempts of a source, from which somebody has signed in.
func (l *limits) forgive(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := network(source)
	delete(l.sources, key)
	for other := range l.known {
		if len(l.known) < maxKnown {
			break
		}
		delete(l.known, other)
	}
	l.known[key] = true
}

// makeRoom forgets sources that have all their attempts back, and anyone when there are
// still too many: the limit on all holds then.
func (l *limits) makeRoom(now time.Time) {
	if len(l.sources) < maxSources {
		return
	}
	for key, one := range l.sources {
		if one.TokensAt(now) >= sourceBurst {
			delete(l.sources, key)
		}
	}
	for key := range l.sources {
		if len(l.sources) < maxSources {
			return
		}
		delete(l.sources, key)
	}
}

// network returns what counts as one source: an address, or the network of an IPv6 one,
// which its owner has all of.
func network(source string) string {
	const ownNetwork = 64
	ip, err := netip.ParseAddr(source)
	if err != nil {
		return ""
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(ownNetwork)
	if err != nil {
		return ""
	}
	return p.String()
}
