package mooringapi_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mooring-iot/mooring/internal/mooringapi"
	"github.com/mooring-iot/mooring/wire"
)

func TestRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := *w
	other.setup.Instance.TokenKey = other.keys.Primary
	for authorization, status := range map[string]int{
		w.sas("p"): 200, w.sas("ServiceConfig"): 200, w.bearer(t): 200, strings.Replace(w.bearer(t), "Bearer", "bEARER", 1): 200,
		w.sas("EnrollmentRead"): 401, w.sas("EnrollmentWrite"): 401, w.sas("DeviceConnect"): 401,
		w.sas("RegistrationStatusRead"): 401, w.sas("RegistrationStatusWrite"): 401,
		"": 401, "Bearer": 401, "Bearer x": 401, other.bearer(t): 401, w.sas("p") + "x": 401, w.sas("ghost"): 401,
	} {
		if res := w.send(t, "GET", wire.AuditPath, "", "Authorization: "+authorization); res.Code != status {
			t.Errorf("%.40q: %d %s, want %d", authorization, res.Code, res.Body, status)
		}
	}
}

func TestEmptyAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	res := w.send(t, "GET", wire.AuditPath, "")
	if res.Code != 200 || res.Body.String() != `{"value":[]}` {
		t.Errorf("%d %s", res.Code, res.Body)
	}
}

func TestBadParameters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, query := range []string{
		"top=0", "top=-1", "top=1001", "top=x", "top=1e3", "from=yesterday", "from=2026-13-01", "to=0001-01-01", "to=9999-01-01", "from=2026-03-01T12:00:00",
		"operation=burn", "kind=cat", "result=fine", "continuation=x", "continuation=e30", "continuation=" + strings.Repeat("A", 300),
		"color=red", "top=1&top=2", "TOP=1",
	} {
		name, _, _ := strings.Cut(query, "=")
		res := w.send(t, "GET", wire.AuditPath+"?"+query, "")
		var body wire.Error
		if err := json.Unmarshal(res.Body.Bytes(), &body); err != nil || res.Code != 400 || !strings.Contains(body.Message, name) {
			t.Errorf("%s: %d %s", query, res.Code, res.Body)
		}
	}
	for _, path := range []string{"/mooring", "/mooring/v1", "/mooring/v2/audit", "/mooring/v1/audit/x"} {
		if res := w.send(t, "GET", path, ""); res.Code != 404 {
			t.Errorf("%s: %d %s", path, res.Code, res.Body)
		}
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send(t, "PUT", "/enrollments/sensor-7", sensor)
	w.send(t, "PUT", "/enrollments/sensor-7", sensor)
	w.send(t, "DELETE", factory, "", "If-Match: *")
	for query, want := range map[string]int{
		"from=2026-03-01": 3, "from=2026-03-01T12:00:00Z": 3, "from=2026-03-01T13:00:00%2B01:00": 3, "from=2026-03-01T12:00:00.001Z": 0,
		"to=2026-03-01": 0, "to=2026-03-02": 3, "to=2026-03-01T12:00:00Z": 0,
		"principal=policy:P": 2, "principal=token:operator": 1, "principal=p": 0, "operation=put": 2, "operation=Delete": 1,
		"kind=certificate": 1, "kind=enrollment-group": 0, "id=SENSOR-7": 2, "id=factory&kind=enrollment": 0,
		"result=ok": 1, "result=failed": 2, "result=enrollmentexists": 1, "result=": 3, "top=2": 2,
	} {
		res := w.send(t, "GET", wire.AuditPath+"?"+query, "")
		var page wire.AuditPage
		if err := json.Unmarshal(res.Body.Bytes(), &page); err != nil || len(page.Value) != want {
			t.Errorf("%s: %d %s, want %d entries", query, res.Code, res.Body, want)
		}
	}
}

// TestPagesWhileWriting reads pages while changes go on: each entry from before comes
// once, newest first.
func TestPagesWhileWriting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const count = 25
	var want []string
	for i := range count {
		id := fmt.Sprintf("before-%d", i)
		w.send(t, "DELETE", "/enrollments/"+id, "")
		want = append(want, id)
	}
	slices.Reverse(want)

	var got []string
	query := url.Values{"top": {"4"}}
	for more := true; more; {
		page := w.page(t, query)
		var writers sync.WaitGroup
		for range 3 {
			writers.Go(func() { w.serve("DELETE", "/enrollments/meanwhile") })
		}
		writers.Wait()
		for _, e := range page.Value {
			got = append(got, e.ID)
		}
		query.Set("continuation", page.Continuation)
		more = page.Continuation != ""
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// serve is send for goroutines of their own.
func (w *world) serve(method, path string) {
	r := httptest.NewRequest(method, path+"?api-version=2021-10-01", nil)
	r.Header.Set("Authorization", w.sas("p"))
	w.ServeHTTP(httptest.NewRecorder(), r)
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	if got := mooringapi.Prefixes(); !slices.Equal(got, []string{"mooring"}) {
		t.Errorf("Prefixes = %v", got)
	}
}
