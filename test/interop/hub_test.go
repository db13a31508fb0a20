package interop_test

import (
	"net/http"
	"reflect"
	"testing"

	"github.com/mooring-iot/mooring/internal/pki"
)

// hubDevice is what this suite reads of a device identity.
type hubDevice struct {
	DeviceID       string `json:"deviceId"`
	GenerationID   string `json:"generationId"`
	Status         string `json:"status"`
	Authentication struct {
		Type           string `json:"type"`
		X509Thumbprint struct {
			Primary string `json:"primaryThumbprint"`
		} `json:"x509Thumbprint"`
		SymmetricKey keyPair `json:"symmetricKey"`
	} `json:"authentication"`
	Capabilities struct {
		IotEdge bool `json:"iotEdge"`
	} `json:"capabilities"`
}

// hubTwin is what this suite reads of a device twin.
type hubTwin struct {
	DeviceID   string `json:"deviceId"`
	Tags       object `json:"tags"`
	Properties struct {
		Desired  object `json:"desired"`
		Reported object `json:"reported"`
	} `json:"properties"`
}

// hubCall is a GET of the hub's REST API under its owner's policy.
func (s *service) hubCall(t *testing.T, path string, want int, out any) {
	t.Helper()
	if len(s.info.Hubs) == 0 {
		t.Fatal("info names no hub")
	}
	owner := parseConnectionString(s.info.Hubs[0].ConnectionStrings["iothubowner"])
	s.do(t, request{method: http.MethodGet, path: path, version: hubVersion, authorization: owner.token(t)}, want, out)
}

// checkIdentity reads the device from the hub and compares it with the certificate
// that it registered with.
func (s *service) checkIdentity(t *testing.T, deviceID string, leaf *pki.Issued) hubDevice {
	t.Helper()
	var d hubDevice
	s.hubCall(t, "/devices/"+deviceID, http.StatusOK, &d)
	if d.DeviceID != deviceID || d.Status != "enabled" {
		t.Errorf("hub identity: deviceId %q, status %q; want %q, enabled", d.DeviceID, d.Status, deviceID)
	}
	if d.Authentication.Type != "selfSigned" {
		t.Errorf("hub identity of %s: authentication.type = %q, want selfSigned", deviceID, d.Authentication.Type)
	}
	if got, want := d.Authentication.X509Thumbprint.Primary, leaf.SHA256Thumbprint(); got != want {
		t.Errorf("hub identity of %s: primaryThumbprint = %q, want the leaf's %q", deviceID, got, want)
	}
	return d
}

// checkKeys reads the device from the hub and compares its keys.
func (s *service) checkKeys(t *testing.T, deviceID string, want keyPair) {
	t.Helper()
	var d hubDevice
	s.hubCall(t, "/devices/"+deviceID, http.StatusOK, &d)
	if d.DeviceID != deviceID || d.Status != "enabled" {
		t.Errorf("hub identity: deviceId %q, status %q; want %q, enabled", d.DeviceID, d.Status, deviceID)
	}
	if d.Authentication.Type != "sas" {
		t.Errorf("hub identity of %s: authentication.type = %q, want sas", deviceID, d.Authentication.Type)
	}
	if d.Authentication.SymmetricKey != want {
		t.Errorf("hub identity of %s: the keys are not the device's", deviceID)
	}
}

// checkTwin reads the twin from the hub and compares its tags and desired properties.
// Numbers must be given as float64, like JSON numbers come.
func (s *service) checkTwin(t *testing.T, deviceID string, tags, desired object) {
	t.Helper()
	var twin hubTwin
	s.hubCall(t, "/twins/"+deviceID, http.StatusOK, &twin)
	if twin.DeviceID != deviceID {
		t.Errorf("twin: deviceId = %q, want %q", twin.DeviceID, deviceID)
	}
	if len(twin.Tags)+len(tags) > 0 && !reflect.DeepEqual(twin.Tags, tags) {
		t.Errorf("twin of %s: tags = %v, want %v", deviceID, twin.Tags, tags)
	}
	for half, properties := range map[string]object{"desired": twin.Properties.Desired, "reported": twin.Properties.Reported} {
		if version, ok := properties["$version"].(float64); !ok || version < 1 {
			t.Errorf("twin of %s: %s.$version = %v, want at least 1", deviceID, half, properties["$version"])
		}
		delete(properties, "$version")
		delete(properties, "$metadata")
	}
	if got := twin.Properties.Desired; len(got)+len(desired) > 0 && !reflect.DeepEqual(got, desired) {
		t.Errorf("twin of %s: desired = %v, want %v", deviceID, got, desired)
	}
	if got := twin.Properties.Reported; len(got) > 0 {
		t.Errorf("twin of %s: reported = %v before the device said anything", deviceID, got)
	}
}
