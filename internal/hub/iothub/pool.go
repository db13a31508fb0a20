package iothub

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
)

// Defaults of the options.
const (
	DefaultPerMinute = 100
	DefaultTimeout   = 10 * time.Second
)

// Times of the pool's own work.
const (
	idleClient   = time.Hour        // a client that nobody asked for in this time is dropped
	tendInterval = 10 * time.Minute // how often that is looked at
)

// Observer hears how calls at hubs end. Its methods are called by many at once.
type Observer interface {
	// HubCall hears of a call that was sent; outcome is done, refused, throttled or
	// unavailable.
	HubCall(hub, call, outcome string, took time.Duration)

	// HubState hears that a hub is unknown, up or down now.
	HubState(hub, state string)

	// HubGone hears that nothing more will be said about a hub.
	HubGone(hub string)
}

// silent is the Observer where there is none.
type silent struct{}

func (silent) HubCall(string, string, string, time.Duration) {}
func (silent) HubState(string, string)                       {}
func (silent) HubGone(string)                                {}

// Options are what a Pool needs. Client, Now and Log are required.
type Options struct {
	Client *http.Client // see package outbound

	// PerMinute is how many registry writes each hub is sent in a minute, ByHost the
	// same for hubs by their host names in lower case; 0 is no limit.
	// Source: azure-docs, articles/iot-hub/iot-hub-devguide-quotas-throttling.md (S1: 100).
	PerMinute int
	ByHost    map[string]int

	Timeout  time.Duration // of one call; DefaultTimeout when 0
	Now      func() time.Time
	Log      *slog.Logger
	Observer Observer
}

// Pool has a client for each linked hub over the wire. It is a register.Hubs.
type Pool struct {
	options Options
	wake    chan struct{} // a hub is down: there is a trial to wait for

	mu     sync.Mutex
	hubs   map[hubKey]*member
	pacers map[string]*pacer // by host name in lower case
}

type hubKey struct {
	instance dps.InstanceID
	id       dps.HubID
}

// member is a client with when it was last asked for.
type member struct {
	hub  *hub
	used time.Time
}

// NewPool returns a Pool without clients. Somebody has to Run it, and to Close it.
func NewPool(o Options) *Pool {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Observer == nil {
		o.Observer = silent{}
	}
	client := *o.Client // whoever made it: the key goes to the endpoint alone
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	o.Client = &client
	return &Pool{options: o, wake: make(chan struct{}, 1), hubs: make(map[hubKey]*member), pacers: make(map[string]*pacer)}
}

// Hub returns the client of a hub. A hub whose endpoint, policy or key has changed gets
// a new one, whose health is unknown; calls under way end with the old one.
func (p *Pool) Hub(link dps.LinkedHub) register.RemoteHub {
	p.mu.Lock()
	defer p.mu.Unlock()
	key, now := hubKey{link.Instance, link.ID}, p.options.Now()
	m := p.hubs[key]
	if m != nil && !m.hub.sameAccess(link) {
		p.dropLocked(key)
		m = nil
	}
	if m == nil {
		m = &member{hub: p.newHub(link)}
		p.hubs[key] = m
		p.options.Observer.HubState(string(link.HostName), string(dps.HubUnknown))
	}
	m.used = now
	return m.hub
}

// newHub wants p.mu, for the pacer.
func (p *Pool) newHub(link dps.LinkedHub) *hub {
	access := accessOf(link)
	return &hub{
		link: link,
		door: door{
			hostName: string(link.HostName), endpoint: access.Endpoint, keyName: access.KeyName, key: access.Key.Reveal(),
			http: p.options.Client, now: p.options.Now, token: new(token),
		},
		pacer:   p.pacerLocked(link.HostName),
		breaker: breaker{state: dps.HubUnknown},
		slots:   make(chan struct{}, maxCalls),
		timeout: p.options.Timeout, log: p.options.Log, observer: p.options.Observer, down: p.poke,
	}
}

func (p *Pool) pacerLocked(host dps.HostName) *pacer {
	name := strings.ToLower(string(host))
	if p.pacers[name] == nil {
		perMinute, named := p.options.ByHost[name]
		if !named {
			perMinute = p.options.PerMinute
		}
		p.pacers[name] = newPacer(perMinute, p.options.Now)
	}
	return p.pacers[name]
}

// Forget drops the client of a hub that is linked no more. Calls under way end by
// themselves.
func (p *Pool) Forget(in dps.InstanceID, id dps.HubID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropLocked(hubKey{in, id})
	p.sweepPacersLocked()
}

// dropLocked leaves the pacer: the next client for the hub goes on with it.
func (p *Pool) dropLocked(key hubKey) {
	m := p.hubs[key]
	if m == nil {
		return
	}
	delete(p.hubs, key)
	if !p.knowsLocked(m.hub.link.HostName) {
		p.options.Observer.HubGone(string(m.hub.link.HostName))
	}
}

func (p *Pool) knowsLocked(host dps.HostName) bool {
	for _, m := range p.hubs {
		if m.hub.link.HostName.Equal(host) {
			return true
		}
	}
	return false
}

// sweepPacersLocked drops the pacers of hubs without a client, but for those whose
// pause is not over.
func (p *Pool) sweepPacersLocked() {
	for name, pacer := range p.pacers {
		if !p.knowsLocked(dps.HostName(name)) && pacer.paused() <= 0 {
			delete(p.pacers, name)
		}
	}
}

// poke tells Run to look again; one reminder is enough.
func (p *Pool) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run tries hubs that are down, each alone and ever more seldom, from a second up to
// half a minute, and drops clients that nobody uses. It returns when ctx ends, with no
// trial under way.
func (p *Pool) Run(ctx context.Context) error {
	var trials sync.WaitGroup
	defer trials.Wait()
	for {
		due, wait := p.tend()
		for _, h := range due {
			trials.Go(func() {
				_ = h.probe(ctx) // its outcome is the hub's health
				h.probing.Store(false)
				p.poke()
			})
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-p.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// tend returns the hubs whose trial is due, and when to look again.
func (p *Pool) tend() (due []*hub, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.options.Now()
	wait = tendInterval
	for key, m := range p.hubs {
		if now.Sub(m.used) > idleClient {
			p.dropLocked(key)
			continue
		}
		next, down := m.hub.breaker.due()
		if paused := m.hub.pacer.pausedUntil(); paused.After(next) {
			next = paused
		}
		switch {
		case !down, m.hub.probing.Load():
		case next.After(now):
			wait = min(wait, next.Sub(now))
		default:
			m.hub.probing.Store(true)
			due = append(due, m.hub)
		}
	}
	p.sweepPacersLocked()
	return due, wait
}

// Close drops every client and closes the connections that are idle.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.hubs {
		p.dropLocked(key)
	}
	p.options.Client.CloseIdleConnections()
	return nil
}
