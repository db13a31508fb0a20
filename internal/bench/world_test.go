package bench_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/bench"
	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/wire"
)

// roleVariable makes the test binary be another process that a test needs.
const roleVariable = "MOORING_BENCH_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "bare":
		exitOn(bench.ServeBare(os.Stdin, os.Stdout))
	case "client":
		exitOn(beClient())
	default:
		goleak.VerifyTestMain(m)
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beClient takes the options of a run from standard input.
func beClient() error {
	var o clientOptions
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	service, err := connect(o.Info)
	if err != nil {
		return err
	}
	defer service.Close()
	report, err := bench.Run(context.Background(), bench.Options{Service: service, Fleet: o.Fleet, Load: o.Load})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// clientOptions are those of bench.Options that can go from process to process.
type clientOptions struct {
	Info  wire.Info
	Fleet bench.Fleet
	Load  bench.Load
}

// serve starts a service that ends with the test.
func serve(t testing.TB) wire.Info {
	t.Helper()
	fs := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	config.AddFlags(fs)
	args := []string{
		"--data",
		filepath.Join(t.TempDir(), "data"),
		"--https",
		"127.0.0.1:0",
		"--mqtt",
		"127.0.0.1:0",
		"--portal",
		"127.0.0.1:0",
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(fs, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), app.Options{Config: c, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	info, err := a.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the service ended with: %v", err)
		}
	})
	return info
}

func connect(info wire.Info) (*bench.Service, error) {
	ca, err := os.ReadFile(info.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return bench.NewService(info, roots)
}

// running starts a service and returns it as its operator sees it.
func running(t testing.TB) *bench.Service {
	t.Helper()
	service, err := connect(serve(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	return service
}

// child returns the command of this binary in another role.
func child(t testing.TB, role string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// BenchmarkRegister is the service alone: the devices are in a process of their own,
// so that a profile is about the service. With -benchtime 5000x, 5000 devices register.
func BenchmarkRegister(b *testing.B) {
	for _, c := range []struct {
		transport   bench.Transport
		attestation bench.Attestation
	}{
		{bench.MQTT, bench.X509}, {bench.HTTPS, bench.X509}, {bench.MQTT, bench.GroupKey}, {bench.MQTTWebSocket, bench.X509},
	} {
		b.Run(string(c.transport)+"/"+string(c.attestation), func(b *testing.B) {
			info := serve(b)
			o := clientOptions{Info: info, Fleet: bench.Fleet{
				Name: strconv.Itoa(b.N), Devices: b.N, Transport: c.transport, Attestation: c.attestation,
				ChainLength: 2, KeyExchange: bench.X25519, PollAtOnce: true,
			}}
			o.Load.Concurrency, o.Load.Rounds = 32, 1
			report := runClient(b, o)
			b.ReportMetric(report.RatePerSecond, "registrations/s")
			if report.Server != nil {
				b.ReportMetric(report.Server.CPUMicros, "server-µs/registration")
			}
			if len(report.Errors) > 0 {
				b.Errorf("errors: %v", report.Errors)
			}
		})
	}
}

func runClient(t testing.TB, o clientOptions) bench.Report {
	t.Helper()
	cmd := child(t, "client")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(in).Encode(o); err != nil {
		t.Fatal(err)
	}
	var report bench.Report
	err = json.NewDecoder(out).Decode(&report)
	if waited := cmd.Wait(); err != nil || waited != nil {
		t.Fatal(err, waited)
	}
	return report
}
