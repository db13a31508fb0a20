package interop_test

import (
	"net/http"
	"testing"

	"github.com/mooring-iot/mooring/internal/pki"
)

var (
	twinTags    = object{"site": "plant-7", "floor": 3.0}
	twinDesired = object{"interval": 30.0, "alarm": object{"on": true}}
	initialTwin = object{"initialTwin": object{
		"tags": twinTags, "properties": object{"desired": twinDesired},
	}}
)

// TestNodeDeviceSDK registers devices and looks at what stands in the hub afterwards.
func TestNodeDeviceSDK(t *testing.T) {
	requireNode(t)
	s := startService(t, t.TempDir())

	t.Run("self-signed individual", func(t *testing.T) {
		t.Parallel()
		leaf := newDevice(t, "self-signed-1", nil)
		s.enroll(t, "self-signed-1", clientCertificate(leaf), initialTwin)
		s.registerAssigned(t, device{identity: leaf}, "self-signed-1")
		s.checkIdentity(t, "self-signed-1", leaf)
		s.checkTwin(t, "self-signed-1", twinTags, twinDesired)
	})
	t.Run("individual with a device ID of its own", func(t *testing.T) {
		t.Parallel()
		leaf := newDevice(t, "renamed-1", nil)
		s.enroll(t, "renamed-1", clientCertificate(leaf),
			object{"deviceId": "press-0042", "capabilities": object{"iotEdge": true}})
		s.registerAssigned(t, device{identity: leaf}, "press-0042")
		if d := s.checkIdentity(t, "press-0042", leaf); !d.Capabilities.IotEdge {
			t.Error("hub identity: capabilities.iotEdge = false, want true")
		}
		s.checkTwin(t, "press-0042", nil, nil)
	})
	t.Run("individual whose certificate a verified CA issued", func(t *testing.T) {
		t.Parallel()
		ca := newRoot(t, "Individuals Root")
		s.uploadCA(t, "individuals-root", ca, true)
		leaf := newDevice(t, "issued-1", ca)
		s.enroll(t, "issued-1", clientCertificate(leaf), nil)
		s.registerAssigned(t, device{identity: leaf}, "issued-1")
		s.checkIdentity(t, "issued-1", leaf)
	})
	t.Run("leaf under a root given as signing certificate", func(t *testing.T) {
		t.Parallel()
		root := newRoot(t, "Signing Root")
		s.uploadCA(t, "signing-root", root, true)
		s.enrollGroup(t, "under-signing-root", signingCertificate(root), initialTwin)
		s.checkGroupDevice(t, newDevice(t, "leaf-1", root), "under-signing-root")
		s.checkTwin(t, "leaf-1", twinTags, twinDesired)
	})
	t.Run("leaf under a root given by reference", func(t *testing.T) {
		t.Parallel()
		root := newRoot(t, "Referenced Root")
		s.proveCA(t, "referenced-root", root)
		s.enrollGroup(t, "under-reference", caReference("referenced-root"), nil)
		s.checkGroupDevice(t, newDevice(t, "leaf-2", root), "under-reference")
	})
	t.Run("leaf under root and two intermediates, group on the upper one", func(t *testing.T) {
		t.Parallel()
		root := newRoot(t, "Deep Root")
		s.proveCA(t, "deep-root", root)
		upper := newIntermediate(t, "Upper", root)
		lower := newIntermediate(t, "Lower", upper)
		s.enrollGroup(t, "under-upper", signingCertificate(upper), initialTwin)
		s.checkGroupDevice(t, newDevice(t, "leaf-3", lower), "under-upper")
		s.checkTwin(t, "leaf-3", twinTags, twinDesired)
	})
	t.Run("RSA keys", func(t *testing.T) {
		t.Parallel()
		root := issue(t, pki.Request{Kind: pki.Root, CommonName: "RSA Root", KeyType: pki.RSA2048})
		s.proveCA(t, "rsa-root", root)
		leaf := issue(t, pki.Request{
			Kind: pki.Device, CommonName: "leaf-4", KeyType: pki.RSA2048, Issuer: root.Issuer(),
		})
		s.enrollGroup(t, "under-rsa", signingCertificate(root), nil)
		s.checkGroupDevice(t, leaf, "under-rsa")
	})
}

// checkGroupDevice registers a device of a group and checks its identity in the hub.
func (s *service) checkGroupDevice(t *testing.T, leaf *pki.Issued, group string) {
	t.Helper()
	id := leaf.Certificate.Subject.CommonName
	r := s.registerAssigned(t, device{identity: leaf}, id)
	if got := r.Assigned.X509.EnrollmentGroupID; got != group {
		t.Errorf("registration.x509.enrollmentGroupId = %q, want %q", got, group)
	}
	s.checkIdentity(t, id, leaf)
}

// TestNodeTLS registers devices whose TLS is not the newest.
func TestNodeTLS(t *testing.T) {
	requireNode(t)
	s := startService(t, t.TempDir())
	tests := []struct{ name, id, options string }{
		{"TLS 1.2", "tls-12", "--tls-max-v1.2"},
		{"TLS 1.3", "tls-13", "--tls-min-v1.3"},
		{"no ECDSA", "tls-rsa", "--tls-max-v1.2 --tls-cipher-list=ECDHE-RSA-AES128-GCM-SHA256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			leaf := newDevice(t, tt.id, nil)
			s.enroll(t, tt.id, clientCertificate(leaf), nil)
			s.checkAssigned(t, s.register(t, device{identity: leaf}, tt.options), tt.id)
			s.checkIdentity(t, tt.id, leaf)
		})
	}
}

// TestNodeReboot registers one device again and again, in the end with a new
// certificate and after a restart of the service: hub and twin stay, and the
// thumbprint is the new certificate's.
func TestNodeReboot(t *testing.T) {
	requireNode(t)
	data := t.TempDir()
	s := startService(t, data)
	root := newRoot(t, "Reboot Root")
	s.proveCA(t, "reboot-root", root)
	s.enrollGroup(t, "reboots", signingCertificate(root), initialTwin)

	leaf := newDevice(t, "rebooting", root)
	s.registerAssigned(t, device{identity: leaf}, "rebooting")
	before := s.checkIdentity(t, "rebooting", leaf)
	s.registerAssigned(t, device{identity: leaf}, "rebooting")
	s.checkIdentity(t, "rebooting", leaf)

	s.stop(t)
	again := startService(t, data)
	if again.info.IDScope != s.info.IDScope ||
		again.info.ConnectionStrings["provisioningserviceowner"] != s.info.ConnectionStrings["provisioningserviceowner"] {
		t.Error("a restart changed the ID scope or the key")
	}
	renewed := newDevice(t, "rebooting", root)
	again.registerAssigned(t, device{identity: renewed}, "rebooting")
	after := again.checkIdentity(t, "rebooting", renewed)
	if after.GenerationID != before.GenerationID {
		t.Errorf("generationId went from %q to %q: the identity was made anew", before.GenerationID, after.GenerationID)
	}
	again.checkTwin(t, "rebooting", twinTags, twinDesired)
}

// TestNodeRefusals is what the SDK tells a device that is not let in.
func TestNodeRefusals(t *testing.T) {
	requireNode(t)
	s := startService(t, t.TempDir())
	root, unproved := newRoot(t, "Refusals Root"), newRoot(t, "Unproved Root")
	s.uploadCA(t, "refusals-root", root, true)
	s.uploadCA(t, "unproved-root", unproved, false)

	blocked := newDevice(t, "blocked", root)
	s.enrollGroup(t, "open", signingCertificate(root), nil)
	s.enroll(t, "blocked", clientCertificate(blocked), object{"provisioningStatus": "disabled"})
	closedCA := newIntermediate(t, "Closed", root)
	s.enrollGroup(t, "closed", signingCertificate(closedCA), object{"provisioningStatus": "disabled"})
	s.enrollGroup(t, "unproved", caReference("unproved-root"), nil)
	known := newDevice(t, "known", nil)
	s.enroll(t, "known", clientCertificate(known), nil)

	unknown := refusal{"UnauthorizedError", answer{StatusCode: http.StatusUnauthorized, ErrorCode: 401000}}
	unauthorized := refusal{"UnauthorizedError", answer{StatusCode: http.StatusUnauthorized, ErrorCode: 401002}}
	disabled := refusal{"SyntaxError", answer{StatusCode: http.StatusOK, Status: "disabled"}}
	wrongScope := refusal{"Error", answer{StatusCode: http.StatusNotFound, ErrorCode: 404000}}
	tests := []struct {
		name   string
		device device
		want   refusal
	}{
		{"no enrollment", device{identity: newDevice(t, "stranger", nil)}, unknown},
		{"another certificate than the enrollment's", device{identity: newDevice(t, "known", nil)}, unauthorized},
		{"disabled individual under an enabled group", device{identity: blocked}, disabled},
		{"disabled lower group under an enabled upper one", device{identity: newDevice(t, "leaf-1", closedCA)}, disabled},
		{"root that nobody proved to have", device{identity: newDevice(t, "leaf-2", unproved)}, unauthorized},
		{"registration ID other than the common name", device{identity: newDevice(t, "leaf-3", root), registrationID: "leaf-4"}, unauthorized},
		{"wrong ID scope", device{identity: known, idScope: "0ne00000000"}, wrongScope},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := s.register(t, tt.device, "")
			if r.Error == nil {
				t.Fatalf("the device is let in: %+v", *r.Assigned)
			}
			tt.want.check(t, r)
			s.hubCall(t, "/devices/"+tt.device.identity.Certificate.Subject.CommonName, http.StatusNotFound, nil)
		})
	}
}

// refusal is an error of the SDK and the answer that it came from.
type refusal struct {
	name   string
	answer answer // without the tracking ID
}

// check compares how a registration ended.
func (want refusal) check(t *testing.T, got registration) {
	t.Helper()
	heard := got.Answer
	heard.TrackingID = ""
	if got.Error.Name != want.name || heard != want.answer {
		t.Errorf("the SDK reports %s after %+v, want %s after %+v", got.Error, heard, want.name, want.answer)
	}
	if got.Answer.ErrorCode != 0 && got.Answer.TrackingID == "" {
		t.Error("the answer has an error code and no tracking ID")
	}
}
