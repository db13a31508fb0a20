// Package hubtest is the suite that every pair of a register.RemoteHub and the hub
// behind it passes: what one writes, the other has. It looks at the hub by its REST.
package hubtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/wire"
)

// World is an empty hub and the client that is tested.
type World struct {
	Remote register.RemoteHub
	Link   dps.LinkedHub // with the key of a policy that has every right
	Client *http.Client  // trusts the hub
}

// Run exercises a fresh world from open in every subtest.
func Run(t *testing.T, open func(t *testing.T) World) {
	for name, test := range map[string]func(*testing.T, World){
		"a new identity with its twin":        newIdentity,
		"every form of authentication":        authentications,
		"IDs as the registry allows them":     ids,
		"an identity that is there":           existing,
		"what others wrote stays":             foreignMembers,
		"what may be ours":                    ours,
		"ours with another proof":             oursNot,
		"ours without a twin":                 oursHalf,
		"fresh":                               fresh,
		"holds":                               holds,
		"twins":                               twins,
		"remove":                              remove,
		"many at once at one device":          together,
		"health after a call":                 health,
		"a turn for each write, and no error": turns,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

const thumbprint = "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"

func selfSigned(digit string) dps.HubAuthentication {
	text := digit + thumbprint[1:]
	return dps.HubAuthentication{Type: dps.HubAuthSelfSigned, PrimaryThumbprint: text, SecondaryThumbprint: text}
}

func keyed(key string) dps.HubAuthentication {
	return dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: dps.KeyPair{
		Primary: dps.NewSecret(
			[]byte("the primary key of a device " + key),
		), Secondary: dps.NewSecret([]byte("the secondary key of a device " + key)),
	}}
}

func identity(id dps.DeviceID, a dps.HubAuthentication) dps.HubIdentity {
	return dps.HubIdentity{DeviceID: id, Authentication: a}
}

func twin(tag, desired, reported string) dps.Twin {
	var t dps.Twin
	for _, s := range []struct {
		text string
		into *json.RawMessage
	}{{tag, &t.Tags}, {desired, &t.Desired}, {reported, &t.Reported}} {
		if s.text != "" {
			*s.into = json.RawMessage(`{"a":"` + s.text + `"}`)
		}
	}
	return t
}

// put puts p and returns whether the identity was there.
func (w World) put(t *testing.T, p register.Put) bool {
	t.Helper()
	if err := w.Remote.Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	outcome, err := w.Remote.Put(t.Context(), p)
	if err != nil {
		t.Fatalf("Put(%s): %v", p.DeviceID, err)
	}
	return outcome.Existed
}

// call asks the hub itself.
func (w World) call(t *testing.T, method, path, ifMatch string, body any) (int, map[string]any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(
		t.Context(),
		method,
		"https://"+w.Link.Access.Endpoint+path+"?api-version="+wire.HubAPIVersion,
		bytes.NewReader(text),
	)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = string(w.Link.HostName)
	req.Header.Set(
		"Authorization",
		sas.Sign(string(w.Link.HostName), w.Link.Access.KeyName, w.Link.Access.Key.Reveal(), time.Now().Add(time.Hour)),
	)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if ifMatch != "" {
		req.Header.Set("If-Match", ifMatch)
	}
	res, err := w.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	_ = json.Unmarshal(raw, &document)
	return res.StatusCode, document
}

// device returns what the hub has, nil if nothing.
func (w World) device(t *testing.T, id dps.DeviceID) map[string]any {
	t.Helper()
	status, document := w.call(t, "GET", "/devices/"+url.PathEscape(string(id)), "", nil)
	if status == http.StatusNotFound {
		return nil
	}
	if status != http.StatusOK {
		t.Fatalf("GET device %s: %d %v", id, status, document)
	}
	return document
}

func (w World) checkTwin(t *testing.T, id dps.DeviceID, want dps.Twin) {
	t.Helper()
	got, err := w.Remote.Twin(t.Context(), id)
	if err != nil {
		t.Fatalf("Twin(%s): %v", id, err)
	}
	if diff := cmp.Diff(texts(want), texts(got)); diff != "" {
		t.Errorf("twin of %s (-want +got):\n%s", id, diff)
	}
}

func texts(t dps.Twin) [3]string {
	return [3]string{string(t.Tags), string(t.Desired), string(t.Reported)}
}

func (w World) checkHolds(t *testing.T, id dps.HubIdentity, want bool) {
	t.Helper()
	got, err := w.Remote.Holds(t.Context(), id)
	if err != nil || got != want {
		t.Errorf("Holds(%s) = %v, %v, want %v", id.DeviceID, got, err, want)
	}
}

func newIdentity(t *testing.T, w World) {
	id := dps.HubIdentity{DeviceID: "dev-1", Authentication: selfSigned("A"), IotEdge: true}
	if w.put(t, register.Put{HubIdentity: id, Twin: twin("tag", "desired", "reported")}) {
		t.Error("it existed before")
	}
	got := w.device(t, "dev-1")
	if got["status"] != "enabled" || got["deviceId"] != "dev-1" {
		t.Errorf("device %v", got)
	}
	authentication, _ := got["authentication"].(map[string]any)
	x509, _ := authentication["x509Thumbprint"].(map[string]any)
	capabilities, _ := got["capabilities"].(map[string]any)
	if authentication["type"] != "selfSigned" || x509["primaryThumbprint"] != selfSigned("A").PrimaryThumbprint ||
		x509["secondaryThumbprint"] != selfSigned("A").PrimaryThumbprint || capabilities["iotEdge"] != true {
		t.Errorf("device %v", got)
	}
	w.checkHolds(t, id, true)
	w.checkTwin(t, "dev-1", twin("tag", "desired", "reported"))
}

func authentications(t *testing.T, w World) {
	for _, a := range []dps.HubAuthentication{selfSigned("A"), keyed("1"), keyed("2"), selfSigned("B"), keyed("1")} {
		id := identity("dev-1", a)
		w.put(t, register.Put{HubIdentity: id})
		w.checkHolds(t, id, true)
	}
	document := w.device(t, "dev-1")
	authentication, _ := document["authentication"].(map[string]any)
	if x509, _ := authentication["x509Thumbprint"].(map[string]any); x509["primaryThumbprint"] != nil && x509["primaryThumbprint"] != "" {
		t.Errorf("a thumbprint of an earlier type stays: %v", authentication)
	}
}

func ids(t *testing.T, w World) {
	longest := dps.DeviceID(strings.Repeat("x", 128))
	for _, id := range []dps.DeviceID{"A-z:0.1", "100%", "a%2Fb", "a_#*?!(),=@;$'", "a+b", "Dev", "dev", ".", "..", longest} {
		want := identity(id, selfSigned("A"))
		if w.put(t, register.Put{HubIdentity: want, Twin: twin(strings.ReplaceAll(string(id), `"`, ""), "", "")}) {
			t.Errorf("%s existed", id)
		}
		w.checkHolds(t, want, true)
		if got := w.device(t, id); got["deviceId"] != string(id) {
			t.Errorf("%s became %v", id, got["deviceId"])
		}
		w.checkTwin(t, id, twin(string(id), "", ""))
		if err := w.Remote.Remove(t.Context(), id); err != nil {
			t.Errorf("Remove(%s): %v", id, err)
		}
	}
}

func existing(t *testing.T, w World) {
	w.put(t, register.Put{HubIdentity: identity("dev-1", selfSigned("A")), Twin: twin("tag", "desired", "reported")})
	generation := w.device(t, "dev-1")["generationId"]
	id := dps.HubIdentity{DeviceID: "dev-1", Authentication: selfSigned("B"), IotEdge: true}
	if !w.put(t, register.Put{HubIdentity: id, Twin: twin("other", "other", "other")}) {
		t.Error("it counts as new")
	}
	w.checkHolds(t, id, true)
	w.checkTwin(t, "dev-1", twin("tag", "desired", "reported"))
	if got := w.device(t, "dev-1")["generationId"]; got != generation {
		t.Errorf("generation %v became %v", generation, got)
	}
	if !w.put(t, register.Put{HubIdentity: id, Twin: twin("other", "", "")}) {
		t.Error("the second time it counts as new")
	}
	w.checkTwin(t, "dev-1", twin("tag", "desired", "reported"))
}

func foreignMembers(t *testing.T, w World) {
	w.put(t, register.Put{HubIdentity: identity("dev-1", selfSigned("A"))})
	document := w.device(t, "dev-1")
	document["status"], document["statusReason"] = "disabled", "stolen"
	if status, body := w.call(t, "PUT", "/devices/dev-1", `"*"`, document); status != http.StatusOK {
		t.Fatalf("disabling: %d %v", status, body)
	}
	w.put(t, register.Put{HubIdentity: identity("dev-1", selfSigned("B"))})
	w.checkHolds(t, identity("dev-1", selfSigned("B")), true)
	if got := w.device(t, "dev-1"); got["status"] != "disabled" || got["statusReason"] != "stolen" {
		t.Errorf("status %v, reason %v", got["status"], got["statusReason"])
	}
}

func ours(t *testing.T, w World) {
	p := register.Put{HubIdentity: identity("dev-1", selfSigned("A")), Twin: twin("tag", "desired", "reported"), Ours: true}
	for range 2 {
		if w.put(t, p) {
			t.Error("it existed before")
		}
		w.checkTwin(t, "dev-1", p.Twin)
	}
}

func oursNot(t *testing.T, w World) {
	w.put(t, register.Put{HubIdentity: identity("dev-1", selfSigned("A")), Twin: twin("tag", "desired", "")})
	if !w.put(t, register.Put{HubIdentity: identity("dev-1", selfSigned("B")), Twin: twin("other", "", ""), Ours: true}) {
		t.Error("another's identity counts as ours")
	}
	w.checkHolds(t, identity("dev-1", selfSigned("B")), true)
	w.checkTwin(t, "dev-1", twin("tag", "desired", ""))
}

// oursHalf is an attempt that was cut off between identity and twin.
func oursHalf(t *testing.T, w World) {
	id := identity("dev-1", keyed("1"))
	w.put(t, register.Put{HubIdentity: id})
	if w.put(t, register.Put{HubIdentity: id, Twin: twin("tag", "desired", "reported"), Ours: true}) {
		t.Error("it counts as another's")
	}
	w.checkTwin(t, "dev-1", twin("tag", "desired", "reported"))
}

func fresh(t *testing.T, w World) {
	p := register.Put{HubIdentity: identity("dev-1", selfSigned("A")), Twin: twin("new", "", ""), Fresh: true}
	if w.put(t, p) {
		t.Error("nothing existed")
	}
	w.put(t, register.Put{HubIdentity: identity("dev-1", selfSigned("C")), Twin: twin("old", "old", "old")})
	generation := w.device(t, "dev-1")["generationId"]
	if w.put(t, p) {
		t.Error("what was left over counts")
	}
	if w.device(t, "dev-1")["generationId"] == generation {
		t.Error("it is the old identity")
	}
	w.checkTwin(t, "dev-1", twin("new", "", ""))
}

func holds(t *testing.T, w World) {
	x509, key := identity("x509", selfSigned("A")), identity("key", keyed("1"))
	w.put(t, register.Put{HubIdentity: x509})
	w.put(t, register.Put{HubIdentity: key})
	lower := x509
	lower.Authentication.PrimaryThumbprint = strings.ToLower(lower.Authentication.PrimaryThumbprint)
	edge := x509
	edge.IotEdge = true
	oneKey := key
	oneKey.Authentication.Keys.Secondary = dps.NewSecret([]byte("another key that is long"))
	for _, tt := range []struct {
		name string
		id   dps.HubIdentity
		want bool
	}{
		{"thumbprints", x509, true},
		{"thumbprints in lower case", lower, true},
		{"other thumbprints", identity("x509", selfSigned("B")), false},
		{"edge", edge, false},
		{"keys", key, true},
		{"one other key", oneKey, false},
		{"another type", identity("x509", keyed("1")), false},
		{"another type the other way", identity("key", selfSigned("A")), false},
		{"absent", identity("ghost", selfSigned("A")), false},
	} {
		if got, err := w.Remote.Holds(t.Context(), tt.id); err != nil || got != tt.want {
			t.Errorf("%s: %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func twins(t *testing.T, w World) {
	full := dps.Twin{
		Tags:     json.RawMessage(`{"a":{"b":[1,2.5,"c"]},"z":true}`),
		Desired:  json.RawMessage(`{"n":{"deep":{"er":1}},"s":"ä"}`),
		Reported: json.RawMessage(`{"v":1}`),
	}
	for id, want := range map[dps.DeviceID]dps.Twin{
		"full": full, "empty": {}, "tags": twin("a", "", ""), "desired": twin("", "a", ""), "reported": twin("", "", "a"),
	} {
		w.put(t, register.Put{HubIdentity: identity(id, selfSigned("A")), Twin: want})
		w.checkTwin(t, id, want)
	}
	if _, err := w.Remote.Twin(t.Context(), "ghost"); dps.CodeOf(err) != dps.DeviceNotFound {
		t.Errorf("twin of no device: %v", err)
	}
}

func remove(t *testing.T, w World) {
	w.put(t, register.Put{HubIdentity: identity("dev-1", selfSigned("A"))})
	w.put(t, register.Put{HubIdentity: identity("dev-2", selfSigned("A"))})
	for range 2 {
		if err := w.Remote.Remove(t.Context(), "dev-1"); err != nil {
			t.Fatal(err)
		}
	}
	if w.device(t, "dev-1") != nil || w.device(t, "dev-2") == nil {
		t.Error("the wrong one is gone")
	}
}

// together: some make it, others find it, and none fails.
func together(t *testing.T, w World) {
	const many = 8
	id := identity("dev-1", keyed("1"))
	var wait sync.WaitGroup
	errs := make([]error, many)
	for i := range many {
		wait.Go(func() {
			_, errs[i] = w.Remote.Put(t.Context(), register.Put{HubIdentity: id, Twin: twin("tag", "desired", ""), Ours: i%2 == 0})
		})
	}
	wait.Wait()
	for _, err := range errs {
		if _, again := dps.MayRepeat(err); err != nil && !again {
			t.Error(err)
		}
	}
	w.checkHolds(t, id, true)
	w.checkTwin(t, "dev-1", twin("tag", "desired", ""))
}

func health(t *testing.T, w World) {
	if got := w.Remote.Health(); got.State != dps.HubUnknown || !got.Since.IsZero() {
		t.Errorf("before any call: %+v", got)
	}
	w.checkHolds(t, identity("ghost", selfSigned("A")), false)
	if got := w.Remote.Health(); got.State != dps.HubUp || got.Since.IsZero() || got.LastError != "" || !got.Paused.IsZero() {
		t.Errorf("after one: %+v", got)
	}
}

func turns(t *testing.T, w World) {
	for range 3 {
		if err := w.Remote.Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := w.Remote.Remove(t.Context(), "ghost"); err != nil {
			t.Error(err)
		}
	}
}
