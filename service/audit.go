package service

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mooring-iot/mooring/wire"
)

// AuditFilter selects changes; what is zero selects all.
type AuditFilter struct {
	From      time.Time // the first moment
	To        time.Time // the moment after the last
	Principal string    // such as policy:NAME
	Operation string
	Kind      string
	ID        string
	Result    string // ok, failed, or the name of an error

	PageSize     int    // most entries of a page; 0 leaves it to the service
	Continuation string // where to go on: that of an earlier page
}

// Audit returns a page of the management changes, newest first. The policy needs the
// right ServiceConfig.
//
// Only Mooring offers it.
func (c *Client) Audit(ctx context.Context, f AuditFilter) (*wire.AuditPage, error) {
	query := url.Values{}
	for name, value := range map[string]string{
		"principal": f.Principal, "operation": f.Operation, "kind": f.Kind, "id": f.ID, "result": f.Result, "continuation": f.Continuation,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"from": f.From, "to": f.To} {
		if !at.IsZero() {
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if f.PageSize > 0 {
		query.Set("top", strconv.Itoa(f.PageSize))
	}
	return fetch[wire.AuditPage](ctx, c.call, Request{Method: http.MethodGet, Path: wire.AuditPath, Query: query})
}
