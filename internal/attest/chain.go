package attest

import (
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// goal is where a chain has to lead.
type goal struct {
	needGroup bool               // past the certificate of an enrollment group
	accept    func(*Anchor) bool // to a CA certificate that is good enough
	names     []dps.CAName       // of the CA certificates that are good enough, if fixed
}

// climb is a walk from the leaf upwards.
type climb struct {
	a      *attempt
	goal   goal
	leaf   *node
	nodes  []*node // every other certificate, the stored ones first
	checks checks
	steps  int
	stuck  *dead  // the furthest place where it could not go on
	best   *whole // the way to the goal that holds, else the first that does not
}

// whole is a way that reaches the goal, with the checks of its certificates.
type whole struct {
	path   []*node
	checks *dps.Decision
}

// dead is where a walk ended.
type dead struct {
	path  []*node
	child *node
}

// follow walks the chain to g and checks every certificate on the way. It returns
// the group that decides, if g asks for one.
func (a *attempt) follow(g goal) dps.EntryRef {
	c := &climb{a: a, goal: g, checks: checks{links: a.known.Links, made: make(map[signature]error)}}
	c.leaf, c.nodes = a.nodesOf()
	c.trust()
	c.up(c.leaf, nil)
	if c.best == nil {
		return c.explain()
	}
	group := c.decides(c.best.path)
	a.passPath(c.best.path, group)
	made := a.d.Checks
	*a.d = *c.best.checks
	a.d.Checks = append(made, a.d.Checks...)
	return group
}

// up goes from child's issuer to the goal and reports whether it found a way whose
// certificates hold, which is then the best one.
//
// The certificate of the group that decides is followed before anything else, and
// then only other certificates of that group are: a device cannot walk around a
// lower group by what it sends.
func (c *climb) up(child *node, below []*node) bool {
	issuers := c.issuers(child, below)
	if len(issuers) == 0 {
		c.markStuck(child, below)
		return false
	}
	decided := c.decides(below)
	for _, next := range issuers {
		path := append(below[:len(below):len(below)], next)
		group := c.decides(path)
		if decided != (dps.EntryRef{}) && group != decided {
			return false
		}
		if c.above(path) {
			return true
		}
		decided = group
	}
	return false
}

// above ends the walk when path reaches the goal, and goes on upwards otherwise.
func (c *climb) above(path []*node) bool {
	if !c.reached(path) {
		return c.up(path[len(path)-1], path)
	}
	trial := &attempt{ev: c.a.ev, now: c.a.now, d: &dps.Decision{}}
	trial.checkPath(c.leaf, path)
	holds := !trial.d.Refused()
	if holds || c.best == nil {
		c.best = &whole{path: path, checks: trial.d}
	}
	return holds
}

func (c *climb) markStuck(child *node, below []*node) {
	if c.stuck == nil || len(below) > len(c.stuck.path) {
		c.stuck = &dead{path: below, child: child}
	}
}

// reached reports whether the last certificate of path is good enough, at or above the
// deciding group.
func (c *climb) reached(path []*node) bool {
	last := path[len(path)-1]
	if last.anchor == nil || !c.goal.accept(last.anchor) {
		return false
	}
	return !c.goal.needGroup || groupOn(path).ID != ""
}

// decides returns the group on path that decides, if the goal asks for one.
func (c *climb) decides(path []*node) dps.EntryRef {
	if !c.goal.needGroup {
		return dps.EntryRef{}
	}
	return groupOn(path)
}

// groupOn returns the group that decides: the one nearest to the leaf.
func groupOn(path []*node) dps.EntryRef {
	for _, n := range path {
		if n.anchor != nil && n.anchor.Group != "" {
			return dps.EntryRef{Kind: dps.Group, ID: n.anchor.Group}
		}
	}
	return dps.EntryRef{}
}

// issuers returns the certificates that signed child, groups' first, then other
// stored ones, then those only presented.
func (c *climb) issuers(child *node, below []*node) []*node {
	if c.steps++; c.steps > maxSteps {
		c.checks.spent = true
		return nil
	}
	var groups, stored, presented []*node
	var signer *dps.Thumbprint // the key that signed child; no other one needs a check
	for _, cand := range c.candidates(child, below) {
		if signer == nil {
			if tried, err := c.checks.signed(child, cand); !tried || err != nil {
				continue
			}
			signer = &cand.key
		}
		switch {
		case cand.key != *signer:
		case cand.anchor == nil:
			presented = append(presented, cand)
		case cand.anchor.Group != "":
			groups = append(groups, cand)
		default:
			stored = append(stored, cand)
		}
	}
	return append(append(groups, stored...), presented...)
}

func (a *attempt) passPath(path []*node, group dps.EntryRef) {
	if group.ID != "" {
		a.d.Pass("enrollment", group.String())
	}
	names := make([]string, len(path))
	for i, n := range path {
		names[i] = subject(n.cert)
	}
	a.d.Pass("signatures", "leaf signed by "+strings.Join(names, ", signed by "))
	a.d.Pass("proof of possession", "CA certificate "+string(path[len(path)-1].anchor.CA)+" is verified")
}
