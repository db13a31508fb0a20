package service

import (
	"context"
	"net/http"

	"github.com/mooring-iot/mooring/wire"
)

// Allocate says which hub a device would get, were it to register now, and why. Nothing
// is changed; a webhook is called only where the request says so. The policy needs the
// right EnrollmentRead.
//
// Only Mooring offers it.
func (c *Client) Allocate(ctx context.Context, r wire.AllocateRequest) (*wire.AllocateAnswer, error) {
	return fetch[wire.AllocateAnswer](ctx, c.call, Request{Method: http.MethodPost, Path: wire.AllocatePath, Body: r})
}
