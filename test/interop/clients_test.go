package interop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/pki"
)

// TestPythonDataPlaneSDK runs every operation of azure-iot-deviceprovisioning, the newer
// of the two service SDKs for Python.
func TestPythonDataPlaneSDK(t *testing.T) {
	python := requirePython(t)
	s := startService(t, t.TempDir())
	s.prepareFleet(t, overMQTT, (*service).runPython)
	ca := writeFile(t, t.TempDir(), "ca.pem", newRoot(t, "Data Plane Root").CertificatePEM())

	args := append([]string{filepath.Join("python", "service_data_plane.py")}, append(s.fleetArgs(), ca)...)
	out := s.run(t, program{name: python, args: args, env: []string{"MOORING_TOKEN=" + s.info.ControlPlane.Token}})
	if out.code != 0 {
		t.Errorf("service_data_plane.py ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}

// handmade is a service with a device by certificate and one by key, for clients that know
// MQTT and nothing of DPS.
type handmade struct {
	*service
	leaf          *pki.Issued
	cert, certKey string // files
	keys          keyPair
}

func newHandmade(t *testing.T) *handmade {
	t.Helper()
	s := startService(t, t.TempDir())
	root := newRoot(t, "Handmade Root")
	s.proveCA(t, "handmade-root", root)
	s.enrollGroup(t, "handmade", signingCertificate(root), nil)
	h := &handmade{service: s, leaf: newDevice(t, "by-certificate", root), keys: newKeys(t)}
	s.enroll(t, "by-key", symmetricKeys(h.keys), nil)
	s.secrets = append(s.secrets, h.keys.Primary, h.keys.Secondary)
	key, err := h.leaf.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h.cert, h.certKey = writeFile(t, dir, "cert.pem", h.leaf.ChainPEM()), writeFile(t, dir, "key.pem", key)
	return h
}

// TestPaho registers devices with paho-mqtt alone.
func TestPaho(t *testing.T) {
	python := requirePython(t)
	h := newHandmade(t)
	for id, more := range map[string]struct{ args, env []string }{
		"by-certificate": {args: []string{h.cert, h.certKey}},
		"by-key":         {env: []string{"DEVICE_KEY=" + h.keys.Primary}},
	} {
		t.Run(id, func(t *testing.T) {
			args := []string{filepath.Join("python", "paho_register.py"), hostName, h.info.CAFile, h.info.IDScope, id}
			out := h.run(t, program{name: python, args: append(args, more.args...), env: more.env})
			if got := strings.TrimSpace(out.stdout); out.code != 0 || got != h.info.Hubs[0].HostName {
				t.Errorf("paho_register.py ended with code %d and %q:\n%s", out.code, got, out.stderr)
			}
		})
	}
	h.checkIdentity(t, "by-certificate", h.leaf)
	h.checkKeys(t, "by-key", h.keys)
}

// TestMosquittoClients connects with the clients of Mosquitto. Each of them has a connection
// to itself, so that none can hear the answer to what another one publishes: they can show
// that a device may connect and subscribe, and what they publish is refused, with a reason.
func TestMosquittoClients(t *testing.T) {
	for _, name := range []string{"mosquitto_sub", "mosquitto_pub"} {
		if _, err := exec.LookPath(name); err != nil {
			unavailable(t, "%s is not installed (Debian: apt-get install mosquitto-clients): %v", name, err)
		}
	}
	h := newHandmade(t)
	const register = "$dps/registrations/PUT/iotdps-register/?$rid=1"
	tests := []struct {
		name, says, reason string
		fails              bool
		args               []string
	}{
		{"subscription", "", "", false, []string{"mosquitto_sub", "-t", "$dps/registrations/res/#", "-E"}},
		{"another subscription", "denied", "subscription-refused", false, []string{"mosquitto_sub", "-t", "devices/#", "-W", "10"}},
		{"request without a subscription", "connection was lost", "not-subscribed", true, []string{"mosquitto_pub", "-t", register, "-m", "{}"}},
		{
			"$rid eaten by the shell", "connection was lost", "topic-unknown", true,
			[]string{"mosquitto_pub", "-t", "/registrations/PUT/iotdps-register/?=1", "-m", "{}"},
		},
		{"QoS 2", "connection was lost", "qos-2", true, []string{"mosquitto_pub", "-t", register, "-m", "{}", "-q", "2"}},
		{"MQTT 3.1", "protocol version", "mqtt-version", true, []string{"mosquitto_pub", "-t", register, "-m", "{}", "-V", "mqttv31"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := h.mosquitto(t, tt.args[0], tt.args[1:]...)
			if !strings.Contains(out.stdout+out.stderr, tt.says) || (out.code != 0) != tt.fails {
				t.Errorf("%s ended with code %d, want the text %q:\n%s%s", tt.args[0], out.code, tt.says, out.stdout, out.stderr)
			}
			if tt.reason != "" {
				why := h.run(t, program{name: os.Getenv(binaryVar), args: []string{"why", "by-certificate", "--data", h.data, "--json"}})
				if !strings.Contains(why.stdout, fmt.Sprintf(`"reason": %q`, tt.reason)) {
					t.Errorf("mooring why does not say %s:\n%s%s", tt.reason, why.stdout, why.stderr)
				}
			}
		})
	}
}

// mosquitto runs one of the clients of Mosquitto as the device.
func (h *handmade) mosquitto(t *testing.T, name string, args ...string) outcome {
	t.Helper()
	return h.run(t, program{name: name, args: append([]string{
		"-h", hostName, "-p", "8883", "--cafile", h.info.CAFile, "-V", "mqttv311", "-q", "1",
		"-i", "by-certificate", "--cert", h.cert, "--key", h.certKey,
		"-u", h.info.IDScope + "/registrations/by-certificate/api-version=2019-03-31",
	}, args...)})
}
