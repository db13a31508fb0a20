package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// IdleOptions say how many connections to hold open.
type IdleOptions struct {
	Service     *Service
	Name        string // as of a Fleet
	Connections int
	Hold        time.Duration // how long they stay before memory is read, for the collector to have run
	ChainLength int
	KeyExchange KeyExchange
	Note        func(string)
}

// IdleReport says what idle MQTT connections cost the service.
type IdleReport struct {
	Connections       int     `json:"connections"`
	ResidentBefore    float64 `json:"residentBeforeBytes"`
	ResidentAfter     float64 `json:"residentAfterBytes"`
	PerConnection     float64 `json:"residentBytesPerConnection"`
	HeapPerConnection float64 `json:"heapAndStackBytesPerConnection"`
}

// idleDevices is how many certificates the connections share.
const idleDevices = 100

// Idle opens MQTT connections that log in with certificates, subscribe and then say
// nothing, and reads from the service's metrics what its memory grew by.
func Idle(ctx context.Context, o IdleOptions) (report IdleReport, err error) {
	if o.Connections < 1 || o.Connections > MaxConcurrency {
		return report, fmt.Errorf("connections: must be between 1 and %d", MaxConcurrency)
	}
	if err := CheckTLS(o.ChainLength, o.KeyExchange); err != nil {
		return report, err
	}
	e := &estate{service: o.Service, note: o.Note, workers: setupWorkers}
	defer func() { err = errors.Join(err, e.remove(ctx)) }()
	fleet := Fleet{
		Name: o.Name, Devices: idleDevices, Transport: MQTT, Attestation: X509,
		ChainLength: o.ChainLength, KeyExchange: o.KeyExchange,
	}
	devices, err := e.prepare(ctx, Options{Fleet: fleet})
	if err != nil {
		return report, err
	}
	l, err := newLine(Options{Service: o.Service, Fleet: fleet}, devices)
	if err != nil {
		return report, err
	}
	before, ok := o.Service.usage(ctx)
	if !ok {
		return report, errors.New("the service shows no metrics: start it with its portal listener")
	}
	after, err := l.hold(ctx, o, e)
	if err != nil {
		return report, err
	}
	n := float64(o.Connections)
	return IdleReport{
		Connections: o.Connections, ResidentBefore: before.resident, ResidentAfter: after.resident,
		PerConnection: (after.resident - before.resident) / n, HeapPerConnection: (after.heap - before.heap) / n,
	}, nil
}

// hold opens the connections, waits, and looks at the service while they are open.
func (l *line) hold(ctx context.Context, o IdleOptions, e *estate) (usage, error) {
	closers := make([]func(), o.Connections)
	defer func() {
		for _, done := range closers {
			if done != nil {
				done()
			}
		}
	}()
	e.say("Opening %d connections", o.Connections)
	err := parallel(ctx, setupWorkers, o.Connections, func(_ context.Context, i int) error {
		conn, done, err := l.dial(ctx, i) // outlives the context of opening
		if err != nil {
			return err
		}
		closers[i] = done
		_, err = openMQTT(conn, l.scope, &l.devices[i%len(l.devices)])
		return err
	})
	if err != nil {
		return usage{}, err
	}
	if err := wait(ctx, o.Hold); err != nil {
		return usage{}, err
	}
	u, ok := o.Service.usage(ctx)
	if !ok {
		return u, errors.New("the service stopped showing metrics")
	}
	return u, nil
}

// WriteText prints the report for people.
func (r IdleReport) WriteText(w io.Writer) {
	fmt.Fprintf(
		w,
		"%d idle MQTT connections: %.1f KiB resident each (%.1f MiB before, %.1f MiB with them), %.1f KiB of heap and stacks each\n",
		r.Connections,
		r.PerConnection/1024,
		r.ResidentBefore/(1<<20),
		r.ResidentAfter/(1<<20),
		r.HeapPerConnection/1024,
	)
}
