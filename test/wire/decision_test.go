package wire_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

// TestRefusalsAreFound plays every X.509 refusal: the API, 'mooring why' and the portal
// give the answer that stands in the log, for the tracking ID that the device was told and for
// its registration ID.
func TestRefusalsAreFound(t *testing.T) {
	t.Parallel()
	w, mooring := newWorld(t, "--portal", "127.0.0.1:0"), buildMooring(t)
	portal := w.browse(t)
	for i, row := range refusals {
		t.Run(row.name, func(t *testing.T) {
			r, _ := w.play(t, i, row)
			if row.reason == "" {
				if res := w.ask(t, wire.DecisionsPath+"/"+r.header.Get(wire.HeaderRequestID)); res.status != 404 {
					t.Errorf("a device that was let in: %d %s", res.status, res.body)
				}
				return
			}
			d := w.isFound(t, mooring, r)
			portal.shows(t, d)
			if shown := len(strings.Fields(row.with)); d.Evidence.Presented != shown || len(d.Evidence.Chain) != shown || d.Transport != "https" {
				t.Errorf("%d of %d certificates over %s, want %d", len(d.Evidence.Chain), d.Evidence.Presented, d.Transport, shown)
			}
			for at, name := range strings.Fields(strings.ReplaceAll(row.with, "$", fmt.Sprint(i))) {
				c := w.certificates[name].cert
				if d.Evidence.Chain[at].SHA1Thumbprint != dps.SHA1Thumbprint(c.Raw) ||
					d.Evidence.Chain[at].SHA256Thumbprint != dps.ThumbprintOf(c.Raw).String() {
					t.Errorf("certificate %d is %+v, want %s", at, d.Evidence.Chain[at], c.Subject)
				}
			}
		})
	}
}

// keyRefusal is one way to be refused with a symmetric key.
type keyRefusal struct {
	name, reason string
	token        func(w *world, key []byte) string // of the device that is called like the row
	setUp        string                            // of that device; an enrollment with the key if empty
}

// enrollment returns the enrollment of a row's device, "" if it has none.
func (r keyRefusal) enrollment(key string) string {
	body := r.setUp
	switch {
	case body == "none":
		return ""
	case body == "":
		body = `{"registrationId": "` + r.name + `", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": %q, "secondaryKey": %q}}}`
	}
	if strings.Contains(body, "%q") {
		body = fmt.Sprintf(body, key, key)
	}
	return body
}

// keyRefusals is the table of symmetric key refusals.
var keyRefusals = []keyRefusal{
	{name: "malformed", reason: "token-malformed", token: func(*world, []byte) string { return "SharedAccessSignature sr=x" }},
	{name: "another-scope", reason: "token-for-another-device", token: func(_ *world, key []byte) string {
		return sas.Sign("0neFFFFFFFF/registrations/another-scope", "registration", key, time.Now().Add(time.Hour))
	}},
	{name: "another-device", reason: "token-for-another-device", token: func(w *world, key []byte) string {
		return sas.Sign(w.info.IDScope+"/registrations/somebody", "registration", key, time.Now().Add(time.Hour))
	}},
	{name: "expired", reason: "token-expired", token: func(w *world, key []byte) string {
		return sas.Sign(w.info.IDScope+"/registrations/expired", "registration", key, time.Now().Add(-time.Hour))
	}},
	{name: "wrong-key", reason: "wrong-key", token: func(w *world, _ []byte) string {
		return sas.Sign(w.info.IDScope+"/registrations/wrong-key", "registration", []byte("some other key"), time.Now().Add(time.Hour))
	}},
	{
		name: "no-group", reason: "no-enrollment", setUp: "none", token: func(w *world, key []byte) string {
			return sas.Sign(w.info.IDScope+"/registrations/no-group", "registration", key, time.Now().Add(time.Hour))
		},
	},
	{
		name: "by-tpm", reason: "other-attestation",
		setUp: `{"registrationId": "by-tpm", "attestation": {"type": "tpm", "tpm": {"endorsementKey": "AToAAQALAAMAsgAg"}}}`,
		token: func(w *world, key []byte) string {
			return sas.Sign(w.info.IDScope+"/registrations/by-tpm", "registration", key, time.Now().Add(time.Hour))
		},
	},
	{
		name: "disabled", reason: "disabled",
		setUp: `{"registrationId": "disabled", "provisioningStatus": "disabled", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": %q, "secondaryKey": %q}}}`,
		token: func(w *world, key []byte) string {
			return sas.Sign(w.info.IDScope+"/registrations/disabled", "registration", key, time.Now().Add(time.Hour))
		},
	},
}

// TestKeyRefusalsAreFound does the same for symmetric keys, and finds no secret in what
// is shown.
func TestKeyRefusalsAreFound(t *testing.T) {
	t.Parallel()
	w, mooring := newWorld(t, "--portal", "127.0.0.1:0"), buildMooring(t)
	portal := w.browse(t)
	w.must(t, "PUT", "/enrollmentGroups/keys", `{"enrollmentGroupId": "keys", "attestation": {"type": "symmetricKey"}}`)
	key := []byte("a key that nobody else may see..")
	encoded := base64.StdEncoding.EncodeToString(key)
	for _, row := range keyRefusals {
		t.Run(row.name, func(t *testing.T) {
			if body := row.enrollment(encoded); body != "" {
				w.must(t, "PUT", "/enrollments/"+row.name, body)
			}
			token := row.token(w, key)
			r := w.do(t, call{
				method: "PUT", path: "/" + w.info.IDScope + "/registrations/" + row.name + "/register?api-version=2021-06-01",
				header: http.Header{"Authorization": {token}}, body: strings.NewReader("{}"),
			})
			d := w.isFound(t, mooring, r)
			portal.shows(t, d)
			if d.Reason != row.reason || d.Attestation != "symmetricKey" {
				t.Errorf("decision = %+v, want %s", d, row.reason)
			}
			text, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			_, signature, signed := strings.Cut(token, "sig=")
			signature, _, _ = strings.Cut(signature, "&")
			if bytes.Contains(text, []byte(encoded)) || bytes.Contains(text, key) || signed && bytes.Contains(text, []byte(signature)) {
				t.Errorf("a secret is shown: %s", text)
			}
		})
	}
}

// TestDecisionsOfEveryTransport holds that a decision says how the device came, and that
// the repetitions of one source are one decision.
func TestDecisionsOfEveryTransport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.declare(t, `dev = device "dev-1"`)
	for name, carrier := range transports {
		for range 2 {
			o := operation{name: "register", id: "dev-1", scope: w.info.IDScope, version: "2019-03-31", with: []string{"dev"}}
			if got := carrier.do(t, w, o); got.status != 401 {
				t.Fatalf("%s: %d %s", name, got.status, got.body)
			}
			var page wire.DecisionPage
			decodeInto(t, w.ask(t, wire.DecisionsPath+"?registrationId=DEV-1"), &page)
			if len(page.Value) != 1 || page.Value[0].Transport != name {
				t.Errorf("%s: %+v", name, page.Value)
			}
		}
	}
	var page wire.DecisionPage
	decodeInto(t, w.ask(t, wire.DecisionsPath), &page)
	if page.Value[0].Count != int64(2*len(transports)) || page.Dropped != 0 {
		t.Errorf("after all: %+v", page)
	}

	// It is there after a restart, which comes before the first second is over.
	w.restart()
	var again wire.DecisionPage
	decodeInto(t, w.ask(t, wire.DecisionsPath), &again)
	if diff := cmp.Diff(page, again); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	var counts wire.Statistics
	decodeInto(t, w.ask(t, wire.StatisticsPath), &counts)
	var refused int64
	for _, b := range counts.Value {
		refused += b.Refused
	}
	if refused != int64(2*len(transports)) {
		t.Errorf("%d refusals are counted: %+v", refused, counts)
	}
}

// ask reads from the API that only Mooring has.
func (w *world) ask(t *testing.T, path string) reply {
	t.Helper()
	c := parseConnection(t, w.info.ConnectionStrings["provisioningserviceowner"])
	return w.do(
		t,
		call{method: "GET", path: path, header: http.Header{"Authorization": {c.sign(time.Now().Add(time.Hour))}}, body: http.NoBody},
	)
}

func decodeInto(t *testing.T, r reply, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), v); err != nil || r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
}

// isFound finds the refusal that r is about by the API and by 'mooring why', and holds
// that both say what the log says.
func (w *world) isFound(t *testing.T, mooring string, r reply) wire.Decision {
	t.Helper()
	tracking := r.header.Get(wire.HeaderRequestID)
	lines := w.log.about(tracking)
	lines = slices.DeleteFunc(lines, func(s string) bool { return !strings.Contains(s, "registration refused") })
	if len(lines) != 1 {
		t.Fatalf("%d lines about the refusal %s, want 1: %v", len(lines), tracking, lines)
	}
	var logged refusalLine
	if err := json.Unmarshal([]byte(lines[0]), &logged); err != nil {
		t.Fatal(err)
	}
	var d wire.Decision
	decodeInto(t, w.ask(t, wire.DecisionsPath+"/"+tracking), &d)
	checks := make([]string, len(d.Checks))
	for i, c := range d.Checks {
		checks[i] = dps.Check(c).String()
	}
	if d.Reason != logged.Decision.Reason || d.Remedy != logged.Decision.Remedy || strings.Join(checks, "; ") != logged.Decision.Checks {
		t.Errorf("the API says %+v, the log %+v", d, logged.Decision)
	}
	if text := dps.Reason(d.Reason).Text(); d.Summary != text.Summary || d.Summary == "" {
		t.Errorf("summary = %q", d.Summary)
	}
	if r.status == http.StatusUnauthorized && !strings.Contains(r.body, `"`+d.Answer+`"`) ||
		r.status != http.StatusUnauthorized && d.Answer != "disabled" {
		t.Errorf("the answer is %q, the device heard %d %s", d.Answer, r.status, r.body)
	}
	var page wire.DecisionPage
	decodeInto(t, w.ask(t, wire.DecisionsPath+"?registrationId="+d.RegistrationID+"&reason="+d.Reason), &page)
	if len(page.Value) != 1 || cmp.Diff(d, page.Value[0]) != "" {
		t.Errorf("by registration ID: %+v", page.Value)
	}
	w.explains(t, mooring, d)
	return d
}

// explains holds that 'mooring why' says what d says.
func (w *world) explains(t *testing.T, mooring string, d wire.Decision) {
	t.Helper()
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), mooring, append([]string{"why", "--data", w.data}, args...)...).Output()
		if err != nil {
			t.Errorf("mooring why %v: %v", args, err)
		}
		return string(out)
	}
	var shown wire.Decision
	if err := json.Unmarshal([]byte(run(d.TrackingID, "--json")), &shown); err != nil || cmp.Diff(d, shown) != "" {
		t.Errorf("mooring why --json: %+v, %v", shown, err)
	}
	last := d.Checks[len(d.Checks)-1]
	for _, table := range []string{run(d.TrackingID), run(d.RegistrationID)} {
		for _, want := range []string{d.Reason, d.Summary, d.Remedy, d.Answer, last.Name, "FAILED", last.Detail, d.TrackingID} {
			if !strings.Contains(table, want) {
				t.Errorf("mooring why lacks %q:\n%s", want, table)
			}
		}
	}
}

// buildMooring returns the path of the binary, made for one test.
func buildMooring(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mooring")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/mooring-iot/mooring/cmd/mooring").CombinedOutput()
	if err != nil {
		t.Fatalf("building mooring: %v: %s", err, out)
	}
	return path
}
