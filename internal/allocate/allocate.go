// Package allocate picks the hub of a device by policy. It is pure: the same
// device and the same hubs always give the same hub.
package allocate

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Request is what a hub is picked for.
type Request struct {
	ID        dps.RegistrationID
	Placement dps.Placement        // what the enrollment says
	Default   dps.AllocationPolicy // of the instance, where the enrollment says nothing
	Linked    []dps.LinkedHub      // every hub that is linked

	Current  dps.HubID          // where the device is; "" if it is nowhere
	Down     map[dps.HubID]bool // hubs that are known not to answer: no new devices for them
	Remote   netip.Addr         // of the device, for geoLatency; the zero Addr is unknown
	Networks *Networks          // which locations are near to whom, for geoLatency; nil is none
}

// Choice is the outcome of allocation.
type Choice struct {
	Policy     dps.AllocationPolicy // the one that applied
	Candidates []dps.LinkedHub      // among which it chose
	Hub        dps.LinkedHub        // the chosen one; zero under the custom policy: a webhook has to choose
	Steps      []Step               // why; only Explain fills it in
}

// Choose picks the hub for a request.
//
// A hub that is down gets no device that is not on it already, while another candidate
// is up; under the static policy there is no other.
//
// It fails with NoHub: no hub is linked, a named one is not, or static allocation does not
// have exactly one candidate.
func Choose(r Request) (Choice, error) { return r.choose(nil) }

// Explain is Choose with the steps that led to the choice, or to the failure.
func Explain(r Request) (Choice, error) {
	t := &trace{}
	c, err := r.choose(t)
	c.Steps = t.steps
	return c, err
}

func (r Request) choose(t *trace) (Choice, error) {
	policy, named := r.policy(t)
	c := Choice{Policy: policy}
	var err error
	if c.Candidates, err = r.candidates(named, t); err != nil {
		return c, err
	}
	if policy == dps.Static {
		c.Hub, err = static(c.Candidates, named, t)
		return c, err
	}
	c.Candidates = r.answering(c.Candidates, t)
	switch policy {
	case dps.Hashed:
		c.Hub = hashed(r.ID, c.Candidates, t)
	case dps.GeoLatency:
		c.Hub = hashed(r.ID, r.nearest(c.Candidates, t), t)
	case dps.Custom:
		t.add(StepHub, "the webhook decides among the candidates")
	default:
		err = dps.Errorf(dps.NoHub, "Allocation policy %q is unknown.", policy)
	}
	return c, err
}

// Policy returns the policy that applies, whatever hubs there are.
func (r Request) Policy() dps.AllocationPolicy {
	policy, _ := r.policy(nil)
	return policy
}

// policy returns the policy that applies and the hubs that the enrollment names.
// The single host name of the first API versions means static.
func (r Request) policy(t *trace) (dps.AllocationPolicy, []dps.HostName) {
	p := r.Placement
	if len(p.IotHubs) == 0 && p.HubHostName != "" && (p.Policy == "" || p.Policy == dps.Static) {
		t.add(StepPolicy, "static: the enrollment names one hub by iotHubHostName")
		return dps.Static, []dps.HostName{p.HubHostName}
	}
	if p.Policy == "" {
		if t.on() {
			t.add(StepPolicy, string(r.Default)+", the policy of the service: the enrollment has none")
		}
		return r.Default, p.IotHubs
	}
	if t.on() {
		t.add(StepPolicy, string(p.Policy)+", the policy of the enrollment")
	}
	return p.Policy, p.IotHubs
}

// candidates returns the named hubs, or all that take part in allocation.
// Source: azure-docs, articles/iot-dps/how-to-manage-linked-iot-hubs.md.
func (r Request) candidates(named []dps.HostName, t *trace) ([]dps.LinkedHub, error) {
	picked := make([]dps.LinkedHub, 0, len(r.Linked))
	for _, name := range named {
		i := slices.IndexFunc(r.Linked, func(h dps.LinkedHub) bool { return h.HostName.Equal(name) })
		if i < 0 {
			return nil, t.fail(dps.Errorf(dps.NoHub, "The enrollment names the hub %q, which is not linked.", name))
		}
		picked = append(picked, r.Linked[i])
	}
	if len(named) > 0 {
		if t.on() {
			t.add(StepCandidates, names(picked)+": named by the enrollment")
		}
		return picked, nil
	}
	for _, h := range r.Linked {
		switch {
		case h.ApplyPolicy:
			picked = append(picked, h)
		case t.on():
			t.add(StepLeftOut, string(h.HostName)+": applyAllocationPolicy is false, and the enrollment does not name it")
		}
	}
	if len(picked) == 0 {
		return nil, t.fail(dps.Errorf(dps.NoHub, "No linked hub accepts new devices."))
	}
	if t.on() {
		t.add(StepCandidates, names(picked)+": linked, and the enrollment names no hubs")
	}
	return picked, nil
}

// answering returns the candidates that are up, and the one that the device is on;
// all of them, where no hub is left.
func (r Request) answering(candidates []dps.LinkedHub, t *trace) []dps.LinkedHub {
	if len(r.Down) == 0 || !slices.ContainsFunc(candidates, r.isUp) {
		return candidates
	}
	up := make([]dps.LinkedHub, 0, len(candidates))
	for _, h := range candidates {
		switch {
		case r.isUp(h) || h.ID == r.Current:
			up = append(up, h)
		case t.on():
			t.add(StepLeftOut, string(h.HostName)+": down, while other candidates are up")
		}
	}
	return up
}

func (r Request) isUp(h dps.LinkedHub) bool { return !r.Down[h.ID] }

// static returns the one hub that the enrollment names, or the only linked hub
// for allocation.
func static(candidates []dps.LinkedHub, named []dps.HostName, t *trace) (dps.LinkedHub, error) {
	switch {
	case len(named) > 1:
		return dps.LinkedHub{}, t.fail(
			dps.Errorf(dps.NoHub, "Static allocation needs exactly one hub in the enrollment's iotHubs; there are %d.", len(named)),
		)
	case len(candidates) > 1:
		return dps.LinkedHub{}, t.fail(dps.Errorf(
			dps.NoHub, "Static allocation needs exactly one hub: the enrollment's iotHubs names none, and %d hubs are linked.", len(candidates),
		))
	}
	if t.on() {
		reason := "named by the enrollment"
		if len(named) == 0 {
			reason = "the only linked hub"
		}
		t.add(StepHub, string(candidates[0].HostName)+": "+reason)
	}
	return candidates[0], nil
}

// names lists hubs for people.
func names(hubs []dps.LinkedHub) string {
	all := make([]string, len(hubs))
	for i, h := range hubs {
		all[i] = string(h.HostName)
	}
	return strings.Join(all, ", ")
}
