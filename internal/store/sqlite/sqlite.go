// Package sqlite stores everything in one SQLite file.
//
// One writer commits the changes of many callers together: each caller waits for
// one durable commit that carries its change and those of everyone who came while
// the previous one was under way. Several readers work beside it on the
// write-ahead log.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"sync"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite/pagesum"
)

// Observer hears of every commit.
type Observer interface {
	// Committed is called with how many changes one commit carried and how long
	// it took; err is nil when it is durable.
	Committed(changes int, took time.Duration, err error)
}

// Options are what a Store needs; all but AuditRetention are required.
type Options struct {
	Path     string // of the database file, created if absent
	Key      *seal.Key
	Observer Observer
	Log      *slog.Logger
	Now      func() time.Time

	AuditRetention time.Duration // how long audit entries are kept; 0 is for ever

	// Damaged is called with each place in the file or its log that was found damaged; may be nil.
	Damaged func(error)
}

// Store is an open database. It is safe for concurrent use.
type Store struct {
	readers *reader
	writer  *writer   // nil when open for reading only
	known   *settings // nil with it: another process may change them
	key     *seal.Key
	now     func() time.Time
	log     *slog.Logger
	stop    context.CancelFunc
	tasks   sync.WaitGroup

	auditRetention time.Duration
	decisions      tally
	health         health
}

// Open opens the database, brings its schema up to date and starts the writer. It fails with
// ErrDamaged when committed changes are missing. After an unclean end, the whole file
// is checked in the background; see [Store.Damage].
func Open(ctx context.Context, o Options) (*Store, error) {
	h := newHealth(o)
	guard, err := pagesum.Open(pagesum.Options{Path: o.Path, Report: h.found})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", o.Path, err)
	}
	s, err := open(ctx, o)
	if err != nil {
		if damage := h.damage(); damage != nil { // what failed may have taken it for something else
			err = fmt.Errorf("opening %s: %w: %w", o.Path, ErrDamaged, damage)
		}
		return nil, errors.Join(err, guard.Close())
	}
	h.guard = guard
	s.health = h
	s.start(ctx)
	return s, nil
}

// open opens the connections.
func open(ctx context.Context, o Options) (*Store, error) {
	if err := migrate(ctx, o.Path); err != nil {
		return nil, fmt.Errorf("preparing %s: %w", o.Path, explain(err))
	}
	readers, err := openReader(o.Path, pagesum.VFS)
	if err != nil {
		return nil, err
	}
	w, err := openWriter(ctx, o)
	if err != nil {
		return nil, errors.Join(err, readers.close())
	}
	return &Store{
		readers: readers, writer: w, known: &settings{}, key: o.Key, now: o.Now, log: o.Log, auditRetention: o.AuditRetention,
	}, nil
}

// start starts what runs in the background.
func (s *Store) start(ctx context.Context) {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	if s.health.guard.Unclean() {
		s.writer.dirty = true // what a log holds is to be moved into the file before that is checked
		s.tasks.Go(func() { s.checkFile(background) })
	}
	s.tasks.Go(func() { s.writer.run() })
	s.tasks.Go(func() { s.sweep(background) })
}

// OpenReadOnly opens the database for reading beside a process that serves it.
// Writing fails. It fails with fs.ErrNotExist when there is no such file, and when
// its schema is another program version's.
func OpenReadOnly(path string, key *seal.Key, now func() time.Time) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	guard, err := pagesum.OpenReadOnly(pagesum.Options{Path: path})
	if err != nil {
		return nil, err
	}
	readers, err := openReader(path, pagesum.VFSReadOnly)
	if err != nil {
		return nil, errors.Join(err, guard.Close())
	}
	if err := checkSchema(context.Background(), readers.db); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", path, explain(err)), readers.close(), guard.Close())
	}
	return &Store{readers: readers, key: key, now: now, stop: func() {}, health: health{guard: guard}}, nil
}

// Close ends the writer after what was accepted is committed, and closes the file.
func (s *Store) Close() error {
	s.stop()
	var err error
	if s.writer != nil {
		s.writer.shut()
		s.tasks.Wait()
		err = s.writer.close()
	}
	return errors.Join(err, s.readers.close(), s.health.guard.Close())
}

// dsn returns the data source name of path under a virtual file system ("" for SQLite's own), with
// pragmas, which have to be there so that every connection gets them.
func dsn(path, vfs string, pragmas ...string) string {
	v := url.Values{}
	if vfs != "" {
		v.Set("vfs", vfs)
	}
	base := []string{"busy_timeout(10000)", "foreign_keys(1)", "synchronous(FULL)"}
	for _, p := range append(base, pragmas...) {
		v.Add("_pragma", p)
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + v.Encode()
}

// reader is a pool of connections that cannot write, with prepared statements.
type reader struct {
	db *sql.DB

	mu         sync.RWMutex
	statements map[string]*sql.Stmt // by text; texts are constants, so there are few
}

func openReader(path, vfs string) (*reader, error) {
	db, err := sql.Open("sqlite", dsn(path, vfs, "query_only(1)")+"&mode=rw") // never creates the file
	if err != nil {
		return nil, err
	}
	n := max(4, 2*runtime.NumCPU())
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return &reader{db: db, statements: make(map[string]*sql.Stmt)}, nil
}

func (r *reader) close() error { return r.db.Close() }

// prepared returns the statement of a text.
func (r *reader) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	r.mu.RLock()
	stmt, ok := r.statements[text]
	r.mu.RUnlock()
	if ok {
		return stmt, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if stmt, ok := r.statements[text]; ok {
		return stmt, nil
	}
	stmt, err := r.db.PrepareContext(ctx, text) //nolint:sqlclosecheck // lives as long as the pool
	if err != nil {
		return nil, err
	}
	r.statements[text] = stmt
	return stmt, nil
}

// scanner is one row to be read.
type scanner interface{ Scan(dest ...any) error }

// failedRow is a row whose statement could not be prepared.
type failedRow struct{ err error }

func (f failedRow) Scan(...any) error { return f.err }

// row looks one row up. It takes microseconds, less than watching whether ctx ends.
func (r *reader) row(ctx context.Context, text string, args ...any) scanner {
	ctx = context.WithoutCancel(ctx)
	s, err := r.prepared(ctx, text)
	if err != nil {
		return failedRow{err}
	}
	return s.QueryRowContext(ctx, args...)
}

func (r *reader) rows(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	s, err := r.prepared(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// querier is what reading functions need: the readers, or the writer's
// transaction.
type querier interface {
	row(ctx context.Context, text string, args ...any) scanner
	rows(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// collect reads every row by scan.
func collect[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, storeError(err)
		}
		all = append(all, v)
	}
	return all, storeError(rows.Err())
}

// storeError classifies an error of the database: what time or space mends is
// Unavailable. Errors of ours pass.
func storeError(err error) error {
	if err == nil {
		return nil
	}
	if _, ours := errors.AsType[*dps.Error](err); ours {
		return err
	}
	var failure *sqlite.Error
	if errors.As(err, &failure) {
		if damaged(failure.Code()) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		switch failure.Code() & 0xff {
		case lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_NOMEM:
			return dps.Wrap(dps.Unavailable, err, "The service cannot read or write its storage; retry later.")
		}
	}
	return err
}

// explain says what the text of some errors of SQLite hides: when the index of the
// log cannot grow, the disk is full.
// Source: sqlite.org, rescode.html, SQLITE_IOERR_SHMSIZE.
func explain(err error) error {
	var failure *sqlite.Error
	switch {
	case !errors.As(err, &failure):
		return err
	case failure.Code() == lib.SQLITE_IOERR_SHMSIZE:
		return fmt.Errorf("no space left for the index of the log: %w", err)
	case damaged(failure.Code()):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// notFound turns "no rows" into an error with code c.
func notFound(err error, c dps.Code, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return dps.Errorf(c, format, args...)
	}
	return storeError(err)
}

// changedMeanwhile is the error of a write whose record is at another version.
func changedMeanwhile() error {
	return dps.Errorf(dps.ConcurrentChange, "Precondition failed.")
}

func fromNanos(n int64) time.Time { return time.Unix(0, n).UTC() }
