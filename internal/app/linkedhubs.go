package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/configure"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
	"github.com/mooring-iot/mooring/internal/outbound"
)

// serverNames returns the names of the server certificate: those of the service, and of
// the hubs that stand in it.
func (a *App) serverNames(ctx context.Context) ([]string, error) {
	names := slices.Clone(a.options.Config.Hostnames)
	hubs, err := a.store.Hubs(ctx, dps.DefaultInstance)
	for _, h := range hubs {
		name := h.HostName.Key()
		known := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
		// The first embedded hub is called as the service is, as soon as that has started.
		if h.Kind == dps.KindEmbedded && h.ID != dps.EmbeddedHub && !known {
			names = append(names, name)
		}
	}
	return names, err
}

// hubsChanged gives the server certificate the names of the embedded hubs that are
// linked now. What goes wrong is tried again later, as any renewal.
func (a *App) hubsChanged(ctx context.Context, _ dps.InstanceID) {
	ctx = context.WithoutCancel(ctx)
	a.naming.Lock()
	defer a.naming.Unlock()
	names, err := a.serverNames(ctx)
	if err == nil {
		err = a.tls.SetHostnames(names)
	}
	if err != nil {
		a.options.Log.WarnContext(ctx, "the server certificate lacks the names of embedded hubs", "err", err)
	}
}

// configuring is the service that changes the instance.
func (a *App) configuring() *configure.Service {
	return configure.New(configure.Options{Store: a.store, Checker: a.hubs, Linked: a.hubsChanged})
}

// openHubs makes the clients of the hubs over the wire; it calls none.
func (a *App) openHubs() error {
	c := a.options.Config
	client, err := outbound.New(outbound.Options{CAFile: c.HubCA})
	if err != nil {
		return fmt.Errorf("--hub-ca: %w", err)
	}
	a.hubs = iothub.NewPool(iothub.Options{
		Client: client, PerMinute: c.HubRates.PerMinute, ByHost: c.HubRates.ByHost, Now: time.Now, Log: a.options.Log,
		Observer: a.metrics.Hubs(),
	})
	a.closers = append(a.closers, a.hubs.Close)
	return nil
}
