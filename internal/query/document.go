package query

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Record is an enrollment as a Document. Only what a condition asks for is made.
type Record struct {
	Enrollment   dps.Enrollment
	Registration *dps.Registration // nil when the device never registered, or the query does not need it
	Hub          dps.HostName      // of the registration
	Number       func(dps.Failure) int
}

// Member returns the value at a path of the service API's enrollment.
func (r Record) Member(path []string) (any, bool) {
	e := r.Enrollment
	switch path[0] {
	case "registrationId", "enrollmentGroupId":
		return e.Ref.ID, true
	case "deviceId":
		return textOf(e.DeviceID)
	case "etag":
		return textOf(e.ETag)
	case "createdDateTimeUtc":
		return stamp(e.Created)
	case updatedMember:
		return stamp(e.Updated)
	case "provisioningStatus":
		return status(e.Status)
	case "capabilities":
		if e.Capabilities == nil || len(path) < 2 {
			return object(e.Capabilities != nil)
		}
		return e.Capabilities.IotEdge, true
	case "initialTwin":
		return inside(e.InitialTwin, path[1:])
	case "optionalDeviceInformation":
		return inside(e.DeviceInfo, path[1:])
	case "attestation":
		return attestation(e, path[1:])
	case "registrationState":
		return r.state(path[1:])
	default:
		return placement(e.Placement, path)
	}
}

// other represents an object, which equals no literal and is not null.
type other struct{}

// list is the JSON of an array, which equals no literal and is not null.
type list string

// contains reports whether an element is equal to a literal.
func (l list) contains(literal any, folded bool) bool {
	w := walker{text: string(l)}
	if !w.pass('[') {
		return false
	}
	for w.peek() != 0 && w.peek() != ']' {
		from := w.at
		value, _ := w.value()
		if _, isObject := value.(other); isObject {
			w.skip()
		}
		if w.at == from { // not JSON
			return false
		}
		if text, ok := value.(string); ok && folded {
			value = strings.ToLower(text)
		}
		if value == nil && literal == nil {
			return true
		}
		if order, comparable := compare(value, literal); comparable && order == 0 {
			return true
		}
		if !w.pass(',') {
			return false
		}
	}
	return false
}

func hosts(all []dps.HostName) (any, bool) {
	if len(all) == 0 {
		return nil, false
	}
	text, err := json.Marshal(all)
	return list(text), err == nil
}

func object(there bool) (any, bool) {
	if !there {
		return nil, false
	}
	return other{}, true
}

func textOf[S ~string](s S) (any, bool) {
	if s == "" {
		return nil, false
	}
	return string(s), true
}

// stampFormat is how the service API shows times: what it does not show does not count.
const stampFormat = "2006-01-02T15:04:05.9999999Z"

func stamp(t time.Time) (any, bool) {
	if t.IsZero() {
		return nil, false
	}
	return t.UTC().Format(stampFormat), true
}

func status(s dps.ProvisioningStatus) (any, bool) {
	if s == dps.StatusNull {
		return nil, true
	}
	return textOf(s)
}

// inside walks into a free member.
func inside(raw json.RawMessage, path []string) (any, bool) {
	if len(raw) == 0 {
		return nil, false
	}
	return Find(string(raw), path)
}

func placement(p dps.Placement, path []string) (any, bool) {
	switch path[0] {
	case "allocationPolicy":
		return textOf(p.Policy)
	case "iotHubHostName":
		return textOf(p.HubHostName)
	case "iotHubs":
		return hosts(p.IotHubs)
	case "reprovisionPolicy":
		return reprovision(p.Reprovision, path[1:])
	case "customAllocationDefinition":
		return custom(p.Custom, path[1:])
	default:
		return nil, false
	}
}

func reprovision(p *dps.ReprovisionPolicy, path []string) (any, bool) {
	switch {
	case p == nil || len(path) == 0:
		return object(p != nil)
	case path[0] == "updateHubAssignment":
		return p.UpdateHubAssignment, true
	default:
		return p.MigrateDeviceData, true
	}
}

func custom(c *dps.CustomAllocation, path []string) (any, bool) {
	switch {
	case c == nil || len(path) == 0:
		return object(c != nil)
	case path[0] == "webhookUrl":
		return c.MaskedURL(), true
	default:
		return c.APIVersion, true
	}
}

func attestation(e dps.Enrollment, path []string) (any, bool) {
	a := e.Attestation
	switch {
	case len(path) == 0:
		return other{}, true
	case path[0] == "type":
		return textOf(a.Type)
	case path[0] == "tpm":
		return tpm(a.TPM, path[1:])
	default:
		return x509(a.X509, path[1:])
	}
}

func tpm(t *dps.TPMAttestation, path []string) (any, bool) {
	switch {
	case t == nil || len(path) == 0:
		return object(t != nil)
	case path[0] == "endorsementKey":
		return textOf(t.EndorsementKey)
	default:
		return textOf(t.StorageRootKey)
	}
}

func x509(x *dps.X509Attestation, path []string) (any, bool) {
	if x == nil || len(path) == 0 {
		return object(x != nil)
	}
	if path[0] == "caReferences" {
		return references(*x, path[1:])
	}
	if x.ByReference() || len(path) == 1 {
		return object(!x.ByReference())
	}
	c := x.Primary
	if path[1] == "secondary" {
		c = x.Secondary
	}
	if c == nil || len(path) < 4 {
		return object(c != nil)
	}
	return info(*c, path[3])
}

func references(x dps.X509Attestation, path []string) (any, bool) {
	switch {
	case len(path) == 0:
		return object(x.ByReference())
	case path[0] == "primary":
		return textOf(x.CAPrimary)
	default:
		return textOf(x.CASecondary)
	}
}

func info(c dps.Certificate, member string) (any, bool) {
	switch member {
	case "sha1Thumbprint":
		return dps.SHA1Thumbprint(c.DER), true
	case "sha256Thumbprint":
		return c.Thumbprint().String(), true
	}
	h, err := c.Header()
	if err != nil {
		return nil, false
	}
	switch member {
	case "subjectName":
		return h.Subject(), true
	case "issuerName":
		return h.Issuer(), true
	case "serialNumber":
		return h.Serial(), true
	case "notBeforeUtc":
		from, _, _ := h.Validity()
		return stamp(from)
	case "notAfterUtc":
		_, to, _ := h.Validity()
		return stamp(to)
	default:
		return float64(h.Version), true
	}
}

func (r Record) state(path []string) (any, bool) {
	if len(path) == 0 {
		return other{}, true
	}
	if r.Registration == nil {
		switch path[0] {
		case "registrationId":
			return r.Enrollment.Ref.ID, true
		case "status":
			return string(dps.Unassigned), true
		default:
			return nil, false
		}
	}
	return Registration{Record: *r.Registration, Hub: r.Hub, Number: r.Number}.Member(path)
}

// Registration is a registration record as a Document.
type Registration struct {
	Record dps.Registration
	Hub    dps.HostName
	Number func(dps.Failure) int // how the wire numbers a failure; nil leaves it out
}

// Member returns the value at a path of the service API's registration state.
func (r Registration) Member(path []string) (any, bool) {
	reg := r.Record
	switch path[0] {
	case "registrationId":
		return string(reg.ID), true
	case "status":
		return string(reg.Status), true
	case "createdDateTimeUtc":
		return stamp(reg.Created)
	case updatedMember:
		return stamp(reg.Updated)
	case "etag":
		return textOf(reg.ETag)
	case "errorCode", "errorMessage":
		return r.failure(path[0])
	case "payload":
		return inside(reg.Payload, path[1:])
	default:
		return r.assignment(path[0])
	}
}

func (r Registration) failure(member string) (any, bool) {
	f := r.Record.Failure
	switch {
	case f == nil:
		return nil, false
	case member == "errorMessage":
		return textOf(f.Message)
	case r.Number == nil:
		return nil, false
	default:
		return float64(r.Number(*f)), true
	}
}

func (r Registration) assignment(member string) (any, bool) {
	a := r.Record.Assignment
	if a == nil {
		return nil, false
	}
	switch member {
	case "assignedHub":
		return textOf(r.Hub)
	case "deviceId":
		return textOf(a.DeviceID)
	default:
		return textOf(a.Substatus)
	}
}
