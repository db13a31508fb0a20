package allocate_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/dps"
)

// drawHubs returns up to eight hubs of any weight.
func drawHubs(rt *rapid.T) []dps.LinkedHub {
	hubs := make([]dps.LinkedHub, rapid.IntRange(1, 8).Draw(rt, "hubs"))
	for i := range hubs {
		hubs[i] = hub(fmt.Sprintf("hub-%d", i), rapid.IntRange(1, 1000).Draw(rt, "weight"))
		hubs[i].Location = rapid.SampledFrom([]string{"", "West Europe", "northeurope", "eastus"}).Draw(rt, "location")
		hubs[i].ApplyPolicy = rapid.IntRange(0, 4).Draw(rt, "apply") > 0
	}
	return hubs
}

func drawRequest(rt *rapid.T) allocate.Request {
	r := allocate.Request{
		ID:      dps.RegistrationID(rapid.StringMatching(`[a-z0-9]{1,12}`).Draw(rt, "id")),
		Default: rapid.SampledFrom([]dps.AllocationPolicy{dps.Hashed, dps.Static, dps.GeoLatency}).Draw(rt, "default"),
		Linked:  drawHubs(rt),
		Remote:  rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.20.1.1"), netip.MustParseAddr("::1")}).Draw(rt, "remote"),
		Networks: allocate.NewNetworks(
			[]allocate.Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Locations: []string{"westeurope", "eastus"}}},
		),
		Down: map[dps.HubID]bool{},
	}
	r.Placement.Policy = rapid.SampledFrom([]dps.AllocationPolicy{"", dps.Hashed, dps.Static, dps.GeoLatency, dps.Custom}).Draw(rt, "policy")
	for i, h := range r.Linked {
		if rapid.IntRange(0, 3).Draw(rt, "named") == 0 {
			r.Placement.IotHubs = append(r.Placement.IotHubs, h.HostName)
		}
		if rapid.IntRange(0, 2).Draw(rt, "down") == 0 {
			r.Down[h.ID] = true
		}
		if i == 0 && rapid.Bool().Draw(rt, "current") {
			r.Current = h.ID
		}
	}
	return r
}

// What is explained is what is chosen, and says by which hub it ended.
func TestExplainAgrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRequest(rt)
		want, wantErr := allocate.Choose(r)
		got, err := allocate.Explain(r)
		if r.Policy() != want.Policy {
			rt.Fatalf("Policy = %s, Choose says %s", r.Policy(), want.Policy)
		}
		if want.Steps != nil || (err == nil) != (wantErr == nil) || dps.MessageOf(err) != dps.MessageOf(wantErr) {
			rt.Fatalf("Explain = %v, Choose = %v, %+v", err, wantErr, want.Steps)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(allocate.Choice{}, "Steps"), cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("(-choose +explain):\n%s", diff)
		}
		last := allocate.StepHub
		if err != nil {
			last = allocate.StepFailed
		}
		if n := len(got.Steps); n < 2 || got.Steps[0].Name != allocate.StepPolicy || got.Steps[n-1].Name != last {
			rt.Fatalf("steps = %v", got.Steps)
		}
	})
}

// A hub that is down gets nothing new while another candidate is up.
func TestHubsThatAreDownGetNothingNew(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := drawRequest(rt)
		c, err := allocate.Choose(r)
		if err != nil || c.Policy == dps.Static || c.Policy == dps.Custom {
			return
		}
		up := func(h dps.LinkedHub) bool { return !r.Down[h.ID] }
		if !up(c.Hub) && c.Hub.ID != r.Current && slices.ContainsFunc(c.Candidates, up) {
			rt.Fatalf("%s is down, and was chosen among %v", c.Hub.ID, c.Candidates)
		}
		if !slices.ContainsFunc(c.Candidates, func(h dps.LinkedHub) bool { return h.ID == c.Hub.ID }) {
			rt.Fatalf("%s is no candidate", c.Hub.ID)
		}
	})
}

// A hub that comes, goes or changes its weight moves devices only to or from it.
func TestAnyChangeMovesOnlyToOrFromTheHub(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		hubs := drawHubs(rt)
		for i := range hubs {
			hubs[i].ApplyPolicy = true
		}
		extra := hub("extra", rapid.IntRange(1, 1000).Draw(rt, "weight of the extra hub"))
		with := rapid.Permutation(append(slices.Clone(hubs), extra)).Draw(rt, "order")
		heavier := slices.Clone(with)
		at := slices.IndexFunc(heavier, func(h dps.LinkedHub) bool { return h.ID == extra.ID })
		heavier[at].Weight += rapid.IntRange(1, 1000).Draw(rt, "more")
		for range 20 {
			id := dps.RegistrationID(rapid.StringMatching(`[a-z0-9]{1,12}`).Draw(rt, "id"))
			request := func(hubs []dps.LinkedHub) allocate.Request {
				return allocate.Request{ID: id, Default: dps.Hashed, Linked: hubs}
			}
			before, after := choose(t, request(hubs)).Hub.ID, choose(t, request(with)).Hub.ID
			if after != before && after != extra.ID {
				rt.Fatalf("%s moved from %s to %s when extra came", id, before, after)
			}
			if more := choose(t, request(heavier)).Hub.ID; more != after && more != extra.ID {
				rt.Fatalf("%s moved from %s to %s when extra became heavier", id, after, more)
			}
		}
	})
}
