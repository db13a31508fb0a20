package storetest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

var holderCases = []testCase{
	{"whose an identity is", func(t *testing.T, w *world) {
		at := dps.HubStand{Hub: dps.EmbeddedHub, DeviceID: "Sensor"}
		w.holder(t, "nobody's", at, "pump", &dps.Holder{})
		w.commitNew(t, "Sensor")
		w.holder(t, "of the record", at, "pump", &dps.Holder{ID: "Sensor", Entry: group("line")})
		w.holder(t, "one's own", at, "sENSOR", &dps.Holder{})
		w.holder(t, "case counts", dps.HubStand{Hub: at.Hub, DeviceID: "sensor"}, "pump", &dps.Holder{})
		w.holder(t, "another hub", dps.HubStand{Hub: "other", DeviceID: at.DeviceID}, "pump", &dps.Holder{})
		renamed := registration("valve")
		renamed.Assignment.DeviceID, renamed.Assignment.Entry, renamed.Entry = "fan", individual("valve"), group("line")
		w.commit(t, dps.RegistrationChange{Registration: renamed})
		w.holder(t, "renamed", dps.HubStand{Hub: at.Hub, DeviceID: "fan"}, "fan", &dps.Holder{ID: "valve", Entry: individual("valve")})
	}},
	{"an identity is not taken unseen", func(t *testing.T, w *world) {
		w.commitNew(t, "sensor")
		pump := registration("pump")
		pump.Assignment.DeviceID = "sensor"
		for name, from := range map[string]*dps.Holder{
			"nobody's": nil, "an operator's": {}, "another device's": {ID: "valve", Entry: group("line")},
			"another enrollment's": {ID: "sensor", Entry: group("line-2")},
		} {
			fails(t, name, w.Commit(t.Context(), dps.RegistrationChange{Registration: pump, From: from}), dps.ConcurrentChange)
		}
		_, err := w.Registration(t.Context(), here, "pump")
		fails(t, "nothing is written", err, dps.RegistrationNotFound)
		free := registration("valve")
		fails(t, "a free one of somebody", w.Commit(t.Context(), dps.RegistrationChange{
			Registration: free, From: &dps.Holder{ID: "sensor", Entry: group("line")},
		}), dps.ConcurrentChange)
	}},
	{"the record of who lost an identity says so, and returns to it", func(t *testing.T, w *world) {
		sensor, d := w.commitNew(t, "sensor")
		pump := w.taking(t, "pump", "sensor", dps.Holder{ID: "sensor", Entry: group("line")})
		lost := read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor"))
		if lost.Assignment == nil || lost.Assignment.TakenBy != "pump" || lost.ETag == sensor.ETag || lost.Status != dps.Assigned {
			t.Errorf("record = %+v", lost)
		}
		fails(t, "a change made before", w.Commit(t.Context(), dps.RegistrationChange{Registration: again(sensor, start), IfMatch: sensor.ETag}),
			dps.ConcurrentChange)
		valve := w.taking(t, "valve", "sensor", dps.Holder{ID: "pump", Entry: group("line")})

		gone := again(valve, start.Add(time.Minute))
		gone.Assignment = &dps.Assignment{Hub: "elsewhere", DeviceID: "sensor", Substatus: dps.DeviceDataReset, Entry: group("line")}
		at := dps.HubStand{Hub: dps.EmbeddedHub, DeviceID: "sensor"}
		w.commit(t, dps.RegistrationChange{Registration: gone, IfMatch: valve.ETag, Removed: &at})
		same(t, "identity", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, "sensor")), d)
		w.holder(t, "the one before", at, "x", &dps.Holder{ID: "pump", Entry: group("line")})

		pump = read[dps.Registration](t)(w.Registration(t.Context(), here, "pump"))
		must(t, w.DeleteRegistration(t.Context(), here, "pump", pump.ETag))
		w.holder(t, "the first one", at, "x", &dps.Holder{ID: "sensor", Entry: group("line")})
		lost = read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor"))
		must(t, w.DeleteRegistration(t.Context(), here, "sensor", lost.ETag))
		w.holder(t, "released", at, "x", nil)
	}},
	{"an identity is released with its record, until it is deleted or taken", func(t *testing.T, w *world) {
		at := dps.HubStand{Hub: dps.EmbeddedHub, DeviceID: "sensor"}
		reg, d := w.commitNew(t, "sensor")
		must(t, w.DeleteRegistration(t.Context(), here, "sensor", reg.ETag))
		w.holder(t, "released", at, "sensor", nil)
		w.commit(t, dps.RegistrationChange{Registration: reg})
		w.holder(t, "taken", at, "pump", &dps.Holder{ID: "sensor", Entry: group("line")})
		w.holder(t, "its own, no longer released", at, "sensor", &dps.Holder{})
		must(t, w.DeleteRegistration(t.Context(), here, "sensor", reg.ETag))
		must(t, w.DeleteHubDevice(t.Context(), here, dps.EmbeddedHub, "sensor", d.ETag))
		w.holder(t, "deleted", at, "sensor", &dps.Holder{})
	}},
	{"the last assignment and its enrollment outlive a refusal", func(t *testing.T, w *world) {
		reg, _ := w.commitNew(t, "sensor")
		off := again(reg, start.Add(time.Minute))
		off.Status, off.Entry = dps.Disabled, individual("sensor")
		w.commit(t, dps.RegistrationChange{Registration: off, IfMatch: reg.ETag})
		same(t, "record", read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor")), off)
		all := parsed(t, "SELECT *", query.Registrations())
		found := read[[]dps.Registration](t)(w.QueryRegistrations(t.Context(), here, "line", all, 10, nil))
		same(t, "in its group", found, []dps.Registration{off})
	}},
	{"a move is recorded once in an hour", func(t *testing.T, w *world) {
		m := dps.IdentityMove{
			HostName: "hub.example.com", DeviceID: "sensor",
			From: dps.Holder{ID: "sensor", Entry: group("b")}, To: dps.Holder{ID: "sensor", Entry: group("a")},
		}
		reg, _ := w.commitNew(t, "sensor")
		for range 3 {
			next := again(reg, start)
			w.commit(t, dps.RegistrationChange{
				Registration: next, IfMatch: reg.ETag, Moves: []dps.IdentityMove{m}, TrackingID: "t-1", Remote: "192.0.2.7:1",
			})
			reg = next
		}
		entries := read[[]audit.Entry](t)(w.Audit(t.Context(), here, audit.Filter{}, 10, nil))
		if len(entries) != 1 {
			t.Fatalf("%d entries: %+v", len(entries), entries)
		}
		e := entries[0]
		want := audit.Entry{
			Seq: e.Seq, Instance: here, Time: e.Time, Principal: "device:sensor", Operation: audit.Move, Kind: audit.HubIdentity, ID: "sensor",
			Result: audit.OK, TrackingID: "t-1", Remote: "192.0.2.7:1",
			Detail: "identity sensor moved from enrollment group b to enrollment group a at hub.example.com",
		}
		same(t, "entry", e, want)
		w.clock.Advance(time.Hour + time.Second)
		w.commit(t, dps.RegistrationChange{Registration: again(reg, start), IfMatch: reg.ETag, Moves: []dps.IdentityMove{m}})
		if entries := read[[]audit.Entry](t)(w.Audit(t.Context(), here, audit.Filter{Operation: audit.Move}, 10, nil)); len(entries) != 2 {
			t.Errorf("an hour later: %d entries", len(entries))
		}
	}},
	{"of many that want an identity at once each sees who had it", func(t *testing.T, w *world) {
		var unseen atomic.Int32
		together(func(i int) {
			reg := registration(dps.RegistrationID(fmt.Sprintf("pump-%d", i)))
			reg.Assignment.DeviceID = "sensor"
			for attempt := range writers + 1 {
				c := dps.RegistrationChange{Registration: reg}
				if attempt > 0 {
					c.From = read[*dps.Holder](t)(w.Holder(t.Context(), here, reg.Assignment.Place(), reg.ID))
				}
				err := w.Commit(t.Context(), c)
				if err == nil {
					if c.From == nil || c.From.Operator() {
						unseen.Add(1)
					}
					return
				}
				if dps.CodeOf(err) != dps.ConcurrentChange {
					t.Error(err)
					return
				}
			}
			t.Errorf("writer %d never won", i)
		})
		if unseen.Load() != 1 {
			t.Errorf("%d devices found the identity free", unseen.Load())
		}
	}},
	{"nothing that another record names is removed first", func(t *testing.T, w *world) {
		w.left(t, "sensor")
		pump := registration("pump")
		pump.Assignment.DeviceID = "sensor"
		w.commit(t, dps.RegistrationChange{Registration: pump})
		claim := w.claimOf("sensor", dps.Placing, "one")
		_, err := w.ClaimPlace(t.Context(), claim)
		fails(t, "a claim that does not know whose the place is", err, dps.ConcurrentChange)
		claim.From = &dps.Holder{ID: "pump", Entry: group("line")}
		if before := read[dps.Remnant](t)(w.ClaimPlace(t.Context(), claim)); !before.Kept || before.State != dps.Leaving {
			t.Errorf("before = %+v, want it kept", before)
		}
		if after := w.remnant(t, dps.Placing); after.Stale {
			t.Errorf("remnant = %+v, want it not stale", after)
		}
		rival := w.claimOf("sensor", dps.Placing, "two")
		rival.ID, rival.From = "valve", claim.From
		_, err = w.ClaimPlace(t.Context(), rival)
		fails(t, "a rival", err, dps.Throttled)
		w.clock.Advance(lease)
		rival.Now, rival.Until = w.clock.Now(), w.clock.Now().Add(lease)
		if before := read[dps.Remnant](t)(w.ClaimPlace(t.Context(), rival)); before.ID != "sensor" || !before.Kept {
			t.Errorf("before = %+v", before)
		}
	}},
}

// holder checks whose an identity is, seen from the device id.
func (w *world) holder(t *testing.T, what string, at dps.HubStand, id dps.RegistrationID, want *dps.Holder) {
	t.Helper()
	same(t, what, read[*dps.Holder](t)(w.Holder(t.Context(), here, at, id)), want)
}

// taking registers a device that takes over an identity.
func (w *world) taking(t *testing.T, id dps.RegistrationID, device dps.DeviceID, from dps.Holder) dps.Registration {
	t.Helper()
	reg := registration(id)
	reg.Assignment.DeviceID = device
	w.commit(t, dps.RegistrationChange{Registration: reg, From: &from})
	return reg
}
