package bench

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// CompareOptions say what to compare with the limit.
type CompareOptions struct {
	Service     *Service
	Name        string // as of a Fleet
	Rounds      int
	RoundTime   time.Duration // of each case in each round
	Devices     int           // of each case in each round: none registers twice when there are enough
	Concurrency int
	ChainLength int
	KeyExchange KeyExchange
	Command     []string           // as of LimitOptions
	Heard       func(CompareRound) // hears of each case of each round at once; may be nil
}

// Case is one way of registering.
type Case struct {
	Transport   Transport   `json:"transport"`
	Attestation Attestation `json:"attestation"`
}

func (c Case) String() string { return string(c.Attestation) + " over " + string(c.Transport) }

// limitName is how the limit is called beside the cases.
const limitName = "bare TLS"

// CompareRound is one case in one round.
type CompareRound struct {
	Round  int    `json:"round"`
	Case   string `json:"case"`
	Report Report `json:"report"`
	// Ratio is the rate as a part of the limit's in the same round, and ExtraCPUMicros
	// what the server used for each beyond the bare server.
	Ratio          float64 `json:"ratio,omitempty"`
	ExtraCPUMicros float64 `json:"extraCpuMicros,omitempty"`
}

// Comparison is what all rounds gave: medians.
type Comparison struct {
	Rounds []CompareRound `json:"rounds"`
	Cases  []CompareCase  `json:"cases"`
}

// CompareCase is one case over all rounds.
type CompareCase struct {
	Case           string  `json:"case"`
	RatePerSecond  float64 `json:"ratePerSecond"`
	CPUMicros      float64 `json:"cpuMicros"`
	Ratio          float64 `json:"ratio,omitempty"`
	ExtraCPUMicros float64 `json:"extraCpuMicros,omitempty"`
	P99            float64 `json:"p99Ms"`
	Errors         int     `json:"errors"`
}

// Compare measures the limit and the service in turn, so that what else goes on at the
// machine meets all of them alike.
func Compare(ctx context.Context, o CompareOptions) (Comparison, error) {
	cases := []Case{{MQTT, X509}, {HTTPS, X509}, {MQTT, GroupKey}}
	if !o.Service.HasMQTT() {
		cases = []Case{{HTTPS, X509}, {HTTPS, GroupKey}}
	}
	var c Comparison
	for round := 1; round <= o.Rounds; round++ {
		limit, err := o.limit(ctx)
		if err != nil {
			return c, err
		}
		c.add(o, CompareRound{Round: round, Case: limitName, Report: limit})
		for i, kind := range cases {
			report, err := o.measure(ctx, kind, fmt.Sprintf("%s-%d-%d", o.Name, round, i))
			if err != nil {
				return c, err
			}
			c.add(o, against(limit, CompareRound{Round: round, Case: kind.String(), Report: report}))
		}
	}
	c.summarize()
	return c, nil
}

func (o CompareOptions) limit(ctx context.Context) (Report, error) {
	return Limit(ctx, LimitOptions{
		Service: o.Service, Load: o.load(), Clients: min(o.Devices, limitClients),
		ChainLength: o.ChainLength, KeyExchange: o.KeyExchange, Command: o.Command,
	})
}

// limitClients is how many certificates are enough for a server that knows none.
const limitClients = 1000

func (o CompareOptions) load() Load {
	return Load{Concurrency: o.Concurrency, Duration: o.RoundTime}
}

func (o CompareOptions) measure(ctx context.Context, c Case, name string) (Report, error) {
	load := o.load()
	load.Rounds = 1
	return Run(ctx, Options{Service: o.Service, Load: load, Fleet: Fleet{
		Name: name, Devices: o.Devices, Transport: c.Transport, Attestation: c.Attestation,
		ChainLength: o.ChainLength, KeyExchange: o.KeyExchange, PollAtOnce: true,
	}})
}

// against compares a round with the limit.
func against(limit Report, r CompareRound) CompareRound {
	if limit.RatePerSecond > 0 {
		r.Ratio = r.Report.RatePerSecond / limit.RatePerSecond
	}
	if limit.Server != nil && r.Report.Server != nil {
		r.ExtraCPUMicros = r.Report.Server.CPUMicros - limit.Server.CPUMicros
	}
	return r
}

func (c *Comparison) add(o CompareOptions, r CompareRound) {
	c.Rounds = append(c.Rounds, r)
	if o.Heard != nil {
		o.Heard(r)
	}
}

// summarize takes the median of each figure of each case.
func (c *Comparison) summarize() {
	var order []string
	rounds := make(map[string][]CompareRound)
	for _, r := range c.Rounds {
		if rounds[r.Case] == nil {
			order = append(order, r.Case)
		}
		rounds[r.Case] = append(rounds[r.Case], r)
	}
	for _, name := range order {
		of := func(pick func(CompareRound) float64) float64 {
			var values []float64
			for _, r := range rounds[name] {
				values = append(values, pick(r))
			}
			return median(values)
		}
		out := CompareCase{
			Case:          name,
			RatePerSecond: of(func(r CompareRound) float64 { return r.Report.RatePerSecond }),
			CPUMicros:     of(CompareRound.cpu),
			Ratio: of(
				func(r CompareRound) float64 { return r.Ratio },
			), ExtraCPUMicros: of(func(r CompareRound) float64 { return r.ExtraCPUMicros }),
			P99: of(func(r CompareRound) float64 { return r.Report.P99 }),
		}
		for _, r := range rounds[name] {
			out.Errors += r.Report.failed()
		}
		c.Cases = append(c.Cases, out)
	}
}

func (r CompareRound) cpu() float64 {
	if r.Report.Server == nil {
		return 0
	}
	return r.Report.Server.CPUMicros
}

// String describes the round in a line.
func (r CompareRound) String() string {
	line := fmt.Sprintf(
		"round %d  %-20s %8.1f per second  %6.0f µs of server CPU  p99 %6.1f ms",
		r.Round,
		r.Case,
		r.Report.RatePerSecond,
		r.cpu(),
		r.Report.P99,
	)
	if r.Case != limitName {
		line += fmt.Sprintf("  %.3f of bare TLS, %+.0f µs", r.Ratio, r.ExtraCPUMicros)
	}
	if n := r.Report.failed(); n > 0 {
		line += fmt.Sprintf("  %d errors", n)
	}
	return line
}

// WriteText prints the medians for people.
func (c *Comparison) WriteText(w io.Writer) error {
	fmt.Fprintln(w, "Medians of all rounds:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CASE\tPER SECOND\tOF BARE TLS\tSERVER CPU\tBEYOND BARE TLS\tP99\tERRORS")
	for _, k := range c.Cases {
		ratio, extra := "", ""
		if k.Case != limitName {
			ratio, extra = fmt.Sprintf("%.3f", k.Ratio), fmt.Sprintf("%+.0f µs", k.ExtraCPUMicros)
		}
		fmt.Fprintf(t, "%s\t%.1f\t%s\t%.0f µs\t%s\t%.1f ms\t%d\n", k.Case, k.RatePerSecond, ratio, k.CPUMicros, extra, k.P99, k.Errors)
	}
	return t.Flush()
}
