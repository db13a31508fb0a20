package wire_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// The rights, as policies name them.
const (
	serviceConfig   = "ServiceConfig"
	enrollmentRead  = "EnrollmentRead"
	enrollmentWrite = "EnrollmentWrite"
	deviceConnect   = "DeviceConnect"
	statusRead      = "RegistrationStatusRead"
	statusWrite     = "RegistrationStatusWrite"
)

var rights = []string{serviceConfig, enrollmentRead, enrollmentWrite, deviceConnect, statusRead, statusWrite}

// guarded is one operation of the service API with the single rights that open it: a
// right to write includes the right to read, and EnrollmentWrite those on records.
type guarded struct {
	method, path, body string
	opened             []string
}

func guardedOperations() []guarded {
	var all []guarded
	for _, c := range []struct{ path, id string }{{"/enrollments", "registrationId"}, {"/enrollmentGroups", "enrollmentGroupId"}} {
		record := `{"` + c.id + `": "x", "attestation": {"type": "symmetricKey"}}`
		items := `{"mode": "create", "` + strings.TrimPrefix(c.path, "/") + `": [` + record + `]}`
		read, write := []string{enrollmentRead, enrollmentWrite}, []string{enrollmentWrite}
		all = append(all,
			guarded{"GET", c.path + "/x", "", read},
			guarded{"PUT", c.path + "/x", record, write},
			guarded{"DELETE", c.path + "/x", "", write},
			guarded{"POST", c.path + "/x/attestationmechanism", "", write},
			guarded{"POST", c.path + "/query", `{"query": "*"}`, read},
			guarded{"POST", c.path, items, write},
		)
	}
	return append(all,
		guarded{"GET", "/registrations/x", "", []string{statusRead, statusWrite, enrollmentWrite}},
		guarded{"POST", "/registrations/x/query", "", []string{statusRead, statusWrite, enrollmentWrite}},
		guarded{"POST", wire.AllocatePath, `{"registrationId": "x"}`, []string{enrollmentRead, enrollmentWrite}},
		guarded{"DELETE", "/registrations/x", "", []string{statusWrite, enrollmentWrite}},
	)
}

// spoils are ways in which a token that would do is spoiled.
var spoils = map[string]func(s *signed, g guarded){
	"expired":    func(s *signed, _ guarded) { s.se = at(-6 * time.Minute) },
	"other host": func(s *signed, _ guarded) { s.sr = "other.example" },
	"other path": func(s *signed, g guarded) { s.sr = url.QueryEscape("localhost" + g.path + "/other") },
	"altered": func(s *signed, _ guarded) {
		s.sig = func(sig string) string { return url.QueryEscape(flipped(sig)) }
	},
}

// flipped changes one bit of a base64 signature.
func flipped(sig string) string {
	raw, err := base64.StdEncoding.DecodeString(sig)
	if err != nil {
		return sig
	}
	raw[0] ^= 1
	return base64.StdEncoding.EncodeToString(raw)
}

// TestRightsMatrix walks every operation with a policy of every single right: who has
// the right passes, nobody else does, and no spoiled token does.
func TestRightsMatrix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setPolicies(t, nil)
	keys := w.policyKeys(t)
	for _, g := range guardedOperations() {
		t.Run(g.method+" "+g.path, func(t *testing.T) {
			w.expectStatus(t, g, "", false)
			bearer := "Bearer " + w.info.ControlPlane.Token
			w.expectStatus(t, g, bearer, true)
			w.expectStatus(t, g, bearer+"x", false)
			for _, right := range rights {
				token := signed{
					sr: "localhost", se: at(time.Hour), skn: "only-" + right, key: keys["only-"+right], sig: url.QueryEscape, order: "sr sig se skn",
				}
				w.expectStatus(t, g, token.String(), slices.Contains(g.opened, right))
				for name, spoil := range spoils {
					bad := token
					spoil(&bad, g)
					if !w.expectStatus(t, g, bad.String(), false) {
						t.Errorf("%s with %s: %s", g.path, right, name)
					}
				}
			}
		})
	}
}

// TestOldKeysAreClosed regenerates every key: what the old ones signed opens nothing
// from then on.
func TestOldKeysAreClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.setPolicies(t, nil)
	old := w.policyKeys(t)
	fresh := base64.StdEncoding.EncodeToString([]byte("a key that nobody had before....."))
	w.setPolicies(t, &fresh)
	for _, g := range guardedOperations() {
		for _, right := range g.opened {
			token := signed{
				sr: "localhost", se: at(time.Hour), skn: "only-" + right, key: old["only-"+right], sig: url.QueryEscape, order: "sr sig se skn",
			}
			w.expectStatus(t, g, token.String(), false)
		}
	}
}

// expectStatus calls an operation and checks that it is let in, or is refused with
// 401. It reports whether it was so.
func (w *world) expectStatus(t *testing.T, g guarded, token string, allowed bool) bool {
	t.Helper()
	h := http.Header{"Content-Type": {"application/json"}}
	if token != "" {
		h.Set("Authorization", token)
	}
	r := w.do(t, call{method: g.method, path: withVersion(g.path), header: h, body: strings.NewReader(g.body)})
	if refused := r.status == http.StatusUnauthorized; refused == allowed {
		t.Errorf("%s %s: status %d, allowed should be %v; token %s", g.method, g.path, r.status, allowed, token)
		return false
	}
	return true
}

// setPolicies gives the instance, beside its owner policy, one policy for each right;
// key is set as the first and second key of all of these, nil leaves that to the service.
func (w *world) setPolicies(t *testing.T, key *string) {
	t.Helper()
	policies := w.listPolicies(t)
	policies = slices.DeleteFunc(policies, func(p wire.SharedAccessPolicy) bool { return strings.HasPrefix(p.KeyName, "only-") })
	for _, right := range rights {
		p := wire.SharedAccessPolicy{KeyName: "only-" + right, Rights: right}
		if key != nil {
			p.PrimaryKey, p.SecondaryKey = *key, *key
		}
		policies = append(policies, p)
	}
	text, err := json.Marshal(policies)
	if err != nil {
		t.Fatal(err)
	}
	w.control(t, "PUT", "", `{"location": "local", "sku": {"name": "S1"}, "properties": {"authorizationPolicies": `+string(text)+`}}`)
}

func (w *world) listPolicies(t *testing.T) []wire.SharedAccessPolicy {
	t.Helper()
	var list wire.List[wire.SharedAccessPolicy]
	if err := json.Unmarshal(w.control(t, "POST", "/listkeys", ""), &list); err != nil {
		t.Fatal(err)
	}
	return list.Value
}

// policyKeys returns the first key of each policy.
func (w *world) policyKeys(t *testing.T) map[string][]byte {
	t.Helper()
	keys := make(map[string][]byte)
	for _, p := range w.listPolicies(t) {
		raw, err := base64.StdEncoding.DecodeString(p.PrimaryKey)
		if err != nil {
			t.Fatal(err)
		}
		keys[p.KeyName] = raw
	}
	return keys
}

// control calls the control plane below the instance, which must answer 200.
func (w *world) control(t *testing.T, method, path, body string) []byte {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer " + w.info.ControlPlane.Token}, "Content-Type": {"application/json"}}
	r := w.do(
		t,
		call{method: method, path: w.info.ControlPlane.ResourceID + path + "?api-version=2022-02-05", header: h, body: strings.NewReader(body)},
	)
	if r.status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	return []byte(r.body)
}
