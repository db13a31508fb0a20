package register

import (
	"context"
	"slices"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

// Record returns the record of a device for an operator. It fails with
// RegistrationNotFound.
func (s *Service) Record(ctx context.Context, in dps.InstanceID, id dps.RegistrationID) (Record, error) {
	reg, err := s.store.Registration(ctx, in, id)
	if err != nil {
		return Record{}, err
	}
	return s.record(ctx, reg)
}

// record adds the hub's name to a registration.
func (s *Service) record(ctx context.Context, reg dps.Registration) (Record, error) {
	records, err := s.records(ctx, reg.Instance, []dps.Registration{reg})
	if err != nil {
		return Record{}, err
	}
	return records[0], nil
}

// records adds the hubs' names to registrations of one instance.
func (s *Service) records(ctx context.Context, in dps.InstanceID, all []dps.Registration) ([]Record, error) {
	hubs, err := s.store.Hubs(ctx, in)
	if err != nil {
		return nil, err
	}
	records := make([]Record, len(all))
	unknown := false
	for i, reg := range all {
		records[i].Registration = reg
		if reg.Assignment == nil {
			continue
		}
		if at := slices.IndexFunc(hubs, func(h dps.LinkedHub) bool { return h.ID == reg.Assignment.Hub }); at >= 0 {
			records[i].Hub = hubs[at].HostName
		} else {
			unknown = true
		}
	}
	if unknown {
		err = s.nameFormer(ctx, in, records)
	}
	return records, err
}

// nameFormer adds the names of hubs that are no longer linked: devices are still there.
func (s *Service) nameFormer(ctx context.Context, in dps.InstanceID, records []Record) error {
	former, err := s.store.FormerHubs(ctx, in)
	if err != nil {
		return err
	}
	for i, r := range records {
		if r.Assignment == nil || r.Hub != "" {
			continue
		}
		if at := slices.IndexFunc(former, func(h dps.FormerHub) bool { return h.ID == r.Assignment.Hub }); at >= 0 {
			records[i].Hub = former[at].HostName
		}
	}
	return nil
}

// Query returns up to limit records of a group that q selects, behind the cursor, and
// where to go on; next is nil at the end. A group that does not exist has none.
func (s *Service) Query(
	ctx context.Context,
	in dps.InstanceID,
	group string,
	q query.Query,
	limit int,
	after *dps.Cursor,
) (page []Record, next *dps.Cursor, err error) {
	found, err := s.store.QueryRegistrations(ctx, in, group, q, limit+1, after)
	if err != nil {
		return nil, nil, err
	}
	if len(found) > limit {
		last := found[limit-1]
		next = &dps.Cursor{Key: last.ID.Key()}
		if q.Order.ByUpdated {
			next.Updated = last.Updated.UnixNano()
		}
		found = found[:limit]
	}
	page, err = s.records(ctx, in, found)
	return page, next, err
}

// Find returns up to limit records that f selects, whatever enrollment they came through,
// behind the cursor, and where to go on; next is nil at the end.
func (s *Service) Find(
	ctx context.Context,
	in dps.InstanceID,
	f dps.RegistrationFilter,
	limit int,
	after *dps.Cursor,
) (page []Record, next *dps.Cursor, err error) {
	found, err := s.store.FindRegistrations(ctx, in, f, limit+1, after)
	if err != nil {
		return nil, nil, err
	}
	if len(found) > limit {
		last := found[limit-1]
		next = &dps.Cursor{Key: last.ID.Key()}
		if f.Status != "" {
			next.Updated = last.Updated.UnixNano()
		}
		found = found[:limit]
	}
	page, err = s.records(ctx, in, found)
	return page, next, err
}

// Forget deletes the record of a device if it meets cond. The device's identity at
// its hub stays; the device may register again. It fails with RegistrationNotFound or
// PreconditionFailed.
func (s *Service) Forget(ctx context.Context, in dps.InstanceID, id dps.RegistrationID, cond dps.Condition) error {
	unlock, err := s.devices.Lock(ctx, deviceKey{in, id.Key()})
	if err != nil {
		return err
	}
	defer unlock()
	for range maxAttempts {
		var reg dps.Registration
		if reg, err = s.store.Registration(ctx, in, id); err != nil {
			return err
		}
		if !cond.Holds(reg.ETag) {
			return dps.Errorf(dps.PreconditionFailed, "Precondition failed: the record is not at the version that If-Match names.")
		}
		err = s.store.DeleteRegistration(ctx, in, id, reg.ETag)
		s.recent.forget(in, id)
		if dps.CodeOf(err) != dps.ConcurrentChange {
			return err
		}
	}
	return err
}
