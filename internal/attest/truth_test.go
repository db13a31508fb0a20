package attest_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// Signatures that crypto/x509 does not verify: those that can be verified are, and the
// others are named as what they are.
func TestSignatureAlgorithms(t *testing.T) {
	key, other := rsaKey(t, 2048), rsaKey(t, 2048)
	self := func(a pkix.AlgorithmIdentifier, sign func([]byte) []byte) *party {
		return rawCert{key: key.Public(), algorithm: a, sign: sign}.build(t, key)
	}
	salted := func(signer crypto.Signer, n int) func([]byte) []byte {
		return hashed(t, signer, &rsa.PSSOptions{SaltLength: n, Hash: crypto.SHA256})
	}
	garbage := func([]byte) []byte { return make([]byte, 64) }
	for _, tt := range []struct {
		name   string
		cert   *party
		reason dps.Reason
		detail string
	}{
		{"RSA-PSS with OpenSSL's default salt", self(pss(t, oidSHA256, oidSHA256, 222), salted(key, 222)), dps.ReasonNone, "self-signed"},
		{"RSA-PSS with a salt of 20 bytes", self(pss(t, oidSHA256, oidSHA256, 20), salted(key, 20)), dps.ReasonNone, "self-signed"},
		{
			"RSA-PSS with another salt than it says", self(pss(t, oidSHA256, oidSHA256, 222), salted(key, 100)),
			dps.ReasonIssuerMissing, "did not sign itself",
		},
		{
			"RSA-PSS with a long salt by another key", self(pss(t, oidSHA256, oidSHA256, 222), salted(other, 222)),
			dps.ReasonIssuerMissing, "did not sign itself",
		},
		{
			"RSA-PSS with two hashes", self(pss(t, oidSHA256, oidSHA384, 32), garbage), dps.ReasonUnsupportedSignature,
			"CN=dev is signed with RSA-PSS with hash SHA-256, mask hash SHA-384 and a salt of 32 bytes, which is not supported",
		},
		{
			"SHA-224", self(algorithm(1, 2, 840, 113549, 1, 1, 14), garbage), dps.ReasonUnsupportedSignature,
			"is signed with SHA224-RSA, which is not supported",
		},
		{"Ed448", self(algorithm(1, 3, 101, 113), garbage), dps.ReasonUnsupportedSignature, "is signed with Ed448, which is not supported"},
		{
			"ML-DSA", self(algorithm(2, 16, 840, 1, 101, 3, 4, 3, 18), garbage),
			dps.ReasonUnsupportedSignature, "is signed with ML-DSA-65, which is not supported",
		},
		{
			"an algorithm that nobody knows", self(algorithm(1, 2, 3, 4), garbage),
			dps.ReasonUnsupportedSignature, "is signed with algorithm 1.2.3.4, which is not supported",
		},
		{"MD5", self(algorithm(1, 2, 840, 113549, 1, 1, 4), garbage), dps.ReasonWeakSignature, "is signed with MD5-RSA, which is too weak"},
		{
			"DSA", self(algorithm(2, 16, 840, 1, 101, 3, 4, 3, 2), garbage), dps.ReasonUnsupportedSignature,
			"is signed with DSA-SHA256, which is not supported",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, d := decide(t, chain(tt.cert), attest.Known{Individual: pins("dev", tt.cert, nil)})
			if d.Reason != tt.reason || !strings.Contains(lastCheck(d).Detail, tt.detail) {
				t.Errorf("decision = %v, want %q and %q", d.LogValue(), tt.reason, tt.detail)
			}
		})
	}
}

// Keys of signers that cannot be used are told apart from signatures that cannot.
func TestSignerKeys(t *testing.T) {
	unusable := func(spki []byte) *party {
		return rawCert{
			subject: nameOf(t, asn1.TagUTF8String, "Root"), issuer: nameOf(t, asn1.TagUTF8String, "Root"), spki: spki,
			algorithm: ecdsaSHA256(), extensions: caExtensions(t), sign: hashed(t, newP256(t), crypto.SHA256),
		}.build(t, nil)
	}
	leaf := device(t, "dev", ca(t, "Root", nil))
	for _, tt := range []struct {
		name, detail string
		root         *party
	}{
		{"Ed448", "CN=dev is signed with a key of type Ed448, which is not supported", unusable(unknownSPKI(t, 1, 3, 101, 113))},
		{"RSA-PSS", "CN=dev is signed with a key of type RSA-PSS, which is not supported", unusable(unknownSPKI(t, 1, 2, 840, 113549, 1, 1, 10))},
		{"DSA", "CN=dev is signed with a key of type DSA, which is not supported", unusable(dsaSPKI(t))},
	} {
		known := attest.Known{Anchors: []attest.Anchor{referred(tt.root, "root", true, "g")}}
		_, d := decide(t, chain(leaf), known)
		if d.Reason != dps.ReasonUnsupportedSignature || lastCheck(d).Detail != tt.detail {
			t.Errorf("%s: decision = %v", tt.name, d.LogValue())
		}
		// Beside the CA that did sign, one of the same name is no loss.
		signer := ca(t, "Root", nil)
		known.Anchors = append(known.Anchors, referred(signer, "good", true, "g"))
		if _, d := decide(t, chain(device(t, "dev", signer)), known); d.Refused() {
			t.Errorf("%s beside the signer: %v", tt.name, d.LogValue())
		}
	}
}

// Names of issuers that are equal, and spelled in other bytes.
func TestNamesOfIssuers(t *testing.T) {
	const printable = asn1.TagPrintableString
	for name, spelled := range map[string][]byte{
		"string type": nameOf(t, asn1.TagUTF8String, "Plant CA"), "case": nameOf(t, asn1.TagUTF8String, "PLANT ca"),
		"spaces": nameOf(t, printable, " Plant   CA"),
	} {
		t.Run(name, func(t *testing.T) {
			root := ca(t, "Plant CA", nil)
			g := groupRef("g")
			leaf := issuedAs(t, "dev", root, spelled)
			ref, d := decide(t, chain(leaf), attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}})
			if d.Refused() || ref != g {
				t.Errorf("leaf under the root: decided by %v: %v", ref, d.LogValue())
			}
			low := caOf(t, "Low", newKey(t), &party{cert: &x509.Certificate{RawSubject: spelled}, key: root.key})
			ref, d = decide(t, chain(device(t, "dev", low), low), attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}})
			if d.Refused() || ref != g {
				t.Errorf("leaf under an intermediate: decided by %v: %v", ref, d.LogValue())
			}
			// The name is not what proves it.
			stranger := ca(t, "Plant CA", nil)
			_, d = decide(t, chain(issuedAs(t, "dev", stranger, spelled)), attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}})
			if d.Reason != dps.ReasonSignature {
				t.Errorf("signed by a stranger of this name: %v", d.LogValue())
			}
		})
	}
}

// A leaf whose subject is its issuer's is self-signed only if it signed itself.
func TestLeafNamedLikeItsIssuer(t *testing.T) {
	issuer := ca(t, "dev", nil)
	leaf := device(t, "dev", issuer)
	known := func(anchors ...attest.Anchor) attest.Known {
		return attest.Known{Individual: pins("dev", leaf, nil), Anchors: anchors}
	}
	for _, tt := range []struct {
		name   string
		chain  []*x509.Certificate
		known  attest.Known
		reason dps.Reason
		detail string
	}{
		{"pinned, CA verified", chain(leaf), known(verified(issuer, "plant")), dps.ReasonNone, "are CAs"},
		{
			"pinned, CA not verified", chain(leaf), known(uploaded(issuer, "plant")), dps.ReasonCANotVerified,
			"possession of its key was not proved",
		},
		{"pinned, CA unknown", chain(leaf), known(), dps.ReasonIssuerMissing, "the CA of the same name is neither presented nor uploaded"},
		{"pinned, CA presented", chain(leaf, issuer), known(), dps.ReasonCANotVerified, "the chain ends at CN=dev, which is not uploaded"},
		{"group", chain(leaf), attest.Known{Anchors: []attest.Anchor{referred(issuer, "plant", true, "g")}}, dps.ReasonNone, "are CAs"},
		{
			"group of another CA of this name", chain(leaf),
			attest.Known{Anchors: []attest.Anchor{referred(ca(t, "dev", nil), "plant", true, "g")}},
			dps.ReasonSignature, `names the issuer "CN=dev", but was signed with another key`,
		},
		{
			"individual by reference, self-signed", chain(device(t, "dev", nil)),
			attest.Known{Individual: names("plant", "")},
			dps.ReasonOtherCA, "[plant]",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, d := decide(t, tt.chain, tt.known)
			if d.Reason != tt.reason || !strings.Contains(lastCheck(d).Detail, tt.detail) {
				t.Errorf("decision = %v, want %q and %q", d.LogValue(), tt.reason, tt.detail)
			}
		})
	}
}

// A device that presents the certificate of a CA is not told that its CA is unknown.
func TestCAAsDevice(t *testing.T) {
	root := ca(t, "dev", nil)
	low := ca(t, "dev", ca(t, "Root", nil))
	owner := groupRef("g")
	for _, tt := range []struct {
		name  string
		cert  *party
		known attest.Known
		owner string
	}{
		{"group's root", root, attest.Known{LeafOwner: &owner, Anchors: []attest.Anchor{grouped(root, "g")}}, "enrollment group g"},
		{"group's root by reference", root, attest.Known{Anchors: []attest.Anchor{referred(root, "plant", true, "g")}}, "enrollment group g"},
		{"uploaded root", root, attest.Known{Anchors: []attest.Anchor{verified(root, "plant")}}, "CA certificate plant"},
		{"group's intermediate", low, attest.Known{LeafOwner: &owner, Anchors: []attest.Anchor{grouped(low, "g")}}, "enrollment group g"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, d := decide(t, chain(tt.cert), tt.known)
			want := "the presented certificate is that of the " + tt.owner
			if d.Reason != dps.ReasonSignerAsDevice || !strings.Contains(lastCheck(d).Detail, want) {
				t.Errorf("decision = %v, want %q", d.LogValue(), want)
			}
		})
	}
	// One that its own CA's group covers is a device like others, and one that is pinned too.
	top := ca(t, "Top", nil)
	covered := ca(t, "dev", top)
	for _, known := range []attest.Known{
		{Anchors: []attest.Anchor{referred(top, "top", true, "up"), grouped(covered, "g")}},
		{Individual: pins("dev", covered, nil), Anchors: []attest.Anchor{verified(top, "top")}},
	} {
		if _, d := decide(t, chain(covered), known); d.Refused() {
			t.Errorf("decision = %v, want acceptance", d.LogValue())
		}
	}
}

// What is said about presented certificates that nobody vouches for is true without a look
// at their signatures.
func TestUnknownChains(t *testing.T) {
	root := ca(t, "Root", nil)
	top := ca(t, "Top", root)
	low := ca(t, "Low", top)
	leaf := device(t, "dev", low)
	key := newKey(t)
	left := caOf(t, "Left", key, &party{cert: &x509.Certificate{RawSubject: nameOf(t, asn1.TagUTF8String, "Right")}, key: key})
	right := caOf(t, "Right", key, left)
	g := attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}}
	falseRoot := ca(t, "Root", nil)
	for _, tt := range []struct {
		name   string
		chain  []*x509.Certificate
		known  attest.Known
		reason dps.Reason
		detail string
	}{
		{"a link in the middle is missing", chain(leaf, low), g, dps.ReasonIssuerMissing, `CN=Low was issued by "CN=Top", which is neither`},
		{
			"nothing is known", chain(leaf, low, top, root),
			attest.Known{},
			dps.ReasonNoEnrollment,
			"no group for a certificate of its chain, which ends at CN=Root",
		},
		{
			"a loop", chain(device(t, "dev", right), right, left), g, dps.ReasonIssuerMissing,
			"the presented certificates name each other as issuers",
		},
		{
			"a root of the known one's name", chain(device(t, "dev", falseRoot), falseRoot), g, dps.ReasonSignature,
			`CN=dev names the issuer "CN=Root", but was signed with another key`,
		},
		{
			"a root of the known one's name above an intermediate",
			chain(device(t, "dev", ca(t, "Low", falseRoot)), ca(t, "Low", falseRoot), falseRoot), g,
			dps.ReasonSignature, `CN=Low names the issuer "CN=Root", but was signed with another key`,
		},
		{
			"the group's root is not uploaded", chain(device(t, "dev", root)),
			attest.Known{Anchors: []attest.Anchor{grouped(root, "g")}},
			dps.ReasonCANotVerified, "which the enrollment group g holds, but which is not uploaded as a CA certificate",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, d := decide(t, tt.chain, tt.known)
			if d.Reason != tt.reason || !strings.Contains(lastCheck(d).Detail, tt.detail) {
				t.Errorf("decision = %v, want %q and %q", d.LogValue(), tt.reason, tt.detail)
			}
		})
	}
}

// extensionOf adds an extension to a template.
func extensionOf(critical bool, value []byte, id ...int) edit {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: value})
	}
}

// otherName is a subject alternative name as IEEE 802.1AR and TPM certificates have it.
func otherName(t testing.TB, critical bool) edit {
	t.Helper()
	value := marshal(t, []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: slices.Concat(
		marshal(t, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4}),
		marshal(t, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: marshal(t, "SN1")}),
	)}})
	return extensionOf(critical, value, 2, 5, 29, 17)
}

// directoryLimit are name constraints on directory names, with the organization Contoso.
func directoryLimit(t testing.TB, critical bool, tag int) edit {
	t.Helper()
	name := marshal(t, pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Contoso"}}})
	base := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}
	subtrees := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: marshal(t, []asn1.RawValue{base})}
	return extensionOf(critical, marshal(t, []asn1.RawValue{subtrees}), 2, 5, 29, 30)
}

// otherNameLimit permits one kind of otherName only, in a way that nobody can check.
func otherNameLimit(t testing.TB) edit {
	t.Helper()
	base := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: slices.Concat(
		marshal(t, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4}),
		marshal(t, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: []byte{5, 0}}),
	)}
	subtrees := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: marshal(t, []asn1.RawValue{base})}
	return extensionOf(true, marshal(t, []asn1.RawValue{subtrees}), 2, 5, 29, 30)
}

func organization(o string) edit {
	return func(c *x509.Certificate) { c.Subject.Organization = []string{o} }
}

func requirePolicy(t testing.TB) edit {
	t.Helper()
	return extensionOf(true, []byte{0x30, 3, 0x80, 1, 0}, 2, 5, 29, 36) // requireExplicitPolicy 0
}

func policy(c *x509.Certificate) {
	id, err := x509.OIDFromInts([]uint64{1, 3, 6, 1, 4, 1, 99999, 7})
	if err != nil {
		panic(err)
	}
	c.Policies = []x509.OID{id}
}

// Rules that certificates carry. PKITS has many more of them: see test/pkits.
func TestRules(t *testing.T) {
	root := ca(t, "Root", nil)
	strict := ca(t, "Strict", root, requirePolicy(t), policy)
	strictRoot := ca(t, "Root", nil, requirePolicy(t))
	strictAnchor := ca(t, "Anchor", root, requirePolicy(t))
	plant := ca(t, "Plant", root, directoryLimit(t, true, 0))
	lax := ca(t, "Lax", root, directoryLimit(t, false, 0))
	barred := ca(t, "Barred", root, directoryLimit(t, true, 1))
	odd := ca(t, "Odd", root, otherNameLimit(t))
	short := ca(t, "Short", root, pathLen(0))
	rolled := caOf(t, "Short", newKey(t), short, pathLen(0)) // self-issued: a new key for the same CA
	under := ca(t, "Under", rolled)
	g := attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}}
	of := func(p *party) attest.Known {
		return attest.Known{Anchors: []attest.Anchor{referred(p, "p", true, "g")}}
	}
	for _, tt := range []struct {
		name   string
		chain  []*x509.Certificate
		known  attest.Known
		reason dps.Reason
		check  string
		detail string
	}{
		{"critical otherName in the leaf", chain(device(t, "dev", root, otherName(t, true))), g, dps.ReasonNone, "signers", ""},
		{"otherName in the leaf", chain(device(t, "dev", root, otherName(t, false))), g, dps.ReasonNone, "signers", ""},
		{"policy required and there", chain(device(t, "dev", strict, policy), strict), g, dps.ReasonNone, "certificate policies", "hold"},
		{
			"policy required and absent", chain(device(t, "dev", strict), strict), g, dps.ReasonChainRule, "certificate policies",
			"requires a certificate policy",
		},
		{
			"policy required by the root and there", chain(device(t, "dev", strictRoot, policy)), of(strictRoot), dps.ReasonNone,
			"certificate policies", "hold",
		},
		{
			"policy required by the root and absent", chain(device(t, "dev", strictRoot)), of(strictRoot), dps.ReasonChainRule,
			"certificate policies", "",
		},
		{
			"policy required by an uploaded intermediate", chain(device(t, "dev", strictAnchor)), of(strictAnchor), dps.ReasonChainRule,
			"certificate policies", "",
		},
		{"within a directory", chain(device(t, "dev", plant, organization("CONTOSO")), plant), g, dps.ReasonNone, "name constraints", "hold"},
		{
			"outside a directory", chain(device(t, "dev", plant, organization("Fabrikam")), plant), g, dps.ReasonChainRule,
			"name constraints", "CN=dev, O=Fabrikam has a directory name outside the name constraints of CN=Plant",
		},
		{
			"not critical, outside", chain(device(t, "dev", lax, organization("Fabrikam")), lax), g, dps.ReasonChainRule,
			"name constraints", "outside",
		},
		{
			"within an excluded directory", chain(device(t, "dev", barred, organization("Contoso")), barred), g, dps.ReasonChainRule,
			"name constraints", "outside",
		},
		{"outside an excluded directory", chain(device(t, "dev", barred), barred), g, dps.ReasonNone, "name constraints", "hold"},
		{
			"a form that cannot be checked", chain(device(t, "dev", odd, otherName(t, false)), odd), g, dps.ReasonChainRule,
			"name constraints", "otherName, whose constraints are not supported",
		},
		{"that form is not there", chain(device(t, "dev", odd), odd), g, dps.ReasonNone, "name constraints", "hold"},
		{"self-issued CA below pathlen 0", chain(device(t, "dev", rolled), rolled, short), g, dps.ReasonNone, "signers", ""},
		{
			"another CA below it", chain(device(t, "dev", under), under, rolled, short), g, dps.ReasonNotCA, "signer is a CA",
			"CN=Short allows 0 CAs below it, the chain has 1",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, d := decide(t, tt.chain, tt.known)
			if last := lastCheck(d); d.Reason != tt.reason || last.Name != tt.check || !strings.Contains(last.Detail, tt.detail) {
				t.Errorf("decision = %v, want %q, %s and %q", d.LogValue(), tt.reason, tt.check, tt.detail)
			}
		})
	}
}
