package fault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mooring-iot/mooring/internal/pki"
)

const (
	fleetSize = 2000
	kills     = 10
)

// TestKillDuringRegistrations ends the service with kill -9 at random moments while
// 2,000 devices register and enrollments are written, and starts it again on the same
// data, again and again.
func TestKillDuringRegistrations(t *testing.T) {
	random := newRandom(t)
	s := startService(t, t.TempDir())
	ca := prepare(t, s)
	l := newLedger()

	group, ctx := errgroup.WithContext(t.Context())
	t.Cleanup(func() { _ = group.Wait() }) // the test's own context ends it when the test failed
	group.Go(func() error { return fleet(ctx, s, l, ca) })
	for _, at := range moments(random) {
		if !l.await(ctx, at) {
			break
		}
		upTo(random, 20*time.Millisecond)
		s.kill()
		seen := l.all()
		checkImage(t, s.data, seen)
		if random.IntN(3) == 0 { // killed again while it recovers
			again := launch(t, s.data)
			upTo(random, 100*time.Millisecond)
			again.kill()
		}
		s.start(t)
		if err := checkAll(t.Context(), s, sample(random, seen)); err != nil {
			t.Errorf("after the restart: %v", err)
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}

	s.kill()
	left := checkImage(t, s.data, l.all())
	same(t, "registrations", left.registrations, fleetSize)
	same(t, "identities", left.identities, fleetSize)
	s.start(t)
	l.verify(t, s)
	s.stop(t)
	same(t, "records after an orderly end", checkImage(t, s.data, l.all()), left)
	t.Logf("%d answers 202 seen by %d devices, %d enrollments", len(l.all()), len(l.devices()), left.enrollments)
}

// moments returns after how many acks to kill, in ascending order.
func moments(random *rand.Rand) []int {
	at := make([]int, kills)
	for i := range at {
		at[i] = 1 + random.IntN(fleetSize-workers)
	}
	slices.Sort(at)
	return at
}

// await returns when n acks were seen. It reports false when ctx ended before.
func (l *ledger) await(ctx context.Context, n int) bool {
	for {
		if len(l.all()) >= n {
			return true
		}
		select {
		case <-l.progress:
		case <-ctx.Done():
			return false
		}
	}
}

// sample returns the last acks before a kill, and some of the earlier ones.
func sample(random *rand.Rand, acks []ack) []ack {
	const last, earlier = 2 * workers, workers
	cut := max(0, len(acks)-last)
	chosen := slices.Clone(acks[cut:])
	for range min(cut, earlier) {
		chosen = append(chosen, acks[random.IntN(cut)])
	}
	return chosen
}

// fleet lets all devices register. Every fourth one reboots and registers again, and
// beside every fourth one an enrollment is written.
func fleet(ctx context.Context, s *service, l *ledger, ca *pki.Issued) error {
	numbers := make([]int, fleetSize)
	for i := range numbers {
		numbers[i] = i
	}
	return each(ctx, numbers, func(ctx context.Context, i int) error {
		d, err := newDevice(s, ca, fmt.Sprintf("device-%04d", i))
		if err != nil {
			return err
		}
		defer d.client.CloseIdleConnections()
		if err := l.live(ctx, s, d); err != nil {
			return err
		}
		switch i % 4 {
		case 0:
			return l.live(ctx, s, d)
		case 1:
			return l.enroll(ctx, s, i)
		}
		return nil
	})
}

// enroll creates an enrollment, under another name when the answer is lost, and
// changes every third one.
func (l *ledger) enroll(ctx context.Context, s *service, i int) error {
	for try := range maxTries {
		id := fmt.Sprintf("single-%04d-%d", i, try)
		etag, err := s.putEnrollment(ctx, id, "")
		if err != nil {
			return err
		}
		if etag == "" {
			continue // it may be there or not
		}
		if i%3 == 0 {
			if etag, err = s.putEnrollment(ctx, id, etag); err != nil {
				return err
			}
		}
		l.enrolled(id, etag)
		return nil
	}
	return errors.New("no enrollment could be created")
}

// putEnrollment writes an enrollment once and returns its etag, "" when the answer was
// lost.
func (s *service) putEnrollment(ctx context.Context, id, ifMatch string) (string, error) {
	if err := s.awaitUp(ctx); err != nil {
		return "", err
	}
	var got struct{ ETag string }
	c := s.serviceCall(http.MethodPut, "/enrollments/"+id, object{
		"registrationId": id, "attestation": object{"type": "symmetricKey"},
	})
	c.ifMatch = ifMatch
	err := c.once(ctx, http.StatusOK, &got)
	if _, answered := errors.AsType[*statusError](err); answered {
		return "", err
	}
	if err == nil && got.ETag == "" {
		return "", fmt.Errorf("enrollment %s was answered without an etag", id)
	}
	return got.ETag, nil // a lost answer is what these tests cause
}

// TestKillDuringFirstStart ends the very first start at random moments: whatever part
// of the data directory is there by then, the next start must be able to go on.
func TestKillDuringFirstStart(t *testing.T) {
	random := newRandom(t)
	began := time.Now()
	whole := startService(t, t.TempDir())
	took := time.Since(began)
	whole.stop(t)
	for range 6 {
		data := t.TempDir()
		for range 2 {
			p := launch(t, data)
			upTo(random, took)
			select {
			case <-p.exited:
				t.Fatalf("mooring ended by itself: %v: %s", p.err, p.stderr.String())
			default:
				p.kill()
			}
		}
		s := startService(t, data)
		l := newLedger()
		l.registerAll(t, s, prepare(t, s), "device", 3)
		s.stop(t)
		same(t, "records", checkImage(t, data, l.all()), counts{registrations: 3, identities: 3})
	}
}

// TestTerminateUnderLoad ends the service with SIGTERM while devices register.
func TestTerminateUnderLoad(t *testing.T) {
	random := newRandom(t)
	s := startService(t, t.TempDir())
	ca := prepare(t, s)
	l := newLedger()
	load, end := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(load)
	t.Cleanup(func() { _ = group.Wait() })
	for worker := range workers {
		group.Go(func() error { return l.keepRegistering(ctx, load, s, ca, worker) })
	}
	for at := 50; at <= 250; at += 100 {
		if !l.await(ctx, at) {
			break
		}
		upTo(random, 20*time.Millisecond)
		s.stop(t)
		checkImage(t, s.data, l.all())
		s.start(t)
	}
	end()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	l.verify(t, s)
	s.stop(t)
}

// keepRegistering registers one device after the other until load ends.
func (l *ledger) keepRegistering(ctx, load context.Context, s *service, ca *pki.Issued, worker int) error {
	for i := 0; ; i++ {
		d, err := newDevice(s, ca, fmt.Sprintf("device-%d-%d", worker, i))
		if err != nil {
			return err
		}
		err = l.live(ctx, s, d)
		d.client.CloseIdleConnections()
		if load.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
