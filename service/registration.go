package service

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"

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

// RegistrationFilter selects registration records whatever enrollment they came through.
// At most one of its first four members is set; without one it selects all records, ordered
// by registration ID.
type RegistrationFilter struct {
	Status          string   // assigning, failed or disabled; the latest change first
	DeviceID        string   // the device ID at any hub
	StartsWith      string   // the beginning of the registration ID, in any case
	RegistrationIDs []string // at most wire.MaxRegistrationIDs

	PageSize     int    // most records of a page; 0 leaves it to the service
	Continuation string // where to go on: that of an earlier page of the same filter
}

// Find returns a page of the records that a filter selects, without knowing the enrollment
// group. Only Mooring has it. The policy needs the right RegistrationStatusRead.
func (c *Registrations) Find(ctx context.Context, f RegistrationFilter) (*wire.RegistrationPage, error) {
	query := url.Values{}
	for name, value := range map[string]string{
		"status": f.Status, "deviceId": f.DeviceID, "startsWith": f.StartsWith, "continuation": f.Continuation,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for _, id := range f.RegistrationIDs {
		query.Add("registrationId", id)
	}
	if f.PageSize > 0 {
		query.Set("top", strconv.Itoa(f.PageSize))
	}
	p, err := fetch[wire.RegistrationPage](ctx, c.call, Request{Method: http.MethodGet, Path: wire.RegistrationsPath, Query: query})
	if err == nil && p.Continuation != "" && p.Continuation == f.Continuation {
		return nil, errors.New("the service returned the same page twice (continuation)")
	}
	return p, err
}
