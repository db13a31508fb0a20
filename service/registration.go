package service

import (
	"context"
	"iter"
	"net/http"

	"github.com/mooring-iot/mooring/wire"
)

// Registrations works on the registration records of devices: what became of them.
type Registrations struct{ call *caller }

// Get returns the record of a device.
func (c *Registrations) Get(ctx context.Context, registrationID string) (*wire.RegistrationState, error) {
	id, err := segment("registrationID", registrationID)
	if err != nil {
		return nil, err
	}
	return fetch[wire.RegistrationState](ctx, c.call, Request{Method: http.MethodGet, Path: "/registrations/" + id})
}

// Delete removes the record of a device: the version of etag, or any when that is ""
// or AnyETag. The device may register again, and its hub still knows it.
func (c *Registrations) Delete(ctx context.Context, registrationID, etag string) error {
	id, err := segment("registrationID", registrationID)
	if err != nil {
		return err
	}
	_, err = c.call.do(ctx, Request{Method: http.MethodDelete, Path: "/registrations/" + id, Header: ifMatch(etag)})
	return err
}

// Query returns the records of the devices that came through an enrollment group. It
// asks for a page when the one before is used up, and ends with the first error.
// Azure does not look at the text of the query.
func (c *Registrations) Query(ctx context.Context, groupID string, q Query) iter.Seq2[*wire.RegistrationState, error] {
	return all(q, func(q Query) (*Page[*wire.RegistrationState], error) { return c.QueryPage(ctx, groupID, q) })
}

// QueryPage returns one page of a query, for those who keep the token of the next
// page themselves.
func (c *Registrations) QueryPage(ctx context.Context, groupID string, q Query) (*Page[*wire.RegistrationState], error) {
	id, err := segment("groupID", groupID)
	if err != nil {
		return nil, err
	}
	return queryPage[*wire.RegistrationState](ctx, c.call, "/registrations/"+id+"/query", q)
}
