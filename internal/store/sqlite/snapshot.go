package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/pressly/goose/v3"
)

// Counts says how much a database holds, of all instances together.
type Counts struct {
	Enrollments, EnrollmentGroups, Registrations, CACertificates, Policies, LinkedHubs, HubDevices int64
}

// Snapshot is the whole database as it stood at one moment. It stops no writer, but
// the log of changes grows while it is open: close it soon.
type Snapshot struct {
	conn     *sql.Conn
	pageSize int64
	pages    int64
	schema   int64
	counts   Counts
}

// Snapshot opens a snapshot that holds everything committed before the call.
func (s *Store) Snapshot(ctx context.Context) (*Snapshot, error) {
	conn, err := s.readers.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening a snapshot of the database: %w", err)
	}
	shot := &Snapshot{conn: conn}
	if err := shot.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening a snapshot of the database: %w", err), shot.Close())
	}
	return shot, nil
}

// begin opens the transaction. The first look at a table fixes the moment.
func (s *Snapshot) begin(ctx context.Context) error {
	if _, err := s.conn.ExecContext(ctx, `BEGIN`); err != nil {
		return err
	}
	c := &s.counts
	for _, q := range []struct {
		text string
		dest *int64
	}{
		{`SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version`, &s.schema},
		{`PRAGMA page_size`, &s.pageSize},
		{`PRAGMA page_count`, &s.pages},
		{`SELECT COUNT(*) FROM enrollments WHERE kind = 'individual'`, &c.Enrollments},
		{`SELECT COUNT(*) FROM enrollments WHERE kind = 'group'`, &c.EnrollmentGroups},
		{`SELECT COUNT(*) FROM registrations`, &c.Registrations},
		{`SELECT COUNT(*) FROM ca_certificates`, &c.CACertificates},
		{`SELECT COUNT(*) FROM policies`, &c.Policies},
		{`SELECT COUNT(*) FROM hubs`, &c.LinkedHubs},
		{`SELECT COUNT(*) FROM hub_devices`, &c.HubDevices},
	} {
		if err := s.conn.QueryRowContext(ctx, q.text).Scan(q.dest); err != nil {
			return err
		}
	}
	return nil
}

// Size is the number of bytes that Write writes.
func (s *Snapshot) Size() int64 { return s.pages * s.pageSize }

// Schema is the version of the schema.
func (s *Snapshot) Schema() int64 { return s.schema }

// Counts says how much the snapshot holds.
func (s *Snapshot) Counts() Counts { return s.counts }

// Check fails when the file is damaged. It takes as long as reading all of it.
// Source: sqlite.org, pragma.html, quick_check.
func (s *Snapshot) Check(ctx context.Context) error {
	var verdict string
	if err := s.conn.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
		return fmt.Errorf("checking the database: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("the database is damaged: %s", verdict)
	}
	return nil
}

// Write writes the snapshot to w: a database file, complete without a log.
// Source: sqlite.org, dbpage.html.
func (s *Snapshot) Write(ctx context.Context, w io.Writer) error {
	rows, err := s.conn.QueryContext(ctx, `SELECT data FROM sqlite_dbpage ORDER BY pgno`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var page sql.RawBytes
	var written int64
	for rows.Next() {
		if err := rows.Scan(&page); err != nil {
			return err
		}
		if _, err := w.Write(page); err != nil {
			return err
		}
		written += int64(len(page))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if written != s.Size() {
		return fmt.Errorf("read %d of %d bytes of the database", written, s.Size())
	}
	return nil
}

// Close ends the snapshot.
func (s *Snapshot) Close() error {
	_, err := s.conn.ExecContext(context.Background(), `ROLLBACK`)
	return errors.Join(err, s.conn.Close())
}

// EndSessions removes who was signed in at the portal from the file of a snapshot, which
// nobody else has open. The file may be of an earlier schema, which has none.
func EndSessions(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", dsn(path, "")+"&mode=rw") // never creates the file
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1) // whoever closes the last connection empties the log of changes
	var known int
	found := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'portal_sessions'`)
	if err := found.Scan(&known); err != nil ||
		known == 0 {
		return err
	}
	_, err = db.ExecContext(ctx, `DELETE FROM portal_sessions`)
	return err
}

// SchemaVersion returns the version of the schema that this program writes.
func SchemaVersion() (int64, error) {
	names, err := migrations.ReadDir("migrations")
	if err != nil {
		return 0, err
	}
	last, err := goose.NumericComponent(names[len(names)-1].Name()) // the last in order of name
	return max(last, subjectsVersion), err
}
