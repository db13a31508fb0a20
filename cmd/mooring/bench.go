package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/bench"
)

// benchOptions are the flags of the bench commands as they are typed.
type benchOptions struct {
	transport, attestation, keyExchange, seed string

	devices, concurrency, rounds, chainLength, enrollments, connections int

	duration               time.Duration
	pollAtOnce, keep, json bool
}

func benchCommand(e *env) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a running service with many devices",
		Long: `Measure the running service of a data directory with many devices that register
concurrently. The CA certificate and the enrollments for the test are created first and
removed at the end, also after Ctrl-C. The registration records and the devices at the hub
remain, so use a service that you can delete.

Each device opens a new connection with a full TLS handshake, registers, waits as long as
the service asks (at least one second), polls, and disconnects. --poll-at-once skips the
wait, to measure the service with few connections.

The subcommands measure the reference: 'tls' the limit of TLS on this machine, 'compare'
both in turn, 'idle' the memory of idle connections.`,
		Example: `  mooring bench --devices 5000 --transport mqtt --poll-at-once
  mooring bench --attestation group-key --duration 30s --json
  mooring bench --devices 20000 --duration 10s --poll-at-once --enrollments 1000000 --keep`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, e) },
	}
	f := cmd.Flags()
	f.IntVar(&o.devices, "devices", 1000, "distinct devices")
	f.StringVar(&o.transport, "transport", string(bench.MQTT), bench.Names(bench.Transports()))
	f.StringVar(&o.attestation, "attestation", string(bench.X509), bench.Names(bench.Attestations()))
	f.IntVar(&o.rounds, "rounds", 1, "how often each device registers; with --duration alone, as often as there is time for")
	f.IntVar(&o.enrollments, "enrollments", 0, "individual enrollments that the store must contain; created if missing")
	f.BoolVar(&o.pollAtOnce, "poll-at-once", false, "poll without waiting for the time that the service asks for")
	f.BoolVar(&o.keep, "keep", false, "leave behind what was created")
	f.StringVar(&o.seed, "seed", "", "`text` that names, IDs and symmetric keys follow from (default: a new one each time)")
	o.addCommon(cmd, 0)
	cmd.AddCommand(benchTLS(e), benchCompare(e), benchIdle(e), benchBareServer(e))
	return cmd
}

// addCommon declares the flags that all bench commands share; without a duration by
// default the run ends with its rounds.
func (o *benchOptions) addCommon(cmd *cobra.Command, duration time.Duration) {
	f := cmd.Flags()
	f.IntVar(&o.concurrency, "concurrency", 0, "devices that are busy at the same time (default: 32 where none waits, else 1000)")
	f.DurationVar(&o.duration, "duration", duration, "when no further registration begins, such as 30s")
	o.addTLS(cmd)
}

func (o *benchOptions) addTLS(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&o.chainLength, "chain-length", 2, "certificates that a device of a group shows: its own and intermediates")
	f.StringVar(&o.keyExchange, "key-exchange", string(bench.X25519), bench.Names(bench.KeyExchanges()))
	f.BoolVar(&o.json, "json", false, "print JSON")
	addDataFlag(cmd)
}

// busy returns the concurrency: by default as much as is needed to keep two processors
// busy, and with devices that wait more of them.
func (o *benchOptions) busy(waiting bool) int {
	switch {
	case o.concurrency > 0:
		return o.concurrency
	case waiting:
		return 1000
	default:
		return 32
	}
}

func (o *benchOptions) run(cmd *cobra.Command, e *env) error {
	rounds := o.rounds
	if o.duration > 0 && !cmd.Flags().Changed("rounds") {
		rounds = 0
	}
	show := newMeter(e)
	options := bench.Options{
		Fleet: bench.Fleet{
			Name: o.name(), Devices: o.devices, Transport: bench.Transport(o.transport), Attestation: bench.Attestation(o.attestation),
			ChainLength: o.chainLength, KeyExchange: bench.KeyExchange(o.keyExchange), PollAtOnce: o.pollAtOnce,
		},
		Load:        bench.Load{Concurrency: o.busy(!o.pollAtOnce), Rounds: rounds, Duration: o.duration, Progress: show.progress},
		Enrollments: o.enrollments, Keep: o.keep, Note: show.note,
	}
	if err := options.Check(); err != nil {
		return usageError{command: cmd.CommandPath(), err: err}
	}
	return o.measure(cmd, e, "registrations", func(ctx context.Context, s *bench.Service) (bench.Report, error) {
		defer show.end()
		options.Service = s
		return bench.Run(ctx, options)
	})
}

// check reports flags that are out of bounds, as wrong usage.
func (o *benchOptions) check(cmd *cobra.Command, l bench.Load) error {
	if err := errors.Join(bench.CheckTLS(o.chainLength, bench.KeyExchange(o.keyExchange)), l.Check()); err != nil {
		return usageError{command: cmd.CommandPath(), err: err}
	}
	return nil
}

// measure runs act against the service and prints its report, also that of a run which
// was interrupted.
func (o *benchOptions) measure(
	cmd *cobra.Command,
	e *env,
	what string,
	act func(context.Context, *bench.Service) (bench.Report, error),
) error {
	service, err := benchService(cmd, e)
	if err != nil {
		return err
	}
	defer service.Close()
	report, err := act(cmd.Context(), service)
	if report.Errors == nil {
		return err // nothing was measured
	}
	if o.json {
		err = errors.Join(err, printJSON(e, report))
	} else {
		err = errors.Join(err, report.WriteText(e.out, what))
	}
	if err != nil && cmd.Context().Err() != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	if err == nil && report.Registrations == 0 {
		return errors.New("nothing succeeded")
	}
	return err
}

// benchService returns the running service of the data directory.
func benchService(cmd *cobra.Command, e *env) (*bench.Service, error) {
	info, _, err := running(cmd, e)
	if err != nil {
		return nil, err
	}
	roots, err := trust(info.Trust)
	if err != nil {
		return nil, err
	}
	for name, listener := range info.Listeners {
		info.Listeners[name] = local(listener)
	}
	return bench.NewService(info.Info, roots)
}

// name returns what names of the run contain.
func (o *benchOptions) name() string {
	if o.seed != "" {
		return o.seed
	}
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func benchTLS(e *env) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "tls",
		Short: "Measure the limit: a bare TLS server with the same certificates",
		Long: `Measure a bare TLS server in a separate process on this machine. It uses the same key type,
certificate chain and TLS version as the running service of the data directory, requires
and verifies client certificates of the same kind, never resumes sessions, and echoes one
byte. No service can register devices over new connections faster than this.`,
		Example: "  mooring bench tls --duration 5s",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			show := newMeter(e)
			load := bench.Load{Concurrency: o.busy(false), Duration: o.duration, Progress: show.progress}
			if err := o.check(cmd, load); err != nil {
				return err
			}
			command, err := bareServerCommand()
			if err != nil {
				return err
			}
			return o.measure(cmd, e, "handshakes", func(ctx context.Context, s *bench.Service) (bench.Report, error) {
				defer show.end()
				return bench.Limit(ctx, bench.LimitOptions{
					Service: s, Clients: 1000, ChainLength: o.chainLength, KeyExchange: bench.KeyExchange(o.keyExchange),
					Command: command, Load: load,
				})
			})
		},
	}
	o.addCommon(cmd, 5*time.Second)
	return cmd
}

// bareServerCommand is the command line that benchBareServer answers.
func bareServerCommand() ([]string, error) {
	self, err := os.Executable()
	return []string{self, "bench", "bare-server"}, err
}

// benchBareServer is the server that benchTLS starts.
func benchBareServer(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "bare-server", Hidden: true, Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return bench.ServeBare(e.in, e.out) },
	}
}

func benchCompare(e *env) *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Measure the service and the limit in turn",
		Long: `Measure the limit ('mooring bench tls') and the service in turn, for several rounds, and
print each round and the medians: the rate relative to the limit, and the CPU time of the
service for each registration beyond the bare TLS server.`,
		Example: "  mooring bench compare --rounds 5 --duration 5s",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.compare(cmd, e) },
	}
	f := cmd.Flags()
	f.IntVar(&o.rounds, "rounds", 5, "rounds, each of all cases")
	f.IntVar(&o.devices, "devices", 10000, "distinct devices of each case in each round; they register once")
	o.addCommon(cmd, 5*time.Second)
	return cmd
}

func (o *benchOptions) compare(cmd *cobra.Command, e *env) error {
	if err := o.check(cmd, bench.Load{Concurrency: o.busy(false), Rounds: o.rounds, Duration: o.duration}); err != nil {
		return err
	}
	if o.devices < 1 || o.devices > bench.MaxDevices {
		return usagef(cmd, "--devices: must be between 1 and %d", bench.MaxDevices)
	}
	command, err := bareServerCommand()
	if err != nil {
		return err
	}
	service, err := benchService(cmd, e)
	if err != nil {
		return err
	}
	defer service.Close()
	c, err := bench.Compare(cmd.Context(), bench.CompareOptions{
		Service: service, Name: o.name(), Rounds: o.rounds, RoundTime: o.duration, Devices: o.devices, Concurrency: o.busy(false),
		ChainLength: o.chainLength, KeyExchange: bench.KeyExchange(o.keyExchange), Command: command,
		Heard: func(r bench.CompareRound) { fmt.Fprintln(e.err, r) },
	})
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(e, c)
	}
	return c.WriteText(e.out)
}

func benchIdle(e *env) *cobra.Command {
	var o benchOptions
	var hold time.Duration
	cmd := &cobra.Command{
		Use:     "idle",
		Short:   "Measure the memory of idle MQTT connections",
		Long:    `Open MQTT connections that connect, subscribe and stay idle, and print the growth of the memory of the service.`,
		Example: "  mooring bench idle --connections 10000",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd, bench.Load{Concurrency: 1, Rounds: 1}); err != nil {
				return err
			}
			if o.connections < 1 || o.connections > bench.MaxConcurrency {
				return usagef(cmd, "--connections: must be between 1 and %d", bench.MaxConcurrency)
			}
			service, err := benchService(cmd, e)
			if err != nil {
				return err
			}
			defer service.Close()
			report, err := bench.Idle(cmd.Context(), bench.IdleOptions{
				Service: service, Name: o.name(), Connections: o.connections, Hold: hold,
				ChainLength: o.chainLength, KeyExchange: bench.KeyExchange(o.keyExchange), Note: newMeter(e).note,
			})
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(e, report)
			}
			report.WriteText(e.out)
			return nil
		},
	}
	cmd.Flags().IntVar(&o.connections, "connections", 10000, "connections to hold open")
	cmd.Flags().DurationVar(&hold, "hold", 10*time.Second, "how long to hold them before memory is read")
	o.addTLS(cmd)
	return cmd
}

// meter shows on stderr how far a run is: a line that is written over, when stderr is a
// terminal.
type meter struct {
	e        *env
	terminal bool
	shown    bool // the line stands there
	last     bench.Progress
	rate     float64
}

func newMeter(e *env) *meter {
	m := &meter{e: e}
	if f, ok := e.err.(*os.File); ok {
		info, err := f.Stat()
		m.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return m
}

func (m *meter) note(text string) {
	m.end()
	fmt.Fprintln(m.e.err, text)
}

// smoothing is how much of the rate that is shown comes from before.
const smoothing = 0.7

// progress is called by one goroutine at a time.
func (m *meter) progress(p bench.Progress) {
	span := (p.Elapsed - m.last.Elapsed).Seconds()
	if !m.terminal || span <= 0 {
		return
	}
	now := float64(p.Done-m.last.Done) / span
	if m.shown {
		now = smoothing*m.rate + (1-smoothing)*now
	}
	m.last, m.rate, m.shown = p, now, true
	fmt.Fprintf(m.e.err, "\r%6.1f s  %8d done  %7.0f per second  %d errors \x1b[K", p.Elapsed.Seconds(), p.Done, m.rate, p.Failed)
}

// end leaves the line as it is: what comes next goes below it.
func (m *meter) end() {
	if m.shown {
		m.shown = false
		fmt.Fprintln(m.e.err)
	}
}
