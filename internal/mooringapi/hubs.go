package mooringapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/httpio"
	"github.com/mooring-iot/mooring/internal/route"
	"github.com/mooring-iot/mooring/wire"
)

// Links gives what is linked.
type Links interface {
	// Hubs returns the linked hubs, sorted by ID.
	Hubs(ctx context.Context, in dps.InstanceID) ([]dps.LinkedHub, error)

	// CountRemnants returns how many remnants of a state each hub has; hubs without any
	// are left out.
	CountRemnants(ctx context.Context, in dps.InstanceID, state dps.RemnantState) (map[dps.HubID]int, error)
}

// Hubs says how the hubs over the wire are doing.
type Hubs interface {
	// HubHealth returns the health of the hubs over the wire. One that is left out is
	// unknown.
	HubHealth(ctx context.Context, in dps.InstanceID) (map[dps.HubID]dps.HubHealth, error)

	// Remnants returns up to limit remnants of a state, sorted by hub and device, behind
	// after (nil: from the first).
	Remnants(ctx context.Context, in dps.InstanceID, state dps.RemnantState, limit int, after *dps.HubStand) ([]dps.Remnant, error)
}

func (s *server) hubRoutes() []route.Route {
	if s.Links == nil {
		return nil
	}
	return []route.Route{
		{Method: "GET", Pattern: wire.LinkedHubsPath, Handle: s.guarded(dps.ServiceConfig, s.listHubs)},
		{Method: "GET", Pattern: wire.CleanupsPath, Handle: s.guarded(dps.ServiceConfig, s.listCleanups)},
	}
}

// listHubs answers with the linked hubs and how they are doing.
func (s *server) listHubs(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	hubs, err := s.Links.Hubs(r.Context(), s.Instance)
	if err != nil {
		return err
	}
	pending, err := s.Links.CountRemnants(r.Context(), s.Instance, dps.Leaving)
	if err != nil {
		return err
	}
	var health map[dps.HubID]dps.HubHealth
	if s.Hubs != nil {
		if health, err = s.Hubs.HubHealth(r.Context(), s.Instance); err != nil {
			return err
		}
	}
	list := wire.HubStatusList{Value: make([]wire.HubStatus, len(hubs))}
	for i, h := range hubs {
		list.Value[i] = hubStatus(h, health[h.ID], pending[h.ID])
	}
	return httpio.WriteJSON(w, http.StatusOK, list)
}

// hubStatus is a linked hub with how it is doing. An embedded one is up: it is in this
// process. pending is how many identities are to be removed from it.
func hubStatus(h dps.LinkedHub, health dps.HubHealth, pending int) wire.HubStatus {
	out := wire.HubStatus{
		Name: string(h.HostName), Kind: string(h.Kind), Location: h.Location, AllocationWeight: h.Weight, ApplyAllocationPolicy: h.ApplyPolicy,
		PendingCleanups: pending,
		Health: wire.HubHealth{
			State: string(health.State), Since: moment(health.Since), LastError: health.LastError, PausedUntil: moment(health.Paused),
			WritesPerMinute: health.PerMinute, Waiting: health.Waiting, EstimatedWaitSeconds: int64((health.Wait + time.Second - 1) / time.Second),
		},
	}
	if h.Location == "" {
		out.Location = dps.LocalLocation
	}
	switch {
	case h.Kind == dps.KindEmbedded:
		out.Health = wire.HubHealth{State: string(dps.HubUp)}
	case health.State == "":
		out.Health.State = string(dps.HubUnknown)
	}
	return out
}

// listCleanups answers with a page of the identities that are to be removed from hubs.
func (s *server) listCleanups(w http.ResponseWriter, r *http.Request, _ route.Params) error {
	given, err := parameters(r, "top", "continuation")
	if err != nil {
		return err
	}
	top, err := readTop(given["top"])
	if err != nil {
		return err
	}
	after, err := readCleanupToken(given["continuation"])
	if err != nil {
		return err
	}
	var found []dps.Remnant
	if s.Hubs != nil {
		if found, err = s.Hubs.Remnants(r.Context(), s.Instance, dps.Leaving, top+1, after); err != nil {
			return err
		}
	}
	names, err := s.hubNames(r.Context())
	if err != nil {
		return err
	}
	page := wire.CleanupPage{Value: []wire.Cleanup{}}
	if len(found) > top {
		found = found[:top]
		if page.Continuation, err = writeCleanupToken(found[top-1].HubStand); err != nil {
			return err
		}
	}
	for _, m := range found {
		page.Value = append(page.Value, cleanup(m, names[m.Hub]))
	}
	return httpio.WriteJSON(w, http.StatusOK, page)
}

func (s *server) hubNames(ctx context.Context) (map[dps.HubID]dps.HostName, error) {
	hubs, err := s.Links.Hubs(ctx, s.Instance)
	names := make(map[dps.HubID]dps.HostName, len(hubs))
	for _, h := range hubs {
		names[h.ID] = h.HostName
	}
	return names, err
}

func cleanup(m dps.Remnant, hub dps.HostName) wire.Cleanup {
	return wire.Cleanup{
		Hub: string(hub), DeviceID: string(m.DeviceID), RegistrationID: string(m.ID), Since: moment(m.Since),
		Attempts: m.Attempts, LastError: m.LastError, NextAttempt: moment(m.Due),
	}
}

// moment writes a time as the audit does; the zero time as "".
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// cleanupToken is what stands in a continuation of clean-ups.
type cleanupToken struct {
	Hub    string `json:"h"`
	Device string `json:"d"`
}

// maxCleanupToken bounds a continuation, in bytes: a device ID may have 128.
const maxCleanupToken = 512

func writeCleanupToken(at dps.HubStand) (string, error) {
	text, err := json.Marshal(cleanupToken{Hub: string(at.Hub), Device: string(at.DeviceID)})
	return base64.RawURLEncoding.EncodeToString(text), err
}

func readCleanupToken(text string) (*dps.HubStand, error) {
	if text == "" {
		return nil, nil
	}
	var t cleanupToken
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > maxCleanupToken || json.Unmarshal(raw, &t) != nil || t.Hub == "" {
		return nil, notOurs()
	}
	return &dps.HubStand{Hub: dps.HubID(t.Hub), DeviceID: dps.DeviceID(t.Device)}, nil
}

// notOurs is the refusal of a continuation.
func notOurs() error {
	return dps.Invalidf("continuation", "is not a continuation token of this service; request the first page again")
}
