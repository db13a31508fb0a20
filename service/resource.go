package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/mooring-iot/mooring/wire"
)

// maxUpdates bounds how often a change is made anew because another one came between.
const maxUpdates = 8

// UpdateOptions are settings of a change of a provisioning service that may all be left
// out.
type UpdateOptions struct {
	// ETag is the version to change, or AnyETag. By default it is the one that was read,
	// and the change is made anew when another one came between.
	ETag string

	// SkipCheck links hubs without calling them first. Azure calls none.
	SkipCheck bool

	// DeleteDevices are the embedded hubs of Mooring, by host name, that are unlinked even
	// where they hold devices, which are then lost.
	DeleteDevices []string
}

// Get returns the provisioning service, without its policies.
func (c *ControlPlane) Get(ctx context.Context) (*wire.ProvisioningService, error) {
	return fetch[wire.ProvisioningService](ctx, c.call, Request{Method: http.MethodGet})
}

// Update reads the provisioning service, lets edit change it, and writes it back, unless
// edit fails. What edit leaves alone stays as it is. edit may be called several times,
// each time with the service as it is then. opts may be nil.
func (c *ControlPlane) Update(
	ctx context.Context,
	edit func(*wire.ProvisioningServiceRequest) error,
	opts *UpdateOptions,
) (*wire.ProvisioningService, error) {
	if opts == nil {
		opts = &UpdateOptions{}
	}
	var err error
	for range maxUpdates {
		var done *wire.ProvisioningService
		if done, err = c.update(ctx, edit, opts); opts.ETag != "" || !IsPreconditionFailed(err) {
			return done, err
		}
	}
	return nil, err
}

func (c *ControlPlane) update(
	ctx context.Context,
	edit func(*wire.ProvisioningServiceRequest) error,
	opts *UpdateOptions,
) (*wire.ProvisioningService, error) {
	read, err := c.call.do(ctx, Request{Method: http.MethodGet})
	if err != nil {
		return nil, err
	}
	var draft wire.ProvisioningServiceRequest
	if err := json.Unmarshal(read.Body, &draft); err != nil {
		return nil, fmt.Errorf("reading the service's answer: %w", err)
	}
	etag := draft.ETag
	if opts.ETag != "" {
		etag = opts.ETag
	}
	draft.ETag = "" // in If-Match
	if err := edit(&draft); err != nil {
		return nil, err
	}
	header := ifMatch(etag)
	if header == nil {
		return nil, errors.New("the provisioning service has no etag")
	}
	if opts.SkipCheck {
		header.Set(wire.HeaderSkipCheck, "true")
	}
	if len(opts.DeleteDevices) > 0 {
		header.Set(wire.HeaderDeleteDevices, strings.Join(opts.DeleteDevices, ", "))
	}
	return fetch[wire.ProvisioningService](ctx, c.call, Request{Method: http.MethodPut, Header: header, Body: draft})
}
