package fault_test

import (
	"database/sql"
	"maps"
	"slices"
	"testing"

	"github.com/mooring-iot/mooring/test/fakehub"
)

// stand is an identity at a hub.
type stand struct{ hub, device string }

// hubImage is what the database says of who is where.
type hubImage struct {
	records map[string]hubRecord // by device ID
	pending map[stand]bool       // to be cleaned up
	placing map[stand]bool       // that an open registration is about to take
	stray   []stand              // placing, and no registration is open
	open    int
}

type hubRecord struct {
	hub, status string
	open        bool
}

// readHubImage reads a copy of the database. The process must not run.
func readHubImage(t *testing.T, data string) hubImage {
	t.Helper()
	db := openCopy(t, data)
	defer db.Close()
	same(t, "integrity", texts(t, db, `PRAGMA integrity_check`), []string{"ok"})
	i := hubImage{records: make(map[string]hubRecord), pending: make(map[stand]bool), placing: make(map[stand]bool)}
	eachRow(
		t,
		db,
		`SELECT CASE WHEN r.hub = '' THEN '' ELSE r.device_id END, coalesce(h.host_name, ''), r.status, w.operation IS NOT NULL FROM registrations r
		LEFT JOIN hubs h ON h.instance = r.instance AND h.id = r.hub LEFT JOIN work w ON w.instance = r.instance AND w.id_key = r.id_key`,
		func(scan func(...any) error) error {
			var device string
			var r hubRecord
			err := scan(&device, &r.hub, &r.status, &r.open)
			if r.open {
				i.open++
			}
			if device != "" {
				i.records[device] = r
			}
			return err
		},
	)
	eachRow(t, db, `SELECT h.host_name, m.device_id, m.state, w.operation IS NOT NULL FROM remnants m
		JOIN hubs h ON h.instance = m.instance AND h.id = m.hub LEFT JOIN work w ON w.instance = m.instance AND w.id_key = m.id_key`, func(scan func(...any) error) error {
		var at stand
		var state string
		var open bool
		err := scan(&at.hub, &at.device, &state, &open)
		switch {
		case state == "leaving":
			i.pending[at] = true
		case open:
			i.placing[at] = true
		default:
			i.stray = append(i.stray, at)
		}
		return err
	})
	return i
}

func eachRow(t *testing.T, db *sql.DB, query string, do func(scan func(...any) error) error) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows.Scan); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// checkHubImage compares what stands at the hubs with what the database says, while
// the process is dead: each identity beside that of the record is pending clean-up, or
// is about to become the device's own; and nobody's own is missing. It returns the
// image, and how many identities there are too many.
func checkHubImage(t *testing.T, data string, hubs []*fakeHub) (i hubImage, duplicates int) {
	t.Helper()
	standing := make(map[string]map[string]fakehub.Device, len(hubs))
	for _, h := range hubs { // before the database is read: what stands there was announced in it
		standing[h.HostName] = h.devices(t)
	}
	i = readHubImage(t, data)
	for _, at := range i.stray {
		t.Errorf("%s: device %s is on its way there and no registration is open", at.hub, at.device)
	}
	for hub, devices := range standing {
		for _, id := range slices.Sorted(maps.Keys(devices)) {
			at := stand{hub, id}
			if i.records[id].hub == hub {
				continue
			}
			duplicates++
			if !i.pending[at] && !i.placing[at] {
				t.Errorf(
					"%s has device %s, which is on hub %q by its record (%+v), and nothing says that it is to be cleaned up",
					hub,
					id,
					i.records[id].hub,
					i.records[id],
				)
			}
		}
	}
	for id, r := range i.records {
		if _, there := standing[r.hub][id]; !there {
			t.Errorf("%s does not have device %s, which is there by its record (%+v)", r.hub, id, r)
		}
	}
	return i, duplicates
}
