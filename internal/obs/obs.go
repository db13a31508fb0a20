// Package obs builds what shows how the service is doing: its logger and its
// metrics.
package obs

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewLogger returns a logger that writes lines of text or JSON to w.
func NewLogger(w io.Writer, level slog.Level, format string) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Metrics are the service's numbers. They are safe for concurrent use.
type Metrics struct {
	registry      *prometheus.Registry
	registrations *prometheus.CounterVec
	registering   *prometheus.HistogramVec
	attestations  *prometheus.CounterVec
	requests      *prometheus.HistogramVec
	commits       *prometheus.CounterVec
	writes        prometheus.Counter
	groupSize     prometheus.Histogram
	commitTime    prometheus.Histogram
	connections   *prometheus.GaugeVec
	accepted      *prometheus.CounterVec
	decisions     *prometheus.CounterVec
	refusals      *prometheus.CounterVec
	panics        *prometheus.CounterVec
	damage        prometheus.Counter

	mu   sync.Mutex
	open map[net.Conn]struct{} // connections that are counted as open
}

// NewMetrics returns fresh metrics of a build.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), open: make(map[net.Conn]struct{})}
	m.registrations = m.counters(
		"mooring_registrations_total",
		"Registrations of devices, by outcome and by the reason of a refusal.",
		"outcome",
		"reason",
	)
	m.attestations = m.counters("mooring_attestations_total", "Attestations, by kind and result.", "kind", "result")
	m.registering = m.histograms(
		"mooring_registration_seconds",
		"Time from a registration's arrival to its durable outcome.",
		latencyBuckets,
		"outcome",
	)
	m.requests = m.histograms(
		"mooring_http_request_seconds",
		"Time to answer a request, by API and status.",
		latencyBuckets,
		"api",
		"method",
		"status",
	)
	m.commits = m.counters("mooring_store_commits_total", "Durable commits of the store, by result.", "result")
	m.connections = prometheus.NewGaugeVec(
		prometheus.GaugeOpts{Name: "mooring_connections", Help: "Open connections, by listener."},
		[]string{"listener"},
	)
	m.decisions = m.counters(
		"mooring_decisions_total",
		"Refused devices, by whether the refusal was recorded, or dropped because the queue was full.",
		"result",
	)
	m.refusals = m.counters(
		"mooring_refusals_total",
		"Refused devices by transport and reason: in the TLS handshake, in CONNECT, of a request, and by attestation.",
		"transport",
		"reason",
	)
	m.panics = m.counters("mooring_panics_total", "Panics that were caught, by where: http, mqtt, worker, writer.", "where")
	m.accepted = m.counters("mooring_connections_accepted_total", "Connections accepted, by listener.", "listener")
	m.damage = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "mooring_store_damage_total", Help: "Damaged pages found in the database or its log. Restore a backup if it is not 0.",
	})
	m.writes = prometheus.NewCounter(prometheus.CounterOpts{Name: "mooring_store_writes_total", Help: "Changes committed by the store."})
	m.groupSize = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "mooring_store_group_size", Help: "Changes per commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
	})
	m.commitTime = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "mooring_store_commit_seconds", Help: "Time of one commit.", Buckets: latencyBuckets,
	})
	build := prometheus.NewGaugeVec(
		prometheus.GaugeOpts{Name: "mooring_build_info", Help: "Always 1; the version is a label."},
		[]string{"version"},
	)
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.connections, m.damage, m.writes, m.groupSize, m.commitTime, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// latencyBuckets reach from a quarter of a millisecond to 8 seconds.
var latencyBuckets = prometheus.ExponentialBuckets(0.00025, 2, 16)

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

// Handler serves the metrics in the text format of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Registration counts one answered registration. reason is "" unless the device
// was refused; kind is "" when it showed nothing to attest.
func (m *Metrics) Registration(kind, outcome, reason string, took time.Duration) {
	if kind == "" {
		kind = "none"
	}
	result := "held"
	if reason != "" {
		result = "refused"
	}
	m.attestations.WithLabelValues(kind, result).Inc()
	m.registrations.WithLabelValues(outcome, reason).Inc()
	m.registering.WithLabelValues(outcome).Observe(took.Seconds())
}

// Refused counts one refusal of a device.
func (m *Metrics) Refused(transport, reason string) {
	m.refusals.WithLabelValues(transport, reason).Inc()
}

// Panicked counts one panic that was caught.
func (m *Metrics) Panicked(where string) { m.panics.WithLabelValues(where).Inc() }

// DecisionsRecorded counts refusals that were recorded.
func (m *Metrics) DecisionsRecorded(refusals int64) {
	m.decisions.WithLabelValues("recorded").Add(float64(refusals))
}

// DecisionsDropped counts refusals that there was no room for.
func (m *Metrics) DecisionsDropped(refusals int64) {
	m.decisions.WithLabelValues("dropped").Add(float64(refusals))
}

// Committed counts one commit of the store.
func (m *Metrics) Committed(changes int, took time.Duration, err error) {
	m.commitTime.Observe(took.Seconds())
	if err != nil {
		m.commits.WithLabelValues("failed").Inc()
		return
	}
	m.commits.WithLabelValues("durable").Inc()
	m.writes.Add(float64(changes))
	m.groupSize.Observe(float64(changes))
}

// Damaged counts one place of the store that was found damaged.
func (m *Metrics) Damaged() { m.damage.Inc() }

// Connected counts one connection of a listener until the returned function is
// called.
func (m *Metrics) Connected(listener string) (ended func()) {
	gauge := m.connections.WithLabelValues(listener)
	gauge.Inc()
	m.accepted.WithLabelValues(listener).Inc()
	return gauge.Dec
}

// ConnState counts connections of a listener; it is an http.Server's ConnState hook.
func (m *Metrics) ConnState(listener string) func(net.Conn, http.ConnState) {
	gauge, counter := m.connections.WithLabelValues(listener), m.accepted.WithLabelValues(listener)
	return func(c net.Conn, state http.ConnState) {
		m.mu.Lock()
		defer m.mu.Unlock()
		switch state {
		case http.StateNew:
			m.open[c] = struct{}{}
			gauge.Inc()
			counter.Inc()
		case http.StateClosed, http.StateHijacked:
			if _, counted := m.open[c]; counted {
				delete(m.open, c)
				gauge.Dec()
			}
		}
	}
}

// Measure times the requests of an API.
func (m *Metrics) Measure(api string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r)
		m.requests.WithLabelValues(api, method(r.Method), strconv.Itoa(sw.status)).Observe(time.Since(start).Seconds())
	})
}

// method keeps what a caller invents out of the labels.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch, http.MethodHead:
		return m
	default:
		return "other"
	}
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
