package translate

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// Words of the control plane.
const (
	Location = dps.LocalLocation // where everything is: this service has no regions

	skuName   = "S1"
	skuTier   = "Standard"
	keyMask   = "****"
	networked = "Enabled"
)

// Place says where an instance is found.
type Place struct {
	ResourceID                    string
	SubscriptionID, ResourceGroup string
	Endpoint                      string // host name, with the port unless it is 443
}

// ProvisioningService writes an instance of the control plane.
func ProvisioningService(in dps.Instance, hubs []dps.HubLink, at Place) wire.ProvisioningService {
	one := 1
	out := wire.ProvisioningService{
		ID: at.ResourceID, Name: string(in.ID), Type: wire.ResourceType, Location: Location, Tags: map[string]string{}, ETag: string(in.ETag),
		SKU:           wire.SKU{Name: skuName, Tier: skuTier, Capacity: &one},
		ResourceGroup: at.ResourceGroup, SubscriptionID: at.SubscriptionID,
		Properties: wire.ProvisioningServiceProperties{
			State: "Active", ProvisioningState: "Succeeded", IotHubs: []wire.LinkedHub{}, AllocationPolicy: pascal(in.Allocation),
			ServiceOperationsHostName: at.Endpoint, DeviceProvisioningHostName: at.Endpoint, IDScope: string(in.Scope),
		},
	}
	maps.Copy(out.Tags, in.Tags)
	for _, h := range hubs {
		out.Properties.IotHubs = append(out.Properties.IotHubs, LinkedHub(h))
	}
	return out
}

// pascal writes a policy as the control plane does; the service API begins with a
// small letter.
func pascal(p dps.AllocationPolicy) string {
	if p == "" {
		return ""
	}
	return strings.ToUpper(string(p[:1])) + string(p[1:])
}

// SharedAccessPolicy writes a policy with its keys.
func SharedAccessPolicy(p dps.Policy) wire.SharedAccessPolicy {
	return wire.SharedAccessPolicy{
		KeyName: p.Name, PrimaryKey: p.Keys.Primary.Base64(), SecondaryKey: p.Keys.Secondary.Base64(), Rights: p.Rights.String(),
	}
}

// InstanceDraft reads the body of a PUT and the etag in it. Tags that are left out
// are removed, as everywhere in ARM; properties that are left out stay. It fails
// with Malformed or Invalid.
func InstanceDraft(body []byte) (dps.InstanceDraft, string, error) {
	var draft dps.InstanceDraft
	var req wire.ProvisioningServiceRequest
	if err := decodeKnown(body, &req); err != nil {
		return draft, "", err
	}
	if err := unchangeable(req); err != nil {
		return draft, "", err
	}
	draft.Tags = map[string]string{}
	maps.Copy(draft.Tags, req.Tags)
	var err error
	if draft.Allocation, err = armAllocation(req.Properties.AllocationPolicy); err != nil {
		return draft, "", err
	}
	if draft.Policies, err = policyDrafts(body); err != nil {
		return draft, "", err
	}
	if err := knownOfHubs(body); err != nil {
		return draft, "", err
	}
	draft.Hubs, err = hubDrafts(req.Properties.IotHubs)
	return draft, req.ETag, err
}

// TagsDraft reads the body of a PATCH. It fails with Malformed or Invalid.
func TagsDraft(body []byte) (dps.InstanceDraft, error) {
	var req wire.TagsRequest
	if err := decodeKnown(body, &req); err != nil {
		return dps.InstanceDraft{}, err
	}
	if req.Tags == nil {
		return dps.InstanceDraft{}, dps.Invalidf("tags", "is required; only tags can be changed by PATCH")
	}
	return dps.InstanceDraft{Tags: req.Tags}, nil
}

// decodeKnown is Decode that refuses members it does not know, so that none is taken
// and then has no effect. One level below properties is looked at too.
func decodeKnown(body []byte, v any) error {
	if err := Decode(body, v); err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := Decode(body, &members); err != nil {
		return err
	}
	shape := reflect.TypeOf(v).Elem()
	if err := known("", members, shape); err != nil {
		return err
	}
	inner, ok := shape.FieldByName("Properties")
	if !ok {
		return nil
	}
	for name, value := range members {
		if !strings.EqualFold(name, "properties") || empty(value) {
			continue
		}
		var properties map[string]json.RawMessage
		if err := Decode(value, &properties); err != nil {
			return err
		}
		if err := known("properties.", properties, inner.Type); err != nil {
			return err
		}
	}
	return nil
}

func known(prefix string, members map[string]json.RawMessage, shape reflect.Type) error {
	var names []string
	for field := range shape.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	for name, value := range members {
		fits := func(n string) bool { return strings.EqualFold(n, name) } // as encoding/json does
		if !slices.ContainsFunc(names, fits) && !saysNothing(value) {
			return dps.Invalidf(prefix+name, notSupported)
		}
	}
	return nil
}

// empty reports whether a member is absent or null.
func empty(raw json.RawMessage) bool {
	text := bytes.TrimSpace(raw)
	return len(text) == 0 || string(text) == "null"
}

// saysNothing reports whether a member asks for nothing: it is absent, null, false, or an
// empty list, object or string.
func saysNothing(raw json.RawMessage) bool {
	var value any
	if empty(raw) || json.Unmarshal(raw, &value) != nil {
		return empty(raw)
	}
	switch v := value.(type) {
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	default:
		return v == false || v == ""
	}
}

const notSupported = "is not supported; leave it out"

// unchangeable refuses what this service does not act on, unless it says what holds
// anyway.
func unchangeable(req wire.ProvisioningServiceRequest) error {
	switch {
	case req.Location != "" && !strings.EqualFold(req.Location, Location):
		return dps.Invalidf("location", "must be %q: this service has no regions", Location)
	case req.SKU != nil && (!strings.EqualFold(req.SKU.Name, skuName) || (req.SKU.Capacity != nil && *req.SKU.Capacity != 1)):
		return dps.Invalidf("sku", "must be %s with capacity 1: this service has one size", skuName)
	case !noIdentity(req.Identity):
		return dps.Invalidf("identity", notSupported)
	default:
		return unchangeableProperties(req.Properties)
	}
}

func unchangeableProperties(p wire.ProvisioningServiceChanges) error {
	switch {
	case p.PublicNetworkAccess != "" && !strings.EqualFold(p.PublicNetworkAccess, networked):
		return dps.Invalidf(
			"properties.publicNetworkAccess",
			"must be %s; restrict access with the addresses of the listeners and a firewall",
			networked,
		)
	case len(p.IPFilterRules) > 0:
		return dps.Invalidf("properties.ipFilterRules", notSupported)
	case len(p.PrivateEndpointConnections) > 0:
		return dps.Invalidf("properties.privateEndpointConnections", notSupported)
	case p.EnableDataResidency:
		return dps.Invalidf("properties.enableDataResidency", notSupported)
	case p.DisableLocalAuth:
		return dps.Invalidf("properties.disableLocalAuth", "must be false: clients sign in with the keys of policies")
	case !saysNothing(p.DeviceRegistryNamespace):
		return dps.Invalidf("properties.deviceRegistryNamespace", notSupported)
	case len(p.DeviceRegistryNamespaces) > 0:
		return dps.Invalidf("properties.deviceRegistryNamespaces", notSupported)
	}
	return nil
}

// noIdentity reports whether no managed identity is asked for.
func noIdentity(raw json.RawMessage) bool {
	var identity struct {
		Type string          `json:"type"`
		User json.RawMessage `json:"userAssignedIdentities"`
	}
	return saysNothing(raw) ||
		(json.Unmarshal(raw, &identity) == nil && strings.EqualFold(identity.Type, "None") && saysNothing(identity.User))
}

func armAllocation(text string) (dps.AllocationPolicy, error) {
	if text == "" {
		return "", nil
	}
	for _, p := range []dps.AllocationPolicy{dps.Hashed, dps.GeoLatency, dps.Static} {
		if equalFold(p, text) {
			return p, nil
		}
	}
	return "", dps.Invalidf("properties.allocationPolicy", "must be Hashed, GeoLatency or Static")
}

// policyDrafts reads the policies of a PUT; nil where there are none.
func policyDrafts(body []byte) ([]dps.Policy, error) {
	var req struct {
		Properties struct {
			AuthorizationPolicies []wire.SharedAccessPolicyRequest `json:"authorizationPolicies"`
		} `json:"properties"`
	}
	if err := Decode(body, &req); err != nil {
		return nil, err
	}
	policies := req.Properties.AuthorizationPolicies
	if policies == nil {
		return nil, nil
	}
	drafts := make([]dps.Policy, len(policies))
	for i, p := range policies {
		var err error
		if drafts[i], err = policyDraft(p); err != nil {
			return nil, prefixed("properties.authorizationPolicies["+strconv.Itoa(i)+"].", err)
		}
	}
	return drafts, nil
}

func policyDraft(p wire.SharedAccessPolicyRequest) (dps.Policy, error) {
	var draft dps.Policy
	var err error
	if draft.Name, err = dps.ParsePolicyName(p.KeyName); err != nil {
		return draft, err
	}
	if strings.TrimSpace(p.Rights) != "" {
		if draft.Rights, err = dps.ParseRights(p.Rights); err != nil {
			return draft, err
		}
	}
	if draft.Keys.Primary, err = policyKey("primaryKey", p.PrimaryKey); err != nil {
		return draft, err
	}
	draft.Keys.Secondary, err = policyKey("secondaryKey", p.SecondaryKey)
	return draft, err
}

// policyKey reads a key of a policy: none if it is absent, a new one for null. An empty
// text is refused, because clients that send it expect that the old key no longer works.
func policyKey(field string, key wire.NullableString) (dps.Secret, error) {
	switch {
	case !key.Present:
		return dps.Secret{}, nil
	case key.Null:
		return dps.NewKey(), nil
	case key.Value == "":
		return dps.Secret{}, dps.Invalidf(field, "is empty; send null for a new key, or leave it out to keep the key")
	default:
		return dps.ParseKey(field, key.Value)
	}
}

// prefixed puts the path of an object before the member that an error names.
func prefixed(path string, err error) error {
	return dps.Errorf(dps.CodeOf(err), "%s%s", path, dps.MessageOf(err))
}
