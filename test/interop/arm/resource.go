package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"
)

func (w *walk) get(ctx context.Context) (arms.ProvisioningServiceDescription, error) {
	answer, err := w.resources.Get(ctx, name, group, nil)
	return answer.ProvisioningServiceDescription, err
}

// put writes a resource and waits until it is done.
func (w *walk) put(ctx context.Context, d arms.ProvisioningServiceDescription) error {
	poller, err := w.resources.BeginCreateOrUpdate(ctx, group, name, d, nil)
	if err != nil {
		return err
	}
	_, err = poller.PollUntilDone(ctx, nil)
	return err
}

func (w *walk) read(ctx context.Context) error {
	d, err := w.get(ctx)
	if err != nil {
		return err
	}
	if d.Properties == nil || d.SKU == nil || d.Etag == nil || *d.Etag == "" || len(d.Properties.IotHubs) != 1 {
		return fmt.Errorf("incomplete: %+v", d)
	}
	hub := d.Properties.IotHubs[0]
	err = errors.Join(
		expect("id", d.ID, w.info.ControlPlane.ResourceID), expect("name", d.Name, name),
		expect("type", d.Type, "Microsoft.Devices/provisioningServices"),
		expect("sku", d.SKU.Name, arms.IotDpsSKUS1), expect("capacity", d.SKU.Capacity, 1),
		expect("state", d.Properties.State, arms.StateActive), expect("provisioningState", d.Properties.ProvisioningState, "Succeeded"),
		expect("allocationPolicy", d.Properties.AllocationPolicy, arms.AllocationPolicyHashed),
		expect("idScope", d.Properties.IDScope, w.info.IDScope),
		expect("service host", d.Properties.ServiceOperationsHostName, w.info.ServiceEndpoint),
		expect("hub", hub.Name, w.info.Hubs[0].HostName),
	)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(*hub.ConnectionString, ";SharedAccessKey=****") {
		return errors.New("the hub's key is not masked")
	}
	inGroup, err := all(
		ctx,
		w.resources.NewListByResourceGroupPager(group, nil),
		func(p arms.IotDpsResourceClientListByResourceGroupResponse) []*arms.ProvisioningServiceDescription {
			return p.Value
		},
	)
	if err != nil {
		return err
	}
	inSubscription, err := all(
		ctx,
		w.resources.NewListBySubscriptionPager(nil),
		func(p arms.IotDpsResourceClientListBySubscriptionResponse) []*arms.ProvisioningServiceDescription {
			return p.Value
		},
	)
	if err != nil {
		return err
	}
	if len(inGroup) != 1 || len(inSubscription) != 1 {
		return fmt.Errorf("%d services in the group, %d in the subscription", len(inGroup), len(inSubscription))
	}
	return errors.Join(expect("id in the group", inGroup[0].ID, *d.ID), expect("id in the subscription", inSubscription[0].ID, *d.ID))
}

// all returns every item of every page.
func all[P, T any](ctx context.Context, pager *runtime.Pager[P], items func(P) []T) ([]T, error) {
	var list []T
	for pager.More() {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, items(page)...)
	}
	return list, nil
}

func (w *walk) small(ctx context.Context) error {
	skus, err := all(
		ctx,
		w.resources.NewListValidSKUsPager(name, group, nil),
		func(p arms.IotDpsResourceClientListValidSKUsResponse) []*arms.IotDpsSKUDefinition { return p.Value },
	)
	if err != nil || len(skus) != 1 {
		return fmt.Errorf("%d SKUs: %w", len(skus), errOrNone(err))
	}
	operations, err := all(ctx, w.operations.NewListPager(nil), func(p arms.OperationsClientListResponse) []*arms.Operation { return p.Value })
	if err != nil || len(operations) == 0 {
		return fmt.Errorf("%d operations: %w", len(operations), errOrNone(err))
	}
	for asked, reason := range map[string]arms.NameUnavailabilityReason{name: arms.NameUnavailabilityReasonAlreadyExists, "another": arms.NameUnavailabilityReasonInvalid} {
		answer, err := w.resources.CheckProvisioningServiceNameAvailability(ctx, arms.OperationInputs{Name: to.Ptr(asked)}, nil)
		if err != nil {
			return err
		}
		if err := errors.Join(expect(asked+" available", answer.NameAvailable, false), expect(asked+" reason", answer.Reason, reason)); err != nil {
			return err
		}
	}
	_, err = w.resources.GetOperationResult(ctx, "ghost", group, name, "", nil)
	return errors.Join(
		expect("sku", skus[0].Name, arms.IotDpsSKUS1),
		refused("operation result", err, http.StatusNotFound, "ResourceNotFound", ""),
	)
}

func (w *walk) update(ctx context.Context) error {
	poller, err := w.resources.BeginUpdate(ctx, group, name, arms.TagsResource{Tags: map[string]*string{"site": to.Ptr("hall 3")}}, nil)
	if err != nil {
		return err
	}
	patched, err := poller.PollUntilDone(ctx, nil)
	if err != nil {
		return err
	}
	if err := expect("tag", patched.Tags["site"], "hall 3"); err != nil {
		return err
	}
	d := patched.ProvisioningServiceDescription
	d.Tags["line"] = to.Ptr("7")
	d.Properties.AllocationPolicy = to.Ptr(arms.AllocationPolicyStatic)
	if err := w.put(ctx, d); err != nil {
		return err
	}
	d, err = w.get(ctx)
	if err != nil {
		return err
	}
	err = errors.Join(expect("tag", d.Tags["line"], "7"), expect("policy", d.Properties.AllocationPolicy, arms.AllocationPolicyStatic))
	if err != nil {
		return err
	}
	d.Properties.AllocationPolicy = to.Ptr(arms.AllocationPolicyHashed)
	err = w.put(ctx, d)
	return err
}

// versions relies on the etag in the body: this SDK sends no If-Match.
func (w *walk) versions(ctx context.Context) error {
	old, err := w.get(ctx)
	if err != nil {
		return err
	}
	if err := w.put(ctx, old); err != nil {
		return err
	}
	err = w.put(ctx, old)
	return refused("a stale etag", err, http.StatusPreconditionFailed, "PreconditionFailed", "")
}

type rule = arms.SharedAccessSignatureAuthorizationRuleAccessRightsDescription

// rules are policies by their names.
type rules map[string]*rule

func (w *walk) keys(ctx context.Context) (rules, error) {
	list, err := all(
		ctx,
		w.resources.NewListKeysPager(name, group, nil),
		func(p arms.IotDpsResourceClientListKeysResponse) []*rule { return p.Value },
	)
	byName := make(rules)
	for _, r := range list {
		byName[*r.KeyName] = r
	}
	return byName, err
}

// rewrite reads the whole resource, changes its policies, writes it, and returns the
// policies that stand there then.
func (w *walk) rewrite(ctx context.Context, change func(rules)) (rules, error) {
	d, err := w.get(ctx)
	if err != nil {
		return nil, err
	}
	current, err := w.keys(ctx)
	if err != nil {
		return nil, err
	}
	change(current)
	d.Properties.AuthorizationPolicies = slices.Collect(maps.Values(current))
	if err := w.put(ctx, d); err != nil {
		return nil, err
	}
	return w.keys(ctx)
}

const ownerPolicy = "provisioningserviceowner"

// policies adds one, regenerates a key of it, and removes it again.
func (w *walk) policies(ctx context.Context) error {
	before, err := w.keys(ctx)
	if err != nil {
		return err
	}
	owner := before[ownerPolicy]
	if owner == nil || !strings.Contains(w.info.ConnectionStrings[ownerPolicy], *owner.PrimaryKey) {
		return errors.New("the owner's key is not the one of info")
	}
	line, err := w.addPolicy(ctx)
	if err != nil {
		return err
	}
	fresh := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 64)))
	changed, err := w.rewrite(ctx, func(m rules) { m["line"].PrimaryKey = to.Ptr(fresh) })
	if err != nil {
		return err
	}
	one, err := w.resources.ListKeysForKeyName(ctx, name, "line", group, nil)
	if err != nil {
		return err
	}
	left, err := w.rewrite(ctx, func(m rules) { delete(m, "line") })
	if err != nil {
		return err
	}
	_, missing := w.resources.ListKeysForKeyName(ctx, name, "line", group, nil)
	return errors.Join(
		expect("primary key", one.PrimaryKey, fresh),
		expect("secondary key", one.SecondaryKey, *line.SecondaryKey),
		expect(
			"owner's key",
			changed[ownerPolicy].PrimaryKey,
			*owner.PrimaryKey,
		),
		expect("owner's key", left[ownerPolicy].PrimaryKey, *owner.PrimaryKey),
		expect("policies left", to.Ptr(len(left)), 1),
		refused("a removed policy", missing, http.StatusNotFound, "ResourceNotFound", "line"),
	)
}

// addPolicy adds the policy line without keys, which are generated.
func (w *walk) addPolicy(ctx context.Context) (*rule, error) {
	const rights = arms.AccessRightsDescription("EnrollmentWrite, RegistrationStatusRead")
	added, err := w.rewrite(ctx, func(m rules) { m["line"] = &rule{KeyName: to.Ptr("line"), Rights: to.Ptr(rights)} })
	if err != nil {
		return nil, err
	}
	line := added["line"]
	if line == nil || line.PrimaryKey == nil || *line.PrimaryKey == "" || *line.PrimaryKey == *line.SecondaryKey {
		return nil, fmt.Errorf("the new policy is %+v", line)
	}
	return line, expect("rights", line.Rights, rights)
}

func (w *walk) refusals(ctx context.Context) error {
	var errs []error
	for _, tt := range []struct {
		words  string
		change func(*arms.ProvisioningServiceDescription)
	}{
		{"ipFilterRules", func(d *arms.ProvisioningServiceDescription) {
			d.Properties.IPFilterRules = []*arms.IPFilterRule{{FilterName: to.Ptr("x"), Action: to.Ptr(arms.IPFilterActionTypeReject), IPMask: to.Ptr("0.0.0.0/0")}}
		}},
		{"publicNetworkAccess", func(d *arms.ProvisioningServiceDescription) {
			d.Properties.PublicNetworkAccess = to.Ptr(arms.PublicNetworkAccessDisabled)
		}},
		{"iotHubs", func(d *arms.ProvisioningServiceDescription) {
			d.Properties.IotHubs[0].AllocationWeight = to.Ptr[int32](1001)
		}},
		{"location", func(d *arms.ProvisioningServiceDescription) { d.Location = to.Ptr("westus") }},
		{"allocationPolicy", func(d *arms.ProvisioningServiceDescription) {
			d.Properties.AllocationPolicy = to.Ptr(arms.AllocationPolicy("Custom"))
		}},
	} {
		d, err := w.get(ctx)
		if err != nil {
			return err
		}
		tt.change(&d)
		err = w.put(ctx, d)
		errs = append(errs, refused(tt.words, err, http.StatusBadRequest, "InvalidArgument", tt.words))
	}
	_, err := w.resources.BeginCreateOrUpdate(
		ctx,
		group,
		"another",
		arms.ProvisioningServiceDescription{Properties: &arms.IotDpsPropertiesDescription{}},
		nil,
	)
	errs = append(errs, refused("another service", err, http.StatusBadRequest, "InvalidArgument", "one provisioning service"))
	_, err = w.resources.BeginDelete(ctx, name, group, nil)
	errs = append(errs, refused("delete", err, http.StatusConflict, "Conflict", "cannot be deleted"))
	_, err = w.resources.Get(ctx, "another", group, nil)
	errs = append(errs, refused("get another", err, http.StatusNotFound, "ResourceNotFound", "another"))
	errs = append(errs, w.noPrivateLinks(ctx))
	poller, err := w.resources.BeginDelete(ctx, "another", group, nil)
	if err == nil {
		_, err = poller.PollUntilDone(ctx, nil)
	}
	return errors.Join(append(errs, err)...)
}

// noPrivateLinks calls what has no counterpart here: lists are empty, and no element exists
// or can be made.
func (w *walk) noPrivateLinks(ctx context.Context) error {
	links, err := w.resources.ListPrivateLinkResources(ctx, group, name, nil)
	if err != nil || len(links.Value) > 0 {
		return fmt.Errorf("private links: %d, %w, want none", len(links.Value), errOrNone(err))
	}
	endpoints, err := w.resources.ListPrivateEndpointConnections(ctx, group, name, nil)
	if err != nil || len(endpoints.PrivateEndpointConnectionArray) > 0 {
		return fmt.Errorf("private endpoints: %d, %w, want none", len(endpoints.PrivateEndpointConnectionArray), errOrNone(err))
	}
	var all [4]error
	_, err = w.resources.GetPrivateLinkResources(ctx, group, name, "x", nil)
	all[0] = refused("get private link", err, http.StatusNotFound, "NotFound", "no private links")
	_, err = w.resources.GetPrivateEndpointConnection(ctx, group, name, "x", nil)
	all[1] = refused("get private endpoint", err, http.StatusNotFound, "NotFound", "no private endpoint")
	_, err = w.resources.BeginCreateOrUpdatePrivateEndpointConnection(ctx, group, name, "x", arms.PrivateEndpointConnection{}, nil)
	all[2] = refused("create private endpoint", err, http.StatusBadRequest, "InvalidArgument", "privateEndpointConnections: is not supported")
	_, err = w.resources.BeginDeletePrivateEndpointConnection(ctx, group, name, "x", nil)
	all[3] = refused("delete private endpoint", err, http.StatusNotFound, "NotFound", "no private endpoint")
	return errors.Join(all[:]...)
}

func (w *walk) stranger(ctx context.Context) error {
	other := walk{info: w.info}
	if err := other.connect("no.such.token"); err != nil {
		return err
	}
	_, err := other.get(ctx)
	return refused("get", err, http.StatusUnauthorized, "AuthenticationFailed", "")
}
