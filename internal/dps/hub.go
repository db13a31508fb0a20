package dps

import (
	"regexp"
	"time"

	"github.com/google/uuid"
)

// HubID names a linked hub inside an instance; it stays when the host name changes.
type HubID string

// EmbeddedHub is the hub that every instance starts with.
const EmbeddedHub HubID = "embedded"

// NewHubID returns an ID that no hub has had. IDs sort as they were made, the one of
// EmbeddedHub first.
func NewHubID() HubID { return HubID("hub-" + uuid.Must(uuid.NewV7()).String()) }

// HubKind says who serves a hub.
type HubKind string

// The kinds of hubs.
const (
	KindEmbedded HubKind = "embedded" // in this process, in the same store
	KindIoTHub   HubKind = "iothub"   // any service that speaks the registry REST of Azure IoT Hub
)

// LinkedHub is a hub that devices can be assigned to.
type LinkedHub struct {
	Instance    InstanceID
	ID          HubID
	Kind        HubKind
	HostName    HostName
	Location    string     // region, as operators call it; "" is none
	Weight      int        // share under the hashed policy, 1 to 1000
	ApplyPolicy bool       // whether it is a candidate for enrollments that name no hubs
	Access      *HubAccess // how it is called; nil for an embedded one
}

// LocalLocation is what the control plane calls the location of what stands in no region.
const LocalLocation = "local"

// Bounds of a linked hub.
// Source: azure-docs, articles/iot-dps/how-to-use-allocation-policies.md.
const (
	MinHubWeight = 1
	MaxHubWeight = 1000
)

// NewEmbeddedHub returns a hub of this process as it starts, with its owner's policy.
func NewEmbeddedHub(in InstanceID, id HubID, host HostName) (LinkedHub, HubPolicy) {
	hub := LinkedHub{Instance: in, ID: id, Kind: KindEmbedded, HostName: host, Weight: MinHubWeight, ApplyPolicy: true}
	return hub, HubPolicy{Instance: in, Hub: id, Name: HubOwnerPolicy, Rights: HubOwnerRights, Keys: NewKeyPair()}
}

// HubAccess is how a hub over the wire is called.
type HubAccess struct {
	Endpoint string // host to dial, with a port where that is not 443
	KeyName  string // shared access policy of the hub
	Key      Secret
}

// HubState is what is known of a linked hub.
type HubState string

// The states of a hub. One that was not called since the process started is unknown.
const (
	HubUnknown HubState = "unknown"
	HubUp      HubState = "up"
	HubDown    HubState = "down"
)

// HubHealth is how a linked hub has been doing.
type HubHealth struct {
	State     HubState
	Since     time.Time     // when it entered the state; zero while unknown
	LastError string        // why it could not be reached, or what it said against the link; "" while all is well
	Paused    time.Time     // until when it asked to be left alone; zero if it did not
	PerMinute int           // registry writes that it is sent in a minute; 0 is no limit
	Waiting   int           // registrations that wait for their turn at it
	Wait      time.Duration // how long the last of these will wait, estimated
}

// HubLink is a linked hub with the policy that speaks for it.
type HubLink struct {
	Hub    LinkedHub
	Policy HubPolicy
}

// HubDraft is a linked hub as a client writes it.
type HubDraft struct {
	HostName    HostName
	Kind        HubKind // "" leaves it; a new hub is then an iothub
	Endpoint    string  // HostName with the port that the client gave; "" leaves it
	KeyName     string  // "" where the client names no policy
	Key         Secret  // none where the client sent the mask, or nothing
	Location    string  // "" leaves it
	Weight      *int    // nil leaves it
	ApplyPolicy *bool   // nil leaves it
}

// HubsChange is what becomes of the linked hubs of an instance in one step.
type HubsChange struct {
	Link     []LinkedHub // new
	Policies []HubPolicy // of new embedded hubs
	Update   []LinkedHub // linked already
	Unlink   []HubUnlink
}

// Empty reports whether nothing changes.
func (c HubsChange) Empty() bool { return len(c.Link)+len(c.Update)+len(c.Unlink) == 0 }

// HubUnlink is a hub that is no longer to be linked. What an embedded one holds goes
// with it; a hub over the wire keeps its devices.
type HubUnlink struct {
	Hub           LinkedHub
	DeleteDevices bool // else an embedded hub with devices stays
}

// FormerHub is a hub that is no longer linked. Records of devices still name it, and it
// gets its ID back when it is linked again.
type FormerHub struct {
	ID       HubID
	Kind     HubKind
	HostName HostName
}

// HubPolicy is a shared access policy of an embedded hub.
type HubPolicy struct {
	Instance InstanceID
	Hub      HubID
	Name     string
	Rights   HubRights
	Keys     KeyPair
}

// HubRights is a set of permissions at a hub.
type HubRights uint8

// The permissions at a hub.
// Source: azure-docs, articles/iot-hub/iot-hub-dev-guide-sas.md, "Access control and permissions".
const (
	RegistryRead HubRights = 1 << iota
	RegistryWrite
	ServiceConnect
	HubDeviceConnect
)

// HubOwnerPolicy is the policy of a hub that has every right.
const (
	HubOwnerPolicy           = "iothubowner"
	HubOwnerRights HubRights = RegistryRead | RegistryWrite | ServiceConnect | HubDeviceConnect
)

// Allow reports whether the set grants want; RegistryWrite includes RegistryRead.
func (r HubRights) Allow(want HubRights) bool {
	if r&RegistryWrite != 0 {
		r |= RegistryRead
	}
	return want != 0 && r&want == want
}

// maxHostName bounds the name of a hub, in characters.
const maxHostName = 253

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// IsHostName reports whether s may be the name of a hub: a DNS name or an IPv4 address,
// without scheme, port or path.
func IsHostName(s string) bool { return len(s) <= maxHostName && hostPattern.MatchString(s) }

// StandardHubPolicies returns the shared access policies that every embedded hub has,
// with fresh keys.
// Source: azure-docs, articles/iot-hub/iot-hub-dev-guide-sas.md, "Access control and permissions".
func StandardHubPolicies(hub LinkedHub) []HubPolicy {
	standard := []struct {
		name   string
		rights HubRights
	}{
		{HubOwnerPolicy, HubOwnerRights},
		{"service", ServiceConnect},
		{"device", HubDeviceConnect},
		{"registryRead", RegistryRead},
		{"registryReadWrite", RegistryRead | RegistryWrite},
	}
	all := make([]HubPolicy, len(standard))
	for i, p := range standard {
		all[i] = HubPolicy{Instance: hub.Instance, Hub: hub.ID, Name: p.name, Rights: p.rights, Keys: NewKeyPair()}
	}
	return all
}
