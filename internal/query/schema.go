package query

import (
	"maps"
	"slices"
	"strings"
)

// Schema is what members the records of a query have. Names of the wire are found
// without case; names inside free members, such as the tags of a twin, are not.
type Schema struct {
	ID      string // the member that is the record's ID: compared without case
	Updated string // the member that is the time of the last change
	members members
}

// members is a level of the tree: nil below a plain member.
type members map[string]members

// free stands for a member that may hold anything.
var free = members{"*": nil}

func leaves(names ...string) members {
	m := make(members, len(names))
	for _, n := range names {
		m[n] = nil
	}
	return m
}

// resolve spells a path as the schema does. problem is "" when the path exists.
func (s *Schema) resolve(path []string) (spelled []string, folded bool, problem string) {
	level := s.members
	for i, part := range path {
		if _, anything := level["*"]; anything {
			return append(spelled, path[i:]...), false, ""
		}
		found, ok := find(level, part)
		if !ok {
			return nil, false, unknown(path[:i], part, level)
		}
		spelled = append(spelled, found)
		level = level[found]
	}
	return spelled, len(spelled) == 1 && spelled[0] == s.ID, ""
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
	return where + "; there is " + strings.Join(slices.Sorted(maps.Keys(level)), ", ")
}

func certificate() members {
	return members{
		"info": leaves(
			"subjectName",
			"sha1Thumbprint",
			"sha256Thumbprint",
			"issuerName",
			"notBeforeUtc",
			"notAfterUtc",
			"serialNumber",
			"version",
		),
	}
}

func pair() members { return members{"primary": certificate(), "secondary": certificate()} }

func registrationState() members {
	m := leaves(
		"registrationId",
		"createdDateTimeUtc",
		"lastUpdatedDateTimeUtc",
		"assignedHub",
		"deviceId",
		"status",
		"substatus",
		"errorCode",
		"errorMessage",
		"etag",
	)
	m["payload"] = free
	return m
}

// common are the members that both kinds of enrollments have.
func common(certificates string) members {
	return members{
		"attestation": members{
			"type": nil, "tpm": leaves("endorsementKey", "storageRootKey"),
			"x509": members{certificates: pair(), "caReferences": leaves("primary", "secondary")},
		},
		"capabilities": leaves("iotEdge"), "iotHubHostName": nil, "iotHubs": nil, "initialTwin": free, "etag": nil, "provisioningStatus": nil,
		"reprovisionPolicy":  leaves("updateHubAssignment", "migrateDeviceData"),
		"createdDateTimeUtc": nil, "lastUpdatedDateTimeUtc": nil, "allocationPolicy": nil,
		"customAllocationDefinition": leaves("webhookUrl", "apiVersion"),
	}
}

const updatedMember = "lastUpdatedDateTimeUtc"

// Enrollments is the schema of individual enrollments.
func Enrollments() *Schema {
	m := common("clientCertificates")
	m["registrationId"], m["deviceId"] = nil, nil
	m["optionalDeviceInformation"], m["registrationState"] = free, registrationState()
	return &Schema{ID: "registrationId", Updated: updatedMember, members: m}
}

// Groups is the schema of enrollment groups.
func Groups() *Schema {
	m := common("signingCertificates")
	m["enrollmentGroupId"] = nil
	return &Schema{ID: "enrollmentGroupId", Updated: updatedMember, members: m}
}

// Registrations is the schema of registration records.
func Registrations() *Schema {
	return &Schema{ID: "registrationId", Updated: updatedMember, members: registrationState()}
}
