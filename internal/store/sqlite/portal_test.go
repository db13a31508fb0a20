package sqlite_test

import (
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

func TestMigratePortal(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 6)
	tokenKey := p.key.Seal([]byte(`{"p":"c2VjcmV0IGtleSBvZiB0b2tlbnM="}`), []byte("instance\x00default"))
	_, err := db.ExecContext(
		t.Context(),
		`INSERT INTO instances (id, scope, allocation, token_key, created) VALUES ('default', '0ne0000000A', 'static', $1, $2)`,
		tokenKey,
		start.UnixNano(),
	)
	must(t, err)
	must(t, db.Close())
	s := p.open(t)
	a, err := s.PortalAccount(t.Context(), dps.DefaultInstance)
	must(t, err)
	if a.Version != "" {
		t.Errorf("account = %+v, want none", a)
	}
	a.OneTime, a.Version = dps.NewOneTimePassword(), dps.NewETag()
	must(t, s.PutPortalAccount(t.Context(), a, ""))
}

func TestEndSessions(t *testing.T) {
	p := newPlace(t)
	db := migrateTo(t, p.path, 6)
	must(t, db.Close())
	must(t, sqlite.EndSessions(t.Context(), p.path)) // of a schema without sessions
	if err := sqlite.EndSessions(t.Context(), p.path+".none"); err == nil {
		t.Error("a file that is not there has no sessions to end, and no error")
	}
}
