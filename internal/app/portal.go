package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/controlapi"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/portal"
	"github.com/mooring-iot/mooring/internal/signin"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/service"
)

// listenPortal binds the portal listener: plain HTTP on loopback, TLS elsewhere. api is
// what stands on the https listener.
func (a *App) listenPortal(ctx context.Context, api http.Handler, endpoint string) error {
	l, err := a.bindPortal(ctx)
	if err != nil {
		return err
	}
	var trust runtime
	if err := a.describeTrust(&trust); err != nil {
		return errors.Join(err, l.Close())
	}
	pages, err := portal.New(portal.Options{
		SignIn: a.signin, API: portalAPI{app: a, endpoint: endpoint, http: &http.Client{Transport: inProcess{api}}},
		Secure: !isLoopback(l.Addr().String()), CAFile: trust.CAFile, CAIssuer: trust.CAIssuer,
		Version: a.options.Version, Log: a.options.Log, Now: time.Now,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	handler := a.portal(pages)
	if isLoopback(l.Addr().String()) {
		handler = knownHosts(append([]string{a.options.Config.Portal.Addr()}, a.options.Config.Hostnames...), handler)
	} else {
		l = tls.NewListener(l, a.tlsConfig()) // with client certificates, browsers would ask people for one
	}
	a.addHTTP(portalListener, l, httpio.Track(handler, a.options.Log, a.metrics))
	return nil
}

// bindPortal binds the portal's address. Where the default one is taken by another program
// the portal stands on a free port, and the service says so: nothing but people look
// for it there.
func (a *App) bindPortal(ctx context.Context) (net.Listener, error) {
	addr := a.options.Config.Portal
	l, err := bind(ctx, "--portal", addr.Addr())
	if err == nil || addr.Explicit() || !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	host, _, err := net.SplitHostPort(addr.Addr())
	if err != nil {
		return nil, err
	}
	if l, err = bind(ctx, "--portal", net.JoinHostPort(host, "0")); err != nil {
		return nil, err
	}
	a.notes = append(
		a.notes,
		fmt.Sprintf(
			"Port 8080 is in use by another program: the portal, health and metrics are on %s this time. To keep one address, set --portal.",
			l.Addr(),
		),
	)
	return l, nil
}

// isLoopback reports whether an address of a listener is reached from this machine only.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
}

// newSignin returns the sign-in of the portal over a store.
func newSignin(store *sqlite.Store, log *slog.Logger) *signin.Service {
	return signin.New(signin.Options{
		Store: store, Instance: dps.DefaultInstance, Audit: audit.New(audit.Options{Store: store, Log: log}), Log: log, Now: time.Now,
	})
}

// portal is what stands on the portal listener: pages, health and metrics.
func (a *App) portal(pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", a.ready)
	mux.Handle("GET /metrics", a.metrics.Handler())
	mux.Handle("/", pages)
	return mux
}

// portalAPI gives the portal clients of the APIs of this process, authorized like
// anybody's: with a key of a shared access policy and with a token.
type portalAPI struct {
	app      *App
	endpoint string
	http     *http.Client
}

// never is the number of retries of calls that stay in this process: a person waits.
const never = -1

func (p portalAPI) options() *service.Options {
	return &service.Options{HTTPClient: p.http, UserAgent: "mooring-portal", Retries: never, Warning: portal.Warn}
}

// Service returns a client of the service API. It signs with the owner's policy or,
// where that is gone, with the one that has the most rights.
func (p portalAPI) Service(ctx context.Context) (*service.Client, error) {
	policies, err := p.app.store.Policies(ctx, dps.DefaultInstance)
	if err != nil {
		return nil, err
	}
	if len(policies) == 0 {
		return nil, errors.New("no shared access policy to sign with")
	}
	best := slices.MaxFunc(policies, func(a, b dps.Policy) int { return rank(a) - rank(b) })
	return service.NewClient(connectionString(p.endpoint, best.Name, best.Keys), p.options())
}

// rank says how good a policy is to sign with.
func rank(p dps.Policy) int {
	n := 0
	for _, right := range []dps.Rights{
		dps.ServiceConfig, dps.EnrollmentWrite, dps.EnrollmentRead, dps.RegistrationStatusWrite, dps.RegistrationStatusRead,
	} {
		n *= 2
		if p.Rights.Allow(right) {
			n++
		}
	}
	n *= 2
	if strings.EqualFold(p.Name, dps.OwnerPolicy) {
		n++
	}
	return n
}

// Control returns a client of the control plane.
func (p portalAPI) Control(ctx context.Context) (*service.ControlPlane, error) {
	in, err := p.app.store.Instance(ctx, dps.DefaultInstance)
	if err != nil {
		return nil, err
	}
	token, err := access.NewToken(in, time.Now())
	if err != nil {
		return nil, err
	}
	return service.NewControlPlane(p.endpoint, controlapi.ResourceID(in.ID), service.StaticToken(token), p.options())
}

// inProcess sends requests to a handler of this process, on behalf of whoever is signed
// in at the portal.
type inProcess struct {
	handler http.Handler
}

// RoundTrip calls the handler and returns its answer when it is whole.
func (t inProcess) RoundTrip(r *http.Request) (res *http.Response, err error) {
	ctx := r.Context()
	caller := portal.CallerOf(ctx)
	if caller.Account != "" {
		ctx = audit.OnBehalf(ctx, audit.ByPortal(caller.Account))
	}
	in := r.Clone(ctx)
	in.RemoteAddr, in.RequestURI, in.Host = caller.Remote, r.URL.RequestURI(), r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := &answer{header: make(http.Header)}
	defer func() {
		if p := recover(); p != nil { // it is logged, and the answer is not whole
			res, err = nil, fmt.Errorf("%s %s: the service failed", r.Method, r.URL.Path)
		}
	}()
	t.handler.ServeHTTP(out, in)
	return out.response(r), in.Body.Close()
}

// answer keeps what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

func (a *answer) response(r *http.Request) *http.Response {
	a.WriteHeader(http.StatusOK)
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Request: r,
	}
}
