// Package bench measures a running service with many devices at once, beside the
// limit that TLS itself sets on the same machine.
//
// Its devices speak the wire in a loop of their own, as lean as can be: they share the
// processors with the service they measure. They do on a connection what the official
// SDKs do, step by step and each step after the answer to the one before.
package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Transport is how devices reach the service.
type Transport string

// The transports.
const (
	HTTPS         Transport = "https"
	MQTT          Transport = "mqtt"
	MQTTWebSocket Transport = "mqtt-ws"
)

// Transports returns every transport.
func Transports() []Transport { return []Transport{HTTPS, MQTT, MQTTWebSocket} }

// Attestation is how devices prove who they are.
type Attestation string

// The attestations.
const (
	X509           Attestation = "x509"            // a chain under an enrollment group's CA
	X509Individual Attestation = "x509-individual" // self-signed, one enrollment each
	Key            Attestation = "key"             // symmetric keys, one enrollment each
	GroupKey       Attestation = "group-key"       // symmetric keys derived from a group's
)

// Attestations returns every attestation.
func Attestations() []Attestation { return []Attestation{X509, X509Individual, Key, GroupKey} }

// certificates reports whether devices show certificates.
func (a Attestation) certificates() bool { return a == X509 || a == X509Individual }

// KeyExchange is the group that clients offer for the key exchange of TLS.
type KeyExchange string

// The key exchanges.
const (
	X25519 KeyExchange = "x25519" // what most TLS libraries on devices prefer
	P256   KeyExchange = "p256"
	Hybrid KeyExchange = "hybrid" // X25519 with ML-KEM-768
)

// KeyExchanges returns every key exchange, the default first.
func KeyExchanges() []KeyExchange { return []KeyExchange{X25519, P256, Hybrid} }

func (k KeyExchange) curve() tls.CurveID {
	switch k {
	case P256:
		return tls.CurveP256
	case Hybrid:
		return tls.X25519MLKEM768
	default:
		return tls.X25519
	}
}

// Bounds of a run.
const (
	MaxDevices     = 1_000_000
	MaxChainLength = 10 // what the service takes
)

// Fleet says what the devices are.
type Fleet struct {
	// Name is part of every name that the run creates; it has to be new to the service.
	Name        string
	Devices     int // distinct ones
	Transport   Transport
	Attestation Attestation
	ChainLength int // certificates that a device of X509 shows: its own and intermediates
	KeyExchange KeyExchange
	// PollAtOnce lets devices poll without waiting for the time that the service asks
	// for, once: the answer is ready by then, and the wait measures nothing.
	PollAtOnce bool
}

// Options are what a run needs.
type Options struct {
	Service *Service
	Fleet   Fleet
	Load    Load
	// Enrollments is how many further individual enrollments have to stand in the store.
	Enrollments int
	Keep        bool         // leave behind what the run created
	Note        func(string) // hears what goes on, a sentence each
}

// cleanUpTime is how long removing may take in all, for each thousand of enrollments.
const cleanUpTime = 30 * time.Second

// pollSpacing keeps a device that registers again and again within what the service lets
// it poll: 5 times in 10 s.
// Source: azure-docs, includes/iot-dps-limits.md, "Device-side polling".
const pollSpacing = 2500 * time.Millisecond

// Run creates what the devices need, lets them register, and removes it again, also
// when ctx ends early: the report is then about what was done till then.
//
// Registration records and the identities at the hub stay; the service has no call
// that removes them by the thousand.
func Run(ctx context.Context, o Options) (report Report, err error) {
	if err := o.Check(); err != nil {
		return report, err
	}
	e := &estate{service: o.Service, note: o.Note, workers: setupWorkers}
	defer func() {
		if !o.Keep {
			err = errors.Join(err, e.remove(ctx))
		}
	}()
	devices, err := e.prepare(ctx, o)
	if err != nil {
		return report, err
	}
	line, err := newLine(o, devices)
	if err != nil {
		return report, err
	}
	before, measured := o.Service.usage(ctx)
	o.Load.spacing = pollSpacing
	result := o.Load.run(ctx, len(devices), line.register)
	report = result.report(line.steps())
	report.TLS = line.negotiated()
	if after, ok := o.Service.usage(context.WithoutCancel(ctx)); ok && measured {
		report.addUsage(before, after)
	}
	return report, ctx.Err()
}

// Check reports what of o is impossible, the service aside.
func (o Options) Check() error {
	f := o.Fleet
	switch {
	case f.Devices < 1 || f.Devices > MaxDevices:
		return fmt.Errorf("devices: must be between 1 and %d", MaxDevices)
	case !slices.Contains(Transports(), f.Transport):
		return fmt.Errorf("transport: must be one of %s", Names(Transports()))
	case !slices.Contains(Attestations(), f.Attestation):
		return fmt.Errorf("attestation: must be one of %s", Names(Attestations()))
	case o.Enrollments < 0:
		return errors.New("enrollments: must not be negative")
	}
	return errors.Join(CheckTLS(f.ChainLength, f.KeyExchange), o.Load.Check())
}

// CheckTLS reports what of the options on TLS is impossible.
func CheckTLS(chainLength int, k KeyExchange) error {
	if chainLength < 1 || chainLength > MaxChainLength {
		return fmt.Errorf("chain length: must be between 1 and %d", MaxChainLength)
	}
	if !slices.Contains(KeyExchanges(), k) {
		return fmt.Errorf("key exchange: must be one of %s", Names(KeyExchanges()))
	}
	return nil
}

// Names lists words for a message.
func Names[T ~string](all []T) string {
	words := make([]string, len(all))
	for i, w := range all {
		words[i] = string(w)
	}
	return strings.Join(words, ", ")
}
