package wire_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // tells where tables lie

	"github.com/mooring-iot/mooring/wire"
)

// TestThrottledOperations walks every operation of the service API once the calls of
// the minute are used up.
func TestThrottledOperations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--management-rate", "1")
	w.putKeyed(t, "press")
	for _, g := range guardedOperations() {
		if strings.HasPrefix(g.path, "/mooring/") {
			continue // no part of the service API, and not counted
		}
		r := w.send(t, g.method, g.path, g.body)
		w.isFailure(t, g.method+" "+g.path, r, http.StatusTooManyRequests, 429001, "Operations are being throttled for this tenant.")
		if wait, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || wait < 1 || wait > 60 {
			t.Errorf("%s %s: Retry-After is %q", g.method, g.path, r.header.Get("Retry-After"))
		}
	}
}

// isFailure checks the one form of failures, and that it says nothing else.
func (w *world) isFailure(t *testing.T, what string, r reply, status, code int, message string) {
	t.Helper()
	want := fmt.Sprintf(`{"errorCode": %d, "trackingId": "{{uuid}}", "message": %q, "timestampUtc": "{{time7}}"}`, code, message)
	if err := w.matchJSON(want, r.body); err != nil || r.status != status {
		t.Fatalf("%s: status %d, want %d: %v\n%s", what, r.status, status, err, r.body)
	}
	if r.header.Get("x-ms-error-code") != strconv.Itoa(code) {
		t.Errorf("%s: x-ms-error-code is %q", what, r.header.Get("x-ms-error-code"))
	}
}

// damaged are the tables and indexes that are overwritten: what operations are about, but
// not what says who may call.
var damaged = []string{
	"enrollments",
	"enrollment_certificates",
	"registrations",
	"operations",
	"registrations_group",
	"sqlite_autoindex_ca_certificates_1",
}

// damage overwrites the first page of tables in the file, while no service runs.
func damage(t *testing.T, path string) {
	t.Helper()
	roots, size := rootPages(t, path)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		if _, err := f.WriteAt([]byte(strings.Repeat("\xff", size)), int64(root-1)*int64(size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// rootPages returns where the damaged tables begin, counted from 1, and how large pages are.
func rootPages(t *testing.T, path string) (roots []int, size int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), `PRAGMA page_size`).Scan(&size); err != nil {
		t.Fatal(err)
	}
	for _, table := range damaged {
		var root int
		if err := db.QueryRowContext(t.Context(), `SELECT rootpage FROM sqlite_schema WHERE name = $1`, table).Scan(&root); err != nil {
			t.Fatal(err)
		}
		roots = append(roots, root)
	}
	return roots, size
}

// TestDamagedDatabase walks every operation on a database that cannot be read: each fails
// in the official form, with a tracking ID under which the log has the cause, and
// without a word of it.
func TestDamagedDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(
		t,
		"PUT",
		"/enrollments/x",
		`{"registrationId": "x", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "`+deviceKey+`"}}}`,
	)
	w.stop()
	damage(t, filepath.Join(w.data, "mooring.db"))
	w.serve()
	for _, g := range guardedOperations() {
		what := g.method + " " + g.path
		before := len(w.log.String())
		r := w.send(t, g.method, g.path, g.body)
		if strings.Contains(g.body, `"mode"`) {
			w.isFailedItem(t, what, r)
		} else {
			w.isFailure(t, what, r, http.StatusInternalServerError, 500001, "Internal server error.")
		}
		if r.header.Get("Retry-After") != "" {
			t.Errorf("%s: Retry-After is %q, and nothing will be better then", what, r.header.Get("Retry-After"))
		}
		w.hasCause(t, what, r, w.log.String()[before:])
	}
	r := w.send(t, "GET", w.info.ControlPlane.ResourceID+"/certificates/root", "")
	if err := w.matchJSON(`{"error": {"code": "InternalServerError", "message": "Internal server error."}}`, r.body); err != nil ||
		r.status != http.StatusInternalServerError {
		t.Errorf("control plane: %d %v", r.status, err)
	}
	for protocol, carrier := range transports {
		o := operation{name: "register", id: "x", scope: w.info.IDScope, version: "2019-03-31", body: `{"registrationId": "x"}`}
		o.sign(t, "Key", deviceKey)
		r := carrier.do(t, w, o)
		want := `{"errorCode": 500001, "trackingId": "{{uuid}}", "message": "Internal server error.", "timestampUtc": "{{time7}}"}`
		if err := w.matchJSON(want, r.body); err != nil || r.status != http.StatusInternalServerError {
			t.Errorf("a device over %s: %d %v", protocol, r.status, err)
		}
	}
}

const deviceKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// isFailedItem checks the answer to a bulk operation whose one item failed.
func (w *world) isFailedItem(t *testing.T, what string, r reply) {
	t.Helper()
	var body wire.BulkResult
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatal(err)
	}
	if r.status != http.StatusOK || body.IsSuccessful || len(body.Errors) != 1 || body.Errors[0].ErrorCode != 500001 ||
		body.Errors[0].ErrorStatus != "Internal server error." {
		t.Errorf("%s: %d %s", what, r.status, r.body)
	}
}

// hasCause looks for the cause of a failure in what was logged, under its tracking ID.
func (w *world) hasCause(t *testing.T, what string, r reply, logged string) {
	t.Helper()
	var body struct{ TrackingID string }
	_ = json.Unmarshal([]byte(r.body), &body) // the answer to a bulk operation has none
	for line := range strings.Lines(logged) {
		if strings.Contains(line, `"level":"ERROR"`) && strings.Contains(line, "the database is damaged") && strings.Contains(line, body.TrackingID) {
			return
		}
	}
	t.Errorf("%s: the log does not say why: %s", what, logged)
}
