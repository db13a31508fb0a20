package interop_test

import (
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
)

const unknownScope = "0ne00000000"

// refusalCase is one reason not to let a device in.
type refusalCase struct {
	name     string
	distrust bool // the device does not trust the service
	enroll   func(w *closedWorld, t *testing.T, id string) device
}

// refusalCases are the rows of the table, in its order.
var refusalCases = []refusalCase{
	{"disabled: individual enrollment, X.509", false, (*closedWorld).disabledX509},
	{"disabled: enrollment group, X.509", false, (*closedWorld).disabledGroupX509},
	{"disabled: individual enrollment, key", false, (*closedWorld).disabledKey},
	{"disabled: enrollment group, key", false, (*closedWorld).disabledGroupKey},
	{"unknown: self-signed certificate of no enrollment", false, (*closedWorld).unknownX509},
	{"unknown: certificate of a CA that no group has", false, (*closedWorld).unknownCA},
	{"unknown: key of no enrollment", false, (*closedWorld).unknownKey},
	{"unknown: key derived from that of no group", false, (*closedWorld).unknownGroupKey},
	{"unknown: ID scope", false, (*closedWorld).unknownScope},
	{"wrong: another self-signed certificate than the enrollment's", false, (*closedWorld).wrongX509},
	{"wrong: certificate of a foreign CA that has the name of the group's", false, (*closedWorld).foreignCA},
	{"wrong: another key than the enrollment's", false, (*closedWorld).wrongKey},
	{"wrong: key derived for another device", false, (*closedWorld).wrongGroupKey},
	{"wrong: common name other than the registration ID", false, (*closedWorld).wrongName},
	{"wrong: certificate that has expired", false, (*closedWorld).expired},
	{"wrong: CA certificate without proof of possession", false, (*closedWorld).unproved},
	{"the device does not trust the service's CA", true, (*closedWorld).unknownKey},
}

// closedWorld is a service with groups that let nobody of the cases in.
type closedWorld struct {
	*service
	closedCA, openCA, strangeCA, unprovedCA *pki.Issued
	impostor                                *pki.Issued // has the name of openCA, and another key
	closedKeys, openKeys                    keyPair
}

// newClosedWorld starts a service and makes the groups.
func newClosedWorld(t *testing.T) *closedWorld {
	t.Helper()
	w := &closedWorld{service: startService(t, t.TempDir()), closedKeys: newKeys(t), openKeys: newKeys(t)}
	w.secrets = append(w.secrets, w.closedKeys.Primary, w.closedKeys.Secondary, w.openKeys.Primary, w.openKeys.Secondary)
	disabled := object{"provisioningStatus": "disabled"}

	closedRoot, openRoot := newRoot(t, "Closed Root"), newRoot(t, "Open Root")
	w.uploadCA(t, "closed-root", closedRoot, true)
	w.uploadCA(t, "open-root", openRoot, true)
	w.closedCA, w.openCA = newIntermediate(t, "Closed CA", closedRoot), newIntermediate(t, "Open CA", openRoot)
	w.impostor = newIntermediate(t, "Open CA", newRoot(t, "Open Root"))
	w.strangeCA = newIntermediate(t, "Strange CA", newRoot(t, "Strange Root"))
	w.unprovedCA = newRoot(t, "Unproved Root")
	w.uploadCA(t, "unproved-root", w.unprovedCA, false)

	w.enrollGroup(t, "closed", signingCertificate(w.closedCA), disabled)
	w.enrollGroup(t, "open", signingCertificate(w.openCA), nil)
	w.enrollGroup(t, "unproved", caReference("unproved-root"), nil)
	w.enrollGroup(t, "closed-keys", symmetricKeys(w.closedKeys), disabled)
	w.enrollGroup(t, "open-keys", symmetricKeys(w.openKeys), nil)
	return w
}

func (w *closedWorld) disabledX509(t *testing.T, id string) device {
	leaf := newDevice(t, id, nil)
	w.enroll(t, id, clientCertificate(leaf), object{"provisioningStatus": "disabled"})
	return device{identity: leaf}
}

func (w *closedWorld) disabledGroupX509(t *testing.T, id string) device {
	return device{identity: newDevice(t, id, w.closedCA)}
}

func (w *closedWorld) disabledKey(t *testing.T, id string) device {
	return w.withKeys(t, id, object{"provisioningStatus": "disabled"})
}

// withKeys enrolls a device with keys of its own.
func (w *closedWorld) withKeys(t *testing.T, id string, more object) device {
	t.Helper()
	keys := newKeys(t)
	w.enroll(t, id, symmetricKeys(keys), more)
	return device{registrationID: id, key: keys.Primary}
}

func (w *closedWorld) disabledGroupKey(t *testing.T, id string) device {
	return device{registrationID: id, key: w.closedKeys.derived(t, id).Primary}
}

func (w *closedWorld) unknownX509(t *testing.T, id string) device {
	return device{identity: newDevice(t, id, nil)}
}

func (w *closedWorld) unknownCA(t *testing.T, id string) device {
	return device{identity: newDevice(t, id, w.strangeCA)}
}

func (w *closedWorld) unknownKey(t *testing.T, id string) device {
	return device{registrationID: id, key: newKeys(t).Primary}
}

func (w *closedWorld) unknownGroupKey(t *testing.T, id string) device {
	return device{registrationID: id, key: newKeys(t).derived(t, id).Primary}
}

func (w *closedWorld) unknownScope(t *testing.T, id string) device {
	d := w.withKeys(t, id, nil)
	d.idScope = unknownScope
	return d
}

func (w *closedWorld) wrongX509(t *testing.T, id string) device {
	w.enroll(t, id, clientCertificate(newDevice(t, id, nil)), nil)
	return device{identity: newDevice(t, id, nil)}
}

func (w *closedWorld) foreignCA(t *testing.T, id string) device {
	return device{identity: newDevice(t, id, w.impostor)}
}

func (w *closedWorld) wrongKey(t *testing.T, id string) device {
	d := w.withKeys(t, id, nil)
	d.key = newKeys(t).Primary
	return d
}

func (w *closedWorld) wrongGroupKey(t *testing.T, id string) device {
	return device{registrationID: id, key: w.openKeys.derived(t, id+"-other").Primary}
}

func (w *closedWorld) wrongName(t *testing.T, id string) device {
	return device{identity: newDevice(t, id+"-other", w.openCA), registrationID: id}
}

func (w *closedWorld) expired(t *testing.T, id string) device {
	now := time.Now()
	leaf := issue(t, pki.Request{
		Kind: pki.Device, CommonName: id, Issuer: w.openCA.Issuer(),
		NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour),
	})
	return device{identity: leaf}
}

func (w *closedWorld) unproved(t *testing.T, id string) device {
	return device{identity: newDevice(t, id, w.unprovedCA)}
}
