package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// A snapshot that is taken while others write is a sound database with everything
// that was acknowledged before, and no writer waits for it.
func TestSnapshotWhileWriting(t *testing.T) {
	p := newPlace(t)
	s := p.openWith(t, newSetup())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var acknowledged atomic.Int64
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := s.Commit(context.WithoutCancel(ctx), newRegistration(fmt.Sprintf("d-%d-%d", w, i))); err != nil {
					t.Error(err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	defer func() { stop(); writers.Wait() }()
	reader, err := sqlite.OpenReadOnly(p.path, p.key, p.now)
	must(t, err)
	defer reader.Close()
	for round := range 5 {
		waitFor(t, &acknowledged, acknowledged.Load()+100)
		before := acknowledged.Load()
		shot, err := reader.Snapshot(t.Context())
		must(t, err)
		waitFor(t, &acknowledged, acknowledged.Load()+100) // writers go on
		must(t, shot.Check(t.Context()))
		registrations := shot.Counts().Registrations
		if registrations < before {
			t.Errorf("round %d: %d registrations, and %d were acknowledged", round, registrations, before)
		}
		checkCopy(t, shot, registrations)
		must(t, shot.Close())
	}
}

// waitFor waits until n reaches a value.
func waitFor(t *testing.T, n *atomic.Int64, value int64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); n.Load() < value; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("only %d writes of %d", n.Load(), value)
		}
	}
}

// checkCopy writes the snapshot to a file, which must be a sound database.
func checkCopy(t *testing.T, shot *sqlite.Snapshot, registrations int64) {
	t.Helper()
	var out bytes.Buffer
	must(t, shot.Write(t.Context(), &out))
	if int64(out.Len()) != shot.Size() {
		t.Errorf("wrote %d bytes of %d", out.Len(), shot.Size())
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	must(t, os.WriteFile(path, out.Bytes(), 0o600))
	db := database(t, path)
	var verdict string
	must(t, db.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&verdict))
	if verdict != "ok" {
		t.Errorf("integrity_check: %s", verdict)
	}
	var rows, devices int64
	must(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM registrations`).Scan(&rows))
	must(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM hub_devices`).Scan(&devices))
	if rows != registrations || devices != rows {
		t.Errorf("the copy has %d registrations and %d devices, the snapshot %d", rows, devices, registrations)
	}
	err := db.QueryRowContext(t.Context(), `SELECT * FROM pragma_foreign_key_check`).Scan(new(any), new(any), new(any), new(any))
	if !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("foreign_key_check: %v", err)
	}
}

// While a snapshot is open, the log grows beyond its cap, and commits do not wait for it
// to shrink.
func TestWritersDoNotWaitForASnapshot(t *testing.T) {
	p := newPlace(t)
	s := p.openWith(t, newSetup())
	shot, err := s.Snapshot(t.Context())
	must(t, err)
	defer shot.Close()
	grow(t, p)
	slowest := time.Duration(0)
	const long = 2 * time.Second // several checkpoints come by
	for i, start := 0, time.Now(); time.Since(start) < long; i++ {
		begin := time.Now()
		must(t, s.Commit(t.Context(), newRegistration(fmt.Sprintf("d-%d", i))))
		slowest = max(slowest, time.Since(begin))
	}
	if slowest > 3*time.Second { // the wait for a reader was 10
		t.Errorf("a commit took %v", slowest)
	}
}

// grow makes the log larger than its cap, past the store.
func grow(t *testing.T, p *place) {
	t.Helper()
	db := database(t, p.path)
	conn, err := db.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	for _, text := range []string{
		`PRAGMA wal_autocheckpoint = 0`,
		`CREATE TABLE ballast (b BLOB)`,
		`WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 70) INSERT INTO ballast SELECT zeroblob(1 << 20) FROM n`,
	} {
		_, err := conn.ExecContext(t.Context(), text)
		must(t, err)
	}
}

func TestSnapshotIsOfOneMoment(t *testing.T) {
	p := newPlace(t)
	s := p.openWith(t, newSetup())
	shot, err := s.Snapshot(t.Context())
	must(t, err)
	must(t, s.Commit(t.Context(), newRegistration("later")))
	known, err := sqlite.SchemaVersion()
	must(t, err)
	if got := shot.Schema(); got != known || known < 1 {
		t.Errorf("Schema = %d, want %d", got, known)
	}
	want := sqlite.Counts{Policies: 1, LinkedHubs: 1}
	if got := shot.Counts(); got != want {
		t.Errorf("Counts = %+v, want %+v", got, want)
	}
	checkCopy(t, shot, 0)
	must(t, shot.Close())
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// A damaged database is found out.
func TestSnapshotCheck(t *testing.T) {
	p := newPlace(t)
	s := p.openWith(t, newSetup())
	for i := range 200 {
		must(t, s.Commit(t.Context(), newRegistration(fmt.Sprintf("d-%d", i))))
	}
	must(t, s.Close())
	text, err := os.ReadFile(p.path)
	must(t, err)
	const page = 8192
	copy(text[len(text)-page:], bytes.Repeat([]byte{0xff}, page))
	must(t, os.WriteFile(p.path, text, 0o600))
	reader, err := sqlite.OpenReadOnly(p.path, p.key, p.now)
	must(t, err)
	defer reader.Close()
	shot, err := reader.Snapshot(t.Context())
	if err == nil {
		err = errors.Join(shot.Check(t.Context()), shot.Close())
	}
	if err == nil {
		t.Error("a damaged database passes")
	}
}
