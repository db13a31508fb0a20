package interop_test

import (
	"path/filepath"
	"testing"
)

// TestNodeServiceSDK runs every operation of the service SDK.
func TestNodeServiceSDK(t *testing.T) {
	name, modules := requireNode(t)
	s := startService(t, t.TempDir())
	s.prepareFleet(t, overHTTPS, (*service).runNode)

	out := s.run(t, program{
		name: name, args: append([]string{filepath.Join("node", "service.js")}, s.fleetArgs()...),
		env: []string{"NODE_PATH=" + modules, "MOORING_TOKEN=" + s.info.ControlPlane.Token},
	})
	if out.code != 0 {
		t.Errorf("service.js ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}
