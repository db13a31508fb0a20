package mooringapi_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mooring-iot/mooring/internal/controlapi"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/wire"
)

// Bodies and paths that the cases share.
const (
	keys   = `"attestation": {"type": "symmetricKey"}`
	sensor = `{"registrationId": "sensor-7", ` + keys + `}`
	line   = `{"enrollmentGroupId": "line-7", ` + keys + `}`
)

var (
	resource = controlapi.ResourceID(dps.DefaultInstance)
	factory  = resource + "/certificates/factory"
)

// step is a request and the one entry that it leaves; no result is no entry.
type step struct {
	method, path, body string
	ifMatch            string // "now" is the etag of the newest answer
	status             int
	want               wire.AuditEntry
}

// TestEveryChangeHasOneEntry walks all operations of the service API and the control
// plane, those that only read too.
func TestEveryChangeHasOneEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: "Factory"})
	must(t, err)
	certificate := `{"properties": {"certificate": "` + base64Of(root.Certificate.Raw) + `"}}`
	must(t, w.store.Commit(t.Context(), newRegistration("sensor-9")))

	put, remove := "put", "delete"
	entry := func(operation, kind, id, result string) wire.AuditEntry {
		return wire.AuditEntry{Operation: operation, Kind: kind, ID: id, Result: result}
	}
	const enrollment, group, ca, service = "enrollment", "enrollment-group", "certificate", "provisioning-service"
	var etag string
	for i, s := range []step{
		{"PUT", "/enrollments/Sensor-7", sensor, "", 200, entry(put, enrollment, "Sensor-7", "ok")},
		{"PUT", "/enrollments/sensor-7", sensor, "", 409, entry(put, enrollment, "sensor-7", "EnrollmentExists")},
		{"PUT", "/enrollments/sensor-7", sensor, "*", 200, entry(put, enrollment, "sensor-7", "ok")},
		{"PUT", "/enrollments/sensor-7", sensor, "bogus", 412, entry(put, enrollment, "sensor-7", "PreconditionFailed")},
		{"PUT", "/enrollments/sensor-7", "{", "", 400, entry(put, enrollment, "sensor-7", "Malformed")},
		{"PUT", "/enrollments/sensor-8", sensor, "", 400, entry(put, enrollment, "sensor-8", "Invalid")},
		{"GET", "/enrollments/sensor-7", "", "", 200, wire.AuditEntry{}},
		{"POST", "/enrollments/sensor-7/attestationmechanism", "", "", 200, wire.AuditEntry{}},
		{"POST", "/enrollments/query", `{"query": "SELECT * FROM enrollments"}`, "", 200, wire.AuditEntry{}},
		{"DELETE", "/enrollments/ghost", "", "", 404, entry(remove, enrollment, "ghost", "EnrollmentNotFound")},
		{"DELETE", "/enrollments/sensor-7", "", "*", 204, entry(remove, enrollment, "sensor-7", "ok")},

		{"PUT", "/enrollmentGroups/line-7", line, "", 200, entry(put, group, "line-7", "ok")},
		{"PUT", "/enrollmentGroups/line-7", line, "", 409, entry(put, group, "line-7", "GroupExists")},
		{"GET", "/enrollmentGroups/line-7", "", "", 200, wire.AuditEntry{}},
		{"POST", "/enrollmentGroups/line-7/attestationmechanism", "", "", 200, wire.AuditEntry{}},
		{"POST", "/enrollmentGroups/query", "", "", 200, wire.AuditEntry{}},
		{"DELETE", "/enrollmentGroups/line-7", "", "", 204, entry(remove, group, "line-7", "ok")},
		{"DELETE", "/enrollmentGroups/line-7", "", "", 404, entry(remove, group, "line-7", "GroupNotFound")},

		{"GET", "/registrations/sensor-9", "", "", 200, wire.AuditEntry{}},
		{"POST", "/registrations/line-7/query", "", "", 200, wire.AuditEntry{}},
		{"DELETE", "/registrations/sensor-9", "", "bogus", 412, entry(remove, "registration", "sensor-9", "PreconditionFailed")},
		{"DELETE", "/registrations/sensor-9", "", "", 204, entry(remove, "registration", "sensor-9", "ok")},
		{"DELETE", "/registrations/sensor-9", "", "", 404, entry(remove, "registration", "sensor-9", "RegistrationNotFound")},

		{"PUT", factory, certificate, "", 200, entry(put, ca, "factory", "ok")},
		{"PUT", factory, certificate, "", 409, entry(put, ca, "factory", "CertificateExists")},
		{"GET", factory, "", "", 200, wire.AuditEntry{}},
		{"GET", resource + "/certificates", "", "", 200, wire.AuditEntry{}},
		{"POST", factory + "/generateVerificationCode", "", "*", 200, entry("generate-verification-code", ca, "factory", "ok")},
		{"POST", factory + "/generateVerificationCode", "", "", 400, entry("generate-verification-code", ca, "factory", "Invalid")},
		{"POST", factory + "/verify", `{"certificate": "` + base64Of(root.Certificate.Raw) + `"}`, "*", 400, entry("verify", ca, "factory", "Invalid")},
		{"POST", factory + "/verify", "proof", "*", 200, entry("verify", ca, "factory", "ok")},
		{"DELETE", factory, "", "", 400, entry(remove, ca, "factory", "Invalid")},
		{"DELETE", factory, "", "now", 200, entry(remove, ca, "factory", "ok")},
		{"DELETE", factory, "", "*", 404, entry(remove, ca, "factory", "CertificateNotFound")},

		{"GET", resource, "", "", 200, wire.AuditEntry{}},
		{"PATCH", resource, `{"tags": {"site": "hall 3"}}`, "", 200, entry("patch", service, "default", "ok")},
		{"PATCH", resource, `{"tags": 1}`, "", 400, entry("patch", service, "default", "Invalid")},
		{"PUT", resource, `{"location": "local", "sku": {"name": "S1"}, "properties": {}}`, "now", 200, entry(put, service, "default", "ok")},
		{"PUT", resource, `{"location": "local", "sku": {"name": "S1"}, "properties": {}}`, "bogus", 412, entry(put, service, "default", "PreconditionFailed")},
		{"PUT", resource + "2", `{}`, "", 400, entry(put, service, "default2", "Invalid")},
		{"DELETE", resource, "", "", 409, entry(remove, service, "default", "Conflict")},
		{"DELETE", resource + "2", "", "", 204, wire.AuditEntry{}}, // it changed nothing
		{"POST", resource + "/listkeys", "", "", 200, wire.AuditEntry{}},
		{"POST", resource + "/keys/p/listkeys", "", "", 200, wire.AuditEntry{}},
		{"POST", "/subscriptions/" + controlapi.Subscription + "/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability", `{"name": "abc"}`, "", 200, wire.AuditEntry{}},

		{"GET", wire.AuditPath, "", "", 200, wire.AuditEntry{}},
		{"POST", wire.AuditPath, "", "", 405, wire.AuditEntry{}},
		{"PUT", "/enrollments", sensor, "", 405, wire.AuditEntry{}},
	} {
		name := fmt.Sprintf("step %d, %s %s", i, s.method, s.path)
		if s.body == "proof" {
			s.body = `{"certificate": "` + w.proof(t, root) + `"}`
		}
		if s.ifMatch == "now" {
			s.ifMatch = etag
		}
		before := w.all(t)
		res := w.send(t, s.method, s.path, s.body, "If-Match: "+s.ifMatch)
		if res.Code != s.status {
			t.Fatalf("%s: %d %s, want %d", name, res.Code, res.Body, s.status)
		}
		after := w.all(t)
		if got := etagOf(res); got != "" {
			etag = got
		}
		w.check(t, name, s, res, after[:len(after)-len(before)])
	}
}

// check holds the new entries of a step against what it wants.
func (w *world) check(t *testing.T, name string, s step, res *httptest.ResponseRecorder, added []wire.AuditEntry) {
	t.Helper()
	if s.want.Result == "" {
		if len(added) != 0 {
			t.Errorf("%s: reads, and is recorded: %+v", name, added)
		}
		return
	}
	if len(added) != 1 {
		t.Fatalf("%s: %d entries: %+v", name, len(added), added)
	}
	got, want := added[0], s.want
	want.Time, want.Remote, want.Principal = "2026-03-01T12:00:00.000Z", "192.0.2.7:4711", "policy:p"
	if strings.HasPrefix(s.path, "/subscriptions") {
		want.Principal = "token:operator"
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(wire.AuditEntry{}, "OldETag", "NewETag", "TrackingID")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
	if failed := want.Result != "ok"; failed != (got.OldETag == "" && got.NewETag == "") {
		t.Errorf("%s: etags %q and %q", name, got.OldETag, got.NewETag)
	}
	if id := trackingID(res); len(got.TrackingID) != 36 || (id != "" && id != got.TrackingID) {
		t.Errorf("%s: tracking ID %q, answered %q", name, got.TrackingID, id)
	}
	if tag := etagOf(res); s.method != "DELETE" && want.Result == "ok" && got.NewETag != tag {
		t.Errorf("%s: new etag %q, answered %q", name, got.NewETag, tag)
	}
	if s.method == "DELETE" && (got.NewETag != "" || (want.Result == "ok" && got.OldETag == "")) {
		t.Errorf("%s: etags %q and %q", name, got.OldETag, got.NewETag)
	}
}

func etagOf(res *httptest.ResponseRecorder) string {
	var body struct {
		ETag string `json:"etag"`
	}
	_ = json.Unmarshal(res.Body.Bytes(), &body)
	return body.ETag
}

// trackingID returns what a refusal says.
func trackingID(res *httptest.ResponseRecorder) string {
	var body wire.Error
	_ = json.Unmarshal(res.Body.Bytes(), &body)
	if body.TrackingID != "" {
		return body.TrackingID
	}
	return res.Header().Get(wire.HeaderRequestID)
}

// proof returns a certificate for the outstanding code.
func (w *world) proof(t *testing.T, root *pki.Issued) string {
	t.Helper()
	ca, err := w.store.CACertificate(t.Context(), dps.DefaultInstance, "factory")
	must(t, err)
	proof, err := pki.Issue(pki.Request{
		Kind:       pki.Verification,
		CommonName: ca.Challenge.Code,
		Issuer:     root.Issuer(),
		NotBefore:  now.Add(-time.Minute),
		NotAfter:   now.Add(time.Hour),
	})
	must(t, err)
	return base64Of(proof.Certificate.Raw)
}

func newRegistration(id string) dps.RegistrationChange {
	return dps.RegistrationChange{Registration: dps.Registration{
		Instance: dps.DefaultInstance, ID: dps.RegistrationID(id), Entry: dps.EntryRef{Kind: dps.Group, ID: "line"}, Attestation: dps.X509,
		Status: dps.Assigned, Operation: dps.NewOperationID(), ETag: dps.NewETag(), Created: now, Updated: now,
	}}
}

func TestBulkIsOneEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	item := func(kind, id string) string { return `{"` + kind + `": "` + id + `", ` + keys + `}` }
	bulk := func(mode, member string, items ...string) string {
		return `{"mode": "` + mode + `", "` + member + `": [` + strings.Join(items, ",") + `]}`
	}
	const registrationID, groupID = "registrationId", "enrollmentGroupId"
	for _, tt := range []struct {
		path, body, operation, kind, result string
		status, succeeded, failed           int
	}{
		{"/enrollments", bulk("create", "enrollments", item(registrationID, "a"), item(registrationID, "b")), "bulk-create", "enrollment", "ok", 200, 2, 0},
		{"/enrollments", bulk("create", "enrollments", item(registrationID, "a"), item(registrationID, "c"), item(registrationID, "b c")), "bulk-create", "enrollment", "EnrollmentExists", 200, 1, 2},
		{"/enrollments", bulk("update", "enrollments", item(registrationID, "d c"), item(registrationID, "d")), "bulk-update", "enrollment", "Invalid", 200, 1, 1},
		{"/enrollments", bulk("updateIfMatchETag", "enrollments", item(registrationID, "a")), "bulk-update-if-match", "enrollment", "PreconditionFailed", 200, 0, 1},
		{"/enrollments", bulk("delete", "enrollments", `{"registrationId": "a"}`, `{"registrationId": "b"}`), "bulk-delete", "enrollment", "ok", 200, 2, 0},
		{"/enrollmentGroups", bulk("create", "enrollmentGroups", item(groupID, "g")), "bulk-create", "enrollment-group", "ok", 200, 1, 0},
	} {
		before := len(w.all(t))
		if res := w.send(t, "POST", tt.path, tt.body); res.Code != tt.status {
			t.Fatalf("%s: %d %s", tt.body, res.Code, res.Body)
		}
		after := w.all(t)
		got := after[0]
		if len(after) != before+1 || got.Succeeded == nil || got.Failed == nil {
			t.Fatalf("%s: %d entries, newest %+v", tt.body, len(after)-before, got)
		}
		want := wire.AuditEntry{Operation: tt.operation, Kind: tt.kind, Result: tt.result, Succeeded: &tt.succeeded, Failed: &tt.failed}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(wire.AuditEntry{}, "Time", "Principal", "Remote", "TrackingID")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.body, diff)
		}
	}
	w.send(t, "POST", "/enrollments", `{"mode": "burn", "enrollments": [`+item(registrationID, "a")+`]}`)
	if got := w.all(t)[0]; got.Operation != "bulk" || got.Result != "Invalid" || got.Succeeded != nil {
		t.Errorf("unknown mode: %+v", got)
	}
}

// TestRefusedCallersHaveNoEntry checks that nobody fills the audit without a right.
func TestRefusedCallersHaveNoEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, authorization := range []string{"", "Bearer x", w.sas("ghost"), w.sas("EnrollmentRead")} {
		for _, path := range []string{"/enrollments/sensor-7", "/enrollmentGroups/line-7", factory, resource} {
			if res := w.send(t, "PUT", path, sensor, "Authorization: "+authorization); res.Code != 401 {
				t.Errorf("%q: %d", authorization, res.Code)
			}
		}
		w.send(t, "POST", "/enrollments", `{"mode": "create", "enrollments": [`+sensor+`]}`, "Authorization: "+authorization)
	}
	if got := w.all(t); len(got) != 0 {
		t.Errorf("entries = %+v", got)
	}
}

func TestHostileIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, id := range []string{
		"a'; DROP TABLE audit; --", "\x1b[2J\r\nforged: line", "\u202etxt", "%", "\x00", "\xff\xfe", "..", strings.Repeat("ü", 300), `"}],"value":[`,
	} {
		path := "/enrollments/" + url.PathEscape(id)
		if res := w.send(t, "PUT", path, sensor); res.Code != 400 {
			t.Fatalf("%q: %d %s", id, res.Code, res.Body)
		}
		want := strings.ToValidUTF8(id[:min(len(id), 256)], "\uFFFD")
		if got := w.all(t)[0]; got.ID != want || got.Result != "Invalid" {
			t.Errorf("%q: recorded %+v", id, got)
		}
		if got := w.page(t, url.Values{"id": {want}}).Value; len(got) != 1 {
			t.Errorf("%q: %d entries by ID", id, len(got))
		}
	}
}
