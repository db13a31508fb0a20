package register

import (
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Bounds of what recent remembers: devices poll a second after they register.
const (
	recentTime = 10 * time.Second
	recentMax  = 8192 // in each half; about 10 MB in all

	// recentPayload is the longest payload of a webhook that is remembered, in bytes: of
	// 64 KB for each device they would take a gigabyte.
	recentPayload = 512
)

// recent remembers the outcomes of the last moments, so that the poll that follows
// nearly every registration need not ask the store. The outcome of an operation never
// changes; a device whose record is deleted is forgotten here too. A poll that comes
// later, or to another process, finds the outcome in the store.
type recent struct {
	mu       sync.Mutex
	turned   time.Time
	now, old map[deviceKey]dps.Registration
}

// keep remembers an outcome. One that is large is left to the store.
func (r *recent) keep(reg dps.Registration, at time.Time) {
	if len(reg.Payload) > recentPayload {
		r.forget(reg.Instance, reg.ID)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(at)
	r.now[deviceKey{reg.Instance, reg.ID.Key()}] = reg
}

// operation returns the outcome of op, if it is the device's latest.
func (r *recent) operation(in dps.InstanceID, id dps.RegistrationID, op dps.OperationID, at time.Time) (dps.Registration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(at)
	key := deviceKey{in, id.Key()}
	reg, ok := r.now[key]
	if !ok {
		reg, ok = r.old[key]
	}
	return reg, ok && reg.Operation == op
}

func (r *recent) forget(in dps.InstanceID, id dps.RegistrationID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := deviceKey{in, id.Key()}
	delete(r.now, key)
	delete(r.old, key)
}

// turn drops what is older than two times recentTime, or more than fits.
func (r *recent) turn(at time.Time) {
	age := at.Sub(r.turned)
	if r.now != nil && age >= 0 && age < recentTime && len(r.now) < recentMax {
		return
	}
	r.old = r.now
	if age < 0 || age >= 2*recentTime {
		r.old = nil
	}
	r.now, r.turned = make(map[deviceKey]dps.Registration), at
}
