package bench

import (
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// Report is the outcome of a run, and what --json prints.
type Report struct {
	RatePerSecond float64        `json:"ratePerSecond"`
	P50           float64        `json:"p50Ms"`
	P95           float64        `json:"p95Ms"`
	P99           float64        `json:"p99Ms"`
	Registrations int            `json:"registrations"` // that succeeded
	Errors        map[string]int `json:"errors"`        // how many of each kind; never nil

	Max     float64 `json:"maxMs"`
	Seconds float64 `json:"seconds"`
	Steps   []Step  `json:"steps"`
	TLS     *TLS    `json:"tls,omitempty"`
	Server  *Server `json:"server,omitempty"`

	// Paced says that devices were too few for the load: they had to wait for their turn,
	// as the service lets each of them poll only so often.
	Paced bool `json:"paced,omitempty"`

	// Examples holds the first error of each kind.
	Examples map[string]string `json:"errorExamples,omitempty"`
}

// Step is a part of a registration.
type Step struct {
	Name string `json:"name"`
	Latency
}

// TLS is what the connections negotiated.
type TLS struct {
	Version     string `json:"version"`
	CipherSuite string `json:"cipherSuite"`
	KeyExchange string `json:"keyExchange"`
}

func tlsOf(s tls.ConnectionState) *TLS {
	return &TLS{Version: tls.VersionName(s.Version), CipherSuite: tls.CipherSuiteName(s.CipherSuite), KeyExchange: s.CurveID.String()}
}

// Server is what the server's process used.
type Server struct {
	CPUMicros     float64 `json:"cpuMicrosPerRegistration"` // user and system time
	ResidentBytes float64 `json:"residentBytes,omitempty"`  // after the run
}

// report describes r, whose steps have names.
func (r *result) report(steps []string) Report {
	values := make([]uint32, len(r.samples))
	pick := func(of func(sample) uint32) Latency {
		for i, s := range r.samples {
			values[i] = of(s)
		}
		return latency(values)
	}
	whole := pick(func(s sample) uint32 { return s.whole })
	out := Report{
		P50: whole.P50, P95: whole.P95, P99: whole.P99, Max: whole.Max,
		Registrations: len(r.samples), Seconds: r.elapsed.Seconds(), Errors: make(map[string]int),
		Paced: r.paced,
	}
	if r.elapsed > 0 {
		out.RatePerSecond = float64(len(r.samples)) / r.elapsed.Seconds()
	}
	for i, name := range steps {
		out.Steps = append(out.Steps, Step{Name: name, Latency: pick(func(s sample) uint32 { return s.steps[i] })})
	}
	for k, f := range r.failures {
		kind := stepName(steps, k.step) + ": " + k.kind
		out.Errors[kind] += f.count
		if out.Examples == nil {
			out.Examples = make(map[string]string)
		}
		out.Examples[kind] = f.first.Error()
	}
	return out
}

func stepName(steps []string, i int) string { return steps[min(i, len(steps)-1)] }

// addUsage says what the service used for each registration between two looks.
func (r *Report) addUsage(before, after usage) {
	r.Server = &Server{ResidentBytes: after.resident}
	if r.Registrations > 0 {
		r.Server.CPUMicros = (after.cpuSeconds - before.cpuSeconds) * 1e6 / float64(r.Registrations)
	}
}

// failed counts the errors of all kinds.
func (r *Report) failed() int {
	n := 0
	for _, count := range r.Errors {
		n += count
	}
	return n
}

// WriteText prints the report for people; what names one thing that was counted, as in
// "registrations".
func (r *Report) WriteText(w io.Writer, what string) error {
	fmt.Fprintf(w, "%d %s in %.1f s: %.1f per second, %d errors\n", r.Registrations, what, r.Seconds, r.RatePerSecond, r.failed())
	if r.TLS != nil {
		fmt.Fprintf(w, "%s, %s, key exchange %s, no resumption\n", r.TLS.Version, r.TLS.CipherSuite, r.TLS.KeyExchange)
	}
	if r.Server != nil {
		fmt.Fprintf(w, "Server: %.0f µs of CPU for each", r.Server.CPUMicros)
		if r.Server.ResidentBytes > 0 {
			fmt.Fprintf(w, ", %.1f MiB resident", r.Server.ResidentBytes/(1<<20))
		}
		fmt.Fprintln(w)
	}
	if r.Paced {
		fmt.Fprintln(w, "The devices were too few to load the service: each waits so that it polls at most 5 times in 10 s. Use more of them.")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\nmilliseconds\tp50\tp95\tp99\tmax\t\n")
	row := func(name string, l Latency) {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t\n", name, l.P50, l.P95, l.P99, l.Max)
	}
	row("whole", Latency{P50: r.P50, P95: r.P95, P99: r.P99, Max: r.Max})
	for _, s := range r.Steps {
		row(s.Name, s.Latency)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.writeErrors(w)
}

func (r *Report) writeErrors(w io.Writer) error {
	if len(r.Errors) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ERRORS\tKIND\tTHE FIRST")
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(t, "%d\t%s\t%s\n", r.Errors[kind], kind, r.Examples[kind])
	}
	return t.Flush()
}
