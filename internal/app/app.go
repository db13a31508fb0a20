// Package app puts the service together: it opens the data directory, wires the
// parts, binds every listener, runs until told to stop, and closes in reverse.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/handshake"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/mqtt"
	"github.com/mooring-iot/mooring/internal/obs"
	"github.com/mooring-iot/mooring/internal/register"
	"github.com/mooring-iot/mooring/internal/signin"
	"github.com/mooring-iot/mooring/internal/statistics"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/internal/tlsauth"
)

// drainTime is how long open requests may take once the service is told to stop.
const drainTime = 8 * time.Second

// Options are what an App needs; all are required.
type Options struct {
	Config  config.Config
	Version string
	Log     *slog.Logger
}

// App is the running service.
type App struct {
	options     Options
	data        dataDir
	store       *sqlite.Store
	tls         *tlsauth.Authority
	signin      *signin.Service
	mqtt        *mqtt.Server
	handshakes  *handshake.Watcher
	devices     *register.Service
	hubs        *iothub.Pool
	metrics     *obs.Metrics
	diagnostics diagnostics
	servers     []*server
	closers     []func() error
	notes       []string
	first       bool

	naming sync.Mutex // held from reading the names of hubs until the certificate has them
}

// server is one listener with what answers on it.
type server struct {
	name     string
	listener net.Listener
	serve    func() error                    // until stop
	stop     func(ctx context.Context) error // lets open requests end, or cuts them off when ctx ends
}

// New opens the data directory, creating what it lacks, and binds every listener.
// It starts nothing: whoever gets an App must Run or Close it.
func New(ctx context.Context, o Options) (*App, error) {
	a := &App{options: o, metrics: obs.NewMetrics(o.Version)}
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context) error {
	var err error
	if a.data, err = openDataDir(ctx, a.options.Config.Data); err != nil {
		return err
	}
	a.closers = append(a.closers, a.data.unlock)
	if err := a.checkData(); err != nil {
		return err
	}
	if err := a.openStore(ctx); err != nil {
		return a.data.explainDamage(err)
	}
	if err := a.openTLS(ctx); err != nil {
		return err
	}
	if err := a.bootstrap(ctx); err != nil {
		return err
	}
	if err := a.openHubs(); err != nil {
		return err
	}
	a.signin = newSignin(a.store, a.options.Log)
	if err := a.signin.Ensure(ctx); err != nil {
		return a.data.explain(err)
	}
	if err := a.listen(ctx); err != nil {
		return err
	}
	r, err := a.runtime()
	if err != nil {
		return err
	}
	if err := a.data.writeRuntime(r); err != nil {
		return err
	}
	return a.data.endFirstStart()
}

// checkData checks the data directory before anything of it is opened.
func (a *App) checkData() error {
	c, log := a.options.Config, a.options.Log
	if err := a.data.protect(log); err != nil {
		return err
	}
	if err := a.data.checkPieces(c.Recreate, c.TLSCert == ""); err != nil {
		return err
	}
	if err := a.data.removeLeftovers(log); err != nil {
		return err
	}
	return a.data.protectFiles(log)
}

func (a *App) openStore(ctx context.Context) error {
	key, err := a.data.masterKey(true)
	if err != nil {
		return err
	}
	a.store, err = sqlite.Open(ctx, sqlite.Options{
		Path: a.data.database(), Key: key, Observer: a.metrics, Log: a.options.Log, Now: time.Now,
		AuditRetention: a.options.Config.AuditRetention, Damaged: func(error) { a.metrics.Damaged() },
	})
	if err != nil {
		return err
	}
	a.closers = append(a.closers, a.store.Close)
	a.openDiagnostics()
	return nil
}

func (a *App) openTLS(ctx context.Context) error {
	c := a.options.Config
	names, err := a.serverNames(ctx)
	if err != nil {
		return a.data.explain(err)
	}
	a.tls, err = tlsauth.Open(tlsauth.Options{
		Dir: a.data.tls(), Hostnames: names, CertFile: c.TLSCert, KeyFile: c.TLSKey, Now: time.Now, Log: a.options.Log,
	})
	return err
}

// bootstrap creates the instance at first start. Later it keeps what is there, but
// for the name of the embedded hub, which is the service's own.
func (a *App) bootstrap(ctx context.Context) error {
	host := dps.HostName(a.options.Config.Hostnames[0])
	_, err := a.store.Instance(ctx, dps.DefaultInstance)
	if dps.CodeOf(err) == dps.InstanceNotFound {
		if err := a.data.mayCreate(a.options.Config.Recreate); err != nil {
			return err
		}
		a.first = true
		if err := a.store.Create(ctx, firstSetup(host, time.Now())); err != nil {
			return err
		}
		return a.completeHubs(ctx)
	}
	if err != nil {
		return a.data.explain(err)
	}
	hubs, err := a.store.Hubs(ctx, dps.DefaultInstance)
	if err != nil {
		return err
	}
	if err := a.completeHubs(ctx); err != nil {
		return err
	}
	i := slices.IndexFunc(hubs, func(h dps.LinkedHub) bool { return h.ID == dps.EmbeddedHub })
	if i < 0 || hubs[i].HostName.Equal(host) {
		return nil
	}
	if slices.ContainsFunc(hubs, func(h dps.LinkedHub) bool { return h.HostName.Equal(host) }) {
		return fmt.Errorf(
			"--hostname: the first embedded hub would get the name %s of another linked hub; unlink one of them while the service runs as %s",
			host,
			hubs[i].HostName,
		)
	}
	renamed, err := a.store.RenameHub(ctx, dps.DefaultInstance, dps.EmbeddedHub, host)
	if err != nil {
		return err
	}
	a.options.Log.Info("the embedded hub has a new host name, from --hostname", "from", hubs[i].HostName, "to", host, "enrollments", renamed)
	return nil
}

// completeHubs gives every embedded hub the shared access policies that it lacks: hubs of
// earlier versions had the owner's alone.
func (a *App) completeHubs(ctx context.Context) error {
	hubs, err := a.store.Hubs(ctx, dps.DefaultInstance)
	if err != nil {
		return err
	}
	for _, h := range hubs {
		if h.Kind != dps.KindEmbedded {
			continue
		}
		if err := a.completeHub(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// completeHub writes nothing where nothing is missing, as at nearly every start.
func (a *App) completeHub(ctx context.Context, h dps.LinkedHub) error {
	have, err := a.store.HubPolicies(ctx, h.Instance, h.ID)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(dps.StandardHubPolicies(h), func(p dps.HubPolicy) bool {
		return slices.ContainsFunc(have, func(q dps.HubPolicy) bool { return strings.EqualFold(p.Name, q.Name) })
	})
	if len(missing) == 0 {
		return nil
	}
	return a.store.AddHubPolicies(ctx, missing)
}

func firstSetup(host dps.HostName, now time.Time) dps.Setup {
	in := dps.NewInstance(dps.DefaultInstance, now)
	hub, policy := dps.NewEmbeddedHub(in.ID, dps.EmbeddedHub, host)
	return dps.Setup{
		Instance: in,
		Policy:   dps.Policy{Instance: in.ID, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub:      hub, HubPolicy: policy,
	}
}

// Notes are sentences for whoever started the service, about what was done
// differently than by default.
func (a *App) Notes() []string { return a.notes }

// FirstStart reports whether this start created the instance.
func (a *App) FirstStart() bool { return a.first }

// CreatedData reports whether this start created the data directory.
func (a *App) CreatedData() bool { return a.data.created }

// Run serves until ctx ends or a part fails, then stops taking requests, lets open
// ones end, and closes everything.
func (a *App) Run(ctx context.Context) error {
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return a.tls.Run(ctx) })
	tasks.Go(func() error { return a.devices.Run(ctx) })
	tasks.Go(func() error { return a.hubs.Run(ctx) })
	tasks.Go(func() error { return a.diagnostics.decisions.Run(ctx) })
	tasks.Go(func() error { return a.diagnostics.statistics.Run(ctx) })
	for _, s := range a.servers {
		tasks.Go(func() error {
			if err := s.serve(); err != nil {
				return fmt.Errorf("serving %s: %w", s.name, err)
			}
			return nil
		})
	}
	tasks.Go(func() error {
		<-ctx.Done()
		return a.drain()
	})
	err := tasks.Wait()
	return errors.Join(err, a.Close())
}

// drain stops every server; what is not done in time is cut off.
func (a *App) drain() error {
	a.options.Log.Info("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var tasks errgroup.Group
	for _, s := range a.servers {
		tasks.Go(func() error {
			if err := s.stop(ctx); err != nil {
				a.options.Log.Warn("open requests were aborted", "listener", s.name, "err", err)
			}
			return nil
		})
	}
	return tasks.Wait()
}

// Close closes what New opened, last first. Run does it by itself.
func (a *App) Close() error {
	var errs []error
	for _, s := range a.servers {
		if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, c := range slices.Backward(a.closers) {
		errs = append(errs, c())
	}
	a.servers, a.closers = nil, nil
	return errors.Join(errs...)
}

// guard checks the callers of every API for operators.
func (a *App) guard() *access.Guard {
	return access.New(access.Options{Store: a.store, Names: access.Names(a.options.Config.Hostnames), Now: time.Now})
}

// observer counts registrations.
type observer struct {
	metrics    *obs.Metrics
	statistics *statistics.Counter
}

// Panicked counts panics.
func (o observer) Panicked(where string) { o.metrics.Panicked(where) }

func (o observer) Registered(kind dps.AttestationType, status dps.RegistrationStatus, reason dps.Reason, took time.Duration) {
	o.metrics.Registration(string(kind), string(status), string(reason), took)
	o.statistics.Registered(dps.DefaultInstance, status)
}
