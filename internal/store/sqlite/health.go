package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/mooring-iot/mooring/internal/store/sqlite/pagesum"
)

// ErrDamaged is wrapped by errors that say that stored data was changed or lost by something else
// than this program: trying again does not help, restoring a backup does.
var ErrDamaged = pagesum.ErrDamaged

// damaged reports whether a code of SQLite says that the file is damaged.
func damaged(code int) bool {
	return code == lib.SQLITE_IOERR_DATA || code&0xff == lib.SQLITE_CORRUPT || code&0xff == lib.SQLITE_NOTADB
}

// health is what is known of the state of the file.
type health struct {
	guard *pagesum.Guard
	log   *slog.Logger
	hook  func(error)
	path  string

	state *healthState
}

type healthState struct {
	mu    sync.Mutex
	first error // damage that was found
}

func newHealth(o Options) health {
	return health{log: o.Log, path: o.Path, hook: o.Damaged, state: &healthState{}}
}

// found hears of a damaged place.
func (h health) found(d pagesum.Damage) { h.note(d) }

func (h health) note(err error) {
	h.state.mu.Lock()
	if h.state.first == nil {
		h.state.first = err
	}
	h.state.mu.Unlock()
	h.log.Error("the database is damaged; restore a backup", "err", err)
	if h.hook != nil {
		h.hook(err)
	}
}

// Damage returns the first damage that was found since Open, or nil. What reads a damaged place
// fails with ErrDamaged; everything else works.
func (s *Store) Damage() error {
	return s.health.damage()
}

func (h health) damaged() bool { return h.damage() != nil }

func (h health) damage() error {
	if h.state == nil {
		return nil
	}
	h.state.mu.Lock()
	defer h.state.mu.Unlock()
	return h.state.first
}

// freshCommit is for how long a commit says that the next one will succeed.
const freshCommit = time.Second

// roomForChanges is how many bytes must be free after a commit failed: more than one change needs.
const roomForChanges = 256 << 10

// Ping reports whether the database can be read and written. Unless a commit succeeded a moment ago,
// it writes: a full disk is found no other way. After a commit failed it needs room for a large one, as
// a small one may still fit into the log.
func (s *Store) Ping(ctx context.Context) error {
	var version int
	if err := s.readers.row(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return storeError(err)
	}
	if s.writer == nil {
		return nil
	}
	if s.writer.failed.Load() {
		if err := s.health.tryRoom(); err != nil {
			return err
		}
		s.writer.failed.Store(false)
	}
	if good := s.writer.good.Load(); good != nil && time.Since(*good) < freshCommit {
		return nil
	}
	// The same number again: SQLite writes the page all the same.
	return s.change(ctx, func(t tx) error { return t.exec(`PRAGMA user_version = 0`) })
}

// tryRoom writes a file beside the database and removes it.
func (h health) tryRoom() error {
	f, err := os.CreateTemp(filepath.Dir(h.path), ".room.*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, roomForChanges))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// checkFile checks the whole file after an unclean end: every page against its checksum, and the
// structure of every table. It runs beside the service, as it takes as long as reading the file.
func (s *Store) checkFile(ctx context.Context) {
	start := time.Now()
	s.log.Info("the last process did not close the database, or its check was not finished; checking the database in the background")
	select {
	case <-s.writer.settled:
	case <-ctx.Done():
		return
	}
	err := s.checkAll(ctx)
	switch {
	case ctx.Err() != nil:
		s.log.Info("the check of the database was interrupted; the next start repeats it")
	case err != nil:
		s.log.Error("the check of the database failed", "err", err)
	case s.Damage() == nil:
		if err := s.health.guard.Checked(); err != nil {
			s.log.Warn("the check of the database will be repeated at the next start", "err", err)
		}
		s.log.Info("the database check found no damage", "took", time.Since(start).Round(time.Millisecond))
	}
}

func (s *Store) checkAll(ctx context.Context) error {
	if _, err := s.health.guard.Scan(ctx); err != nil {
		return err
	}
	missing, err := s.health.guard.Missing()
	if err != nil {
		return err
	}
	if missing > 0 {
		s.health.note(fmt.Errorf("%w: the last %d pages of the file are missing", ErrDamaged, missing))
	}
	if s.health.damaged() {
		return nil // SQLite would only find it again
	}
	return s.checkTables(ctx)
}

// checkTables has SQLite check one table after the other, so that none of its transactions is long.
// Source: sqlite.org, pragma.html, quick_check.
func (s *Store) checkTables(ctx context.Context) error {
	rows, err := s.readers.db.QueryContext(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0`)
	names, err := collect(rows, err, func(row scanner) (name string, err error) { return name, row.Scan(&name) })
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.checkTable(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) checkTable(ctx context.Context, name string) error {
	var verdict string
	err := s.readers.db.QueryRowContext(ctx, `SELECT * FROM pragma_quick_check($1)`, name).Scan(&verdict)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return storeError(err)
	}
	if verdict != "" && verdict != "ok" {
		s.health.note(fmt.Errorf("%w: table %s: %s", ErrDamaged, name, verdict))
	}
	return nil
}
