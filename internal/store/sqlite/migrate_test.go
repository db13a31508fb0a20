package sqlite_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/statistics"
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

func TestMigrateDecisions(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 3)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	_, err := db.ExecContext(t.Context(), `INSERT INTO instances (id, scope, allocation, etag, tags, token_key, created) VALUES ('default', '0ne0000000A', 'static', 'e', '{}', $1, $2)`,
		tokenKey, start.UnixNano())
	must(t, err)
	_, err = db.ExecContext(t.Context(), `INSERT INTO audit (instance, time, principal, operation, kind, id_key, id, old_etag, new_etag, result, several, succeeded, failed, tracking_id, remote)
		VALUES ('default', 1, 'policy:p', 'put', 'enrollment', 'a', 'a', '', 'e', 'ok', 0, 0, 0, 't', 'r')`)
	must(t, err)
	must(t, db.Close())
	s := p.open(t)
	entries, err := s.Audit(t.Context(), dps.DefaultInstance, audit.Filter{}, 10, nil)
	if must(t, err); len(entries) != 1 {
		t.Errorf("old audit entries = %+v", entries)
	}
	e := decision.Entry{Refusal: dps.Refusal{Instance: dps.DefaultInstance, ID: "a", TrackingID: "t", Time: start}, First: start, Count: 1}
	must(t, s.RecordDecisions(t.Context(), []decision.Entry{e}, decision.CapsOf(10)))
	_, err = s.Decision(t.Context(), dps.DefaultInstance, "t")
	must(t, err)
	row := statistics.Row{Instance: dps.DefaultInstance, Width: time.Hour, Bucket: statistics.Bucket{Start: start, Counts: statistics.Counts{Refused: 1}}}
	must(t, s.AddCounts(t.Context(), []statistics.Row{row}))
}
