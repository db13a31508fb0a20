// Package dps holds the nouns of a Device Provisioning Service and the rules
// that each of them carries alone: identifiers, enrollments, attestations,
// certificates, registrations, hubs, policies, and the codes of our errors.
//
// It knows nothing of storage, transports or the wire.
package dps

import (
	"regexp"
	"strings"
)

// InstanceID names one provisioning service inside this process. Every record
// belongs to one instance.
type InstanceID string

// DefaultInstance is the instance that exists from the first start on.
const DefaultInstance InstanceID = "default"

// IDScope is the public name of an instance that devices carry: "0ne" and eight
// hexadecimal digits. It is opaque to devices.
type IDScope string

// RegistrationID names a device towards the provisioning service, as it was
// spelled. Two spellings that differ in case only are the same ID: compare Key.
type RegistrationID string

// Key returns the form under which spellings of one ID are equal.
func (id RegistrationID) Key() string { return strings.ToLower(string(id)) }

// DeviceID names a device at a hub. It is case-sensitive.
type DeviceID string

// HostName is the name of a hub as devices are told it: no scheme, no port.
type HostName string

// MaxIDLength bounds registration, enrollment group and device IDs, in characters.
const MaxIDLength = 128

// idPattern is the rule for registration and enrollment group IDs.
// Source: azure-docs, articles/iot-dps/concepts-service.md, "Registration ID".
var idPattern = regexp.MustCompile(`^[A-Za-z0-9._:-]{0,127}[A-Za-z0-9-]$`)

const idRule = "must be 1 to 128 letters, digits, '-', '.', '_' or ':', and end with a letter, a digit or '-'"

// ParseRegistrationID checks s against the rule for registration IDs and keeps
// its spelling. It fails with Invalid.
func ParseRegistrationID(s string) (RegistrationID, error) {
	if !idPattern.MatchString(s) {
		return "", Invalidf("registrationId", idRule)
	}
	return RegistrationID(s), nil
}

// devicePattern is the rule for hub device IDs.
// Source: azure-docs, articles/iot-hub/iot-hub-devguide-identity-registry.md,
// "Device identity properties".
var devicePattern = regexp.MustCompile(`^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$`)

// ParseDeviceID checks s against the rule for device IDs of a hub. It fails with
// Invalid.
func ParseDeviceID(s string) (DeviceID, error) {
	if !devicePattern.MatchString(s) {
		return "", Invalidf("deviceId", "must be 1 to 128 letters, digits or characters of - : . + %% _ # * ? ! ( ) , = @ ; $ '")
	}
	return DeviceID(s), nil
}

// CAName names a CA certificate of an instance. Case does not distinguish names.
type CAName string

// Key returns the form under which spellings of one name are equal.
func (n CAName) Key() string { return strings.ToLower(string(n)) }

// caNamePattern is the rule for names of CA certificates.
// Source: azure-docs, articles/azure-resource-manager/management/resource-name-rules.md,
// Microsoft.Devices, provisioningServices/certificates.
var caNamePattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ParseCAName checks s against the rule for names of CA certificates. It fails
// with Invalid.
func ParseCAName(s string) (CAName, error) {
	if !caNamePattern.MatchString(s) {
		return "", Invalidf("certificateName", "must be 1 to 64 letters, digits, '-', '.' or '_'")
	}
	return CAName(s), nil
}

// Key returns the form under which spellings of one host name are equal.
func (h HostName) Key() string { return strings.ToLower(string(h)) }

// Equal reports whether two host names are the same.
func (h HostName) Equal(other HostName) bool { return h.Key() == other.Key() }
