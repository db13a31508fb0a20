package wire_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/test/fakehub"
	"github.com/mooring-iot/mooring/wire"
)

// movingDevice is a device with its enrollment, in one of the ways to attest.
type movingDevice struct {
	w        *world
	kind     string // x509 group, key, key group
	id       string
	path     string // of the enrollment
	members  map[string]any
	deviceID string
	edge     bool

	with    []string // certificates that it shows
	key     string   // that it signs with, or that of its group
	signing string   // Key or GroupKey
	proof   wire.HubAuthentication
}

func newMovingDevice(t *testing.T, w *world, kind string, n int) *movingDevice {
	t.Helper()
	d := &movingDevice{w: w, kind: kind, id: fmt.Sprintf("press-%d", n), deviceID: fmt.Sprintf("press-%d", n)}
	group := fmt.Sprintf("line-%d", n)
	switch d.path = "/enrollmentGroups/" + group; kind {
	case "key":
		d.path, d.deviceID, d.signing = "/enrollments/"+d.id, fmt.Sprintf("kiln=%d", n), "Key"
		d.members = map[string]any{"registrationId": d.id, "deviceId": d.deviceID}
	case "key group":
		d.signing, d.members = "GroupKey", map[string]any{"enrollmentGroupId": group}
	default:
		w.verifiedRoot(t)
		root := w.make(t, order{name: "ca of " + d.id, kind: "intermediate", commonName: "ca of " + d.id, by: "root"})
		d.members = map[string]any{"enrollmentGroupId": group, "attestation": map[string]any{
			"type": "x509", "x509": map[string]any{"signingCertificates": map[string]any{"primary": map[string]any{"certificate": root.pem()}}},
		}}
	}
	d.edge = n%2 == 1
	d.members["capabilities"] = map[string]any{"iotEdge": d.edge}
	d.members["initialTwin"] = map[string]any{
		"tags":       map[string]any{"site": "hall"},
		"properties": map[string]any{"desired": map[string]any{"interval": 1}},
	}
	d.renew(t)
	return d
}

// renew gives the device a new certificate, or the enrollment new keys.
func (d *movingDevice) renew(t *testing.T) {
	t.Helper()
	if d.signing == "" {
		leaf := d.w.make(t, order{name: "leaf of " + d.id, kind: "device", commonName: d.id, by: "ca of " + d.id})
		d.with = []string{"leaf of " + d.id, "ca of " + d.id}
		d.w.mu.Lock()
		delete(d.w.clients, strings.Join(d.with, " ")) // they show what they were made with
		d.w.mu.Unlock()
		sum := sha256.Sum256(leaf.cert.Raw)
		thumbprint := upperHex(sum[:])
		d.proof = wire.HubAuthentication{
			Type:           "selfSigned",
			X509Thumbprint: wire.HubThumbprint{PrimaryThumbprint: &thumbprint, SecondaryThumbprint: &thumbprint},
		}
		return
	}
	primary, secondary := newKeyText(), newKeyText()
	d.key = primary
	d.members["attestation"] = map[string]any{
		"type":         "symmetricKey",
		"symmetricKey": map[string]any{"primaryKey": primary, "secondaryKey": secondary},
	}
	if d.signing == "GroupKey" {
		primary, secondary = derived(t, primary, d.id), derived(t, secondary, d.id)
	}
	d.proof = wire.HubAuthentication{Type: "sas", SymmetricKey: wire.HubSymmetricKey{PrimaryKey: &primary, SecondaryKey: &secondary}}
}

// verifiedRoot uploads the CA above all groups, once.
func (w *world) verifiedRoot(t *testing.T) {
	t.Helper()
	if w.certificates["root"] != nil {
		return
	}
	root := w.make(t, order{name: "root", kind: "root", commonName: "Factory Root"})
	w.must(t, "PUT", w.info.ControlPlane.ResourceID+"/certificates/root",
		`{"properties": {"isVerified": true, "certificate": "`+base64.StdEncoding.EncodeToString(root.cert.Raw)+`"}}`)
}

func derived(t *testing.T, key, id string) string {
	t.Helper()
	master, err := dps.ParseKey("key", key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(dps.DeriveKey(master, dps.RegistrationID(id)).Reveal())
}

// at puts the enrollment with a hub and a policy, and registers.
func (d *movingDevice) at(t *testing.T, hub string, policy any, version string) state {
	t.Helper()
	d.members["allocationPolicy"], d.members["iotHubs"] = "static", []string{hub}
	if policy != nil {
		d.members["reprovisionPolicy"] = policy
	}
	d.w.put(t, d.path, d.members)
	return d.w.registers(t, https{}, d.call(t, version))
}

func (d *movingDevice) call(t *testing.T, version string) operation {
	t.Helper()
	o := operation{id: d.id, version: version, scope: d.w.info.IDScope, with: d.with}
	if d.signing != "" {
		o.sign(t, d.signing, d.key)
	}
	return o
}

// stands fails unless a hub has the device as it is now, with a twin of three sections.
func (d *movingDevice) stands(t *testing.T, hub *hubSite, twin string) {
	t.Helper()
	i := hub.device(t, d.deviceID)
	if got, want := authText(i.Authentication), authText(d.proof); got != want {
		t.Errorf("authentication at %s: %s, want %s", hub.host, got, want)
	}
	if i.Capabilities.IotEdge != d.edge {
		t.Errorf("iotEdge at %s: %t", hub.host, i.Capabilities.IotEdge)
	}
	if got := hub.twin(t, d.deviceID); got != twin {
		t.Errorf("twin at %s: %s, want %s", hub.host, got, twin)
	}
}

func authText(a wire.HubAuthentication) string {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	return strings.Join([]string{
		a.Type, text(a.SymmetricKey.PrimaryKey), text(a.SymmetricKey.SecondaryKey),
		strings.ToUpper(text(a.X509Thumbprint.PrimaryThumbprint)), strings.ToUpper(text(a.X509Thumbprint.SecondaryThumbprint)),
	}, " ")
}

// TestReprovisioning walks the table of reprovision policies, in both directions,
// between hubs of every kind: hubs over the wire, the embedded hubs of another Mooring
// over the wire, and embedded ones.
// Source: azure-docs, articles/iot-dps/concepts-device-reprovision.md.
func TestReprovisioning(t *testing.T) {
	t.Parallel()
	fakes := newFakeSites(t, "plant-a.example", "plant-b.example")
	other := newWorld(t)
	others := other.embed(t, "far-a.example", "far-b.example")
	w := newWorld(t, "--hub-rate", "0", "--hub-ca", joined(t, fakes.caFile, other.info.CAFile))
	sites := w.embed(t, "near.example")
	w.link(t, fakes.sites["plant-a.example"], fakes.sites["plant-b.example"], others["far-a.example"], others["far-b.example"])
	for _, more := range []map[string]*hubSite{
		fakes.sites, {"far-a.example": others["far-a.example"], "far-b.example": others["far-b.example"]},
	} {
		for name, s := range more {
			sites[name] = s
		}
	}

	policy := func(update, migrate bool) any {
		return map[string]bool{"updateHubAssignment": update, "migrateDeviceData": migrate}
	}
	const (
		initial = `[{"site":"hall"},{"interval":1},{}]`
		moved   = `[{"site":"moved"},{"interval":7},{"firmware":"2"}]`
	)
	rows := []struct {
		name      string
		policy    any
		version   string
		moves     bool
		substatus string
		twin      string
	}{
		{"migrate", policy(true, true), "2021-06-01", true, "deviceDataMigrated", moved},
		{"reset", policy(true, false), "2021-06-01", true, "deviceDataReset", initial},
		{"never", policy(false, false), "2021-06-01", false, "initialAssignment", moved},
		{"never, with migrate", policy(false, true), "2019-03-31", false, "initialAssignment", moved},
		{"none, new device", nil, "2019-03-31", true, "deviceDataMigrated", moved},
		{"none, sticky device", nil, "2018-04-01", false, "initialAssignment", moved},
		{"migrate, sticky device", policy(true, true), "2018-04-01", true, "deviceDataMigrated", moved},
	}
	pairs := [][2]string{
		{"plant-a.example", "plant-b.example"},
		{"plant-b.example", "plant-a.example"},
		{"far-a.example", "far-b.example"},
		{"far-b.example", "far-a.example"},
		{"plant-a.example", "far-a.example"},
		{"far-b.example", "plant-b.example"},
		{"plant-a.example", "near.example"},
		{"near.example", "plant-a.example"},
		{"near.example", "far-a.example"},
		{"far-a.example", "localhost"},
		{"near.example", "localhost"},
		{"localhost", "near.example"},
	}
	kinds := []string{"x509 group", "key", "key group"}
	n := 0
	var left []func(t *testing.T)
	for _, pair := range pairs {
		for _, row := range rows {
			n++
			kind := kinds[n%len(kinds)]
			d := newMovingDevice(t, w, kind, n)
			t.Run(fmt.Sprintf("%s to %s, %s, %s", pair[0], pair[1], row.name, kind), func(t *testing.T) {
				from, to := sites[pair[0]], sites[pair[1]]
				if s := d.at(t, from.host, row.policy, "2021-06-01"); s.Status != "assigned" || s.AssignedHub != from.host ||
					s.Substatus != "initialAssignment" ||
					s.DeviceID != d.deviceID {
					t.Fatalf("first: %+v", s)
				}
				d.stands(t, from, initial)
				from.retwin(t, d.deviceID, `{"site": "moved"}`, `{"interval": 7}`, `{"firmware": "2"}`)
				d.members["deviceId"] = "another" // the device has its ID
				if kind != "key" {
					delete(d.members, "deviceId")
				}
				d.renew(t)
				s := d.at(t, to.host, row.policy, row.version)
				at, off := to, from
				if !row.moves {
					at, off = from, to
				}
				if s.Status != "assigned" || s.AssignedHub != at.host || s.Substatus != row.substatus || s.DeviceID != d.deviceID {
					t.Errorf("the device hears %+v", s)
				}
				if r := w.recordOf(t, d.id); r.AssignedHub != at.host || r.Substatus != row.substatus || r.DeviceID != d.deviceID {
					t.Errorf("the service says %+v", r)
				}
				d.stands(t, at, row.twin)
				left = append(left, func(t *testing.T) { off.awaitGone(t, d.deviceID) })
			})
		}
	}
	for _, gone := range left {
		gone(t)
	}
	// The record of a clean-up goes after the identity.
	eventually(t, "the list of clean-ups to be empty", func() bool {
		var pending wire.CleanupPage
		decoded(t, w.send(t, "GET", wire.CleanupsPath, "").body, &pending)
		return len(pending.Value) == 0
	})
}

// hubWorld is a world with two fake hubs that are linked, and the embedded one.
func hubWorld(t *testing.T) (*world, *fakeSites) {
	t.Helper()
	fakes := newFakeSites(t, "plant-a.example", "plant-b.example")
	w := newWorld(t, "--hub-rate", "0", "--hub-ca", fakes.caFile)
	w.link(t, fakes.sites["plant-a.example"], fakes.sites["plant-b.example"])
	return w, fakes
}

// An identity that stood at the hub before is taken over. Devices of older API versions
// do not hear of it; the service does.
func TestIdentityThatWasThere(t *testing.T) {
	t.Parallel()
	w, fakes := hubWorld(t)
	plant := fakes.sites["plant-a.example"]
	for n, row := range []struct{ version, substatus string }{
		{"2018-11-01", "initialAssignment"}, {"2019-03-31", "initialAssignment"}, {"2021-06-01", "reprovisionedToInitialAssignment"}, {"2021-10-01", "reprovisionedToInitialAssignment"},
	} {
		d := newMovingDevice(t, w, "key", n)
		plant.must(t, "PUT", "/devices/"+d.deviceID, `{"deviceId": "`+d.deviceID+`", "status": "disabled", "statusReason": "repair"}`)
		plant.retwin(t, d.deviceID, `{"site": "own"}`, `{}`, `{}`)
		if s := d.at(t, plant.host, nil, row.version); s.Status != "assigned" || s.Substatus != row.substatus || s.DeviceID != d.deviceID {
			t.Errorf("%s: %+v", row.version, s)
		}
		if s := w.recordOf(t, d.id); s.Substatus != "reprovisionedToInitialAssignment" {
			t.Errorf("%s: the service says %+v", row.version, s)
		}
		d.stands(t, plant, `[{"site":"own"},{},{}]`)
		if got := fakes.hubs[plant.host].Devices()[d.deviceID].Status; got != "disabled" {
			t.Errorf("status at the hub: %s", got)
		}
	}
}

// A hub that is unlinked in between: the device starts anew at another one, and its old
// identity stays where it is.
func TestHubUnlinkedInBetween(t *testing.T) {
	t.Parallel()
	w, fakes := hubWorld(t)
	plant := fakes.sites["plant-a.example"]
	d := newMovingDevice(t, w, "x509 group", 1)
	d.at(t, plant.host, nil, "2021-06-01")
	plant.retwin(t, d.deviceID, `{"site": "moved"}`, `{}`, `{}`)
	w.unlink(t, plant.host)
	if s := w.recordOf(t, d.id); s.AssignedHub != plant.host {
		t.Errorf("the record says %+v", s)
	}
	d.renew(t)
	if s := d.at(t, "plant-b.example", map[string]bool{"updateHubAssignment": false}, "2018-04-01"); s.Status != "assigned" ||
		s.AssignedHub != "plant-b.example" ||
		s.Substatus != "deviceDataReset" {
		t.Errorf("%+v", s)
	}
	d.stands(t, fakes.sites["plant-b.example"], `[{"site":"hall"},{"interval":1},{}]`)
	if r := plant.do(t, "GET", "/devices/"+d.deviceID, ""); r.status != http.StatusOK {
		t.Errorf("the old identity: %d %s", r.status, r.body)
	}
}

func (w *world) unlink(t *testing.T, host string) {
	t.Helper()
	w.linkedHubs(t, func(hubs []any) (kept []any) {
		for _, h := range hubs {
			if nameOf(h) != host {
				kept = append(kept, h)
			}
		}
		return kept
	})
}

// nameOf is the name of an element of iotHubs.
func nameOf(hub any) any {
	m, _ := hub.(map[string]any)
	return m["name"]
}

// Registrations that wait for a hub which is then unlinked go to another one where
// their policy has one, and fail where it has none.
func TestHubUnlinkedWhileRegistrationsWait(t *testing.T) {
	t.Parallel()
	w, fakes := hubWorld(t)
	plant := fakes.sites["plant-a.example"]
	fakes.hubs[plant.host].SetFaults(fakehub.Fault{Kind: fakehub.Fail})
	chosen, fixed := newMovingDevice(t, w, "key group", 1), newMovingDevice(t, w, "key group", 2)
	fixed.members["allocationPolicy"], fixed.members["iotHubs"] = "static", []string{plant.host}
	w.put(t, fixed.path, fixed.members)
	// One that hashes to this hub among three.
	chosen.members["allocationPolicy"] = "hashed"
	w.put(t, chosen.path, chosen.members)
	for n := 0; ; n++ {
		chosen.id = fmt.Sprintf("press-%d", 100+n)
		question := `{"registrationId": "` + chosen.id + `", "enrollmentGroupId": "line-1"}`
		if a := w.must(t, "POST", wire.AllocatePath, question); a["iotHubHostName"] == plant.host {
			break
		}
	}
	first, second := w.begins(t, https{}, chosen.call(t, "2021-06-01")), w.begins(t, https{}, fixed.call(t, "2021-06-01"))
	if s := w.recordOf(t, fixed.id); s.Status != "assigning" {
		t.Fatalf("%+v", s)
	}
	w.unlink(t, plant.host)
	if s := w.polls(t, https{}, chosen.call(t, "2021-06-01"), first); s.Status != "assigned" || s.AssignedHub == plant.host ||
		s.Substatus != "initialAssignment" {
		t.Errorf("%+v", s)
	}
	if s := w.polls(t, https{}, fixed.call(t, "2021-06-01"), second); s.Status != "failed" || s.ErrorCode != 400208 ||
		!strings.Contains(s.ErrorMessage, plant.host) {
		t.Errorf("%+v", s)
	}
}

// What a hub says when it refuses reaches the device with the hub's own number; once the
// cause is mended the device is assigned.
func TestHubRefuses(t *testing.T) {
	t.Parallel()
	w, fakes := hubWorld(t)
	for n, row := range []struct {
		name, host string
		breaks     func(h *fakehub.Hub)
		mends      func(t *testing.T, h *fakehub.Hub, plant *hubSite)
		code       int
		words      string
	}{
		{
			"wrong key, unknown policy", "plant-a.example",
			func(h *fakehub.Hub) { h.SetPolicy("iothubowner", owner(t, newKeyText())) },
			func(t *testing.T, h *fakehub.Hub, plant *hubSite) { // by 'mooring linked-hub update'
				key := newKeyText()
				h.SetPolicy("iothubowner", owner(t, key))
				plant.key, _ = base64.StdEncoding.DecodeString(key)
				_, gateway, _ := strings.Cut(plant.link, "GatewayHostName=")
				gateway, _, _ = strings.Cut(gateway, ";")
				w.linkedHubs(t, func(hubs []any) []any {
					for _, h := range hubs {
						if m, ok := h.(map[string]any); ok && nameOf(h) == plant.host {
							m["connectionString"] = connectionText(plant.host, gateway, key)
						}
					}
					return hubs
				})
			}, 401002, "ErrorCode:IotHubUnauthorizedAccess;Unauthorized",
		},
		{
			"it is deleted", "plant-b.example",
			func(h *fakehub.Hub) { h.SetFaults(fakehub.Fault{Kind: fakehub.Deleted}) },
			func(_ *testing.T, h *fakehub.Hub, _ *hubSite) { h.SetFaults() }, 401001, "The IoT hub was not found",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel() // a device that was refused waits, in case its identity was made all the same
			h, plant := fakes.hubs[row.host], fakes.sites[row.host]
			old := newMovingDevice(t, w, "key", 10+n)
			old.at(t, plant.host, nil, "2021-06-01")
			row.breaks(h)
			fresh := newMovingDevice(t, w, "x509 group", 20+n)
			old.renew(t)
			for _, d := range []*movingDevice{fresh, old} {
				s := d.at(t, plant.host, nil, "2021-06-01")
				if s.Status != "failed" || s.ErrorCode != row.code || !strings.Contains(s.ErrorMessage, row.words) || s.AssignedHub != "" ||
					s.DeviceID != "" ||
					s.Substatus != "" {
					t.Errorf("%s: %+v", d.id, s)
				}
				if r := w.recordOf(t, d.id); r.ErrorCode != row.code || r.ErrorMessage != s.ErrorMessage {
					t.Errorf("%s: the service says %+v", d.id, r)
				}
			}
			row.mends(t, h, plant)
			for _, d := range []*movingDevice{fresh, old} {
				if s := d.at(t, plant.host, nil, "2021-06-01"); s.Status != "assigned" || s.AssignedHub != plant.host || s.ErrorCode != 0 ||
					s.ErrorMessage != "" ||
					s.Substatus != "initialAssignment" {
					t.Errorf("mended, %s: %+v", d.id, s)
				}
				d.stands(t, plant, `[{"site":"hall"},{"interval":1},{}]`)
			}
		})
	}
}
