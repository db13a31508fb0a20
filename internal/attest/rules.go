package attest

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/dps"
)

// checkPath checks what signatures do not say: time, the right to sign, the rules
// that certificates carry.
func (a *attempt) checkPath(leaf *node, path []*node) {
	if !a.valid(leaf.cert, true) || !a.understood(leaf.cert) {
		return
	}
	intermediates := 0 // below n, without self-issued ones: RFC 5280 section 4.2.1.9
	for _, n := range path {
		if !a.valid(n.cert, false) || !a.maySign(n.cert, intermediates) || !a.understood(n.cert) {
			return
		}
		if !n.selfIssued() {
			intermediates++
		}
	}
	a.d.Pass("signers", "are CAs")
	a.ruled(leaf, path)
}

// maySign checks that c is a CA that may be above `intermediates` other CAs.
// Source: RFC 5280, sections 4.2.1.3, 4.2.1.9 and 6.1.4.
func (a *attempt) maySign(c *x509.Certificate, intermediates int) bool {
	detail, remedy := "", ""
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		detail = subject(c) + " is not marked CA:TRUE"
		remedy = "Issue this signer as a CA (basicConstraints CA:TRUE, keyUsage keyCertSign), or sign the device with one that is."
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		detail = subject(c) + " has a keyUsage without keyCertSign"
		remedy = "Issue this signer with keyUsage keyCertSign, or sign the device with a CA that has it."
	case (c.MaxPathLen > 0 || c.MaxPathLenZero) && intermediates > c.MaxPathLen:
		detail = fmt.Sprintf("%s allows %d CAs below it, the chain has %d", subject(c), c.MaxPathLen, intermediates)
		remedy = "Issue this signer with a greater pathlen in basicConstraints, or sign the device with a CA further up."
	default:
		return true
	}
	a.d.Refuse("signer is a CA", detail, dps.Verdict{Reason: dps.ReasonNotCA, Answer: answerCertificate, Remedy: remedy})
	return false
}

// Extensions that crypto/x509 leaves alone in some forms, and that are processed here. A
// subject alternative name needs no more than that: the identity of a device is its
// common name, and what else a certificate says of its holder forbids nothing.
var (
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// understood refuses a certificate with a critical extension that is not processed.
func (a *attempt) understood(c *x509.Certificate) bool {
	unknown := slices.IndexFunc(c.UnhandledCriticalExtensions, func(id asn1.ObjectIdentifier) bool {
		return !id.Equal(oidSubjectAltName) && !id.Equal(oidNameConstraints)
	})
	if unknown < 0 {
		return true
	}
	detail := fmt.Sprintf("%s has the critical extension %s, which is not supported", subject(c), c.UnhandledCriticalExtensions[unknown])
	a.refuseRule("critical extensions", detail, "Issue the certificate without this critical extension.")
	return false
}

func (a *attempt) refuseRule(check, detail, remedy string) {
	a.d.Refuse(check, detail, dps.Verdict{Reason: dps.ReasonChainRule, Answer: answerCertificate, Remedy: remedy})
}

// ruled checks the name constraints and the certificate policies of a path, where there
// are any, by crypto/x509 as far as it knows them.
func (a *attempt) ruled(leaf *node, path []*node) {
	constrained, policed := carries(path, hasNameConstraints), carries(append([]*node{leaf}, path...), hasPolicyRules)
	if constrained {
		if err := checkNames(leaf, path); err != nil {
			a.refuseConstraint(err.Error())
			return
		}
	}
	if !constrained && !policed {
		return
	}
	err := verifyShadows(leaf, path, a.now)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case err == nil:
	case isInvalid && invalid.Reason == x509.CANotAuthorizedForThisName:
		a.refuseConstraint(invalid.Detail)
		return
	default:
		a.refuseRule("certificate policies", "a signer requires a certificate policy that is not in every certificate below it",
			"Issue the certificates below that signer with the policies that its policyConstraints require.")
		return
	}
	if constrained {
		a.d.Pass("name constraints", "hold")
	}
	if policed {
		a.d.Pass("certificate policies", "hold")
	}
}

func (a *attempt) refuseConstraint(detail string) {
	a.refuseRule("name constraints", strings.TrimPrefix(detail, "x509: "), "Issue the certificate within the name constraints of its signers.")
}

func carries(path []*node, rule func(*x509.Certificate) bool) bool {
	return slices.ContainsFunc(path, func(n *node) bool { return rule(n.cert) })
}

func hasNameConstraints(c *x509.Certificate) bool { return extension(c, oidNameConstraints) != nil }

// hasPolicyRules reports whether c can make a policy count: one that is only listed
// forbids nothing.
func hasPolicyRules(c *x509.Certificate) bool {
	return c.RequireExplicitPolicy > 0 || c.RequireExplicitPolicyZero || len(c.PolicyMappings) > 0
}

// extension returns the value of an extension, nil if c does not have it.
func extension(c *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	return nil
}
