package portal_test

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/pki"
	"github.com/mooring-iot/mooring/wire"
)

// hostile is a text that would do harm wherever a page forgot to escape it: in text, in
// an attribute, in a URL, in a script.
const hostile = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.CSRF}}javascript:alert(1)`

// hostileJSON is a document with the text in each place.
func hostileJSON(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"tags": map[string]any{hostile: hostile}})
	must(t, err)
	return string(text)
}

func object(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	must(t, err)
	return string(text)
}

// fill gives the service records whose every text is hostile.
func fill(t *testing.T, w *world) {
	t.Helper()
	info := &wire.CertificateInfo{
		SubjectName:      hostile,
		IssuerName:       hostile,
		SHA1Thumbprint:   hostile,
		SHA256Thumbprint: hostile,
		NotBeforeUTC:     hostile,
		NotAfterUTC:      hostile,
		SerialNumber:     hostile,
	}
	pair := &wire.Certificates{Primary: &wire.Certificate{Info: info}, Secondary: &wire.Certificate{Info: info}}
	state := wire.RegistrationState{
		RegistrationID:         hostile,
		AssignedHub:            hostile,
		DeviceID:               hostile,
		Status:                 hostile,
		Substatus:              hostile,
		ErrorMessage:           hostile,
		ETag:                   hostile,
		CreatedDateTimeUTC:     hostile,
		LastUpdatedDateTimeUTC: hostile,
	}
	e := wire.Enrollment{
		DeviceID:                   hostile,
		RegistrationState:          &state,
		OptionalDeviceInformation:  json.RawMessage(hostileJSON(t)),
		InitialTwin:                json.RawMessage(hostileJSON(t)),
		Attestation:                &wire.Attestation{Type: "x509", X509: &wire.X509{ClientCertificates: pair, SigningCertificates: pair}},
		IotHubHostName:             hostile,
		ETag:                       hostile,
		ProvisioningStatus:         wire.StringValue(hostile),
		CreatedDateTimeUTC:         hostile,
		LastUpdatedDateTimeUTC:     hostile,
		AllocationPolicy:           hostile,
		IotHubs:                    []string{hostile},
		CustomAllocationDefinition: &wire.CustomAllocation{WebhookURL: hostile, APIVersion: hostile},
	}
	group, device, byName, byTPM := e, e, e, e
	group.EnrollmentGroupID, device.RegistrationID, byName.EnrollmentGroupID, byTPM.RegistrationID = hostile, hostile, hostile, hostile
	byName.Attestation = &wire.Attestation{
		Type: "x509",
		X509: &wire.X509{CAReferences: &wire.CAReferences{Primary: hostile, Secondary: hostile}},
	}
	byTPM.Attestation = &wire.Attestation{Type: "tpm", TPM: &wire.TPM{EndorsementKey: hostile, StorageRootKey: hostile}}
	ca := wire.CACertificate{
		Name: hostile, ETag: hostile, ID: hostile,
		Properties: wire.CACertificateProperties{
			Subject:          hostile,
			Expiry:           hostile,
			Thumbprint:       hostile,
			Created:          hostile,
			Updated:          hostile,
			VerificationCode: hostile,
		},
	}
	service := wire.ProvisioningService{Name: hostile, ETag: hostile, Properties: wire.ProvisioningServiceProperties{
		IotHubs:          []wire.LinkedHub{{Name: hostile, Location: hostile, ConnectionString: hostile}},
		AllocationPolicy: hostile, ServiceOperationsHostName: hostile, DeviceProvisioningHostName: hostile, IDScope: hostile,
	}}
	keys := wire.SharedAccessPolicy{
		KeyName:      hostile,
		PrimaryKey:   "cHJpbWFyeSBzZWNyZXQ=",
		SecondaryKey: "c2Vjb25kYXJ5IHNlY3JldA==",
		Rights:       hostile,
	}
	entry := wire.AuditEntry{
		Time:       hostile,
		Principal:  hostile,
		Operation:  hostile,
		Kind:       "enrollment",
		ID:         hostile,
		OldETag:    hostile,
		NewETag:    hostile,
		Result:     hostile,
		TrackingID: hostile,
		Remote:     hostile,
		Detail:     hostile,
	}
	hub := wire.HubStatus{
		Name:     hostile,
		Kind:     hostile,
		Location: hostile,
		Health:   wire.HubHealth{State: hostile, Since: hostile, LastError: hostile, PausedUntil: hostile, Waiting: 1},
	}
	one := wire.DecisionCertificate{
		SubjectName:      hostile,
		IssuerName:       hostile,
		SHA1Thumbprint:   hostile,
		SHA256Thumbprint: hostile,
		SerialNumber:     hostile,
		NotBeforeUTC:     hostile,
		NotAfterUTC:      hostile,
	}
	decision := wire.Decision{
		TrackingID:        hostile,
		RegistrationID:    hostile,
		Time:              hostile,
		FirstTime:         hostile,
		Count:             2,
		EnrollmentID:      hostile,
		EnrollmentGroupID: hostile,
		Attestation:       hostile,
		Transport:         hostile,
		Remote:            hostile,
		Reason:            "disabled",
		Summary:           hostile,
		Remedy:            hostile,
		Answer:            hostile,
		Checks:            []wire.DecisionCheck{{Name: hostile, OK: true, Detail: hostile}, {Name: hostile, Detail: hostile}},
		Evidence: wire.DecisionEvidence{
			Presented: 1,
			Chain:     []wire.DecisionCertificate{one},
			Token:     &wire.DecisionToken{Resource: hostile, KeyName: hostile, Expiry: hostile},
			ClientHello: &wire.DecisionClientHello{
				ServerName: hostile, Versions: []string{hostile}, CipherSuites: []string{hostile}, Groups: []string{hostile},
				SignatureAlgorithms: []string{hostile}, ApplicationProtocols: []string{hostile},
			},
		},
		Move: &wire.DecisionMove{
			HostName: hostile, DeviceID: hostile, From: wire.DecisionHolder{RegistrationID: hostile, EnrollmentGroupID: hostile},
			To: wire.DecisionHolder{EnrollmentID: hostile},
		},
	}
	allocation := wire.AllocateAnswer{
		RegistrationID:    hostile,
		EnrollmentID:      hostile,
		EnrollmentGroupID: hostile,
		Outcome:           hostile,
		AllocationPolicy:  hostile,
		Candidates:        []string{hostile},
		IotHubHostName:    hostile,
		DeviceID:          hostile,
		Substatus:         hostile,
		ErrorMessage:      hostile,
		Current:           &wire.AllocateCurrent{IotHubHostName: hostile},
		InitialTwin: json.RawMessage(
			hostileJSON(t),
		),
		Payload: json.RawMessage(hostileJSON(t)),
		Why:     []wire.AllocateStep{{Step: hostile, Text: hostile}},
	}
	found := wire.RegistrationRecord{RegistrationState: state, EnrollmentGroupID: hostile, EnrollmentID: hostile}
	for key, v := range map[string]any{
		"GET " + wire.RegistrationsPath: wire.RegistrationPage{Value: []wire.RegistrationRecord{found}},
		"GET " + wire.LinkedHubsPath:    wire.HubStatusList{Value: []wire.HubStatus{hub}},
		"GET " + wire.CleanupsPath:      wire.CleanupPage{Value: []wire.Cleanup{{Hub: hostile, DeviceID: hostile, RegistrationID: hostile, Since: hostile, LastError: hostile}}},
		"GET " + wire.DecisionsPath:     wire.DecisionPage{Value: []wire.Decision{decision}, Dropped: 1}, "GET " + wire.DecisionsPath + "/x": decision,
		"GET " + wire.DecisionReasonsPath: wire.DecisionReasons{Value: []wire.DecisionReason{{Reason: hostile, Summary: hostile, Remedy: hostile}}},
		"GET " + wire.StatisticsPath:      wire.Statistics{Since: hostile, Until: hostile, Value: []wire.StatisticsBucket{{Time: hostile, Assigned: 1, Failed: 1, Refused: 1}}},
		"POST " + wire.AllocatePath:       allocation,
		"POST /enrollmentGroups/query":    []wire.Enrollment{group, byName}, "POST /enrollments/query": []wire.Enrollment{device, byTPM},
		"GET /enrollmentGroups/x": group, "GET /enrollmentGroups/named": byName, "GET /enrollments/x": device, "GET /enrollments/tpm": byTPM,
		"POST /registrations/" + hostile + "/query": []wire.RegistrationState{state}, "GET /registrations/x": state,
		"GET /certificates": wire.CACertificateList{Value: []wire.CACertificate{ca}}, "GET /certificates/x": ca, "POST /certificates/x/generateVerificationCode": ca,
		"GET ": service, "POST /listkeys": wire.List[wire.SharedAccessPolicy]{Value: []wire.SharedAccessPolicy{keys}}, "POST /keys/x/listkeys": keys,
		"GET /mooring/v1/audit":                         wire.AuditPage{Value: []wire.AuditEntry{entry}},
		"POST /enrollmentGroups/x/attestationmechanism": wire.Attestation{Type: "symmetricKey", SymmetricKey: &wire.SymmetricKey{PrimaryKey: "cHJpbWFyeSBzZWNyZXQ=", SecondaryKey: "c2Vjb25kYXJ5IHNlY3JldA=="}},
	} {
		w.upstream.answers[key] = object(t, v)
	}
}

// harmless fails when a page has the hostile text as anything but text.
func harmless(t *testing.T, what string, res *httptest.ResponseRecorder) {
	t.Helper()
	if res.Code >= http.StatusInternalServerError {
		t.Errorf("%s: %d %s", what, res.Code, res.Body)
	}
	body := res.Body.String()
	for _, bad := range []string{"<script>alert", "<img src=x", `="javascript:`, "\"'><"} {
		if strings.Contains(body, bad) {
			at := strings.Index(body, bad)
			t.Errorf("%s: the page has %q: …%s…", what, bad, body[max(0, at-120):min(len(body), at+60)])
		}
	}
}

func TestHostileTexts(t *testing.T) {
	w := signedIn(t)
	fill(t, w)
	q := url.QueryEscape(hostile)
	for _, path := range []string{
		"/", "/enrollments/groups", "/enrollments/groups?q=" + q, "/enrollments/individual", "/enrollments/groups/of/x", "/enrollments/groups/of/named",
		"/enrollments/groups/of/x/edit", "/enrollments/groups/of/named/edit", "/enrollments/individual/of/x", "/enrollments/individual/of/x/edit",
		"/enrollments/individual/of/tpm", "/enrollments/individual/of/tpm/edit", "/enrollments/groups/new?ca=" + q, "/registrations", "/registrations?status=failed", "/registrations?id=x", "/registrations?id=" + q,
		"/registrations?group=" + q + "&hub=" + q, "/registrations/x", "/certificates", "/certificates/x", "/certificates/x/users", "/policies", "/policies/x",
		"/hubs", "/hubs/new", "/hubs/" + url.PathEscape(hostile), "/allocation", "/allocation?device=" + q, "/refusals", "/refusals/x",
		"/refusals?device=" + q + "&group=" + q + "&reason=" + q + "&remote=" + q, "/?span=" + q,
		"/audit", "/audit?id=" + q + "&principal=" + q + "&from=" + q, "/audit?done=" + q, "/nowhere/" + url.PathEscape(hostile), "/sign-in?to=" + q,
	} {
		res := w.get(path)
		harmless(t, path, res)
		if res.Code == http.StatusOK && strings.HasPrefix(path, "/certificates/x") && !strings.Contains(res.Body.String(), "alert(1)") {
			t.Errorf("%s: the hostile text is not there at all", path)
		}
	}
	for path, form := range map[string][]string{
		"/certificates/x/code":                 nil,
		"/certificates/x/verify":               {"code", hostile, "etag", hostile, "file", hostile, "certificate", hostile},
		"/certificates/inspect":                {"certificate", hostile},
		"/certificates":                        {"name", hostile, "certificate", hostile},
		"/check/twin":                          {"twin", hostile},
		"/enrollments/groups":                  {"id", hostile, "attestation", hostile, "twin", hostile, "allocation", hostile, "webhookURL", hostile, "hubs", hostile, "primary", hostile},
		"/enrollments/groups/selected":         {"id", hostile, "action", "delete"},
		"/enrollments/groups/of/x/delete":      {"etag", hostile},
		"/policies":                            {"name", hostile},
		"/policies/x/regenerate":               {"which", "primary"},
		"/policies/" + url.PathEscape(hostile): nil,
	} {
		harmless(t, "POST "+path, w.send(t, path, form...))
	}
	w.upstream.answers["PUT /enrollmentGroups/good"] = object(t, wire.Error{ErrorCode: 400004, Message: hostile, TrackingID: hostile})
	w.upstream.status["PUT /enrollmentGroups/good"] = http.StatusBadRequest
	res := w.send(t, "/enrollments/groups", "id", "good", "attestation", "symmetricKey")
	harmless(t, "a refusal", res)
	if res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), "alert(1)") {
		t.Errorf("a refusal: %d", res.Code)
	}
}

func TestNoInlineScriptOrStyle(t *testing.T) {
	w := signedIn(t)
	fill(t, w)
	for _, path := range []string{
		"/", "/enrollments/groups", "/enrollments/groups/of/x", "/enrollments/individual/new", "/certificates/x", "/policies/x", "/registrations",
		"/hubs", "/allocation", "/refusals", "/refusals/x", "/audit",
	} {
		body := w.get(path).Body.String()
		for _, bad := range []string{" style=", "<style", " onclick=", " onload=", " hx-on", "<script>", "javascript:\""} {
			if strings.Contains(body, bad) {
				t.Errorf("%s has %q, which the policy forbids", path, bad)
			}
		}
	}
}

func TestSecretsOnlyWhenAsked(t *testing.T) {
	w := signedIn(t)
	fill(t, w)
	secrets := []string{"cHJpbWFyeSBzZWNyZXQ", "c2Vjb25kYXJ5IHNlY3JldA", w.cookies["mooring-portal"], password}
	for _, path := range []string{
		"/", "/policies", "/policies/x", "/enrollments/groups/of/x", "/enrollments/groups/of/x/edit", "/password", "/audit",
	} {
		body := w.get(path).Body.String()
		for _, secret := range secrets {
			if strings.Contains(body, secret) {
				t.Errorf("%s shows a secret", path)
			}
		}
	}
	for _, path := range []string{"/policies/x/keys", "/enrollments/groups/of/x/keys"} {
		if body := w.send(t, path).Body.String(); !strings.Contains(body, secrets[0]) || !strings.Contains(body, secrets[1]) {
			t.Errorf("%s shows no keys: %s", path, body)
		}
		if res := w.get(path); res.Code != http.StatusNotFound && res.Code != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: %d", path, res.Code)
		}
	}
	res := w.get("/ca.pem")
	if res.Code != http.StatusOK || strings.Contains(res.Body.String(), "PRIVATE") {
		t.Errorf("/ca.pem: %d %s", res.Code, res.Body)
	}
	typed := "dHlwZWQgc2VjcmV0IGtleQ=="
	w.upstream.answers["PUT /enrollmentGroups/good"] = `{"errorCode":400004,"message":"attestation.symmetricKey.primaryKey: must be longer"}`
	w.upstream.status["PUT /enrollmentGroups/good"] = http.StatusBadRequest
	res = w.send(t, "/enrollments/groups", "id", "good", "attestation", "symmetricKey", "primaryKey", typed)
	if body := res.Body.String(); strings.Contains(body, typed) || !strings.Contains(body, `id="primaryKey-error"`) ||
		!strings.Contains(body, "Must be longer.") {
		t.Errorf("a refused key: %d", res.Code)
	}
}

func TestPrivateKeysAreRefused(t *testing.T) {
	w := signedIn(t)
	fill(t, w)
	root := newRoot(t)
	key := root.key
	for path, form := range map[string][]string{
		"/certificates":           {"name", "c", "certificate", key},
		"/enrollments/groups":     {"id", "g", "attestation", "certificates", "primary", root.cert + key},
		"/enrollments/individual": {"id", "i", "attestation", "certificates", "primary", root.cert, "secondary", key},
		"/certificates/x/verify":  {"code", "c", "etag", "e", "certificate", key},
		"/certificates/inspect":   {"certificate", key},
	} {
		w.upstream.bodies = nil
		res := w.send(t, path, form...)
		body := res.Body.String()
		if !strings.Contains(body, "holds a private key") || strings.Contains(body, "PRIVATE KEY") {
			t.Errorf("%s: %d", path, res.Code)
		}
		for _, sent := range w.upstream.bodies {
			if strings.Contains(sent, "certificate\"") {
				t.Errorf("%s: the service was sent %s", path, sent)
			}
		}
	}
	if strings.Contains(w.log.String(), "PRIVATE") {
		t.Error("a private key is in the log")
	}
}

// authority is a CA in PEM.
type authority struct{ cert, key string }

func newRoot(t *testing.T) authority {
	t.Helper()
	issued, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: "Factory Root"})
	must(t, err)
	key, err := issued.KeyPEM()
	must(t, err)
	return authority{cert: string(issued.CertificatePEM()), key: string(key)}
}

func TestMissingProofsAreToldBesideTheirField(t *testing.T) {
	w := signedIn(t)
	fill(t, w)
	for _, tt := range []struct{ path, attestation, field string }{
		{"/enrollments/groups", "authorities", "primaryCA"},
		{"/enrollments/groups", "certificates", "primary"},
		{"/enrollments/individual", "certificates", "primary"},
		{"/enrollments/individual", "tpm", "endorsementKey"},
	} {
		t.Run(tt.path+" "+tt.attestation, func(t *testing.T) {
			res := w.send(t, tt.path, "id", "good", "attestation", tt.attestation)
			if want := `id="` + tt.field + `-error"`; res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), want) {
				t.Errorf("%d, without %s", res.Code, want)
			}
		})
	}
}

func TestInspection(t *testing.T) {
	w := signedIn(t)
	before := w.now.AddDate(0, -1, 0)
	root, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: "Factory Root", NotBefore: before})
	must(t, err)
	old, err := pki.Issue(
		pki.Request{Kind: pki.Root, CommonName: "Old Root", NotBefore: w.now.AddDate(-2, 0, 0), NotAfter: w.now.AddDate(-1, 0, 0)},
	)
	must(t, err)
	device, err := pki.Issue(pki.Request{Kind: pki.Device, CommonName: "sensor-7", Issuer: root.Issuer(), NotBefore: before})
	must(t, err)
	for _, tt := range []struct {
		name, pem, query string
		want             []string
		not              string
	}{
		{"a CA", string(root.CertificatePEM()), "?use=ca", []string{"CN=Factory Root", root.SHA1Thumbprint(), root.SHA256Thumbprint(), "ECDSA P-256"}, "field-warning"},
		{"an expired CA", string(old.CertificatePEM()), "?use=ca", []string{"The certificate has expired"}, "field-error"},
		{"a device where a CA is needed", string(device.CertificatePEM()), "?use=ca", []string{"The certificate is not a CA certificate: its basicConstraints do not say CA:TRUE."}, "field-error"},
		{"a device for a group", string(device.CertificatePEM()), "?use=group", []string{"field-error", "is not a CA certificate"}, "field-warning"},
		{"a CA where a device is needed", string(root.CertificatePEM()), "?use=device", []string{"This is a CA certificate."}, "field-error"},
		{"a device", string(device.CertificatePEM()), "?use=device", []string{"CN=sensor-7", "CN=Factory Root"}, "field-warning"},
		{"a chain", string(device.CertificatePEM()) + string(root.CertificatePEM()), "", []string{"contains 2 certificates. Only the first is used: sensor-7.", "Certificate 2 of the file (Factory Root) is not used: it signed the certificate before it."}, "field-error"},
		{"something else", "hello", "", []string{"field-error", "must be PEM, DER or base64 of either"}, "CN="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := w.send(t, "/certificates/inspect"+tt.query, "certificate", tt.pem).Body.String()
			for _, want := range tt.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %q in %s", want, body)
				}
			}
			if strings.Contains(body, tt.not) {
				t.Errorf("%q in %s", tt.not, body)
			}
		})
	}
}

func TestConfirmations(t *testing.T) {
	w := signedIn(t)
	fill(t, w)
	for _, path := range []string{"/enrollmentGroups/x", "/certificates/x", "/registrations/x"} {
		w.upstream.answers["DELETE "+path] = "{}"
	}
	w.upstream.answers["POST /enrollmentGroups"] = `{"isSuccessful":true,"errors":[]}`
	for path, form := range map[string][]string{
		"/enrollments/groups/of/x/delete": {"etag", "e"}, "/certificates/x/delete": nil, "/registrations/x/delete": nil, "/policies/x/delete": nil,
		"/policies/x/regenerate": {"which", "primary"}, "/enrollments/groups/selected": {"action", "delete", "id", "a", "id", "b"},
	} {
		w.upstream.asked = nil
		res := w.send(t, path, form...)
		if !strings.Contains(res.Body.String(), `name="confirm" value="yes"`) {
			t.Errorf("%s asks nothing: %d", path, res.Code)
		}
		for _, r := range w.upstream.asked {
			if r.Method == "DELETE" || r.Method == "PUT" || (r.Method == "POST" && !strings.Contains(r.URL.Path, "listkeys")) {
				t.Errorf("%s: %s %s before anybody confirmed", path, r.Method, r.URL.Path)
			}
		}
	}
	res := w.send(t, "/enrollments/groups/selected", "action", "delete", "id", "a", "id", "b", "confirm", "yes")
	if res.Code != http.StatusSeeOther || !strings.Contains(w.upstream.bodies[len(w.upstream.bodies)-1], `"mode":"delete"`) {
		t.Errorf("confirmed: %d", res.Code)
	}
}

func TestListQueries(t *testing.T) {
	tests := []struct{ path, want string }{
		{"/enrollments/groups", "SELECT * ORDER BY enrollmentGroupId"},
		{"/enrollments/individual?sort=-id", "SELECT * ORDER BY registrationId DESC"},
		{
			"/enrollments/groups?q=o'b&status=disabled&sort=-updated",
			"SELECT * WHERE STARTS_WITH(enrollmentGroupId, 'o''b') AND provisioningStatus = 'disabled' ORDER BY lastUpdatedDateTimeUtc DESC",
		},
		{
			"/enrollments/individual?status=enabled&attestation=tpm",
			"SELECT * WHERE NOT provisioningStatus = 'disabled' AND attestation.type = 'tpm' ORDER BY registrationId",
		},
		{"/enrollments/groups?status=x&attestation=y&sort=z", "SELECT * ORDER BY enrollmentGroupId"},
	}
	w := signedIn(t)
	fill(t, w)
	for _, tt := range tests {
		w.upstream.bodies = nil
		w.get(tt.path)
		var got wire.QuerySpecification
		must(t, json.Unmarshal([]byte(w.upstream.bodies[0]), &got))
		if got.Query != tt.want {
			t.Errorf("%s asks %q, want %q", tt.path, got.Query, tt.want)
		}
	}
}

func TestTwinCheck(t *testing.T) {
	w := signedIn(t)
	for twin, want := range map[string]string{
		"": "empty twin", `{"tags": {"a": 1}}`: "Valid twin.", `{"tags": {"a": 1}`: "Line 1, column 18: the JSON ends too early.", "{\n\"tags\": x}": "Line 2, column 9: unexpected character", `{"tags": {"a.b": 1}}`: "has a member name", `[]`: "must be an object",
		`{"tag": {}}`: "tag is ignored",
	} {
		if body := w.send(t, "/check/twin", "twin", twin).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %q", twin, body, want)
		}
	}
}

func TestAssets(t *testing.T) {
	w := newWorld(t, false)
	body := w.get("/sign-in").Body.String()
	total := 0
	for _, name := range []string{"tabler.min.css", "portal.css", "htmx.min.js", "portal.js", "theme.js", "favicon.svg"} {
		at := strings.Index(body, "/"+name)
		if at < 0 {
			t.Fatalf("the page does not name %s", name)
		}
		path := body[strings.LastIndex(body[:at], `"`)+1 : at+len(name)+1]
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", "gzip, br")
		res := w.do(r)
		if res.Code != http.StatusOK || res.Header().Get("Content-Encoding") != "gzip" ||
			!strings.Contains(res.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", path, res.Code, res.Header())
		}
		total += res.Body.Len()
		if plain := w.get(path); plain.Header().Get("Content-Encoding") != "" || plain.Body.Len() <= res.Body.Len() {
			t.Errorf("%s without gzip: %d bytes", path, plain.Body.Len())
		}
	}
	if total > 150<<10 {
		t.Errorf("a page ships %d bytes", total)
	}
	for _, path := range []string{"/assets/", "/assets/htmx.min.js", "/assets/../portal.go"} {
		if res := w.get(path); res.Code == http.StatusOK {
			t.Errorf("%s: %d", path, res.Code)
		}
	}
}

// TestLicences holds that what is vendored comes with its licence.
func TestLicences(t *testing.T) {
	files, err := filepath.Glob("assets/vendor/*")
	must(t, err)
	text, err := os.ReadFile("assets/LICENSES.md")
	must(t, err)
	for _, f := range files {
		if !strings.Contains(string(text), filepath.Base(f)) {
			t.Errorf("LICENSES.md does not name %s", f)
		}
	}
	if !strings.Contains(string(text), "icons/") {
		t.Error("LICENSES.md does not name the icons")
	}
}

// TestCertificateFiles holds that a file arrives byte for byte, whatever its format.
func TestCertificateFiles(t *testing.T) {
	w := signedIn(t)
	fill(t, w)
	root, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: "Factory Root"})
	must(t, err)
	der := base64.StdEncoding.EncodeToString(root.Certificate.Raw)
	written := func() string { return w.upstream.bodies[len(w.upstream.bodies)-1] }
	w.upstream.answers["PUT /certificates/factory"] = object(t, wire.CACertificate{Name: "factory"})
	w.upstream.answers["PUT /enrollmentGroups/line"] = object(t, wire.Enrollment{EnrollmentGroupID: "line"})
	w.upstream.answers["PUT /enrollments/dev"] = object(t, wire.Enrollment{RegistrationID: "dev"})
	w.upstream.answers["POST /certificates/x/verify"] = object(t, wire.CACertificate{Name: "x"})

	if body := w.send(
		t,
		"/certificates/inspect?use=ca",
		"certificate",
		"",
		"certificateFile",
		der,
	).Body.String(); !strings.Contains(
		body,
		root.SHA1Thumbprint(),
	) {
		t.Errorf("inspected: %s", body)
	}
	for path, form := range map[string][]string{
		"/certificates":           {"name", "factory", "certificate", "", "certificateFile", der},
		"/enrollments/groups":     {"id", "line", "attestation", "certificates", "primary", "", "primaryFile", der},
		"/enrollments/individual": {"id", "dev", "attestation", "certificates", "secondary", "", "secondaryFile", der},
		"/certificates/x/verify":  {"code", "c", "etag", "e", "certificateFile", der},
	} {
		if res := w.send(t, path, form...); res.Code != http.StatusSeeOther || !strings.Contains(written(), der) {
			t.Errorf("%s: %d, the service was sent %s", path, res.Code, written())
		}
	}
	// What is refused beside it keeps the certificate, as text.
	res := w.send(t, "/certificates", "name", "", "certificateFile", der)
	if body := html.UnescapeString(res.Body.String()); res.Code != http.StatusUnprocessableEntity ||
		!strings.Contains(body, string(root.CertificatePEM())) {
		t.Errorf("without a name: %d, and the certificate is gone", res.Code)
	}
}

// TestErrorTitles holds that the title says it where a page came back with an error.
func TestErrorTitles(t *testing.T) {
	w := newWorld(t, false)
	title := func(res *httptest.ResponseRecorder) string {
		_, after, _ := strings.Cut(res.Body.String(), "<title>")
		text, _, _ := strings.Cut(after, "</title>")
		return text
	}
	if got := title(w.get("/sign-in")); got != "Sign in – Mooring" {
		t.Errorf("the sign-in: %q", got)
	}
	if got := title(w.post("/sign-in", url.Values{"password": {"wrong"}})); got != "Error: Sign in – Mooring" {
		t.Errorf("after a wrong password: %q", got)
	}
	w.post("/sign-in", url.Values{"password": {w.oneTime}})
	if got := title(w.get("/password")); got != "Choose a password – Mooring" {
		t.Errorf("the first password: %q", got)
	}
	if got := title(
		w.send(t, "/password", "current", "wrong", "password", password, "repeated", password),
	); got != "Error: Choose a password – Mooring" {
		t.Errorf("a wrong one-time password: %q", got)
	}
	w.send(t, "/password", "current", w.oneTime, "password", password, "repeated", password)
	fill(t, w)
	for path, want := range map[string]string{
		"/password": "Error: Change password – Mooring", "/policies": "Error: Shared access policies – Mooring", "/hubs": "Error: Link a hub – Mooring",
		"/certificates": "Error: Add certificate – Mooring", "/enrollments/groups": "Error: Add enrollment group – Mooring",
		"/allocation": "Error: Allocation – Mooring",
	} {
		if got := title(w.send(t, path)); got != want {
			t.Errorf("%s with nothing filled in: %q, want %q", path, got, want)
		}
	}
}

// TestWarningsAreShown holds that a record's page shows what the API warns about, and says
// which field it means.
func TestWarningsAreShown(t *testing.T) {
	w := signedIn(t)
	fill(t, w)
	w.upstream.warnings = []string{
		"attestation.x509.signingCertificates.secondary: the certificate expired",
		"attestation.x509.caReferences.primary: is not verified",
		"no device can use this: <b>really</b>",
	}
	for _, path := range []string{"/enrollments/groups/of/x?done=created", "/enrollments/individual/of/x", "/certificates/x"} {
		body := w.get(path).Body.String()
		for _, want := range []string{
			"Secondary certificate: the certificate expired.", "Primary CA: is not verified.", "No device can use this: &lt;b&gt;really&lt;/b&gt;.",
		} {
			if strings.Count(body, want) != 1 {
				t.Errorf("%s shows %d times %q", path, strings.Count(body, want), want)
			}
		}
	}
	if body := w.get("/registrations/x").Body.String(); strings.Contains(body, "the certificate expired") {
		t.Error("a registration record shows warnings about its enrollment")
	}
}

// TestUnknownDevices holds that refusals before anybody knows the device have a page.
func TestUnknownDevices(t *testing.T) {
	w := signedIn(t)
	unknown := wire.Decision{
		TrackingID: "t1",
		Time:       "2026-03-01T12:00:00Z",
		FirstTime:  "2026-03-01T12:00:00Z",
		Count:      1,
		Transport:  "mqtt",
		Remote:     "192.0.2.7:4711",
		Reason:     "tls-cipher-suite",
		Summary:    "No common cipher suite.",
		Remedy:     "start the service with --tls-compat",
		Answer:     "TLS alert 40",
		Evidence: wire.DecisionEvidence{
			ClientHello: &wire.DecisionClientHello{Versions: []string{"TLS 1.2"}, CipherSuites: []string{"TLS_RSA_WITH_AES_128_CBC_SHA256"}},
		},
	}
	w.upstream.answers["GET "+wire.DecisionsPath+"/t1"] = object(t, unknown)
	w.upstream.answers["GET "+wire.DecisionsPath] = object(t, wire.DecisionPage{Value: []wire.Decision{unknown}})
	w.upstream.answers["GET "+wire.DecisionReasonsPath], w.upstream.answers["POST /enrollmentGroups/query"] = `{"value":[]}`, "[]"
	list := w.get("/refusals?remote=192.0.2.7%3A4711").Body.String()
	for _, want := range []string{`<a href="/refusals/t1">Unknown</a>`, `<a href="/refusals?remote=192.0.2.7%3A4711"`, "No common cipher suite."} {
		if !strings.Contains(list, want) {
			t.Errorf("the list has no %s", want)
		}
	}
	w.upstream.asked = nil
	res := w.get("/refusals/t1")
	for _, want := range []string{
		"<h1>Unknown device</h1>", "Start the service with --tls-compat.", "TLS ClientHello",
		"TLS_RSA_WITH_AES_128_CBC_SHA256", "TLS alert 40",
	} {
		if !strings.Contains(res.Body.String(), want) {
			t.Errorf("%d: the page has no %q", res.Code, want)
		}
	}
	for _, r := range w.upstream.asked {
		if r.URL.Path == wire.DecisionsPath && r.URL.Query().Get("remote") != unknown.Remote {
			t.Errorf("other refusals are asked for by %s", r.URL.RawQuery)
		}
	}
}

func TestMovedIdentities(t *testing.T) {
	w := signedIn(t)
	moved := wire.Decision{
		TrackingID:        "t2",
		RegistrationID:    "pump-7",
		Time:              "2026-03-01T12:00:00Z",
		FirstTime:         "2026-03-01T12:00:00Z",
		Count:             1,
		EnrollmentGroupID: "a",
		Reason:            "identity-moved",
		Summary:           "The device took over a hub identity.",
		Move: &wire.DecisionMove{
			HostName: "hub.example", DeviceID: "pump-7", From: wire.DecisionHolder{RegistrationID: "old-7", EnrollmentGroupID: "b"},
			To: wire.DecisionHolder{RegistrationID: "pump-7", EnrollmentGroupID: "a"},
		},
	}
	w.upstream.answers["GET "+wire.DecisionsPath+"/t2"] = object(t, moved)
	w.upstream.answers["GET "+wire.DecisionsPath] = object(t, wire.DecisionPage{Value: []wire.Decision{moved}})
	w.upstream.answers["GET "+wire.DecisionReasonsPath], w.upstream.answers["POST /enrollmentGroups/query"] = `{"value":[]}`, "[]"
	const want = "Hub identity pump-7 on hub.example: from group b (device old-7) to group a (device pump-7)"
	list, page := w.get("/refusals").Body.String(), w.get("/refusals/t2").Body.String()
	if !strings.Contains(list, want) || !strings.Contains(list, "Identity moved") {
		t.Error("the list does not say what moved")
	}
	if !strings.Contains(page, want) || !strings.Contains(page, "Assigned <time") || strings.Contains(page, "Refused <time") ||
		!strings.Contains(page, `href="/enrollments/groups/of/a"`) {
		t.Error("the page does not say what moved")
	}
}

// TestStepsEnd holds that the first steps are over once any device has registered, whatever
// enrollment it came through.
func TestStepsEnd(t *testing.T) {
	w := signedIn(t)
	fill(t, w)
	for body, want := range map[string]bool{`{"value":[]}`: true, `{"value":[{"registrationId":"a","status":"failed"}]}`: false} {
		w.upstream.answers["GET "+wire.RegistrationsPath] = body
		if got := strings.Contains(w.get("/").Body.String(), "Next steps"); got != want {
			t.Errorf("with %s: steps shown: %v", body, got)
		}
	}
}

// TestReprovisionTexts holds what is said of each reprovision policy.
func TestReprovisionTexts(t *testing.T) {
	w := signedIn(t)
	yes, no := true, false
	for want, policy := range map[string]*wire.ReprovisionPolicy{
		"Not set: reprovision and migrate data. Devices that use API version 2018-04-01 or earlier keep their hub": nil,
		"Reprovision and migrate data": {UpdateHubAssignment: &yes}, "Reprovision and reset data": {MigrateDeviceData: &no}, "Never reprovision": {UpdateHubAssignment: &no},
	} {
		w.upstream.answers["GET /enrollments/x"] = object(t, wire.Enrollment{RegistrationID: "x", ReprovisionPolicy: policy})
		if body := w.get("/enrollments/individual/of/x").Body.String(); !strings.Contains(body, "<dt>Reprovisioning</dt><dd>"+want+"</dd>") {
			t.Errorf("the page does not say %q", want)
		}
	}
}
