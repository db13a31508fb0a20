package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/query"
)

var queryCases = []testCase{
	{"nothing", func(t *testing.T, w *world) {
		if got := w.find(t, dps.Individual, "*", 10); len(got) > 0 {
			t.Errorf("found %v", got)
		}
	}},
	{"each plan finds what a filter finds", plans},
	{"any condition finds what a filter finds", anyQuery},
	{"any member is found", anyMember},
	{"a certificate is found by its thumbprint", byThumbprint},
	{"pages beside writers", pagesBesideWriters},
	{"equal times are ordered by ID", equalTimes},
	{"a limit", func(t *testing.T, w *world) {
		for i := range 1200 {
			w.put(t, enrollment(individual(fmt.Sprintf("s%04d", i)), byTPM()))
		}
		for _, limit := range []int{1, 31, 32, 33, 999, 1200, 1300} {
			if got := w.find(t, dps.Individual, "*", limit); len(got) != min(limit, 1200) {
				t.Errorf("limit %d: %d", limit, len(got))
			}
		}
	}},
	{"records come whole, with their secrets", func(t *testing.T, w *world) {
		e := enrollment(individual("Sensor"), byKeys())
		e.InitialTwin, e.Placement.Custom = json.RawMessage(
			`{"tags":{"a":1}}`,
		), &dps.CustomAllocation{
			WebhookURL: "https://x/?code=1",
			APIVersion: "2021-10-01",
		}
		w.put(t, e)
		for _, text := range []string{
			"*", "SELECT * WHERE registrationId = 'SENSOR'",
			"SELECT * WHERE customAllocationDefinition.webhookUrl = 'https://x/?****'",
			"SELECT * WHERE initialTwin.tags.a = 1",
		} {
			same(t, text, w.find(t, dps.Individual, text, 10), []dps.Enrollment{e})
		}
	}},
	{"a group's registrations", groupRegistrations},
	{"a registration is deleted at its version", deletedRegistration},
}

// find runs a query that has to succeed.
func (w *world) find(t testing.TB, kind dps.EntryKind, text string, limit int) []dps.Enrollment {
	t.Helper()
	found, err := w.QueryEnrollments(t.Context(), here, kind, parsed(t, text, schemaOf(kind)), limit, nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return found
}

func schemaOf(kind dps.EntryKind) *query.Schema {
	if kind == dps.Group {
		return query.Groups()
	}
	return query.Enrollments()
}

func parsed(t testing.TB, text string, schema *query.Schema) query.Query {
	t.Helper()
	q, err := query.Parse(text, schema)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// fleet stores records that differ in what plans look at, the same in both instances,
// and returns those of here with their states.
func (w *world) fleet(t *testing.T) []query.Record {
	t.Helper()
	twins := []string{
		`{"tags":{"site":"oslo","note":"it's \"so\""}}`, `{"tags":{"site":"\u006fslo","note":"a\/b"}}`, `{"tags":{"site":"gr\u00fcn","note":"a/b"}}`,
		`{"tags":{"site":"grün","note":"<b>&"}}`, `{"tags":{"site":"2026-03-01T12:00:00Z","note":"c:\\x"}}`, `{"tags":{"site":"2026-03-01T12:00:00.0Z","oslo":1}}`, ``, `["oslo"]`,
	}
	ids := []string{"a", "A.b", "a-b", "ab", "abc", "Abd", "b", "B-1", "ba", "c", "z", "zz", "zzz:1", "0", "00", "9"}
	var all []query.Record
	for i, id := range ids {
		for _, in := range []dps.InstanceID{here, there} {
			e := enrollment(individual(id), byTPM())
			e.Instance, e.InitialTwin = in, json.RawMessage(twins[i%len(twins)])
			e.Updated = start.Add(time.Duration(i/3) * 50 * time.Nanosecond)
			e.Status = []dps.ProvisioningStatus{dps.StatusEnabled, dps.StatusDisabled, dps.StatusNull}[i%3]
			e.DeviceID = dps.DeviceID([]string{"", "oslo", "Dev"}[i%3])
			if i%4 == 1 {
				e.Attestation = byKeys()
			}
			if i%4 == 2 {
				e.Attestation = byCertificate(certificate(t, "device"))
			}
			w.put(t, e)
			r := query.Record{Enrollment: e}
			if i%2 == 0 {
				r.Registration, r.Hub = w.registered(t, in, e.Ref, i), "hub.example.com"
			}
			if in == here {
				all = append(all, r)
			}
		}
	}
	return all
}

func (w *world) registered(t *testing.T, in dps.InstanceID, ref dps.EntryRef, i int) *dps.Registration {
	t.Helper()
	reg := registration(dps.RegistrationID(strings.ToUpper(ref.ID)))
	reg.Instance, reg.Entry, reg.Assignment.Entry = in, ref, ref
	if i%4 == 0 {
		reg.Status, reg.Assignment, reg.Failure = dps.Failed, nil, &dps.Failure{Code: dps.NoHub, Message: "No hub."}
	}
	if i%3 == 0 {
		reg.Payload = json.RawMessage(`{"line":{"name":"oslo"}}`)
	}
	w.commit(t, dps.RegistrationChange{Registration: reg})
	return &reg
}

// filtered is what a query has to find, by Match alone.
func filtered(all []query.Record, q query.Query) []string {
	var ids []string
	for _, r := range sorted(all, q.Order) {
		if q.Match(r) {
			ids = append(ids, r.Enrollment.Ref.ID)
		}
	}
	return ids
}

func sorted(all []query.Record, o query.Order) []query.Record {
	return slices.SortedFunc(slices.Values(all), func(a, b query.Record) int {
		order := strings.Compare(a.Enrollment.Ref.Key(), b.Enrollment.Ref.Key())
		if byTime := a.Enrollment.Updated.Compare(b.Enrollment.Updated); o.ByUpdated && byTime != 0 {
			order = byTime
		}
		if o.Descending {
			return -order
		}
		return order
	})
}

// pages reads a query over individual enrollments page by page.
func (w *world) pages(t testing.TB, q query.Query, size func() int) []string {
	t.Helper()
	var ids []string
	var after *dps.Cursor
	for {
		n := size()
		found, err := w.QueryEnrollments(t.Context(), here, dps.Individual, q, n, after)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found {
			ids = append(ids, e.Ref.ID)
		}
		if len(found) < n {
			return ids
		}
		last := found[n-1]
		after = &dps.Cursor{Key: last.Ref.Key(), Updated: last.Updated.UnixNano()}
	}
}

// orders are what a query can end with.
var orders = []string{"", " ORDER BY registrationId DESC", " ORDER BY lastUpdatedDateTimeUtc", " ORDER BY lastUpdatedDateTimeUtc DESC"}

// tests are conditions for every plan that a store may have.
var tests = []string{
	"registrationId = 'A'", "registrationId = 'a.B'", "registrationId = 'ghost'", "registrationId = ''", "registrationId != 'a'",
	"registrationId > 'ab'", "registrationId >= 'AB'", "registrationId < 'b'", "registrationId <= 'B'", "registrationId < ''", "registrationId >= ''",
	"registrationId > 'a' AND registrationId < 'b'", "registrationId > 'b' AND registrationId < 'a'", "registrationId = 'a' AND registrationId = 'b'",
	"registrationId = 'a' OR registrationId = 'b'", "NOT registrationId = 'a'", "registrationId > 'a\x00'", "registrationId = 'a\x00'",
	"STARTS_WITH(registrationId, 'A')", "STARTS_WITH(registrationId, 'z')", "STARTS_WITH(registrationId, '')", "STARTS_WITH(registrationId, 'ÿ')",
	"STARTS_WITH(registrationId, '\U0010ffff')", "STARTS_WITH(registrationId, 'zz') OR registrationId = '0'", "NOT STARTS_WITH(registrationId, 'a')",
	"registrationId < 'ÿ'", "registrationId < '\U0010ffff'", "registrationId >= 'é'",
	"initialTwin.tags.site = 'oslo'", "initialTwin.tags.site != 'oslo'", "initialTwin.tags.site = 'os'", "STARTS_WITH(initialTwin.tags.site, 'os')",
	"STARTS_WITH(initialTwin.tags.site, '')", "initialTwin.tags.site = 'grün'", "STARTS_WITH(initialTwin.tags.site, 'gr')", "initialTwin.tags.note = 'it''s \"so\"'",
	"initialTwin.tags.note = 'a/b'", "initialTwin.tags.note = '<b>&'", "STARTS_WITH(initialTwin.tags.note, '<b')", `initialTwin.tags.note = 'c:\x'`, `STARTS_WITH(initialTwin.tags.note, 'c:')`,
	"initialTwin.tags.site = '2026-03-01T12:00:00Z'", "initialTwin.tags.site = '2026-03-01T12:00:00.00Z'", "STARTS_WITH(initialTwin.tags.site, '2026-03-01T12:00:00Z')",
	"initialTwin.tags.oslo = 1", "initialTwin = null", "initialTwin.tags = null", "deviceId = 'oslo'", "STARTS_WITH(deviceId, 'De')", "deviceId = null",
	"provisioningStatus = 'disabled'", "provisioningStatus = null", "provisioningStatus = 'Disabled'", "ARRAY_CONTAINS(initialTwin.tags.site, 'oslo')", "provisioningStatus != 'enabled'", "STARTS_WITH(provisioningStatus, 'en')",
	"attestation.type = 'tpm'", "attestation.type != 'tpm'", "attestation.tpm.endorsementKey = 'AToAAQALAAMAsgAg'", "attestation.tpm = null", "attestation.x509 != null",
	"attestation.x509.clientCertificates.primary.info.subjectName = 'CN=device'", "attestation.x509.clientCertificates.secondary = null", "attestation != null",
	"attestation.type = 'x509' AND attestation.x509.clientCertificates.primary != null AND capabilities = null",
	"allocationPolicy = null", "reprovisionPolicy = null", "iotHubs = null", "capabilities.iotEdge = null", "customAllocationDefinition = null", "etag = 'x'", "etag != 'x'",
	"lastUpdatedDateTimeUtc = '2026-03-01T12:00:00.1234568Z'", "lastUpdatedDateTimeUtc > '2026-03-01T12:00:00.1234568Z'", "lastUpdatedDateTimeUtc >= '2026-03-01T12:00:00.1234568Z'",
	"lastUpdatedDateTimeUtc < '2026-03-01T12:00:00.1234568Z'", "lastUpdatedDateTimeUtc <= '2026-03-01T12:00:00.1234568Z'", "lastUpdatedDateTimeUtc <= '2026-03-01T12:00:00.12345685Z'",
	"lastUpdatedDateTimeUtc > '2026-03-01'", "lastUpdatedDateTimeUtc < '9999-12-31T23:59:59Z'", "lastUpdatedDateTimeUtc > '0001-01-01T00:00:00Z'", "createdDateTimeUtc = '2026-03-01T12:00:00.1234567Z'",
	"registrationState.status = 'failed'", "registrationState.status = 'unassigned'", "registrationState.assignedHub = 'hub.example.com'", "registrationState.errorCode = null",
	"registrationState.deviceId != null AND registrationId < 'b'", "NOT registrationState.status = 'assigned'", "registrationState != null",
	"registrationState.payload != null", "registrationState.payload.line.name = 'oslo'", "registrationState.payload.line.name = null",
}

// plans walks every condition in every order.
func plans(t *testing.T, w *world) {
	all := w.fleet(t)
	for _, test := range tests {
		for _, order := range orders {
			text := "SELECT * WHERE " + test + order
			q := parsed(t, text, query.Enrollments())
			same(t, text, w.pages(t, q, func() int { return 3 }), filtered(all, q))
		}
	}
	for _, order := range orders {
		q := parsed(t, "SELECT *"+order, query.Enrollments())
		same(t, order, w.pages(t, q, func() int { return 100 }), filtered(all, q))
	}
}

// anyQuery joins conditions at random.
func anyQuery(t *testing.T, w *world) {
	all := w.fleet(t)
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.SampledFrom(tests).Draw(rt, "test")
		for range rapid.IntRange(0, 3).Draw(rt, "more") {
			join := rapid.SampledFrom([]string{"%s AND %s", "%s OR %s", "NOT (%s) AND %s", "(%s) AND NOT %s"}).Draw(rt, "join")
			text = fmt.Sprintf(join, "("+text+")", rapid.SampledFrom(tests).Draw(rt, "test"))
		}
		q := parsed(t, "SELECT * WHERE "+text+rapid.SampledFrom(orders).Draw(rt, "order"), query.Enrollments())
		got := w.pages(t, q, func() int { return rapid.IntRange(1, 20).Draw(rt, "page") })
		if want := filtered(all, q); !slices.Equal(got, want) {
			rt.Fatalf("%s: %v, want %v", text, got, want)
		}
	})
}

// pagesBesideWriters reads pages while other records come and go: what does not change
// is neither passed over nor repeated.
func pagesBesideWriters(t *testing.T, w *world) {
	var steady []string
	for i := range 150 {
		e := enrollment(individual(fmt.Sprintf("s%03d", i*2)), byTPM())
		e.Updated = start.Add(time.Duration(i%7) * time.Second)
		steady = append(steady, w.put(t, e).Ref.ID)
	}
	done := make(chan struct{})
	var writers sync.WaitGroup
	for n := range 2 {
		writers.Go(func() {
			for i := n; ; i += 2 {
				select {
				case <-done:
					return
				default:
				}
				e := enrollment(individual(fmt.Sprintf("s%03d", i%150*2+1)), byKeys())
				e.Updated = start.Add(time.Duration(i%11) * time.Second)
				if err := w.PutEnrollment(t.Context(), e, ""); err != nil {
					t.Error(err)
					return
				}
				if err := w.DeleteEnrollment(t.Context(), here, e.Ref, e.ETag); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, order := range orders {
		for size := range 40 {
			q := parsed(t, "SELECT *"+order, query.Enrollments())
			var got []string
			for _, id := range w.pages(t, q, func() int { return size + 1 }) {
				if slices.Contains(steady, id) {
					got = append(got, id)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, steady) {
				t.Errorf("%s, pages of %d: %d records, want %d", order, size+1, len(got), len(steady))
			}
		}
	}
	close(done)
	writers.Wait()
}

func equalTimes(t *testing.T, w *world) {
	for _, id := range []string{"c", "A", "b", "D"} {
		w.put(t, enrollment(individual(id), byTPM()))
	}
	for text, want := range map[string][]string{
		"SELECT * ORDER BY lastUpdatedDateTimeUtc": {"A", "b", "c", "D"}, "SELECT * ORDER BY lastUpdatedDateTimeUtc DESC": {"D", "c", "b", "A"},
	} {
		same(t, text, w.pages(t, parsed(t, text, query.Enrollments()), func() int { return 1 }), want)
	}
}

// members are the IDs of a group's records that a query finds, page by page.
func (w *world) members(t *testing.T, group, text string, size int) []string {
	t.Helper()
	var ids []string
	var after *dps.Cursor
	for {
		found, err := w.QueryRegistrations(t.Context(), here, group, parsed(t, text, query.Registrations()), size, after)
		must(t, err)
		for _, reg := range found {
			ids = append(ids, string(reg.ID))
		}
		if len(found) < size {
			return ids
		}
		after = &dps.Cursor{Key: found[size-1].ID.Key(), Updated: found[size-1].Updated.UnixNano()}
	}
}

func groupRegistrations(t *testing.T, w *world) {
	for i, id := range []dps.RegistrationID{"c", "A", "b", "D", "e"} {
		reg := registration(id)
		reg.Entry, reg.Assignment.Entry, reg.Updated = group("Line"), group("Line"), start.Add(time.Duration(i%2)*time.Second)
		if i == 4 {
			reg.Status, reg.Assignment, reg.Failure = dps.Failed, nil, &dps.Failure{Code: dps.NoHub, Message: "No hub."}
		}
		w.commit(t, dps.RegistrationChange{Registration: reg})
	}
	alone, elsewhere, foreign := registration("alone"), registration("elsewhere"), registration("b")
	alone.Entry, elsewhere.Entry, foreign.Instance, foreign.Entry = individual("Line"), group("line-2"), there, group("Line")
	for _, reg := range []dps.Registration{alone, elsewhere, foreign} {
		reg.Assignment.Entry = reg.Entry
		w.commit(t, dps.RegistrationChange{Registration: reg})
	}
	for text, want := range map[string][]string{
		"":                                      {"A", "b", "c", "D", "e"},
		"SELECT * ORDER BY registrationId DESC": {"e", "D", "c", "b", "A"},
		"SELECT * ORDER BY lastUpdatedDateTimeUtc":                           {"b", "c", "e", "A", "D"},
		"SELECT * ORDER BY lastUpdatedDateTimeUtc DESC":                      {"D", "A", "e", "c", "b"},
		"SELECT * WHERE status = 'failed'":                                   {"e"},
		"SELECT * WHERE assignedHub = 'hub.example.com'":                     {"A", "b", "c", "D"},
		"SELECT * WHERE registrationId > 'a' AND STARTS_WITH(deviceId, 'D')": {"D"},
		"SELECT * WHERE registrationId = 'B'":                                {"b"},
		"SELECT * WHERE errorCode != null":                                   nil, // nobody says how they are numbered
		"SELECT * WHERE lastUpdatedDateTimeUtc > '2026-03-01T12:00:01Z'":     {"A", "D"},
	} {
		for size := range 6 {
			same(t, fmt.Sprintf("%s, pages of %d", text, size+1), w.members(t, "lINE", text, size+1), want)
		}
	}
	same(t, "a group that is not there", w.members(t, "ghost", "", 5), []string(nil))
}

func deletedRegistration(t *testing.T, w *world) {
	reg, d := w.commitNew(t, "Sensor")
	next := again(reg, start)
	w.commit(t, dps.RegistrationChange{Registration: next, IfMatch: reg.ETag})
	for _, version := range []dps.ETag{reg.ETag, dps.NewETag(), ""} {
		fails(t, "DeleteRegistration", w.DeleteRegistration(t.Context(), here, "sensor", version), dps.ConcurrentChange)
	}
	fails(t, "elsewhere", w.DeleteRegistration(t.Context(), there, "sensor", next.ETag), dps.ConcurrentChange)
	must(t, w.DeleteRegistration(t.Context(), here, "sENSOR", next.ETag))
	_, err := w.Registration(t.Context(), here, "sensor")
	fails(t, "Registration", err, dps.RegistrationNotFound)
	for _, op := range []dps.OperationID{reg.Operation, next.Operation} {
		_, err = w.Operation(t.Context(), here, "sensor", op)
		fails(t, "Operation", err, dps.OperationNotFound)
	}
	same(t, "device", read[dps.HubDevice](t)(w.HubDevice(t.Context(), here, dps.EmbeddedHub, "Sensor")), d)
	w.commit(t, dps.RegistrationChange{Registration: registration("sensor")})
}
