package storetest

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/dps"
)

var registrationCases = []testCase{
	{"missing records", func(t *testing.T, w *world) {
		_, err := w.Registration(t.Context(), here, "ghost")
		fails(t, "Registration", err, dps.RegistrationNotFound)
		_, err = w.Operation(t.Context(), here, "ghost", dps.NewOperationID())
		fails(t, "Operation", err, dps.OperationNotFound)
		_, err = w.HubDevice(t.Context(), here, dps.EmbeddedHub, "ghost")
		fails(t, "HubDevice", err, dps.DeviceNotFound)
	}},
	{"a new one with its identity", func(t *testing.T, w *world) {
		reg, d := w.commitNew(t, "Sensor")
		same(t, "registration", read[dps.Registration](t)(w.Registration(t.Context(), here, "sENSOR")), reg)
		same(t, "operation", read[dps.Registration](t)(w.Operation(t.Context(), here, "sensor", reg.Operation)), reg)
		same(t, "device", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, "Sensor")), d)
	}},
	{"a new one without identity", func(t *testing.T, w *world) {
		reg := registration("sensor")
		reg.Status, reg.Assignment = dps.Failed, nil
		reg.Failure = &dps.Failure{Code: dps.NoHub, Message: "No hub."}
		w.commit(t, dps.RegistrationChange{Registration: reg})
		same(t, "registration", read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor")), reg)
		_, err := w.HubDevice(t.Context(), here, dps.EmbeddedHub, "sensor")
		fails(t, "device", err, dps.DeviceNotFound)
	}},
	{"a replaced one with its identity", func(t *testing.T, w *world) {
		reg, d := w.commitNew(t, "Sensor")
		next := again(reg, start.Add(time.Minute))
		next.ID, next.Entry, next.Evidence = "SENSOR", individual("sensor"), "x509:renewed"
		d2 := d
		d2.Authentication, d2.IotEdge = dps.SelfSigned(dps.ThumbprintOf([]byte("renewed"))), true
		d2.ETag, d2.Updated = dps.NewETag(), next.Updated
		w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: reg.ETag, Device: &d2, DeviceMatch: d.ETag})
		next.ID = "Sensor" // the first spelling stays
		same(t, "registration", read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor")), next)
		same(t, "device", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, "Sensor")), d2)
	}},
	{"a replaced one leaves the identity alone", func(t *testing.T, w *world) {
		reg, d := w.commitNew(t, "sensor")
		w.commit(t, dps.RegistrationChange{Registration: again(reg, start), IfMatch: reg.ETag})
		same(t, "device", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, "sensor")), d)
	}},
	{"at a wrong version nothing at all is written", nothingWritten},
	{"an enrollment that was changed assigns nobody", func(t *testing.T, w *world) {
		e := w.put(t, enrollment(group("line"), byKeys()))
		reg, d := registration("sensor"), device("sensor")
		reg.Entry = e.Ref
		change := dps.RegistrationChange{Registration: reg, Device: &d, EntryMatch: dps.NewETag()}
		fails(t, "another version", w.Commit(t.Context(), change), dps.ConcurrentChange)
		change.EntryMatch = e.ETag
		must(t, w.DeleteEnrollment(t.Context(), here, e.Ref, e.ETag))
		fails(t, "deleted", w.Commit(t.Context(), change), dps.ConcurrentChange)
		_, err := w.HubDevice(t.Context(), here, dps.EmbeddedHub, "sensor")
		fails(t, "device", err, dps.DeviceNotFound)
		w.put(t, e)
		w.commit(t, change)
	}},
	{"an identity at a hub that is not there", func(t *testing.T, w *world) {
		reg, d := registration("sensor"), device("sensor")
		d.Hub = "ghost"
		if err := w.Commit(t.Context(), dps.RegistrationChange{Registration: reg, Device: &d}); err == nil {
			t.Error("committed")
		}
		_, err := w.Registration(t.Context(), here, "sensor")
		fails(t, "registration", err, dps.RegistrationNotFound)
	}},
	{"each failure is read back", func(t *testing.T, w *world) {
		var version dps.ETag
		reg := registration("sensor")
		for _, code := range dps.Codes() {
			reg = again(reg, start)
			reg.Status, reg.Failure = dps.Failed, &dps.Failure{Code: code, Message: "because of " + code.String()}
			w.commit(t, dps.RegistrationChange{Registration: reg, IfMatch: version})
			version = reg.ETag
			same(t, code.String(), read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor")), reg)
		}
	}},
	{"any registration is read back", anyRegistration},
	{"found by status, the latest change first", foundByStatus},
	{"found by ID, beginning and device ID", foundByID},
}

// findRecords are the IDs of the records that a filter finds, page by page.
func (w *world) findRecords(t *testing.T, f dps.RegistrationFilter, size int) []string {
	t.Helper()
	var ids []string
	var after *dps.Cursor
	for {
		found, err := w.FindRegistrations(t.Context(), here, f, size, after)
		must(t, err)
		for _, reg := range found {
			ids = append(ids, string(reg.ID))
		}
		if len(found) < size {
			return ids
		}
		last := found[size-1]
		after = &dps.Cursor{Key: last.ID.Key(), Updated: last.Updated.UnixNano()}
	}
}

func foundByStatus(t *testing.T, w *world) {
	for i, id := range []dps.RegistrationID{"c", "A", "b", "D", "e"} {
		reg := registration(id)
		reg.Entry, reg.Updated = group("line-"+string(id)), start.Add(time.Duration(i/2)*time.Second)
		reg.Status, reg.Failure = dps.Failed, &dps.Failure{Code: dps.NoHub, Message: "No hub."}
		w.commit(t, dps.RegistrationChange{Registration: reg})
	}
	alone, fine, off, foreign := registration("alone"), registration("fine"), registration("off"), registration("b")
	alone.Entry, alone.Status, alone.Updated = individual("alone"), dps.Failed, start.Add(time.Hour)
	alone.Failure = &dps.Failure{Code: dps.NoHub, Message: "No hub."}
	off.Status, foreign.Instance, foreign.Status, foreign.Failure = dps.Disabled, there, dps.Failed, alone.Failure
	for _, reg := range []dps.Registration{alone, fine, off, foreign} {
		w.commit(t, dps.RegistrationChange{Registration: reg})
	}
	for size := 1; size < 8; size++ {
		same(t, "failed", w.findRecords(t, dps.RegistrationFilter{Status: dps.Failed}, size), []string{"alone", "e", "D", "b", "c", "A"})
		same(t, "disabled", w.findRecords(t, dps.RegistrationFilter{Status: dps.Disabled}, size), []string{"off"})
	}
	same(t, "assigning", w.findRecords(t, dps.RegistrationFilter{Status: dps.Assigning}, 3), []string(nil))
}

func foundByID(t *testing.T, w *world) {
	for _, id := range []dps.RegistrationID{"Pump-1", "pump-2", "PUMP-30", "pumpe", "valve", "pum"} {
		reg := registration(id)
		switch id {
		case "valve":
			reg.Assignment.DeviceID = "pump-2"
		case "pumpe":
			reg.Assignment.DeviceID = "Other"
		}
		c := dps.RegistrationChange{Registration: reg}
		if id == "valve" {
			c.From = &dps.Holder{ID: "pump-2", Entry: group("line")}
		}
		w.commit(t, c)
	}
	foreign := registration("pump-2")
	foreign.Instance = there
	w.commit(t, dps.RegistrationChange{Registration: foreign})
	for size := 1; size < 6; size++ {
		same(t, "all", w.findRecords(t, dps.RegistrationFilter{}, size), []string{"pum", "Pump-1", "pump-2", "PUMP-30", "pumpe", "valve"})
		same(t, "prefix", w.findRecords(t, dps.RegistrationFilter{Prefix: "pUMP"}, size), []string{"Pump-1", "pump-2", "PUMP-30", "pumpe"})
		same(
			t,
			"IDs",
			w.findRecords(t, dps.RegistrationFilter{IDs: []dps.RegistrationID{"VALVE", "ghost", "pump-1", "pum"}}, size),
			[]string{"pum", "Pump-1", "valve"},
		)
		same(t, "device", w.findRecords(t, dps.RegistrationFilter{DeviceID: "pump-2"}, size), []string{"pump-2", "valve"})
		same(t, "renamed", w.findRecords(t, dps.RegistrationFilter{DeviceID: "Other"}, size), []string{"pumpe"})
	}
	same(t, "case counts in device IDs", w.findRecords(t, dps.RegistrationFilter{DeviceID: "other"}, 5), []string(nil))
	same(t, "no such beginning", w.findRecords(t, dps.RegistrationFilter{Prefix: "x"}, 5), []string(nil))
}

// nothingWritten tries every change whose record or identity is at another version.
func nothingWritten(t *testing.T, w *world) {
	ctx := t.Context()
	reg, d := w.commitNew(t, "sensor")
	next, d2 := again(reg, start.Add(time.Second)), d
	d2.ETag, d2.IotEdge = dps.NewETag(), true
	other, fresh := registration("other"), device("other")
	for name, c := range map[string]dps.RegistrationChange{
		"registration at another version": {Registration: next, IfMatch: dps.NewETag(), Device: &d2, DeviceMatch: d.ETag},
		"registration is there":           {Registration: next, Device: &d2, DeviceMatch: d.ETag},
		"device at another version":       {Registration: next, IfMatch: reg.ETag, Device: &d2, DeviceMatch: dps.NewETag()},
		"device is there":                 {Registration: next, IfMatch: reg.ETag, Device: &d2},
		"registration is missing":         {Registration: other, IfMatch: dps.NewETag(), Device: &fresh},
		"device is missing":               {Registration: other, Device: &fresh, DeviceMatch: dps.NewETag()},
		"new, but the device is there":    {Registration: other, Device: &d2},
	} {
		fails(t, name, w.Commit(ctx, c), dps.ConcurrentChange)
		same(t, name+": registration", read[dps.Registration](t)(w.Registration(ctx, here, "sensor")), reg)
		same(t, name+": devices", read[[]dps.HubDevice](t)(w.HubDevices(ctx, here, dps.EmbeddedHub, "", 10)), []dps.HubDevice{d})
		_, err := w.Registration(ctx, here, "other")
		fails(t, name+": other registration", err, dps.RegistrationNotFound)
		_, err = w.Operation(ctx, here, "sensor", next.Operation)
		fails(t, name+": operation", err, dps.OperationNotFound)
	}
	w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: reg.ETag, Device: &d2, DeviceMatch: d.ETag})
	same(t, "superseded once", read[dps.Registration](t)(w.Operation(ctx, here, "sensor", reg.Operation)), reg)
}

func anyRegistration(t *testing.T, w *world) {
	var version dps.ETag
	rapid.Check(t, func(rt *rapid.T) {
		reg := drawRegistration(rt)
		if err := w.Commit(t.Context(), dps.RegistrationChange{Registration: reg, IfMatch: version}); err != nil {
			rt.Fatal(err)
		}
		version = reg.ETag
		got, err := w.Registration(t.Context(), here, reg.ID)
		if err != nil {
			rt.Fatal(err)
		}
		same(t, "drawn", got, reg)
	})
}

func drawRegistration(rt *rapid.T) dps.Registration {
	reg := registration("drawn")
	reg.Entry = rapid.SampledFrom([]dps.EntryRef{individual("Drawn"), group("Line")}).Draw(rt, "entry")
	reg.Attestation = rapid.SampledFrom([]dps.AttestationType{dps.TPM, dps.X509, dps.SymmetricKey}).Draw(rt, "attestation")
	reg.Evidence = rapid.String().Draw(rt, "evidence")
	reg.Status = rapid.SampledFrom([]dps.RegistrationStatus{dps.Unassigned, dps.Assigning, dps.Assigned, dps.Failed, dps.Disabled}).
		Draw(rt, "status")
	reg.Assignment = drawn(rt, "assignment", rapid.Custom(func(rt *rapid.T) dps.Assignment {
		return dps.Assignment{
			Hub: dps.HubID(rapid.StringN(1, 20, -1).Draw(rt, "hub")), DeviceID: dps.DeviceID(rapid.String().Draw(rt, "device")),
			Substatus: rapid.SampledFrom([]dps.Substatus{
				dps.InitialAssignment, dps.DeviceDataMigrated, dps.DeviceDataReset, dps.ReprovisionedToInitialAssignment,
			}).Draw(rt, "substatus"),
			Entry:   rapid.SampledFrom([]dps.EntryRef{individual("Drawn"), group("Line"), group("Other")}).Draw(rt, "assigned by"),
			TakenBy: rapid.SampledFrom([]dps.RegistrationID{"", "Pump"}).Draw(rt, "taken by"),
		}
	}))
	reg.Failure = drawn(rt, "failure", rapid.Custom(func(rt *rapid.T) dps.Failure {
		return dps.Failure{Code: rapid.SampledFrom(dps.Codes()).Draw(rt, "code"), Message: rapid.String().Draw(rt, "message")}
	}))
	reg.Updated = start.Add(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(rt, "updated")))
	return reg
}

var operationCases = []testCase{
	{"of another device it is not found", func(t *testing.T, w *world) {
		one, _ := w.commitNew(t, "one")
		two, _ := w.commitNew(t, "two")
		w.commit(t, dps.RegistrationChange{Registration: again(one, start), IfMatch: one.ETag})
		for _, op := range []dps.OperationID{one.Operation, two.Operation} {
			_, err := w.Operation(t.Context(), here, "three", op)
			fails(t, "a device that never registered", err, dps.OperationNotFound)
		}
		_, err := w.Operation(t.Context(), here, "one", two.Operation)
		fails(t, "latest of the other", err, dps.OperationNotFound)
		_, err = w.Operation(t.Context(), here, "two", one.Operation)
		fails(t, "superseded of the other", err, dps.OperationNotFound)
	}},
	{"superseded it is readable for its lifetime", func(t *testing.T, w *world) {
		reg, _ := w.commitNew(t, "Sensor")
		w.clock.Advance(time.Minute)
		next := again(reg, w.clock.Now())
		next.Status = dps.Disabled
		w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: reg.ETag})
		same(t, "superseded", read[dps.Registration](t)(w.Operation(t.Context(), here, "sENSOR", reg.Operation)), reg)
		same(t, "latest", read[dps.Registration](t)(w.Operation(t.Context(), here, "sensor", next.Operation)), next)

		w.clock.Advance(dps.OperationLifetime - time.Minute)
		must(t, w.Sweep(t.Context()))
		same(t, "at the end", read[dps.Registration](t)(w.Operation(t.Context(), here, "sensor", reg.Operation)), reg)
		w.clock.Advance(dps.OperationLifetime)
		_, err := w.Operation(t.Context(), here, "sensor", reg.Operation)
		fails(t, "expired", err, dps.OperationNotFound)
		must(t, w.Sweep(t.Context()))
		_, err = w.Operation(t.Context(), here, "sensor", reg.Operation)
		fails(t, "swept", err, dps.OperationNotFound)
		same(t, "the latest never expires", read[dps.Registration](t)(w.Operation(t.Context(), here, "sensor", next.Operation)), next)
	}},
	{"several superseded ones", func(t *testing.T, w *world) {
		var all []dps.Registration
		reg, _ := w.commitNew(t, "sensor")
		for range 5 {
			all = append(all, reg)
			w.clock.Advance(time.Second)
			next := again(reg, w.clock.Now())
			w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: reg.ETag})
			reg = next
		}
		for _, want := range append(all, reg) {
			same(t, "operation", read[dps.Registration](t)(w.Operation(t.Context(), here, "sensor", want.Operation)), want)
		}
	}},
	{"a sweep removes all that expired and nothing else", func(t *testing.T, w *world) {
		const devices = 450 // more than one batch of any engine
		var old, live []dps.Registration
		for i := range devices {
			reg := registration(dps.RegistrationID('a'+rune(i%26)) + "-" + dps.RegistrationID(dps.NewOperationID()))
			w.commit(t, dps.RegistrationChange{Registration: reg})
			w.commit(t, dps.RegistrationChange{Registration: again(reg, start), IfMatch: reg.ETag})
			old = append(old, reg)
		}
		w.clock.Advance(dps.OperationLifetime + time.Second)
		for i := range 3 {
			reg := registration(dps.RegistrationID('0' + rune(i)))
			reg.Updated = w.clock.Now()
			w.commit(t, dps.RegistrationChange{Registration: reg})
			w.commit(t, dps.RegistrationChange{Registration: again(reg, w.clock.Now()), IfMatch: reg.ETag})
			live = append(live, reg)
		}
		must(t, w.Sweep(t.Context()))
		w.clock.Advance(-time.Minute) // what was only hidden would be back
		for _, reg := range old {
			if _, err := w.Operation(t.Context(), here, reg.ID, reg.Operation); dps.CodeOf(err) != dps.OperationNotFound {
				t.Fatalf("operation of %s after the sweep: %v", reg.ID, err)
			}
		}
		for _, reg := range live {
			same(t, "live", read[dps.Registration](t)(w.Operation(t.Context(), here, reg.ID, reg.Operation)), reg)
		}
	}},
}
