package enroll_test

import (
	"context"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
)

// flaky is a store whose calls fail as told; the others reach the real one.
type flaky struct {
	enroll.Store
	reads, writes error // nil lets pass
	busy          int   // how many writes still meet a concurrent change
	tried         int   // how many writes were tried
}

func (f *flaky) write() error {
	f.tried++
	if f.busy > 0 {
		f.busy--
		return dps.Errorf(dps.ConcurrentChange, "Precondition failed.")
	}
	return f.writes
}

func (f *flaky) Enrollment(ctx context.Context, id dps.InstanceID, ref dps.EntryRef) (dps.Enrollment, error) {
	if f.reads != nil {
		return dps.Enrollment{}, f.reads
	}
	return f.Store.Enrollment(ctx, id, ref)
}

func (f *flaky) PutEnrollment(ctx context.Context, e dps.Enrollment, ifMatch dps.ETag) error {
	if err := f.write(); err != nil {
		return err
	}
	return f.Store.PutEnrollment(ctx, e, ifMatch)
}

func (f *flaky) DeleteEnrollment(ctx context.Context, id dps.InstanceID, ref dps.EntryRef, ifMatch dps.ETag) error {
	if err := f.write(); err != nil {
		return err
	}
	return f.Store.DeleteEnrollment(ctx, id, ref, ifMatch)
}

func (f *flaky) CACertificate(ctx context.Context, id dps.InstanceID, name dps.CAName) (dps.CACertificate, error) {
	if f.reads != nil {
		return dps.CACertificate{}, f.reads
	}
	return f.Store.CACertificate(ctx, id, name)
}

func (f *flaky) PutCACertificate(ctx context.Context, c dps.CACertificate, ifMatch dps.ETag) error {
	if err := f.write(); err != nil {
		return err
	}
	return f.Store.PutCACertificate(ctx, c, ifMatch)
}

func (f *flaky) DeleteCACertificate(ctx context.Context, id dps.InstanceID, name dps.CAName, ifMatch dps.ETag) error {
	if err := f.write(); err != nil {
		return err
	}
	return f.Store.DeleteCACertificate(ctx, id, name, ifMatch)
}

// operation is one way to write, on records that are there.
type operation struct {
	name string
	call func(t *testing.T, s *enroll.Service, cond dps.Condition) error
}

var operations = []operation{
	{"Put", func(t *testing.T, s *enroll.Service, cond dps.Condition) error {
		_, err := s.Put(t.Context(), draft(individual("sensor"), byTPM()), cond)
		return err
	}},
	{"Delete", func(t *testing.T, s *enroll.Service, cond dps.Condition) error {
		return s.Delete(t.Context(), in, individual("sensor"), cond)
	}},
	{"PutCACertificate", func(t *testing.T, s *enroll.Service, cond dps.Condition) error {
		_, err := s.PutCACertificate(t.Context(), in, enroll.Upload{Name: "root"}, cond)
		return err
	}},
	{"GenerateCode", func(t *testing.T, s *enroll.Service, cond dps.Condition) error {
		_, err := s.GenerateCode(t.Context(), in, "root", cond)
		return err
	}},
	{"DeleteCACertificate", func(t *testing.T, s *enroll.Service, cond dps.Condition) error {
		return s.DeleteCACertificate(t.Context(), in, "root", cond)
	}},
}

// flakyWorld has an enrollment and a CA certificate behind a flaky store.
func flakyWorld(t *testing.T) (*world, *flaky, *enroll.Service) {
	t.Helper()
	w := newWorld(t)
	w.put(t, draft(individual("sensor"), byTPM()))
	w.upload(t, "root", *certificate(t, "root"))
	f := &flaky{Store: w.store}
	return w, f, enroll.New(f, w.clock)
}

func TestConcurrentChangesAreMadeAnew(t *testing.T) {
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			_, f, s := flakyWorld(t)
			f.busy = 3
			if err := op.call(t, s, anyVersion); err != nil || f.tried != 4 {
				t.Errorf("after 3 concurrent changes: %v, %d tries", err, f.tried)
			}
			w, f, s := flakyWorld(t)
			f.busy = 1 << 20
			fails(t, "endless changes", op.call(t, s, anyVersion), dps.ConcurrentChange)
			if f.tried < 2 || f.tried > 100 {
				t.Errorf("gave up after %d tries", f.tried)
			}

			f.tried = 0
			exact := dps.Match(w.ca(t, "root").ETag)
			if op.name == "Put" || op.name == "Delete" {
				e, err := w.Get(t.Context(), in, individual("sensor"))
				if err != nil {
					t.Fatal(err)
				}
				exact = dps.Match(e.ETag)
			}
			fails(t, "one version", op.call(t, s, exact), dps.PreconditionFailed)
			if f.tried != 1 {
				t.Errorf("tried %d times under an exact version, want once", f.tried)
			}
		})
	}
}

func TestStoreUnavailable(t *testing.T) {
	down := dps.Errorf(dps.Unavailable, "Try again later.")
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			w, f, s := flakyWorld(t)
			f.reads = down
			fails(t, "reads", op.call(t, s, anyVersion), dps.Unavailable)
			if f.tried != 0 {
				t.Error("wrote without having read")
			}
			f.reads, f.writes = nil, down
			fails(t, "writes", op.call(t, s, anyVersion), dps.Unavailable)
			if f.tried != 1 {
				t.Errorf("tried %d times, want once", f.tried)
			}
			if _, err := w.Get(t.Context(), in, individual("sensor")); err != nil {
				t.Error(err)
			}
		})
	}
}
