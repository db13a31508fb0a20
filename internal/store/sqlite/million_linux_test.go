package sqlite_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/query"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// millionVariable asks for the test of a million enrollments. It is 1, or a directory
// that keeps the databases for the next run.
const millionVariable = "MOORING_TEST_MILLION"

const million = 1_000_000

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

// fleets are the enrollments that are searched, by how they attest: "mixed" is a third
// each of the others.
var fleets = map[string][]dps.AttestationType{
	"x509":  {dps.X509},
	"keys":  {dps.SymmetricKey},
	"mixed": {dps.SymmetricKey, dps.TPM, dps.X509},
}

const primaryInfo = "attestation.x509.clientCertificates.primary.info."

// searches finds what fillFleet stores, however it attests.
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
	{"no such ETag", "SELECT * WHERE etag = 'x'", scan, 0},
	{"created never", "SELECT * WHERE createdDateTimeUtc < '2020-01-01T00:00:00Z'", scan, 0},
	{"no such capability", "SELECT * WHERE capabilities.iotEdge = true", scan, 0},
	{"no such reprovisioning", "SELECT * WHERE reprovisionPolicy.updateHubAssignment = false", scan, 0},
	{"no such hubs", "SELECT * WHERE iotHubs != null", scan, 0},
	{"no such webhook", "SELECT * WHERE customAllocationDefinition.webhookUrl = 'https://example.com'", scan, 0},
	{"no such endorsement key", "SELECT * WHERE attestation.tpm.endorsementKey = 'AA=='", scan, 0},
	{"no such reference", "SELECT * WHERE attestation.x509.caReferences.primary = 'root'", scan, 0},
	{"no such subject", "SELECT * WHERE " + primaryInfo + "subjectName = 'CN=ghost'", scan, 0},
	{"no such subjects", "SELECT * WHERE STARTS_WITH(" + primaryInfo + "subjectName, 'CN=ghost')", scan, 0},
	{"no such issuer", "SELECT * WHERE " + primaryInfo + "issuerName = 'CN=ghost'", scan, 0},
	{"no such serial number", "SELECT * WHERE " + primaryInfo + "serialNumber = '00'", scan, 0},
	{"no such SHA-1 thumbprint", "SELECT * WHERE " + primaryInfo + "sha1Thumbprint = '00'", scan, 0},
	{"no such SHA-256 thumbprint, of three", "SELECT * WHERE STARTS_WITH(" + primaryInfo + "sha256Thumbprint, '0000000000')", scan, 0},
	{"expired", "SELECT * WHERE " + primaryInfo + "notAfterUtc < '2020-01-01T00:00:00Z'", scan, 0},
	{"no such version", "SELECT * WHERE " + primaryInfo + "version = 1", scan, 0},
	{"no such secondary", "SELECT * WHERE attestation.x509.clientCertificates.secondary.info.subjectName = 'CN=ghost'", scan, 0},
	{"no such thing at all", "SELECT * WHERE NOT (initialTwin.tags.maker = 'Acme' OR deviceId = 'x') AND allocationPolicy = 'static'", scan, 0},
}

// certificateSearches finds what fillFleet stores of a fleet with certificates.
func certificateSearches(one dps.Certificate, first100 int) []search {
	info, err := one.Info()
	if err != nil {
		panic(err)
	}
	return []search{
		{"an issuer of one in a hundred", "SELECT * WHERE " + primaryInfo + "issuerName = 'CN=plant-42'", tenth, first100},
		{"a certificate by its SHA-256 thumbprint", "SELECT * WHERE " + primaryInfo + "sha256Thumbprint = '" + info.SHA256 + "'", seek, 1},
		{"no such SHA-256 thumbprint", "SELECT * WHERE " + primaryInfo + "sha256Thumbprint = '" + strings.Repeat("0", 64) + "'", seek, 0},
		{"a certificate by its SHA-1 thumbprint", "SELECT * WHERE " + primaryInfo + "sha1Thumbprint = '" + info.SHA1 + "'", scan, 1},
		{"a certificate by its subject", "SELECT * WHERE " + primaryInfo + "subjectName = '" + info.Subject + "'", scan, 1},
	}
}

// plants are the issuers of a fleet's certificates.
func plants(tb testing.TB) []*pki.Issuer {
	tb.Helper()
	all := make([]*pki.Issuer, 100)
	for i := range all {
		issued, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: fmt.Sprintf("plant-%02d", i)})
		if err != nil {
			tb.Fatal(err)
		}
		all[i] = issued.Issuer()
	}
	return all
}

// fleetMember returns the enrollment of a number.
func fleetMember(n int, attesting []dps.AttestationType, issuers []*pki.Issuer) (dps.Enrollment, error) {
	id := fmt.Sprintf("press-%07d", n)
	e := dps.Enrollment{
		Instance: dps.DefaultInstance, Ref: dps.EntryRef{Kind: dps.Individual, ID: id}, DeviceID: dps.DeviceID("device-" + id),
		Status: dps.StatusEnabled, ETag: dps.NewETag(), Created: start, Updated: start.Add(time.Duration(n%9973) * time.Second),
		Placement: dps.Placement{Policy: dps.Hashed, Reprovision: &dps.ReprovisionPolicy{UpdateHubAssignment: true, MigrateDeviceData: true}},
		InitialTwin: fmt.Appendf(nil, `{"tags":{"site":"site-%02d","number":%d,"floor":%d,"maker":"Acme","model":{"name":"P-%d","year":2024}},`+
			`"properties":{"desired":{"interval":30,"unit":"seconds","limits":{"low":-10.5,"high":85},"owner":"plant operations"}}}`, n%100, n%100, n%12, n%7),
	}
	e.Attestation.Type = attesting[n%len(attesting)]
	switch e.Attestation.Type {
	case dps.SymmetricKey:
		keys := dps.NewKeyPair()
		e.Attestation.SymmetricKey = &keys
	case dps.TPM:
		e.Attestation.TPM = &dps.TPMAttestation{EndorsementKey: "AToAAQALAAMAsgAg" + id}
	default:
		issued, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: id, Issuer: issuers[n%len(issuers)]})
		if err != nil {
			return dps.Enrollment{}, err
		}
		e.Attestation.X509 = &dps.X509Attestation{Primary: &dps.Certificate{DER: issued.Certificate.Raw}}
	}
	return e, nil
}

// fillFleet stores n enrollments, one in ten with the record of a registration.
func fillFleet(tb testing.TB, s *sqlite.Store, n int, attesting []dps.AttestationType) {
	tb.Helper()
	const group = 1000
	issuers := plants(tb)
	for from := 0; from < n; from += group {
		all := make([]dps.Enrollment, min(n-from, group))
		var making errgroup.Group
		making.SetLimit(runtime.GOMAXPROCS(0))
		for i := range all {
			making.Go(func() (err error) {
				all[i], err = fleetMember(from+i, attesting, issuers)
				return err
			})
		}
		if err := making.Wait(); err != nil {
			tb.Fatal(err)
		}
		var registered []dps.Registration
		for i, e := range all {
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

// allSearches are those for a store with n enrollments of a fleet.
func allSearches(tb testing.TB, s *sqlite.Store, n int, attesting []dps.AttestationType) []search {
	tb.Helper()
	if !slices.Contains(attesting, dps.X509) {
		return searches
	}
	const one = "press-0000776" // has a certificate in every fleet that has any
	e, err := s.Enrollment(tb.Context(), dps.DefaultInstance, dps.EntryRef{Kind: dps.Individual, ID: one})
	if err != nil {
		tb.Fatal(err)
	}
	return slices.Concat(searches, certificateSearches(*e.Attestation.X509.Primary, min(100, n/100/len(attesting))))
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

// TestMillion measures queries over a million enrollments of each fleet.
func TestMillion(t *testing.T) {
	dir := os.Getenv(millionVariable)
	if dir == "" {
		t.Skip(millionVariable + " is not set")
	}
	if dir == "1" {
		dir = t.TempDir()
	}
	for name, attesting := range fleets {
		t.Run(name, func(t *testing.T) {
			s := openMillion(t, filepath.Join(dir, name), attesting)
			for _, q := range allSearches(t, s, million, attesting) {
				t.Run(q.name, func(t *testing.T) { q.measure(t, s) })
			}
		})
	}
}

func (q search) measure(t *testing.T, s *sqlite.Store) {
	t.Helper()
	before, cpu := heap(), cpuTime(t)
	found, took := q.best(t, s)
	t.Logf(
		"%d found in %v, %v of CPU, %.0f MB allocated, heap %d MB",
		found,
		took.Round(10*time.Microsecond),
		(cpuTime(t) - cpu).Round(time.Millisecond),
		float64(heap().TotalAlloc-before.TotalAlloc)/1e6,
		heap().HeapSys/1e6,
	)
	if found != q.found || took > q.most {
		t.Errorf("found %d in %v, want %d in %v", found, took, q.found, q.most)
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
func openMillion(t *testing.T, dir string, attesting []dps.AttestationType) *sqlite.Store {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
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
	fillFleet(t, s, million, attesting)
	t.Logf("%d enrollments stored in %v", million, time.Since(began).Round(time.Second))
	return s
}

// BenchmarkQuery measures the same queries over 10,000 enrollments.
func BenchmarkQuery(b *testing.B) {
	for name, attesting := range fleets {
		b.Run(name, func(b *testing.B) {
			s := newPlace(b).openWith(b, newSetup())
			fillFleet(b, s, 10_000, attesting)
			for _, q := range allSearches(b, s, 10_000, attesting) {
				b.Run(q.name, func(b *testing.B) { q.bench(b, s) })
			}
		})
	}
}

func (q search) bench(b *testing.B, s *sqlite.Store) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if found := q.run(b, s); found != q.found {
			b.Fatalf("found %d, want %d", found, q.found)
		}
	}
}
