package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/controlapi"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/wire"
)

// Info is what a user needs to point devices and scripts at a service.
type Info struct {
	wire.Info
	Data    string // the data directory
	Running bool   // whether a process serves it now
	Trust   string // the PEM file of what commands on this machine trust
}

// ReadInfo reads the data directory of a service, whether that runs or not.
func ReadInfo(ctx context.Context, data string) (info Info, err error) {
	abs, err := filepath.Abs(data)
	if err != nil {
		return info, err
	}
	info.Data = abs
	d := dataDir{path: abs}
	if err := d.checkDatabase(); err != nil {
		return info, err
	}
	r, err := d.readRuntime()
	if err != nil {
		return info, err
	}
	if info.Trust = r.TrustFile; info.Trust == "" {
		info.Trust = r.CAFile
	}
	key, err := d.masterKey(false)
	if err != nil {
		return info, err
	}
	store, err := sqlite.OpenReadOnly(d.database(), key, time.Now)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if info.Info, err = describe(ctx, store, r); err != nil {
		return info, d.explainDamage(d.explain(err))
	}
	info.Running, err = d.running()
	return info, err
}

// running reports whether a process holds the lock. It asks for a shared one, so that
// several commands that look do not take each other for a service.
func (d dataDir) running() (bool, error) {
	lock := flock.New(filepath.Join(d.path, lockName), flock.SetPermissions(0o600))
	free, err := lock.TryRLock()
	if err != nil {
		return false, fmt.Errorf("checking the lock of %s: %w", d.path, err)
	}
	if free {
		return false, lock.Unlock()
	}
	return true, nil
}

// Info describes the service itself.
func (a *App) Info(ctx context.Context) (wire.Info, error) {
	r, err := a.runtime()
	if err != nil {
		return wire.Info{}, err
	}
	return describe(ctx, a.store, r)
}

func describe(ctx context.Context, store *sqlite.Store, r runtime) (wire.Info, error) {
	in, err := store.Instance(ctx, dps.DefaultInstance)
	if err != nil {
		return wire.Info{}, err
	}
	token, err := access.NewToken(in, time.Now())
	if err != nil {
		return wire.Info{}, err
	}
	host := withPort(r.Hostnames[0], r.Listeners[httpsListener])
	info := wire.Info{
		ServiceEndpoint: host, DeviceEndpoint: host, IDScope: string(in.Scope), CAFile: r.CAFile, CAIssuer: r.CAIssuer, Listeners: r.Listeners,
		ConnectionStrings: make(map[string]string),
		ControlPlane:      wire.ControlPlane{ResourceID: controlapi.ResourceID(in.ID), Token: token},
	}
	if err := describePortal(ctx, store, r, &info); err != nil {
		return wire.Info{}, err
	}
	policies, err := store.Policies(ctx, in.ID)
	if err != nil {
		return wire.Info{}, err
	}
	for _, p := range policies {
		info.ConnectionStrings[p.Name] = connectionString(host, p.Name, p.Keys)
	}
	info.Hubs, err = describeHubs(ctx, store, in.ID, r)
	return info, err
}

// describePortal adds where the portal is and, until it is used, its password.
func describePortal(ctx context.Context, store *sqlite.Store, r runtime, info *wire.Info) error {
	listener, on := r.Listeners[portalListener]
	if !on {
		return nil
	}
	info.PortalURL = "http://" + listener
	if !isLoopback(listener) {
		_, port, err := net.SplitHostPort(listener)
		if err != nil {
			return err
		}
		info.PortalURL = "https://" + net.JoinHostPort(r.Hostnames[0], port)
	}
	account, err := store.PortalAccount(ctx, dps.DefaultInstance)
	info.PortalPassword = string(account.OneTime.Reveal())
	return err
}

// ResetPortalPassword gives out a new one-time password for the portal of a data
// directory that no process serves.
func ResetPortalPassword(ctx context.Context, data string, log *slog.Logger) (password string, err error) {
	d, err := openDataDir(ctx, data)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.unlock()) }()
	if err := d.checkDatabase(); err != nil {
		return "", err
	}
	key, err := d.masterKey(false)
	if err != nil {
		return "", err
	}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: d.database(), Key: key, Observer: unobserved{}, Log: log, Now: time.Now})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	given, err := newSignin(store, log).ResetLocally(ctx, "mooring portal reset-password")
	return string(given.Reveal()), err
}

// unobserved hears of commits and does nothing.
type unobserved struct{}

func (unobserved) Committed(int, time.Duration, error) {}

func describeHubs(ctx context.Context, store *sqlite.Store, in dps.InstanceID, r runtime) ([]wire.HubInfo, error) {
	hubs, err := store.Hubs(ctx, in)
	if err != nil {
		return nil, err
	}
	infos := []wire.HubInfo{}
	for _, h := range hubs {
		if h.Kind != dps.KindEmbedded {
			continue // its keys are its own service's
		}
		policies, err := store.HubPolicies(ctx, in, h.ID)
		if err != nil {
			return nil, err
		}
		info := wire.HubInfo{HostName: string(h.HostName), ConnectionStrings: make(map[string]string)}
		for _, p := range policies {
			info.ConnectionStrings[p.Name] = connectionString(withPort(info.HostName, r.Listeners[httpsListener]), p.Name, p.Keys)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// withPort adds the port of a listener to a host name unless clients know it: 443.
func withPort(host, listener string) string {
	_, port, err := net.SplitHostPort(listener)
	if err != nil || port == "443" {
		return host
	}
	return net.JoinHostPort(host, port)
}

func connectionString(host, policy string, keys dps.KeyPair) string {
	return "HostName=" + host + ";SharedAccessKeyName=" + policy + ";SharedAccessKey=" + keys.Primary.Base64()
}
