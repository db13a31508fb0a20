package interop_test

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/mooring-iot/mooring/internal/pki"
)

// fleet is a service with enrollment groups, from which devices of every attestation
// come.
type fleet struct {
	*service
	upper, lower *pki.Issued // intermediates; lower is issued by upper
	groupKeys    keyPair
}

// The enrollment groups of a fleet.
const (
	groupAbove = "above-the-intermediates" // its certificate is the root, by reference
	groupUpper = "on-the-intermediate"
	groupKeyed = "by-key"
)

// newFleet starts a service and makes the groups.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{service: startService(t, t.TempDir()), groupKeys: newKeys(t)}
	f.secrets = append(f.secrets, f.groupKeys.Primary, f.groupKeys.Secondary)

	above := newRoot(t, "Fleet Root")
	f.proveCA(t, "fleet-root", above)
	f.enrollGroup(t, groupAbove, caReference("fleet-root"), nil)
	f.lower = newIntermediate(t, "Fleet Lower", newIntermediate(t, "Fleet Middle", above))

	root := newRoot(t, "Other Root")
	f.proveCA(t, "other-root", root)
	f.upper = newIntermediate(t, "Fleet Upper", root)
	f.enrollGroup(t, groupUpper, signingCertificate(f.upper), nil)

	f.enrollGroup(t, groupKeyed, symmetricKeys(f.groupKeys), nil)
	return f
}

// member is a device that the fleet lets in, and what is to be seen of it afterwards.
type member struct {
	device
	deviceID string
	keys     keyPair // at the hub, unless the device has a certificate
	group    string  // of a device with a certificate; none when empty
}

// attestations are the ways to prove a device, each with how to enroll one.
var attestations = map[string]func(f *fleet, t *testing.T, id string) member{
	"individual X.509":                      (*fleet).individualX509,
	"group X.509, group above":              (*fleet).groupX509Above,
	"group X.509, group on intermediate":    (*fleet).groupX509Upper,
	"individual key, primary":               (*fleet).individualPrimary,
	"individual key, secondary":             (*fleet).individualSecondary,
	"group key, derived from the primary":   (*fleet).groupPrimary,
	"group key, derived from the secondary": (*fleet).groupSecondary,
}

func (f *fleet) individualX509(t *testing.T, id string) member {
	leaf := newDevice(t, id, nil)
	f.enroll(t, id, clientCertificate(leaf), object{"deviceId": "hub-" + id})
	return member{device: device{identity: leaf}, deviceID: "hub-" + id}
}

func (f *fleet) groupX509Above(t *testing.T, id string) member {
	return member{device: device{identity: newDevice(t, id, f.lower)}, deviceID: id, group: groupAbove}
}

func (f *fleet) groupX509Upper(t *testing.T, id string) member {
	return member{device: device{identity: newDevice(t, id, f.upper)}, deviceID: id, group: groupUpper}
}

func (f *fleet) individualPrimary(t *testing.T, id string) member {
	m := f.individualKeys(t, id)
	m.key = m.keys.Primary
	return m
}

func (f *fleet) individualSecondary(t *testing.T, id string) member {
	m := f.individualKeys(t, id)
	m.key = m.keys.Secondary
	return m
}

// individualKeys enrolls a device with keys of its own.
func (f *fleet) individualKeys(t *testing.T, id string) member {
	t.Helper()
	keys := newKeys(t)
	f.enroll(t, id, symmetricKeys(keys), object{"deviceId": "hub-" + id})
	return member{device: device{registrationID: id}, deviceID: "hub-" + id, keys: keys}
}

func (f *fleet) groupPrimary(t *testing.T, id string) member {
	keys := f.groupKeys.derived(t, id)
	return member{device: device{registrationID: id, key: keys.Primary}, deviceID: id, keys: keys}
}

func (f *fleet) groupSecondary(t *testing.T, id string) member {
	keys := f.groupKeys.derived(t, id)
	return member{device: device{registrationID: id, key: keys.Secondary}, deviceID: id, keys: keys}
}

// TestDevices registers a device of every attestation over every transport with every
// SDK and looks at what stands in the hub afterwards. Two more of each transport bring a
// payload.
func TestDevices(t *testing.T) {
	f := newFleet(t)
	for _, sdk := range deviceSDKs() {
		names, members := f.members(t, sdk)
		t.Run(sdk.name, func(t *testing.T) {
			t.Parallel()
			sdk.require(t)
			b := batch{}
			for _, m := range members {
				b.devices = append(b.devices, m.device)
			}
			for i, r := range sdk.run(f.service, t, b).Outcomes {
				t.Run(names[i], func(t *testing.T) { f.checkMember(t, sdk, members[i], r) })
			}
		})
	}
}

// members enrolls the devices that one SDK registers, and names them.
func (f *fleet) members(t *testing.T, sdk deviceSDK) (names []string, members []member) {
	t.Helper()
	payloads := map[string]any{
		"payload, an object": object{"site": "plant-7", "lines": []int{1, 2}, "text": "größer"},
		"payload, a string":  `{"quoted": "json"}`,
	}
	add := func(transport, what string, m member) {
		m.transport = transport
		f.secrets = append(f.secrets, m.keys.Primary, m.keys.Secondary)
		names, members = append(names, transport+"/"+what), append(members, m)
	}
	for _, transport := range sdk.transports {
		prefix := sdk.name + "-" + transport + "-"
		for i, what := range slices.Sorted(maps.Keys(attestations)) {
			add(transport, what, attestations[what](f, t, prefix+string(rune('a'+i))))
		}
		for i, what := range slices.Sorted(maps.Keys(payloads)) {
			m := f.groupPrimary(t, prefix+"payload-"+string(rune('a'+i)))
			m.payload = payloads[what]
			add(transport, what, m)
		}
	}
	return names, members
}

// checkMember checks how a registration ended and what stands in the hub.
func (f *fleet) checkMember(t *testing.T, sdk deviceSDK, m member, r registration) {
	t.Helper()
	f.checkAssigned(t, r, m.deviceID)
	if m.identity == nil {
		f.checkKeys(t, m.deviceID, m.keys)
	} else {
		f.checkIdentity(t, m.deviceID, m.identity)
	}
	if got := r.Assigned.X509.EnrollmentGroupID; sdk.tellsGroup && m.identity != nil && got != m.group {
		t.Errorf("registration.x509.enrollmentGroupId = %q, want %q", got, m.group)
	}
	if m.deviceID != m.id() {
		f.hubCall(t, "/devices/"+m.id(), http.StatusNotFound, nil)
	}
}
