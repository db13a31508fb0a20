package dps

import (
	"regexp"
	"strings"
)

// Rights is a set of permissions of a shared access policy.
type Rights uint8

// The permissions.
// Source: azure-docs, articles/iot-dps/how-to-control-access.md.
const (
	ServiceConfig Rights = 1 << iota
	EnrollmentRead
	EnrollmentWrite
	DeviceConnect
	RegistrationStatusRead
	RegistrationStatusWrite
)

// rightNames has the order in which Azure lists the rights of its default policy.
var rightNames = []struct {
	right Rights
	name  string
}{
	{ServiceConfig, "ServiceConfig"},
	{DeviceConnect, "DeviceConnect"},
	{EnrollmentRead, "EnrollmentRead"},
	{EnrollmentWrite, "EnrollmentWrite"},
	{RegistrationStatusRead, "RegistrationStatusRead"},
	{RegistrationStatusWrite, "RegistrationStatusWrite"},
}

// String lists the permissions, separated by comma and blank.
func (r Rights) String() string {
	var names []string
	for _, n := range rightNames {
		if r&n.right != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ", ")
}

// ParseRights reads a comma-separated list, ignoring case. It fails with Invalid.
func ParseRights(s string) (Rights, error) {
	var r Rights
	for part := range strings.SplitSeq(s, ",") {
		right, ok := rightOf(strings.TrimSpace(part))
		if !ok {
			return 0, Invalidf("rights", "%q is not a right", strings.TrimSpace(part))
		}
		r |= right
	}
	return r, nil
}

func rightOf(name string) (Rights, bool) {
	for _, n := range rightNames {
		if strings.EqualFold(n.name, name) {
			return n.right, true
		}
	}
	return 0, false
}

// Allow reports whether the set grants want. A right to write includes the right
// to read, and EnrollmentWrite includes the rights on registration records, which
// is what the rights of Azure's default policy imply.
func (r Rights) Allow(want Rights) bool {
	if r&EnrollmentWrite != 0 {
		r |= EnrollmentRead | RegistrationStatusRead | RegistrationStatusWrite
	}
	if r&RegistrationStatusWrite != 0 {
		r |= RegistrationStatusRead
	}
	return want != 0 && r&want == want
}

// OwnerPolicy is the name of the policy that every instance starts with.
const OwnerPolicy = "provisioningserviceowner"

// OwnerRights are the rights of the owner policy.
const OwnerRights = ServiceConfig | DeviceConnect | EnrollmentWrite

// Policy is a shared access policy of an instance: whoever has one of its keys
// has its rights.
type Policy struct {
	Instance InstanceID
	Name     string // as spelled; case does not distinguish policies
	Rights   Rights
	Keys     KeyPair
}

// Key returns the form under which spellings of one name are equal.
func (p Policy) Key() string { return strings.ToLower(p.Name) }

// policyPattern is what the official SDKs take as the name of a policy.
// Source: azure-iot-sdk-csharp, provisioning/service/src/Auth/ServiceConnectionString.cs.
var policyPattern = regexp.MustCompile(`^[A-Za-z0-9_.@-]{1,64}$`)

// ParsePolicyName checks the name of a shared access policy. It fails with Invalid.
func ParsePolicyName(s string) (string, error) {
	if !policyPattern.MatchString(s) {
		return "", Invalidf("keyName", "must be 1 to 64 letters, digits, '-', '_', '.' or '@'")
	}
	return s, nil
}
