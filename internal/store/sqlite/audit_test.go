package sqlite_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
)

func newEntry(id string) audit.Entry {
	return audit.Entry{Instance: dps.DefaultInstance, Operation: audit.Put, Kind: audit.Enrollment, ID: id, Result: audit.OK}
}

// TestAuditRetention checks that entries go in time, more of them than one batch holds,
// and that no number comes again.
func TestAuditRetention(t *testing.T) {
	const keep = 90 * 24 * time.Hour
	for _, tt := range []struct {
		name      string
		retention time.Duration
		after     time.Duration
		left      int
	}{
		{"not yet", keep, keep, 450},
		{"in time", keep, keep + 1, 1},
		{"for ever", 0, 100 * keep, 451},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			at := start
			p.now = func() time.Time { return at }
			s := p.openKeeping(t, tt.retention)
			must(t, s.Create(t.Context(), newSetup()))
			var last int64
			for i := range 450 {
				var err error
				last, err = s.RecordAudit(t.Context(), newEntry(fmt.Sprint(i)))
				must(t, err)
			}
			at = start.Add(tt.after)
			must(t, s.Sweep(t.Context()))
			if tt.name == "not yet" {
				at = start
			} else {
				seq, err := s.RecordAudit(t.Context(), newEntry("new"))
				must(t, err)
				if seq <= last {
					t.Errorf("number %d comes after %d", seq, last)
				}
			}
			must(t, s.Sweep(t.Context()))
			left, err := s.Audit(t.Context(), dps.DefaultInstance, audit.Filter{}, 1000, nil)
			must(t, err)
			if len(left) != tt.left {
				t.Errorf("%d entries are left, want %d", len(left), tt.left)
			}
		})
	}
}

// TestAuditOutlivesRestart checks that entries and numbers last, also when the newest
// entries are gone.
func TestAuditOutlivesRestart(t *testing.T) {
	p := newPlace(t)
	s := p.openWith(t, newSetup())
	ctx, c := audit.Begin(t.Context(), newEntry("sensor"))
	c.Allow(audit.ByToken("operator"))
	e := withKeys("sensor", dps.NewKeyPair())
	must(t, s.PutEnrollment(ctx, e, ""))
	must(t, s.Close())
	s = p.open(t)
	got, err := s.Audit(t.Context(), dps.DefaultInstance, audit.Filter{ID: "sensor"}, 10, nil)
	must(t, err)
	if len(got) != 1 || got[0].NewETag != e.ETag || got[0].Principal != "token:operator" || !got[0].Time.Equal(start) {
		t.Errorf("entries = %+v", got)
	}
}

// TestAuditIndexes checks that reading and removing never walk the whole table.
func TestAuditIndexes(t *testing.T) {
	p := newPlace(t)
	must(t, p.openWith(t, newSetup()).Close())
	db := migrateTo(t, p.path, 3)
	for _, text := range []string{
		`SELECT seq FROM audit WHERE instance = 'a' ORDER BY time DESC, seq DESC LIMIT 9`,
		`SELECT seq FROM audit WHERE instance = 'a' AND time >= 1 AND time < 9 AND (time, seq) < (8, 1) ORDER BY time DESC, seq DESC LIMIT 9`,
		`SELECT seq FROM audit WHERE instance = 'a' AND id_key = 'b' AND (time, seq) < (8, 1) ORDER BY time DESC, seq DESC LIMIT 9`,
		`SELECT seq FROM audit WHERE instance IN (SELECT id FROM instances) AND time < 5 LIMIT 200`,
	} {
		plan := planOf(t, db, text)
		if !strings.Contains(plan, "SEARCH audit USING") || strings.Contains(plan, "SCAN audit") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s:\n%s", text, plan)
		}
	}
}

func planOf(t *testing.T, db *sql.DB, text string) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+text)
	must(t, err)
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		must(t, rows.Scan(&id, &parent, &unused, &detail))
		plan.WriteString(detail + "\n")
	}
	must(t, rows.Err())
	return plan.String()
}
