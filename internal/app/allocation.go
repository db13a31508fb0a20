package app

import (
	"fmt"
	"slices"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/outbound"
	"github.com/mooring-iot/mooring/internal/webhook"
)

// networks are those of the configuration as allocation looks them up.
func networks(c config.Config) *allocate.Networks {
	list := make([]allocate.Network, len(c.Networks))
	for i, n := range c.Networks {
		list[i] = allocate.Network(n)
	}
	return allocate.NewNetworks(list)
}

// webhookRules are what the configuration allows webhooks.
func webhookRules(c config.Config) dps.WebhookRules {
	allowed := func(t config.WebhookTarget) bool { return slices.Contains(c.WebhookAllow, t) }
	return dps.WebhookRules{
		HTTP: allowed(config.WebhookHTTP), Loopback: allowed(config.WebhookLoopback), LinkLocal: allowed(config.WebhookLinkLocal),
		Own: outbound.IsOwn,
	}
}

// webhooks returns the caller of webhooks, which ends with the service.
func (a *App) webhooks() (*webhook.Client, error) {
	trust, err := outbound.TLS(a.options.Config.HubCA)
	if err != nil {
		return nil, fmt.Errorf("--hub-ca: %w", err)
	}
	c := webhook.New(webhook.Options{TLS: trust, Rules: webhookRules(a.options.Config)})
	a.closers = append(a.closers, func() error {
		c.Close()
		return nil
	})
	return c, nil
}
