package service

import (
	"context"
	"fmt"
	"iter"
	"net/http"

	"github.com/mooring-iot/mooring/wire"
)

// kind is one of the two kinds of enrollments.
type kind struct {
	path  string
	field string // what its ID is called
	id    func(*wire.Enrollment) string
	bulk  func(mode string, items []wire.EnrollmentRequest) any // the body of a bulk operation
}

var (
	individual = kind{
		path: "/enrollments", field: "RegistrationID",
		id: func(e *wire.Enrollment) string { return e.RegistrationID },
		bulk: func(mode string, items []wire.EnrollmentRequest) any {
			return wire.BulkEnrollmentOperation{Mode: mode, Enrollments: items}
		},
	}
	group = kind{
		path: "/enrollmentGroups", field: "EnrollmentGroupID",
		id: func(e *wire.Enrollment) string { return e.EnrollmentGroupID },
		bulk: func(mode string, items []wire.EnrollmentRequest) any {
			return wire.BulkEnrollmentGroupOperation{Mode: mode, EnrollmentGroups: items}
		},
	}
)

// Enrollments works on individual enrollments, or on enrollment groups: the calls are
// the same. IDs are compared without regard to case.
type Enrollments struct {
	call *caller
	kind kind
}

// Get returns a record. An individual enrollment has its RegistrationState, which is
// "unassigned" before its device came. Symmetric keys are left out (see
// AttestationMechanism), and of certificates there is only the description.
func (c *Enrollments) Get(ctx context.Context, id string) (*wire.Enrollment, error) {
	path, err := c.path(id)
	if err != nil {
		return nil, err
	}
	return fetch[wire.Enrollment](ctx, c.call, Request{Method: http.MethodGet, Path: path})
}

// Put writes a record as a whole, and returns it as it is stored, with symmetric keys
// that the service made.
//
// Without an ETag it creates, and fails with a conflict when the record exists. With
// the ETag of a record that was read it replaces that version, and fails with
// IsPreconditionFailed when another has taken its place; with AnyETag it replaces
// whatever there is. Keys and certificates that e leaves out, as Get does, stay as
// they are. What only the service sets (RegistrationState and the times) is not sent.
func (c *Enrollments) Put(ctx context.Context, e *wire.Enrollment) (*wire.Enrollment, error) {
	path, err := c.path(c.kind.id(e))
	if err != nil {
		return nil, err
	}
	body := wire.EnrollmentRequest{Enrollment: *e}
	body.ETag = ""
	return fetch[wire.Enrollment](ctx, c.call, Request{Method: http.MethodPut, Path: path, Header: ifMatch(e.ETag), Body: body})
}

// Delete removes a record: the version of etag, or any when that is "" or AnyETag.
func (c *Enrollments) Delete(ctx context.Context, id, etag string) error {
	path, err := c.path(id)
	if err != nil {
		return err
	}
	_, err = c.call.do(ctx, Request{Method: http.MethodDelete, Path: path, Header: ifMatch(etag)})
	return err
}

// AttestationMechanism returns how devices of a record prove themselves, with
// symmetric keys.
func (c *Enrollments) AttestationMechanism(ctx context.Context, id string) (*wire.Attestation, error) {
	path, err := c.path(id)
	if err != nil {
		return nil, err
	}
	return fetch[wire.Attestation](ctx, c.call, Request{Method: http.MethodPost, Path: path + "/attestationmechanism"})
}

// Query returns the records that q selects. It asks for a page when the one before
// is used up, and ends with the first error.
//
//	for e, err := range client.Enrollments().Query(ctx, service.Query{}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(e.RegistrationID)
//	}
func (c *Enrollments) Query(ctx context.Context, q Query) iter.Seq2[*wire.Enrollment, error] {
	return all(q, func(q Query) (*Page[*wire.Enrollment], error) { return c.QueryPage(ctx, q) })
}

// QueryPage returns one page of what q selects, for those who keep the token of the
// next page themselves.
func (c *Enrollments) QueryPage(ctx context.Context, q Query) (*Page[*wire.Enrollment], error) {
	return queryPage[*wire.Enrollment](ctx, c.call, c.kind.path+"/query", q)
}

// Bulk does the same to up to wire.MaxBulkItems records with one call. mode is
// wire.BulkCreate, BulkUpdate, BulkUpdateIfMatchETag or BulkDelete; an update needs
// the ETag of each record, and a deletion nothing but the ID.
//
// Records are done one by one: when some are refused, the others are done all the
// same, and the error is a *BulkError that names the refused ones.
func (c *Enrollments) Bulk(ctx context.Context, mode string, records []*wire.Enrollment) error {
	items := make([]wire.EnrollmentRequest, len(records))
	for i, e := range records {
		if c.kind.id(e) == "" {
			return fmt.Errorf("record %d: %s is required", i+1, c.kind.field)
		}
		items[i].Enrollment = *e
	}
	result, err := fetch[wire.BulkResult](ctx, c.call, Request{Method: http.MethodPost, Path: c.kind.path, Body: c.kind.bulk(mode, items)})
	if err != nil {
		return err
	}
	if result.IsSuccessful && len(result.Errors) == 0 {
		return nil
	}
	return bulkError(result)
}

func bulkError(result *wire.BulkResult) *BulkError {
	e := &BulkError{}
	for _, item := range result.Errors {
		e.Items = append(e.Items, &ItemError{ID: item.RegistrationID + item.EnrollmentGroupID, Code: item.ErrorCode, Message: item.ErrorStatus})
	}
	return e
}

func (c *Enrollments) path(id string) (string, error) {
	s, err := segment(c.kind.field, id)
	return c.kind.path + "/" + s, err
}
