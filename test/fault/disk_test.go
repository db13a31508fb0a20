package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mooring-iot/mooring/internal/pki"
)

const (
	diskSize = 12 << 20 // bytes: new databases have pages of 8 KB

	// maxUntilFull is how many writes a full disk may still take: what the files have
	// room for without growing.
	maxUntilFull = 2000
)

// disk is a small disk that can be filled.
type disk struct{ dir string }

func (d disk) data() string    { return filepath.Join(d.dir, "data") }
func (d disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves no more than free bytes.
func (d disk) fill(t *testing.T, free int) {
	t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 16, 1 << 12, 1} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("filling the disk: %v", err)
		}
		err = nil
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate(max(0, info.Size()-int64(free)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// empty makes room again.
func (d disk) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		t.Fatal(err)
	}
}

// checkFull fails the test unless the process lives, and says that it cannot write.
func checkFull(t *testing.T, s *service) {
	t.Helper()
	if err := portalStatus(t.Context(), s.portal, "/healthz"); err != nil {
		t.Error(err)
	}
	if err := portalStatus(t.Context(), s.portal, "/readyz"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("readyz on a full disk: %v, want 503", err)
	}
}

// TestFullDisk fills the disk below a service that registers devices.
func TestFullDisk(t *testing.T) {
	d := disk{smallDisk(t, diskSize)}
	s := startService(t, d.data())
	ca := prepare(t, s)
	l := newLedger()
	l.registerAll(t, s, ca, "early", 100)
	if err := l.enroll(t.Context(), s, 1); err != nil {
		t.Fatal(err)
	}

	for round := range 2 {
		d.fill(t, 0)
		refused := l.registerUntilFull(t, s, ca, fmt.Sprintf("late-%d", round))
		d.fill(t, 0) // with what the refused changes set free
		checkFull(t, s)
		checkNothingOf(t, s, refused)
		l.verify(t, s)
		checkImage(t, s.data, l.all())
		l.enrollUntilFull(t, s, fmt.Sprintf("large-%d", round))

		d.empty(t)
		s.checkReady(t)
		if err := l.live(t.Context(), s, refused); err != nil {
			t.Errorf("with space again: %v", err)
		}
		l.registerAll(t, s, ca, fmt.Sprintf("again-%d", round), 100)
	}
	s.kill()
	checkImage(t, s.data, l.all())
	s.start(t)
	l.verify(t, s)
	s.stop(t)
}

// registerUntilFull registers devices until one is refused, and returns that one.
func (l *ledger) registerUntilFull(t *testing.T, s *service, ca *pki.Issued, prefix string) *device {
	t.Helper()
	for i := range maxUntilFull {
		d, err := newDevice(s, ca, fmt.Sprintf("%s-%04d", prefix, i))
		if err != nil {
			t.Fatal(err)
		}
		a, err := d.registerCall().send(t.Context())
		d.client.CloseIdleConnections()
		if err != nil {
			t.Fatal(err)
		}
		if a.status != http.StatusAccepted {
			checkUnavailable(t, a)
			return d
		}
		var op operation
		if err := json.Unmarshal(a.body, &op); err != nil {
			t.Fatal(err)
		}
		seen, err := newAck(d, op)
		if err != nil {
			t.Fatal(err)
		}
		l.add(seen)
	}
	t.Fatalf("%d devices registered on a full disk", maxUntilFull)
	return nil
}

// checkUnavailable fails unless the answer is the protocol's "try again later".
func checkUnavailable(t *testing.T, a answer) {
	t.Helper()
	var body struct {
		ErrorCode           int
		TrackingID, Message string
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		t.Errorf("the refusal is no JSON: %v: %s", err, a.body)
	}
	if a.status != http.StatusServiceUnavailable || body.ErrorCode != 503001 || body.TrackingID == "" || body.Message == "" {
		t.Errorf("answer %d %.300s, want 503 with errorCode 503001, a tracking ID and a message", a.status, a.body)
	}
	if strings.Contains(body.Message, "SQL") || strings.Contains(body.Message, "disk") {
		t.Errorf("the message tells of the inside: %s", body.Message)
	}
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 1 {
		t.Errorf("Retry-After = %q, want seconds", a.header.Get("Retry-After"))
	}
}

// checkNothingOf fails when a trace of a refused registration can be seen.
func checkNothingOf(t *testing.T, s *service, d *device) {
	t.Helper()
	err := errors.Join(
		s.hubCall("/devices/"+d.id).once(t.Context(), http.StatusNotFound, nil),
		s.hubCall("/twins/"+d.id).once(t.Context(), http.StatusNotFound, nil),
		d.call(http.MethodPost, "", object{"registrationId": d.id}).once(t.Context(), http.StatusNotFound, nil),
	)
	if err != nil {
		t.Errorf("after a refusal: %v", err)
	}
}

// enrollUntilFull writes large enrollments until one is refused, of which nothing may
// be seen.
func (l *ledger) enrollUntilFull(t *testing.T, s *service, prefix string) {
	t.Helper()
	tags := object{}
	for i := range 16 {
		tags[fmt.Sprintf("t%d", i)] = strings.Repeat("x", 400)
	}
	for i := range maxUntilFull {
		id := fmt.Sprintf("%s-%d", prefix, i)
		a, err := s.serviceCall(http.MethodPut, "/enrollments/"+id, object{
			"registrationId": id, "attestation": object{"type": "symmetricKey"}, "initialTwin": object{"tags": tags},
		}).send(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a.status != http.StatusOK {
			checkUnavailable(t, a)
			if err := s.serviceCall(http.MethodGet, "/enrollments/"+id, nil).once(t.Context(), http.StatusNotFound, nil); err != nil {
				t.Errorf("after a refusal: %v", err)
			}
			return
		}
		var got struct{ ETag string }
		if err := json.Unmarshal(a.body, &got); err != nil {
			t.Fatal(err)
		}
		l.enrolled(id, got.ETag)
	}
	t.Fatalf("%d enrollments were written on a full disk", maxUntilFull)
}

// TestRestartOnFullDisk ends a service whose disk is full, with kill -9 or SIGTERM, and
// starts it again before there is space: it either serves or says what is wrong, and
// what was acknowledged stays.
func TestRestartOnFullDisk(t *testing.T) {
	ends := []struct {
		name string
		end  func(*testing.T, *service)
	}{
		{"kill", func(_ *testing.T, s *service) { s.kill() }},
		{"SIGTERM", func(t *testing.T, s *service) { s.stop(t) }},
	}
	for _, tt := range ends {
		t.Run(tt.name, func(t *testing.T) {
			d := disk{smallDisk(t, diskSize)}
			s := startService(t, d.data())
			ca := prepare(t, s)
			l := newLedger()
			l.registerAll(t, s, ca, "early", 100)
			d.fill(t, 0)
			l.registerUntilFull(t, s, ca, "late")
			tt.end(t, s)
			d.fill(t, 0) // with what the end set free
			if err := s.tryStart(t); err != nil {
				checkStartRefused(t, s.process, d.data())
				t.Logf("the start is refused: %v", err)
			} else {
				t.Log("it starts, and serves what is there")
				l.verify(t, s)
				s.kill()
			}
			d.empty(t)
			checkImage(t, s.data, l.all())
			s.start(t)
			l.verify(t, s)
			l.registerAll(t, s, ca, "again", 20)
			s.stop(t)
		})
	}
}

// checkStartRefused fails unless the message says where there is no space.
func checkStartRefused(t *testing.T, p *process, data string) {
	t.Helper()
	if code := p.exitCode(t); code != 1 {
		t.Errorf("exit code = %d, want 1", code)
	}
	said := p.stderr.String()
	full := slices.ContainsFunc([]string{"no space left", "disk is full"}, func(s string) bool { return strings.Contains(said, s) })
	if !full || !strings.Contains(said, data) {
		t.Errorf("the message says not that the disk of %s is full: %s", data, said)
	}
}

// TestFirstStartOnFullDisk starts on a disk with almost no space, again with a little
// more, and so on: no start may leave what a later one cannot go on from.
func TestFirstStartOnFullDisk(t *testing.T) {
	d := disk{smallDisk(t, diskSize)}
	s := &service{data: d.data(), up: make(chan struct{})}
	for free := 0; free <= 512<<10; free = max(4<<10, free+free/2) {
		d.fill(t, free)
		err := s.tryStart(t)
		d.empty(t)
		if err == nil {
			s.kill()
			continue
		}
		checkStartRefused(t, s.process, d.data())
	}
	s.start(t)
	l := newLedger()
	l.registerAll(t, s, prepare(t, s), "device", 10)
	s.stop(t)
	same(t, "records", checkImage(t, s.data, l.all()), counts{registrations: 10, identities: 10})
}
