package translate

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// Draft reads an enrollment of a request for the entry named in its path. It fails
// with Invalid and names the member and the rule.
func Draft(in dps.InstanceID, ref dps.EntryRef, req wire.EnrollmentRequest) (dps.EnrollmentDraft, error) {
	var draft dps.EnrollmentDraft
	if err := checkID(ref, req.Enrollment); err != nil {
		return draft, err
	}
	if err := checkMembers(ref.Kind, req); err != nil {
		return draft, err
	}
	status, err := provisioningStatus(req.ProvisioningStatus)
	if err != nil {
		return draft, err
	}
	placement, err := placement(req.Enrollment)
	if err != nil {
		return draft, err
	}
	draft.Enrollment = dps.Enrollment{
		Instance: in, Ref: ref, DeviceID: dps.DeviceID(req.DeviceID), Status: status, Placement: placement,
		Capabilities: (*dps.Capabilities)(req.Capabilities),
		InitialTwin:  compact(req.InitialTwin), DeviceInfo: compact(req.OptionalDeviceInformation),
	}
	return draft, attestation(&draft, req.Attestation)
}

// checkID demands the ID in the body, equal to the one in the path.
func checkID(ref dps.EntryRef, e wire.Enrollment) error {
	field, id := "registrationId", e.RegistrationID
	if ref.Kind == dps.Group {
		field, id = "enrollmentGroupId", e.EnrollmentGroupID
	}
	if id == "" {
		return dps.Invalidf(field, "is required")
	}
	if !strings.EqualFold(id, ref.ID) {
		return dps.Invalidf(field, "must match the ID in the path, %q", ref.ID)
	}
	return nil
}

// checkMembers refuses members that mean nothing for a kind, or that we do not offer.
func checkMembers(kind dps.EntryKind, req wire.EnrollmentRequest) error {
	if kind == dps.Group && req.DeviceID != "" {
		return dps.Invalidf("deviceId", "is not supported for an enrollment group")
	}
	if kind == dps.Group && compact(req.OptionalDeviceInformation) != nil {
		return dps.Invalidf("optionalDeviceInformation", "is not supported for an enrollment group")
	}
	previews := map[string]json.RawMessage{
		"credentialPolicyName": req.CredentialPolicyName, "trustBundleId": req.TrustBundleID,
		"clientCertificateIssuancePolicy": req.ClientCertificateIssuancePolicy,
		"serverCertificateIssuancePolicy": req.ServerCertificateIssuancePolicy,
		"certificatePolicyResourceId":     req.CertificatePolicyResourceID,
	}
	for _, name := range slices.Sorted(maps.Keys(previews)) {
		if compact(previews[name]) != nil {
			return dps.Invalidf(name, "is not supported: this service does not issue device certificates")
		}
	}
	if info := compact(req.OptionalDeviceInformation); info != nil && info[0] != '{' {
		return dps.Invalidf("optionalDeviceInformation", "must be an object")
	}
	return dps.CheckNumbers("optionalDeviceInformation", compact(req.OptionalDeviceInformation))
}

// compact returns raw JSON without white space around its tokens, nil for null.
func compact(raw json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if len(raw) == 0 || json.Compact(&out, raw) != nil || out.String() == "null" {
		return nil
	}
	return out.Bytes()
}

func provisioningStatus(s wire.NullableString) (dps.ProvisioningStatus, error) {
	switch {
	case !s.Present:
		return "", nil
	case s.Null:
		return dps.StatusNull, nil
	case equalFold(dps.StatusEnabled, s.Value):
		return dps.StatusEnabled, nil
	case equalFold(dps.StatusDisabled, s.Value):
		return dps.StatusDisabled, nil
	default:
		return "", dps.Invalidf("provisioningStatus", "must be enabled or disabled")
	}
}

func placement(e wire.Enrollment) (dps.Placement, error) {
	policy, err := allocationPolicy(e.AllocationPolicy)
	if err != nil {
		return dps.Placement{}, err
	}
	p := dps.Placement{Policy: policy, HubHostName: dps.HostName(e.IotHubHostName)}
	for _, h := range e.IotHubs {
		p.IotHubs = append(p.IotHubs, dps.HostName(h))
	}
	if c := e.CustomAllocationDefinition; c != nil {
		p.Custom = &dps.CustomAllocation{WebhookURL: c.WebhookURL, APIVersion: c.APIVersion}
	}
	if r := e.ReprovisionPolicy; r != nil {
		p.Reprovision = &dps.ReprovisionPolicy{UpdateHubAssignment: orTrue(r.UpdateHubAssignment), MigrateDeviceData: orTrue(r.MigrateDeviceData)}
	}
	return p, nil
}

func orTrue(b *bool) bool { return b == nil || *b }

func allocationPolicy(text string) (dps.AllocationPolicy, error) {
	if text == "" {
		return "", nil
	}
	for _, p := range []dps.AllocationPolicy{dps.Hashed, dps.GeoLatency, dps.Static, dps.Custom} {
		if equalFold(p, text) {
			return p, nil
		}
	}
	return "", dps.Invalidf("allocationPolicy", "must be hashed, geoLatency, static or custom")
}

// Enrollment writes an enrollment as answers show it. Keys are shown only where
// withKeys says so: in the answer to a PUT.
func Enrollment(e dps.Enrollment, withKeys bool) (wire.Enrollment, error) {
	mechanism, err := Attestation(e, withKeys)
	if err != nil {
		return wire.Enrollment{}, err
	}
	out := wire.Enrollment{
		DeviceID: string(e.DeviceID), OptionalDeviceInformation: e.DeviceInfo, Attestation: &mechanism,
		Capabilities: (*wire.Capabilities)(e.Capabilities), IotHubHostName: string(e.Placement.HubHostName), InitialTwin: e.InitialTwin,
		ETag: string(e.ETag), ProvisioningStatus: statusOut(e.Status),
		CreatedDateTimeUTC: serviceTime(e.Created), LastUpdatedDateTimeUTC: serviceTime(e.Updated),
		AllocationPolicy: string(e.Placement.Policy),
	}
	if e.Ref.Kind == dps.Group {
		out.EnrollmentGroupID = e.Ref.ID
	} else {
		out.RegistrationID = e.Ref.ID
	}
	for _, h := range e.Placement.IotHubs {
		out.IotHubs = append(out.IotHubs, string(h))
	}
	if c := e.Placement.Custom; c != nil {
		out.CustomAllocationDefinition = &wire.CustomAllocation{WebhookURL: c.MaskedURL(), APIVersion: c.APIVersion}
	}
	if r := e.Placement.Reprovision; r != nil {
		out.ReprovisionPolicy = &wire.ReprovisionPolicy{UpdateHubAssignment: &r.UpdateHubAssignment, MigrateDeviceData: &r.MigrateDeviceData}
	}
	return out, nil
}

func statusOut(s dps.ProvisioningStatus) wire.NullableString {
	if s == dps.StatusNull {
		return wire.NullableString{Present: true, Null: true}
	}
	return wire.StringValue(string(s))
}
