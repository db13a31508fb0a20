package obs_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/obs"
)

func TestHubMetrics(t *testing.T) {
	t.Parallel()
	m := obs.NewMetrics("v")
	h := m.Hubs()
	scrape := func() string {
		rec := httptest.NewRecorder()
		m.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		return rec.Body.String()
	}
	h.HubCall("a.example", "get twin", "throttled", time.Second)
	h.HubState("a.example", "up")
	h.HubState("b.example", "down")
	h.HubState("c.example", "up")
	h.HubState("c.example", "unknown")
	text := scrape()
	for _, want := range []string{
		`mooring_hub_call_seconds_count{call="get twin",hub="a.example",outcome="throttled"} 1`,
		`mooring_hub_up{hub="a.example"} 1`, `mooring_hub_up{hub="b.example"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, "c.example") {
		t.Error("a hub whose state is unknown has a number")
	}
	h.HubGone("a.example")
	if strings.Contains(scrape(), "a.example") {
		t.Error("a hub that is gone has numbers")
	}
}
