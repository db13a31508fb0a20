package service_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// refused registers devices that show nothing, which the service refuses.
func (r *real) refused(ids ...string) {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	for _, id := range ids {
		path := "https://" + r.info.ServiceEndpoint + "/" + r.info.IDScope + "/registrations/" + id + "/register?api-version=2021-06-01"
		req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPut, path, strings.NewReader("{}"))
		if err != nil {
			r.t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusUnauthorized {
			r.t.Fatalf("%s: %d, %v", id, res.StatusCode, err)
		}
	}
}

func TestRealDecisions(t *testing.T) {
	r := newReal(t)
	c, ctx := r.owner().Decisions(), t.Context()
	for d, err := range c.All(ctx, service.DecisionFilter{}) {
		t.Errorf("before any refusal: %+v, %v", d, err)
	}
	start := time.Now().Add(-time.Second)
	r.refused("a", "b", "c", "d", "e", "a")
	var ids []string
	for d, err := range c.All(ctx, service.DecisionFilter{PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, d.RegistrationID)
	}
	if got := strings.Join(ids, ""); got != "aedcb" {
		t.Errorf("All() = %s", got)
	}
	p, err := c.Page(ctx, service.DecisionFilter{RegistrationID: "A"})
	if err != nil || len(p.Value) != 1 || p.Value[0].Count != 2 || p.Continuation != "" || p.Dropped != 0 {
		t.Fatalf("Page() = %+v, %v", p, err)
	}
	d, err := c.Get(ctx, p.Value[0].TrackingID)
	if err != nil || cmp.Diff(*d, p.Value[0]) != "" {
		t.Errorf("Get() = %+v, %v", d, err)
	}
	if _, err := c.Get(ctx, "ghost"); !service.IsNotFound(err) {
		t.Errorf("Get() of none: %v", err)
	}
	if _, err := c.Get(ctx, "../decisions"); !service.IsNotFound(err) {
		t.Errorf("Get() of another path: %v", err)
	}
	host, _, err := net.SplitHostPort(d.Remote)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		f    service.DecisionFilter
		want int
	}{
		"reason": {service.DecisionFilter{Reason: "no-evidence"}, 5}, "another reason": {service.DecisionFilter{Reason: "disabled"}, 0},
		"remote": {service.DecisionFilter{Remote: host}, 5}, "another remote": {service.DecisionFilter{Remote: "192.0.2.1"}, 0},
		"since": {service.DecisionFilter{Since: start}, 5}, "until": {service.DecisionFilter{Until: start}, 0},
		"group": {service.DecisionFilter{EnrollmentGroupID: "g"}, 0}, "enrollment": {service.DecisionFilter{EnrollmentID: "a"}, 0},
	} {
		if p, err := c.Page(ctx, tt.f); err != nil || len(p.Value) != tt.want {
			t.Errorf("%s: %+v, %v; want %d", name, p, err, tt.want)
		}
	}
	for _, err := range c.All(ctx, service.DecisionFilter{Reason: "burnt"}) {
		if err == nil {
			t.Error("All() of a reason that there is none of")
		}
	}
	reasons, err := c.Reasons(ctx)
	if err != nil || len(reasons) < 20 || reasons[0].Summary == "" || reasons[0].Remedy == "" {
		t.Errorf("Reasons() = %+v, %v", reasons, err)
	}
}

func TestRealStatistics(t *testing.T) {
	r := newReal(t)
	c, ctx := r.owner(), t.Context()
	r.refused("a", "b", "a")
	now := time.Now()
	for name, q := range map[string]service.StatisticsQuery{
		"the last day": {}, "minutes": {Since: now.Add(-10 * time.Minute), Step: time.Minute},
		"days": {Since: now.Add(-48 * time.Hour), Until: now.Add(time.Hour), Step: 24 * time.Hour},
	} {
		s, err := c.Statistics(ctx, q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var sum wire.StatisticsBucket
		for _, b := range s.Value {
			sum.Assigned, sum.Failed, sum.Refused = sum.Assigned+b.Assigned, sum.Failed+b.Failed, sum.Refused+b.Refused
		}
		if sum != (wire.StatisticsBucket{Refused: 3}) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	for _, step := range []time.Duration{time.Second, -time.Hour, 90 * time.Minute} {
		if _, err := c.Statistics(ctx, service.StatisticsQuery{Step: step}); err == nil {
			t.Errorf("Statistics() with a step of %v", step)
		}
	}
}

// A service that never comes to an end is noticed.
func TestDecisionsEndWithTheSamePage(t *testing.T) {
	f := newFake(t)
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("top") != "7" {
			t.Errorf("query %s", r.URL.RawQuery)
		}
		answer(w, wire.DecisionPage{Value: []wire.Decision{{RegistrationID: "a"}}, Continuation: "again"})
		return true
	}
	n := 0
	var last error
	for _, err := range f.client().Decisions().All(t.Context(), service.DecisionFilter{PageSize: 7}) {
		n++
		last = err
	}
	if n != 2 || last == nil {
		t.Errorf("%d items, then %v", n, last)
	}
	if got, err := url.PathUnescape(f.last().Path); err != nil || got != wire.DecisionsPath {
		t.Errorf("path %s", got)
	}
}
