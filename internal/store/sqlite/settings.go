package sqlite

import (
	"sync"

	"github.com/mooring-iot/mooring/internal/dps"
)

// settings remembers what every registration asks for and hardly anything changes:
// instances and their hubs. One process owns the file, so whoever changes them
// passes here. Enrollments are never remembered.
type settings struct {
	mu        sync.RWMutex
	changes   uint64 // how often something was forgotten
	instances map[dps.IDScope]dps.Instance
	hubs      map[dps.InstanceID][]dps.LinkedHub
}

// forget drops everything; it is called after each change of instances or hubs.
func (c *settings) forget() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.instances, c.hubs = nil, nil
}

func (c *settings) instance(scope dps.IDScope) (in dps.Instance, changes uint64, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	in, ok = c.instances[scope]
	return in, c.changes, ok
}

// keepInstance remembers what was read when there had been so many changes: one
// that came between may have made it stale.
func (c *settings) keepInstance(in dps.Instance, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != changes {
		return
	}
	if c.instances == nil {
		c.instances = make(map[dps.IDScope]dps.Instance)
	}
	c.instances[in.Scope] = in
}

func (c *settings) hubsOf(in dps.InstanceID) (hubs []dps.LinkedHub, changes uint64, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	hubs, ok = c.hubs[in]
	return hubs, c.changes, ok
}

func (c *settings) keepHubs(in dps.InstanceID, hubs []dps.LinkedHub, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != changes {
		return
	}
	if c.hubs == nil {
		c.hubs = make(map[dps.InstanceID][]dps.LinkedHub)
	}
	c.hubs[in] = hubs
}
