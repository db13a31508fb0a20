package mooringapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/audit"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/mooringapi"
	"github.com/mooring-iot/mooring/wire"
)

// fleet is hubs, their health, and what is to be cleaned up at them.
type fleet struct {
	hubs     []dps.LinkedHub
	health   map[dps.HubID]dps.HubHealth
	remnants []dps.Remnant // sorted by hub and device
	fails    error
}

func (f *fleet) Hubs(context.Context, dps.InstanceID) ([]dps.LinkedHub, error) {
	return f.hubs, f.fails
}

func (f *fleet) HubHealth(context.Context, dps.InstanceID) (map[dps.HubID]dps.HubHealth, error) {
	return f.health, f.fails
}

func (f *fleet) CountRemnants(_ context.Context, _ dps.InstanceID, state dps.RemnantState) (map[dps.HubID]int, error) {
	all := map[dps.HubID]int{}
	for _, m := range f.remnants {
		if m.State == state {
			all[m.Hub]++
		}
	}
	return all, f.fails
}

func (f *fleet) Remnants(
	_ context.Context,
	_ dps.InstanceID,
	state dps.RemnantState,
	limit int,
	after *dps.HubStand,
) ([]dps.Remnant, error) {
	var page []dps.Remnant
	for _, m := range f.remnants {
		behind := after == nil || m.Hub > after.Hub || (m.Hub == after.Hub && m.DeviceID > after.DeviceID)
		if m.State == state && behind && len(page) < limit {
			page = append(page, m)
		}
	}
	return page, f.fails
}

// over makes the world's own API that of the fleet.
func (w *world) over(f *fleet, engine mooringapi.Hubs) {
	clock := func() time.Time { return now }
	w.Handler = mooringapi.New(mooringapi.Options{
		Guard: access.New(
			access.Options{Store: w.store, Names: []string{"dps.example"}, Now: clock},
		), Audit: audit.New(audit.Options{Store: w.store}),
		Instance: dps.DefaultInstance, Log: slog.New(slog.DiscardHandler), Now: clock, Links: f, Hubs: engine,
	})
}

func (w *world) read(t *testing.T, path string, into any) {
	t.Helper()
	res := w.send(t, "GET", path, "")
	if err := json.Unmarshal(res.Body.Bytes(), into); err != nil || res.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, res.Code, res.Body)
	}
}

func TestLinkedHubs(t *testing.T) {
	w := newWorld(t)
	f := &fleet{
		hubs: []dps.LinkedHub{
			{ID: "a", Kind: dps.KindEmbedded, HostName: "own.example", Weight: 1, ApplyPolicy: true},
			{ID: "b", Kind: dps.KindIoTHub, HostName: "plant.example", Location: "westeurope", Weight: 7},
			{ID: "c", Kind: dps.KindIoTHub, HostName: "lab.example", Weight: 1},
		},
		health: map[dps.HubID]dps.HubHealth{"b": {
			State: dps.HubDown, Since: now.Add(-time.Minute), LastError: "no answer", Paused: now.Add(1500 * time.Millisecond),
			PerMinute: 100, Waiting: 12, Wait: 7100 * time.Millisecond,
		}},
		remnants: []dps.Remnant{
			{
				HubStand: dps.HubStand{Hub: "b", DeviceID: "d"},
				State:    dps.Leaving,
			},
			{HubStand: dps.HubStand{Hub: "b", DeviceID: "e"}, State: dps.Placing},
		},
	}
	want := wire.HubStatusList{Value: []wire.HubStatus{
		{
			Name:                  "own.example",
			Kind:                  "embedded",
			Location:              "local",
			AllocationWeight:      1,
			ApplyAllocationPolicy: true,
			Health:                wire.HubHealth{State: "up"},
		},
		{
			Name: "plant.example", Kind: "iothub", Location: "westeurope", AllocationWeight: 7, PendingCleanups: 1,
			Health: wire.HubHealth{
				State: "down", Since: "2026-03-01T11:59:00.000Z", LastError: "no answer", PausedUntil: "2026-03-01T12:00:01.500Z",
				WritesPerMinute: 100, Waiting: 12, EstimatedWaitSeconds: 8,
			},
		},
		{Name: "lab.example", Kind: "iothub", Location: "local", AllocationWeight: 1, Health: wire.HubHealth{State: "unknown"}},
	}}
	w.over(f, f)
	var got wire.HubStatusList
	w.read(t, wire.LinkedHubsPath, &got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hubs (-want +got):\n%s", diff)
	}
	w.over(f, nil)
	w.read(t, wire.LinkedHubsPath, &got)
	if got.Value[1].Health.State != "unknown" || got.Value[0].Health.State != "up" {
		t.Errorf("without an engine: %+v", got)
	}
	var none wire.CleanupPage
	w.read(t, wire.CleanupsPath, &none)
	if none.Value == nil || len(none.Value) != 0 {
		t.Errorf("clean-ups without an engine: %+v", none)
	}
}

func TestCleanups(t *testing.T) {
	w := newWorld(t)
	f := &fleet{hubs: []dps.LinkedHub{{ID: "a", HostName: "a.example"}, {ID: "b", HostName: "b.example"}}}
	for _, hub := range []dps.HubID{"a", "b"} {
		for i := range 5 {
			m := dps.Remnant{
				HubStand: dps.HubStand{Hub: hub, DeviceID: dps.DeviceID(fmt.Sprint("d", i))},
				ID:       "Sensor",
				State:    dps.Leaving,
				Since:    now,
			}
			f.remnants = append(f.remnants, m)
		}
	}
	f.remnants[1].State = dps.Placing
	f.remnants[2].Attempts, f.remnants[2].LastError, f.remnants[2].Due = 3, "no answer", now.Add(time.Minute)
	w.over(f, f)
	var names []string
	continuation := ""
	for range 20 {
		var page wire.CleanupPage
		w.read(t, wire.CleanupsPath+"?"+url.Values{"top": {"2"}, "continuation": {continuation}}.Encode(), &page)
		for _, c := range page.Value {
			names = append(names, c.Hub+"/"+c.DeviceID)
			want := wire.Cleanup{
				Hub:            "a.example",
				DeviceID:       "d2",
				RegistrationID: "Sensor",
				Since:          "2026-03-01T12:00:00.000Z",
				Attempts:       3,
				LastError:      "no answer",
				NextAttempt:    "2026-03-01T12:01:00.000Z",
			}
			if diff := cmp.Diff(want, c); c.Attempts > 0 && diff != "" {
				t.Error(diff)
			}
		}
		if continuation = page.Continuation; continuation == "" {
			break
		}
	}
	if got, want := strings.Join(
		names,
		" ",
	), "a.example/d0 a.example/d2 a.example/d3 a.example/d4 b.example/d0 b.example/d1 b.example/d2 b.example/d3 b.example/d4"; got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
}

func TestHubsRefuse(t *testing.T) {
	w := newWorld(t)
	f := &fleet{}
	w.over(f, f)
	for path, words := range map[string]string{
		wire.LinkedHubsPath + "?top=1":                                   `unknown parameter "top"; this operation takes none`,
		wire.CleanupsPath + "?hub=x":                                     "must be one of top, continuation",
		wire.CleanupsPath + "?top=0":                                     "top: must be a number",
		wire.CleanupsPath + "?top=1001":                                  "top: must be a number",
		wire.CleanupsPath + "?continuation=!":                            "continuation: is not a continuation token",
		wire.CleanupsPath + "?continuation=e30":                          "continuation: is not a continuation token",
		wire.CleanupsPath + "?continuation=" + strings.Repeat("A", 1000): "continuation: is not a continuation token",
	} {
		if res := w.send(t, "GET", path, ""); res.Code != http.StatusBadRequest ||
			!strings.Contains(res.Body.String(), strings.ReplaceAll(words, `"`, `\"`)) {
			t.Errorf("%s: %d %s, want 400 with %q", path, res.Code, res.Body, words)
		}
	}
	for _, path := range []string{wire.LinkedHubsPath, wire.CleanupsPath} {
		if res := w.send(t, "GET", path, "", "Authorization: "+w.bearer(t)); res.Code != http.StatusOK {
			t.Errorf("%s by bearer token: %d", path, res.Code)
		}
		for _, header := range []string{w.sas(dps.EnrollmentWrite.String()), "Bearer x", ""} {
			if res := w.send(t, "GET", path, "", "Authorization: "+header); res.Code != http.StatusUnauthorized {
				t.Errorf("%s by %.20q: %d", path, header, res.Code)
			}
		}
		f.fails = errors.New("out of order")
		if res := w.send(t, "GET", path, ""); res.Code != http.StatusInternalServerError {
			t.Errorf("%s of a broken store: %d", path, res.Code)
		}
		f.fails = nil
	}
}
