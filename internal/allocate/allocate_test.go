package allocate_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/dps"
)

func hub(name string, weight int) dps.LinkedHub {
	return dps.LinkedHub{ID: dps.HubID(name), HostName: dps.HostName(name + ".example"), Weight: weight, ApplyPolicy: true}
}

// reserved is a hub for those that name it.
func reserved(name string) dps.LinkedHub {
	h := hub(name, 1)
	h.ApplyPolicy = false
	return h
}

func TestChoose(t *testing.T) {
	a, b, kept := hub("a", 1), hub("b", 1), reserved("kept")
	host := func(names ...dps.HostName) []dps.HostName { return names }
	tests := []struct {
		name      string
		placement dps.Placement
		fallback  dps.AllocationPolicy
		linked    []dps.LinkedHub
		want      dps.HubID
		err       string // part of the message, when want is ""
	}{
		{"the only hub, by the instance's policy", dps.Placement{}, dps.Hashed, []dps.LinkedHub{a}, "a", ""},
		{"the only hub, hashed", dps.Placement{Policy: dps.Hashed}, dps.Static, []dps.LinkedHub{a}, "a", ""},
		{"a reserved hub is passed over", dps.Placement{}, dps.Hashed, []dps.LinkedHub{kept, a}, "a", ""},
		{"a reserved hub when named", dps.Placement{IotHubs: host("kept.example")}, dps.Hashed, []dps.LinkedHub{a, kept}, "kept", ""},
		{"a named hub in other case", dps.Placement{IotHubs: host("B.Example")}, dps.Hashed, []dps.LinkedHub{a, b}, "b", ""},
		{"static", dps.Placement{Policy: dps.Static, IotHubs: host("b.example")}, dps.Hashed, []dps.LinkedHub{a, b}, "b", ""},
		{"static by the instance", dps.Placement{IotHubs: host("b.example")}, dps.Static, []dps.LinkedHub{a, b}, "b", ""},
		{"single host name of old versions", dps.Placement{HubHostName: "b.example"}, dps.Hashed, []dps.LinkedHub{a, b}, "b", ""},
		{"single host name, static", dps.Placement{Policy: dps.Static, HubHostName: "b.example"}, dps.Hashed, []dps.LinkedHub{a, b}, "b", ""},
		{"list before single host name", dps.Placement{Policy: dps.Static, IotHubs: host("a.example"), HubHostName: "b.example"}, dps.Hashed, []dps.LinkedHub{a, b}, "a", ""},
		{"single host name, hashed", dps.Placement{Policy: dps.Hashed, HubHostName: "b.example"}, dps.Hashed, []dps.LinkedHub{a}, "a", ""},
		{"no hub", dps.Placement{}, dps.Hashed, nil, "", "No linked hub accepts new devices"},
		{"only reserved hubs", dps.Placement{}, dps.Hashed, []dps.LinkedHub{kept}, "", "No linked hub accepts new devices."},
		{"a hub that is not linked", dps.Placement{IotHubs: host("a.example", "c.example")}, dps.Hashed, []dps.LinkedHub{a, b}, "", `"c.example", which is not linked`},
		{"single host name that is not linked", dps.Placement{HubHostName: "c.example"}, dps.Hashed, []dps.LinkedHub{a}, "", `"c.example"`},
		{"static without iotHubs and one hub", dps.Placement{Policy: dps.Static}, dps.Hashed, []dps.LinkedHub{a}, "a", ""},
		{"static of the service and one hub", dps.Placement{}, dps.Static, []dps.LinkedHub{a}, "a", ""},
		{"static without iotHubs and two hubs", dps.Placement{Policy: dps.Static}, dps.Hashed, []dps.LinkedHub{a, b}, "", "iotHubs names none, and 2 hubs are linked"},
		{"static without iotHubs and no hub", dps.Placement{Policy: dps.Static}, dps.Hashed, nil, "", "No linked hub accepts new devices"},
		{"static with two hubs", dps.Placement{Policy: dps.Static, IotHubs: host("a.example", "b.example")}, dps.Hashed, []dps.LinkedHub{a, b}, "", "there are 2"},
		{"lowest latency, nothing configured", dps.Placement{Policy: dps.GeoLatency}, dps.Hashed, []dps.LinkedHub{a}, "a", ""},
		{"lowest latency of the instance", dps.Placement{}, dps.GeoLatency, []dps.LinkedHub{a}, "a", ""},
		{"a policy that nobody knows", dps.Placement{Policy: "nearby"}, dps.Hashed, []dps.LinkedHub{a}, "", `"nearby" is unknown`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := allocate.Choose(allocate.Request{ID: "dev", Placement: tt.placement, Default: tt.fallback, Linked: tt.linked})
			if got.Hub.ID != tt.want {
				t.Errorf("Choose = %q, %v; want %q", got.Hub.ID, err, tt.want)
			}
			if tt.want == "" && (dps.CodeOf(err) != dps.NoHub || !strings.Contains(dps.MessageOf(err), tt.err)) {
				t.Errorf("error = %v, want NoHub with %q", err, tt.err)
			}
		})
	}
}

// spread returns the hub of each of n devices.
func spread(t *testing.T, hubs []dps.LinkedHub, n int) []dps.HubID {
	t.Helper()
	chosen := make([]dps.HubID, n)
	for i := range chosen {
		chosen[i] = choose(t, allocate.Request{ID: dps.RegistrationID("sensor-" + strconv.Itoa(i)), Default: dps.Hashed, Linked: hubs}).Hub.ID
	}
	return chosen
}

func choose(t testing.TB, r allocate.Request) allocate.Choice {
	t.Helper()
	c, err := allocate.Choose(r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// checkShare reports when got is further than 2 % from its share of all.
func checkShare(t *testing.T, what string, got, all int, share float64) {
	t.Helper()
	if want := float64(all) * share; math.Abs(float64(got)-want) > 0.02*want {
		t.Errorf("%s: %d of %d, want %.0f", what, got, all, want)
	}
}

// A million devices over five hubs: each gets what its weight says, to 2 %.
func TestSharesFollowWeights(t *testing.T) {
	const many = 1_000_000
	var hubs []dps.LinkedHub
	total := 0
	for i, w := range []int{1, 1, 2, 4, 8} {
		hubs, total = append(hubs, hub(fmt.Sprintf("hub-%d", i), w)), total+w
	}
	counts := map[dps.HubID]int{}
	for _, id := range spread(t, hubs, many) {
		counts[id]++
	}
	for _, h := range hubs {
		checkShare(t, string(h.ID), counts[h.ID], many, float64(h.Weight)/float64(total))
	}
}

func TestChoiceIsStable(t *testing.T) {
	hubs := []dps.LinkedHub{hub("a", 3), hub("b", 1), hub("c", 2)}
	first := spread(t, hubs, 1000)
	slices.Reverse(hubs)
	if !slices.Equal(first, spread(t, hubs, 1000)) {
		t.Error("the order of hubs changes the choice")
	}
	for _, id := range []dps.RegistrationID{"Sensor-1", "SENSOR-1"} {
		c, err := allocate.Choose(allocate.Request{ID: id, Default: dps.Hashed, Linked: hubs})
		if err != nil || c.Hub.ID != first[1] {
			t.Errorf("Choose(%q) = %q, %v; want %q as for sensor-1", id, c.Hub.ID, err, first[1])
		}
	}
}

// TestChoiceIsFixed pins some choices: a release that changes them would move
// devices between hubs.
func TestChoiceIsFixed(t *testing.T) {
	got := ""
	for i := range 16 {
		c, err := allocate.Choose(allocate.Request{
			ID: dps.RegistrationID(fmt.Sprintf("sensor-%d", i)), Default: dps.Hashed, Linked: []dps.LinkedHub{hub("a", 1), hub("b", 2), hub("c", 3)},
		})
		if err != nil {
			t.Fatal(err)
		}
		got += string(c.Hub.ID)
	}
	if want := "bababbccbccccbcc"; got != want {
		t.Errorf("choices = %s, want %s", got, want)
	}
}

func TestAChangeMovesItsShareOnly(t *testing.T) {
	two := []dps.LinkedHub{hub("a", 1), hub("b", 2)}
	three := append(slices.Clone(two), hub("c", 1))
	const some = 100_000
	before, after := spread(t, two, some), spread(t, three, some)
	moved := 0
	for i := range before {
		if before[i] == after[i] {
			continue
		}
		moved++
		if after[i] != "c" { // the other way round: removing c moves only its own
			t.Fatalf("sensor-%d moved from %s to %s when c was added", i, before[i], after[i])
		}
	}
	checkShare(t, "moved when c was added", moved, len(before), 0.25)

	heavier := []dps.LinkedHub{hub("a", 2), hub("b", 2)}
	moved = 0
	for i, id := range spread(t, heavier, some) {
		if id == before[i] {
			continue
		}
		moved++
		if id != "a" {
			t.Fatalf("sensor-%d moved to %s when a became heavier", i, id)
		}
	}
	checkShare(t, "moved when a became heavier", moved, len(before), 1.0/2-1.0/3)
}
