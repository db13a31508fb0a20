package handshake_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
)

// BenchmarkHandshake compares handshakes of good devices that are watched with those that
// are not.
func BenchmarkHandshake(b *testing.B) {
	leaf := device(b)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, watched := range []bool{false, true} {
			name := tls.VersionName(version) + " bare"
			if watched {
				name = tls.VersionName(version) + " watched"
			}
			b.Run(name, func(b *testing.B) {
				w := newWorld(b)
				w.server.SessionTicketsDisabled = true
				if !watched {
					w.server.GetConfigForClient = nil
				}
				b.ReportAllocs()
				for b.Loop() {
					w.shake(b, leaf, version, watched)
				}
			})
		}
	}
}

func (w *world) shake(b *testing.B, leaf *pki.Issued, version uint16, watched bool) {
	b.Helper()
	near, far := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c := tls.Client(near, &tls.Config{ //nolint:gosec // the server is not what is tested
			InsecureSkipVerify: true, MaxVersion: version, Certificates: []tls.Certificate{leaf.TLSCertificate()},
		})
		_ = c.Handshake()
		_, _ = io.Copy(io.Discard, c)
		_ = near.Close()
	}()
	if watched {
		far = w.Watch(far, dps.MQTT)
	}
	c := tls.Server(far, w.server)
	err := c.Handshake()
	if watched {
		w.Ended(c, err)
	}
	must(b, err)
	_ = c.Close()
	<-ended
}
