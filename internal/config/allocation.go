package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Network says which locations are near the devices of a network, nearest first.
type Network struct {
	Prefix    netip.Prefix // without bits beyond its length; IPv4 in its own form
	Locations []string     // at least one
}

// String returns the network as one would write it.
func (n Network) String() string { return n.Prefix.String() + "=" + strings.Join(n.Locations, ",") }

// Bounds of what networks may say.
const (
	maxNetworks  = 10_000
	maxLocations = 50 // Source: azure-docs, includes/iot-dps-limits.md: that many hubs can be linked
	maxLocation  = 64 // characters
)

// setNetworks reads all networks and tells every problem of theirs.
func setNetworks(c *Config, in input) error {
	c.Networks = nil
	if !in.explicit {
		return nil
	}
	var problems []error
	seen := make(map[netip.Prefix]bool)
	entries := networkEntries(in.values)
	if len(entries) > maxNetworks {
		return fmt.Errorf("has %d networks (at most %d)", len(entries), maxNetworks)
	}
	for _, entry := range entries {
		n, err := parseNetwork(entry)
		switch {
		case err != nil:
			problems = append(problems, err)
		case seen[n.Prefix]:
			problems = append(problems, fmt.Errorf("%q: duplicate network %s", entry, n.Prefix))
		default:
			seen[n.Prefix] = true
			c.Networks = append(c.Networks, n)
		}
	}
	return errors.Join(problems...)
}

// networkEntries cuts values into networks. A comma stands between locations as well as
// between networks; what has an equals sign begins a network.
func networkEntries(values []string) []string {
	var entries []string
	for _, value := range values {
		for i, part := range strings.Split(value, ",") {
			if i == 0 || strings.Contains(part, "=") {
				entries = append(entries, strings.TrimSpace(part))
				continue
			}
			entries[len(entries)-1] += "," + part
		}
	}
	return entries
}

func parseNetwork(text string) (Network, error) {
	prefixText, locationsText, ok := strings.Cut(text, "=")
	prefix, err := netip.ParsePrefix(strings.TrimSpace(prefixText))
	if !ok || err != nil {
		return Network{}, fmt.Errorf("%q is not a network with locations (use 10.20.0.0/16=westeurope,northeurope)", clip(text))
	}
	prefix = unmapped(prefix)
	if prefix != prefix.Masked() {
		return Network{}, fmt.Errorf("%q: the network has bits beyond its length (use %s)", clip(text), prefix.Masked())
	}
	n := Network{Prefix: prefix}
	for location := range strings.SplitSeq(locationsText, ",") {
		location = strings.TrimSpace(location)
		if !isLocation(location) {
			return Network{}, fmt.Errorf(
				"%q: %q is not a location (use up to %d letters, digits, blanks, '-' or '_')",
				clip(text),
				clip(location),
				maxLocation,
			)
		}
		n.Locations = append(n.Locations, location)
	}
	if len(n.Locations) > maxLocations {
		return Network{}, fmt.Errorf("%q: has %d locations (at most %d)", clip(text), len(n.Locations), maxLocations)
	}
	return n, nil
}

// unmapped returns a network of IPv4-mapped IPv6 addresses as the IPv4 network.
// Source: RFC 4291, section 2.5.5.2.
func unmapped(p netip.Prefix) netip.Prefix {
	const mapped = 96
	if !p.Addr().Is4In6() || p.Bits() < mapped {
		return p
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
}

func isLocation(text string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789 -_"
	return text != "" && len(text) <= maxLocation && strings.Trim(strings.ToLower(text), allowed) == ""
}

// clip bounds text that a problem repeats.
func clip(text string) string {
	const most = 100
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}

// WebhookTarget is something that webhooks may be beyond the default.
type WebhookTarget string

// The targets.
const (
	WebhookHTTP      WebhookTarget = "http"       // without TLS
	WebhookLoopback  WebhookTarget = "loopback"   // on this machine
	WebhookLinkLocal WebhookTarget = "link-local" // 169.254.0.0/16 and fe80::/10: metadata services of clouds are there
)

var webhookTargets = []WebhookTarget{WebhookHTTP, WebhookLoopback, WebhookLinkLocal}

func setWebhookAllow(c *Config, in input) error {
	c.WebhookAllow = nil
	if !in.explicit {
		return nil
	}
	var err error
	c.WebhookAllow, err = parseAll(in.values, func(text string) (WebhookTarget, error) {
		if t := WebhookTarget(text); slices.Contains(webhookTargets, t) {
			return t, nil
		}
		return "", fmt.Errorf("%q is not a webhook target (use http, loopback or link-local)", clip(text))
	})
	return err
}

// Takeover says whether a device may take over the hub identity of another enrollment.
type Takeover string

// The choices.
const (
	TakeoverAllow  Takeover = "allow"
	TakeoverRefuse Takeover = "refuse"
)

func parseTakeover(text string) (Takeover, error) {
	switch t := Takeover(text); t {
	case TakeoverAllow, TakeoverRefuse:
		return t, nil
	}
	return "", fmt.Errorf("%q is not a valid value (use allow or refuse)", clip(text))
}

// Bounds of --webhook-budget: one attempt may take 30 seconds.
const (
	minWebhookBudget = time.Second
	maxWebhookBudget = 24 * time.Hour
)

func parseWebhookBudget(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < minWebhookBudget || d > maxWebhookBudget {
		return 0, fmt.Errorf("%q is not a duration from 1s to 24h (use for example 90s or 10m)", clip(text))
	}
	return d, nil
}
