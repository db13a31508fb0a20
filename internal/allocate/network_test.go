package allocate_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/dps"
)

func at(h dps.LinkedHub, location string) dps.LinkedHub {
	h.Location = location
	return h
}

func networks(texts ...string) *allocate.Networks {
	var list []allocate.Network
	for _, text := range texts {
		prefix, locations, _ := strings.Cut(text, "=")
		list = append(list, allocate.Network{Prefix: netip.MustParsePrefix(prefix), Locations: strings.Split(locations, ",")})
	}
	return allocate.NewNetworks(list)
}

func TestLowestLatency(t *testing.T) {
	west, north, east := at(hub("west", 1), "West Europe"), at(hub("north", 1), "northeurope"), at(hub("east", 1), "EastUS")
	all := []dps.LinkedHub{west, north, east}
	configured := networks("10.0.0.0/8=eastus", "10.20.0.0/16=westeurope,northeurope", "10.20.30.0/24=North Europe", "10.20.30.0/24=eastus",
		"2001:db8::/32=mars,east us", "::ffff:192.0.2.0/120=eastus", "198.51.100.0/24=mars", "::/0=northeurope")
	// What the hash says among all of them, where no network does.
	fallback := choose(t, allocate.Request{ID: "dev", Default: dps.Hashed, Linked: all}).Hub.ID
	tests := []struct {
		name, remote string
		linked       []dps.LinkedHub
		down         dps.HubID
		current      dps.HubID
		want         dps.HubID
	}{
		{"first location", "10.20.1.1", all, "", "", "west"},
		{"second location, the first has no hub", "10.20.1.1", []dps.LinkedHub{north, east}, "", "", "north"},
		{"second location, the first is down", "10.20.1.1", all, "west", "", "north"},
		{"the device's own hub, although it is down", "10.20.1.1", all, "west", "west", "west"},
		{"longest prefix, the first of two alike", "10.20.30.255", all, "", "", "north"},
		{"shortest prefix", "10.9.9.9", all, "", "", "east"},
		{"IPv4 in IPv6", "::ffff:10.20.1.1", all, "", "", "west"},
		{"a network written in IPv6", "192.0.2.7", all, "", "", "east"},
		{"IPv6", "2001:db8::7", all, "", "", "east"},
		{"IPv6 with a zone", "2001:db8::7%eth0", all, "", "", "east"},
		{"any other IPv6", "fe80::1", all, "", "", "north"},
		{"IPv4 is not in ::/0", "203.0.113.1", all, "", "", fallback},
		{"no location has a hub", "198.51.100.1", all, "", "", fallback},
		{"unknown address", "", all, "", "", fallback},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := allocate.Request{
				ID: "dev", Placement: dps.Placement{Policy: dps.GeoLatency}, Linked: tt.linked, Networks: configured,
				Down: map[dps.HubID]bool{tt.down: true}, Current: tt.current,
			}
			if tt.remote != "" {
				r.Remote = netip.MustParseAddr(tt.remote)
			}
			if got := choose(t, r).Hub.ID; got != tt.want {
				c, _ := allocate.Explain(r)
				t.Errorf("chose %s, want %s: %v", got, tt.want, c.Steps)
			}
		})
	}
}

// Several hubs of one location share it by weight.
func TestOneLocationIsSharedByWeight(t *testing.T) {
	hubs := []dps.LinkedHub{at(hub("a", 1), "here"), at(hub("b", 3), " He re "), at(hub("c", 1), "there")}
	counts := map[dps.HubID]int{}
	const all = 100_000
	for i := range all {
		c := choose(t, allocate.Request{
			ID: dps.RegistrationID(
				strings.Repeat("x", i%7) + string(rune('a'+i%26)) + netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i)}).String(),
			),
			Default: dps.GeoLatency, Linked: hubs, Remote: netip.MustParseAddr("10.0.0.1"), Networks: networks("10.0.0.0/8=here"),
		})
		counts[c.Hub.ID]++
	}
	checkShare(t, "a", counts["a"], all, 0.25)
	checkShare(t, "b", counts["b"], all, 0.75)
}

func TestSteps(t *testing.T) {
	west, north, kept, down := at(hub("west", 1), "West Europe"), at(hub("north", 2), "northeurope"), reserved("kept"), hub("gone", 1)
	linked := []dps.LinkedHub{west, north, kept, down}
	r := allocate.Request{
		ID: "dev", Default: dps.Hashed, Linked: linked, Down: map[dps.HubID]bool{"gone": true},
		Remote: netip.MustParseAddr("10.20.1.1"), Networks: networks("10.20.0.0/16=mars,westeurope"),
	}
	tests := []struct {
		name      string
		placement dps.Placement
		want      []string // name of the step, and part of its text
	}{
		{"by the service's policy", dps.Placement{}, []string{
			"policy: hashed, the policy of the service", "excluded: kept.example: applyAllocationPolicy is false",
			"candidates: west.example, north.example, gone.example: linked", "excluded: gone.example: down, while", "scores: west.example 1.161 (weight 1), north.example 1.119 (weight 2)", "hub: west.example: the highest score",
		}},
		{"by location", dps.Placement{Policy: dps.GeoLatency}, []string{
			"policy: geoLatency, the policy of the enrollment", "excluded: kept.example", "candidates: west.example", "excluded: gone.example",
			"network: 10.20.1.1 is in 10.20.0.0/16, near mars, then westeurope", "location: mars: no candidate", "location: westeurope: west.example",
			"hub: west.example: the only remaining candidate",
		}},
		{"static", dps.Placement{Policy: dps.Static, IotHubs: []dps.HostName{"gone.example"}}, []string{
			"policy: static", "candidates: gone.example: named by the enrollment", "hub: gone.example: named by the enrollment",
		}},
		{"one host name", dps.Placement{HubHostName: "west.example"}, []string{
			"policy: static: the enrollment names one hub by iotHubHostName", "candidates: west.example", "hub: west.example",
		}},
		{"custom", dps.Placement{Policy: dps.Custom}, []string{
			"policy: custom", "excluded: kept.example", "candidates: west.example", "excluded: gone.example", "hub: the webhook decides",
		}},
		{"not linked", dps.Placement{Policy: dps.Hashed, IotHubs: []dps.HostName{"ghost.example"}}, []string{
			"policy: hashed", `failed: The enrollment names the hub "ghost.example", which is not linked.`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := r
			r.Placement = tt.placement
			c, _ := allocate.Explain(r)
			var got []string
			for _, s := range c.Steps {
				got = append(got, string(s.Name)+": "+s.Text)
			}
			if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("steps\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestNoHubIsUp(t *testing.T) {
	hubs := []dps.LinkedHub{hub("a", 1), hub("b", 2)}
	r := allocate.Request{ID: "dev", Default: dps.Hashed, Linked: hubs}
	want := choose(t, r).Hub.ID
	r.Down = map[dps.HubID]bool{"a": true, "b": true}
	if got := choose(t, r).Hub.ID; got != want {
		t.Errorf("with all hubs down %s is chosen, want %s as if none was", got, want)
	}
}

// BenchmarkChoose is what the choice costs a registration: no step is written.
func BenchmarkChoose(b *testing.B) {
	var hubs []dps.LinkedHub
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		hubs = append(hubs, hub(name, 1))
	}
	r := allocate.Request{ID: "dev", Default: dps.Hashed, Linked: hubs}
	b.ReportAllocs()
	for b.Loop() {
		_ = choose(b, r)
	}
}
