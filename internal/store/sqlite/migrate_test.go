package sqlite_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// migrateTo writes the schema of an earlier version to a file that is not there yet.
func migrateTo(t *testing.T, path string, version int64) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("migrations"))
	must(t, err)
	_, err = provider.UpTo(t.Context(), version)
	must(t, err)
	return db
}

func TestMigrateResource(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 1)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	_, err := db.ExecContext(t.Context(), `INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', $1, $2)`,
		tokenKey, start.UnixNano())
	must(t, err)

	if _, err := sqlite.OpenReadOnly(p.path, p.key, time.Now); err == nil || !strings.Contains(err.Error(), "start the service once") {
		t.Errorf("OpenReadOnly of an old schema: %v", err)
	}
	must(t, db.Close())
	s := p.open(t)
	in, err := s.Instance(t.Context(), dps.DefaultInstance)
	must(t, err)
	if in.Scope != "0ne0000000A" || in.Allocation != dps.Static || string(in.TokenKey.Reveal()) != "secret key of tokens" || !in.Created.Equal(start) {
		t.Errorf("instance = %+v", in)
	}
	if in.ETag == "" || len(in.Tags) != 0 {
		t.Errorf("version %q, tags %v", in.ETag, in.Tags)
	}
	changed := in
	changed.ETag = dps.NewETag()
	must(t, s.Configure(t.Context(), dps.InstanceChange{Instance: changed, IfMatch: in.ETag}))
}

func TestMigrateAudit(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 2)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	_, err := db.ExecContext(t.Context(), `INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', $1, $2)`,
		tokenKey, start.UnixNano())
	must(t, err)
	must(t, db.Close())
	s := p.open(t)
	_, err = s.Instance(t.Context(), dps.DefaultInstance)
	must(t, err)
	_, err = s.RecordAudit(t.Context(), audit.Entry{Instance: dps.DefaultInstance, Operation: audit.Put})
	must(t, err)
}

// New files have larger pages; a file keeps those it was made with.
func TestPageSize(t *testing.T) {
	fresh, old := newPlace(t), newPlace(t)
	must(t, migrateTo(t, old.path, 1).Close())
	for p, want := range map[*place]int{fresh: 8192, old: 4096} {
		must(t, p.openWith(t, newSetup()).Close())
		var size int
		must(t, database(t, p.path).QueryRowContext(t.Context(), `PRAGMA page_size`).Scan(&size))
		if size != want {
			t.Errorf("pages of %d bytes, want %d", size, want)
		}
	}
}
