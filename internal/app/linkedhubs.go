package app

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/configure"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/iothub"
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
	return configure.New(configure.Options{Store: a.store, Checker: newHubChecker(), Linked: a.hubsChanged})
}

// hubChecker calls hubs over the wire before they are linked.
type hubChecker struct{ http *http.Client }

func newHubChecker() hubChecker {
	return hubChecker{&http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Check lists a device of the hub.
func (c hubChecker) Check(ctx context.Context, hub dps.LinkedHub) error {
	conn := iothub.ConnectionString{HostName: hub.Access.Endpoint, KeyName: hub.Access.KeyName, Key: hub.Access.Key.Reveal()}
	_, err := iothub.New(conn, c.http, time.Now).Devices(ctx, 1)
	if refusal, refused := errors.AsType[*iothub.Error](err); refused {
		return dps.Errorf(dps.HubRefused, "%s", refusal)
	}
	if failure, ok := errors.AsType[*url.Error](err); ok {
		err = failure.Err // the rest is our own URL
	}
	if err != nil {
		return dps.Errorf(dps.HubUnavailable, "it cannot be reached: %s", err)
	}
	return nil
}
