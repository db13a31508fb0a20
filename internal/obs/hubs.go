package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HubMetrics are the numbers of linked hubs. They are safe for concurrent use.
type HubMetrics struct {
	calls *prometheus.HistogramVec
	state *prometheus.GaugeVec
}

// Hubs returns the numbers of linked hubs, as part of m; it is called once.
func (m *Metrics) Hubs() *HubMetrics {
	h := &HubMetrics{
		calls: m.histograms(
			"mooring_hub_call_seconds",
			"Time of calls at linked hubs, by hub, call and outcome: done, refused, throttled or unavailable.",
			latencyBuckets,
			"hub",
			"call",
			"outcome",
		),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mooring_hub_up", Help: "1 if a linked hub is up, 0 if it is down; absent until its first call.",
		}, []string{"hub"}),
	}
	m.registry.MustRegister(h.state)
	return h
}

// HubCall counts and times one call that was sent to a hub.
func (h *HubMetrics) HubCall(hub, call, outcome string, took time.Duration) {
	h.calls.WithLabelValues(hub, call, outcome).Observe(took.Seconds())
}

// HubState notes that a hub is unknown, up or down from now on.
func (h *HubMetrics) HubState(hub, state string) {
	switch state {
	case "up":
		h.state.WithLabelValues(hub).Set(1)
	case "down":
		h.state.WithLabelValues(hub).Set(0)
	default:
		h.state.DeleteLabelValues(hub)
	}
}

// HubGone drops the numbers of a hub that is linked no more.
func (h *HubMetrics) HubGone(hub string) {
	h.state.DeleteLabelValues(hub)
	h.calls.DeletePartialMatch(prometheus.Labels{"hub": hub})
}
