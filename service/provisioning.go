package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/wire"
)

// Get returns the provisioning service itself: its endpoints, ID scope, allocation
// policy and linked hubs.
func (c *ControlPlane) Get(ctx context.Context) (*wire.ProvisioningService, error) {
	return fetch[wire.ProvisioningService](ctx, c.call, Request{Method: http.MethodGet})
}

// Policies works on the shared access policies, which say who may call the service API.
func (c *ControlPlane) Policies() *Policies { return &Policies{c} }

// Policies works on shared access policies. They have no resource of their own: a change
// writes the whole service, at the version that was read before, and fails with
// IsPreconditionFailed when another change came between.
// Source: azure-rest-api-specs, iotdps.json, IotDpsResource_ListKeys and CreateOrUpdate.
type Policies struct{ control *ControlPlane }

// List returns all policies with their keys.
func (c *Policies) List(ctx context.Context) ([]wire.SharedAccessPolicy, error) {
	list, err := fetch[wire.List[wire.SharedAccessPolicy]](ctx, c.control.call, Request{Method: http.MethodPost, Path: "/listkeys"})
	if err != nil {
		return nil, err
	}
	return list.Value, nil
}

// Get returns a policy with its keys.
func (c *Policies) Get(ctx context.Context, name string) (*wire.SharedAccessPolicy, error) {
	s, err := segment("name", name)
	if err != nil {
		return nil, err
	}
	return fetch[wire.SharedAccessPolicy](ctx, c.control.call, Request{Method: http.MethodPost, Path: "/keys/" + s + "/listkeys"})
}

// Put writes a policy: a new one, or in place of the one with its name. What it leaves
// out (keys, rights) stays, and keys of a new one are made by the service.
func (c *Policies) Put(ctx context.Context, p wire.SharedAccessPolicy) error {
	if p.KeyName == "" {
		return fmt.Errorf("KeyName is required")
	}
	return c.change(ctx, func(all []wire.SharedAccessPolicy) ([]wire.SharedAccessPolicy, error) {
		i := policyAt(all, p.KeyName)
		if i < 0 {
			return append(all, p), nil
		}
		all[i] = p
		return all, nil
	})
}

// Delete removes a policy. It fails with IsNotFound when there is none of that name.
func (c *Policies) Delete(ctx context.Context, name string) error {
	return c.change(ctx, func(all []wire.SharedAccessPolicy) ([]wire.SharedAccessPolicy, error) {
		i := policyAt(all, name)
		if i < 0 {
			return nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("There is no policy %q.", name)}
		}
		return slices.Delete(all, i, i+1), nil
	})
}

func policyAt(all []wire.SharedAccessPolicy, name string) int {
	return slices.IndexFunc(all, func(p wire.SharedAccessPolicy) bool { return strings.EqualFold(p.KeyName, name) })
}

// change writes what edit makes of all policies. What the service says of itself goes
// back as it came, members unknown here included. The policies are read after the
// version that they are written at, so that none is written over unseen; those that edit
// leaves alone go without their keys, which then stay.
func (c *Policies) change(ctx context.Context, edit func([]wire.SharedAccessPolicy) ([]wire.SharedAccessPolicy, error)) error {
	res, err := c.control.call.do(ctx, Request{Method: http.MethodGet})
	if err != nil {
		return err
	}
	members, err := decode[map[string]json.RawMessage](res)
	if err != nil {
		return err
	}
	resource, err := decode[struct {
		ETag       string                     `json:"etag"`
		Properties map[string]json.RawMessage `json:"properties"`
	}](res)
	if err != nil {
		return err
	}
	all, err := c.List(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].PrimaryKey, all[i].SecondaryKey = "", ""
	}
	if all, err = edit(all); err != nil {
		return err
	}
	if resource.Properties == nil {
		resource.Properties = make(map[string]json.RawMessage)
	}
	if resource.Properties["authorizationPolicies"], err = json.Marshal(all); err != nil {
		return err
	}
	if (*members)["properties"], err = json.Marshal(resource.Properties); err != nil {
		return err
	}
	_, err = c.control.call.do(ctx, Request{Method: http.MethodPut, Header: ifMatch(resource.ETag), Body: *members})
	return err
}
