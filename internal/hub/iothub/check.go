package iothub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// maxSkew is by how much the hub's clock may differ from ours before that counts as the
// reason of a refusal: the leeway of the hub itself, about.
const maxSkew = 5 * time.Minute

// Check finds out whether a link is good, and changes nothing at the hub: it reads the
// registry, asks for the twin of a device that is not there, and deletes that device.
// All three rights have to be held: RegistryRead, ServiceConnect and RegistryWrite.
//
// The error says in one sentence what is wrong. Its code is HubUnavailable where the
// hub did not answer like one, HubRefused where it refused, Throttled where it asked
// to be left alone.
func (p *Pool) Check(ctx context.Context, link dps.LinkedHub) error {
	p.mu.Lock()
	h := p.newHub(link)
	p.mu.Unlock()
	h.observer, h.log, h.down = silent{}, slog.New(slog.DiscardHandler), func() {} // it is no link yet
	absent := dps.DeviceID("mooring-check-" + rand.Text())
	for _, step := range []struct {
		right string
		try   func() error
	}{
		{"RegistryRead", func() error { return h.probe(ctx) }},
		{"ServiceConnect", func() error { _, err := h.Twin(ctx, absent); return err }},
		{"RegistryWrite", func() error { return h.Remove(ctx, absent) }},
	} {
		if err := step.try(); err != nil && dps.CodeOf(err) != dps.DeviceNotFound {
			return h.explain(err, step.right)
		}
	}
	return nil
}

// explain turns a failure of a check into a sentence for whoever made the link.
func (h *hub) explain(err error, right string) error {
	r, ok := errors.AsType[*refused](err)
	if !ok || dps.CodeOf(err) != dps.HubRefused {
		return err // names the hub and the reason already
	}
	return &dps.Error{Code: dps.HubRefused, Number: r.number, Message: h.problem(r, right), Err: err}
}

func (h *hub) problem(r *refused, right string) string {
	name, policy := h.link.HostName, accessOf(h.link).KeyName
	switch {
	case r.is(hubNotFound):
		return fmt.Sprintf("there is no hub %s at %s", name, h.door.endpoint)
	case r.status == http.StatusUnauthorized && abs(r.skew) > maxSkew:
		return fmt.Sprintf(
			"hub %s refuses the token of policy %q: the clock of this machine is %s that of the hub",
			name,
			policy,
			difference(r.skew),
		)
	case r.status == http.StatusUnauthorized && right == "RegistryRead":
		return fmt.Sprintf(
			"hub %s refuses policy %q: wrong key, unknown policy, or missing right %s (%s)",
			name,
			policy,
			right,
			r.words,
		)
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden:
		return fmt.Sprintf("policy %q of hub %s lacks the right %s (%s)", policy, name, right, r.words)
	case r.status == http.StatusNotFound:
		return fmt.Sprintf("%s does not implement the registry REST API of an IoT hub (it returned 404: %s)", h.door.endpoint, r.words)
	}
	return strings.TrimSuffix(fmt.Sprintf("hub %s refuses (%d %s): %s", name, r.status, r.name, r.words), ": ")
}

// difference says how our clock stands to one that is ahead of it by d.
func difference(d time.Duration) string {
	if d < 0 {
		return fmt.Sprintf("%s ahead of", (-d).Round(time.Second))
	}
	return fmt.Sprintf("%s behind", d.Round(time.Second))
}

func abs(d time.Duration) time.Duration { return max(d, -d) }
