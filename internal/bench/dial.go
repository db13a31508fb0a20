package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync/atomic"
	"time"
)

// attemptTime bounds one registration, waits included.
const attemptTime = 60 * time.Second

// dialer opens connections of devices.
type dialer struct {
	address string
	configs []*tls.Config // by device; one for all when they show no certificates
	state   atomic.Pointer[TLS]
}

// newDialer returns a dialer to a server called host that roots vouch for. Sessions are
// never resumed: a device registers when it has none.
func newDialer(address, host string, roots *x509.CertPool, k KeyExchange) *dialer {
	return &dialer{address: address, configs: []*tls.Config{{
		RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{k.curve()}, SessionTicketsDisabled: true,
	}}}
}

// show gives each device its certificate, which is shown whatever the server asks for.
func (d *dialer) show(certificates []*tls.Certificate) {
	base := d.configs[0]
	d.configs = make([]*tls.Config, len(certificates))
	for i, c := range certificates {
		d.configs[i] = base.Clone()
		d.configs[i].GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
}

// dial connects a device and completes the handshake. The connection breaks when ctx
// ends; done has to be called when it is no longer used.
func (d *dialer) dial(ctx context.Context, device int) (conn *tls.Conn, done func(), err error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, nil, err
	}
	if err := raw.SetDeadline(time.Now().Add(attemptTime)); err != nil {
		_ = raw.Close() // nothing was sent
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // reads and writes then fail
	conn = tls.Client(raw, d.configs[device%len(d.configs)])
	done = func() {
		stop()
		_ = conn.Close() // all that matters was read
	}
	if err := conn.Handshake(); err != nil { //nolint:noctx // ctx closes the connection
		done()
		return nil, nil, err
	}
	if d.state.Load() == nil {
		d.state.Store(tlsOf(conn.ConnectionState()))
	}
	return conn, done, nil
}

// negotiated returns what the first connection agreed on; nil before that.
func (d *dialer) negotiated() *TLS { return d.state.Load() }
