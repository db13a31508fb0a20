package attest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mooring-iot/mooring/internal/dps"
)

// explain refuses a chain that did not reach its goal, with the reason that helps
// most at the place where it got stuck. It returns the group that was passed on
// the way, if any.
func (c *climb) explain() dps.EntryRef {
	at := c.stuck
	group := c.decides(at.path)
	if group.ID != "" {
		c.a.d.Pass("enrollment", group.String())
	}
	top := c.topByName(at.child)
	switch {
	case c.refuseOwnSigner(at):
	case c.checks.spent:
		c.refuseTooMany(top)
	case c.failureAt(top) != nil && !c.signsItself(top):
		c.refuseSignature(top, c.failureAt(top))
	case c.goal.needGroup && group.ID == "" && (top.selfIssued() || c.passedCA(at.path)):
		c.refuseNoEnrollment(top)
	case c.unverified(at.path) != "":
		c.refuseUnverified(c.unverified(at.path))
	case top.selfIssued() && (top != c.leaf || len(c.goal.names) > 0):
		c.refuseUnknownRoot(top)
	default:
		c.refuseMissing(top)
	}
	return group
}

// topByName goes on upwards where no trusted certificate signed child, by what the
// presented certificates name as their issuers, to where that ends. None of those
// signatures is verified: nobody vouches for the keys.
func (c *climb) topByName(child *node) *node {
	seen := map[*node]bool{child: true}
	for c.failureAt(child) == nil {
		i := slices.IndexFunc(c.nodes, func(n *node) bool {
			return !n.trusted && !seen[n] && n.subject == child.issuer
		})
		if i < 0 {
			return child
		}
		child = c.nodes[i]
		seen[child] = true
	}
	return child
}

// failureAt returns why a trusted certificate with the name of child's issuer did not
// sign it, nil if there is none. What says more than "another key" goes first.
func (c *climb) failureAt(child *node) error {
	var found error
	for _, n := range c.candidates(child, nil) {
		err := c.checks.failure(child, n)
		if err != nil && (found == nil || isMismatch(found)) {
			found = err
		}
	}
	return found
}

// signsItself reports whether a trusted certificate ends a chain by itself: failed
// candidates of the same name are then no loss.
func (c *climb) signsItself(n *node) bool {
	if !n.trusted || !n.selfIssued() {
		return false
	}
	tried, err := c.checks.signed(n, n)
	return tried && err == nil
}

// refuseOwnSigner refuses a device that presents the certificate of a stored CA as its
// own, and reports whether it did.
func (c *climb) refuseOwnSigner(at *dead) bool {
	i := slices.IndexFunc(c.a.known.Anchors, func(a Anchor) bool { return a.Certificate.Equal(c.leaf.cert) })
	if pinned := !c.goal.needGroup && len(c.goal.names) == 0; pinned || len(at.path) > 0 || i < 0 {
		return false
	}
	own := c.a.known.Anchors[i]
	owner := "CA certificate " + string(own.CA)
	if own.Group != "" {
		owner = dps.EntryRef{Kind: dps.Group, ID: own.Group}.String()
	}
	c.a.d.Refuse("device certificate", "the presented certificate is that of the "+owner+", not a device certificate", dps.Verdict{
		Reason: dps.ReasonSignerAsDevice, Answer: answerUnauthorized,
		Remedy: "Issue a device certificate with this CA, with the registration ID as its common name, and configure the device to present it.",
	})
	return true
}

// refuseTooMany refuses a chain whose signers were not all tried.
func (c *climb) refuseTooMany(child *node) {
	c.a.d.Refuse(
		"signatures",
		fmt.Sprintf("too many certificates may be the issuer %q of %s: of those that were tried, %d did not sign",
			dps.DistinguishedName(child.cert.RawIssuer), subject(child.cert), c.checks.wasted),
		dps.Verdict{
			Reason: dps.ReasonTooManySigners, Answer: answerCertificate,
			Remedy: "Issue certificates with authority and subject key identifiers, " +
				"and delete CA certificates of this name that are no longer used.",
		},
	)
}

// passedCA reports whether the way went past a CA certificate that is good enough.
func (c *climb) passedCA(path []*node) bool {
	return slices.ContainsFunc(path, func(n *node) bool { return n.anchor != nil && c.goal.accept(n.anchor) })
}

// unverified returns the uploaded CA certificate furthest up the way that would be
// good enough if its possession were proved, or "".
func (c *climb) unverified(path []*node) dps.CAName {
	for _, n := range slices.Backward(path) {
		if n.anchor == nil || n.anchor.CA == "" || n.anchor.Verified {
			continue
		}
		proved := *n.anchor
		proved.Verified = true
		if c.goal.accept(&proved) {
			return n.anchor.CA
		}
	}
	return ""
}

// refuseSignature refuses a certificate whose signature does not hold, or cannot be
// verified.
func (c *climb) refuseSignature(child *node, err error) {
	if isMismatch(err) {
		c.a.d.Refuse("signature", c.mismatch(child), dps.Verdict{
			Reason: dps.ReasonSignature, Answer: answerMismatch,
			Remedy: "Find out which CA issued the certificate, and upload, enroll or present that CA's certificate.",
		})
		return
	}
	c.a.refuseAlgorithm(child, err)
}

func (c *climb) mismatch(child *node) string {
	name := dps.DistinguishedName(child.cert.RawIssuer)
	if child.selfIssued() && child != c.leaf {
		return fmt.Sprintf("the chain ends at a certificate %q that the device presented, and "+
			"the uploaded or enrolled certificate of this name has another key",
			name)
	}
	return fmt.Sprintf("%s names the issuer %q, but was signed with another key than "+
		"that of the known CA certificate of this name, or was changed",
		subject(child.cert), name)
}

// refuseAlgorithm refuses a certificate whose signature proves nothing, or cannot be
// verified whoever made it.
func (a *attempt) refuseAlgorithm(child *node, err error) {
	v := dps.Verdict{Reason: dps.ReasonUnsupportedSignature, Answer: answerCertificate}
	problem, _ := errors.AsType[*dps.SignatureError](err)
	switch problem.Problem {
	case dps.SignatureWeak:
		v.Reason, v.Remedy = dps.ReasonWeakSignature, "Issue the certificate with a SHA-256 signature."
	case dps.SignerKeyWeak:
		v.Reason, v.Remedy = dps.ReasonWeakSignature, "Issue the certificate with a CA that has a longer key."
	case dps.SignerKeyUnsupported:
		v.Remedy = "Issue the certificate with a CA that has an RSA, ECDSA or Ed25519 key."
	default:
		v.Remedy = "Issue the certificate with an RSA or ECDSA signature and SHA-256, SHA-384 or SHA-512."
	}
	a.d.Refuse("signature", subject(child.cert)+" "+problem.Error(), v)
}

func (c *climb) refuseNoEnrollment(top *node) {
	detail := fmt.Sprintf("no individual enrollment %q, and no group for a certificate of its chain, which ends at %s",
		c.a.ev.ID, subject(top.cert))
	remedy := "Create an individual enrollment with this certificate, or an enrollment group for a CA of its chain."
	if top == c.leaf {
		detail = fmt.Sprintf("no individual enrollment %q, and no group for the certificate, which names itself as its issuer", c.a.ev.ID)
		remedy = "Create an individual enrollment with this certificate, or issue the device a certificate of a CA that is enrolled."
	}
	c.a.d.Refuse("enrollment", detail, dps.Verdict{Reason: dps.ReasonNoEnrollment, Answer: answerUnauthorized, Remedy: remedy})
}

func (c *climb) refuseUnverified(name dps.CAName) {
	c.a.d.Refuse(
		"proof of possession",
		fmt.Sprintf("CA certificate %s is uploaded, but possession of its key was not proved", name),
		dps.Verdict{
			Reason: dps.ReasonCANotVerified, Answer: answerNoCA,
			Remedy: "Prove possession; start with: mooring certificate generate-verification-code --certificate-name " + string(name),
		},
	)
}

func (c *climb) refuseUnknownRoot(top *node) {
	detail := fmt.Sprintf("the chain ends at %s, which is not uploaded as a CA certificate", subject(top.cert))
	if top.anchor != nil && top.anchor.Group != "" {
		detail = fmt.Sprintf("the chain ends at %s, which the enrollment group %s holds, but which is not uploaded as a CA certificate",
			subject(top.cert), top.anchor.Group)
	}
	reason := dps.ReasonCANotVerified
	remedy := "Upload the certificate of " + subject(top.cert) + ", then prove possession: " +
		"mooring certificate create --certificate-name NAME --path FILE"
	if len(c.goal.names) > 0 {
		detail, reason = fmt.Sprintf("the chain reaches none of the enrollment's CA certificates: %v", c.goal.names), dps.ReasonOtherCA
		remedy = "Issue the device a certificate of a CA that the enrollment names, and verify that CA certificate."
	}
	c.a.d.Refuse("proof of possession", detail, dps.Verdict{Reason: reason, Answer: answerNoCA, Remedy: remedy})
}

func (c *climb) refuseMissing(top *node) {
	issuer := dps.DistinguishedName(top.cert.RawIssuer)
	detail := fmt.Sprintf("%s was issued by %q, which is neither presented by the device nor uploaded", subject(top.cert), issuer)
	switch {
	case top.selfIssued():
		detail = fmt.Sprintf("%s names itself as its issuer, but did not sign itself, and "+
			"the CA of the same name is neither presented nor uploaded",
			subject(top.cert))
	case slices.ContainsFunc(c.nodes, func(n *node) bool { return n.subject == top.issuer }):
		detail = fmt.Sprintf("%s was issued by %q, but the presented certificates name each other as issuers, and none of them is uploaded",
			subject(top.cert), issuer)
	}
	c.a.d.Refuse("chain", detail, dps.Verdict{
		Reason: dps.ReasonIssuerMissing, Answer: answerNoCA,
		Remedy: fmt.Sprintf(
			"Configure the device to send its intermediates, leaf first, up to an uploaded CA certificate, or upload %q: "+
				"mooring certificate create --certificate-name NAME --path FILE",
			issuer,
		),
	})
}
