package query

import (
	"maps"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Schema is what members the records of a query have. Names of the wire are found
// without case; names inside free members, such as the tags of a twin, are not.
type Schema struct {
	ID      string // the member that is the record's ID: compared without case
	Updated string // the member that is the time of the last change
	members members
}

// members is a level of the tree.
type members map[string]member

// member says what a member can be compared with.
type member struct {
	kind   kind
	below  members  // of an object
	values []string // of a closed set
}

// kind is what a member holds.
type kind uint8

const (
	plainText kind = iota
	foldedText
	closedSet
	boolean
	integer
	moment
	hostList
	objectOf
	anything
)

// The members without a part of their own.
var (
	caseful   = member{kind: plainText}
	caseless  = member{kind: foldedText}
	flag      = member{kind: boolean}
	count     = member{kind: integer}
	timestamp = member{kind: moment}
	free      = member{kind: anything}
)

func group(below members) member { return member{kind: objectOf, below: below} }

func oneOf[S ~string](values ...S) member {
	m := member{kind: closedSet}
	for _, v := range values {
		m.values = append(m.values, string(v))
	}
	return m
}

func leaves(m member, names ...string) members {
	all := make(members, len(names))
	for _, n := range names {
		all[n] = m
	}
	return all
}

// resolve spells a path as the schema does. problem is "" when the path exists.
func (s *Schema) resolve(path []string) (spelled []string, m member, problem string) {
	m = group(s.members)
	for i, part := range path {
		if m.kind == anything {
			return append(spelled, path[i:]...), free, ""
		}
		found, ok := find(m.below, part)
		if !ok {
			return nil, m, unknown(path[:i], part, m.below)
		}
		spelled = append(spelled, found)
		m = m.below[found]
	}
	return spelled, m, ""
}

func find(level members, part string) (string, bool) {
	for known := range level {
		if strings.EqualFold(known, part) {
			return known, true
		}
	}
	return "", false
}

func unknown(above []string, part string, level members) string {
	if len(level) == 0 {
		return strings.Join(above, ".") + " has no members"
	}
	where := "there is no member " + clip(part)
	if len(above) > 0 {
		where = strings.Join(above, ".") + " has no member " + clip(part)
	}
	return where + "; the members are " + names(level)
}

func names(level members) string { return strings.Join(slices.Sorted(maps.Keys(level)), ", ") }

func certificateMembers() member {
	info := leaves(caseful, "subjectName", "issuerName")
	for _, name := range []string{"sha1Thumbprint", "sha256Thumbprint", "serialNumber"} {
		info[name] = caseless // hexadecimal
	}
	info["notBeforeUtc"], info["notAfterUtc"], info["version"] = timestamp, timestamp, count
	return group(members{"info": group(info)})
}

func pair() member {
	return group(members{"primary": certificateMembers(), "secondary": certificateMembers()})
}

func registrationState() members {
	m := leaves(caseful, "deviceId", "errorMessage", "etag")
	m["registrationId"], m["assignedHub"] = caseless, caseless
	m["createdDateTimeUtc"], m[updatedMember] = timestamp, timestamp
	m["status"] = oneOf(dps.Unassigned, dps.Assigning, dps.Assigned, dps.Failed, dps.Disabled)
	m["substatus"] = oneOf(dps.InitialAssignment, dps.DeviceDataMigrated, dps.DeviceDataReset, dps.ReprovisionedToInitialAssignment)
	m["errorCode"], m["payload"] = count, free
	return m
}

// common are the members that both kinds of enrollments have.
func common(certificates string) members {
	return members{
		"attestation": group(members{
			"type": oneOf(dps.TPM, dps.X509, dps.SymmetricKey),
			"tpm":  group(leaves(caseful, "endorsementKey", "storageRootKey")),
			"x509": group(members{certificates: pair(), "caReferences": group(leaves(caseless, "primary", "secondary"))}),
		}),
		"capabilities":   group(leaves(flag, "iotEdge")),
		"iotHubHostName": caseless, "iotHubs": {kind: hostList}, "initialTwin": free, "etag": caseful,
		"provisioningStatus": oneOf(dps.StatusEnabled, dps.StatusDisabled),
		"reprovisionPolicy":  group(leaves(flag, "updateHubAssignment", "migrateDeviceData")),
		"createdDateTimeUtc": timestamp, updatedMember: timestamp,
		"allocationPolicy":           oneOf(dps.Hashed, dps.GeoLatency, dps.Static, dps.Custom),
		"customAllocationDefinition": group(leaves(caseful, "webhookUrl", "apiVersion")),
	}
}

const updatedMember = "lastUpdatedDateTimeUtc"

// Enrollments is the schema of individual enrollments.
func Enrollments() *Schema {
	m := common("clientCertificates")
	m["registrationId"], m["deviceId"] = caseless, caseful
	m["optionalDeviceInformation"], m["registrationState"] = free, group(registrationState())
	return &Schema{ID: "registrationId", Updated: updatedMember, members: m}
}

// Groups is the schema of enrollment groups.
func Groups() *Schema {
	m := common("signingCertificates")
	m["enrollmentGroupId"] = caseless
	return &Schema{ID: "enrollmentGroupId", Updated: updatedMember, members: m}
}

// Registrations is the schema of registration records.
func Registrations() *Schema {
	return &Schema{ID: "registrationId", Updated: updatedMember, members: registrationState()}
}
