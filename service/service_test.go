package service_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/sas"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func TestNewClientRefuses(t *testing.T) {
	const key = "SharedAccessKey=Zm9vYmFy"
	tests := []struct{ name, in, want string }{
		{"empty", "", "must have HostName"},
		{"no host", "SharedAccessKeyName=p;" + key, "must have HostName"},
		{"no policy", "HostName=h;" + key, "must have HostName"},
		{"no key", "HostName=h;SharedAccessKeyName=p", "must have HostName"},
		{"empty key", "HostName=h;SharedAccessKeyName=p;SharedAccessKey=", "must have HostName"},
		{"twice", "HostName=h;hostname=i;SharedAccessKeyName=p;" + key, "each once"},
		{"no equals sign", "HostName=h;SharedAccessKeyName;" + key, "must have HostName"},
		{"key not base64", "HostName=h;SharedAccessKeyName=p;SharedAccessKey=s3cret!", "must be base64"},
		{"host with a path", "HostName=h/x;SharedAccessKeyName=p;" + key, "not a host name"},
		{"host with a user", "HostName=u@h;SharedAccessKeyName=p;" + key, "not a host name"},
		{"host is a URL", "HostName=https://h;SharedAccessKeyName=p;" + key, "not a host name"},
		{"port alone", "HostName=:443;SharedAccessKeyName=p;" + key, "not a host name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := service.NewClient(tt.in, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("NewClient() error = %v, want one with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "Zm9v") || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("NewClient() error shows the key: %v", err)
			}
		})
	}
}

func TestNewClientTakes(t *testing.T) {
	for _, in := range []string{
		"HostName=h;SharedAccessKeyName=p;SharedAccessKey=Zm9vYg==",
		"hostname=h:8443; sharedaccesskey=Zm9vYmFy; SHAREDACCESSKEYNAME=p;\n",
		"HostName=[::1]:8443;SharedAccessKeyName=p;SharedAccessKey=Zm9vYmFy;Extra=1",
	} {
		if _, err := service.NewClient(in, nil); err != nil {
			t.Errorf("NewClient(%q): %v", in, err)
		}
	}
}

func TestOtherConstructorsRefuse(t *testing.T) {
	token := service.StaticToken("t")
	both := &service.Options{HTTPClient: http.DefaultClient, RootCAs: x509.NewCertPool()}
	tests := []struct {
		name string
		make func() error
	}{
		{"endpoint over plain HTTP", func() error { _, err := service.NewClientWithToken("http://h", token, nil); return err }},
		{"empty endpoint", func() error { _, err := service.NewClientWithToken("", token, nil); return err }},
		{"endpoint with a path", func() error { _, err := service.NewClientWithToken("https://h/x", token, nil); return err }},
		{"no tokens", func() error { _, err := service.NewClientWithToken("h", nil, nil); return err }},
		{"two ways to trust", func() error { _, err := service.NewClientWithToken("h", token, both); return err }},
		{"no resource ID", func() error { _, err := service.NewControlPlane("h", "", token, nil); return err }},
		{"resource ID with a query", func() error { _, err := service.NewControlPlane("h", "/subscriptions/s?x", token, nil); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.make(); err == nil {
				t.Error("want an error")
			}
		})
	}
}

// TestToken checks the SAS token against what the service would check.
func TestToken(t *testing.T) {
	f := newFake(t)
	f.put("/enrollments/a", map[string]any{"registrationId": "a"})
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	c, err := service.NewClient(
		f.connectionString(),
		&service.Options{HTTPClient: f.Client(), UserAgent: "me/1", Now: func() time.Time { return at }},
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enrollments().Get(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	got := f.last()
	token, err := sas.Parse(got.Header.Get("Authorization"))
	if err != nil {
		t.Fatal(err)
	}
	if !token.Verify([]byte("foobar")) || token.Resource != f.host() || token.KeyName != policyName {
		t.Errorf("the token is for %q by %q, or does not verify", token.Resource, token.KeyName)
	}
	if life := token.Expiry.Sub(at); life < 5*time.Minute || life > time.Hour {
		t.Errorf("the token lives for %v, want 5 minutes to an hour", life)
	}
	if agent := got.Header.Get("User-Agent"); agent != "me/1" {
		t.Errorf("User-Agent = %q, want me/1", agent)
	}
}

func TestTokenSource(t *testing.T) {
	f := newFake(t)
	f.put("/enrollments/a", map[string]any{"registrationId": "a"})
	opts := &service.Options{HTTPClient: f.Client()}
	for _, endpoint := range []string{f.host(), f.URL, f.URL + "/"} {
		c, err := service.NewClientWithToken(endpoint, service.StaticToken("t"), opts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Enrollments().Get(t.Context(), "a"); err != nil {
			t.Errorf("Get() over %q: %v", endpoint, err)
		}
	}
	cause := errors.New("signed out")
	c, err := service.NewClientWithToken(f.host(), service.TokenFunc(func(context.Context) (string, error) { return "", cause }), opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enrollments().Get(t.Context(), "a"); !errors.Is(err, cause) {
		t.Errorf("Get() error = %v, want that of the token source", err)
	}
	token := service.StaticToken("t0k")
	if text := fmt.Sprintf("%v %+v %#v %s", token, token, token, token); strings.Contains(
		text,
		"t0k",
	) {
		t.Errorf("a printed token shows itself: %s", text)
	}
}

// collections are the two kinds of enrollments, of a client.
var collections = []struct {
	name, path string
	of         func(*service.Client) *service.Enrollments
	record     func(id string) *wire.Enrollment
}{
	{"enrollments", "/enrollments/", (*service.Client).Enrollments, func(id string) *wire.Enrollment { return &wire.Enrollment{RegistrationID: id} }},
	{"groups", "/enrollmentGroups/", (*service.Client).Groups, func(id string) *wire.Enrollment { return &wire.Enrollment{EnrollmentGroupID: id} }},
}

func TestEnrollmentLife(t *testing.T) {
	for _, k := range collections {
		t.Run(k.name, func(t *testing.T) {
			f := newFake(t)
			c := k.of(f.client())
			ctx := t.Context()
			draft := k.record("line:7")
			draft.Attestation = &wire.Attestation{Type: "symmetricKey", SymmetricKey: &wire.SymmetricKey{PrimaryKey: "AA=="}}
			e, err := c.Put(ctx, draft)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.last(); got.Method != "PUT" || got.Path != k.path+"line:7" || got.Header.Get("If-Match") != "" ||
				got.Header.Get("Content-Type") != wire.ContentType {
				t.Errorf("Put() sent %+v", got)
			}
			if _, err := c.Put(ctx, draft); !service.IsConflict(err) {
				t.Errorf("Put() again: error = %v, want a conflict", err)
			}
			e.IotHubHostName, e.CreatedDateTimeUTC, e.RegistrationState = "hub", "2026-01-01T00:00:00Z", &wire.RegistrationState{Status: "assigned"}
			if e, err = c.Put(ctx, e); err != nil || e.IotHubHostName != "hub" {
				t.Fatalf("Put() with the ETag = %+v, %v", e, err)
			}
			if body := f.last().Body; strings.Contains(body, "etag") || strings.Contains(body, "created") ||
				strings.Contains(body, "registrationState") {
				t.Errorf("Put() sent what only the service sets: %s", body)
			}
			checkRest(t, f, c, e, k.path)
		})
	}
}

// checkRest goes on from a record that is stored.
func checkRest(t *testing.T, f *fake, c *service.Enrollments, e *wire.Enrollment, path string) {
	t.Helper()
	ctx := t.Context()
	stale := *e
	stale.ETag = "old"
	if _, err := c.Put(ctx, &stale); !service.IsPreconditionFailed(err) {
		t.Errorf("Put() of an old version: error = %v, want a failed precondition", err)
	}
	stale.ETag = service.AnyETag
	if _, err := c.Put(ctx, &stale); err != nil || f.last().Header.Get("If-Match") != "*" {
		t.Errorf("Put() of any version: %v", err)
	}
	got, err := c.Get(ctx, "line:7")
	if err != nil || got.IotHubHostName != "hub" {
		t.Errorf("Get() = %+v, %v", got, err)
	}
	m, err := c.AttestationMechanism(ctx, "line:7")
	if err != nil || m.SymmetricKey == nil || m.SymmetricKey.PrimaryKey != "AA==" {
		t.Errorf("AttestationMechanism() = %+v, %v", m, err)
	}
	if r := f.last(); r.Method != "POST" || r.Path != path+"line:7/attestationmechanism" || r.Body != "" ||
		r.Header.Get("Content-Type") != "" {
		t.Errorf("AttestationMechanism() sent %+v", r)
	}
	if err := c.Delete(ctx, "line:7", "old"); !service.IsPreconditionFailed(err) {
		t.Errorf("Delete() of an old version: error = %v, want a failed precondition", err)
	}
	if err := c.Delete(ctx, "line:7", ""); err != nil {
		t.Errorf("Delete(): %v", err)
	}
	if _, err := c.Get(ctx, "line:7"); !service.IsNotFound(err) {
		t.Errorf("Get() after Delete(): error = %v, want not found", err)
	}
}

func TestQuery(t *testing.T) {
	for _, k := range collections {
		t.Run(k.name, func(t *testing.T) {
			f := newFake(t)
			var want []string
			for i := range 7 {
				id := fmt.Sprintf("s%d", i)
				want = append(want, id)
				f.put(k.path+id, map[string]any{"registrationId": id})
			}
			c := k.of(f.client())
			seq := c.Query(t.Context(), service.Query{Text: "SELECT * WHERE a = 1", PageSize: 3})
			for range 2 { // a sequence can be walked again
				var got []string
				for e, err := range seq {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, e.RegistrationID)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("Query() (-want +got):\n%s", diff)
				}
			}
			r := f.last()
			if r.Path != strings.TrimSuffix(k.path, "/")+"/query" || r.Body != `{"query":"SELECT * WHERE a = 1"}` ||
				r.Header.Get("x-ms-max-item-count") != "3" || r.Header.Get("x-ms-continuation") != "6" {
				t.Errorf("Query() sent %+v", r)
			}
		})
	}
}

func TestQueryPage(t *testing.T) {
	f := newFake(t)
	for _, id := range []string{"a", "b", "c"} {
		f.put("/enrollments/"+id, map[string]any{"registrationId": id})
	}
	c := f.client().Enrollments()
	first, err := c.QueryPage(t.Context(), service.Query{})
	if err != nil || len(first.Items) != 2 || first.Continuation != "2" {
		t.Fatalf("QueryPage() = %+v, %v", first, err)
	}
	if r := f.last(); r.Body != `{"query":"SELECT *"}` || len(r.Header["X-Ms-Max-Item-Count"]) != 0 {
		t.Errorf("QueryPage() sent %+v", r)
	}
	second, err := c.QueryPage(t.Context(), service.Query{Continuation: first.Continuation})
	if err != nil || len(second.Items) != 1 || second.Continuation != "" || second.Items[0].RegistrationID != "c" {
		t.Errorf("QueryPage() = %+v, %v", second, err)
	}
}

func TestQueryStops(t *testing.T) {
	f := newFake(t)
	for i := range 9 {
		f.put(fmt.Sprintf("/enrollments/%d", i), map[string]any{"registrationId": fmt.Sprint(i)})
	}
	c := f.client().Enrollments()
	for e, err := range c.Query(t.Context(), service.Query{}) {
		if err != nil || e.RegistrationID == "2" {
			break
		}
	}
	if n := len(f.requests); n != 2 {
		t.Errorf("%d pages were asked for, want 2", n)
	}
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("x-ms-continuation") != "4" {
			return false
		}
		refuse(w, false, 400, 400004, "the token is not of this service")
		return true
	}
	seen := 0
	var last error
	for e, err := range c.Query(t.Context(), service.Query{}) {
		if err != nil {
			last = err
			continue // the sequence ends by itself
		}
		seen++
		_ = e
	}
	if refusal, ok := errors.AsType[*service.Error](last); seen != 4 || !ok || refusal.Status != 400 {
		t.Errorf("after %d items the error is %v, want 400 after 4", seen, last)
	}
}

func TestQueryWithoutEnd(t *testing.T) {
	f := newFake(t)
	f.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("x-ms-continuation", "again")
		answer(w, []any{})
		return true
	}
	var got error
	for _, err := range f.client().Enrollments().Query(t.Context(), service.Query{}) {
		got = err
	}
	if got == nil || len(f.requests) != 2 {
		t.Errorf("Query() of a service that repeats itself: %v after %d requests", got, len(f.requests))
	}
}

func TestBulk(t *testing.T) {
	for _, k := range collections {
		t.Run(k.name, func(t *testing.T) {
			f := newFake(t)
			f.put(k.path+"b", map[string]any{})
			c := k.of(f.client())
			if err := c.Bulk(t.Context(), wire.BulkCreate, []*wire.Enrollment{k.record("x"), k.record("y")}); err != nil {
				t.Errorf("Bulk(): %v", err)
			}
			err := c.Bulk(t.Context(), wire.BulkCreate, []*wire.Enrollment{k.record("a"), k.record("b"), k.record("c")})
			bulk, ok := errors.AsType[*service.BulkError](err)
			if !ok || len(bulk.Items) != 1 {
				t.Fatalf("Bulk() error = %v, want one item", err)
			}
			want := &service.ItemError{ID: "b", Code: 409201, Message: "Enrollment already exists."}
			if diff := cmp.Diff(want, bulk.Items[0]); diff != "" {
				t.Errorf("item (-want +got):\n%s", diff)
			}
			if !service.IsConflict(bulk.Items[0]) || service.IsConflict(err) {
				t.Error("the item is a conflict, and the whole is not")
			}
			if f.records[k.path+"c"] == nil {
				t.Error("the items after a refused one were not done")
			}
		})
	}
}

func TestBulkRefusals(t *testing.T) {
	f := newFake(t)
	c := f.client()
	if err := c.Groups().Bulk(t.Context(), wire.BulkDelete, []*wire.Enrollment{{RegistrationID: "a"}}); err == nil || len(f.requests) != 0 {
		t.Errorf("Bulk() of an enrollment as a group: error = %v", err)
	}
	err := c.Enrollments().Bulk(t.Context(), "mend", []*wire.Enrollment{{RegistrationID: "a"}})
	if refusal, ok := errors.AsType[*service.Error](err); !ok || refusal.Status != 400 {
		t.Errorf("Bulk() in an unknown mode: error = %v, want 400", err)
	}
	f.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
		answer(w, wire.BulkResult{})
		return true
	}
	if err := c.Enrollments().Bulk(t.Context(), wire.BulkCreate, nil); err == nil {
		t.Error("Bulk() without success and without errors: no error")
	}
}

func TestRegistrations(t *testing.T) {
	f := newFake(t)
	c := f.client().Registrations()
	ctx := t.Context()
	f.put("/registrations/dev-1", map[string]any{"registrationId": "dev-1", "status": "assigned", "assignedHub": "hub", "deviceId": "dev-1"})
	s, err := c.Get(ctx, "dev-1")
	if err != nil || s.AssignedHub != "hub" {
		t.Fatalf("Get() = %+v, %v", s, err)
	}
	n := 0
	for s, err := range c.Query(ctx, "line 7", service.Query{}) {
		if err != nil || s.RegistrationID != "dev-1" {
			t.Errorf("Query() = %+v, %v", s, err)
		}
		n++
	}
	if r := f.last(); n != 1 || r.Path != "/registrations/line%207/query" {
		t.Errorf("Query() sent %+v and found %d", r, n)
	}
	if err := c.Delete(ctx, "dev-1", "old"); !service.IsPreconditionFailed(err) {
		t.Errorf("Delete() of an old version: %v", err)
	}
	if err := c.Delete(ctx, "dev-1", s.ETag); err != nil {
		t.Errorf("Delete(): %v", err)
	}
	if _, err := c.Get(ctx, "dev-1"); !service.IsNotFound(err) {
		t.Errorf("Get() after Delete(): %v", err)
	}
}

// TestIdentifiers holds that an identifier never becomes another resource's path.
func TestIdentifiers(t *testing.T) {
	f := newFake(t)
	c := f.client()
	for _, id := range []string{"", ".", ".."} {
		if err := c.Enrollments().Delete(t.Context(), id, ""); err == nil {
			t.Errorf("Delete(%q): no error", id)
		}
		if err := c.Registrations().Delete(t.Context(), id, ""); err == nil {
			t.Errorf("Delete(%q) of a registration: no error", id)
		}
	}
	if n := len(f.requests); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
	for id, want := range map[string]string{"a/b": "a%2Fb", "a?b#c": "a%3Fb%23c", "../x": "..%2Fx", "a%2Fb": "a%252Fb"} {
		if _, err := c.Groups().Get(t.Context(), id); !service.IsNotFound(err) {
			t.Errorf("Get(%q): %v", id, err)
		}
		if got := f.last().Path; got != "/enrollmentGroups/"+want {
			t.Errorf("Get(%q) asked for %s", id, got)
		}
	}
}

func TestDo(t *testing.T) {
	f := newFake(t)
	f.put("/mooring/v1/audit", map[string]any{"value": 1})
	res, err := f.client().Do(t.Context(), service.Request{
		Method: "PUT", Path: "/mooring/v1/audit", Query: map[string][]string{"top": {"5"}, "api-version": {"mine"}},
		Header: http.Header{"if-match": {"*"}}, Body: json.RawMessage(`{"value":2}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := f.last(); res.Status != 200 || !strings.Contains(string(res.Body), `"value":2`) || r.Body != `{"value":2}` ||
		r.Header.Get("If-Match") != "*" {
		t.Errorf("Do() = %d %s, sent %+v", res.Status, res.Body, r)
	}
}

func TestConcurrentUse(t *testing.T) {
	f := newFake(t)
	c := f.client()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			id := fmt.Sprintf("s%d", i)
			if _, err := c.Enrollments().Put(t.Context(), &wire.Enrollment{RegistrationID: id}); err != nil {
				t.Error(err)
			}
			for _, err := range c.Enrollments().Query(t.Context(), service.Query{}) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
