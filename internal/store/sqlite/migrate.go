package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pressly/goose/v3"

	"github.com/mooring-iot/mooring/internal/store/sqlite/pagesum"
)

//go:embed migrations/*.sql
var migrations embed.FS

// pageSize is that of new files; those that have another one keep it. An enrollment with
// a certificate and a twin has up to 2 KB, and a row of more than a quarter of a page takes
// further pages of its own: with 4096 a million of them were three times as large, and
// took twice as long to read.
// Source: sqlite.org, fileformat2.html, section 1.5.
const pageSize = "page_size(8192)"

// migrate creates the file readable by its owner only and applies what migrations
// it lacks, each in a transaction of its own.
func migrate(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// The mode is written to a new file, which settles the size of its pages. It has a key of
	// its own since the driver sorts the pragmas and takes such keys last.
	db, err := sql.Open("sqlite", dsn(path, pagesum.VFS, pageSize)+"&_journal_mode=WAL")
	if err != nil {
		return err
	}
	return errors.Join(apply(ctx, db), db.Close())
}

func apply(ctx context.Context, db *sql.DB) error {
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	current, latest, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > latest {
		return newerSchema(current, latest)
	}
	_, err = provider.Up(ctx)
	return err
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithGoMigrations(subjectsMigration()))
}

func newerSchema(current, latest int64) error {
	return fmt.Errorf("its schema has version %d, this program knows %d: it was written by a newer one", current, latest)
}

// checkSchema fails unless a database that may not be migrated now has the schema
// that this program reads.
func checkSchema(ctx context.Context, db *sql.DB) error {
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	current, latest, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return err
	case current > latest:
		return newerSchema(current, latest)
	case current < latest:
		return fmt.Errorf("its schema has version %d, this program reads %d: start the service once with this program", current, latest)
	}
	return nil
}
