// Package route finds the handler of a request by method and path.
//
// It differs from net/http's ServeMux where the protocol demands it: fixed segments
// match without case, a trailing slash changes nothing, segments are split while
// still escaped and decoded once, and a path that exists under other methods is
// reported, so that each API can answer in its own error form.
package route

import (
	"net/http"
	"net/url"
	"strings"
)

// Params are the decoded values of a pattern's {name} segments.
type Params map[string]string

// Handler answers a request, or returns its error before it has written anything.
type Handler func(w http.ResponseWriter, r *http.Request, p Params) error

// Route is one operation of an API.
type Route struct {
	Method  string // AnyMethod matches all
	Pattern string // "/enrollments/{id}"; a {name} segment matches anything but "", a last {name...} any number of segments
	Handle  Handler
}

// AnyMethod matches every method that no other route of the same path has.
const AnyMethod = "*"

// Table is the routes of one API. Where two patterns match, the one with more fixed
// segments wins.
type Table struct{ routes []compiled }

type compiled struct {
	Route
	segments []string
	fixed    int
	open     bool // whether more segments may follow
}

// NewTable returns a table of routes.
func NewTable(routes ...Route) *Table {
	t := &Table{}
	for _, r := range routes {
		c := compiled{Route: r, segments: split(r.Pattern)}
		if last := len(c.segments) - 1; strings.HasSuffix(c.segments[last], "...}") {
			c.segments, c.open = c.segments[:last], true
		}
		for _, s := range c.segments {
			if !isParam(s) {
				c.fixed++
			}
		}
		t.routes = append(t.routes, c)
	}
	return t
}

// Match is what Find found.
type Match struct {
	Route   Route
	Params  Params
	Allowed []string // methods of the path, when it exists but not under this method
}

// Find returns the route of a request. Without one, ok is false and Allowed tells
// an unknown path (none) from a wrong method.
func (t *Table) Find(r *http.Request) (m Match, ok bool) {
	segments := split(r.URL.EscapedPath())
	best, exact := -1, false
	for _, c := range t.routes {
		params, matches := c.match(segments)
		switch {
		case !matches:
		case c.Method != r.Method && c.Method != AnyMethod:
			m.Allowed = append(m.Allowed, c.Method)
		case c.fixed > best || c.fixed == best && !exact:
			best, exact = c.fixed, c.Method == r.Method
			m.Route, m.Params = c.Route, params
		}
	}
	return m, best >= 0
}

func (c compiled) match(segments []string) (Params, bool) {
	if len(segments) < len(c.segments) || len(segments) > len(c.segments) && !c.open {
		return nil, false
	}
	var params Params
	for i, want := range c.segments {
		if !isParam(want) {
			if !strings.EqualFold(want, segments[i]) {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil || value == "" {
			return nil, false
		}
		if params == nil {
			params = make(Params, 2)
		}
		params[want[1:len(want)-1]] = value
	}
	return params, true
}

func isParam(segment string) bool { return strings.HasPrefix(segment, "{") }

func split(path string) []string {
	return strings.Split(strings.Trim(path, "/"), "/")
}
