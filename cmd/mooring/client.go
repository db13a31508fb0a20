package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/certfile"
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
	pool, err := trust(info.Trust)
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
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if err := addCertificates(pool, file); err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	return pool, nil
}

// addCertificates adds all certificates of a file to pool.
func addCertificates(pool *x509.CertPool, file string) error {
	certs, err := readCertificates(file)
	for _, c := range certs {
		pool.AddCert(c)
	}
	return err
}

// readCertificates reads all certificates of a file, beside which a key may be.
func readCertificates(file string) ([]*x509.Certificate, error) {
	text, err := readBounded(file)
	if err != nil {
		return nil, err
	}
	certs, err := certfile.ReadWithKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return certs, nil
}

// readBounded reads a file of certificates or keys.
func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCertificateFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxCertificateFile {
		return nil, fmt.Errorf("%s: is larger than %d bytes", file, maxCertificateFile)
	}
	return text, nil
}

// local returns the address under which a listener is reached from this machine.
func local(listener string) string {
	host, port, err := net.SplitHostPort(listener)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return listener
}
