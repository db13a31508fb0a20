package bench

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os/exec"
	"time"

	"github.com/mooring-iot/mooring/internal/pki"
)

// LimitOptions say which limit to measure.
type LimitOptions struct {
	// Service is what the bare server takes after: its certificate's key type and chain,
	// and how it negotiates.
	Service     *Service
	Load        Load
	Clients     int // distinct certificates
	ChainLength int // certificates that a client shows
	KeyExchange KeyExchange
	// Command starts the bare server: a process that calls ServeBare on its standard
	// input and output.
	Command []string
}

// Limit measures a bare crypto/tls server in a process of its own: it requires and
// verifies the same kind of chain as the service, and echoes one byte. No service that
// registers devices over new connections can be faster on the same machine.
func Limit(ctx context.Context, o LimitOptions) (report Report, err error) {
	if err := errors.Join(CheckTLS(o.ChainLength, o.KeyExchange), o.Load.Check()); err != nil {
		return report, err
	}
	like, err := probe(ctx, o.Service, o.KeyExchange)
	if err != nil {
		return report, err
	}
	root, issuer, err := authority("bench-limit", o.ChainLength)
	if err != nil {
		return report, err
	}
	clients, err := each(ctx, o.Clients, func(i int) (device, error) { return certified(deviceName("limit", i), issuer) })
	if err != nil {
		return report, err
	}
	server, err := startBare(ctx, o, like, root)
	if err != nil {
		return report, err
	}
	d := newDialer(server.address, bareHost, server.roots, o.KeyExchange)
	shown := make([]*tls.Certificate, len(clients))
	for i, c := range clients {
		shown[i] = c.certificate
	}
	d.show(shown)
	result := o.Load.run(ctx, len(clients), d.echo)
	report = result.report([]string{"connect", "echo"})
	report.TLS = d.negotiated()
	cpu, err := server.stop()
	if report.Registrations > 0 {
		report.Server = &Server{CPUMicros: float64(cpu.Microseconds()) / float64(report.Registrations)}
	}
	return report, errors.Join(err, ctx.Err())
}

// echo sends one byte and takes it back.
func (d *dialer) echo(ctx context.Context, i int, w *watch) error {
	conn, done, err := d.dial(ctx, i)
	if err != nil {
		return err
	}
	defer done()
	w.mark()
	one := []byte{1}
	if _, err := conn.Write(one); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, one); err != nil {
		return err
	}
	w.mark()
	return nil
}

// bareHost is the name of the bare server.
const bareHost = "localhost"

// likeness is a connection to the service, which the bare server takes after.
type likeness struct{ state tls.ConnectionState }

// probe connects to the service as a device without a certificate would.
func probe(ctx context.Context, s *Service, k KeyExchange) (likeness, error) {
	transport := HTTPS
	if s.HasMQTT() {
		transport = MQTT
	}
	address, err := s.address(transport)
	if err != nil {
		return likeness{}, err
	}
	conn, done, err := newDialer(address, s.host(), s.roots, k).dial(ctx, 0)
	if err != nil {
		return likeness{}, fmt.Errorf("looking at the service's TLS: %w", err)
	}
	defer done()
	return likeness{conn.ConnectionState()}, nil
}

// identity makes a server certificate like the service's, under an own root: of the same
// key type, with as many certificates.
func (l likeness) identity() (tls.Certificate, *x509.Certificate, error) {
	sent := l.state.PeerCertificates
	key, kind, err := sameKey(sent[0].PublicKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	root, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: "bench-limit-server", KeyType: kind})
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	issuer := root.Issuer()
	for i := range len(sent) - 1 {
		below, err := pki.Issue(
			pki.Request{Kind: pki.Intermediate, CommonName: fmt.Sprintf("bench-limit-server-%d", i), KeyType: kind, Issuer: issuer},
		)
		if err != nil {
			return tls.Certificate{}, nil, err
		}
		issuer = below.Issuer()
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: bareHost}, DNSNames: []string{bareHost},
		NotBefore: time.Now().Add(-pki.ClockSkew), NotAfter: time.Now().AddDate(0, 0, 2),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Certificate, key.Public(), issuer.Key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	c := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, above := range issuer.Chain {
		c.Certificate = append(c.Certificate, above.Raw)
	}
	return c, root.Certificate, nil
}

// sameKey makes a key of the type of public, and names that type for what signs it.
func sameKey(public crypto.PublicKey) (crypto.Signer, pki.KeyType, error) {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		key, err := ecdsa.GenerateKey(k.Curve, rand.Reader)
		if k.Curve == elliptic.P384() {
			return key, pki.P384, err
		}
		return key, pki.P256, err
	case *rsa.PublicKey:
		key, err := rsa.GenerateKey(rand.Reader, k.Size()*8)
		return key, pki.RSA2048, err
	default:
		return nil, "", fmt.Errorf("the service's certificate has a key of a kind that is not known here: %T", public)
	}
}

// bareServer is the bare server as its parent sees it.
type bareServer struct {
	command *exec.Cmd
	stdin   io.Closer
	address string
	roots   *x509.CertPool
}

// startBare starts the bare server, and waits until it listens.
func startBare(ctx context.Context, o LimitOptions, like likeness, clients *pki.Issued) (*bareServer, error) {
	identity, root, err := like.identity()
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(identity.PrivateKey)
	if err != nil {
		return nil, err
	}
	s := &bareServer{command: exec.CommandContext(context.WithoutCancel(ctx), o.Command[0], o.Command[1:]...), roots: x509.NewCertPool()}
	s.roots.AddCert(root)
	in, err := s.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := s.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.stdin = in
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("starting the bare server: %w", err)
	}
	err = json.NewEncoder(in).Encode(bareConfig{
		Certificate: identity.Certificate, Key: key, Clients: clients.Certificate.Raw,
		Curve: like.state.CurveID, Version: like.state.Version,
	})
	if err == nil {
		_, err = fmt.Fscanln(bufio.NewReader(out), &s.address)
	}
	if err != nil {
		_, ended := s.stop()
		return nil, errors.Join(fmt.Errorf("starting the bare server: %w", err), ended)
	}
	return s, nil
}

// stop ends the server and returns the processor time that it used, its start included:
// some milliseconds.
func (s *bareServer) stop() (time.Duration, error) {
	_ = s.stdin.Close() // tells it to end
	if err := s.command.Wait(); err != nil {
		return 0, fmt.Errorf("the bare server ended: %w", err)
	}
	return s.command.ProcessState.UserTime() + s.command.ProcessState.SystemTime(), nil
}
