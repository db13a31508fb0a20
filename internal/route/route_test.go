package route_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/route"
)

func table() *route.Table {
	return route.NewTable(
		route.Route{Method: "GET", Pattern: "/enrollments/{id}"},
		route.Route{Method: "PUT", Pattern: "/enrollments/{id}"},
		route.Route{Method: "POST", Pattern: "/enrollments/query"},
		route.Route{Method: "POST", Pattern: "/enrollments/{id}/attestationmechanism"},
		route.Route{Method: "POST", Pattern: "/enrollments"},
		route.Route{Method: "GET", Pattern: "/{a}/b"},
		route.Route{Method: "GET", Pattern: "/a/{b}"},
		route.Route{Method: "GET", Pattern: "/a/b"},
		route.Route{Method: "GET", Pattern: "/open/{id}/parts/{part}"},
		route.Route{Method: route.AnyMethod, Pattern: "/open/{id}/parts/{rest...}"},
		route.Route{Method: route.AnyMethod, Pattern: "/all/{rest...}"},
	)
}

func TestFind(t *testing.T) {
	tests := []struct {
		name, method, path string
		pattern            string // "" for none
		params             route.Params
	}{
		{name: "plain", method: "GET", path: "/enrollments/dev-1", pattern: "/enrollments/{id}", params: route.Params{"id": "dev-1"}},
		{name: "case of fixed segments", method: "POST", path: "/ENROLLMENTS/x/AttestationMechanism", pattern: "/enrollments/{id}/attestationmechanism", params: route.Params{"id": "x"}},
		{name: "case of values kept", method: "GET", path: "/enrollments/Dev-1", pattern: "/enrollments/{id}", params: route.Params{"id": "Dev-1"}},
		{name: "trailing slash", method: "POST", path: "/enrollments/", pattern: "/enrollments"},
		{name: "fixed wins over value", method: "POST", path: "/enrollments/query", pattern: "/enrollments/query"},
		{name: "reserved word as an id", method: "GET", path: "/enrollments/query", pattern: "/enrollments/{id}", params: route.Params{"id": "query"}},
		{name: "most fixed wins", method: "GET", path: "/a/b", pattern: "/a/b"},
		{name: "escaped once", method: "GET", path: "/enrollments/a%3Ab", pattern: "/enrollments/{id}", params: route.Params{"id": "a:b"}},
		{name: "escaped slash stays in its segment", method: "GET", path: "/enrollments/a%2Fb", pattern: "/enrollments/{id}", params: route.Params{"id": "a/b"}},
		{name: "escaped percent is decoded once", method: "GET", path: "/enrollments/a%2541", pattern: "/enrollments/{id}", params: route.Params{"id": "a%41"}},
		{name: "whole path escaped is unknown", method: "GET", path: "/enrollments%2Fdev-1"},
		{name: "wrong method", method: "DELETE", path: "/enrollments/x"},
		{name: "any method", method: "PATCH", path: "/all/x", pattern: "/all/{rest...}"},
		{name: "no more segments", method: "GET", path: "/ALL/", pattern: "/all/{rest...}"},
		{name: "many more segments", method: "GET", path: "/all/x/y/z", pattern: "/all/{rest...}"},
		{name: "a method of its own wins", method: "GET", path: "/open/x/parts/y", pattern: "/open/{id}/parts/{part}", params: route.Params{"id": "x", "part": "y"}},
		{name: "any other method", method: "PUT", path: "/open/x/parts/y", pattern: "/open/{id}/parts/{rest...}", params: route.Params{"id": "x"}},
		{name: "too few segments", method: "GET", path: "/open/x"},
		{name: "unknown", method: "GET", path: "/other/x/y"},
		{name: "empty value", method: "GET", path: "/enrollments//"},
		{name: "root", method: "GET", path: "/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, ok := table().Find(httptest.NewRequest(tt.method, tt.path, http.NoBody))
			if ok != (tt.pattern != "") || m.Route.Pattern != tt.pattern {
				t.Fatalf("Find(%s %s) = %q, %v; want %q", tt.method, tt.path, m.Route.Pattern, ok, tt.pattern)
			}
			if diff := cmp.Diff(tt.params, m.Params); ok && diff != "" {
				t.Errorf("params (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindTellsAllowedMethods(t *testing.T) {
	m, ok := table().Find(httptest.NewRequest("DELETE", "/enrollments/x", http.NoBody))
	slices.Sort(m.Allowed)
	if diff := cmp.Diff([]string{"GET", "PUT"}, m.Allowed); ok || diff != "" {
		t.Errorf("Find(DELETE) = %v, allowed (-want +got):\n%s", ok, diff)
	}
}

func FuzzFind(f *testing.F) {
	f.Add("/enrollments/a%2fb")
	f.Add("//%")
	f.Fuzz(func(t *testing.T, path string) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: path}}
		if m, ok := table().Find(r); ok && m.Route.Method != "GET" && m.Route.Method != route.AnyMethod {
			t.Errorf("Find(%q) gave %s", path, m.Route.Method)
		}
	})
}
