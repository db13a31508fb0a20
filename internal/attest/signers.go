package attest

import (
	"bytes"
	"crypto/x509"
	"slices"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Bounds of the work that one presented chain can cause. An honest chain needs one
// signature check for each link, and one step.
const (
	// maxWasted is how many signature checks may fail. They are needed only where
	// several CAs have one name and no key identifiers tell them apart.
	maxWasted = 8

	// maxSteps is how many times the walk goes from a certificate to its issuers.
	maxSteps = 128
)

// node is a certificate that may be part of the way from the leaf to an anchor.
type node struct {
	cert            *x509.Certificate
	anchor          *Anchor // nil when it was only presented
	subject, issuer string  // as dps.NameKey
	digest          dps.Thumbprint
	key             dps.Thumbprint // of its SubjectPublicKeyInfo
	trusted         bool           // stored, or signed by one that is trusted
}

func newNode(cert *x509.Certificate, anchor *Anchor) *node {
	return &node{
		cert: cert, anchor: anchor, subject: dps.NameKey(cert.RawSubject), issuer: dps.NameKey(cert.RawIssuer),
		digest: dps.ThumbprintOf(cert.Raw), key: dps.ThumbprintOf(cert.RawSubjectPublicKeyInfo), trusted: anchor != nil,
	}
}

// selfIssued reports whether a certificate names itself as its issuer, whoever signed it.
func (n *node) selfIssued() bool { return n.subject == n.issuer }

// nodesOf returns the leaf and every other certificate, once: the stored ones first.
func (a *attempt) nodesOf() (leaf *node, others []*node) {
	leaf = newNode(a.leaf(), nil)
	seen := map[dps.Thumbprint]bool{leaf.digest: true}
	add := func(n *node) {
		if !seen[n.digest] {
			seen[n.digest] = true
			others = append(others, n)
		}
	}
	for i := range a.known.Anchors {
		add(a.known.Anchors[i].inChain())
	}
	for _, cert := range a.ev.Chain[1:] {
		add(newNode(cert, nil))
	}
	return leaf, others
}

// checks verifies signatures, each once, and bounds how many of them fail.
type checks struct {
	links  *Links
	made   map[signature]error
	wasted int
	spent  bool // something was left out because of a bound
}

// signed reports why signer did not sign child. tried is false when the bound left no
// room to find out.
func (c *checks) signed(child, signer *node) (tried bool, err error) {
	key := signature{child: child.digest, signer: signer.key}
	if err, done := c.made[key]; done {
		return true, err
	}
	if c.wasted >= maxWasted {
		c.spent = true
		return false, nil
	}
	fresh, err := c.links.check(key, child.cert, signer.cert)
	if fresh && err != nil {
		c.wasted++
	}
	c.made[key] = err
	return true, err
}

// failure returns why signer did not sign child, nil if that was not checked or holds.
func (c *checks) failure(child, signer *node) error {
	return c.made[signature{child: child.digest, signer: signer.key}]
}

// trust marks the presented certificates that a stored one signed, directly or by
// others. Only their keys are used to verify what is below them: a key that a stranger
// chose is never used, however large it is.
//
// Signers whose key IDs differ are tried last: they nearly always did not sign.
func (c *climb) trust() {
	concerned := c.aboveLeaf()
	for c.spread(concerned, (*climb).likely) || c.spread(concerned, (*climb).candidates) {
		continue
	}
}

// spread marks what the signers that by returns have signed, and reports whether
// there was any.
func (c *climb) spread(nodes []*node, by func(c *climb, child *node, below []*node) []*node) bool {
	found := false
	for _, n := range nodes {
		if n.trusted {
			continue
		}
		n.trusted = slices.ContainsFunc(by(c, n, nil), func(signer *node) bool {
			tried, err := c.checks.signed(n, signer)
			return tried && err == nil
		})
		found = found || n.trusted
	}
	return found
}

// aboveLeaf returns the certificates that can be above the leaf by their names.
func (c *climb) aboveLeaf() []*node {
	var found []*node
	wanted := map[string]bool{c.leaf.issuer: true}
	taken := make(map[*node]bool)
	for again := true; again; {
		again = false
		for _, n := range c.nodes {
			if wanted[n.subject] && !taken[n] {
				taken[n], wanted[n.issuer], again = true, true, true
				found = append(found, n)
			}
		}
	}
	return found
}

// candidates returns the trusted certificates with the name of child's issuer that are
// not on the way already, those with the right key ID first.
func (c *climb) candidates(child *node, below []*node) []*node {
	var others []*node
	for _, n := range c.named(child, below) {
		if keyIDsDiffer(child.cert, n.cert) {
			others = append(others, n)
		}
	}
	return append(c.likely(child, below), others...)
}

// likely returns the candidates with the right key ID, or none.
func (c *climb) likely(child *node, below []*node) []*node {
	return slices.DeleteFunc(c.named(child, below), func(n *node) bool { return keyIDsDiffer(child.cert, n.cert) })
}

// named returns the candidates in no order.
func (c *climb) named(child *node, below []*node) []*node {
	var found []*node
	for _, n := range c.nodes {
		if n.trusted && n.subject == child.issuer && n != child && !slices.Contains(below, n) {
			found = append(found, n)
		}
	}
	return found
}

func keyIDsDiffer(child, issuer *x509.Certificate) bool {
	return len(child.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(child.AuthorityKeyId, issuer.SubjectKeyId)
}
