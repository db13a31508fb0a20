package allocate

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Network says which locations are near to the clients of a network, nearest first.
type Network struct {
	Prefix    netip.Prefix
	Locations []string
}

// Networks finds the network of a client. It does not change.
type Networks struct {
	locations map[netip.Prefix][]string
	lengths   []int // of all prefixes, longest first
}

// NewNetworks returns the networks of a list. Of several with the same prefix the
// first counts; an IPv4 network may be written in the IPv6 form, ::ffff:10.0.0.0/104.
func NewNetworks(list []Network) *Networks {
	n := &Networks{locations: make(map[netip.Prefix][]string, len(list))}
	for _, network := range list {
		p := unmapped(network.Prefix).Masked()
		if _, ok := n.locations[p]; ok || !p.IsValid() {
			continue
		}
		n.locations[p] = network.Locations
		if !slices.Contains(n.lengths, p.Bits()) {
			n.lengths = append(n.lengths, p.Bits())
		}
	}
	slices.Sort(n.lengths)
	slices.Reverse(n.lengths)
	return n
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

// find returns the smallest network that has the address, and its locations.
func (n *Networks) find(addr netip.Addr) (netip.Prefix, []string) {
	if n == nil {
		return netip.Prefix{}, nil
	}
	addr = addr.Unmap().WithZone("")
	for _, bits := range n.lengths {
		if bits > addr.BitLen() {
			continue
		}
		p, err := addr.Prefix(bits)
		if err != nil {
			continue // an address of no kind
		}
		if locations, ok := n.locations[p]; ok {
			return p, locations
		}
	}
	return netip.Prefix{}, nil
}

// nearest returns the candidates in the first location of the device's network that
// has one. All of them, where the address is unknown, in no network, or no location
// of its network has a candidate.
func (r Request) nearest(candidates []dps.LinkedHub, t *trace) []dps.LinkedHub {
	if !r.Remote.IsValid() {
		t.add(StepNetwork, "the device's address is unknown; the hash selects among all candidates")
		return candidates
	}
	network, locations := r.Networks.find(r.Remote)
	if !network.IsValid() {
		if t.on() {
			t.add(StepNetwork, r.Remote.Unmap().String()+" is in no configured network; the hash selects among all candidates")
		}
		return candidates
	}
	if t.on() {
		t.add(StepNetwork, r.Remote.Unmap().String()+" is in "+network.String()+", near "+strings.Join(locations, ", then "))
	}
	for _, location := range locations {
		there := within(candidates, location)
		if t.on() {
			t.add(StepLocation, location+": "+orNone(names(there)))
		}
		if len(there) > 0 {
			return there
		}
	}
	t.add(StepLocation, "no candidate is in any of them; the hash selects among all candidates")
	return candidates
}

func orNone(text string) string {
	if text == "" {
		return "no candidate"
	}
	return text
}

// within returns the hubs at a location.
func within(hubs []dps.LinkedHub, location string) []dps.LinkedHub {
	key := locationKey(location)
	var there []dps.LinkedHub
	for _, h := range hubs {
		if locationKey(h.Location) == key {
			there = append(there, h)
		}
	}
	return there
}

// locationKey is the form under which "West Europe" and "westeurope" are equal: people
// know regions by the one, APIs by the other.
func locationKey(location string) string {
	return strings.ToLower(strings.Join(strings.Fields(location), ""))
}
