// Command serve is a fake hub in a process of its own, for tests that kill the service
// which calls it. It prints one line of JSON, and serves until its standard input ends
// (so that it never outlives the test) or it is told to stop.
package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mooring-iot/mooring/internal/tlsauth"
	"github.com/mooring-iot/mooring/test/fakehub"
)

// ready is what a test has to know.
type ready struct {
	HostName string `json:"hostName"`
	Endpoint string `json:"endpoint"` // host:port of the hub
	Control  string `json:"control"`  // URL of the control port
	CAFile   string `json:"caFile"`

	ConnectionString string `json:"connectionString"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	dir := fs.String("dir", "", "directory for the TLS authority (required); two hubs may share one in turn, not at once")
	name := fs.String("host-name", "127.0.0.1", "host name of the hub")
	addr := fs.String("addr", "127.0.0.1:0", "address to serve on")
	seed := fs.Uint64("seed", 1, "of what is random")
	jsonErrors := fs.Bool("json-errors", false, "answer with the newer form of errors")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("-dir is required")
	}
	key := []byte("the key of a hub that nobody needs to protect")
	hub := fakehub.New(fakehub.Options{
		HostName: *name, Policies: map[string]fakehub.Policy{"iothubowner": fakehub.Owner(key)}, Seed: *seed, JSONErrors: *jsonErrors,
	})
	authority, err := tlsauth.Open(tlsauth.Options{
		Dir: *dir, Hostnames: []string{"127.0.0.1", *name}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	listener, err := hub.Listen(ctx, *addr)
	if err != nil {
		return err
	}
	control, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	line := ready{
		HostName: *name, Endpoint: listener.Addr().String(), Control: "http://" + control.Addr().String(), CAFile: authority.CAFile(),
		ConnectionString: "HostName=" + *name + ";GatewayHostName=" + listener.Addr().String() +
			";SharedAccessKeyName=iothubowner;SharedAccessKey=" + base64.StdEncoding.EncodeToString(key),
	}
	if err := json.NewEncoder(out).Encode(line); err != nil {
		return err
	}
	secured := tls.NewListener(
		listener,
		&tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: authority.GetCertificate, NextProtos: []string{"http/1.1"}},
	)
	return serve(ctx, in, hub, secured, control)
}

// serve runs until ctx or the input ends, or a server fails.
func serve(ctx context.Context, in io.Reader, hub *fakehub.Hub, secured, control net.Listener) error {
	const headerTimeout = 10 * time.Second
	front := &http.Server{Handler: hub, ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	back := &http.Server{Handler: hub.Control(), ReadHeaderTimeout: headerTimeout}
	failed := make(chan error, 3)
	go func() { failed <- front.Serve(secured) }()
	go func() { failed <- back.Serve(control) }()
	go func() { // ends with the process: reading cannot be cut short
		_, err := io.Copy(io.Discard, in)
		failed <- err
	}()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	hub.Close()
	return errors.Join(err, front.Close(), back.Close())
}
