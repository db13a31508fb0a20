package controlapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/configure"
	"github.com/mooring-iot/mooring/internal/controlapi"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/wire"
)

// Paths of the control plane.
const (
	subscriptionPath = "/subscriptions/00000000-0000-0000-0000-000000000000"
	groupPath        = subscriptionPath + "/resourceGroups/mooring"
	servicesPath     = "/providers/Microsoft.Devices/provisioningServices"
	servicePath      = groupPath + servicesPath + "/default"
)

// plane is the control plane over a store with one instance.
type plane struct {
	http.Handler
	store     *sqlite.Store
	guard     *access.Guard
	setup     dps.Setup
	now       time.Time
	noVersion bool // requests go without api-version
	checker   checker
	slow      bool // checks of hubs last until nobody waits for them
	log       bytes.Buffer
}

// Check is that of the checker, unless it is slow.
func (p *plane) Check(ctx context.Context, hub dps.LinkedHub) error {
	if p.slow {
		<-ctx.Done()
		return dps.Errorf(dps.HubUnavailable, "timed out")
	}
	return p.checker.Check(ctx, hub)
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return p.now }
	log := slog.New(slog.NewJSONHandler(&p.log, nil))
	key, err := seal.OpenKey(filepath.Join(t.TempDir(), "key"), true)
	if err != nil {
		t.Fatal(err)
	}
	p.store, err = sqlite.Open(
		t.Context(),
		sqlite.Options{Path: filepath.Join(t.TempDir(), "db"), Key: key, Observer: noObserver{}, Log: log, Now: now},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.store.Close() })
	const in = dps.DefaultInstance
	p.setup = dps.Setup{
		Instance: dps.NewInstance(
			in,
			p.now,
		), Policy: dps.Policy{Instance: in, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub: dps.LinkedHub{
			Instance:    in,
			ID:          dps.EmbeddedHub,
			Kind:        dps.KindEmbedded,
			HostName:    "hub.example",
			Weight:      3,
			ApplyPolicy: true,
		},
		HubPolicy: dps.HubPolicy{
			Instance: in,
			Hub:      dps.EmbeddedHub,
			Name:     dps.HubOwnerPolicy,
			Rights:   dps.HubOwnerRights,
			Keys:     dps.NewKeyPair(),
		},
	}
	if err := p.store.Create(t.Context(), p.setup); err != nil {
		t.Fatal(err)
	}
	p.guard = access.New(access.Options{Store: p.store, Names: []string{"dps.example"}, Now: now})
	p.Handler = httpio.Track(controlapi.New(controlapi.Options{
		Guard: p.guard, Enroll: enroll.New(p.store, now), Configure: configure.New(configure.Options{Store: p.store, Checker: p}), Instance: in,
		Endpoint: "dps.example:8443", Log: log,
	}), log)
	return p
}

// call sends a request with a good token.
func (p *plane) call(t *testing.T, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return p.raw(method, path, body, append([]string{"Authorization", p.bearer(t)}, headers...)...)
}

// bearer returns a good token.
func (p *plane) bearer(t *testing.T) string {
	t.Helper()
	token, err := access.NewToken(p.setup.Instance, p.now)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

func (p *plane) raw(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path+"?api-version=2022-02-05", strings.NewReader(body))
	if p.noVersion {
		r.URL.RawQuery = ""
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res := httptest.NewRecorder()
	p.ServeHTTP(res, r)
	return res
}

// answerOf returns what a 200 says.
func answerOf[T any](t *testing.T, res *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if res.Code != http.StatusOK {
		t.Fatalf("status %d: %s", res.Code, res.Body)
	}
	if err := json.Unmarshal(res.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v in %s", err, res.Body)
	}
	return v
}

func refuses(t *testing.T, what string, res *httptest.ResponseRecorder, status int, code, words string) {
	t.Helper()
	var e wire.ARMError
	if err := json.Unmarshal(res.Body.Bytes(), &e); err != nil || res.Code != status || e.Error.Code != code ||
		!strings.Contains(e.Error.Message, words) {
		t.Errorf("%s: %d %s, want %d %s with %q", what, res.Code, res.Body, status, code, words)
	}
}

func (p *plane) resource(t *testing.T) wire.ProvisioningService {
	t.Helper()
	return answerOf[wire.ProvisioningService](t, p.call(t, "GET", servicePath, ""))
}

func (p *plane) policies(t *testing.T) map[string]wire.SharedAccessPolicy {
	t.Helper()
	all := map[string]wire.SharedAccessPolicy{}
	for _, policy := range answerOf[wire.List[wire.SharedAccessPolicy]](t, p.call(t, "POST", servicePath+"/listkeys", "")).Value {
		all[policy.KeyName] = policy
	}
	return all
}

func (p *plane) put(t *testing.T, body string) wire.ProvisioningService {
	t.Helper()
	return answerOf[wire.ProvisioningService](t, p.call(t, "PUT", servicePath, body))
}

func TestResource(t *testing.T) {
	p := newPlane(t)
	res := p.call(t, "GET", servicePath, "")
	var got map[string]any
	if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": servicePath, "name": "default", "type": "Microsoft.Devices/provisioningServices", "location": "local",
		"tags": map[string]any{}, "etag": string(p.setup.Instance.ETag),
		"sku":           map[string]any{"name": "S1", "tier": "Standard", "capacity": 1.0},
		"resourcegroup": "mooring", "subscriptionid": "00000000-0000-0000-0000-000000000000",
		"properties": map[string]any{
			"state": "Active", "provisioningState": "Succeeded", "allocationPolicy": "Hashed", "idScope": string(p.setup.Instance.Scope),
			"serviceOperationsHostName": "dps.example:8443", "deviceProvisioningHostName": "dps.example:8443",
			"iotHubs": []any{map[string]any{
				"connectionString": "HostName=hub.example;SharedAccessKeyName=iothubowner;SharedAccessKey=****",
				"location":         "local", "name": "hub.example", "hostName": "hub.example", "kind": "embedded",
				"allocationWeight": 3.0, "applyAllocationPolicy": true, "authenticationType": "KeyBased",
			}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || res.Code != 200 {
		t.Errorf("status %d (-want +got):\n%s", res.Code, diff)
	}
	for _, path := range []string{
		groupPath + servicesPath,
		subscriptionPath + servicesPath,
		strings.ToUpper(subscriptionPath) + strings.ToLower(servicesPath) + "/",
	} {
		list := answerOf[map[string][]map[string]any](t, p.call(t, "GET", path, ""))
		if diff := cmp.Diff([]map[string]any{want}, list["value"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestSmallAnswers(t *testing.T) {
	p := newPlane(t)
	check := subscriptionPath + "/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability"
	tests := []struct{ method, path, body, want string }{
		{"GET", servicePath + "/skus", "", `{"value":[{"name":"S1"}]}`},
		{"POST", check, `{"name":"DEFAULT"}`, `{"nameAvailable":false,"reason":"AlreadyExists","message":"The provisioning service default exists."}`},
		{"POST", check, `{"name":"other"}`, `"nameAvailable":false,"reason":"Invalid","message":"Not available: this server has one`},
		{"POST", check, `{"name":"no_underscores"}`, `"nameAvailable":false,"reason":"Invalid","message":"A name must`},
		{"GET", servicePath + "/privateLinkResources", "", `{"value":[]}`},
		{"GET", servicePath + "/privateEndpointConnections", "", `[]`},
		{"GET", "/providers/Microsoft.Devices/operations", "", `"name":"Microsoft.Devices/provisioningServices/certificates/verify/action"`},
	}
	for _, tt := range tests {
		if res := p.call(t, tt.method, tt.path, tt.body); res.Code != 200 || !strings.Contains(res.Body.String(), tt.want) {
			t.Errorf("%s %s: %d %s, want %s", tt.method, tt.path, res.Code, res.Body, tt.want)
		}
	}
	refuses(t, "no name", p.call(t, "POST", check, `{}`), 400, "InvalidArgument", "name: is required")
	refuses(t, "no JSON", p.call(t, "POST", check, ``), 400, "BadRequest", "body")
	refuses(t, "operation", p.call(t, "GET", servicePath+"/operationResults/abc", ""), 404, "ResourceNotFound", "complete when it is answered")
	refuses(t, "private link", p.call(t, "GET", servicePath+"/privateLinkResources/iotDps", ""), 404, "NotFound", "no private links")
	endpoint := servicePath + "/privateEndpointConnections/one"
	refuses(t, "private endpoint", p.call(t, "GET", endpoint, ""), 404, "NotFound", "no private endpoint connections")
	made := p.call(t, "PUT", endpoint, `{}`)
	refuses(t, "new private endpoint", made, 400, "InvalidArgument", "privateEndpointConnections: is not supported")
	refuses(t, "delete private endpoint", p.call(t, "DELETE", endpoint, ""), 404, "NotFound", "no private endpoint connections")
	refuses(t, "method", p.call(t, "POST", servicePath, ""), 405, "MethodNotAllowed", "DELETE, GET, PATCH, PUT")
	refuses(t, "delete", p.call(t, "DELETE", servicePath, ""), 409, "Conflict", "data directory")
	p.resource(t)

	other := groupPath + servicesPath + "/other"
	refuses(t, "create another", p.call(t, "PUT", other, `{}`), 400, "InvalidArgument", "has one provisioning service, default")
	refuses(t, "get another", p.call(t, "GET", other, ""), 404, "ResourceNotFound", `"other"`)
	refuses(t, "keys of another", p.call(t, "POST", other+"/listkeys", ""), 404, "ResourceNotFound", `"other"`)
	refuses(
		t,
		"list elsewhere",
		p.call(t, "GET", subscriptionPath+"/resourceGroups/else"+servicesPath, ""),
		404,
		"ResourceNotFound",
		"mooring info",
	)
	if res := p.call(t, "DELETE", other, ""); res.Code != 204 || res.Body.Len() > 0 {
		t.Errorf("deleting what is not there: %d %s", res.Code, res.Body)
	}
	p.noVersion = true
	refuses(t, "no api-version", p.call(t, "GET", servicePath, ""), 400, "InvalidArgument", "api-version")
}

// TestEveryOperationNeedsTheToken walks all of them.
func TestEveryOperationNeedsTheToken(t *testing.T) {
	p := newPlane(t)
	other := dps.NewInstance(dps.DefaultInstance, p.now)
	foreign, err := access.NewToken(other, p.now)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := access.NewToken(p.setup.Instance, p.now.Add(-2*access.TokenLifetime))
	if err != nil {
		t.Fatal(err)
	}
	operations := []string{
		"GET /providers/Microsoft.Devices/operations",
		"POST " + subscriptionPath + "/providers/Microsoft.Devices/checkProvisioningServiceNameAvailability",
		"GET " + subscriptionPath + servicesPath, "GET " + groupPath + servicesPath,
		"GET " + servicePath, "PUT " + servicePath, "PATCH " + servicePath, "DELETE " + servicePath,
		"GET " + servicePath + "/skus", "POST " + servicePath + "/listkeys", "POST " + servicePath + "/keys/provisioningserviceowner/listkeys",
		"GET " + servicePath + "/operationresults/x",
		"PUT " + groupPath + servicesPath + "/other", "DELETE " + groupPath + servicesPath + "/other",
	}
	for _, op := range operations {
		method, path, _ := strings.Cut(op, " ")
		for name, header := range map[string]string{
			"none": "", "foreign": "Bearer " + foreign, "expired": "Bearer " + expired, "SAS": "SharedAccessSignature sr=x",
		} {
			refuses(t, op+" "+name, p.raw(method, path, `{"tags":{"a":"b"}}`, "Authorization", header), 401, "AuthenticationFailed", "")
		}
	}
	if got := p.resource(t); got.ETag != string(p.setup.Instance.ETag) {
		t.Error("a refused request changed the resource")
	}
}

func TestPutBack(t *testing.T) {
	p := newPlane(t)
	before := p.policies(t)
	got := p.call(t, "GET", servicePath, "").Body.String()
	after := p.put(t, got) // with its etag, read-only members and masked keys
	want := answerOf[wire.ProvisioningService](t, p.call(t, "GET", servicePath, ""))
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("answer of PUT and GET differ:\n%s", diff)
	}
	if after.ETag == string(p.setup.Instance.ETag) {
		t.Error("the etag is the old one")
	}
	after.ETag = string(p.setup.Instance.ETag)
	var first wire.ProvisioningService
	if err := json.Unmarshal([]byte(got), &first); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, after); diff != "" {
		t.Errorf("putting back what was read changed it:\n%s", diff)
	}
	if diff := cmp.Diff(before, p.policies(t)); diff != "" {
		t.Errorf("policies changed:\n%s", diff)
	}
}

func TestTagsAndAllocation(t *testing.T) {
	p := newPlane(t)
	steps := []struct {
		method, body string
		tags         map[string]string
		allocation   string
	}{
		{"PATCH", `{"tags":{"site":"hall 3","line":"7"}}`, map[string]string{"site": "hall 3", "line": "7"}, "Hashed"},
		{"PATCH", `{"tags":{"site":"hall 4"}}`, map[string]string{"site": "hall 4"}, "Hashed"},
		{"PUT", `{"location":"LOCAL","sku":{"name":"s1","capacity":1},"tags":{"a":"b"},"properties":{"allocationPolicy":"Static"}}`, map[string]string{"a": "b"}, "Static"},
		{"PUT", `{"tags":{"a":"c"},"properties":{}}`, map[string]string{"a": "c"}, "Static"},
		{"PUT", `{"properties":{"allocationPolicy":"geolatency"}}`, map[string]string{}, "GeoLatency"},
		{"PUT", `{"properties":{"allocationPolicy":"hashed"}}`, map[string]string{}, "Hashed"},
		{"PATCH", `{"tags":{"x":""}}`, map[string]string{"x": ""}, "Hashed"},
		{"PATCH", `{"tags":{}}`, map[string]string{}, "Hashed"},
	}
	for _, s := range steps {
		got := answerOf[wire.ProvisioningService](t, p.call(t, s.method, servicePath, s.body))
		if diff := cmp.Diff(s.tags, got.Tags); diff != "" || got.Properties.AllocationPolicy != s.allocation {
			t.Errorf("%s %s: %s %s", s.method, s.body, got.Properties.AllocationPolicy, diff)
		}
		if diff := cmp.Diff(p.resource(t), got); diff != "" {
			t.Errorf("%s %s: GET differs:\n%s", s.method, s.body, diff)
		}
	}
	in, err := p.store.InstanceByScope(t.Context(), p.setup.Instance.Scope)
	if err != nil || in.Allocation != dps.Hashed {
		t.Errorf("devices are allocated by %q, %v", in.Allocation, err)
	}
}

// TestRefusedMembers holds what the service does not act on: default passes, any
// other value is refused and nothing is stored.
func TestRefusedMembers(t *testing.T) {
	p := newPlane(t)
	taken := []string{
		`{"identity":null,"properties":{"publicNetworkAccess":"Enabled","ipFilterRules":[],"privateEndpointConnections":[],"enableDataResidency":false}}`,
		`{"identity":{"type":"None"},"properties":{"deviceRegistryNamespace":null,"ipFilterRules":null,"publicNetworkAccess":null}}`,
		`{"systemData":{"createdBy":"x"},"zones":null,"properties":{"state":"Deleted","provisioningState":"x","idScope":"0neX","portalOperationsHostName":"x","unknown":null}}`,
		`{"zones":[],"extendedLocation":{},"properties":{"disableLocalAuth":false,"deviceRegistryNamespaces":[],"deviceRegistryNamespace":{},"unknown":[],"strange":""}}`,
		`{"identity":{"type":"None","userAssignedIdentities":{}},"properties":{"disableLocalAuth":null}}`,
		`{"properties":{"iotHubs":[{"hostName":"HUB.example","authenticationType":"keybased","selectedUserAssignedIdentityResourceId":null}]}}`,
		`{"properties":{"iotHubs":[{"hostName":"hub.example","name":"hub.example","selectedUserAssignedIdentityResourceId":"","authenticationType":null,"connectionString":"HostName=hub.example;SharedAccessKeyName=iothubowner;SharedAccessKey=****"}]}}`,
		`{"properties":null}`, `{}`, `{"sku":{"name":"S1","tier":"Standard"}}`,
		`{"properties":{"iotHubs":[{"name":"HUB.example"}]}}`,
		`{"properties":{"iotHubs":[{"connectionString":"HostName=hub.example;SharedAccessKeyName=iothubowner;SharedAccessKey=` + p.setup.HubPolicy.Keys.Secondary.Base64() + `","location":"local"}]}}`,
	}
	for _, body := range taken {
		p.put(t, body)
	}
	before := p.resource(t)
	key := dps.NewKey().Base64()
	refused := []struct{ body, words string }{
		{`{"location":"westus"}`, "location: must be"},
		{`{"sku":{"name":"S2"}}`, "sku: must be S1"},
		{`{"sku":{"name":"S1","capacity":2}}`, "sku: must be S1"},
		{`{"identity":{"type":"SystemAssigned"}}`, "identity: is not supported"},
		{`{"zones":["1"]}`, "zones: is not supported"},
		{`{"properties":{"publicNetworkAccess":"Disabled"}}`, "properties.publicNetworkAccess: must be Enabled"},
		{`{"properties":{"ipFilterRules":[{"filterName":"x","action":"Reject","ipMask":"0.0.0.0/0"}]}}`, "properties.ipFilterRules: is not supported"},
		{`{"properties":{"privateEndpointConnections":[{}]}}`, "properties.privateEndpointConnections: is not supported"},
		{`{"properties":{"enableDataResidency":true}}`, "properties.enableDataResidency: is not supported"},
		{`{"properties":{"disableLocalAuth":true}}`, "properties.disableLocalAuth: must be false"},
		{`{"properties":{"deviceRegistryNamespaces":[{"resourceId":"x"}]}}`, "properties.deviceRegistryNamespaces: is not supported"},
		{`{"identity":{"type":"None","userAssignedIdentities":{"/subscriptions/x":{}}}}`, "identity: is not supported"},
		{`{"properties":{"deviceRegistryNamespace":{"resourceId":"x"}}}`, "properties.deviceRegistryNamespace: is not supported"},
		{`{"properties":{"minTlsVersion":"1.2"}}`, "properties.minTlsVersion: is not supported"},
		{`{"Properties":{"minTlsVersion":"1.2"}}`, "properties.minTlsVersion: is not supported"},
		{`{"properties":{"allocationPolicy":"Custom"}}`, "must be Hashed"},
		{`{"properties":{"iotHubs":[{"name":"other.example"}]}}`, "properties.iotHubs[0].connectionString: is required"},
		{`{"properties":{"iotHubs":[{"name":"hub.example"},{"name":"hub.example"}]}}`, "properties.iotHubs[1].name: hub.example is listed twice"},
		{`{"properties":{"iotHubs":[{"connectionString":"HostName=hub.example;SharedAccessKeyName=iothubowner;SharedAccessKey=` + key + `"}]}}`, "properties.iotHubs[0].connectionString: does not match the policy and key"},
		{`{"properties":{"iotHubs":[{"connectionString":"HostName=hub.example;SharedAccessKeyName=other;SharedAccessKey=****"}]}}`, "properties.iotHubs[0].connectionString: does not match the policy and key"},
		{`{"properties":{"iotHubs":[{}]}}`, "properties.iotHubs[0].connectionString"},
		{`{"tags":{"a<b":"c"}}`, "tags: a name"},
		{`{"tags":{"":"c"}}`, "tags: a name"},
		{`{"tags":{"a":"` + strings.Repeat("x", 257) + `"}}`, "tags: the value"},
		{`{"tags":{"a":"1","A":"2"}}`, "case is ignored"},
		{`{"tags":{"a":1}}`, "tags"},
		{`{"tags":{` + strings.TrimSuffix(repeated(51, `"t%d":"",`), ",") + `}}`, "the limit is 50"},
		{`{"properties":[]}`, "properties"},
		{`[]`, "body"},
	}
	for _, tt := range refused {
		refuses(t, tt.body, p.call(t, "PUT", servicePath, tt.body), 400, "InvalidArgument", tt.words)
	}
	refuses(t, "no JSON", p.call(t, "PUT", servicePath, `{"tags":`), 400, "BadRequest", "body")
	refuses(t, "PATCH without tags", p.call(t, "PATCH", servicePath, `{}`), 400, "InvalidArgument", "tags: is required")
	refuses(
		t,
		"PATCH of more",
		p.call(t, "PATCH", servicePath, `{"tags":{},"properties":{"allocationPolicy":"Static"}}`),
		400,
		"InvalidArgument",
		"properties: is not supported",
	)
	if diff := cmp.Diff(before, p.resource(t)); diff != "" {
		t.Errorf("a refused request changed the resource:\n%s", diff)
	}
}

func repeated(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestVersions(t *testing.T) {
	p := newPlane(t)
	old := p.resource(t).ETag
	tests := []struct {
		name, header, body string
		want               int
	}{
		{"current in the header", "current", "", 200},
		{"current and quoted", `"current"`, "", 200},
		{"any", "*", "", 200},
		{"current in the body", "", "current", 200},
		{"the header counts", "current", "stale", 200},
		{"stale in the header", "stale", "", 412},
		{"stale in the header, current in the body", "stale", "current", 412},
		{"stale in the body", "", "stale", 412},
		{"first one", old, "", 412},
		{"malformed", `a, b`, "", 400},
		{"none", "", "", 200},
	}
	for _, tt := range tests {
		current := p.resource(t).ETag
		fill := func(s string) string { return strings.ReplaceAll(s, "current", current) }
		body := fmt.Sprintf(`{"etag":%q,"tags":{"case":%q}}`, fill(tt.body), tt.name)
		var headers []string
		if tt.header != "" {
			headers = []string{"If-Match", fill(tt.header)}
		}
		res := p.call(t, "PUT", servicePath, body, headers...)
		stored := p.resource(t).Tags["case"] == tt.name
		if res.Code != tt.want || stored != (tt.want == 200) {
			t.Errorf("%s: %d %s, stored %t, want %d", tt.name, res.Code, res.Body, stored, tt.want)
		}
	}
	if res := p.call(t, "PATCH", servicePath, `{"tags":{}}`, "If-Match", old); res.Code != 412 {
		t.Errorf("PATCH of an old version: %d %s", res.Code, res.Body)
	}
}

func TestConcurrentPuts(t *testing.T) {
	p := newPlane(t)
	const writers = 32
	for range 4 {
		etag := p.resource(t).ETag
		codes := make([]int, writers)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				codes[i] = p.call(t, "PUT", servicePath, fmt.Sprintf(`{"tags":{"writer":"%d"}}`, i), "If-Match", etag).Code
			})
		}
		all.Wait()
		won := -1
		for i, code := range codes {
			switch {
			case code == 200 && won < 0:
				won = i
			case code != 412:
				t.Errorf("writer %d: %d", i, code)
			}
		}
		if got := p.resource(t).Tags["writer"]; got != fmt.Sprint(won) {
			t.Errorf("writer %d won and %q is stored", won, got)
		}
	}
}
