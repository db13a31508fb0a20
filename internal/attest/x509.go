package attest

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

// MaxChain is how many certificates a device may present.
const MaxChain = 10

// X509Evidence is what a device proved by a TLS handshake: it has the private key
// of the first certificate of Chain. Nothing else in Chain is proved.
type X509Evidence struct {
	ID    dps.RegistrationID  // who the device says it is
	Chain []*x509.Certificate // leaf first, as presented
}

// Anchor is a stored certificate, decoded. It is not changed any more: several requests
// may use one at the same time.
type Anchor struct {
	dps.Anchor
	Certificate *x509.Certificate

	node *node // nil: not made yet
}

// NewAnchor decodes a stored certificate, with all that is compared of it.
func NewAnchor(stored dps.Anchor) (Anchor, error) {
	cert, err := stored.Certificate.Parse()
	if err != nil {
		return Anchor{}, err
	}
	a := &Anchor{Anchor: stored, Certificate: cert}
	n := newNode(cert, a)
	return Anchor{Anchor: stored, Certificate: cert, node: n}, nil
}

// Subject returns the name of the certificate as dps.NameKey.
func (a *Anchor) Subject() string { return a.inChain().subject }

// Issuer returns the name of the issuer as dps.NameKey.
func (a *Anchor) Issuer() string { return a.inChain().issuer }

func (a *Anchor) inChain() *node {
	if a.node != nil {
		return a.node
	}
	return newNode(a.Certificate, a)
}

// Known is what the store says about a device that presents certificates.
type Known struct {
	Individual *dps.Enrollment // the enrollment with the device's ID, or nil
	LeafOwner  *dps.EntryRef   // the enrollment that holds the leaf itself, or nil
	Anchors    []Anchor        // stored certificates that may stand in the chain
	Links      *Links          // what earlier chains have shown, or nil
}

// X509 decides whether ev proves a device that known has an enrollment for, at
// now. It returns the enrollment that decides and the checks; whether that
// enrollment is enabled is left to Enabled.
//
// An individual enrollment with the device's ID decides before any group does;
// else the group whose certificate is nearest to the leaf does. A chain has to
// reach a CA certificate whose possession was proved, at or above the deciding
// certificate.
// Source: azure-docs, articles/iot-dps/concepts-x509-attestation.md.
func X509(ev X509Evidence, known Known, now time.Time) (dps.EntryRef, *dps.Decision) {
	a := &attempt{ev: ev, known: known, now: now, d: &dps.Decision{}}
	if !a.presented() || !a.named() {
		return dps.EntryRef{}, a.d
	}
	a.d.Entry = a.decide()
	return a.d.Entry, a.d
}

// decide returns the enrollment that decides, or the one that stands in the way.
func (a *attempt) decide() dps.EntryRef {
	known := a.known
	if known.Individual != nil {
		return a.individual(*known.Individual)
	}
	if known.LeafOwner != nil && known.LeafOwner.Kind == dps.Individual {
		return a.leafTaken(*known.LeafOwner)
	}
	return a.group()
}

// attempt is one decision in the making.
type attempt struct {
	ev    X509Evidence
	known Known
	now   time.Time
	d     *dps.Decision
}

func (a *attempt) leaf() *x509.Certificate { return a.ev.Chain[0] }

func (a *attempt) presented() bool {
	n := len(a.ev.Chain)
	switch {
	case n == 0:
		NoEvidence(a.d)
	case n > MaxChain:
		a.d.Refuse("chain length", fmt.Sprintf("%d certificates presented, at most %d are accepted", n, MaxChain), dps.Verdict{
			Reason: dps.ReasonChainTooLong, Answer: answerCertificate,
			Remedy: "Configure the device to send only the leaf and the intermediates up to an uploaded CA certificate.",
		})
	default:
		a.d.Pass("chain length", count(n))
	}
	return !a.d.Refused()
}

func count(n int) string {
	if n == 1 {
		return "1 certificate presented"
	}
	return fmt.Sprintf("%d certificates presented", n)
}

func (a *attempt) named() bool {
	const name = "common name"
	names := dps.CommonNames(a.leaf())
	if len(names) > 1 {
		return a.severalNames(names)
	}
	cn := a.leaf().Subject.CommonName
	if len(cn) == len(a.ev.ID) && strings.EqualFold(cn, string(a.ev.ID)) { // of equal length: no other script folds to ASCII
		a.d.Pass(name, "is the registration ID")
		return true
	}
	a.d.Refuse(name, nameDetail(cn, a.ev.ID), dps.Verdict{
		Reason: dps.ReasonNameMismatch, Answer: answerCertificate,
		Remedy: "Register with the leaf's common name, or issue the leaf for this registration ID.",
	})
	return false
}

func nameDetail(cn string, id dps.RegistrationID) string {
	if cn == "" {
		return fmt.Sprintf("the leaf has no common name, the registration ID is %q", id)
	}
	return fmt.Sprintf("the leaf has the common name %q, the registration ID is %q", cn, id)
}

// severalNames refuses a leaf with several common names: software does not agree on the
// one that counts.
func (a *attempt) severalNames(names []string) bool {
	a.d.Refuse("common name", fmt.Sprintf("the leaf has %d common names, %q, and must have one", len(names), names), dps.Verdict{
		Reason: dps.ReasonNameMismatch, Answer: answerCertificate,
		Remedy: "Issue the leaf with the registration ID as its only common name.",
	})
	return false
}

func (a *attempt) individual(e dps.Enrollment) dps.EntryRef {
	const name = "enrollment"
	if e.Attestation.Type != dps.X509 {
		detail := fmt.Sprintf("%s uses the attestation %s, but the device presented a certificate", e.Ref, e.Attestation.Type)
		a.d.Refuse(name, detail, dps.Verdict{
			Reason: dps.ReasonOtherAttestation, Answer: answerUnauthorized,
			Remedy: "Change the enrollment's attestation to X.509, or delete the enrollment so that a group applies.",
		})
		return e.Ref
	}
	a.d.Pass(name, e.Ref.String())
	if e.Attestation.X509.ByReference() {
		a.referenced(e)
	} else {
		a.pinned(e)
	}
	return e.Ref
}

// pinned checks a leaf that the enrollment holds.
func (a *attempt) pinned(e dps.Enrollment) {
	const name = "enrolled certificate"
	print256 := dps.ThumbprintOf(a.leaf().Raw)
	if !e.Attestation.X509.Holds(print256) {
		a.d.Refuse(name, fmt.Sprintf("the %s holds another certificate than the one presented, %s", e.Ref, print256), dps.Verdict{
			Reason: dps.ReasonOtherCertificate, Answer: answerCertificate,
			Remedy: "Set the device's certificate as primary or secondary certificate of the enrollment.",
		})
		return
	}
	a.d.Pass(name, print256.String())
	if leaf := newNode(a.leaf(), nil); leaf.selfIssued() && a.selfSigned(leaf) {
		return
	}
	a.follow(goal{accept: func(an *Anchor) bool { return an.Verified }})
}

// selfSigned decides about a leaf that needs no CA: the enrollment itself vouches for it.
// It reports false for one that another key signed: a CA may have the same name.
func (a *attempt) selfSigned(leaf *node) bool {
	err := dps.CheckSignature(leaf.cert, leaf.cert)
	switch {
	case err != nil && isMismatch(err):
		return false
	case !a.valid(leaf.cert, true):
	case err != nil:
		a.refuseAlgorithm(leaf, err)
	default:
		a.d.Pass("signature", "self-signed")
	}
	return true
}

func (a *attempt) referenced(e dps.Enrollment) {
	x := e.Attestation.X509
	a.follow(goal{
		accept: func(an *Anchor) bool {
			return an.Verified && (x.Refers(an.CA) || slices.ContainsFunc(an.Also, x.Refers))
		},
		names: x.CAReferences(),
	})
}

func (a *attempt) leafTaken(owner dps.EntryRef) dps.EntryRef {
	a.d.Refuse(
		"enrollment",
		fmt.Sprintf("the presented certificate belongs to the %s, not to registration ID %q", owner, a.ev.ID),
		dps.Verdict{
			Reason: dps.ReasonCertificateTaken, Answer: answerUnauthorized,
			Remedy: "Recreate the enrollment with the certificate's common name as its registration ID.",
		},
	)
	return owner
}

func (a *attempt) group() dps.EntryRef {
	return a.follow(goal{needGroup: true, accept: func(an *Anchor) bool { return an.Verified }})
}

// valid checks the time of one certificate.
func (a *attempt) valid(c *x509.Certificate, leaf bool) bool {
	late, early := dps.ReasonSignerExpired, dps.ReasonSignerNotYetValid
	name := "validity of signer"
	if leaf {
		late, early = dps.ReasonLeafExpired, dps.ReasonLeafNotYetValid
		name = "validity of leaf"
	}
	switch {
	case a.now.Before(c.NotBefore):
		a.d.Refuse(name, fmt.Sprintf("%s is not valid before %s", subject(c), stamp(c.NotBefore)), dps.Verdict{
			Reason: early, Answer: answerCertificate,
			Remedy: "Check the clocks of the server and of the CA, or reissue the certificate with an earlier start.",
		})
	case a.now.After(c.NotAfter):
		a.d.Refuse(name, fmt.Sprintf("%s expired at %s", subject(c), stamp(c.NotAfter)), dps.Verdict{
			Reason: late, Answer: answerCertificate, Remedy: "Renew the certificate.",
		})
	default:
		a.d.Pass(name, subject(c)+" until "+stamp(c.NotAfter))
	}
	return !a.d.Refused()
}

func subject(c *x509.Certificate) string {
	if len(c.Subject.Names) == 1 { // nearly every device
		return dps.AttributeText(c.Subject.Names[0])
	}
	if name := dps.DistinguishedName(c.RawSubject); name != "" {
		return name
	}
	return dps.ThumbprintOf(c.Raw).String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
