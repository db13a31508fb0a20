package service

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/wire"
)

// Policies works on the shared access policies, which say who may call the service API.
func (c *ControlPlane) Policies() *Policies { return &Policies{c} }

// Policies works on shared access policies. They have no resource of their own: a change
// writes the whole service, at the version that was read before.
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

// change writes what edit makes of all policies. They are read after the version that
// they are written at, so that none is written over unseen; those that edit leaves alone
// go without their keys, which then stay.
func (c *Policies) change(ctx context.Context, edit func([]wire.SharedAccessPolicy) ([]wire.SharedAccessPolicy, error)) error {
	_, err := c.control.Update(ctx, func(s *wire.ProvisioningServiceRequest) error {
		all, err := c.List(ctx)
		if err != nil {
			return err
		}
		for i := range all {
			all[i].PrimaryKey, all[i].SecondaryKey = "", ""
		}
		s.Properties.AuthorizationPolicies, err = edit(all)
		return err
	}, nil)
	return err
}
