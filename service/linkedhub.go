package service

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/wire"
)

// LinkedHubs works on the hubs that devices can be assigned to. They are part of the
// provisioning service: each change reads it and writes it back, at the version that was
// read.
//
// The key of a hub's connection string is read as ****; what is written back so stays
// as it is.
type LinkedHubs struct{ control *ControlPlane }

// LinkedHubs works on the hubs that devices can be assigned to.
func (c *ControlPlane) LinkedHubs() *LinkedHubs { return &LinkedHubs{c} }

// List returns all linked hubs.
func (l *LinkedHubs) List(ctx context.Context) ([]wire.LinkedHub, error) {
	s, err := l.control.Get(ctx)
	if err != nil {
		return nil, err
	}
	return s.Properties.IotHubs, nil
}

// Get returns the linked hub with a host name.
func (l *LinkedHubs) Get(ctx context.Context, name string) (*wire.LinkedHub, error) {
	all, err := l.List(ctx)
	if err != nil {
		return nil, err
	}
	return pick(all, name)
}

// Create links a hub, by its ConnectionString and Location; an embedded one of Mooring
// by its Kind and HostName=NAME alone. It fails with a conflict if a hub of that name is
// linked. opts may be nil.
func (l *LinkedHubs) Create(ctx context.Context, hub wire.LinkedHub, opts *UpdateOptions) (*wire.LinkedHub, error) {
	name := hostName(hub)
	return l.change(ctx, name, func(all []wire.LinkedHub) ([]wire.LinkedHub, error) {
		if at(all, name) >= 0 {
			return nil, &Error{Status: http.StatusConflict, Message: "the hub " + name + " is linked already"}
		}
		return append(all, hub), nil
	}, opts)
}

// Update changes the linked hub with a host name by edit, which may be called several
// times. A new ConnectionString of the same hub replaces its key. opts may be nil.
func (l *LinkedHubs) Update(ctx context.Context, name string, edit func(*wire.LinkedHub), opts *UpdateOptions) (*wire.LinkedHub, error) {
	return l.change(ctx, name, func(all []wire.LinkedHub) ([]wire.LinkedHub, error) {
		hub, err := pick(all, name)
		if err == nil {
			edit(hub)
		}
		return all, err
	}, opts)
}

// Delete unlinks the hub with a host name. The devices of a hub over the wire stay
// there. An embedded hub of Mooring that holds devices is a conflict, unless
// opts.DeleteDevices names it. opts may be nil.
func (l *LinkedHubs) Delete(ctx context.Context, name string, opts *UpdateOptions) error {
	_, err := l.control.Update(ctx, func(s *wire.ProvisioningServiceRequest) error {
		i := at(s.Properties.IotHubs, name)
		if i < 0 {
			return noHub(name)
		}
		s.Properties.IotHubs = slices.Delete(s.Properties.IotHubs, i, i+1)
		return nil
	}, opts)
	return err
}

// change writes what edit makes of all hubs and returns the one with a name.
func (l *LinkedHubs) change(
	ctx context.Context,
	name string,
	edit func([]wire.LinkedHub) ([]wire.LinkedHub, error),
	opts *UpdateOptions,
) (*wire.LinkedHub, error) {
	done, err := l.control.Update(ctx, func(s *wire.ProvisioningServiceRequest) (err error) {
		s.Properties.IotHubs, err = edit(s.Properties.IotHubs)
		return err
	}, opts)
	if err != nil {
		return nil, err
	}
	return pick(done.Properties.IotHubs, name)
}

// pick returns the element of all with a host name.
func pick(all []wire.LinkedHub, name string) (*wire.LinkedHub, error) {
	if i := at(all, name); i >= 0 {
		return &all[i], nil
	}
	return nil, noHub(name)
}

func at(all []wire.LinkedHub, name string) int {
	return slices.IndexFunc(all, func(h wire.LinkedHub) bool { return strings.EqualFold(h.Name, name) })
}

func noHub(name string) error {
	return &Error{Status: http.StatusNotFound, Message: "there is no linked hub " + name}
}

// hostName returns the host name in a hub's connection string, without the port.
func hostName(hub wire.LinkedHub) string {
	for part := range strings.SplitSeq(hub.ConnectionString, ";") {
		if name, value, _ := strings.Cut(part, "="); strings.EqualFold(strings.TrimSpace(name), "HostName") {
			host, _, _ := strings.Cut(strings.TrimSpace(value), ":")
			return host
		}
	}
	return hub.Name
}
