package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pressly/goose/v3"

	"github.com/mooring-iot/mooring/internal/dps"
)

// subjectsVersion is the migration that finds signers by names as they are compared.
const subjectsVersion = 12

// subjectsMigration writes the subjects of stored signers anew: they were hashes of the
// DER, which differs between equal names.
func subjectsMigration() *goose.Migration {
	return goose.NewGoMigration(subjectsVersion, &goose.GoFunc{RunTx: rewriteSubjects}, &goose.GoFunc{RunTx: nothingToUndo})
}

// nothingToUndo is the way back of a migration that changed no columns: an older program
// cannot open the database anyway.
func nothingToUndo(context.Context, *sql.Tx) error { return nil }

func rewriteSubjects(ctx context.Context, t *sql.Tx) error {
	for _, table := range []string{"ca_certificates", "enrollment_certificates"} {
		if err := rewriteSubjectsOf(ctx, t, table); err != nil {
			return fmt.Errorf("subjects of %s: %w", table, err)
		}
	}
	return nil
}

func rewriteSubjectsOf(ctx context.Context, t *sql.Tx, table string) error {
	rows, err := t.QueryContext(ctx, `SELECT DISTINCT thumbprint, der FROM `+table+` WHERE subject IS NOT NULL`)
	found, err := collect(rows, err, func(row scanner) ([2][]byte, error) {
		var r [2][]byte
		err := row.Scan(&r[0], &r[1])
		return r, err
	})
	if err != nil {
		return err
	}
	for _, r := range found {
		subject, err := subjectOf(dps.Certificate{DER: r[1]})
		if err != nil {
			return err
		}
		update := `UPDATE ` + table + ` SET subject = $1 WHERE thumbprint = $2 AND subject IS NOT NULL`
		if _, err := t.ExecContext(ctx, update, subject, r[0]); err != nil {
			return err
		}
	}
	return nil
}
