package dps

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// WebhookRules say which webhooks may be called. The URL comes from an operator of
// enrollments, the call from this machine's network: by default it is https, and neither
// this machine nor a link-local address, where clouds have their metadata service.
type WebhookRules struct {
	HTTP      bool // plain http too
	Loopback  bool // this machine too, by any of its addresses
	LinkLocal bool // 169.254.0.0/16, fe80::/10 and the metadata addresses of clouds too

	// Own reports whether an address belongs to an interface of this machine; nil: only
	// loopback addresses are known to.
	Own func(netip.Addr) bool
}

// maxWebhookURL bounds a webhook's URL, in bytes.
const maxWebhookURL = 2048

// CheckURL checks the text of a webhook's URL; field is named in the error. A host
// that is a name may still lead where CheckAddr forbids. It fails with Invalid.
func (r WebhookRules) CheckURL(field, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || len(text) > maxWebhookURL {
		return Invalidf(field, "must be an absolute https URL of at most %d characters", maxWebhookURL)
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !r.HTTP {
			return Invalidf(field, "must be https; start the service with --webhook-allow http to allow http")
		}
	default:
		return Invalidf(field, "must be an absolute https URL of at most %d characters", maxWebhookURL)
	}
	if u.User != nil {
		return Invalidf(field, "must not contain user information; put a key into the query")
	}
	return r.checkHost(field, strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")))
}

// checkHost checks what can be said of a host without looking it up.
func (r WebhookRules) checkHost(field, host string) error {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, section 6.3
		return r.CheckAddr(field, netip.IPv6Loopback())
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return r.CheckAddr(field, addr)
	}
	return nil
}

// metadataAddrs are where clouds serve metadata to their machines, besides link-local
// addresses.
// Source: documentation of AWS (instance metadata over IPv6), Azure (168.63.129.16),
// Alibaba Cloud, Google Cloud (metadata server over IPv6) and Oracle Cloud.
var metadataAddrs = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("fd20:ce::254"), netip.MustParseAddr("192.0.0.192"),
}

// carriers are the networks of IPv6 whose addresses stand for one of IPv4, with the byte
// at which that one begins: a translator or tunnel leads there.
// Sources: RFC 4291, section 2.5.5.1 (IPv4-compatible); RFC 2765, section 2.1
// (IPv4-translated); RFC 6052, section 2.1, and RFC 8215 (NAT64); RFC 3056 (6to4).
var carriers = []struct {
	network netip.Prefix
	at      int
}{
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// carried returns the IPv4 address that an address stands for, or the address itself.
func carried(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() || addr.IsUnspecified() {
		return addr // of ::/96, and their own
	}
	for _, c := range carriers {
		if c.network.Contains(addr) {
			whole := addr.As16()
			return netip.AddrFrom4([4]byte(whole[c.at : c.at+4]))
		}
	}
	return addr
}

// thisNetwork is what some systems take for themselves, not only its first address.
// Source: RFC 1122, section 3.2.1.3.
var thisNetwork = netip.MustParsePrefix("0.0.0.0/8")

// CheckAddr checks an address that is about to be called; field is named in the error.
// It fails with Invalid.
func (r WebhookRules) CheckAddr(field string, addr netip.Addr) error {
	named := addr
	addr = carried(addr)
	own := r.Own != nil && (r.Own(named) || r.Own(addr))
	switch {
	case addr.IsLoopback() || addr.IsUnspecified() || thisNetwork.Contains(addr) || own:
		if !r.Loopback {
			return Invalidf(field, "must not lead to this machine (%s); start the service with --webhook-allow loopback to allow it", addr)
		}
	case addr.IsLinkLocalUnicast() || slices.Contains(metadataAddrs, addr):
		if !r.LinkLocal {
			return Invalidf(
				field,
				"must not lead to a link-local or metadata address (%s); start the service with --webhook-allow link-local to allow it",
				addr,
			)
		}
	case addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return Invalidf(field, "must not lead to a multicast or broadcast address (%s)", addr)
	}
	return nil
}
