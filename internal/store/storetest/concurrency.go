package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// How many writers race for one record, and how often.
const (
	writers = 64
	rounds  = 6
)

var concurrencyCases = []testCase{
	{"one writer of an enrollment wins", func(t *testing.T, w *world) {
		race(t, func(ctx context.Context, next, ifMatch dps.ETag) error {
			e := enrollment(individual("sensor"), byKeys())
			e.ETag = next
			return w.PutEnrollment(ctx, e, ifMatch)
		})
	}},
	{"one writer of a CA certificate wins", func(t *testing.T, w *world) {
		cert := certificate(t, "root")
		race(t, func(ctx context.Context, next, ifMatch dps.ETag) error {
			ca := caCertificate("root", cert)
			ca.ETag = next
			return w.PutCACertificate(ctx, ca, ifMatch)
		})
	}},
	{"one writer of a registration wins", func(t *testing.T, w *world) {
		race(t, func(ctx context.Context, next, ifMatch dps.ETag) error {
			reg, d := registration("sensor"), device("sensor")
			reg.ETag, d.ETag = next, next
			return w.Commit(ctx, dps.RegistrationChange{Registration: reg, IfMatch: ifMatch, Device: &d, DeviceMatch: ifMatch})
		})
		if all := read[[]dps.HubDevice](t)(w.HubDevices(t.Context(), here, dps.EmbeddedHub, "", 10)); len(all) != 1 {
			t.Errorf("%d identities, want one", len(all))
		}
	}},
	{"one enrollment gets a certificate", func(t *testing.T, w *world) {
		cert := certificate(t, "device")
		var won atomic.Int32
		together(func(i int) {
			err := w.PutEnrollment(t.Context(), enrollment(individual(fmt.Sprintf("sensor-%d", i)), byCertificate(cert)), "")
			switch {
			case err == nil:
				won.Add(1)
			case dps.CodeOf(err) != dps.Conflict:
				t.Errorf("writer %d: %v", i, err)
			}
		})
		if won.Load() != 1 {
			t.Errorf("%d enrollments hold the certificate", won.Load())
		}
	}},
	{"one writer deletes", func(t *testing.T, w *world) {
		e := w.put(t, enrollment(group("line"), byKeys()))
		var won atomic.Int32
		together(func(int) {
			err := w.DeleteEnrollment(t.Context(), here, e.Ref, e.ETag)
			switch {
			case err == nil:
				won.Add(1)
			case dps.CodeOf(err) != dps.ConcurrentChange:
				t.Error(err)
			}
		})
		if won.Load() != 1 {
			t.Errorf("%d deletes succeeded", won.Load())
		}
	}},
	{"readers see whole records while writers change them", func(t *testing.T, w *world) {
		reg, d := w.commitNew(t, "sensor")
		together(func(i int) {
			if i%8 != 0 {
				if _, err := w.Registration(t.Context(), here, "sensor"); err != nil {
					t.Error(err)
				}
				return
			}
			other := fmt.Sprintf("sensor-%d", i)
			r, dev := registration(dps.RegistrationID(other)), device(dps.DeviceID(other))
			if err := w.Commit(t.Context(), dps.RegistrationChange{Registration: r, Device: &dev}); err != nil {
				t.Error(err)
			}
		})
		same(t, "registration", read[dps.Registration](t)(w.Registration(t.Context(), here, "sensor")), reg)
		same(t, "device", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, "sensor")), d)
	}},
}

// together runs do in all writers at once and waits for them.
func together(do func(i int)) {
	var all sync.WaitGroup
	gate := make(chan struct{})
	for i := range writers {
		all.Go(func() {
			<-gate
			do(i)
		})
	}
	close(gate)
	all.Wait()
}

// race lets all writers replace one version, beginning with none, round after
// round. Exactly one may win each; the others hear ConcurrentChange.
func race(t *testing.T, write func(ctx context.Context, next, ifMatch dps.ETag) error) {
	t.Helper()
	var current dps.ETag
	for round := range rounds {
		var mu sync.Mutex
		var won []dps.ETag
		together(func(int) {
			next := dps.NewETag()
			err := write(t.Context(), next, current)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, next)
			case dps.CodeOf(err) != dps.ConcurrentChange:
				t.Errorf("round %d: %v", round, err)
			}
		})
		if len(won) != 1 {
			t.Fatalf("round %d: %d writers won, want one", round, len(won))
		}
		current = won[0]
	}
}
