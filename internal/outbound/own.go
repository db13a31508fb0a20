package outbound

import (
	"net"
	"net/netip"
)

// IsOwn reports whether addr belongs to an interface of this machine. Interfaces come and
// go, so they are read each time. Where they cannot be read, no address is known to.
func IsOwn(addr netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	addr = addr.Unmap().WithZone("")
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Unmap() == addr {
			return true
		}
	}
	return false
}
