package register

import (
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Polled returns how many devices' polls are remembered.
func (s *Service) Polled() int {
	s.polls.mu.Lock()
	defer s.polls.mu.Unlock()
	return len(s.polls.current) + len(s.polls.old)
}

// RecentMax bounds each half of Recent.
const RecentMax = recentMax

// Recent is what a Service remembers of the last moments.
type Recent struct{ r recent }

// NewRecent returns an empty one.
func NewRecent() *Recent { return &Recent{} }

// Keep remembers an outcome.
func (r *Recent) Keep(reg dps.Registration, at time.Time) { r.r.keep(reg, at) }

// Operation looks an outcome up.
func (r *Recent) Operation(in dps.InstanceID, id dps.RegistrationID, op dps.OperationID, at time.Time) (dps.Registration, bool) {
	return r.r.operation(in, id, op, at)
}

// Forget drops a device.
func (r *Recent) Forget(in dps.InstanceID, id dps.RegistrationID) { r.r.forget(in, id) }

// Len returns how many outcomes are remembered.
func (r *Recent) Len() int { return len(r.r.now) + len(r.r.old) }

// LineLocked reports whether somebody works on the line at this moment.
func (s *Service) LineLocked() bool {
	if !s.line.mu.TryLock() {
		return true
	}
	s.line.mu.Unlock()
	return false
}

// SetRoom sets how many registrations may wait for one hub.
func (s *Service) SetRoom(n int) { s.line.most = n }

// What one request tries, and how many searches are remembered.
const (
	MaxDerivations = maxDerivations
	MaxSearches    = maxSearches
)

// Derived returns how many keys were derived and tried.
func (s *Service) Derived() int64 { return s.keyring.derived.Load() }

// Searches returns how many unfinished searches are remembered.
func (s *Service) Searches() int { return len(s.keyring.searches.now) + len(s.keyring.searches.old) }
