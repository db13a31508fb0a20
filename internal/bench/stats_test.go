package bench_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/bench"
)

func TestPercentile(t *testing.T) {
	hundred := make([]uint32, 100)
	for i := range hundred {
		hundred[i] = uint32(i + 1)
	}
	tests := []struct {
		name   string
		values []uint32
		p      float64
		want   uint32
	}{
		{"none", nil, 50, 0},
		{"one", []uint32{7}, 1, 7},
		{"one, highest", []uint32{7}, 100, 7},
		{"median of two is the lower", []uint32{1, 2}, 50, 1},
		{"just above the median", []uint32{1, 2}, 50.1, 2},
		{"p50 of a hundred", hundred, 50, 50},
		{"p95 of a hundred", hundred, 95, 95},
		{"p99 of a hundred", hundred, 99, 99},
		{"maximum", hundred, 100, 100},
		{"zero", hundred, 0, 1},
		{"p99 of ten is the highest", hundred[:10], 99, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := bench.Percentile(tt.values, tt.p); got != tt.want {
				t.Errorf("percentile(%v) = %d, want %d", tt.p, got, tt.want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := bench.Median(tt.values); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestKindOf(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{fmt.Errorf("reading: %w", os.ErrDeadlineExceeded), "timeout"},
		{fmt.Errorf("dialling: %w", syscall.ECONNREFUSED), "connection refused"},
		{syscall.ECONNRESET, "connection reset"},
		{io.ErrUnexpectedEOF, "connection closed"},
		{fmt.Errorf("register: %w", bench.NewRefusal("401 401002")), "401 401002"},
		{errors.New("what nobody thought of: 17"), "other"},
	}
	for _, tt := range tests {
		if got := bench.KindOf(tt.err); got != tt.want {
			t.Errorf("kindOf(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestReadMetrics(t *testing.T) {
	got := bench.ReadMetrics(strings.NewReader("# HELP a text\na 1.5e+03\nb{x=\"y\"} 2\nprocess_cpu_seconds_total 0.25\nodd\n"))
	if got["a"] != 1500 || got["process_cpu_seconds_total"] != 0.25 || len(got) != 3 {
		t.Errorf("readMetrics = %v", got)
	}
}

func TestCheckRefuses(t *testing.T) {
	good := bench.Options{
		Fleet: bench.Fleet{Devices: 1, ChainLength: 1, Transport: bench.MQTT, Attestation: bench.Key, KeyExchange: bench.P256},
		Load:  bench.Load{Concurrency: 1, Rounds: 1},
	}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		want string // in the error
		edit func(*bench.Options)
	}{
		{"devices", func(o *bench.Options) { o.Fleet.Devices = 0 }},
		{"devices", func(o *bench.Options) { o.Fleet.Devices = bench.MaxDevices + 1 }},
		{"chain length", func(o *bench.Options) { o.Fleet.ChainLength = 11 }},
		{"one of https, mqtt, mqtt-ws", func(o *bench.Options) { o.Fleet.Transport = "amqp" }},
		{"attestation", func(o *bench.Options) { o.Fleet.Attestation = "" }},
		{"key exchange", func(o *bench.Options) { o.Fleet.KeyExchange = "rsa" }},
		{"enrollments", func(o *bench.Options) { o.Enrollments = -1 }},
		{"concurrency", func(o *bench.Options) { o.Load.Concurrency = 0 }},
		{"must not be negative", func(o *bench.Options) { o.Load.Duration = -time.Second }},
		{"one of them", func(o *bench.Options) { o.Load.Rounds = 0 }},
	}
	for _, tt := range tests {
		o := good
		tt.edit(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Check = %v, want an error with %q", err, tt.want)
		}
		if _, err := bench.Run(context.Background(), o); err == nil {
			t.Errorf("Run accepts what Check refuses: %s", tt.want)
		}
	}
}
