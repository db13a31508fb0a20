package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/bench"
)

// options are those of a short run.
func options(s *bench.Service, t bench.Transport, a bench.Attestation) bench.Options {
	return bench.Options{
		Service: s,
		Fleet: bench.Fleet{
			Name: "test", Devices: 20, Transport: t, Attestation: a, ChainLength: 2, KeyExchange: bench.X25519, PollAtOnce: true,
		},
		Load: bench.Load{Concurrency: 4, Rounds: 1},
	}
}

func TestEveryTransportAndAttestation(t *testing.T) {
	service := running(t)
	for _, transport := range bench.Transports() {
		for _, attestation := range bench.Attestations() {
			t.Run(string(transport)+"/"+string(attestation), func(t *testing.T) {
				o := options(service, transport, attestation)
				o.Fleet.Name = string(transport) + "-" + string(attestation) // a device may poll only so often
				report, err := bench.Run(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if report.Registrations != 20 || len(report.Errors) > 0 {
					t.Errorf("%d registrations, errors %v", report.Registrations, report.Examples)
				}
				checkOrder(t, report)
				checkGone(t, service, o.Fleet.Name)
			})
		}
	}
}

// checkOrder checks what holds for the figures of any run.
func checkOrder(t *testing.T, r bench.Report) {
	t.Helper()
	if !(0 < r.P50 && r.P50 <= r.P95 && r.P95 <= r.P99 && r.P99 <= r.Max) || r.RatePerSecond <= 0 {
		t.Errorf("rate %v, p50 %v, p95 %v, p99 %v, max %v", r.RatePerSecond, r.P50, r.P95, r.P99, r.Max)
	}
	for _, s := range r.Steps {
		if s.P50 <= 0 || s.Max > r.Max {
			t.Errorf("step %s: %+v, with the whole of at most %v", s.Name, s.Latency, r.Max)
		}
	}
	if r.TLS == nil || r.TLS.KeyExchange != "X25519" || r.Server == nil {
		t.Errorf("TLS %+v, server %+v", r.TLS, r.Server)
	}
}

// checkGone checks that nothing of a run of options is left at the service.
func checkGone(t *testing.T, s *bench.Service, run string) {
	t.Helper()
	run = "bench-" + run
	for _, id := range []string{run + "-000000", run + "-000019"} {
		if err := s.Enrollments(t, http.MethodGet, bench.Individuals, id); bench.StatusOf(err) != http.StatusNotFound {
			t.Errorf("enrollment %s: %v", id, err)
		}
	}
	if err := s.Enrollments(t, http.MethodGet, bench.Groups, run); bench.StatusOf(err) != http.StatusNotFound {
		t.Errorf("group: %v", err)
	}
	if err := s.Certificate(t, run); bench.StatusOf(err) != http.StatusNotFound {
		t.Errorf("CA certificate: %v", err)
	}
}

func TestKeep(t *testing.T) {
	service := running(t)
	o := options(service, bench.HTTPS, bench.X509)
	o.Keep = true
	if _, err := bench.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := service.Enrollments(t, http.MethodGet, bench.Groups, "bench-test"); err != nil {
		t.Errorf("the group is not kept: %v", err)
	}
	if _, err := bench.Run(t.Context(), o); err == nil {
		t.Error("a second run takes over what the first kept")
	}
}

func TestInterruptedRunRemovesEverything(t *testing.T) {
	for _, a := range []bench.Attestation{bench.X509, bench.Key} {
		t.Run(string(a), func(t *testing.T) {
			service := running(t)
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			o := options(service, bench.HTTPS, a)
			o.Load.Rounds, o.Load.Duration = 0, time.Hour
			o.Load.Progress = func(p bench.Progress) {
				if p.Done > 0 {
					interrupt()
				}
			}
			report, err := bench.Run(ctx, o)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error = %v, want that of the context", err)
			}
			if report.Registrations == 0 {
				t.Error("the report is empty")
			}
			checkGone(t, service, "test")
		})
	}
}

func TestInterruptedSetUpRemovesEverything(t *testing.T) {
	service := running(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	o := options(service, bench.HTTPS, bench.Key)
	o.Note = func(text string) {
		if strings.HasPrefix(text, "Creating") {
			interrupt()
		}
	}
	if _, err := bench.Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want that of the context", err)
	}
	checkGone(t, service, "test")
}

func TestDevicesWaitAsAsked(t *testing.T) {
	service := running(t)
	o := options(service, bench.HTTPS, bench.GroupKey)
	o.Fleet.PollAtOnce, o.Load.Concurrency = false, 20
	report, err := bench.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.P50 < 1000 {
		t.Errorf("half of the registrations took less than %v ms, and the service asks for a second", report.P50)
	}
}

func TestFewDevicesTakeTurns(t *testing.T) {
	service := running(t)
	o := options(service, bench.HTTPS, bench.GroupKey)
	o.Load.Rounds, o.Load.Duration = 2, 0
	report, err := bench.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Paced || report.Registrations != 40 || report.Seconds < 2 || len(report.Errors) > 0 {
		t.Errorf("report = %+v, want two rounds more than 2 s apart", report)
	}
}

func TestFill(t *testing.T) {
	service := running(t)
	for _, a := range []bench.Attestation{bench.GroupKey, bench.X509} {
		o := options(service, bench.HTTPS, a)
		o.Enrollments, o.Keep = 50, true
		o.Fleet.Name = "first-" + string(a)
		if _, err := bench.Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		var notes []string
		o.Note = func(text string) { notes = append(notes, text) }
		o.Enrollments, o.Keep, o.Fleet.Name = 60, false, "second-"+string(a)
		if _, err := bench.Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if want := "Creating 42 enrollments"; !slices.Contains(notes, want) { // 10, and 32 that are not sure
			t.Errorf("notes = %q, want %q among them", notes, want)
		}
	}
	err := service.Enrollments(t, http.MethodGet, bench.Individuals, "bench-fill-key-0000000")
	if err != nil {
		t.Errorf("what an earlier run kept is gone: %v", err)
	}
	err = service.Enrollments(t, http.MethodGet, bench.Individuals, "bench-fill-x509-0000059")
	if bench.StatusOf(err) != http.StatusNotFound {
		t.Errorf("what the run created stands: %v", err)
	}
}

func TestErrorsAreCounted(t *testing.T) {
	service := running(t)
	o := options(service, bench.HTTPS, bench.X509)
	o.Fleet.ChainLength = 1
	// The devices find their group gone.
	o.Fleet.Devices, o.Load.Concurrency = 2000, 1
	gone := false
	o.Load.Progress = func(p bench.Progress) {
		if !gone && p.Done > 0 {
			gone = true
			if err := service.Enrollments(t, http.MethodDelete, bench.Groups, "bench-test"); err != nil {
				t.Error(err)
			}
		}
	}
	report, err := bench.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Errors["register: 401 401000"] == 0 || report.Examples["register: 401 401000"] == "" {
		t.Errorf("errors = %v", report.Errors)
	}
	var text bytes.Buffer
	if err := report.WriteText(&text, "registrations"); err != nil || !strings.Contains(text.String(), "register: 401 401000") {
		t.Errorf("text = %s, %v", &text, err)
	}
}

func TestLimit(t *testing.T) {
	service := running(t)
	report, err := bench.Limit(t.Context(), limitOptions(t, service))
	if err != nil {
		t.Fatal(err)
	}
	if report.Registrations != 20 || len(report.Errors) > 0 || report.Server.CPUMicros <= 0 {
		t.Errorf("%d handshakes, errors %v, server %+v", report.Registrations, report.Examples, report.Server)
	}
	checkOrder(t, report)
}

func limitOptions(t *testing.T, s *bench.Service) bench.LimitOptions {
	t.Helper()
	cmd := child(t, "bare")
	t.Setenv(roleVariable, "bare") // for the process that Limit starts
	return bench.LimitOptions{
		Service: s, Load: bench.Load{Concurrency: 4, Rounds: 1}, Clients: 20, ChainLength: 3, KeyExchange: bench.X25519,
		Command: cmd.Args,
	}
}

func TestLimitSaysWhyItDoesNotStart(t *testing.T) {
	service := running(t)
	o := limitOptions(t, service)
	o.Command = []string{"/bin/false"}
	if _, err := bench.Limit(t.Context(), o); err == nil || !strings.Contains(err.Error(), "bare server") {
		t.Errorf("error = %v", err)
	}
}

func TestCompare(t *testing.T) {
	service := running(t)
	limit := limitOptions(t, service)
	heard := 0
	c, err := bench.Compare(t.Context(), bench.CompareOptions{
		Service: service, Name: "test", Rounds: 2, RoundTime: 200 * time.Millisecond, Devices: 10, Concurrency: 4, ChainLength: 2,
		KeyExchange: bench.P256, Command: limit.Command, Heard: func(bench.CompareRound) { heard++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range c.Cases {
		names = append(names, k.Case)
		if k.RatePerSecond <= 0 || k.Errors > 0 {
			t.Errorf("%+v", k)
		}
	}
	if diff := cmp.Diff([]string{"bare TLS", "x509 over mqtt", "x509 over https", "group-key over mqtt"}, names); diff != "" || heard != 8 {
		t.Errorf("%d rounds; cases:\n%s", heard, diff)
	}
	var text bytes.Buffer
	if err := c.WriteText(&text); err != nil || !strings.Contains(text.String(), "x509 over mqtt") {
		t.Errorf("text = %s, %v", &text, err)
	}
}

func TestIdle(t *testing.T) {
	service := running(t)
	report, err := bench.Idle(t.Context(), bench.IdleOptions{
		Service: service, Name: "test", Connections: 30, ChainLength: 2, KeyExchange: bench.X25519,
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Connections != 30 || report.ResidentBefore <= 0 {
		t.Errorf("report = %+v", report)
	}
	checkGone(t, service, "test")
}

// The members of the JSON that others read.
func TestReportJSON(t *testing.T) {
	text, err := json.Marshal(bench.Report{Errors: map[string]int{}})
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	want := []string{"errors", "maxMs", "p50Ms", "p95Ms", "p99Ms", "ratePerSecond", "registrations", "seconds", "steps"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(members))); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if string(members["errors"]) != "{}" {
		t.Errorf("errors = %s, want an object", members["errors"])
	}
}
