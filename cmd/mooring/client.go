package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/app"
)

// callTimeout bounds one call to the service.
const callTimeout = 30 * time.Second

// running returns what the data directory says about a service that runs now, and
// an HTTP client for it: it connects to the real listener whatever the host name
// resolves to here, and trusts the CA of the service.
func running(cmd *cobra.Command, e *env) (app.Info, *http.Client, error) {
	info, err := readInfo(cmd, e)
	if err != nil {
		return info, nil, err
	}
	if !info.Running {
		return info, nil, fmt.Errorf("the service of %s is not running; start it with: mooring serve --data %s", info.Data, info.Data)
	}
	listener, on := info.Listeners["https"]
	if !on {
		return info, nil, errors.New("the service runs without its https listener (--https off); nothing can be managed through it")
	}
	pool, err := trust(info.CAFile)
	if err != nil {
		return info, nil, err
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, local(listener))
		},
	}
	return info, &http.Client{Transport: transport, Timeout: callTimeout}, nil
}

// trust returns the certificates of file besides those that this machine trusts:
// with an operator's own server certificate its CA may be known only there.
func trust(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(text)
	return pool, nil
}

// local returns the address under which a listener is reached from this machine.
func local(listener string) string {
	host, port, err := net.SplitHostPort(listener)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return listener
}
