package transferapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/internal/transferapi"
	"github.com/mooring-iot/mooring/internal/translate"
	"github.com/mooring-iot/mooring/wire"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type observer struct{}

func (observer) Committed(int, time.Duration, error) {}

// world is the API over an empty store.
type world struct {
	http.Handler
	store  *sqlite.Store
	audit  *audit.Log
	policy dps.Policy
}

func newWorld(t *testing.T, rights dps.Rights) *world {
	t.Helper()
	return newInstance(t, newStore(t), dps.DefaultInstance, rights)
}

func newStore(t *testing.T) *sqlite.Store {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.OpenKey(filepath.Join(dir, "key"), true)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(dir, "db"), Key: key, Observer: observer{}, Log: slog.New(slog.DiscardHandler), Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func clock() time.Time { return now }

// newInstance returns a world of its own within a store.
func newInstance(t rapid.TB, store *sqlite.Store, in dps.InstanceID, rights dps.Rights) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	w := &world{store: store, policy: dps.Policy{Instance: in, Name: "p", Rights: rights, Keys: dps.NewKeyPair()}}
	setup := dps.Setup{
		Instance: dps.NewInstance(in, now), Policy: w.policy,
		Hub:       dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "hub.example", Weight: 1},
		HubPolicy: dps.HubPolicy{Instance: in, Hub: dps.EmbeddedHub, Name: "p", Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair()},
	}
	ctx := context.Background() // rapid has none
	if err := w.store.Create(ctx, setup); err != nil {
		t.Fatal(err)
	}
	w.audit = audit.New(audit.Options{Store: w.store, Log: log})
	enrolling := enroll.New(w.store, clock)
	ca := dps.Certificate{DER: authority.Certificate.Raw}
	if _, err := enrolling.PutCACertificate(ctx, in, enroll.Upload{Name: "plant", Certificate: &ca}, dps.Condition{}); err != nil {
		t.Fatal(err)
	}
	api := &httpio.API{Log: log, Refuse: func(rw http.ResponseWriter, _ *http.Request, err error) {
		status, body := translate.Error(err, "", now)
		_ = httpio.WriteJSON(rw, status, body)
	}}
	api.Routes = route.NewTable(transferapi.Routes(transferapi.Options{
		Guard: access.New(access.Options{Store: w.store, Names: []string{"dps.example"}, Now: clock}),
		Audit: w.audit, Enroll: enrolling, Instance: in, Log: log, Now: clock,
	})...)
	w.Handler = httpio.Track(api, log)
	return w
}

// authority is the CA of the CA references.
var authority = mustIssue(pki.Request{Kind: pki.Root, CommonName: "plant"})

// pool are certificates to choose from; each belongs to one enrollment at most.
var pool = certificates(12)

func mustIssue(r pki.Request) *pki.Issued {
	issued, err := pki.Issue(r)
	if err != nil {
		panic(err)
	}
	return issued
}

func certificates(n int) []string {
	var all []string
	for i := range n {
		issued := mustIssue(pki.Request{Kind: pki.Root, CommonName: fmt.Sprintf("c%d", i)})
		all = append(all, base64.StdEncoding.EncodeToString(issued.Certificate.Raw))
	}
	return all
}

// recorder is a response that has a deadline, as real ones do.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetWriteDeadline(time.Time) error { return nil }

func (w *world) send(method, path, mediaType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", sas.Sign("dps.example", w.policy.Name, w.policy.Keys.Primary.Reveal(), now.Add(time.Hour)))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", mediaType)
	} else {
		r.Header.Set("Accept", mediaType)
	}
	res := httptest.NewRecorder()
	w.ServeHTTP(recorder{res}, r)
	return res
}

// load imports a text that has to be understood.
func (w *world) load(t rapid.TB, query, mediaType, body string) wire.ImportResult {
	t.Helper()
	res := w.send(http.MethodPost, wire.ImportPath+"?"+query, mediaType, body)
	var result wire.ImportResult
	if err := json.Unmarshal(res.Body.Bytes(), &result); err != nil || res.Code != http.StatusOK {
		t.Fatalf("import: %d %s", res.Code, res.Body)
	}
	return result
}

func (w *world) dump(t rapid.TB, query, mediaType string) string {
	t.Helper()
	res := w.send(http.MethodGet, wire.ExportPath+"?"+query, mediaType, "")
	if res.Code != http.StatusOK || res.Header().Get("Content-Type") != mediaType {
		t.Fatalf("export: %d %s", res.Code, res.Body)
	}
	return res.Body.String()
}

const (
	devices = "kind=enrollments"
	groups  = "kind=enrollmentGroups"
	lines   = wire.ContentTypeJSONLines
	table   = wire.ContentTypeCSV
)

// anyRecord draws an enrollment; certificate is one that nobody has, CA references are
// drawn only where free says so.
func anyRecord(t *rapid.T, kind dps.EntryKind, id, certificate string, free bool) wire.Enrollment {
	e := wire.Enrollment{Attestation: anyAttestation(t, kind, certificate, free)}
	if kind == dps.Group {
		e.EnrollmentGroupID = id
	} else {
		e.RegistrationID = id
		e.DeviceID = rapid.SampledFrom([]string{"", "d-" + id}).Draw(t, "device")
		e.OptionalDeviceInformation = anyJSON(t, "info", ``, `{}`, `{"a":"<&>,\"\u2028","b":[1.0,1e3]}`)
	}
	e.InitialTwin = anyJSON(
		t,
		"twin",
		``,
		`{}`,
		`{"tags":{"a":"x,\"y"}}`,
		`{"tags":null}`,
		`{"tags":{"a":1},"properties":{"desired":{"b":"<ü>"}}}`,
		`{"properties":{"desired":{"c":1.50}},"tags":{}}`,
	)
	statuses := []wire.NullableString{{}, {Present: true, Null: true}, wire.StringValue("enabled"), wire.StringValue("disabled")}
	e.ProvisioningStatus = rapid.SampledFrom(statuses).Draw(t, "status")
	e.AllocationPolicy = rapid.SampledFrom([]string{"", "hashed", "geoLatency", "static", "custom"}).Draw(t, "policy")
	if e.AllocationPolicy == "custom" {
		e.CustomAllocationDefinition = &wire.CustomAllocation{WebhookURL: "https://f.example/x?code=a,b\"c", APIVersion: "2019-03-31"}
	}
	if e.AllocationPolicy != "" {
		e.IotHubs = rapid.SampledFrom([][]string{nil, {"a.example"}, {"b.example", "A.example"}}).Draw(t, "hubs")
	}
	e.IotHubHostName = rapid.SampledFrom([]string{"", "hub.example"}).Draw(t, "hub")
	if rapid.Bool().Draw(t, "reprovision") {
		update, migrate := rapid.Bool().Draw(t, "update"), rapid.Bool().Draw(t, "migrate")
		e.ReprovisionPolicy = &wire.ReprovisionPolicy{UpdateHubAssignment: &update, MigrateDeviceData: &migrate}
	}
	e.Capabilities = rapid.SampledFrom([]*wire.Capabilities{nil, {}, {IotEdge: true}}).Draw(t, "capabilities")
	return e
}

func anyJSON(t *rapid.T, label string, all ...string) json.RawMessage {
	text := rapid.SampledFrom(all).Draw(t, label)
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

func anyAttestation(t *rapid.T, kind dps.EntryKind, certificate string, free bool) *wire.Attestation {
	kinds := []string{"x509", "symmetricKey"}
	if kind == dps.Individual {
		kinds = append(kinds, "tpm")
	}
	if free {
		kinds = append(kinds, "ca")
	}
	one := &wire.Certificate{Certificate: certificate}
	switch rapid.SampledFrom(kinds).Draw(t, "attestation") {
	case "ca":
		return &wire.Attestation{Type: "x509", X509: &wire.X509{CAReferences: rapid.SampledFrom([]*wire.CAReferences{
			{Primary: "plant"}, {Secondary: "plant"},
		}).Draw(t, "reference")}}
	case "tpm":
		return &wire.Attestation{
			Type: "tpm",
			TPM:  &wire.TPM{EndorsementKey: "AToAAQ==", StorageRootKey: rapid.SampledFrom([]string{"", "AAAA"}).Draw(t, "srk")},
		}
	case "symmetricKey":
		a := &wire.Attestation{Type: "symmetricKey"}
		if rapid.Bool().Draw(t, "given") {
			key := base64.StdEncoding.EncodeToString(rapid.SliceOfN(rapid.Byte(), 16, 64).Draw(t, "key"))
			a.SymmetricKey = &wire.SymmetricKey{PrimaryKey: key, SecondaryKey: key}
		}
		return a
	default:
		pair := rapid.SampledFrom([]*wire.Certificates{{Primary: one}, {Secondary: one}, {Primary: one, Secondary: one}}).Draw(t, "slots")
		if kind == dps.Group {
			return &wire.Attestation{Type: "x509", X509: &wire.X509{SigningCertificates: pair}}
		}
		return &wire.Attestation{Type: "x509", X509: &wire.X509{ClientCertificates: pair}}
	}
}

func asLines(t rapid.TB, all []wire.Enrollment) string {
	var out strings.Builder
	for _, e := range all {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(text, '\n'))
	}
	return out.String()
}

// TestRoundTrip checks with random records of every kind that what was exported in
// either form, imported anywhere and exported again is the same to the last byte.
func TestRoundTrip(t *testing.T) {
	store, instances := newStore(t), 0
	rapid.Check(t, func(t *rapid.T) {
		fresh := func() *world {
			instances++
			return newInstance(t, store, dps.InstanceID(fmt.Sprintf("i%d", instances)), dps.OwnerRights)
		}
		kind, query := dps.Individual, devices
		if rapid.Bool().Draw(t, "groups") {
			kind, query = dps.Group, groups
		}
		var all []wire.Enrollment
		for i := range rapid.IntRange(0, len(pool)).Draw(t, "records") {
			all = append(all, anyRecord(t, kind, fmt.Sprintf("Id-%02d", len(pool)-i), pool[i], i == 0))
		}
		first := fresh()
		given := asLines(t, all)
		if r := first.load(t, query, lines, given); r.Created != len(all) || len(r.Refused) > 0 {
			t.Fatalf("%d records: %+v", len(all), r)
		}
		if r := first.load(t, query, lines, given); r.Unchanged != len(all) {
			t.Fatalf("again: %+v", r)
		}
		for _, form := range []string{lines, table} {
			whole := first.dump(t, query+"&keys=true", form)
			if r := first.load(t, query, form, whole); r.Unchanged != len(all) {
				t.Fatalf("%s: the export is not what is stored: %+v\n%s", form, r, whole)
			}
			if r := first.load(t, query, form, first.dump(t, query, form)); r.Unchanged != len(all) {
				t.Fatalf("%s: the export without keys is not what is stored: %+v", form, r)
			}
			second := fresh()
			if r := second.load(t, query+"&replace=true", form, whole); r.Created != len(all) {
				t.Fatalf("%s: elsewhere: %+v", form, r)
			}
			for _, other := range []string{lines, table} {
				if diff := cmp.Diff(first.dump(t, query+"&keys=true", other), second.dump(t, query+"&keys=true", other)); diff != "" {
					t.Fatalf("through %s, exported as %s (-first +second):\n%s", form, other, diff)
				}
			}
		}
	})
}

func key(id, extra string) string {
	return fmt.Sprintf(`{"registrationId":%q,"attestation":{"type":"symmetricKey"}%s}`, id, extra)
}

func TestOutcomes(t *testing.T) {
	w := newWorld(t, dps.OwnerRights)
	body := strings.Join([]string{
		key("a", ""), "# a remark", "", key("B", `,"deviceId":"x"`), key("A", ""), key("b", `,"deviceId":"y"`),
		"{", "[]", `{"registrationId":1}`, "{}", key("no blank", ""), key("c", `,"allocationPolicy":"best"`), key("d", `,"iotHubs":["h.example"]`), key("e", ""), "\xff",
	}, "\n")
	got := w.load(t, devices, lines, body)
	codes := map[int64]int{}
	for _, r := range got.Refused {
		codes[r.Line] = r.ErrorCode
	}
	want := map[int64]int{6: 409201, 7: 400000, 8: 400004, 9: 400004, 10: 400004, 11: 400004, 12: 400004, 13: 400004, 15: 400000}
	if diff := cmp.Diff(want, codes); diff != "" || got.Created != 3 || got.Unchanged != 1 || got.Replaced != 0 {
		t.Errorf("import: %+v\n%s", got, diff)
	}
	if !slices.IsSortedFunc(got.Refused, func(a, b wire.ImportRefusal) int { return int(a.Line - b.Line) }) || got.Refused[0].ID != "b" {
		t.Errorf("refused: %+v", got.Refused)
	}
	got = w.load(t, devices+"&replace=true", lines, key("b", `,"deviceId":"y"`)+"\n"+key("b", `,"deviceId":"z"`)+"\n"+key("a", "")+"\n")
	if got.Replaced != 2 || got.Unchanged != 1 || len(got.Refused) != 0 {
		t.Errorf("with replace: %+v", got)
	}
	text := w.dump(t, devices, lines)
	if strings.Count(text, "\n") != 3 || !strings.Contains(text, `{"registrationId":"B","deviceId":"z",`) ||
		strings.Contains(text, "Key\":\"") {
		t.Errorf("export: %s", text)
	}
}

// TestNothingIsIgnored checks that a misspelled member refuses its record, and names the
// member that was meant.
func TestNothingIsIgnored(t *testing.T) {
	w := newWorld(t, dps.OwnerRights)
	body := strings.Join([]string{
		key("a", `,"provisionigStatus":"disabled"`), key("b", `,"initialTwin":{"tasg":{}}`), key("c", `,"deviceId":"x","DeviceId":"y"`),
		key("d", `,"provisioningStatus":"disabled","etag":"x","registrationState":{"status":"assigned"},"colour":null`),
	}, "\n")
	got := w.load(t, devices, lines, body)
	var messages []string
	for _, r := range got.Refused {
		messages = append(messages, r.Message)
	}
	want := []string{
		`provisionigStatus: is not a known member; did you mean "provisioningStatus"?`,
		`initialTwin.tasg: is not a known member; did you mean "tags"?`, "DeviceId: is given twice",
	}
	if diff := cmp.Diff(want, messages); diff != "" || got.Created != 1 {
		t.Errorf("import: %+v\n%s", got, diff)
	}
}

// TestFormsOfFiles imports the same records in every form that people have them in.
func TestFormsOfFiles(t *testing.T) {
	for name, file := range map[string]struct{ mediaType, body string }{
		"lines":             {lines, key("a", "") + "\n" + key("b", "")},
		"byte order mark":   {lines, "\ufeff" + key("a", "") + "\r\n" + key("b", "")},
		"commas behind":     {lines, key("a", "") + ",\n" + key("b", "") + ","},
		"array":             {"application/json", "[\n" + key("a", "") + ",\n" + key("b", "") + "\n]\n"},
		"array as lines":    {lines, "[" + key("a", "") + "," + key("b", "") + ",]"},
		"commas":            {table, "registrationId,attestationType\na,symmetricKey\nb,symmetricKey\n"},
		"semicolons":        {table, "\ufeffregistrationId;attestationType\r\na;symmetricKey\r\nb;symmetricKey\r\n"},
		"tabs":              {table, "registrationId\tattestationType\na\tsymmetricKey\nb\tsymmetricKey"},
		"commas at the end": {table, "registrationId,attestationType,,\na,symmetricKey,,\nb,symmetricKey,,\n"},
	} {
		w := newWorld(t, dps.OwnerRights)
		if got := w.load(t, devices, file.mediaType, file.body); got.Created != 2 || len(got.Refused) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestCertificateConflicts checks that of two records with one certificate the first
// gets it, and that a reference that leads nowhere refuses its record alone.
func TestCertificateConflicts(t *testing.T) {
	w := newWorld(t, dps.OwnerRights)
	record := func(id, x509 string) string {
		return fmt.Sprintf(`{"enrollmentGroupId":%q,"attestation":{"type":"x509","x509":{%s}}}`, id, x509)
	}
	signing := fmt.Sprintf(`"signingCertificates":{"primary":{"certificate":%q}}`, pool[0])
	got := w.load(t, groups, lines, strings.Join([]string{
		record(
			"a",
			signing,
		), record("b", signing), record("c", `"caReferences":{"primary":"ghost"}`), record("d", `"caReferences":{"primary":"plant"}`),
	}, "\n"))
	if got.Created != 2 || len(got.Refused) != 2 || got.Refused[0].ID != "b" || got.Refused[1].ErrorCode != 400004 ||
		!strings.Contains(got.Refused[0].Message, "already belongs to the enrollment group a") {
		t.Errorf("import: %+v", got)
	}
}

func TestMaskedWebhook(t *testing.T) {
	w := newWorld(t, dps.OwnerRights)
	full := key("a", `,"allocationPolicy":"custom","customAllocationDefinition":{"webhookUrl":"https://f.example/x?code=1","apiVersion":"1"}`)
	w.load(t, devices, lines, full)
	masked := w.dump(t, devices, lines)
	if strings.Contains(masked, "code=1") || !strings.Contains(w.dump(t, devices+"&keys=true", lines), "code=1") {
		t.Errorf("export: %s", masked)
	}
	if got := w.load(t, devices, lines, masked); got.Unchanged != 1 {
		t.Errorf("back: %+v", got)
	}
	if got := newWorld(t, dps.OwnerRights).load(t, devices, lines, masked); len(got.Refused) != 1 ||
		!strings.Contains(got.Refused[0].Message, "webhookUrl") {
		t.Errorf("elsewhere: %+v", got)
	}
}

func TestRights(t *testing.T) {
	for _, tt := range []struct {
		rights                   dps.Rights
		load, dump, dumpWithKeys int
	}{
		{dps.EnrollmentWrite, 200, 401, 401},
		{dps.ServiceConfig, 401, 200, 401},
		{dps.ServiceConfig | dps.EnrollmentRead, 401, 200, 401},
		{dps.ServiceConfig | dps.EnrollmentWrite, 200, 200, 200},
		{dps.EnrollmentRead | dps.DeviceConnect, 401, 401, 401},
	} {
		w := newWorld(t, tt.rights)
		got := []int{
			w.send("POST", wire.ImportPath+"?"+devices, lines, key("a", "")).Code, w.send("GET", wire.ExportPath+"?"+devices, lines, "").Code,
			w.send("GET", wire.ExportPath+"?keys=true&"+devices, lines, "").Code,
		}
		if want := []int{tt.load, tt.dump, tt.dumpWithKeys}; !slices.Equal(got, want) {
			t.Errorf("rights %s: %v, want %v", tt.rights, got, want)
		}
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t, dps.OwnerRights)
	for _, tt := range []struct {
		method, path, mediaType, body string
		status                        int
	}{
		{"POST", wire.ImportPath, lines, "", 400},
		{"POST", wire.ImportPath + "?kind=devices", lines, "", 400},
		{"POST", wire.ImportPath + "?replace=maybe&" + devices, lines, "", 400},
		{"POST", wire.ImportPath + "?" + devices, "application/json", "[]", 200},
		{"POST", wire.ImportPath + "?" + devices, "application/xml", "", 415},
		{"POST", wire.ImportPath + "?replce=true&" + devices, lines, "", 400},
		{"GET", wire.ExportPath + "?key=true&" + devices, lines, "", 400},
		{"POST", wire.ImportPath + "?" + devices, "", "", 415},
		{"POST", wire.ImportPath + "?" + devices, table, "", 400},
		{"POST", wire.ImportPath + "?" + devices, table, "enrollmentGroupId\n", 400},
		{"POST", wire.ImportPath + "?" + devices, table, "registrationId\n", 200},
		{"POST", wire.ImportPath + "?" + devices, lines, strings.Repeat("\n", wire.MaxImportBody), 200},
		{"POST", wire.ImportPath + "?" + devices, lines, strings.Repeat("\n", wire.MaxImportBody+1), 413},
		{"GET", wire.ExportPath, lines, "", 400},
		{"GET", wire.ExportPath + "?" + devices, "text/html", "", 415},
		{"GET", wire.ExportPath + "?keys=x&" + devices, lines, "", 400},
		{"GET", wire.ExportPath + "?" + devices, "", "", 200},
		{"GET", wire.ImportPath + "?" + devices, lines, "", 405},
	} {
		if res := w.send(tt.method, tt.path, tt.mediaType, tt.body); res.Code != tt.status {
			t.Errorf("%s %s %q: %d %s, want %d", tt.method, tt.path, tt.mediaType, res.Code, res.Body, tt.status)
		}
	}
}

// TestManyBatches checks the order and the numbers over several changes of the store,
// the pages of the export, and the one audit entry.
func TestManyBatches(t *testing.T) {
	const n = 1234
	w := newWorld(t, dps.OwnerRights)
	var all []string
	for i := range n {
		all = append(all, key(fmt.Sprintf("d-%04d", (i*7)%n), ""))
	}
	all[700] = "{"
	got := w.load(t, devices, lines, strings.Join(all, "\n"))
	if got.Created != n-1 || len(got.Refused) != 1 || got.Refused[0].Line != 701 {
		t.Errorf("import: %d created, refused %+v", got.Created, got.Refused)
	}
	text := w.dump(t, devices, lines)
	if records := strings.Split(strings.TrimSpace(text), "\n"); len(records) != n-1 || !slices.IsSorted(records) {
		t.Errorf("%d records", len(records))
	}
	entries, _, err := w.audit.Entries(t.Context(), dps.DefaultInstance, audit.Filter{}, 10, nil)
	if err != nil || len(entries) != 1 {
		t.Fatalf("audit: %+v, %v", entries, err)
	}
	if e := entries[0]; e.Operation != audit.Import || e.Kind != audit.Enrollment || e.Succeeded != n-1 || e.Failed != 1 ||
		e.Principal != audit.ByPolicy("p") {
		t.Errorf("audit: %+v", e)
	}
}

// TestStoreFailure checks that nothing is called imported when the store fails, and
// that the caller may try again.
func TestStoreFailure(t *testing.T) {
	w := newWorld(t, dps.OwnerRights)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	if res := w.send("POST", wire.ImportPath+"?"+devices, lines, key("a", "")); res.Code < 500 {
		t.Errorf("import: %d %s", res.Code, res.Body)
	}
	if res := w.send("GET", wire.ExportPath+"?"+devices, lines, ""); res.Code < 500 {
		t.Errorf("export: %d %s", res.Code, res.Body)
	}
}
