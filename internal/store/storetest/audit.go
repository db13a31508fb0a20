package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

// entry returns an entry that is not stored yet.
func entry(id string) audit.Entry {
	return audit.Entry{
		Instance: here, Principal: audit.ByPolicy("owner"), Operation: audit.Put, Kind: audit.Enrollment, ID: id,
		Result: audit.OK, TrackingID: "t-" + id, Remote: "192.0.2.1:1234",
	}
}

// record stores e and returns it as it must be read back.
func (w *world) record(t *testing.T, e audit.Entry) audit.Entry {
	t.Helper()
	seq, err := w.RecordAudit(t.Context(), e)
	must(t, err)
	if e.Seq == 0 {
		e.Time = w.clock.Now().UTC()
	}
	e.Seq = seq
	return e
}

// entries returns what a filter selects, newest first.
func (w *world) entries(t *testing.T, f audit.Filter) []audit.Entry {
	t.Helper()
	return read[[]audit.Entry](t)(w.Audit(t.Context(), here, f, 1000, nil))
}

// begun returns a context whose change the guard has allowed.
func begun(t *testing.T, id string) (context.Context, *audit.Change) {
	t.Helper()
	ctx, c := audit.Begin(t.Context(), entry(id))
	c.Allow(audit.ByPolicy("owner"))
	return ctx, c
}

var auditCases = []testCase{
	{"entries are read back, newest first", func(t *testing.T, w *world) {
		same(t, "none", w.entries(t, audit.Filter{}), []audit.Entry(nil))
		one := w.record(t, entry("a"))
		e := entry("\x00\"'; DROP TABLE audit; --\u202e\nü")
		e.OldETag, e.NewETag, e.Result = "old", "new", audit.ResultOf(dps.Errorf(dps.Conflict, ""))
		two := w.record(t, e) // at the same moment
		w.clock.Advance(time.Second)
		several := entry("")
		several.Several, several.Succeeded, several.Failed = true, 7, 3
		three := w.record(t, several)
		same(t, "all", w.entries(t, audit.Filter{}), []audit.Entry{three, two, one})

		w.clock.Advance(time.Hour)
		three.Succeeded, three.Result = 8, "Invalid"
		same(t, "in place", w.record(t, three), three)
		same(t, "with its first time", w.entries(t, audit.Filter{})[0], three)
	}},
	{"filters", auditFilters},
	{"instances have audits of their own", func(t *testing.T, w *world) {
		w.record(t, entry("a"))
		same(t, "the other", read[[]audit.Entry](t)(w.Audit(t.Context(), there, audit.Filter{}, 10, nil)), []audit.Entry(nil))
		e := entry("a")
		e.Instance = "ghost"
		if _, err := w.RecordAudit(t.Context(), e); err == nil {
			t.Error("recorded for an instance that does not exist")
		}
	}},
	{"the entry of a change is as durable as the change", changeWithEntry},
	{"a change whose entry cannot be written is not made", func(t *testing.T, w *world) {
		e := entry("sensor")
		e.Instance = "ghost"
		ctx, c := audit.Begin(t.Context(), e)
		c.Allow(audit.ByPolicy("owner"))
		if err := w.PutEnrollment(ctx, enrollment(individual("sensor"), byKeys()), ""); err == nil {
			t.Error("written without its entry")
		}
		_, err := w.Enrollment(t.Context(), here, individual("sensor"))
		fails(t, "not written", err, dps.EnrollmentNotFound)
	}},
	{"several records have one entry", severalRecords},
	{"every write of an operator has its entry", everyWrite},
	{"pages go on while entries are written", auditPages},
}

func auditFilters(t *testing.T, w *world) {
	a := w.record(t, entry("Sensor"))
	w.clock.Advance(time.Minute)
	e := entry("other")
	e.Principal, e.Operation, e.Kind, e.Result = audit.ByToken("operator"), audit.Delete, audit.Certificate, "PreconditionFailed"
	b := w.record(t, e)
	for name, tt := range map[string]struct {
		f    audit.Filter
		want []audit.Entry
	}{
		"from the first":   {audit.Filter{From: a.Time}, []audit.Entry{b, a}},
		"after the first":  {audit.Filter{From: a.Time.Add(1)}, []audit.Entry{b}},
		"before the last":  {audit.Filter{To: b.Time}, []audit.Entry{a}},
		"at none":          {audit.Filter{From: a.Time.Add(1), To: b.Time}, nil},
		"principal":        {audit.Filter{Principal: "POLICY:Owner"}, []audit.Entry{a}},
		"operation":        {audit.Filter{Operation: audit.Delete}, []audit.Entry{b}},
		"kind":             {audit.Filter{Kind: audit.Certificate}, []audit.Entry{b}},
		"ID in other case": {audit.Filter{ID: "sENSOR"}, []audit.Entry{a}},
		"no pattern":       {audit.Filter{ID: "s%"}, nil},
		"no SQL":           {audit.Filter{ID: "' OR 1=1 --", Principal: "' OR 1=1 --"}, nil},
		"OK":               {audit.Filter{Result: audit.OK}, []audit.Entry{a}},
		"a code":           {audit.Filter{Result: "PreconditionFailed"}, []audit.Entry{b}},
		"failed":           {audit.Filter{Result: audit.Failed}, []audit.Entry{b}},
		"two members":      {audit.Filter{Kind: audit.Certificate, ID: "sensor"}, nil},
	} {
		same(t, name, w.entries(t, tt.f), tt.want)
	}
}

func changeWithEntry(t *testing.T, w *world) {
	ctx, c := begun(t, "sensor")
	e := enrollment(individual("sensor"), byKeys())
	must(t, w.PutEnrollment(ctx, e, ""))
	got := w.entries(t, audit.Filter{})
	if len(got) != 1 || got[0].OldETag != "" || got[0].NewETag != e.ETag || got[0].Result != audit.OK || got[0].Principal != "policy:owner" {
		t.Errorf("entries = %+v", got)
	}
	log := audit.New(audit.Options{Store: w.Store})
	log.Settle(ctx, c, nil)
	log.Settle(ctx, c, errors.New("the answer could not be written"))
	same(t, "settled already", w.entries(t, audit.Filter{}), got)

	ctx, _ = begun(t, "sensor")
	fails(t, "another version", w.PutEnrollment(ctx, e, dps.NewETag()), dps.ConcurrentChange)
	same(t, "no change, no entry", w.entries(t, audit.Filter{}), got)
	must(t, w.DeleteEnrollment(t.Context(), here, e.Ref, e.ETag))
	same(t, "not an operator's change", w.entries(t, audit.Filter{}), got)
}

func severalRecords(t *testing.T, w *world) {
	ctx, c := begun(t, "")
	c.Several(audit.BulkCreate)
	log := audit.New(audit.Options{Store: w.Store})
	var last audit.Entry
	for i := range 3 {
		must(t, w.PutEnrollment(ctx, enrollment(individual(fmt.Sprint(i)), byKeys()), ""))
		all := w.entries(t, audit.Filter{})
		if len(all) != 1 || all[0].Succeeded != i+1 || !all[0].Several {
			t.Fatalf("after %d: %+v", i+1, all)
		}
		last = all[0]
	}
	c.Failed(dps.Errorf(dps.Conflict, "taken"))
	c.Failed(dps.Errorf(dps.Invalid, "wrong"))
	log.Settle(ctx, c, nil)
	last.Failed, last.Result, last.Operation = 2, "Conflict", audit.BulkCreate
	same(t, "settled", w.entries(t, audit.Filter{}), []audit.Entry{last})

	for range 2 {
		batchCtx, batch := audit.BeginBatch(ctx, audit.Import, audit.Group)
		must(t, w.PutEnrollment(batchCtx, enrollment(group(string(dps.NewETag()[4:12])+"x"), byKeys()), ""))
		batch.Failed(dps.Errorf(dps.Invalid, "wrong"))
		log.Settle(batchCtx, batch, nil)
	}
	batches := w.entries(t, audit.Filter{Operation: audit.Import})
	if len(batches) != 2 || batches[0].Succeeded != 1 || batches[0].Failed != 1 || batches[0].Kind != audit.Group ||
		batches[0].Principal != "policy:owner" {
		t.Errorf("batches = %+v", batches)
	}
}

func everyWrite(t *testing.T, w *world) {
	reg, _ := w.commitNew(t, "sensor")
	one, ca := enrollment(individual("one"), byKeys()), caCertificate("root", certificate(t, "root"))
	in := w.instance(t, here)
	changed := in
	changed.ETag = dps.NewETag()
	for name, tt := range map[string]struct {
		before, after dps.ETag
		write         func(ctx context.Context) error
	}{
		"1 put enrollment":    {"", one.ETag, func(ctx context.Context) error { return w.PutEnrollment(ctx, one, "") }},
		"delete registration": {reg.ETag, "", func(ctx context.Context) error { return w.DeleteRegistration(ctx, here, reg.ID, reg.ETag) }},
		"put CA certificate":  {"", ca.ETag, func(ctx context.Context) error { return w.PutCACertificate(ctx, ca, "") }},
		"configure": {in.ETag, changed.ETag, func(ctx context.Context) error {
			return w.Configure(ctx, dps.InstanceChange{Instance: changed, IfMatch: in.ETag})
		}},
	} {
		w.writes(t, name, tt.before, tt.after, tt.write)
	}
	w.writes(t, "delete enrollment", one.ETag, "", func(ctx context.Context) error { return w.DeleteEnrollment(ctx, here, one.Ref, one.ETag) })
	w.writes(
		t,
		"delete CA certificate",
		ca.ETag,
		"",
		func(ctx context.Context) error { return w.DeleteCACertificate(ctx, here, ca.Name, ca.ETag) },
	)
}

// writes checks that a write has exactly one entry, with these versions.
func (w *world) writes(t *testing.T, name string, before, after dps.ETag, write func(ctx context.Context) error) {
	t.Helper()
	ctx, _ := begun(t, name)
	must(t, write(ctx))
	got := w.entries(t, audit.Filter{ID: name})
	if len(got) != 1 || got[0].OldETag != before || got[0].NewETag != after {
		t.Errorf("%s: entries %+v, want one from %q to %q", name, got, before, after)
	}
}

func auditPages(t *testing.T, w *world) {
	const count, pages = 40, 7
	var want []int64
	for i := range count {
		want = append([]int64{w.record(t, entry(fmt.Sprint(i))).Seq}, want...)
		if i%3 == 0 {
			w.clock.Advance(time.Second)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for ctx.Err() == nil {
				_, _ = w.RecordAudit(ctx, entry("new"))
			}
		})
	}
	defer writers.Wait()
	defer stop()

	log := audit.New(audit.Options{Store: w.Store})
	var got []int64
	var after *audit.Cursor
	for more := true; more; more = after != nil {
		page, next, err := log.Entries(t.Context(), here, audit.Filter{To: w.clock.Now().Add(time.Hour)}, pages, after)
		must(t, err)
		for _, e := range page {
			if e.ID != "new" {
				got = append(got, e.Seq)
			}
		}
		w.clock.Advance(time.Second)
		after = next
	}
	same(t, "every entry once, in order", got, want)
}
