package mooringapi_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/mooring-iot/mooring/wire"
)

// FuzzDecisionQueries asks for decisions and statistics with any parameters: they are
// understood or refused.
func FuzzDecisionQueries(f *testing.F) {
	for _, query := range []string{
		"registrationId=a&top=3", "continuation=eyJ0IjoxLCJzIjoxfQ", "since=2026-03-01&until=2026-03-02T00:00:00Z&step=5m", "remote=%5B2001:db8::1%5D:1", "group=x&reason=disabled", "step=7d&since=1970-01-01",
	} {
		f.Add(query)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		for _, path := range []string{wire.DecisionsPath, wire.StatisticsPath} {
			r := httptest.NewRequest("GET", path+"?"+values.Encode(), http.NoBody)
			r.Header.Set("Authorization", w.sas("p"))
			res := httptest.NewRecorder()
			w.ServeHTTP(res, r)
			if res.Code != 200 && res.Code != 400 {
				t.Errorf("%s: %d %s", values.Encode(), res.Code, res.Body)
			}
		}
	})
}
