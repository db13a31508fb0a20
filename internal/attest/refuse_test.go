package attest_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

const (
	unauthorized = "Unauthorized"
	invalid      = "Invalid certificate"
	noCA         = "CA certificate not found."
	mismatch     = "Signing certificate info did not match chain elements."
)

type refusal struct {
	name   string
	chain  []*x509.Certificate
	known  attest.Known
	reason dps.Reason
	answer string
	check  string       // name of the check that failed
	detail string       // part of what it says
	remedy string       // part of the remedy
	ref    dps.EntryRef // the enrollment that decided, if any
}

func runRefusals(t *testing.T, tests []refusal) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref, d := decide(t, tt.chain, tt.known)
			last := lastCheck(d)
			if d.Reason != tt.reason || d.Answer != tt.answer || last.Name != tt.check {
				t.Errorf("decision = %v, answer %q;\nwant %s, %q, last check %q", d.LogValue(), d.Answer, tt.reason, tt.answer, tt.check)
			}
			if !strings.Contains(last.Detail, tt.detail) {
				t.Errorf("detail = %q, want %q in it", last.Detail, tt.detail)
			}
			if !strings.Contains(d.Remedy, tt.remedy) {
				t.Errorf("remedy = %q, want %q in it", d.Remedy, tt.remedy)
			}
			if ref != tt.ref {
				t.Errorf("deciding enrollment = %v, want %v", ref, tt.ref)
			}
		})
	}
}

func TestRefusalsBeforeTheChain(t *testing.T) {
	self, other := device(t, "dev", nil), device(t, "dev", nil)
	named, upper := device(t, "other", nil), device(t, "DEW", nil)
	twoNames := func(names ...string) *party {
		return device(t, "", nil, func(c *x509.Certificate) {
			for _, n := range names {
				c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: n})
			}
		})
	}
	first, last := twoNames("dev", "other"), twoNames("other", "dev")
	owner := individualRef("owner")
	symmetric := &dps.Enrollment{Ref: individualRef("dev"), Attestation: dps.Attestation{Type: dps.SymmetricKey}}
	runRefusals(t, []refusal{
		{name: "no evidence", reason: dps.ReasonNoEvidence, answer: unauthorized, check: "evidence"},
		{
			name: "11 certificates", chain: slices.Repeat(chain(self), 11), known: attest.Known{Individual: pins("dev", self, nil)},
			reason: dps.ReasonChainTooLong, answer: invalid, check: "chain length", detail: "11 certificates",
		},
		{
			name: "20 certificates", chain: slices.Repeat(chain(self), 20),
			reason: dps.ReasonChainTooLong, answer: invalid, check: "chain length", detail: "20 certificates",
		},
		{
			name: "common name of another", chain: chain(named), known: attest.Known{Individual: pins("dev", named, nil)},
			reason: dps.ReasonNameMismatch, answer: invalid, check: "common name", detail: `"other"`,
		},
		{
			name: "registration ID as the first of two common names", chain: chain(first), known: attest.Known{Individual: pins("dev", first, nil)},
			reason: dps.ReasonNameMismatch, answer: invalid,
			check: "common name", detail: `2 common names, ["dev" "other"]`, remedy: "only common name",
		},
		{
			name: "registration ID as the last of two common names", chain: chain(last), known: attest.Known{Individual: pins("dev", last, nil)},
			reason: dps.ReasonNameMismatch, answer: invalid,
			check: "common name", detail: `2 common names, ["other" "dev"]`, remedy: "only common name",
		},
		{
			name: "common name of the same length", chain: chain(upper),
			reason: dps.ReasonNameMismatch, answer: invalid, check: "common name", detail: `"DEW"`,
		},
		{
			name: "individual of another attestation", chain: chain(self), known: attest.Known{Individual: symmetric}, ref: individualRef("dev"),
			reason: dps.ReasonOtherAttestation, answer: unauthorized, check: "enrollment", detail: "symmetricKey",
		},
		{
			name: "individual with another certificate", chain: chain(self), known: attest.Known{Individual: pins("dev", other, nil)},
			ref:    individualRef("dev"),
			reason: dps.ReasonOtherCertificate, answer: invalid, check: "enrolled certificate",
		},
		{
			name: "certificate of another individual", chain: chain(self), known: attest.Known{LeafOwner: &owner}, ref: owner,
			reason: dps.ReasonCertificateTaken, answer: unauthorized, check: "enrollment", detail: "individual enrollment owner",
		},
		{
			name: "self-signed without enrollment", chain: chain(self),
			reason: dps.ReasonNoEnrollment, answer: unauthorized, check: "enrollment", detail: `"dev"`,
		},
	})
}

func TestNameFoldsInASCIIOnly(t *testing.T) {
	kelvin := device(t, "\u212Aey", nil) // KELVIN SIGN, which Unicode folds to k
	_, d := attest.X509(attest.X509Evidence{ID: "key", Chain: chain(kelvin)}, attest.Known{Individual: pins("key", kelvin, nil)}, now)
	if d.Reason != dps.ReasonNameMismatch {
		t.Errorf("decision = %v, want %s", d.LogValue(), dps.ReasonNameMismatch)
	}
}

func TestRefusalsOfOneCertificate(t *testing.T) {
	late, early := device(t, "dev", nil, expired), device(t, "dev", nil, notYetValid)
	sha1 := withSHA1(t, device(t, "dev", nil), nil)
	namesake := device(t, "dev", ca(t, "dev", nil)) // issuer and subject are equal, the key is not
	short := shortRSA(t)
	pinned := func(p *party) attest.Known { return attest.Known{Individual: pins("dev", p, nil)} }
	ref := individualRef("dev")
	runRefusals(t, []refusal{
		{
			name: "expired", chain: chain(late), known: pinned(late), ref: ref,
			reason: dps.ReasonLeafExpired, answer: invalid, check: "validity of leaf",
		},
		{
			name: "not yet valid", chain: chain(early), known: pinned(early), ref: ref,
			reason: dps.ReasonLeafNotYetValid, answer: invalid, check: "validity of leaf",
		},
		{
			name: "signed with SHA-1", chain: chain(sha1), known: pinned(sha1), ref: ref,
			reason: dps.ReasonWeakSignature, answer: invalid, check: "signature", detail: "SHA1",
		},
		{
			name: "signed with a short key", chain: chain(short), known: pinned(short), ref: ref,
			reason: dps.ReasonWeakSignature, answer: invalid,
			check: "signature", detail: "is signed with an RSA key of 512 bits, at least 1024 bits are required",
		},
		{
			name: "signed by a namesake", chain: chain(namesake), known: pinned(namesake), ref: ref,
			reason: dps.ReasonIssuerMissing, answer: noCA, check: "chain", detail: "did not sign itself",
		},
	})
}

// shortRSA returns a self-signed certificate of a 512-bit RSA key, whose signature
// is garbage: Go neither makes nor checks real ones.
func shortRSA(t *testing.T) *party {
	t.Helper()
	p, q := big.NewInt(0), big.NewInt(0)
	for _, n := range []*big.Int{p, q} {
		prime, err := rand.Prime(rand.Reader, 256)
		if err != nil {
			t.Fatal(err)
		}
		n.Set(prime)
	}
	pub := rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}
	spki, err := x509.MarshalPKIXPublicKey(&pub)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	honest := sign(t, "dev", key, nil)
	return &party{cert: parse(t, replaceOnce(t, honest.cert.Raw, honest.cert.RawSubjectPublicKeyInfo, spki))}
}

// replaceOnce rebuilds a certificate with one element of its body replaced.
func replaceOnce(t *testing.T, der, old, with []byte) []byte {
	t.Helper()
	var outer struct{ TBS, Algorithm, Signature asn1.RawValue }
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		t.Fatal(err)
	}
	body := strings.Replace(string(outer.TBS.Bytes), string(old), string(with), 1)
	outer.TBS = asn1.RawValue{Class: outer.TBS.Class, Tag: outer.TBS.Tag, IsCompound: true, Bytes: []byte(body)}
	out, err := asn1.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRefusalsOfLinks(t *testing.T) {
	root := ca(t, "Root", nil)
	top := ca(t, "Top", root)
	low := ca(t, "Low", top)
	leaf := device(t, "dev", low)
	known := attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "all")}}
	all := groupRef("all")

	lowOf := func(edits ...edit) []*x509.Certificate {
		signer := ca(t, "Low", top, edits...)
		return chain(device(t, "dev", signer), signer, top)
	}
	false1, false2 := ca(t, "Root", nil), ca(t, "Low", nil)
	falseRoot := chain(device(t, "dev", ca(t, "Low", false1)), low, top)
	nameless := ca(t, "", root, expired)
	strict := ca(t, "Strict", root, pathLen(0))
	under := ca(t, "Under", strict)
	oldRoot := ca(t, "Root", nil, expired)
	sha1 := withSHA1(t, leaf, low)
	sha1Low := withSHA1(t, low, top)
	if err := low.cert.CheckSignature(sha1.cert.SignatureAlgorithm, sha1.cert.RawTBSCertificate, sha1.cert.Signature); err != nil {
		t.Fatalf("the SHA-1 signature does not hold: %v", err)
	}
	runRefusals(t, []refusal{
		{
			name: "expired leaf", chain: chain(device(t, "dev", low, expired), low, top), known: known, ref: all,
			reason: dps.ReasonLeafExpired, answer: invalid, check: "validity of leaf", detail: "CN=dev expired",
		},
		{
			name: "leaf not yet valid", chain: chain(device(t, "dev", low, notYetValid), low, top), known: known, ref: all,
			reason: dps.ReasonLeafNotYetValid, answer: invalid, check: "validity of leaf",
		},
		{
			name: "expired intermediate", chain: lowOf(expired), known: known, ref: all,
			reason: dps.ReasonSignerExpired, answer: invalid, check: "validity of signer", detail: "CN=Low expired",
		},
		{
			name: "expired intermediate without a name", chain: chain(device(t, "dev", nameless), nameless), known: known, ref: all,
			reason: dps.ReasonSignerExpired, answer: invalid, check: "validity of signer", detail: dps.ThumbprintOf(nameless.cert.Raw).String(),
		},
		{
			name: "intermediate not yet valid", chain: lowOf(notYetValid), known: known, ref: all,
			reason: dps.ReasonSignerNotYetValid, answer: invalid, check: "validity of signer", detail: "CN=Low",
		},
		{
			name: "expired root", chain: chain(device(t, "dev", oldRoot)), ref: all,
			known:  attest.Known{Anchors: []attest.Anchor{referred(oldRoot, "root", true, "all")}},
			reason: dps.ReasonSignerExpired, answer: invalid, check: "validity of signer", detail: "CN=Root expired",
		},
		{
			name: "missing intermediate", chain: chain(leaf, low), known: known,
			reason: dps.ReasonIssuerMissing, answer: noCA, check: "chain", detail: `"CN=Top"`, remedy: "mooring certificate create",
		},
		{
			name: "leaf alone", chain: chain(leaf), known: known,
			reason: dps.ReasonIssuerMissing, answer: noCA, check: "chain", detail: `"CN=Low"`,
		},
		{
			name: "intermediate without CA:TRUE", chain: lowOf(notCA, func(c *x509.Certificate) { c.KeyUsage = 0 }), known: known, ref: all,
			reason: dps.ReasonNotCA, answer: invalid, check: "signer is a CA", detail: "CN=Low is not marked CA:TRUE",
		},
		{
			name: "intermediate without keyCertSign", chain: lowOf(noCertSign), known: known, ref: all,
			reason: dps.ReasonNotCA, answer: invalid, check: "signer is a CA", detail: "keyCertSign",
		},
		{
			name: "path length exceeded", chain: chain(device(t, "dev", under), under, strict), known: known, ref: all,
			reason: dps.ReasonNotCA, answer: invalid, check: "signer is a CA", detail: "CN=Strict allows 0 CAs below it, the chain has 1",
		},
		{
			name: "root of the same name", chain: chain(device(t, "dev", false1)), known: known,
			reason: dps.ReasonSignature, answer: mismatch, check: "signature", detail: `"CN=Root"`,
		},
		{
			name: "intermediate of the same name", chain: chain(device(t, "dev", false2), low, top), known: known,
			reason: dps.ReasonSignature, answer: mismatch, check: "signature", detail: `"CN=Low"`,
		},
		{
			name: "other chain's intermediates", chain: falseRoot, known: known,
			reason: dps.ReasonSignature, answer: mismatch, check: "signature", detail: "CN=dev",
		},
		{
			name: "leaf signed with SHA-1", chain: chain(sha1, low, top), known: known,
			reason: dps.ReasonWeakSignature, answer: invalid, check: "signature", detail: "ECDSA-SHA1", remedy: "SHA-256",
		},
		{
			name: "intermediate signed with SHA-1", chain: chain(leaf, sha1Low, top), known: known,
			reason: dps.ReasonWeakSignature, answer: invalid, check: "signature", detail: "CN=Low is signed with ECDSA-SHA1",
		},
		{
			name: "no group under a verified CA", chain: chain(leaf, low, top),
			known:  attest.Known{Anchors: []attest.Anchor{verified(root, "root")}},
			reason: dps.ReasonNoEnrollment, answer: unauthorized, check: "enrollment", detail: "ends at CN=Root",
		},
		{
			name: "no group under an unverified CA", chain: chain(leaf, low, top),
			known:  attest.Known{Anchors: []attest.Anchor{uploaded(root, "root")}},
			reason: dps.ReasonNoEnrollment, answer: unauthorized, check: "enrollment",
		},
		{
			name: "signing certificate presented as leaf", chain: chain(sign(t, "dev", root.key, nil)), known: known,
			reason: dps.ReasonNoEnrollment, answer: unauthorized, check: "enrollment",
		},
	})
}

func TestRefusalsOfTrust(t *testing.T) {
	root, other := ca(t, "Root", nil), ca(t, "Other", nil)
	low := ca(t, "Low", root)
	leaf := device(t, "dev", low)
	g, individual := groupRef("g"), individualRef("dev")
	under := func(anchors ...attest.Anchor) attest.Known { return attest.Known{Anchors: anchors} }
	single := func(e *dps.Enrollment, anchors ...attest.Anchor) attest.Known {
		return attest.Known{Individual: e, Anchors: anchors}
	}
	generate := "mooring certificate generate-verification-code --certificate-name plant"
	create := "mooring certificate create --certificate-name"
	runRefusals(t, []refusal{
		{
			name: "unverified root by reference", chain: chain(leaf, low), known: under(referred(root, "plant", false, "g")), ref: g,
			reason: dps.ReasonCANotVerified, answer: noCA, check: "proof of possession", detail: "plant", remedy: generate,
		},
		{
			name: "group on an intermediate under an unverified root", chain: chain(leaf, low),
			known: under(grouped(low, "g"), uploaded(root, "plant")), ref: g,
			reason: dps.ReasonCANotVerified, answer: noCA, check: "proof of possession", remedy: generate,
		},
		{
			name: "root not uploaded but presented", chain: chain(leaf, low, root), known: under(grouped(low, "g")), ref: g,
			reason: dps.ReasonCANotVerified, answer: noCA, check: "proof of possession", detail: "CN=Root", remedy: create,
		},
		{
			name: "root not uploaded", chain: chain(leaf, low), known: under(grouped(low, "g")), ref: g,
			reason: dps.ReasonIssuerMissing, answer: noCA, check: "chain", detail: "CN=Root", remedy: create,
		},
		{
			name: "group on a root that is not uploaded", chain: chain(leaf, low), known: under(grouped(root, "g")), ref: g,
			reason: dps.ReasonCANotVerified, answer: noCA, check: "proof of possession", detail: "CN=Root", remedy: create,
		},
		{
			name: "verified below the group only", chain: chain(leaf, low), known: under(verified(low, "low"), grouped(root, "g")), ref: g,
			reason: dps.ReasonCANotVerified, answer: noCA, check: "proof of possession", remedy: create,
		},
		{
			name: "individual's leaf without its CA", chain: chain(leaf, low), known: single(pins("dev", leaf, nil)), ref: individual,
			reason: dps.ReasonIssuerMissing, answer: noCA, check: "chain", detail: "CN=Root",
		},
		{
			name: "individual's leaf under an unverified CA", chain: chain(leaf, low),
			known: single(pins("dev", leaf, nil), uploaded(root, "plant")), ref: individual,
			reason: dps.ReasonCANotVerified, answer: noCA, check: "proof of possession", remedy: generate,
		},
		{
			name: "individual refers to an unverified CA", chain: chain(leaf, low),
			known: single(names("Plant", ""), uploaded(root, "plant")), ref: individual,
			reason: dps.ReasonCANotVerified, answer: noCA, check: "proof of possession", remedy: generate,
		},
		{
			name: "individual refers to another CA", chain: chain(leaf, low), ref: individual,
			known:  single(names("other", ""), verified(root, "root"), verified(other, "other")),
			reason: dps.ReasonOtherCA, answer: noCA, check: "proof of possession", detail: "[other]",
		},
		{
			name: "individual refers to another CA, its own is unverified", chain: chain(leaf, low), ref: individual,
			known:  single(names("other", "third"), uploaded(root, "root"), verified(other, "other")),
			reason: dps.ReasonOtherCA, answer: noCA, check: "proof of possession", detail: "[other third]",
		},
	})
}

// TestNoWayAroundALowerGroup gives the lower group's CA a second certificate from
// the upper CA, which the device shows to be judged by the upper group.
func TestNoWayAroundALowerGroup(t *testing.T) {
	upper, plant := ca(t, "Upper", nil), ca(t, "Plant", nil)
	key := newKey(t)
	for _, tt := range []struct {
		name  string
		own   *party // the lower group's certificate
		cross *party // what the device shows instead of it
	}{
		{"cross-certificate", caOf(t, "Low", key, plant), caOf(t, "Low", key, upper)},
		{"same issuer, issued again", caOf(t, "Low", key, upper, expired), caOf(t, "Low", key, upper)},
		{"no key identifiers", caOf(t, "Low", key, plant, noKeyIDs), caOf(t, "Low", key, upper)},
		{
			"other key identifier", caOf(t, "Low", key, plant, func(c *x509.Certificate) { c.SubjectKeyId = []byte("x") }),
			caOf(t, "Low", key, upper),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			known := attest.Known{Anchors: []attest.Anchor{referred(upper, "upper", true, "upper"), grouped(tt.own, "lower")}}
			ref, d := decide(t, chain(device(t, "dev", tt.cross), tt.cross, tt.own), known)
			if ref != groupRef("lower") || !d.Refused() {
				t.Errorf("decided by %v: %v; want a refusal by the lower group", ref, d.LogValue())
			}
		})
	}
}

func critical(c *x509.Certificate) {
	c.ExtraExtensions = append(
		c.ExtraExtensions,
		pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}},
	)
}

func TestUnknownCriticalExtension(t *testing.T) {
	root, odd := ca(t, "Root", nil), ca(t, "Odd", nil, critical)
	low := ca(t, "Low", root, critical)
	known := attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g"), referred(odd, "odd", true, "g")}}
	refuse := func(name string, certs ...*party) refusal {
		return refusal{
			name: name, chain: chain(certs...), known: known, ref: groupRef("g"),
			reason: dps.ReasonChainRule, answer: invalid, check: "critical extensions", detail: "1.3.6.1.4.1.99999.1",
		}
	}
	runRefusals(t, []refusal{
		refuse("in the leaf", device(t, "dev", root, critical)),
		refuse("in an intermediate", device(t, "dev", low), low),
		refuse("in the root", device(t, "dev", odd)),
	})
}

func TestNameConstraints(t *testing.T) {
	_, inside, _ := net.ParseCIDR("10.1.0.0/16")
	tests := []struct {
		name      string
		limit     edit
		good, bad edit
	}{
		{
			"permitted domain", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"plant.example"} },
			func(c *x509.Certificate) { c.DNSNames = []string{"dev.plant.example"} },
			func(c *x509.Certificate) { c.DNSNames = []string{"dev.other.example"} },
		},
		{
			"excluded domain", func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"other.example"} },
			func(c *x509.Certificate) { c.DNSNames = []string{"dev.plant.example"} },
			func(c *x509.Certificate) { c.DNSNames = []string{"dev.other.example"} },
		},
		{
			"permitted addresses", func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{inside} },
			func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 1, 2, 3}} },
			func(c *x509.Certificate) { c.IPAddresses = []net.IP{{10, 2, 2, 3}} },
		},
		{
			"excluded mail", func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"other.example"} },
			func(c *x509.Certificate) { c.EmailAddresses = []string{"dev@plant.example"} },
			func(c *x509.Certificate) { c.EmailAddresses = []string{"dev@other.example"} },
		},
		{
			"permitted URIs", func(c *x509.Certificate) { c.PermittedURIDomains = []string{"plant.example"} },
			func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "plant.example"}} },
			func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "other.example"}} },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := ca(t, "Root", nil, func(c *x509.Certificate) { c.PermittedDNSDomainsCritical = true }, tt.limit)
			low := ca(t, "Low", root)
			known := attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}}
			for _, fine := range []*party{device(t, "dev", low, tt.good), device(t, "dev", low)} {
				if _, d := decide(t, chain(fine, low), known); d.Refused() || lastCheck(d).Name != "name constraints" {
					t.Errorf("leaf within the constraints: %v", d.LogValue())
				}
			}
			_, d := decide(t, chain(device(t, "dev", low, tt.bad), low), known)
			if d.Reason != dps.ReasonChainRule || d.Answer != invalid || lastCheck(d).Name != "name constraints" {
				t.Errorf("leaf outside the constraints: %v", d.LogValue())
			}
		})
	}
}
