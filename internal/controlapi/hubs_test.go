package controlapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// hubKey is the key of every hub over the wire here.
const hubKey = "a2V5IG9mIGEgaHViIHRoYXQgaXMgbGlua2VkISEhISE="

// hubString returns the connection string of a hub over the wire.
func hubString(endpoint, key string) string {
	return "HostName=" + endpoint + ";SharedAccessKeyName=iothubowner;SharedAccessKey=" + key
}

// checker refuses hubs by host name, and remembers which it was asked for.
type checker struct {
	refuses map[dps.HostName]error
	asked   []dps.LinkedHub
}

func (c *checker) Check(_ context.Context, hub dps.LinkedHub) error {
	c.asked = append(c.asked, hub)
	return c.refuses[hub.HostName]
}

// putHubs makes hubs all that are linked.
func (p *plane) putHubs(t *testing.T, hubs []wire.LinkedHub, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	text, err := json.Marshal(map[string]any{"properties": map[string]any{"iotHubs": hubs}})
	if err != nil {
		t.Fatal(err)
	}
	return p.call(t, "PUT", servicePath, string(text), headers...)
}

// linked returns the names of the linked hubs.
func (p *plane) linked(t *testing.T) string {
	t.Helper()
	var names []string
	for _, h := range p.resource(t).Properties.IotHubs {
		names = append(names, h.Name)
	}
	return strings.Join(names, " ")
}

// plant returns the hub plant.example as the store has it.
func (p *plane) plant(t *testing.T) dps.LinkedHub {
	t.Helper()
	hubs, err := p.store.Hubs(t.Context(), dps.DefaultInstance)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hubs {
		if h.HostName.Equal("plant.example") {
			return h
		}
	}
	t.Fatalf("it is not among %v", hubs)
	return dps.LinkedHub{}
}

func TestLinkUpdateUnlink(t *testing.T) {
	p := newPlane(t)
	no, five := false, 5
	hubs := append(
		p.resource(t).Properties.IotHubs,
		wire.LinkedHub{
			ConnectionString:      hubString("Plant.example:8443", hubKey),
			Location:              "West Europe",
			AllocationWeight:      &five,
			ApplyAllocationPolicy: &no,
		},
		wire.LinkedHub{ConnectionString: "HostName=hub-a.example", Kind: "embedded"},
	)
	got := answerOf[wire.ProvisioningService](t, p.putHubs(t, hubs))
	one, yes := 1, true
	want := []wire.LinkedHub{
		hubs[0],
		{
			ConnectionString: hubString("Plant.example:8443", "****"), Name: "Plant.example", HostName: "Plant.example", Kind: "iothub",
			Location:         "West Europe",
			AllocationWeight: &five, ApplyAllocationPolicy: &no, AuthenticationType: "KeyBased",
		},
		{
			ConnectionString: hubString("hub-a.example", "****"), Name: "hub-a.example", HostName: "hub-a.example", Kind: "embedded",
			Location: "local", AllocationWeight: &one, ApplyAllocationPolicy: &yes, AuthenticationType: "KeyBased",
		},
	}
	if diff := cmp.Diff(want, got.Properties.IotHubs); diff != "" {
		t.Fatalf("linked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(p.resource(t), got); diff != "" {
		t.Errorf("GET differs from the answer of PUT:\n%s", diff)
	}
	plant := p.plant(t)
	if plant.Access == nil || plant.Access.Endpoint != "Plant.example:8443" || plant.Access.Key.Base64() != hubKey || plant.ID == "" {
		t.Errorf("stored: %+v, %+v", plant, plant.Access)
	}
	if len(p.checker.asked) != 1 || p.checker.asked[0].HostName != "Plant.example" {
		t.Errorf("checked: %+v", p.checker.asked)
	}

	// As it was read: nothing changes, nobody is called. Only the weight: the key stays.
	got = answerOf[wire.ProvisioningService](t, p.putHubs(t, got.Properties.IotHubs))
	two := 2
	got.Properties.IotHubs[1].AllocationWeight = &two
	got = answerOf[wire.ProvisioningService](t, p.putHubs(t, got.Properties.IotHubs))
	after := p.plant(t)
	if after.ID != plant.ID || after.Weight != 2 || after.Access.Key.Base64() != hubKey || len(p.checker.asked) != 1 {
		t.Errorf("after a new weight: %+v, %d checks", after, len(p.checker.asked))
	}

	// Another key. It stays with its endpoint: another one wants the key again.
	fresh := dps.NewKey().Base64()
	got.Properties.IotHubs[1].ConnectionString = hubString("plant.example", fresh)
	got = answerOf[wire.ProvisioningService](t, p.putHubs(t, got.Properties.IotHubs))
	for _, endpoint := range []string{"plant.example:9443", "plant.example;GatewayHostName=elsewhere.example"} {
		got.Properties.IotHubs[1].ConnectionString = hubString(endpoint, "****")
		if res := p.putHubs(t, got.Properties.IotHubs); res.Code != http.StatusBadRequest ||
			!strings.Contains(res.Body.String(), "without a key") {
			t.Errorf("the masked key for %s: %d %s", endpoint, res.Code, res.Body)
		}
	}
	got.Properties.IotHubs[1].ConnectionString = hubString("plant.example:9443", fresh)
	got = answerOf[wire.ProvisioningService](t, p.putHubs(t, got.Properties.IotHubs))
	after = p.plant(t)
	if after.ID != plant.ID || after.Access.Key.Base64() != fresh || after.Access.Endpoint != "plant.example:9443" ||
		len(p.checker.asked) != 3 {
		t.Errorf("after a new key: %+v, %d checks", after.Access, len(p.checker.asked))
	}

	// Unlinked, down to none, and linked again under the ID that records name.
	answerOf[wire.ProvisioningService](t, p.putHubs(t, got.Properties.IotHubs[:1]))
	if names := p.linked(t); names != "hub.example" {
		t.Errorf("linked: %s", names)
	}
	answerOf[wire.ProvisioningService](t, p.putHubs(t, []wire.LinkedHub{}))
	if names := p.linked(t); names != "" {
		t.Errorf("linked: %s", names)
	}
	answerOf[wire.ProvisioningService](
		t,
		p.putHubs(t, []wire.LinkedHub{{ConnectionString: hubString("plant.example", hubKey), Location: "local"}}),
	)
	if again := p.plant(t); again.ID != plant.ID || again.Weight != 1 || !again.ApplyPolicy || again.Location != "" {
		t.Errorf("linked again: %+v", again)
	}
}

func TestHubCheck(t *testing.T) {
	p := newPlane(t)
	p.checker.refuses = map[dps.HostName]error{
		"plant.example":  dps.Errorf(dps.HubRefused, "hub plant.example refuses policy p"),
		"broken.example": errors.New("internal matter"),
	}
	before := p.resource(t)
	plant := wire.LinkedHub{ConnectionString: hubString("plant.example", hubKey), Location: "local"}
	broken := wire.LinkedHub{ConnectionString: hubString("broken.example", hubKey), Location: "local"}
	hubs := before.Properties.IotHubs
	refuses(t, "a hub that refuses", p.putHubs(t, append(hubs, plant)), 400, "InvalidArgument",
		"properties.iotHubs[1].connectionString: hub plant.example refuses policy p")
	refuses(
		t,
		"a check that breaks",
		p.putHubs(t, append(hubs, broken)),
		400,
		"InvalidArgument",
		"checking hub broken.example failed; see the log",
	)
	refuses(
		t,
		"a strange header",
		p.putHubs(t, append(hubs, plant), wire.HeaderSkipCheck, "yes"),
		400,
		"InvalidArgument",
		"Mooring-Skip-Check: must be true or false",
	)
	if diff := cmp.Diff(before, p.resource(t)); diff != "" {
		t.Fatalf("a refused link was stored:\n%s", diff)
	}
	answerOf[wire.ProvisioningService](t, p.putHubs(t, append(hubs, plant), wire.HeaderSkipCheck, "TRUE"))

	// A new key is tried before it is stored; a hub that is down can still be taken out.
	refuses(t, "a wrong key", p.putHubs(t, append(hubs, wire.LinkedHub{ConnectionString: hubString("plant.example", dps.NewKey().Base64())})),
		400, "InvalidArgument", "hub plant.example refuses policy p")
	if key := p.plant(t).Access.Key.Base64(); key != hubKey {
		t.Error("a refused key was stored")
	}
	no := false
	answerOf[wire.ProvisioningService](t, p.putHubs(t, append(hubs, wire.LinkedHub{Name: "plant.example", ApplyAllocationPolicy: &no})))
	if p.plant(t).ApplyPolicy {
		t.Error("the hub still takes devices")
	}
}

func TestUnlinkEmbedded(t *testing.T) {
	p := newPlane(t)
	device := dps.NewHubDevice(
		p.setup.Hub,
		dps.HubIdentity{DeviceID: "sensor", Authentication: dps.SelfSigned(dps.ThumbprintOf([]byte("x")))},
		dps.Twin{},
		p.now,
	)
	reg := dps.Registration{
		Instance: dps.DefaultInstance, ID: "sensor", Entry: dps.EntryRef{Kind: dps.Group, ID: "line"}, Attestation: dps.X509, Evidence: "x509:x",
		Status: dps.Assigned, Operation: dps.NewOperationID(), ETag: dps.NewETag(), Created: p.now, Updated: p.now,
		Assignment: &dps.Assignment{Hub: dps.EmbeddedHub, DeviceID: "sensor", Substatus: dps.InitialAssignment},
	}
	if err := p.store.Commit(t.Context(), dps.RegistrationChange{Registration: reg, Device: &device}); err != nil {
		t.Fatal(err)
	}
	none := []wire.LinkedHub{}
	refuses(
		t,
		"with a device",
		p.putHubs(t, none),
		409,
		"Conflict",
		"has 1 devices, which would be deleted. Delete or move them first. To delete the devices too, name the hub in the header Mooring-Delete-Devices.",
	)
	refuses(
		t,
		"another one named",
		p.putHubs(t, none, wire.HeaderDeleteDevices, "other.example"),
		400,
		"InvalidArgument",
		"other.example is not an embedded hub that this change unlinks",
	)
	refuses(
		t,
		"one that stays",
		p.putHubs(t, p.resource(t).Properties.IotHubs, wire.HeaderDeleteDevices, "hub.example"),
		400,
		"InvalidArgument",
		"not an embedded hub that this change unlinks",
	)
	refuses(
		t,
		"without hubs",
		p.call(t, "PUT", servicePath, `{}`, wire.HeaderDeleteDevices, "hub.example"),
		400,
		"InvalidArgument",
		"Mooring-Delete-Devices",
	)
	if names := p.linked(t); names != "hub.example" {
		t.Fatalf("linked: %q", names)
	}
	answerOf[wire.ProvisioningService](t, p.putHubs(t, none, wire.HeaderDeleteDevices, "HUB.example"))
	if _, err := p.store.HubDevice(t.Context(), dps.DefaultInstance, dps.EmbeddedHub, "sensor"); dps.CodeOf(err) != dps.DeviceNotFound {
		t.Errorf("the device: %v", err)
	}
}

func TestRefusedHubs(t *testing.T) {
	p := newPlane(t)
	seed := append(p.resource(t).Properties.IotHubs, wire.LinkedHub{ConnectionString: hubString("plant.example", hubKey), Location: "local"})
	before := answerOf[wire.ProvisioningService](t, p.putHubs(t, seed))
	asked := len(p.checker.asked)
	conn := func(text string) string { return `{"connectionString":"` + text + `","location":"local"}` }
	tests := []struct{ name, hub, words string }{
		{"nothing", `{}`, "[0].connectionString: must name the hub"},
		{"null", `null`, "[0].connectionString: must name the hub"},
		{"a name that nobody knows", `{"name":"other.example"}`, "[0].connectionString: is required: other.example is not linked yet"},
		{"no location", `{"connectionString":"` + hubString("new.example", hubKey) + `"}`, "[0].location: is required for a new hub"},
		{"no key", conn("HostName=new.example;SharedAccessKeyName=p"), "[0].connectionString: lacks SharedAccessKey: new.example"},
		{"a masked key", conn(hubString("new.example", "****")), "[0].connectionString: lacks SharedAccessKey: new.example"},
		{"an empty key", conn(hubString("new.example", "")), "lacks SharedAccessKey"},
		{"no policy", conn("HostName=new.example;SharedAccessKey=" + hubKey), "[0].connectionString: lacks SharedAccessKeyName"},
		{"a strange policy", conn("HostName=new.example;SharedAccessKeyName=a b;SharedAccessKey=" + hubKey), "SharedAccessKeyName must be 1 to 64"},
		{"a key that is none", conn(hubString("new.example", "secret!")), "[0].connectionString: SharedAccessKey must be base64"},
		{"a short key", conn(hubString("new.example", "c2hvcnQ=")), "SharedAccessKey must be base64 of 16 to 64 bytes"},
		{"no host", conn("HostName=;SharedAccessKeyName=p;SharedAccessKey=" + hubKey), "HostName must be a host name"},
		{"a URL", conn(hubString("https://new.example", hubKey)), "HostName must be a host name"},
		{"a port that is none", conn(hubString("new.example:0", hubKey)), "HostName must be a host name"},
		{"a large port", conn(hubString("new.example:65536", hubKey)), "HostName must be a host name"},
		{"a device's", conn("HostName=new.example;DeviceId=d;SharedAccessKey=" + hubKey), "not of a device or module"},
		{"twice the same", conn("HostName=a;HostName=b"), "each once"},
		{"no pairs", conn("new.example"), "must have the form"},
		{"a long one", conn("HostName=" + strings.Repeat("a", 1100)), "longer than 1024 bytes"},
		{"weight 0", `{"name":"plant.example","allocationWeight":0}`, "[0].allocationWeight: must be 1 to 1000, not 0"},
		{"weight 1001", `{"name":"plant.example","allocationWeight":1001}`, "[0].allocationWeight: must be 1 to 1000"},
		{"weight 1.5", `{"name":"plant.example","allocationWeight":1.5}`, "allocationWeight"},
		{"a long location", `{"name":"plant.example","location":"` + strings.Repeat("x", 65) + `"}`, "[0].location: must have at most 64"},
		{"a strange location", `{"name":"plant.example","location":"a\u0007b"}`, "[0].location: must have at most 64"},
		{"a policy without key", `{"connectionString":"HostName=plant.example;SharedAccessKeyName=service;SharedAccessKey=****"}`, "names policy service without its key; the stored key belongs to policy iothubowner"},
		{"another kind", `{"name":"plant.example","kind":"embedded"}`, "[0].kind: plant.example is iothub"},
		{"a kind that is none", `{"name":"plant.example","kind":"edge"}`, "[0].kind: must be iothub or embedded"},
		{"the key of an embedded hub", `{"connectionString":"` + hubString("hub.example", hubKey) + `"}`, "does not match the policy and key of the embedded hub hub.example"},
		{"an embedded hub with a key", `{"kind":"embedded","connectionString":"` + hubString("new.example", hubKey) + `"}`, "must be only HostName=NAME"},
		{"an embedded hub with a port", `{"kind":"embedded","connectionString":"HostName=new.example:8443"}`, "must be only HostName=NAME"},
		{"an embedded hub without", `{"kind":"embedded","name":"new.example"}`, "must be only HostName=NAME"},
		{"a member that nobody knows", `{"name":"plant.example","selectedIdentity":"x"}`, "properties.iotHubs[0].selectedIdentity: is not supported"},
		{"a managed identity", `{"name":"plant.example","authenticationType":"SystemAssigned"}`, "[0].authenticationType: must be KeyBased: managed identities"},
		{"an identity of the user", `{"name":"plant.example","selectedUserAssignedIdentityResourceId":"/subscriptions/x"}`, "selectedUserAssignedIdentityResourceId: is not supported"},
		{"two host names", `{"hostName":"other.example","connectionString":"` + hubString("plant.example", "****") + `"}`, "[0].hostName: must be the HostName of the connection string, plant.example"},
		{"a host name that nobody knows", `{"hostName":"other.example"}`, "[0].connectionString: is required: other.example is not linked yet"},
	}
	for _, tt := range tests {
		res := p.call(t, "PUT", servicePath, `{"properties":{"iotHubs":[`+tt.hub+`]}}`)
		refuses(t, tt.name, res, 400, "InvalidArgument", tt.words)
		if strings.Contains(res.Body.String(), hubKey) || strings.Contains(res.Body.String(), "secret!") {
			t.Errorf("%s: the answer has the key: %s", tt.name, res.Body)
		}
	}
	twice := `{"properties":{"iotHubs":[{"name":"plant.example"},{"name":"PLANT.example"}]}}`
	refuses(
		t,
		"one name twice",
		p.call(t, "PUT", servicePath, twice),
		400,
		"InvalidArgument",
		"properties.iotHubs[1].name: PLANT.example is listed twice",
	)
	many := repeated(51, `{"name":"hub-%d.example"},`)
	refuses(
		t,
		"too many",
		p.call(t, "PUT", servicePath, `{"properties":{"iotHubs":[`+strings.TrimSuffix(many, ",")+`]}}`),
		400,
		"InvalidArgument",
		"has 51 hubs; the limit is 50",
	)
	if diff := cmp.Diff(before, p.resource(t)); diff != "" || len(p.checker.asked) != asked {
		t.Errorf("a refused request changed the resource, or called a hub:\n%s", diff)
	}
}

// TestFiftyHubs links as many as there may be, in one call.
func TestFiftyHubs(t *testing.T) {
	p := newPlane(t)
	hubs := p.resource(t).Properties.IotHubs
	for i := range 49 {
		hubs = append(hubs, wire.LinkedHub{ConnectionString: fmt.Sprintf("HostName=hub-%02d.example", i), Kind: "Embedded"})
	}
	got := answerOf[wire.ProvisioningService](t, p.putHubs(t, hubs))
	for i, h := range got.Properties.IotHubs[1:] {
		if want := fmt.Sprintf("hub-%02d.example", i); h.Name != want {
			t.Errorf("hub %d is %s, want %s", i, h.Name, want)
		}
	}
}

// TestHubKeyStaysSecret looks for the key in what the service logs, answers and stores.
func TestHubKeyStaysSecret(t *testing.T) {
	p := newPlane(t)
	hubs := append(p.resource(t).Properties.IotHubs, wire.LinkedHub{ConnectionString: hubString("plant.example", hubKey), Location: "local"})
	p.checker.refuses = map[dps.HostName]error{"plant.example": dps.Errorf(dps.HubUnavailable, "no answer")}
	answers := p.putHubs(t, hubs).Body.String()
	answers += p.putHubs(t, hubs, wire.HeaderSkipCheck, "true").Body.String()
	answers += p.call(t, "GET", servicePath, "").Body.String()
	answers += p.putHubs(t, append(hubs, hubs[1])).Body.String()
	if strings.Contains(answers, hubKey) || strings.Contains(p.log.String(), hubKey) {
		t.Errorf("the key is in the answers or the log:\n%s\n%s", answers, &p.log)
	}
	if !strings.Contains(p.log.String(), "no answer") {
		t.Errorf("the log does not say why: %s", &p.log)
	}
	if text := fmt.Sprintf("%+v %v", p.checker.asked, p.checker.asked[0].Access); strings.Contains(text, hubKey) {
		t.Errorf("a hub prints its key: %s", text)
	}
}

// TestSlowCheck ends a check when its time is over.
func TestSlowCheck(t *testing.T) {
	p := newPlane(t)
	p.slow = true
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	body, err := json.Marshal(
		map[string]any{
			"properties": map[string]any{"iotHubs": []wire.LinkedHub{{ConnectionString: hubString("plant.example", hubKey), Location: "local"}}},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	res := httptest.NewRecorder()
	r := httptest.NewRequest("PUT", servicePath+"?api-version=2022-02-05", strings.NewReader(string(body))).WithContext(ctx)
	r.Header.Set("Authorization", p.bearer(t))
	p.ServeHTTP(res, r)
	refuses(t, "a hub that does not answer", res, 400, "InvalidArgument", "properties.iotHubs[0].connectionString: timed out")
}
