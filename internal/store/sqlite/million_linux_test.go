package sqlite_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// millionVariable asks for the test of a million enrollments. It is 1, or a directory
// that keeps the database for the next run.
const millionVariable = "MOORING_TEST_MILLION"

// search is a query whose time is measured.
type search struct {
	name, text string
	most       time.Duration // at a million enrollments
	found      int           // at most 100
}

const (
	seek  = 20 * time.Millisecond
	tenth = 2 * time.Second
	scan  = 10 * time.Second
)

// searches finds what fillFleet stores.
var searches = []search{
	{"everything", "*", seek, 100},
	{"one ID", "SELECT * WHERE registrationId = 'press-0000777'", seek, 1},
	{"IDs with a prefix", "SELECT * WHERE STARTS_WITH(registrationId, 'press-00007')", seek, 100},
	{"an ID that is not there", "SELECT * WHERE registrationId = 'ghost'", seek, 0},
	{"an ID, by time", "SELECT * WHERE registrationId = 'press-0000777' ORDER BY lastUpdatedDateTimeUtc", seek, 1},
	{"by time, the latest first", "SELECT * ORDER BY lastUpdatedDateTimeUtc DESC", seek, 100},
	{"by time, the earliest first", "SELECT * ORDER BY lastUpdatedDateTimeUtc", seek, 100},
	{"changed since", "SELECT * WHERE lastUpdatedDateTimeUtc > '2026-03-02T00:00:00Z' ORDER BY lastUpdatedDateTimeUtc", seek, 0},
	{"a tag of one in a hundred", "SELECT * WHERE initialTwin.tags.site = 'site-42'", tenth, 100},
	{"a tag of one in a hundred, a number", "SELECT * WHERE initialTwin.tags.number = 42", tenth, 100},
	{"no such text", "SELECT * WHERE initialTwin.tags.site = 'nowhere'", scan, 0},
	{"no such number", "SELECT * WHERE initialTwin.tags.floor = 333", scan, 0},
	{"no such range", "SELECT * WHERE initialTwin.tags.floor > 333", scan, 0},
	{"no such inequality", "SELECT * WHERE initialTwin.tags.maker != 'Acme'", scan, 0},
	{"no such status", "SELECT * WHERE provisioningStatus = 'disabled'", scan, 0},
	{"no such state", "SELECT * WHERE registrationState.status = 'failed'", scan, 0},
	{"no such certificate", "SELECT * WHERE attestation.x509.clientCertificates.primary.info.serialNumber = '00'", scan, 0},
	{"no such thing at all", "SELECT * WHERE NOT (initialTwin.tags.maker = 'Acme' OR deviceId = 'x') AND allocationPolicy = 'static'", scan, 0},
}

// fleetMember returns the enrollment of a number: a third each with keys, TPM and
// references to a CA certificate.
func fleetMember(n int) dps.Enrollment {
	id := fmt.Sprintf("press-%07d", n)
	e := dps.Enrollment{
		Instance: dps.DefaultInstance, Ref: dps.EntryRef{Kind: dps.Individual, ID: id}, DeviceID: dps.DeviceID("device-" + id),
		Status: dps.StatusEnabled, ETag: dps.NewETag(), Created: start, Updated: start.Add(time.Duration(n%9973) * time.Second),
		Placement: dps.Placement{Policy: dps.Hashed, Reprovision: &dps.ReprovisionPolicy{UpdateHubAssignment: true, MigrateDeviceData: true}},
		InitialTwin: fmt.Appendf(nil, `{"tags":{"site":"site-%02d","number":%d,"floor":%d,"maker":"Acme","model":{"name":"P-%d","year":2024}},`+
			`"properties":{"desired":{"interval":30,"unit":"seconds","limits":{"low":-10.5,"high":85},"owner":"plant operations"}}}`, n%100, n%100, n%12, n%7),
	}
	switch n % 3 {
	case 0:
		keys := dps.NewKeyPair()
		e.Attestation = dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys}
	case 1:
		e.Attestation = dps.Attestation{Type: dps.TPM, TPM: &dps.TPMAttestation{EndorsementKey: "AToAAQALAAMAsgAg" + id}}
	default:
		e.Attestation = dps.Attestation{Type: dps.X509, X509: &dps.X509Attestation{Primary: &dps.Certificate{DER: []byte(id)}}}
	}
	return e
}

// fillFleet stores n enrollments, one in ten with the record of a registration.
func fillFleet(tb testing.TB, s *sqlite.Store, n int) {
	tb.Helper()
	const group = 1000
	for from := 0; from < n; from += group {
		var all []dps.Enrollment
		var registered []dps.Registration
		for i := from; i < min(n, from+group); i++ {
			e := fleetMember(i)
			all = append(all, e)
			if i%10 == 0 {
				reg := newRegistration(e.Ref.ID).Registration
				reg.Entry = e.Ref
				registered = append(registered, reg)
			}
		}
		if err := s.PutMany(context.Background(), all, registered); err != nil {
			tb.Fatal(err)
		}
	}
}

func (q search) run(tb testing.TB, s *sqlite.Store) int {
	tb.Helper()
	parsed, err := query.Parse(q.text, query.Enrollments())
	if err != nil {
		tb.Fatal(err)
	}
	found, err := s.QueryEnrollments(tb.Context(), dps.DefaultInstance, dps.Individual, parsed, 100, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return len(found)
}

// TestMillion measures queries over a million enrollments.
func TestMillion(t *testing.T) {
	dir := os.Getenv(millionVariable)
	if dir == "" {
		t.Skip(millionVariable + " is not set")
	}
	if dir == "1" {
		dir = t.TempDir()
	}
	s := openMillion(t, dir)
	for _, q := range searches {
		t.Run(q.name, func(t *testing.T) {
			before, cpu := heap(), cpuTime(t)
			found, took := q.best(t, s)
			t.Logf("%d found in %v, %v of CPU, %.0f MB allocated, heap %d MB", found, took.Round(10*time.Microsecond), (cpuTime(t) - cpu).Round(time.Millisecond),
				float64(heap().TotalAlloc-before.TotalAlloc)/1e6, heap().HeapSys/1e6)
			if found != q.found || took > q.most {
				t.Errorf("found %d in %v, want %d in %v", found, took, q.found, q.most)
			}
		})
	}
}

// best runs a quick query that is slow again, twice: the first run may have read the
// disk.
func (q search) best(t *testing.T, s *sqlite.Store) (found int, took time.Duration) {
	t.Helper()
	took = time.Hour
	for range 3 {
		began := time.Now()
		found = q.run(t, s)
		if took = min(took, time.Since(began)); took <= q.most || took > time.Second {
			break
		}
	}
	return found, took
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() runtime.MemStats {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m
}

// openMillion returns the store of a directory, filled if it is new.
func openMillion(t *testing.T, dir string) *sqlite.Store {
	t.Helper()
	const n = 1_000_000
	path := filepath.Join(dir, "mooring.db")
	key, err := seal.OpenKey(filepath.Join(dir, "master.key"), true)
	must(t, err)
	_, err = os.Stat(path)
	fresh := os.IsNotExist(err)
	s, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: path, Key: key, Observer: &commits{}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return start },
	})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	if !fresh {
		return s
	}
	must(t, s.Create(t.Context(), newSetup()))
	began := time.Now()
	fillFleet(t, s, n)
	t.Logf("%d enrollments stored in %v", n, time.Since(began).Round(time.Second))
	return s
}

// BenchmarkQuery measures the same queries over 10,000 enrollments.
func BenchmarkQuery(b *testing.B) {
	s := newPlace(b).openWith(b, newSetup())
	fillFleet(b, s, 10_000)
	for _, q := range searches {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if found := q.run(b, s); found != q.found {
					b.Fatalf("found %d, want %d", found, q.found)
				}
			}
		})
	}
}
