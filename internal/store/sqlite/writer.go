package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/store/sqlite/pagesum"
)

// Bounds of the writer.
const (
	maxGroup = 512  // changes in one commit
	maxQueue = 4096 // changes that wait

	// Checkpoints are done beside the commits, a little at a time, so that no commit
	// waits for a large one. Only a log beyond the cap makes the writer wait.
	checkpointEvery = 250 * time.Millisecond
	walCapPages     = 16 << 10 // 64 MB

	// How long the writer waits for readers when the log is beyond the cap, and when
	// it tries again: a backup reads for seconds, and the log may grow meanwhile.
	truncateWait  = 100 * time.Millisecond
	truncateAgain = 5 * time.Second
	busyTimeout   = 10 * time.Second // as the data source name sets it
)

// errClosed is the cause when a change comes after Close.
var errClosed = errors.New("the store is closed")

// write is one caller's change.
type write struct {
	apply func(tx) error
	done  chan error // buffered: the writer never waits for a caller
}

// writer owns the one connection that writes.
type writer struct {
	db       *sql.DB
	conn     *sql.Conn
	observer Observer
	log      *slog.Logger

	mu     sync.RWMutex // guards closed and the closing of queue
	closed bool
	queue  chan write

	good        atomic.Pointer[time.Time] // when the latest commit succeeded; nil before the first
	failed      atomic.Bool               // a commit failed since Ping last found room
	settled     chan struct{}             // closed when the log was in the file once
	settledOnce sync.Once

	// Used by the goroutine of run alone.
	statements map[string]*sql.Stmt
	dirty      bool      // something was committed since the last checkpoint
	stuck      bool      // the last checkpoint failed
	truncated  time.Time // when it was last tried to cut the log
}

func openWriter(ctx context.Context, o Options) (*writer, error) {
	db, err := sql.Open("sqlite", dsn(o.Path, pagesum.VFS, "wal_autocheckpoint(0)", "cache_spill(0)"))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(context.WithoutCancel(ctx))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &writer{
		db: db, conn: conn, observer: o.Observer, log: o.Log,
		queue: make(chan write, maxQueue), settled: make(chan struct{}), statements: make(map[string]*sql.Stmt),
	}, nil
}

// shut makes the writer refuse new changes and end after those that wait.
func (w *writer) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
}

func (w *writer) close() error {
	var errs []error
	for _, s := range w.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

// do runs apply in a transaction and returns when its commit is durable. apply runs
// in the writer's goroutine; an error of it undoes its own statements alone. A
// change that is queued is not withdrawn: its caller learns what became of it.
func (w *writer) do(ctx context.Context, apply func(tx) error) error {
	wr := write{apply: apply, done: make(chan error, 1)}
	if err := w.enqueue(ctx, wr); err != nil {
		return err
	}
	return <-wr.done
}

func (w *writer) enqueue(ctx context.Context, wr write) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return dps.Wrap(dps.Unavailable, errClosed, "The service is shutting down.")
	}
	select {
	case w.queue <- wr:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run commits groups until shut, then what is left.
func (w *writer) run() {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case first, open := <-w.queue:
			if !open {
				if w.dirty {
					w.truncate()
				}
				return
			}
			w.commit(w.group(first))
		case <-tick.C:
			w.checkpoint("PASSIVE")
		}
	}
}

// group takes what waits, up to the bound.
func (w *writer) group(first write) []write {
	batch := []write{first}
	for len(batch) < maxGroup {
		select {
		case next, open := <-w.queue:
			if !open {
				return batch
			}
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// commit applies a group in one transaction and tells each caller its outcome.
func (w *writer) commit(batch []write) {
	start := time.Now()
	results, err := w.transact(batch)
	if err != nil {
		w.log.Error("commit failed", "changes", len(batch), "err", err)
		err = storeError(fmt.Errorf("committing: %w", err))
	}
	w.dirty = true
	w.note(err)
	w.observer.Committed(len(batch), time.Since(start), err)
	for i, wr := range batch {
		if err != nil {
			wr.done <- err
			continue
		}
		wr.done <- storeError(results[i])
	}
}

// note remembers how a commit ended, for Ping.
func (w *writer) note(err error) {
	if err != nil {
		w.failed.Store(true)
		return
	}
	now := time.Now()
	w.good.Store(&now)
}

// transact returns the outcome of each change; an error means that nothing of the
// whole group is stored.
func (w *writer) transact(batch []write) ([]error, error) {
	t := tx{w: w}
	if err := t.exec(`BEGIN IMMEDIATE`); err != nil {
		return nil, err
	}
	results := make([]error, len(batch))
	for i, wr := range batch {
		var err error
		if results[i], err = w.applyOne(t, wr); err != nil {
			w.rollback(t)
			return nil, err
		}
	}
	if err := t.exec(`COMMIT`); err != nil {
		w.rollback(t)
		return nil, err
	}
	return results, nil
}

// applyOne runs one change under a savepoint. The second error means that the
// transaction itself is lost: some failures of SQLite, a full disk among them, end
// it as a whole.
func (w *writer) applyOne(t tx, wr write) (failed, lost error) {
	if err := t.exec(`SAVEPOINT change`); err != nil {
		return nil, err
	}
	failed = w.guarded(t, wr)
	if failed != nil {
		if err := t.exec(`ROLLBACK TO change`); err != nil {
			return nil, errors.Join(failed, err)
		}
	}
	return failed, t.exec(`RELEASE change`)
}

// guarded applies a change. One that panics fails alone (see dps.Recovered).
func (w *writer) guarded(t tx, wr write) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = dps.Recovered(p, w.observer, "writer")
			w.log.Error("a change of the store failed", "err", err)
		}
	}()
	return wr.apply(t)
}

// rollback ends a failed transaction; SQLite may have ended it already.
func (w *writer) rollback(t tx) {
	if err := t.exec(`ROLLBACK`); err != nil {
		w.log.Debug("rollback after a failed commit", "err", err)
	}
}

// checkpoint moves the log into the database file. A PASSIVE one waits for nobody;
// when readers kept the log from shrinking beyond the cap, one that waits a little follows.
func (w *writer) checkpoint(mode string) {
	if !w.dirty {
		return
	}
	var busy, pages, moved int
	err := w.conn.QueryRowContext(context.Background(), `PRAGMA wal_checkpoint(`+mode+`)`).Scan(&busy, &pages, &moved)
	if err != nil {
		if !w.stuck { // once, not four times a second
			w.log.Warn("checkpoints fail; the write-ahead log grows until they succeed", "err", err)
		}
		w.stuck = true
		return
	}
	if w.stuck {
		w.log.Info("checkpoints succeed again")
	}
	w.stuck = false
	w.dirty = moved < pages
	if !w.dirty {
		w.settledOnce.Do(func() { close(w.settled) })
	}
	if mode == "PASSIVE" && pages > walCapPages && time.Since(w.truncated) > truncateAgain {
		w.truncate()
	}
}

// truncate cuts the log to nothing, unless a reader needs it for longer than the writer
// should wait.
func (w *writer) truncate() {
	w.setPatience(truncateWait)
	w.checkpoint("TRUNCATE")
	w.setPatience(busyTimeout)
	w.truncated = time.Now()
}

// setPatience sets how long the writer waits for other connections.
func (w *writer) setPatience(d time.Duration) {
	if _, err := w.conn.ExecContext(context.Background(), fmt.Sprintf(`PRAGMA busy_timeout = %d`, d.Milliseconds())); err != nil {
		w.log.Warn("setting how long the writer waits", "err", err)
	}
}

// tx is the writer's open transaction, for the change that runs in it.
type tx struct{ w *writer }

func (t tx) prepared(text string) (*sql.Stmt, error) {
	if s, ok := t.w.statements[text]; ok {
		return s, nil
	}
	s, err := t.w.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	t.w.statements[text] = s
	return s, nil
}

// exec runs a statement. A caller's context never cuts it short: the transaction
// belongs to others too.
func (t tx) exec(text string, args ...any) error {
	_, err := t.affect(text, args...)
	return err
}

// affect is exec that returns how many rows changed.
func (t tx) affect(text string, args ...any) (int64, error) {
	s, err := t.prepared(text)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (t tx) row(_ context.Context, text string, args ...any) scanner {
	s, err := t.prepared(text)
	if err != nil {
		return failedRow{err}
	}
	return s.QueryRowContext(context.Background(), args...)
}

func (t tx) rows(_ context.Context, text string, args ...any) (*sql.Rows, error) {
	s, err := t.prepared(text)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), args...)
}

// change runs apply as one durable change.
func (s *Store) change(ctx context.Context, apply func(tx) error) error {
	if s.writer == nil {
		return dps.Errorf(dps.Unavailable, "The database is open read-only.")
	}
	return s.writer.do(ctx, apply)
}
