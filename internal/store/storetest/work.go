package storetest

import (
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// hub is the hub of the cases here: stores do not ask of what kind it is.
const hub = dps.EmbeddedHub

// opened commits a registration that is left open, and returns it with its work.
func (w *world) opened(t *testing.T, id dps.RegistrationID) (dps.Registration, dps.Work) {
	t.Helper()
	reg := registration(id)
	reg.Status, reg.Assignment = dps.Assigning, nil
	work := workOf(reg)
	w.commit(t, dps.RegistrationChange{Registration: reg, Work: &work})
	return reg, work
}

func workOf(reg dps.Registration) dps.Work {
	return dps.Work{
		Instance: here, ID: reg.ID, Operation: reg.Operation, APIVersion: "2021-06-01",
		Remote: "192.0.2.1:4711", TrackingID: "t-1", Transport: dps.MQTT,
		KeyOf:       reg.ID,
		Certificate: &dps.Certificate{DER: []byte("certificate")}, Payload: []byte(`{"model":"x"}`),
		Hub: hub, Twin: []byte(`{"tags":{}}`), Returned: []byte(`{"n":1}`), Since: start,
	}
}

// closed is the change that ends an open registration with a status.
func closed(reg dps.Registration, status dps.RegistrationStatus) dps.RegistrationChange {
	c := dps.RegistrationChange{Registration: reg, IfMatch: reg.ETag, WasOpen: true}
	c.Registration.Status, c.Registration.ETag = status, dps.NewETag()
	if status == dps.Assigned {
		c.Registration.Assignment = &dps.Assignment{Hub: hub, DeviceID: dps.DeviceID(reg.ID), Substatus: dps.InitialAssignment}
	}
	return c
}

// claimed claims the place of a device as a process does.
func (w *world) claimed(t *testing.T, id dps.RegistrationID, state dps.RemnantState, owner string) (dps.Remnant, error) {
	t.Helper()
	return w.ClaimPlace(t.Context(), w.claimOf(id, state, owner))
}

func (w *world) claimOf(id dps.RegistrationID, state dps.RemnantState, owner string) dps.Claim {
	now := w.clock.Now()
	return dps.Claim{
		Instance: here, HubStand: dps.HubStand{Hub: hub, DeviceID: dps.DeviceID(id)}, ID: id, State: state, Owner: owner,
		Now: now, Until: now.Add(lease),
	}
}

const lease = 30 * time.Second

// remnant returns the only remnant, which has to be in a state.
func (w *world) remnant(t *testing.T, state dps.RemnantState) dps.Remnant {
	t.Helper()
	all := read[[]dps.Remnant](t)(w.Remnants(t.Context(), here, state, 10, nil))
	if len(all) != 1 {
		t.Fatalf("remnants %s = %+v, want one", state, all)
	}
	return all[0]
}

// noRemnants fails unless there is none.
func (w *world) noRemnants(t *testing.T) {
	t.Helper()
	for _, state := range []dps.RemnantState{dps.Placing, dps.Leaving} {
		if all := read[[]dps.Remnant](t)(w.Remnants(t.Context(), here, state, 10, nil)); len(all) != 0 {
			t.Errorf("remnants %s = %+v, want none", state, all)
		}
	}
}

var workCases = []testCase{
	{"work is read back, and gone when the registration is done", func(t *testing.T, w *world) {
		_, err := w.Work(t.Context(), here, "Sensor")
		fails(t, "none", err, dps.OperationNotFound)
		reg, work := w.opened(t, "Sensor")
		same(t, "work", read[dps.Work](t)(w.Work(t.Context(), here, "sENSOR")), work)
		w.commit(t, closed(reg, dps.Assigned))
		_, err = w.Work(t.Context(), here, "sensor")
		fails(t, "done", err, dps.OperationNotFound)
		_, err = w.Work(t.Context(), there, "sensor")
		fails(t, "of another instance", err, dps.OperationNotFound)
	}},
	{"an operation that goes on is not kept as an earlier one", func(t *testing.T, w *world) {
		reg, _ := w.opened(t, "sensor")
		c := closed(reg, dps.Assigned)
		w.commit(t, c)
		same(t, "operation", read[dps.Registration](t)(w.Operation(t.Context(), here, "sensor", reg.Operation)), c.Registration)
	}},
	{"a failure with the hub's number and a payload are read back", func(t *testing.T, w *world) {
		reg, _ := w.opened(t, "sensor")
		c := closed(reg, dps.Failed)
		c.Registration.Failure = &dps.Failure{Code: dps.HubRefused, Message: "no", Number: 403002}
		c.Registration.Payload = []byte(`{"a":[1]}`)
		w.commit(t, c)
		same(t, "registration", read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor")), c.Registration)
		next := again(c.Registration, start)
		next.Failure, next.Payload, next.Status = nil, nil, dps.Assigning
		w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: c.Registration.ETag})
		same(t, "earlier operation", read[dps.Registration](t)(w.Operation(t.Context(), here, "sensor", reg.Operation)), c.Registration)
	}},
	{"open work comes in the order of its time", func(t *testing.T, w *world) {
		for i, id := range []dps.RegistrationID{"c", "a", "b"} {
			reg := registration(id)
			reg.Status, reg.Assignment = dps.Assigning, nil
			work := workOf(reg)
			work.Since = start.Add(time.Duration(i) * time.Second)
			w.commit(t, dps.RegistrationChange{Registration: reg, Work: &work})
		}
		var ids []dps.RegistrationID
		for _, work := range read[[]dps.Work](t)(w.OpenWork(t.Context())) {
			ids = append(ids, work.ID)
			if work.Hub != hub || work.Instance != here || work.Payload != nil {
				t.Errorf("work = %+v", work)
			}
		}
		same(t, "order", ids, []dps.RegistrationID{"c", "a", "b"})
	}},
	{"work goes with its record", func(t *testing.T, w *world) {
		reg, _ := w.opened(t, "sensor")
		_, err := w.claimed(t, "sensor", dps.Placing, "one")
		must(t, err)
		must(t, w.DeleteRegistration(t.Context(), here, "sensor", reg.ETag))
		_, err = w.Work(t.Context(), here, "sensor")
		fails(t, "work", err, dps.OperationNotFound)
		if r := w.remnant(t, dps.Leaving); r.Due.Before(w.clock.Now().Add(lease)) {
			t.Errorf("due at %v, while what was sent may still arrive", r.Due)
		}
	}},
}

var remnantCases = []testCase{
	{"a claim says what was there", func(t *testing.T, w *world) {
		w.opened(t, "Sensor")
		same(t, "first", read[dps.Remnant](t)(w.claimed(t, "Sensor", dps.Placing, "one")), dps.Remnant{})
		got := read[dps.Remnant](t)(w.claimed(t, "Sensor", dps.Placing, "two"))
		same(t, "second", got, dps.Remnant{
			Instance: here, HubStand: dps.HubStand{Hub: hub, DeviceID: "Sensor"}, ID: "Sensor", State: dps.Placing,
			Since: start, Due: start, Owner: "one", BusyUntil: start.Add(lease),
		})
	}},
	{"the place that a record takes is no remnant", func(t *testing.T, w *world) {
		reg, _ := w.opened(t, "sensor")
		_, err := w.claimed(t, "sensor", dps.Placing, "one")
		must(t, err)
		w.commit(t, closed(reg, dps.Assigned))
		w.noRemnants(t)
	}},
	{"the place of a registration that failed is left once nothing can arrive", func(t *testing.T, w *world) {
		reg, _ := w.opened(t, "sensor")
		_, err := w.claimed(t, "sensor", dps.Placing, "one")
		must(t, err)
		w.commit(t, closed(reg, dps.Failed))
		r := w.remnant(t, dps.Leaving)
		same(t, "due", r.Due, start.Add(lease))
		due := func(at time.Time) int {
			return len(read[[]dps.Remnant](t)(w.DueRemnants(t.Context(), here, hub, at, 10)))
		}
		if due(start.Add(lease-1)) != 0 || due(start.Add(lease)) != 1 {
			t.Error("due at another time")
		}
		same(t, "hubs", read[[]dps.LinkedHub](t)(w.LeavingHubs(t.Context())), []dps.LinkedHub{{Instance: here, ID: hub}})
	}},
	{"work that stays at its hub keeps its place", func(t *testing.T, w *world) {
		reg, work := w.opened(t, "sensor")
		_, err := w.claimed(t, "sensor", dps.Placing, "one")
		must(t, err)
		next := again(reg, start)
		work.Operation = next.Operation
		w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: reg.ETag, WasOpen: true, Work: &work})
		w.remnant(t, dps.Placing)
		work.Hub = "elsewhere"
		last := again(next, start)
		w.commit(t, dps.RegistrationChange{Registration: last, IfMatch: next.ETag, WasOpen: true, Work: &work})
		w.remnant(t, dps.Leaving)
	}},
	{"what is left is claimed, removed and forgotten", func(t *testing.T, w *world) {
		w.left(t, "sensor")
		_, err := w.claimed(t, "sensor", dps.Leaving, "one")
		must(t, err)
		_, err = w.claimed(t, "sensor", dps.Leaving, "two")
		fails(t, "claimed by another", err, dps.Throttled)
		must(t, w.NotRemoved(t.Context(), w.claimOf("sensor", dps.Leaving, "one"), "refused", start.Add(time.Hour)))
		r := w.remnant(t, dps.Leaving)
		if r.Attempts != 1 || r.LastError != "refused" || !r.Due.Equal(start.Add(time.Hour)) {
			t.Errorf("remnant = %+v", r)
		}
		w.clock.Advance(lease)
		_, err = w.claimed(t, "sensor", dps.Leaving, "two")
		must(t, err)
		must(t, w.Removed(t.Context(), w.claimOf("sensor", dps.Leaving, "one"))) // no longer its to tell
		w.remnant(t, dps.Leaving)
		must(t, w.Removed(t.Context(), w.claimOf("sensor", dps.Leaving, "two")))
		w.noRemnants(t)
		_, err = w.claimed(t, "sensor", dps.Leaving, "two")
		fails(t, "gone", err, dps.ConcurrentChange)
	}},
	{"a registration that wants a place back waits until nothing can remove it", func(t *testing.T, w *world) {
		w.left(t, "sensor")
		_, err := w.claimed(t, "sensor", dps.Leaving, "one")
		must(t, err)
		_, err = w.claimed(t, "sensor", dps.Placing, "one")
		fails(t, "while it is removed", err, dps.Throttled)
		must(t, w.NotRemoved(t.Context(), w.claimOf("sensor", dps.Leaving, "one"), "no answer", start.Add(time.Minute)))
		_, err = w.claimed(t, "sensor", dps.Placing, "one")
		fails(t, "while a lost request may remove it", err, dps.Throttled)
		w.clock.Advance(lease)
		before := read[dps.Remnant](t)(w.claimed(t, "sensor", dps.Placing, "one"))
		if before.State != dps.Leaving {
			t.Errorf("before = %+v", before)
		}
		if r := w.remnant(t, dps.Placing); !r.Stale {
			t.Error("what stands there is not said to be stale")
		}
		_, err = w.claimed(t, "sensor", dps.Leaving, "two")
		fails(t, "to clean up what is wanted", err, dps.ConcurrentChange)
		_, err = w.claimed(t, "sensor", dps.Placing, "two")
		fails(t, "by another process while the first may still remove", err, dps.Throttled)
		must(t, w.Removed(t.Context(), w.claimOf("sensor", dps.Placing, "one")))
		before = read[dps.Remnant](t)(w.claimed(t, "sensor", dps.Placing, "two"))
		if !before.Stale {
			t.Error("stale is forgotten")
		}
	}},
	{"nobody removes what a lost request may still make, not even the process that sent it", func(t *testing.T, w *world) {
		reg, work := w.opened(t, "sensor")
		_, err := w.claimed(t, "sensor", dps.Placing, "one")
		must(t, err)
		work.Hub = "elsewhere"
		next := again(reg, start)
		w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: reg.ETag, WasOpen: true, Work: &work})
		_, err = w.claimed(t, "sensor", dps.Leaving, "one")
		fails(t, "work that went elsewhere", err, dps.Throttled)

		reg, _ = w.opened(t, "pump")
		_, err = w.claimed(t, "pump", dps.Placing, "one")
		must(t, err)
		must(t, w.DeleteRegistration(t.Context(), here, "pump", reg.ETag))
		_, err = w.claimed(t, "pump", dps.Leaving, "one")
		fails(t, "a record that was deleted", err, dps.Throttled)

		reg, work = w.opened(t, "valve")
		w.commit(t, closed(reg, dps.Assigned))
		assigned := read[dps.Registration](t)(w.Registration(t.Context(), here, "valve"))
		open := again(assigned, start)
		open.Status = dps.Assigning
		work.Operation = open.Operation
		w.commit(t, dps.RegistrationChange{Registration: open, IfMatch: assigned.ETag, Work: &work})
		_, err = w.claimed(t, "valve", dps.Placing, "one") // refreshed where it is
		must(t, err)
		gone := closed(open, dps.Assigned)
		gone.Registration.Assignment.Hub = "elsewhere"
		gone.Leaving = &dps.HubStand{Hub: hub, DeviceID: "valve"}
		w.commit(t, gone)
		_, err = w.claimed(t, "valve", dps.Leaving, "one")
		fails(t, "a device that moved away", err, dps.Throttled)

		reg, work = w.opened(t, "fan")
		w.commit(t, closed(reg, dps.Assigned))
		assigned = read[dps.Registration](t)(w.Registration(t.Context(), here, "fan"))
		open = again(assigned, start)
		open.Status = dps.Assigning
		work.Operation = open.Operation
		w.commit(t, dps.RegistrationChange{Registration: open, IfMatch: assigned.ETag, Work: &work})
		_, err = w.claimed(t, "fan", dps.Placing, "one") // refreshed where it is, and asked elsewhere meanwhile
		must(t, err)
		next = again(open, start)
		work.Operation, work.Hub = next.Operation, "elsewhere"
		w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: open.ETag, WasOpen: true, Work: &work})
		gone = closed(next, dps.Assigned)
		gone.Registration.Assignment.Hub = "elsewhere"
		gone.Leaving = &dps.HubStand{Hub: hub, DeviceID: "fan"}
		w.commit(t, gone)
		_, err = w.claimed(t, "fan", dps.Leaving, "two")
		fails(t, "a device that was sent away and moved", err, dps.Throttled)

		w.clock.Advance(lease)
		for _, id := range []dps.RegistrationID{"sensor", "pump", "valve", "fan"} {
			_, err = w.claimed(t, id, dps.Leaving, "one")
			must(t, err)
		}
	}},
	{"a place at which nothing was made is forgotten", func(t *testing.T, w *world) {
		reg, work := w.opened(t, "sensor")
		claim := w.claimOf("sensor", dps.Placing, "one")
		_, err := w.ClaimPlace(t.Context(), claim)
		must(t, err)
		must(t, w.NotPlaced(t.Context(), claim))
		w.noRemnants(t)

		_, err = w.ClaimPlace(t.Context(), claim)
		must(t, err)
		work.Hub = "elsewhere"
		w.commit(t, dps.RegistrationChange{Registration: again(reg, start), IfMatch: reg.ETag, WasOpen: true, Work: &work})
		w.remnant(t, dps.Leaving)
		must(t, w.NotPlaced(t.Context(), claim))
		w.noRemnants(t)

		_, err = w.ClaimPlace(t.Context(), claim)
		must(t, err)
		w.clock.Advance(time.Second)
		_, err = w.claimed(t, "sensor", dps.Placing, "two")
		must(t, err)
		must(t, w.NotPlaced(t.Context(), claim)) // no longer its to tell
		w.remnant(t, dps.Placing)
	}},
	{"a place that a record has is not cleaned up", func(t *testing.T, w *world) {
		w.left(t, "sensor")
		other := registration("pump")
		other.Assignment.DeviceID = "sensor"
		w.commit(t, dps.RegistrationChange{Registration: other})
		before := read[dps.Remnant](t)(w.claimed(t, "sensor", dps.Leaving, "one"))
		same(t, "nothing is claimed", before, dps.Remnant{})
		w.noRemnants(t)
		gone := again(other, start)
		gone.Assignment = nil
		w.commit(t, dps.RegistrationChange{Registration: gone, IfMatch: other.ETag, Leaving: &dps.HubStand{Hub: hub, DeviceID: "sensor"}})
		w.remnant(t, dps.Leaving)
		own := read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor"))
		mine := again(own, start)
		mine.Assignment, mine.Status = registration("sensor").Assignment, dps.Assigned
		w.commit(t, dps.RegistrationChange{Registration: mine, IfMatch: own.ETag})
		same(t, "nothing is claimed", read[dps.Remnant](t)(w.claimed(t, "sensor", dps.Leaving, "one")), dps.Remnant{})
		w.noRemnants(t)
	}},
	{"places are listed by hub and device", func(t *testing.T, w *world) {
		for _, id := range []dps.RegistrationID{"c", "a", "b"} {
			w.left(t, id)
		}
		var ids []dps.DeviceID
		var after *dps.HubStand
		for {
			page := read[[]dps.Remnant](t)(w.Remnants(t.Context(), here, dps.Leaving, 2, after))
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				ids = append(ids, r.DeviceID)
			}
			after = &page[len(page)-1].HubStand
		}
		same(t, "order", ids, []dps.DeviceID{"a", "b", "c"})
		if other := read[[]dps.Remnant](t)(w.Remnants(t.Context(), there, dps.Leaving, 2, nil)); len(other) != 0 {
			t.Errorf("another instance has %+v", other)
		}
	}},
	{"an identity of an embedded hub goes with the change", func(t *testing.T, w *world) {
		reg, _ := w.commitNew(t, "sensor")
		next := again(reg, start)
		next.Assignment = &dps.Assignment{Hub: "elsewhere", DeviceID: "sensor", Substatus: dps.DeviceDataReset}
		w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: reg.ETag, Removed: &dps.HubStand{Hub: hub, DeviceID: "sensor"}})
		_, err := w.HubDevice(t.Context(), here, hub, "sensor")
		fails(t, "identity", err, dps.DeviceNotFound)
	}},
}

// left leaves the place of a device to be cleaned up.
func (w *world) left(t *testing.T, id dps.RegistrationID) {
	t.Helper()
	reg := registration(id)
	reg.Assignment = nil
	reg.Status = dps.Failed
	w.commit(t, dps.RegistrationChange{Registration: reg, Leaving: &dps.HubStand{Hub: hub, DeviceID: dps.DeviceID(id)}})
}
