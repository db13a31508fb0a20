package outbound_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/mooring-iot/mooring/internal/outbound"
)

func TestIsOwn(t *testing.T) {
	t.Parallel()
	addrs, err := net.InterfaceAddrs()
	if err != nil || len(addrs) == 0 {
		t.Fatalf("this machine has no addresses: %v", err)
	}
	for _, a := range addrs {
		addr := netip.MustParsePrefix(a.String()).Addr()
		if !outbound.IsOwn(addr) || !outbound.IsOwn(netip.AddrFrom16(addr.As16())) || addr.Is6() && !outbound.IsOwn(addr.WithZone("eth0")) {
			t.Errorf("%s is not this machine's", addr)
		}
	}
	for _, text := range []string{"192.0.2.7", "2001:db8::7"} {
		if outbound.IsOwn(netip.MustParseAddr(text)) {
			t.Errorf("%s is this machine's", text)
		}
	}
}
