package attest

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strconv"
	"time"
)

// verifyShadows lets crypto/x509 check the policies of a path and its constraints on DNS
// names and IP addresses. The last certificate counts too: an operator uploaded it with these rules.
//
// It checks shadows of the certificates. They have the same rules, and the names that
// the rules apply to; everything else is filled in so that it holds, since checkPath
// has checked it already, by rules that crypto/x509 does not have: it compares names
// of issuers byte by byte, counts self-issued certificates in path lengths, and does not
// verify RSA-PSS with a long salt. A shadow has a key of its own, known to everybody, so
// that the shadows form one chain and no other.
func verifyShadows(leaf *node, path []*node, now time.Time) error {
	all := append([]*node{leaf}, path...)
	s := newShadows(all, now)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for i, n := range all[1:] {
		between.AddCert(s.of(n, i+1))
	}
	roots.AddCert(s.plain(len(all)))
	_, err := s.of(leaf, 0).Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// shadows makes the shadow of each certificate of a path.
type shadows struct {
	names []string // of each, and of the one above the last
	now   time.Time
}

// newShadows names the certificates of a path anew, so that each names the next one as
// its issuer and the self-issued ones stay so.
func newShadows(path []*node, now time.Time) shadows {
	s := shadows{names: make([]string, len(path)+1), now: now}
	s.names[len(path)] = "top"
	for i, n := range slices.Backward(path) {
		s.names[i] = strconv.Itoa(i)
		if n.selfIssued() {
			s.names[i] = s.names[i+1]
		}
	}
	return s
}

// plain returns the shadow of a CA certificate without rules at place i.
func (s shadows) plain(i int) *x509.Certificate {
	key, issuer := shadowKey(i), shadowKey(i+1)
	pub, _ := key.Public().(ed25519.PublicKey)
	body := []byte(strconv.Itoa(i))
	return &x509.Certificate{
		Raw: body, RawTBSCertificate: body, Version: 3,
		RawSubject: []byte(s.names[i]), RawIssuer: []byte(s.names[min(i+1, len(s.names)-1)]),
		RawSubjectPublicKeyInfo: pub, PublicKey: pub, PublicKeyAlgorithm: x509.Ed25519,
		SignatureAlgorithm: x509.PureEd25519, Signature: ed25519.Sign(issuer, body),
		NotBefore: s.now, NotAfter: s.now, BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1,
	}
}

// shadowKey returns the key of the shadow at place i.
func shadowKey(i int) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, strconv.Itoa(i))
	return ed25519.NewKeyFromSeed(seed)
}

// of returns the shadow of n at place i, 0 for the leaf.
func (s shadows) of(n *node, i int) *x509.Certificate {
	shadow, c := s.plain(i), n.cert
	shadow.Policies, shadow.PolicyMappings = c.Policies, c.PolicyMappings
	shadow.RequireExplicitPolicy, shadow.RequireExplicitPolicyZero = c.RequireExplicitPolicy, c.RequireExplicitPolicyZero
	shadow.InhibitPolicyMapping, shadow.InhibitPolicyMappingZero = c.InhibitPolicyMapping, c.InhibitPolicyMappingZero
	shadow.InhibitAnyPolicy, shadow.InhibitAnyPolicyZero = c.InhibitAnyPolicy, c.InhibitAnyPolicyZero
	if last := i == len(s.names)-2; last && n.selfIssued() && len(c.Policies) == 0 {
		shadow.Policies = []x509.OID{anyPolicy()} // roots list no policies, and stand for all
	}
	if hasNameConstraints(c) {
		shadow.Extensions = append(shadow.Extensions, pkix.Extension{Id: oidNameConstraints})
		shadow.PermittedDNSDomains, shadow.ExcludedDNSDomains = c.PermittedDNSDomains, c.ExcludedDNSDomains
		shadow.PermittedIPRanges, shadow.ExcludedIPRanges = c.PermittedIPRanges, c.ExcludedIPRanges
	}
	if i == 0 || !n.selfIssued() { // RFC 5280 section 6.1.3 (b)
		shadow.Extensions = append(shadow.Extensions, pkix.Extension{Id: oidSubjectAltName, Value: c.Raw})
		shadow.DNSNames, shadow.IPAddresses = c.DNSNames, c.IPAddresses
	}
	return shadow
}

// anyPolicy is the object identifier 2.5.29.32.0.
func anyPolicy() x509.OID {
	id, err := x509.OIDFromInts([]uint64{2, 5, 29, 32, 0})
	if err != nil {
		panic(err) // the identifier is a constant
	}
	return id
}
