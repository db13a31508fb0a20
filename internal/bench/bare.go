package bench

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// bareConfig is what the parent tells the bare server.
type bareConfig struct {
	Certificate [][]byte    `json:"certificate"`
	Key         []byte      `json:"key"`     // PKCS#8
	Clients     []byte      `json:"clients"` // the root of the clients
	Curve       tls.CurveID `json:"curve"`
	Version     uint16      `json:"version"` // of TLS, the newest
}

// ServeBare is the bare server. It reads its configuration from in, writes its address
// to out, and serves until in ends.
func ServeBare(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	text, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	config, err := bareTLS(text)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a name is not looked up
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, lines)
		ended <- errors.Join(err, listener.Close())
	}()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return <-ended
		}
		if err != nil {
			return err
		}
		running.Go(func() { echo(tls.Server(conn, config)) })
	}
}

func bareTLS(text []byte) (*tls.Config, error) {
	var c bareConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	root, err := x509.ParseCertificate(c.Clients)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(root)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: c.Certificate, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients,
		MinVersion: tls.VersionTLS12, MaxVersion: c.Version,
		CurvePreferences: []tls.CurveID{c.Curve}, SessionTicketsDisabled: true,
	}, nil
}

// echoTime bounds a connection to the bare server.
const echoTime = 30 * time.Second

// echo answers one byte and waits for the client to go.
func echo(conn *tls.Conn) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(echoTime)); err != nil {
		return
	}
	one := make([]byte, 1)
	if _, err := io.ReadFull(conn, one); err != nil {
		return
	}
	if _, err := conn.Write(one); err != nil {
		return
	}
	_, _ = conn.Read(one) // until the client closes
}
