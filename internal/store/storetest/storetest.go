// Package storetest is the one suite that every store passes. It knows no engine:
// a bug found in one becomes a case for all.
package storetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/enroll"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/signin"
	"github.com/mooring-iot/mooring/internal/statistics"
)

// Store is all that the service asks of storage.
type Store interface {
	enroll.Store
	register.Store
	Instances
	EmbeddedHubs
	Upkeep
	audit.Store
	signin.Store
	decision.Store
	statistics.Store
}

// Instances are the provisioning services and who may call them.
type Instances interface {
	// Create stores a new instance with all that it starts with, or nothing.
	Create(ctx context.Context, setup dps.Setup) error

	// Instance fails with InstanceNotFound.
	Instance(ctx context.Context, id dps.InstanceID) (dps.Instance, error)

	// Policy fails with Unauthorized. Case does not distinguish names.
	Policy(ctx context.Context, in dps.InstanceID, name string) (dps.Policy, error)

	// Policies returns all, sorted by name.
	Policies(ctx context.Context, in dps.InstanceID) ([]dps.Policy, error)

	// Configure writes a change with its policies and linked hubs, or nothing of it; the
	// scope, the token key and the time of creation stay. It fails with ConcurrentChange
	// when the instance is not at the version IfMatch or a hub to be changed is not linked,
	// and with Conflict where an embedded hub that is to be unlinked holds devices.
	Configure(ctx context.Context, c dps.InstanceChange) error
}

// EmbeddedHubs is what the hubs inside this process ask of storage.
type EmbeddedHubs interface {
	// RenameHub changes a host name; the devices stay. Enrollments that name the hub get
	// the new name; it returns how many did.
	RenameHub(ctx context.Context, in dps.InstanceID, hub dps.HubID, host dps.HostName) (enrollments int, err error)

	// HubPolicy fails with Unauthorized. Case does not distinguish names.
	HubPolicy(ctx context.Context, in dps.InstanceID, hub dps.HubID, name string) (dps.HubPolicy, error)

	// HubPolicies returns all, sorted by name.
	HubPolicies(ctx context.Context, in dps.InstanceID, hub dps.HubID) ([]dps.HubPolicy, error)

	// HubDevices returns up to limit identities after the given ID, sorted by bytes.
	HubDevices(ctx context.Context, in dps.InstanceID, hub dps.HubID, after dps.DeviceID, limit int) ([]dps.HubDevice, error)

	// FindHubDevices returns those of them that f means.
	FindHubDevices(
		ctx context.Context,
		in dps.InstanceID,
		hub dps.HubID,
		f dps.HubDeviceFilter,
		after dps.DeviceID,
		limit int,
	) ([]dps.HubDevice, error)

	CountHubDevices(ctx context.Context, in dps.InstanceID, hub dps.HubID) (dps.HubDeviceCount, error)

	// CreateHubDevice fails with DeviceExists.
	CreateHubDevice(ctx context.Context, d dps.HubDevice) error

	// ChangeHubDevice fails with ConcurrentChange when identity or twin are at another version.
	ChangeHubDevice(ctx context.Context, was, d dps.HubDevice) error

	// DeleteHubDevice fails with ConcurrentChange when the identity is at another version.
	DeleteHubDevice(ctx context.Context, in dps.InstanceID, hub dps.HubID, id dps.DeviceID, ifMatch dps.ETag) error

	// AddHubPolicies stores those that are not there yet.
	AddHubPolicies(ctx context.Context, policies []dps.HubPolicy) error
}

// Upkeep is what keeps a store in order.
type Upkeep interface {
	// Sweep removes what has expired.
	Sweep(ctx context.Context) error

	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
}

// Open returns a fresh, empty store that takes the time from now and is closed
// when the test ends.
type Open func(t *testing.T, now func() time.Time) Store

// Run exercises a fresh store from open in every subtest.
func Run(t *testing.T, open Open) {
	areas := []struct {
		name  string
		cases []testCase
	}{
		{"instances", instanceCases},
		{"configuring", configureCases},
		{"linking hubs", linkingCases},
		{"enrollments", enrollmentCases},
		{"imports", importCases},
		{"one certificate one enrollment", uniquenessCases},
		{"CA certificates", certificateCases},
		{"anchors", anchorCases},
		{"registrations", registrationCases},
		{"operations", operationCases},
		{"open registrations", workCases},
		{"remnants", remnantCases},
		{"holders of identities", holderCases},
		{"hub devices", deviceCases},
		{"audit", auditCases},
		{"portal", portalCases},
		{"decisions", decisionCases},
		{"statistics", statisticsCases},
		{"queries", queryCases},
		{"concurrency", concurrencyCases},
	}
	for _, area := range areas {
		t.Run(area.name, func(t *testing.T) {
			for _, c := range area.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, newWorld(t, open)) })
			}
		})
	}
}

// testCase is one promise of a store.
type testCase struct {
	name string
	run  func(t *testing.T, w *world)
}

// world is a fresh store with two instances that have everything alike but their
// scopes.
type world struct {
	Store
	clock *clock
}

// The instances of a world. What a case does not say otherwise is about here.
const (
	here  dps.InstanceID = "here"
	there dps.InstanceID = "there"
)

// start is when every world begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// clock stands still until it is advanced.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newWorld(t *testing.T, open Open) *world {
	t.Helper()
	w := &world{clock: &clock{now: start}}
	w.Store = open(t, w.clock.Now)
	for _, in := range []dps.InstanceID{here, there} {
		must(t, w.Create(t.Context(), setupOf(in)))
	}
	return w
}

func setupOf(in dps.InstanceID) dps.Setup {
	return dps.Setup{
		Instance: dps.NewInstance(in, start),
		Policy:   dps.Policy{Instance: in, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub: dps.LinkedHub{
			Instance: in, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "hub.example.com", Weight: 1, ApplyPolicy: true,
		},
		HubPolicy: dps.HubPolicy{
			Instance: in, Hub: dps.EmbeddedHub, Name: dps.HubOwnerPolicy, Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair(),
		},
	}
}
