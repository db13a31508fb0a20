package sqlite_test

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// few are tables that have a handful of rows: reading all of an instance's is fine.
var few = []string{"policies", "hubs", "former_hubs", "hub_policies", "ca_certificates", "c"}

// wide matches a step that reads every row of a table, or every row of an instance.
var wide = regexp.MustCompile(`^(?:SCAN (\w+)|SEARCH (\w+) USING .*\(instance=\?\))$`)

// No statement on the way of a registration or an enrollment reads a table through:
// what it costs must not grow with the number of records.
func TestStatementsSeek(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	key, err := seal.OpenKey(path+".key", true)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(
		t.Context(),
		sqlite.Options{Path: path, Key: key, Observer: &commits{}, Log: slog.New(slog.DiscardHandler), Now: time.Now},
	)
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, store)
	statements := store.Statements()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if len(statements) < 20 {
		t.Fatalf("only %d statements were run: the test exercises too little", len(statements))
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, text := range statements {
		checkIndexes(t, text, plan(t, db, text))
		for _, step := range plan(t, db, text) {
			m := wide.FindStringSubmatch(step)
			if m != nil && !slices.Contains(few, m[1]+m[2]) {
				t.Errorf("%s\n\tis a wide step of\n%s", step, text)
			}
		}
	}
}

func plan(t *testing.T, db *sql.DB, text string) []string {
	t.Helper()
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	if !slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE"}, first) {
		return nil
	}
	args := make([]any, 24)
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}

// exercise runs what operators and devices make the store do.
func exercise(t *testing.T, store *sqlite.Store) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := dps.DefaultInstance
	must(store.Create(ctx, newSetup()))
	enrolling := enroll.New(store, time.Now)
	issue := func(name string) dps.Certificate {
		issued, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: name})
		must(err)
		return dps.Certificate{DER: issued.Certificate.Raw}
	}
	root, signer, own := issue("root"), issue("signer"), issue("own")
	yes := true
	_, err := enrolling.PutCACertificate(ctx, in, enroll.Upload{Name: "root", Certificate: &root, Verified: &yes}, dps.Condition{})
	must(err)
	put := func(kind dps.EntryKind, id string, x dps.X509Attestation) dps.Enrollment {
		e, err := enrolling.Put(ctx, dps.EnrollmentDraft{Enrollment: dps.Enrollment{
			Instance: in, Ref: dps.EntryRef{Kind: kind, ID: id}, Attestation: dps.Attestation{Type: dps.X509, X509: &x},
		}}, dps.Condition{})
		must(err)
		return e
	}
	put(dps.Group, "referring", dps.X509Attestation{CAPrimary: "root"})
	put(dps.Group, "signed", dps.X509Attestation{Primary: &signer})
	individual := put(dps.Individual, "own", dps.X509Attestation{Primary: &own})
	parsed, err := root.Parse()
	must(err)
	_, err = store.Anchors(ctx, in, [][]byte{parsed.RawSubject})
	must(err)
	_, err = store.KeyGroups(ctx, in)
	must(err)
	change := newRegistration("dev")
	change.Registration.Updated = time.Now()
	must(store.Commit(ctx, change))
	second := newRegistration("dev")
	second.IfMatch, second.Device = change.Registration.ETag, nil
	second.Registration.Operation, second.Registration.ETag = dps.NewOperationID(), dps.NewETag()
	second.Registration.Updated = time.Now()
	must(store.Commit(ctx, second))
	_, err = store.Operation(ctx, in, "dev", change.Registration.Operation)
	must(err)
	_, err = store.HubDevice(ctx, in, dps.EmbeddedHub, change.Device.DeviceID)
	must(err)
	exerciseHub(t, store, *change.Device)
	for _, f := range []dps.RegistrationFilter{
		{}, {Status: dps.Failed}, {DeviceID: "dev"}, {Prefix: "d"}, {IDs: []dps.RegistrationID{"dev", "x"}},
	} {
		for _, after := range []*dps.Cursor{nil, {Key: "a", Updated: 1}} {
			_, err = store.FindRegistrations(ctx, in, f, 10, after)
			must(err)
		}
	}
	must(store.DeleteRegistration(ctx, in, "dev", second.Registration.ETag))
	must(enrolling.Delete(ctx, in, individual.Ref, dps.Condition{}))
	must(store.Sweep(ctx))
}

// checkIndexes fails where a search of few among many devices does not use its index.
func checkIndexes(t *testing.T, text string, steps []string) {
	t.Helper()
	for condition, index := range map[string]string{
		"AND iot_edge = 1": "hub_devices_edge", "AND parent <> ''": "hub_devices_parent",
		"AND status <> 'assigned'": "registrations_status", "AND device_id <> id": "registrations_renamed",
	} {
		if strings.Contains(text, condition) && !strings.Contains(strings.Join(steps, "\n"), index) {
			t.Errorf("%s is not used by\n%s\nbut %q", index, text, steps)
		}
	}
}

// exerciseHub runs what services make the embedded hub do.
func exerciseHub(t *testing.T, store *sqlite.Store, was dps.HubDevice) {
	t.Helper()
	ctx := t.Context()
	changed, _, err := was.WithTwin(dps.TwinChange{Desired: []byte(`{"a":1}`)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.ChangeHubDevice(ctx, was, changed); err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	for _, f := range []dps.HubDeviceFilter{
		{}, {ID: "dev"}, {Prefix: "d"}, {Edge: &yes}, {Edge: &no}, {Parent: "ms-azure-iot-edge://x"}, {Edge: &yes, Prefix: "d"},
	} {
		if _, err := store.FindHubDevices(ctx, was.Instance, was.Hub, f, "a", 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.DeleteHubDevice(ctx, was.Instance, was.Hub, was.DeviceID, changed.ETag); err != nil {
		t.Fatal(err)
	}
	if err := store.CreateHubDevice(ctx, was); err != nil {
		t.Fatal(err)
	}
}
