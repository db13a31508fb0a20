package fault_test

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	_ "modernc.org/sqlite" // the driver
)

// counts are how many records a database holds.
type counts struct{ registrations, identities, enrollments int }

// checkImage opens a copy of the database as the process left it, looks for whatever
// is half there and for operations that were acknowledged and are missing, and
// returns what there is.
func checkImage(t *testing.T, data string, acks []ack) counts {
	t.Helper()
	db := openCopy(t, data)
	defer db.Close()
	same(t, "integrity", texts(t, db, `PRAGMA integrity_check`), []string{"ok"})
	same(t, "rows without their parent", texts(t, db, `SELECT "table" FROM pragma_foreign_key_check`), nil)
	for what, query := range halves {
		same(t, what, texts(t, db, query), nil)
	}
	operations := make(map[string]bool)
	for _, op := range texts(t, db, `SELECT operation FROM registrations UNION ALL SELECT operation FROM operations`) {
		if operations[op] {
			t.Errorf("operation %s is listed twice", op)
		}
		operations[op] = true
	}
	for _, a := range acks {
		if !operations[a.operation] {
			t.Errorf("%s: operation %s was acknowledged and is lost", a.device.id, a.operation)
		}
	}
	return counts{
		registrations: number(t, db, `SELECT count(*) FROM registrations`),
		identities:    number(t, db, `SELECT count(*) FROM hub_devices`),
		enrollments:   number(t, db, `SELECT count(*) FROM enrollments WHERE kind = 'individual'`),
	}
}

// halves find records that lack what was to be written together with them.
var halves = map[string]string{
	"registrations that are not assigned": `SELECT id FROM registrations WHERE status <> 'assigned'`,
	"registrations without their identity": `SELECT r.id FROM registrations r LEFT JOIN hub_devices d
		ON d.instance = r.instance AND d.hub = r.hub AND d.device_id = r.device_id
		WHERE d.device_id IS NULL OR r.evidence <> 'x509:' || d.primary_thumbprint`,
	"identities without their registration": `SELECT d.device_id FROM hub_devices d LEFT JOIN registrations r
		ON d.instance = r.instance AND r.id_key = lower(d.device_id) WHERE r.id IS NULL OR r.hub <> d.hub OR r.device_id <> d.device_id`,
	"identities without their twin": `SELECT device_id FROM hub_devices WHERE tags IS NULL OR desired IS NULL`,
	"operations without their registration": `SELECT o.operation FROM operations o LEFT JOIN registrations r
		ON o.instance = r.instance AND o.id_key = r.id_key WHERE r.id IS NULL`,
	"enrollments without their keys": `SELECT id FROM enrollments WHERE kind = 'individual' AND secrets IS NULL`,
}

// openCopy opens a copy of the database and its log, so that recovery happens there.
func openCopy(t *testing.T, data string) *sql.DB {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"mooring.db", "mooring.db-wal"} {
		content, err := os.ReadFile(filepath.Join(data, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a database that was closed has no log
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
		}
		if err != nil {
			t.Fatalf("copying the database: %v", err)
		}
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "mooring.db")+"?_pragma=query_only(1)")
	if err != nil {
		t.Fatalf("opening the copy: %v", err)
	}
	return db
}

// texts returns the first column of the rows, in order, nil when there are none.
func texts(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	slices.Sort(all)
	return all
}

func number(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}
