package interop_test

import (
	"path/filepath"
	"testing"
)

// The devices that the programs for the hub find there.
const (
	hubCertDevice = "press-x509"
	hubKeyDevice  = "press-keys"
)

// placeDevices lets two devices register with sdk, both with the initial twin: one with
// a certificate, and one with keys. It returns what the programs for the hub are told.
func (s *service) placeDevices(t *testing.T, transport string, sdk func(*service, *testing.T, batch) report) []string {
	t.Helper()
	leaf, keys := newDevice(t, hubCertDevice, nil), newKeys(t)
	s.enroll(t, hubCertDevice, clientCertificate(leaf), initialTwin)
	s.enroll(t, hubKeyDevice, symmetricKeys(keys), initialTwin)
	s.secrets = append(s.secrets, keys.Primary, keys.Secondary)
	b := batch{devices: []device{
		{identity: leaf, transport: transport},
		{registrationID: hubKeyDevice, transport: transport, key: keys.Primary},
	}}
	for i, id := range []string{hubCertDevice, hubKeyDevice} {
		s.checkAssigned(t, sdk(s, t, batch{devices: b.devices[i : i+1]}).Outcomes[0], id)
	}
	return []string{
		s.info.Hubs[0].ConnectionStrings["iothubowner"],
		hubCertDevice,
		leaf.SHA256Thumbprint(),
		hubKeyDevice,
		keys.Primary,
		keys.Secondary,
	}
}

// TestNodeHubSDK runs the registry of the hub's SDK against the embedded hub.
func TestNodeHubSDK(t *testing.T) {
	name, modules := requireNode(t)
	s := startService(t, t.TempDir())
	args := s.placeDevices(t, overHTTPS, (*service).runNode)

	out := s.run(t, program{
		name: name, args: append([]string{filepath.Join("node", "hub.js")}, args...), env: []string{"NODE_PATH=" + modules},
	})
	if out.code != 0 {
		t.Errorf("hub.js ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}

// TestPythonHubSDK runs the registry manager of the hub's SDK against the embedded hub.
func TestPythonHubSDK(t *testing.T) {
	requirePython(t)
	s := startService(t, t.TempDir())
	args := s.placeDevices(t, overMQTT, (*service).runPython)

	out := s.python(t, "hub_registry.py", args...)
	if out.code != 0 {
		t.Errorf("hub_registry.py ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}
