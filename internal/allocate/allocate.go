// Package allocate picks the hub of a device by policy. It is pure: the same
// device and the same hubs always give the same hub.
package allocate

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Request is what a hub is picked for.
type Request struct {
	ID        dps.RegistrationID
	Placement dps.Placement        // what the enrollment says
	Default   dps.AllocationPolicy // of the instance, where the enrollment says nothing
	Linked    []dps.LinkedHub      // every hub that is linked

	Current dps.HubID          // where the device is; "" if it is nowhere
	Down    map[dps.HubID]bool // hubs that are known not to answer: no new devices for them
	Remote  netip.Addr         // of the device, for geoLatency; the zero Addr is unknown
}

// Choice is the outcome of allocation.
type Choice struct {
	Policy     dps.AllocationPolicy // the one that applied
	Candidates []dps.LinkedHub      // among which it chose
	Hub        dps.LinkedHub        // the chosen one; zero under the custom policy: a webhook has to choose
}

// Choose picks the hub for a request.
//
// It fails with NoHub: no hub is linked, a named one is not, or the policy is one
// that this version does not serve.
func Choose(r Request) (Choice, error) {
	policy, named := r.policy()
	candidates, err := r.candidates(named)
	if err != nil {
		return Choice{}, err
	}
	c := Choice{Policy: policy, Candidates: candidates}
	switch policy {
	case dps.Hashed:
		c.Hub = hashed(r.ID, candidates)
	case dps.Static:
		c.Hub, err = static(candidates, named)
	case dps.Custom:
	default:
		err = dps.Errorf(dps.NoHub, "Allocation policy %q is not served by this version; use hashed, or static with one hub.", policy)
	}
	return c, err
}

// policy returns the policy that applies and the hubs that the enrollment names.
// The single host name of the first API versions means static.
func (r Request) policy() (dps.AllocationPolicy, []dps.HostName) {
	p := r.Placement
	if len(p.IotHubs) == 0 && p.HubHostName != "" && (p.Policy == "" || p.Policy == dps.Static) {
		return dps.Static, []dps.HostName{p.HubHostName}
	}
	if p.Policy == "" {
		return r.Default, p.IotHubs
	}
	return p.Policy, p.IotHubs
}

// candidates returns the named hubs, or all that take part in allocation.
// Source: azure-docs, articles/iot-dps/how-to-manage-linked-iot-hubs.md.
func (r Request) candidates(named []dps.HostName) ([]dps.LinkedHub, error) {
	var picked []dps.LinkedHub
	if len(named) == 0 {
		for _, h := range r.Linked {
			if h.ApplyPolicy {
				picked = append(picked, h)
			}
		}
	}
	for _, name := range named {
		i := slices.IndexFunc(r.Linked, func(h dps.LinkedHub) bool { return h.HostName.Equal(name) })
		if i < 0 {
			return nil, dps.Errorf(dps.NoHub, "The enrollment names the hub %q, which is not linked.", name)
		}
		picked = append(picked, r.Linked[i])
	}
	if len(picked) == 0 {
		return nil, dps.Errorf(dps.NoHub, "No hub is linked that takes new devices.")
	}
	return picked, nil
}

func static(candidates []dps.LinkedHub, named []dps.HostName) (dps.LinkedHub, error) {
	if len(named) != 1 {
		return dps.LinkedHub{}, dps.Errorf(dps.NoHub, "Static allocation needs exactly one hub in the enrollment's iotHubs; there are %d.", len(named))
	}
	return candidates[0], nil
}

// hashed spreads devices over hubs by weight: weighted rendezvous hashing. Each
// hub's score is -weight/ln(u) with u in (0,1) from a hash of hub and device; the
// highest wins, so a change of one hub moves only that hub's share of devices.
// Source: Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005.
func hashed(id dps.RegistrationID, hubs []dps.LinkedHub) dps.LinkedHub {
	best, bestScore := hubs[0], math.Inf(-1)
	for _, h := range hubs {
		if s := score(id, h); s > bestScore {
			best, bestScore = h, s
		}
	}
	return best
}

func score(id dps.RegistrationID, h dps.LinkedHub) float64 {
	sum := sha256.Sum256([]byte(h.HostName.Key() + "\x00" + id.Key()))
	// 53 bits, moved by a half so that u is never 0 or 1.
	u := (float64(binary.BigEndian.Uint64(sum[:8])>>11) + 0.5) / (1 << 53)
	return -float64(h.Weight) / math.Log(u)
}
