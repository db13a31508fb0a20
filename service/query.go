package service

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"strconv"

	"github.com/mooring-iot/mooring/wire"
)

// Query selects records. The zero Query selects all.
type Query struct {
	// Text is a query such as
	//
	//	SELECT * FROM enrollments WHERE initialTwin.tags.site = 'hall 3'
	//
	// and by default "SELECT *". Azure ignores conditions and returns every record.
	Text string

	PageSize     int    // most records of a page; 0 leaves it to the service
	Continuation string // where to go on: that of an earlier page of the same Text
}

// Page is a part of the answer to a query.
type Page[T any] struct {
	Items        []T    // may be fewer than PageSize, or none, although there are more pages
	Continuation string // of the next page; "" on the last one
}

// queryPage asks for one page.
func queryPage[T any](ctx context.Context, c *caller, path string, q Query) (*Page[T], error) {
	if q.Text == "" {
		q.Text = "SELECT *"
	}
	r := Request{Method: http.MethodPost, Path: path, Header: http.Header{}, Body: wire.QuerySpecification{Query: q.Text}}
	if q.PageSize > 0 {
		r.Header.Set(wire.HeaderMaxItemCount, strconv.Itoa(q.PageSize))
	}
	if q.Continuation != "" {
		r.Header.Set(wire.HeaderContinuation, q.Continuation)
	}
	res, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	items, err := decode[[]T](res)
	if err != nil {
		return nil, err
	}
	p := &Page[T]{Items: *items, Continuation: res.Header.Get(wire.HeaderContinuation)}
	if p.Continuation != "" && p.Continuation == q.Continuation {
		return nil, fmt.Errorf("the service gives the same page again and again (header %s)", wire.HeaderContinuation)
	}
	return p, nil
}

// all walks through the pages of a query; each range over it starts anew.
func all[T any](q Query, page func(Query) (*Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for at := q; ; {
			p, err := page(at)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if p.Continuation == "" {
				return
			}
			at.Continuation = p.Continuation
		}
	}
}
