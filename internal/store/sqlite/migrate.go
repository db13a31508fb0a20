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
)

//go:embed migrations/*.sql
var migrations embed.FS

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
	db, err := sql.Open("sqlite", dsn(path, "journal_mode(WAL)"))
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
	return goose.NewProvider(goose.DialectSQLite3, db, files)
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
