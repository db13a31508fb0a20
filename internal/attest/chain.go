package attest

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// maxSignatureChecks bounds the work that one presented chain can cause. An honest
// chain needs one check for each link.
const maxSignatureChecks = 64

// goal is where a chain has to lead.
type goal struct {
	needGroup bool               // past the certificate of an enrollment group
	accept    func(*Anchor) bool // to a CA certificate that is good enough
	names     []dps.CAName       // of the CA certificates that are good enough, if fixed
}

// link is a signer in the chain; anchor is nil when it was only presented.
type link struct {
	cert   *x509.Certificate
	anchor *Anchor
}

// climb is a walk from the leaf upwards.
type climb struct {
	a      *attempt
	goal   goal
	checks int
	stuck  *dead  // the furthest place where it could not go on
	best   *whole // the way to the goal that holds, else the first that does not
}

// whole is a way that reaches the goal, with the checks of its certificates.
type whole struct {
	path   []link
	checks *dps.Decision
}

// dead is where a walk ended, and why.
type dead struct {
	path  []link
	child *x509.Certificate
	err   error // of the signature of a candidate that has the right name; nil if none has
}

// follow walks the chain to g and checks every certificate on the way. It returns
// the group that decides, if g asks for one.
func (a *attempt) follow(g goal) dps.EntryRef {
	c := &climb{a: a, goal: g}
	c.up(a.leaf(), nil)
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
func (c *climb) up(child *x509.Certificate, below []link) bool {
	issuers, err := c.issuers(child, below)
	if len(issuers) == 0 {
		c.markStuck(child, below, err)
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
func (c *climb) above(path []link) bool {
	if !c.reached(path) {
		return c.up(path[len(path)-1].cert, path)
	}
	trial := &attempt{ev: c.a.ev, now: c.a.now, d: &dps.Decision{}}
	trial.checkPath(path)
	holds := !trial.d.Refused()
	if holds || c.best == nil {
		c.best = &whole{path: path, checks: trial.d}
	}
	return holds
}

func (c *climb) markStuck(child *x509.Certificate, below []link, err error) {
	if c.stuck == nil || len(below) > len(c.stuck.path) {
		c.stuck = &dead{path: below, child: child, err: err}
	}
}

// reached reports whether the last link of path is good enough, at or above the
// deciding group.
func (c *climb) reached(path []link) bool {
	last := path[len(path)-1]
	if last.anchor == nil || !c.goal.accept(last.anchor) {
		return false
	}
	return !c.goal.needGroup || groupOn(path).ID != ""
}

// decides returns the group on path that decides, if the goal asks for one.
func (c *climb) decides(path []link) dps.EntryRef {
	if !c.goal.needGroup {
		return dps.EntryRef{}
	}
	return groupOn(path)
}

// groupOn returns the group that decides: the one nearest to the leaf.
func groupOn(path []link) dps.EntryRef {
	for _, l := range path {
		if l.anchor != nil && l.anchor.Group != "" {
			return dps.EntryRef{Kind: dps.Group, ID: l.anchor.Group}
		}
	}
	return dps.EntryRef{}
}

// issuers returns the certificates that signed child, groups' first, then other
// stored ones, then those only presented. err is why a certificate with the right
// name was not the signer.
func (c *climb) issuers(child *x509.Certificate, below []link) ([]link, error) {
	var groups, stored, presented []link
	var failed error
	var signer []byte // the public key that signed child; no other one needs a check
	for _, cand := range c.candidates(child, below) {
		key := cand.cert.RawSubjectPublicKeyInfo
		if signer == nil {
			if c.checks >= maxSignatureChecks {
				break
			}
			c.checks++
			if err := c.a.known.Links.check(child, cand.cert); err != nil {
				failed = err
				continue
			}
			signer = key
		}
		switch {
		case !bytes.Equal(key, signer):
		case cand.anchor == nil:
			presented = append(presented, cand)
		case cand.anchor.Group != "":
			groups = append(groups, cand)
		default:
			stored = append(stored, cand)
		}
	}
	return append(append(groups, stored...), presented...), failed
}

// candidates returns the certificates with the name of child's issuer that are not
// on the way already, those with the right key ID first, each certificate once.
func (c *climb) candidates(child *x509.Certificate, below []link) []link {
	var likely, other []link
	seen := map[dps.Thumbprint]bool{dps.ThumbprintOf(child.Raw): true}
	for _, l := range below {
		seen[dps.ThumbprintOf(l.cert.Raw)] = true
	}
	add := func(l link) {
		thumbprint := dps.ThumbprintOf(l.cert.Raw)
		if seen[thumbprint] || !bytes.Equal(l.cert.RawSubject, child.RawIssuer) {
			return
		}
		seen[thumbprint] = true
		if keyIDsDiffer(child, l.cert) {
			other = append(other, l)
			return
		}
		likely = append(likely, l)
	}
	for i := range c.a.known.Anchors {
		add(link{cert: c.a.known.Anchors[i].Certificate, anchor: &c.a.known.Anchors[i]})
	}
	for _, cert := range c.a.ev.Chain[1:] {
		add(link{cert: cert})
	}
	return append(likely, other...)
}

func keyIDsDiffer(child, issuer *x509.Certificate) bool {
	return len(child.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(child.AuthorityKeyId, issuer.SubjectKeyId)
}

func (a *attempt) passPath(path []link, group dps.EntryRef) {
	if group.ID != "" {
		a.d.Pass("enrollment", group.String())
	}
	names := make([]string, len(path))
	for i, l := range path {
		names[i] = subject(l.cert)
	}
	a.d.Pass("signatures", "leaf signed by "+strings.Join(names, ", signed by "))
	a.d.Pass("proof of possession", "CA certificate "+string(path[len(path)-1].anchor.CA)+" is verified")
}

// checkPath checks what signatures do not say: time, the right to sign, the rules
// that certificates carry.
func (a *attempt) checkPath(path []link) {
	if !a.valid(a.leaf(), true) || !a.understood(a.leaf()) {
		return
	}
	for i, l := range path {
		if !a.valid(l.cert, false) || !a.maySign(l.cert, i) || !a.understood(l.cert) {
			return
		}
	}
	a.d.Pass("signers", "are CAs")
	a.constrained(path)
}

// maySign checks that c is a CA that may stand above `intermediates` other CAs.
// Source: RFC 5280, sections 4.2.1.3, 4.2.1.9 and 6.1.4.
func (a *attempt) maySign(c *x509.Certificate, intermediates int) bool {
	const name = "signer is a CA"
	verdict := dps.Verdict{
		Reason: dps.ReasonNotCA, Answer: answerCertificate,
		Remedy: "issue this signer as a CA (basicConstraints CA:TRUE, keyUsage keyCertSign), or sign the device with one that is",
	}
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		a.d.Refuse(name, subject(c)+" is not marked CA:TRUE", verdict)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		a.d.Refuse(name, subject(c)+" has a keyUsage without keyCertSign", verdict)
	case (c.MaxPathLen > 0 || c.MaxPathLenZero) && intermediates > c.MaxPathLen:
		a.d.Refuse(name, fmt.Sprintf("%s allows %d CAs below it, the chain has %d", subject(c), c.MaxPathLen, intermediates), verdict)
	}
	return !a.d.Refused()
}

// understood refuses a certificate with a critical extension that we do not know.
func (a *attempt) understood(c *x509.Certificate) bool {
	if len(c.UnhandledCriticalExtensions) == 0 {
		return true
	}
	a.d.Refuse(
		"critical extensions",
		fmt.Sprintf("%s has the critical extension %s, which is not understood", subject(c), c.UnhandledCriticalExtensions[0]),
		dps.Verdict{
			Reason: dps.ReasonChainRule, Answer: answerCertificate, Remedy: "issue the certificate without this critical extension",
		},
	)
	return false
}

// constrained checks name constraints, by the standard library, where a signer has
// any.
func (a *attempt) constrained(path []link) {
	if !anyConstraints(path) {
		return
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(path[len(path)-1].cert)
	for _, l := range path[:len(path)-1] {
		between.AddCert(l.cert)
	}
	_, err := a.leaf().Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: a.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		a.d.Refuse("name constraints", err.Error(), dps.Verdict{
			Reason: dps.ReasonChainRule, Answer: answerCertificate, Remedy: "issue the leaf within the name constraints of its signers",
		})
		return
	}
	a.d.Pass("name constraints", "hold")
}

func anyConstraints(path []link) bool {
	for _, l := range path {
		c := l.cert
		n := len(c.PermittedDNSDomains) + len(c.ExcludedDNSDomains) + len(c.PermittedIPRanges) + len(c.ExcludedIPRanges) +
			len(c.PermittedEmailAddresses) + len(c.ExcludedEmailAddresses) + len(c.PermittedURIDomains) + len(c.ExcludedURIDomains)
		if n > 0 {
			return true
		}
	}
	return false
}

// explain refuses a chain that did not reach its goal, with the reason that helps
// most at the place where it got stuck. It returns the group that was passed on
// the way, if any.
func (c *climb) explain() dps.EntryRef {
	at := c.stuck
	group := c.decides(at.path)
	if group.ID != "" {
		c.a.d.Pass("enrollment", group.String())
	}
	switch {
	case at.err != nil && !selfSignedTop(at.child):
		c.a.refuseSignature(at.child, at.err)
	case c.goal.needGroup && group.ID == "" && (selfIssued(at.child) || c.passedCA(at.path)):
		c.refuseNoEnrollment(at)
	case c.unverified(at.path) != "":
		c.refuseUnverified(c.unverified(at.path))
	case selfIssued(at.child):
		c.refuseUnknownRoot(at)
	default:
		c.refuseMissing(at)
	}
	return group
}

// passedCA reports whether the way went past a CA certificate that is good enough.
func (c *climb) passedCA(path []link) bool {
	return slices.ContainsFunc(path, func(l link) bool { return l.anchor != nil && c.goal.accept(l.anchor) })
}

// unverified returns the uploaded CA certificate furthest up the way that would be
// good enough if its possession were proved, or "".
func (c *climb) unverified(path []link) dps.CAName {
	for _, l := range slices.Backward(path) {
		if l.anchor == nil || l.anchor.CA == "" || l.anchor.Verified {
			continue
		}
		proved := *l.anchor
		proved.Verified = true
		if c.goal.accept(&proved) {
			return l.anchor.CA
		}
	}
	return ""
}

// selfSignedTop reports whether c ends a chain by itself: failed candidates of the
// same name are then no loss.
func selfSignedTop(c *x509.Certificate) bool {
	return selfIssued(c) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// minRSABits is the least size of a signer's RSA key: crypto/rsa refuses smaller ones.
const minRSABits = 1024

// errShortKey says that a signer's key is too short to prove anything.
var errShortKey = fmt.Errorf("an RSA key of fewer than %d bits", minRSABits)

// checkSignature reports why signer's key did not sign child, or not well enough.
// x509.Certificate.CheckSignature takes SHA-1, which proves nothing any more.
func checkSignature(child, signer *x509.Certificate) error {
	if dps.SignedWithSHA1(child) {
		return x509.InsecureAlgorithmError(child.SignatureAlgorithm)
	}
	if key, ok := signer.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSABits {
		return errShortKey
	}
	return signer.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature)
}

func (a *attempt) refuseSignature(child *x509.Certificate, err error) {
	var weak x509.InsecureAlgorithmError
	if errors.Is(err, errShortKey) {
		a.d.Refuse("signature", fmt.Sprintf("%s is signed with %s, which is not taken", subject(child), err), dps.Verdict{
			Reason: dps.ReasonWeakSignature, Answer: answerCertificate, Remedy: "let a CA with a longer key issue the certificate",
		})
		return
	}
	if errors.As(err, &weak) || errors.Is(err, x509.ErrUnsupportedAlgorithm) {
		a.d.Refuse("signature", fmt.Sprintf("%s is signed with %s, which is not taken", subject(child), child.SignatureAlgorithm), dps.Verdict{
			Reason: dps.ReasonWeakSignature, Answer: answerCertificate, Remedy: "issue the certificate with a SHA-256 signature",
		})
		return
	}
	a.d.Refuse(
		"signature",
		fmt.Sprintf("%s names the issuer %q, but no certificate of that name signed it", subject(child), dps.DistinguishedName(child.RawIssuer)),
		dps.Verdict{
			Reason: dps.ReasonSignature, Answer: answerMismatch,
			Remedy: "check which CA signed it: one with the same name but another key is uploaded, enrolled or presented",
		},
	)
}

func (c *climb) refuseNoEnrollment(at *dead) {
	c.a.d.Refuse("enrollment", fmt.Sprintf("no individual enrollment %q, and no group for a certificate of its chain, which ends at %s",
		c.a.ev.ID, subject(at.child)), dps.Verdict{
		Reason: dps.ReasonNoEnrollment, Answer: answerUnauthorized,
		Remedy: "create an individual enrollment with this certificate, or an enrollment group for a CA of its chain",
	})
}

func (c *climb) refuseUnverified(name dps.CAName) {
	c.a.d.Refuse(
		"proof of possession",
		fmt.Sprintf("CA certificate %s is uploaded, but possession of its key was never proved", name),
		dps.Verdict{
			Reason: dps.ReasonCANotVerified, Answer: answerNoCA,
			Remedy: "mooring certificate generate-verification-code --certificate-name " + string(name),
		},
	)
}

func (c *climb) refuseUnknownRoot(at *dead) {
	detail, reason := fmt.Sprintf(
		"the chain ends at %s, which is not uploaded as a CA certificate",
		subject(at.child),
	), dps.ReasonCANotVerified
	remedy := "mooring certificate create --certificate-name NAME --path FILE (the certificate of " + subject(
		at.child,
	) + "), then prove possession"
	if len(c.goal.names) > 0 {
		detail, reason = fmt.Sprintf("the chain reaches none of the enrollment's CA certificates: %v", c.goal.names), dps.ReasonOtherCA
		remedy = "sign the device with a CA that the enrollment names, and see that the CA certificate is verified"
	}
	c.a.d.Refuse("proof of possession", detail, dps.Verdict{Reason: reason, Answer: answerNoCA, Remedy: remedy})
}

func (c *climb) refuseMissing(at *dead) {
	issuer := dps.DistinguishedName(at.child.RawIssuer)
	c.a.d.Refuse(
		"chain",
		fmt.Sprintf("%s was issued by %q, which is neither presented by the device nor uploaded", subject(at.child), issuer),
		dps.Verdict{
			Reason: dps.ReasonIssuerMissing, Answer: answerNoCA,
			Remedy: fmt.Sprintf(
				"let the device send its intermediates, leaf first, up to an uploaded CA certificate; or upload %q: mooring certificate create --certificate-name NAME --path FILE",
				issuer,
			),
		},
	)
}
