package wire_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

// inBody is what a device hears of an answer with an error, over any transport. Where the
// record has the whole answer, credential is "".
func inBody(t *testing.T, status int, body, retryAfter string) heard {
	t.Helper()
	var e struct {
		ErrorCode  int    `json:"errorCode"`
		TrackingID string `json:"trackingId"`
		Message    string `json:"message"`
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.ErrorCode == 0 || e.TrackingID == "" || e.Message == "" {
		t.Fatalf("no error: %d %s", status, body)
	}
	h := heard{
		text:   fmt.Sprintf("status %d, `errorCode` %d: %s", status, e.ErrorCode, e.Message),
		answer: fmt.Sprintf("status %d: %s", status, e.Message),
	}
	if status == http.StatusUnauthorized {
		h.answer = e.Message
	}
	if retryAfter != "" {
		h.text += " Retry after some seconds."
	}
	return h
}

// callAttempt is a call of a device that is refused; edit fills it.
func callAttempt(reason dps.Reason, over []string, edit func(t *testing.T, w *world, o *operation, mark string)) attempt {
	return attempt{reason, over, func(t *testing.T, w *world, transport, mark string) heard {
		t.Helper()
		o := operation{name: "register", id: "dev-" + mark, scope: w.info.IDScope, version: "2019-03-31"}
		edit(t, w, &o, mark)
		got := transports[transport].do(t, w, o)
		return inBody(t, got.status, got.body, got.retryAfter)
	}}
}

// keyed enrolls the device of an operation, and signs its token.
func (w *world) keyed(t *testing.T, o *operation) {
	t.Helper()
	w.must(t, "PUT", "/enrollments/"+o.id,
		`{"registrationId": "`+o.id+`", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "`+deviceKey+`"}}}`)
	o.sign(t, "Key", deviceKey)
}

var onlyHTTPS = []string{"https"}

// requestAttempts are requests that are refused whoever makes them.
func requestAttempts(*testing.T, *world) []attempt {
	keyed := func(reason dps.Reason, over []string, edit func(o *operation)) attempt {
		return callAttempt(reason, over, func(t *testing.T, w *world, o *operation, _ string) {
			t.Helper()
			w.keyed(t, o)
			edit(o)
		})
	}
	path := func(reason dps.Reason, method, path string) attempt {
		return attempt{reason, onlyHTTPS, func(t *testing.T, w *world, _, mark string) heard {
			t.Helper()
			r := w.do(t, call{
				method: method, path: "/" + w.info.IDScope + "/registrations/" + strings.ReplaceAll(path, "$", mark) + "?api-version=2019-03-31",
				body: strings.NewReader("{}"),
			})
			return inBody(t, r.status, r.body, "")
		}}
	}
	return []attempt{
		path(dps.ReasonPathUnknown, "PUT", "dev-$/registers"),
		path(dps.ReasonPathUnknown, "POST", "dev-$/register"),
		keyed(dps.ReasonAPIVersion, onlyHTTPS, func(o *operation) { o.version = "" }),
		keyed(dps.ReasonAPIVersion, everyTransport, func(o *operation) { o.version = "soon" }),
		path(dps.ReasonRegistrationIDMalformed, "PUT", "dev%20$/register"),
		keyed(dps.ReasonBodyMalformed, everyTransport, func(o *operation) { o.body = "{" }),
		keyed(dps.ReasonBodyMalformed, everyTransport, func(o *operation) { o.body = `{"registrationId": "other"}` }),
		keyed(dps.ReasonBodyMalformed, onlyHTTPS, func(o *operation) { o.body = strings.Repeat(" ", 97<<10) }),
		keyed(dps.ReasonScopeUnknown, everyTransport, func(o *operation) { o.scope = "0ne00000000" }),
		keyed(dps.ReasonOperationUnknown, everyTransport, func(o *operation) { o.name, o.operation = "poll", "4.0123456789abcdef.x" }),
		keyed(dps.ReasonNotRegistered, onlyHTTPS, func(o *operation) { o.name = "lookup" }),
		pollAttempt(),
		otherCertificateAttempt(),
		otherProofAttempt(),
		callAttempt(dps.ReasonNoEvidence, onlyHTTPS, func(*testing.T, *world, *operation, string) {}),
	}
}

// pollAttempt polls more often than is allowed.
func pollAttempt() attempt {
	return attempt{dps.ReasonThrottled, everyTransport, func(t *testing.T, w *world, transport, mark string) heard {
		t.Helper()
		o := operation{id: "dev-" + mark, version: "2019-03-31"}
		o.scope = w.info.IDScope
		w.keyed(t, &o)
		carrier := transports[transport]
		o.operation = w.begins(t, carrier, o)
		o.name = "poll"
		for range 100 {
			if got := carrier.do(t, w, o); got.status != http.StatusOK && got.status != http.StatusAccepted {
				return inBody(t, got.status, got.body, got.retryAfter)
			}
		}
		t.Fatal("100 polls are allowed")
		return heard{}
	}}
}

// otherCertificateAttempt polls with the second certificate of an enrollment.
func otherCertificateAttempt() attempt {
	return attempt{dps.ReasonOperationOwner, everyTransport, func(t *testing.T, w *world, transport, mark string) heard {
		t.Helper()
		id := "dev-" + mark
		w.declare(t, mark+` = device "`+id+`"`)
		w.declare(t, mark+`b = device "`+id+`"`)
		w.must(t, "PUT", "/enrollments/"+id, w.expand(t, `{"registrationId": "`+id+`", "attestation": {"type": "x509", `+
			`"x509": {"clientCertificates": {"primary": {"certificate": "{{pem:`+mark+`}}"}, `+
			`"secondary": {"certificate": "{{pem:`+mark+`b}}"}}}}}`, inJSON))
		o := operation{id: id, version: "2019-03-31", scope: w.info.IDScope, with: []string{mark}}
		carrier := transports[transport]
		o.operation = w.begins(t, carrier, o)
		o.name, o.with = "poll", []string{mark + "b"}
		got := carrier.do(t, w, o)
		return inBody(t, got.status, got.body, got.retryAfter)
	}}
}

// otherProofAttempt registers with a token, and polls with a certificate.
func otherProofAttempt() attempt {
	return attempt{dps.ReasonOperationOwner, everyTransport, func(t *testing.T, w *world, transport, mark string) heard {
		t.Helper()
		o := operation{id: "dev-" + mark, version: "2019-03-31", scope: w.info.IDScope}
		w.keyed(t, &o)
		w.declare(t, mark+` = device "`+o.id+`"`)
		carrier := transports[transport]
		o.operation = w.begins(t, carrier, o)
		o.name, o.token, o.with = "poll", "", []string{mark}
		got := carrier.do(t, w, o)
		return inBody(t, got.status, got.body, got.retryAfter)
	}}
}

// rowAttempt is a row of the X.509 refusals, over every transport that gets as far.
func rowAttempt(row refusal, over []string) attempt {
	return attempt{dps.Reason(row.reason), over, func(t *testing.T, w *world, transport, mark string) heard {
		t.Helper()
		o := operation{name: "register", scope: w.info.IDScope, version: "2019-03-31"}
		o.id, o.with = w.setUp(t, mark, row)
		return w.isRefused(t, transport, o)
	}}
}

// isRefused registers a device, and returns what it hears: at once, or, if its enrollment is
// disabled, when it polls.
func (w *world) isRefused(t *testing.T, transport string, o operation) heard {
	t.Helper()
	got := transports[transport].do(t, w, o)
	if got.status != http.StatusAccepted {
		return inBody(t, got.status, got.body, got.retryAfter)
	}
	var answer struct {
		OperationID string `json:"operationId"`
	}
	decoded(t, got.body, &answer)
	return w.isTold(t, transport, o, answer.OperationID)
}

// isTold returns the status with which an operation ends.
func (w *world) isTold(t *testing.T, transport string, o operation, id string) heard {
	t.Helper()
	s := w.polls(t, transports[transport], o, id)
	return heard{"status 200, `status` \"" + s.Status + "\"", s.Status}
}

// certificateAttempts are certificates that are refused after the handshake.
func certificateAttempts(*testing.T, *world) []attempt {
	var all []attempt
	for _, row := range refusals {
		over := everyTransport
		switch {
		case row.reason == "":
			continue
		case row.with == "" || row.id != "": // CONNECT is refused already
			over = onlyHTTPS
		}
		all = append(all, rowAttempt(row, over))
	}
	return append(
		all,
		rowAttempt(manyCertificates(), everyTransport),
		rowAttempt(namesakes(), everyTransport),
		rowAttempt(refusal{
			certs: []string{rootCert, underRoot},
			setUp: []string{
				verifyRoot, byRoot,
				`PUT /enrollments/other-$ {"registrationId": "other-$", "attestation": {"type": "x509", ` +
					`"x509": {"clientCertificates": {"primary": {"certificate": "{{pem:$dev}}"}}}}}`,
			},
			with: "$dev", reason: "certificate-of-another-enrollment",
		}, everyTransport),
	)
}

// manyCertificates presents eleven of them.
func manyCertificates() refusal {
	row := refusal{certs: []string{rootCert}, setUp: []string{verifyRoot, byRoot}, with: "$dev", reason: "chain-too-long"}
	by := "$root"
	for i := range 10 {
		name := fmt.Sprintf("$mid%d", i)
		row.certs = append(row.certs, fmt.Sprintf(`%s = intermediate "Mid%d $" by %s`, name, i, by))
		row.with, by = row.with+" "+name, name
	}
	row.certs = append(row.certs, `$dev = device "dev-$" by `+by)
	return row
}

// namesakes has more CA certificates of one name than are tried, and a device under another
// of that name.
func namesakes() refusal {
	row := refusal{reason: "too-many-signers", with: "$dev"}
	for i := range 9 {
		row.certs = append(row.certs, fmt.Sprintf(`$root%d = root "Root $"`, i))
		row.setUp = append(row.setUp, fmt.Sprintf(
			`PUT {{instance}}/certificates/ca%d-$ {"properties": {"certificate": "{{der:$root%d}}", "isVerified": true}}`, i, i))
	}
	row.certs = append(row.certs, rootCert, `$dev = device "dev-$" by $root flaw no-key-id`)
	return row
}

// tokenAttempts are tokens that are refused.
func tokenAttempts(t *testing.T, w *world) []attempt {
	t.Helper()
	w.must(t, "PUT", "/enrollmentGroups/keys", `{"enrollmentGroupId": "keys", "attestation": {"type": "symmetricKey"}}`)
	key := []byte("a key that nobody else may see..")
	var all []attempt
	for _, row := range keyRefusals {
		all = append(all, attempt{dps.Reason(row.reason), everyTransport, func(t *testing.T, w *world, transport, _ string) heard {
			t.Helper()
			path, body := "/enrollments/"+row.name, row.enrollment(base64.StdEncoding.EncodeToString(key))
			if body != "" && w.send(t, "GET", path, "").status == http.StatusNotFound {
				w.must(t, "PUT", path, body)
			}
			return w.isRefused(t, transport, operation{
				name: "register", id: row.name, scope: w.info.IDScope, version: "2019-03-31", token: row.token(w, key),
			})
		}})
	}
	return all
}

// searchAttempts look for a group among more than one request tries.
func searchAttempts(t *testing.T, w *world) []attempt {
	t.Helper()
	for i := range 101 { // an ID with upper case letters costs four tries for each
		id := fmt.Sprintf("keys-%d", i)
		w.must(t, "PUT", "/enrollmentGroups/"+id, `{"enrollmentGroupId": "`+id+`", "attestation": {"type": "symmetricKey"}}`)
	}
	return []attempt{callAttempt(dps.ReasonGroupSearch, everyTransport, func(_ *testing.T, w *world, o *operation, mark string) {
		o.id = "Dev-" + mark
		o.token = sas.Sign(o.scope+"/registrations/"+o.id, "registration", []byte("a key of no group"), time.Now().Add(time.Hour))
	})}
}

// rateAttempts come after the one registration that is allowed.
func rateAttempts(t *testing.T, w *world) []attempt {
	t.Helper()
	first := operation{id: "first", version: "2019-03-31", scope: w.info.IDScope}
	w.keyed(t, &first)
	w.begins(t, transports["https"], first)
	return []attempt{callAttempt(dps.ReasonThrottled, everyTransport, func(t *testing.T, w *world, o *operation, _ string) {
		t.Helper()
		w.keyed(t, o)
	})}
}

// rivals are two groups with a CA each that may issue any name.
func (w *world) rivals(t *testing.T) {
	t.Helper()
	for _, name := range []string{"line", "supplier"} {
		w.declare(t, name+` = root "`+name+`"`)
		w.must(t, "PUT", w.info.ControlPlane.ResourceID+"/certificates/"+name,
			w.expand(t, `{"properties": {"certificate": "{{der:`+name+`}}", "isVerified": true}}`, inJSON))
		w.must(t, "PUT", "/enrollmentGroups/"+name,
			`{"enrollmentGroupId": "`+name+`", "attestation": {"type": "x509", "x509": {"caReferences": {"primary": "`+name+`"}}}}`)
	}
}

// rivalry registers a device of the group "line", and returns the registration of its
// namesake of the group "supplier".
func (w *world) rivalry(t *testing.T, mark string) operation {
	t.Helper()
	id := "dev-" + mark
	w.declare(t, mark+` = device "`+id+`" by line`)
	w.declare(t, mark+`b = device "`+id+`" by supplier`)
	o := operation{name: "register", id: id, scope: w.info.IDScope, version: "2019-03-31", with: []string{mark}}
	if s := w.registers(t, transports["https"], o); s.Status != "assigned" {
		t.Fatalf("the first is %+v", s)
	}
	o.with = []string{mark + "b"}
	return o
}

// moveAttempts take the identity of another device.
func moveAttempts(t *testing.T, w *world) []attempt {
	t.Helper()
	w.rivals(t)
	return []attempt{{dps.ReasonIdentityMoved, everyTransport, func(t *testing.T, w *world, transport, mark string) heard {
		t.Helper()
		o := w.rivalry(t, mark)
		return w.isTold(t, transport, o, w.begins(t, transports[transport], o))
	}}}
}

// holdAttempts try to.
func holdAttempts(t *testing.T, w *world) []attempt {
	t.Helper()
	w.rivals(t)
	return []attempt{{dps.ReasonIdentityHeld, everyTransport, func(t *testing.T, w *world, transport, mark string) heard {
		t.Helper()
		o := w.rivalry(t, mark)
		got := transports[transport].do(t, w, o)
		return inBody(t, got.status, got.body, got.retryAfter)
	}}}
}
