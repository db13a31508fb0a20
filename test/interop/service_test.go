package interop_test

import (
	"fmt"
	"net/http"
	"testing"
)

const (
	fleetSize  = 1050 // more than a page of the service holds when nobody says how much
	bulkSize   = 10   // what DPS takes at once
	lineSize   = 5    // registered devices of the group "line"
	groupCount = 7    // with the group "line"
)

// prepareFleet fills the service for the programs that page: the individual enrollments
// fleet-0000 and so on, made with bulk operations, and "solo"; the groups group-1 and so
// on, and "line". The device solo, and line-1 and so on from that group, have registered
// with sdk.
func (s *service) prepareFleet(t *testing.T, transport string, sdk func(*service, *testing.T, batch) report) {
	t.Helper()
	for first := 0; first < fleetSize; first += bulkSize {
		s.createInBulk(t, first)
	}
	soloKeys, lineKeys := newKeys(t), newKeys(t)
	s.enroll(t, "solo", symmetricKeys(soloKeys), nil)
	s.enrollGroup(t, "line", symmetricKeys(lineKeys), nil)
	for i := 1; i < groupCount; i++ {
		s.enrollGroup(t, fmt.Sprintf("group-%d", i), object{"type": "symmetricKey"}, nil)
	}
	b := batch{devices: []device{{registrationID: "solo", transport: transport, key: soloKeys.Primary}}}
	for i := 1; i <= lineSize; i++ {
		id := fmt.Sprintf("line-%d", i)
		b.devices = append(b.devices, device{registrationID: id, transport: transport, key: lineKeys.derived(t, id).Primary})
	}
	for _, d := range b.devices {
		s.secrets = append(s.secrets, d.key)
	}
	for i, r := range sdk(s, t, b).Outcomes {
		s.checkAssigned(t, r, b.devices[i].registrationID)
	}
}

// createInBulk creates bulkSize enrollments of the fleet, or what is left of it.
func (s *service) createInBulk(t *testing.T, first int) {
	t.Helper()
	var items []object
	for i := first; i < min(first+bulkSize, fleetSize); i++ {
		items = append(items, object{
			"registrationId": fmt.Sprintf("fleet-%04d", i), "attestation": object{"type": "symmetricKey"},
		})
	}
	var result struct {
		IsSuccessful bool `json:"isSuccessful"`
	}
	s.serviceCall(t, http.MethodPost, "/enrollments", object{"mode": "create", "enrollments": items}, &result)
	if !result.IsSuccessful {
		t.Fatalf("creating enrollments from %d on did not succeed", first)
	}
}

// fleetArgs returns what the programs that work on the fleet are told.
func (s *service) fleetArgs() []string {
	return []string{
		s.info.ConnectionStrings["provisioningserviceowner"], s.info.Hubs[0].HostName,
		fmt.Sprint(fleetSize), fmt.Sprint(groupCount), fmt.Sprint(lineSize),
	}
}

// TestPythonServiceBulk runs bulk operations, queries and the calls about registrations.
func TestPythonServiceBulk(t *testing.T) {
	requirePython(t)
	s := startService(t, t.TempDir())
	s.prepareFleet(t, overMQTT, (*service).runPython)

	out := s.python(t, "service_bulk.py", s.fleetArgs()...)
	if out.code != 0 {
		t.Errorf("service_bulk.py ended with code %d:\n%s%s", out.code, out.stdout, out.stderr)
	}
}
