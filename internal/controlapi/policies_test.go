package controlapi_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

// putPolicies makes policies all that the service has.
func (p *plane) putPolicies(t *testing.T, policies ...wire.SharedAccessPolicy) *httptest.ResponseRecorder {
	t.Helper()
	if policies == nil {
		policies = []wire.SharedAccessPolicy{}
	}
	text, err := json.Marshal(policies)
	if err != nil {
		t.Fatal(err)
	}
	return p.call(t, "PUT", servicePath, `{"properties":{"authorizationPolicies":`+string(text)+`}}`)
}

const ownerRights = "ServiceConfig, DeviceConnect, EnrollmentWrite"

// admits reports whether a key lets in to an operation that needs want.
func (p *plane) admits(t *testing.T, policy, key string, want dps.Rights) bool {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/enrollments/x", nil)
	r.Header.Set("Authorization", sas.Sign("dps.example", policy, raw, p.now.Add(time.Hour)))
	return p.guard.Service(r, dps.DefaultInstance, want) == nil
}

func TestPoliciesBegin(t *testing.T) {
	p := newPlane(t)
	keys := p.setup.Policy.Keys
	want := wire.SharedAccessPolicy{
		KeyName:      dps.OwnerPolicy,
		PrimaryKey:   keys.Primary.Base64(),
		SecondaryKey: keys.Secondary.Base64(),
		Rights:       ownerRights,
	}
	if diff := cmp.Diff(map[string]wire.SharedAccessPolicy{dps.OwnerPolicy: want}, p.policies(t)); diff != "" {
		t.Error(diff)
	}
	one := answerOf[wire.SharedAccessPolicy](t, p.call(t, "POST", servicePath+"/keys/PROVISIONINGSERVICEOWNER/listKeys", ""))
	if diff := cmp.Diff(want, one); diff != "" {
		t.Error(diff)
	}
	refuses(t, "unknown policy", p.call(t, "POST", servicePath+"/keys/ghost/listkeys", ""), 404, "ResourceNotFound", `"ghost"`)
	if strings.Contains(p.call(t, "GET", servicePath, "").Body.String(), "authorizationPolicies") {
		t.Error("GET shows policies")
	}
}

func TestPoliciesChange(t *testing.T) {
	p := newPlane(t)
	owner := p.policies(t)[dps.OwnerPolicy]

	// Added: keys are made, or taken; one key alone is completed.
	mine := dps.NewKey().Base64()
	bare := wire.SharedAccessPolicy{KeyName: dps.OwnerPolicy}
	answerOf[wire.ProvisioningService](
		t,
		p.putPolicies(t, bare, wire.SharedAccessPolicy{KeyName: "Reader", Rights: " enrollmentread,REGISTRATIONSTATUSREAD"},
			wire.SharedAccessPolicy{KeyName: "writer", Rights: "EnrollmentWrite", PrimaryKey: mine}),
	)
	all := p.policies(t)
	if diff := cmp.Diff(owner, all[dps.OwnerPolicy]); diff != "" || len(all) != 3 {
		t.Errorf("%d policies, the owner's changed: %s", len(all), diff)
	}
	if r := all["Reader"]; r.Rights != "EnrollmentRead, RegistrationStatusRead" || r.PrimaryKey == "" || r.PrimaryKey == r.SecondaryKey {
		t.Errorf("Reader = %+v", r)
	}
	if w := all["writer"]; w.PrimaryKey != mine || w.SecondaryKey == "" {
		t.Errorf("writer = %+v", w)
	}
	if !p.admits(t, "reader", all["Reader"].PrimaryKey, dps.EnrollmentRead) ||
		p.admits(t, "reader", all["Reader"].PrimaryKey, dps.EnrollmentWrite) {
		t.Error("Reader's key opens the wrong doors")
	}

	// Changed: rights, one key; what is left out and the first spelling stay.
	regenerated := dps.NewKey().Base64()
	answerOf[wire.ProvisioningService](
		t,
		p.putPolicies(t, bare, wire.SharedAccessPolicy{KeyName: "READER", Rights: "EnrollmentWrite", SecondaryKey: regenerated},
			wire.SharedAccessPolicy{KeyName: "writer"}),
	)
	now := p.policies(t)
	want := all["Reader"]
	want.Rights, want.SecondaryKey = "EnrollmentWrite", regenerated
	if diff := cmp.Diff(map[string]wire.SharedAccessPolicy{dps.OwnerPolicy: owner, "Reader": want, "writer": all["writer"]}, now); diff != "" {
		t.Error(diff)
	}
	if p.admits(t, "reader", all["Reader"].SecondaryKey, dps.EnrollmentRead) || !p.admits(t, "reader", regenerated, dps.EnrollmentWrite) ||
		!p.admits(t, "reader", all["Reader"].PrimaryKey, dps.EnrollmentRead) {
		t.Error("the old key works or a good one does not")
	}

	// A PUT without the member, or with null, leaves them.
	p.put(t, `{"tags":{"a":"b"}}`)
	p.put(t, `{"properties":{"authorizationPolicies":null}}`)
	if diff := cmp.Diff(now, p.policies(t)); diff != "" {
		t.Error(diff)
	}

	// null asks for a new key, an empty text is refused.
	p.put(t, `{"properties":{"authorizationPolicies":[{"keyName":"`+dps.OwnerPolicy+`"},{"keyName":"reader","primaryKey":null,"rights":"EnrollmentRead"},{"keyName":"writer","secondaryKey":null}]}}`)
	after := p.policies(t)
	if r := after["Reader"]; r.PrimaryKey == now["Reader"].PrimaryKey || r.PrimaryKey == "" || r.SecondaryKey != now["Reader"].SecondaryKey {
		t.Errorf("Reader = %+v, was %+v", r, now["Reader"])
	}
	if w := after["writer"]; w.SecondaryKey == now["writer"].SecondaryKey || w.SecondaryKey == "" || w.PrimaryKey != now["writer"].PrimaryKey {
		t.Errorf("writer = %+v, was %+v", w, now["writer"])
	}
	if p.admits(t, "reader", now["Reader"].PrimaryKey, dps.EnrollmentRead) ||
		!p.admits(t, "reader", after["Reader"].PrimaryKey, dps.EnrollmentRead) {
		t.Error("the leaked key still works, or the new one does not")
	}
	for _, member := range []string{"primaryKey", "secondaryKey"} {
		res := p.call(t, "PUT", servicePath, `{"properties":{"authorizationPolicies":[{"keyName":"`+dps.OwnerPolicy+`","`+member+`":""}]}}`)
		refuses(t, member, res, 400, "InvalidArgument", "properties.authorizationPolicies[0]."+member+": is empty; send null for a new key")
	}

	// Removed: gone at once, the owner too as long as someone can configure.
	answerOf[wire.ProvisioningService](t, p.putPolicies(t, wire.SharedAccessPolicy{KeyName: "writer", Rights: "ServiceConfig"}))
	if left := p.policies(t); len(left) != 1 || left["writer"].Rights != "ServiceConfig" {
		t.Errorf("left: %v", left)
	}
	if p.admits(t, dps.OwnerPolicy, owner.PrimaryKey, dps.EnrollmentRead) || p.admits(t, "writer", mine, dps.EnrollmentWrite) {
		t.Error("a removed policy or a removed right still works")
	}
}

func TestEveryRight(t *testing.T) {
	p := newPlane(t)
	var names []string
	for right := range dps.Rights(64) {
		if right == 0 {
			continue
		}
		answerOf[wire.ProvisioningService](
			t,
			p.putPolicies(t, wire.SharedAccessPolicy{KeyName: dps.OwnerPolicy}, wire.SharedAccessPolicy{KeyName: "x", Rights: right.String()}),
		)
		got := p.policies(t)["x"].Rights
		if got != right.String() {
			t.Errorf("%s is shown as %s", right, got)
		}
		names = append(names, got)
	}
	if len(names) != 63 {
		t.Errorf("%d subsets", len(names))
	}
}

func TestPoliciesRefused(t *testing.T) {
	p := newPlane(t)
	before, etag := p.policies(t), p.resource(t).ETag
	type policy = wire.SharedAccessPolicy
	owner := policy{KeyName: dps.OwnerPolicy}
	many := []policy{owner}
	for i := range 100 {
		many = append(many, policy{KeyName: strings.Repeat("x", i%60+1) + "-" + string(rune('a'+i/60)), Rights: "EnrollmentRead"})
	}
	tests := []struct {
		name     string
		policies []policy
		words    string
	}{
		{"none", nil, "must keep the right ServiceConfig"},
		{"nobody configures", []policy{{KeyName: dps.OwnerPolicy, Rights: "EnrollmentWrite"}}, "must keep the right ServiceConfig"},
		{"twice", []policy{owner, {KeyName: "a", Rights: "EnrollmentRead"}, {KeyName: "A", Rights: "EnrollmentRead"}}, "authorizationPolicies[2].keyName: A is listed twice"},
		{"no rights", []policy{owner, {KeyName: "a"}}, "authorizationPolicies[1].rights: is required"},
		{"unknown right", []policy{owner, {KeyName: "a", Rights: "EnrollmentRead, Everything"}}, `authorizationPolicies[1].rights: "Everything"`},
		{"no name", []policy{owner, {Rights: "EnrollmentRead"}}, "authorizationPolicies[1].keyName: must be"},
		{"blank in the name", []policy{owner, {KeyName: "a b", Rights: "EnrollmentRead"}}, "authorizationPolicies[1].keyName"},
		{"long name", []policy{owner, {KeyName: strings.Repeat("a", 65), Rights: "EnrollmentRead"}}, "authorizationPolicies[1].keyName"},
		{"semicolon in the name", []policy{owner, {KeyName: "a;b", Rights: "EnrollmentRead"}}, "authorizationPolicies[1].keyName"},
		{"no base64", []policy{{KeyName: dps.OwnerPolicy, PrimaryKey: "???"}}, "authorizationPolicies[0].primaryKey: must be base64"},
		{"short key", []policy{{KeyName: dps.OwnerPolicy, SecondaryKey: "c2hvcnQ="}}, "authorizationPolicies[0].secondaryKey: must be base64 of 16"},
		{"too many", many, "the limit is 100"},
	}
	for _, tt := range tests {
		res := p.putPolicies(t, tt.policies...)
		refuses(t, tt.name, res, 400, "InvalidArgument", tt.words)
		if strings.Contains(res.Body.String(), "c2hvcnQ") {
			t.Errorf("%s: the refusal shows the key", tt.name)
		}
	}
	if diff := cmp.Diff(before, p.policies(t)); diff != "" || p.resource(t).ETag != etag {
		t.Errorf("a refused request changed the policies: %s", diff)
	}
}
