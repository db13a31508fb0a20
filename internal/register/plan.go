package register

import (
	"net/netip"
	"slices"

	"github.com/mooring-iot/mooring/internal/allocate"
	"github.com/mooring-iot/mooring/internal/dps"
)

// question is what has to be known to say where a device goes.
type question struct {
	in         dps.Instance
	id         dps.RegistrationID
	entry      dps.Enrollment
	assignment *dps.Assignment // where the device is, nil if nowhere
	apiVersion string
	remote     netip.Addr // of the caller; the zero one is unknown
	hubs       []dps.LinkedHub
	explain    bool // whether the plan shall say why
}

// plan says where a device goes, and what becomes of its data.
type plan struct {
	policy     dps.AllocationPolicy // the one that applied; "" where the device stays without one
	candidates []dps.LinkedHub      // among which it was chosen
	steps      []allocate.Step      // why, where the question asks for it
	to         dps.LinkedHub        // no ID: a webhook has to choose

	stays   bool           // policy keeps the device on its hub
	moves   bool           // the device was on another hub than to
	from    *dps.LinkedHub // that other hub; nil where it is not linked any more
	migrate bool           // its data follow
}

// webhook reports whether a webhook has to be asked.
func (p plan) webhook() bool { return p.policy == dps.Custom }

// plan says where a device goes. It fails with NoHub; the plan then has what led there.
func (s *Service) plan(q question) (plan, error) {
	r := s.allocation(q)
	current := linked(q.hubs, q.assignment)
	if current != nil && stays(q.entry.Placement.Reprovision, q.apiVersion) {
		p := plan{policy: r.Policy(), candidates: []dps.LinkedHub{*current}, stays: true}
		if p.webhook() { // asked all the same: it may have something for the device
			return p, nil
		}
		return p.toward(*current, q), nil
	}
	choose := allocate.Choose
	if q.explain {
		choose = allocate.Explain
	}
	c, err := choose(r)
	p := plan{policy: c.Policy, candidates: c.Candidates, steps: c.Steps}
	if err != nil || p.webhook() {
		return p, err
	}
	return p.toward(c.Hub, q), nil
}

// allocation is the request for a hub.
func (s *Service) allocation(q question) allocate.Request {
	r := allocate.Request{
		ID: q.id, Placement: q.entry.Placement, Default: q.in.Allocation, Linked: q.hubs, Down: s.down(q.hubs),
		Remote: q.remote, Networks: s.networks,
	}
	if q.assignment != nil {
		r.Current = q.assignment.Hub
	}
	return r
}

// toward completes a plan with the hub that was chosen.
func (p plan) toward(to dps.LinkedHub, q question) plan {
	p.to = to
	if q.assignment == nil || q.assignment.Hub == to.ID {
		return p
	}
	p.moves, p.from = true, linked(q.hubs, q.assignment)
	p.migrate = p.from != nil && migrates(q.entry.Placement.Reprovision)
	return p
}

// local reports whether the plan needs no hub over the wire before the device can be
// told: all that it reads and writes is in the store.
func (p plan) local() bool {
	if p.to.Kind != dps.KindEmbedded {
		return false
	}
	return !p.migrate || p.from.Kind == dps.KindEmbedded
}

// linked returns the hub of an assignment, nil if there is none or it is not linked.
func linked(hubs []dps.LinkedHub, a *dps.Assignment) *dps.LinkedHub {
	if a == nil {
		return nil
	}
	return hubByID(hubs, a.Hub)
}

func hubByID(hubs []dps.LinkedHub, id dps.HubID) *dps.LinkedHub {
	i := slices.IndexFunc(hubs, func(h dps.LinkedHub) bool { return h.ID == id })
	if i < 0 {
		return nil
	}
	return &hubs[i]
}

// down returns the hubs over the wire that are known not to answer.
func (s *Service) down(hubs []dps.LinkedHub) map[dps.HubID]bool {
	if s.hubs == nil {
		return nil
	}
	var down map[dps.HubID]bool
	for _, h := range hubs {
		if h.Kind != dps.KindEmbedded && s.hubs.Hub(h).Health().State == dps.HubDown {
			if down == nil {
				down = make(map[dps.HubID]bool)
			}
			down[h.ID] = true
		}
	}
	return down
}

// remoteAddr returns the address in the text of a connection's other end, which may have
// a port; the zero Addr if there is none.
func remoteAddr(remote string) netip.Addr {
	if at, err := netip.ParseAddrPort(remote); err == nil {
		return at.Addr()
	}
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// firstMovableVersion is the first device API version whose callers can be moved where
// the enrollment has no reprovision policy.
// Source: azure-docs, articles/iot-dps/concepts-device-reprovision.md, "Backwards compatibility".
const firstMovableVersion = "2018-09-01-preview"

// stays reports whether a device that has a hub keeps it.
func stays(policy *dps.ReprovisionPolicy, apiVersion string) bool {
	if policy != nil {
		return !policy.UpdateHubAssignment
	}
	return !dps.APIVersionReaches(apiVersion, firstMovableVersion)
}

// migrates reports whether the twin follows a device to another hub.
func migrates(policy *dps.ReprovisionPolicy) bool { return policy == nil || policy.MigrateDeviceData }
