package register

import (
	"context"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Times of cleaning up.
const (
	cleanDown    = 5 * time.Second // between looks at a hub that is down
	cleanAgain   = 5 * time.Second // after the first failure; doubled with each
	cleanSlowest = 5 * time.Minute
)

// findPlaces puts the places that are to be cleaned up by now into line.
func (s *Service) findPlaces(ctx context.Context) error {
	hubs, err := s.store.LeavingHubs(ctx)
	if err != nil {
		return err
	}
	for _, h := range hubs {
		due, err := s.store.DueRemnants(ctx, h.Instance, h.ID, s.now(), cleanMost)
		if err != nil {
			return err
		}
		for _, r := range due {
			s.line.addPlace(r)
		}
	}
	return nil
}

// cleanUp removes one identity that no record has any more.
func (s *Service) cleanUp(r *run, it *item) verdict {
	hubs, err := s.store.Hubs(r.acting, it.instance)
	if err != nil {
		return s.mend(r, it, err)
	}
	h := hubByID(hubs, it.place.Hub)
	if h == nil || h.Kind == dps.KindEmbedded {
		return done // unlinked: its places went with it
	}
	hub := s.hubs.Hub(*h)
	s.line.meet(it.lane, hub)
	if hub.Health().State == dps.HubDown {
		return it.at(true, cleanDown)
	}
	if err := hub.Turn(r.waiting); err != nil {
		return it.at(true, time.Second)
	}
	claim := s.claim(it, it.place.HubStand, dps.Leaving)
	before, err := s.store.ClaimPlace(r.acting, claim)
	switch after, again := dps.MayRepeat(err); {
	case dps.CodeOf(err) == dps.ConcurrentChange || err == nil && before.State != dps.Leaving:
		return done // a registration has come to want it
	case again:
		return it.at(true, max(after, time.Second))
	case err != nil:
		return s.mend(r, it, err)
	}
	return s.remove(r, it, hub, claim, before)
}

func (s *Service) remove(r *run, it *item, hub RemoteHub, claim dps.Claim, before dps.Remnant) verdict {
	ctx, cancel := context.WithTimeout(r.acting, stepTime)
	defer cancel()
	if err := hub.Remove(ctx, claim.DeviceID); err != nil {
		if r.acting.Err() != nil {
			return it.at(true, time.Second)
		}
		after, _ := dps.MayRepeat(err)
		due := s.now().Add(max(after, min(cleanAgain<<min(before.Attempts, 10), cleanSlowest)))
		if failure := s.store.NotRemoved(r.acting, claim, dps.MessageOf(err), due); failure != nil {
			return s.mend(r, it, failure)
		}
		s.logCleanup(r.acting, before, "cannot remove an orphaned identity; will retry", err)
		return done // found again when it is due
	}
	if err := s.store.Removed(r.acting, claim); err != nil {
		return s.mend(r, it, err)
	}
	s.logCleanup(r.acting, before, "removed an orphaned identity", nil)
	return done
}
