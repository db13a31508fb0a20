package service

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mooring-iot/mooring/wire"
)

// HubStatuses returns the linked hubs with how each is doing. The policy needs the right
// ServiceConfig.
//
// Only Mooring offers it.
func (c *Client) HubStatuses(ctx context.Context) ([]wire.HubStatus, error) {
	all, err := fetch[wire.HubStatusList](ctx, c.call, Request{Method: http.MethodGet, Path: wire.LinkedHubsPath})
	if err != nil {
		return nil, err
	}
	return all.Value, nil
}

// Cleanups returns a page of the identities that are still to be removed from hubs, at
// most top of them; 0 leaves it to the service. continuation is that of the page before,
// "" for the first. The policy needs the right ServiceConfig.
//
// Only Mooring offers it.
func (c *Client) Cleanups(ctx context.Context, top int, continuation string) (*wire.CleanupPage, error) {
	query := url.Values{}
	if top > 0 {
		query.Set("top", strconv.Itoa(top))
	}
	if continuation != "" {
		query.Set("continuation", continuation)
	}
	return fetch[wire.CleanupPage](ctx, c.call, Request{Method: http.MethodGet, Path: wire.CleanupsPath, Query: query})
}
