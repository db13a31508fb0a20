package attest_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
)

func TestAccepted(t *testing.T) {
	root, other := ca(t, "Root", nil), ca(t, "Other", nil)
	top := ca(t, "Top", root, pathLen(1))
	low := ca(t, "Low", top, pathLen(0))
	leaf := device(t, "dev", low)
	self, second := device(t, "dev", nil), device(t, "Dev", nil)
	groupOwner := groupRef("g")
	bare := caOf(t, "Bare", newKey(t), root, noKeyIDs, func(c *x509.Certificate) { c.KeyUsage = 0 })

	g, individual := groupRef("g"), individualRef("dev")
	under := func(anchors ...attest.Anchor) attest.Known { return attest.Known{Anchors: anchors} }
	single := func(e *dps.Enrollment, anchors ...attest.Anchor) attest.Known {
		return attest.Known{Individual: e, Anchors: anchors}
	}
	tests := []struct {
		name  string
		chain []*x509.Certificate
		known attest.Known
		want  dps.EntryRef
	}{
		{"individual, primary", chain(self), single(pins("dev", self, second)), individual},
		{"individual, secondary", chain(second), single(pins("dev", self, second)), individual},
		{"individual, secondary alone", chain(second), single(pins("dev", nil, second)), individual},
		{"common name in other case", chain(second), single(pins("dev", second, nil)), individual},
		{"individual's leaf under a verified CA", chain(leaf, low, top), single(pins("dev", leaf, nil), verified(root, "root")), individual},
		{"individual's leaf under its verified issuer", chain(leaf), single(pins("dev", leaf, nil), verified(low, "low")), individual},
		{"individual by reference", chain(leaf, low, top), single(names("ROOT", ""), verified(root, "root")), individual},
		{
			"individual by second reference", chain(leaf, low, top),
			single(names("other", "root"), verified(root, "root"), verified(other, "other")), individual,
		},
		{
			"individual before groups", chain(leaf, low, top),
			single(names("root", ""), referred(root, "root", true, "r"), grouped(low, "l")), individual,
		},
		{"group on the root", chain(leaf, low, top), under(referred(root, "root", true, "g")), g},
		{
			"group by signing certificate of a verified root", chain(leaf, low, top),
			under(anchor(root, dps.Anchor{CA: "root", Verified: true, Group: "g"})), g,
		},
		{"group on the upper intermediate", chain(leaf, low, top), under(grouped(top, "g"), verified(root, "root")), g},
		{"group on the lower intermediate", chain(leaf, low, top), under(grouped(low, "g"), verified(root, "root")), g},
		{"group on a verified intermediate, no root", chain(leaf, low), under(referred(low, "low", true, "g")), g},
		{"group's intermediate not presented", chain(leaf, low), under(grouped(top, "g"), verified(root, "root")), g},
		{"nothing but the leaf presented", chain(leaf), under(grouped(low, "g"), uploaded(top, "top"), verified(root, "root")), g},
		{"root presented too", chain(leaf, low, top, root), under(referred(root, "root", true, "g")), g},
		{"leaf presented twice", chain(leaf, leaf, low, top, low), under(referred(root, "root", true, "g")), g},
		{"shuffled with strangers", chain(leaf, other, top, self, root, low), under(referred(root, "root", true, "g")), g},
		{"nearest group wins", chain(leaf, low, top), under(referred(root, "root", true, "r"), grouped(top, "t"), grouped(low, "g")), g},
		{"nearest group wins, unverified reference", chain(leaf, low, top), under(verified(root, "root"), referred(low, "low", false, "g")), g},
		{"verified below and above the group", chain(leaf), under(verified(low, "low"), grouped(top, "g"), verified(root, "root")), g},
		{"signer without key identifiers and keyUsage", chain(device(t, "dev", bare), bare), under(referred(root, "root", true, "g")), g},
		{
			"namesakes beside the signer", chain(leaf, ca(t, "Low", nil), low, ca(t, "Top", other), top),
			under(referred(ca(t, "Root", nil), "false", true, "f"), referred(root, "root", true, "g")), g,
		},
		{
			"leaf known to a group", chain(leaf, low, top),
			attest.Known{LeafOwner: &groupOwner, Anchors: []attest.Anchor{referred(root, "root", true, "g")}},
			g,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref, d := decide(t, tt.chain, tt.known)
			if d.Refused() || ref != tt.want {
				t.Errorf("decided by %v: %v; want acceptance by %v", ref, d.LogValue(), tt.want)
			}
		})
	}
}

func TestChecksOfASuccess(t *testing.T) {
	root := ca(t, "Root", nil)
	low := ca(t, "Low", root)
	leaf, self := device(t, "dev", low), device(t, "dev", nil)
	climbed := []string{"signatures", "proof of possession", "validity of leaf", "validity of signer", "validity of signer", "signers"}
	anchors := []attest.Anchor{referred(root, "root", true, "all"), grouped(low, "low")}
	tests := []struct {
		name  string
		chain []*x509.Certificate
		known attest.Known
		want  []string
	}{
		{
			"self-signed", chain(self),
			attest.Known{Individual: pins("dev", self, nil)},
			[]string{"chain length", "common name", "enrollment", "enrolled certificate", "validity of leaf", "signature", "enrollment enabled"},
		},
		{
			"group", chain(leaf, low),
			attest.Known{Anchors: anchors},
			slices.Concat([]string{"chain length", "common name", "enrollment"}, climbed, []string{"enrollment enabled"}),
		},
		{
			"individual by reference, in the house of a group", chain(leaf, low),
			attest.Known{Individual: names("root", ""), Anchors: anchors},
			slices.Concat([]string{"chain length", "common name", "enrollment"}, climbed, []string{"enrollment enabled"}),
		},
		{
			"individual's leaf", chain(leaf, low),
			attest.Known{Individual: pins("dev", leaf, nil), Anchors: anchors},
			slices.Concat([]string{"chain length", "common name", "enrollment", "enrolled certificate"}, climbed, []string{"enrollment enabled"}),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref, d := decide(t, tt.chain, tt.known)
			if !attest.Enabled(d, dps.Enrollment{Ref: ref, Status: dps.StatusEnabled}) {
				t.Errorf("Enabled = false: %v", d.LogValue())
			}
			wellFormed(t, d)
			if diff := cmp.Diff(tt.want, checkNames(d)); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCrossSigned gives one intermediate key two certificates, of which one leads
// nowhere good.
func TestCrossSigned(t *testing.T) {
	key := newKey(t)
	good, dead, stale := ca(t, "Good", nil), ca(t, "Dead", nil), ca(t, "Stale", nil, expired)
	alive := caOf(t, "Low", key, good)
	strict := ca(t, "Strict", nil, pathLen(0))
	anchors := []attest.Anchor{referred(good, "good", true, "g")}
	tests := []struct {
		name  string
		other *party
		extra []attest.Anchor
	}{
		{"unknown root", caOf(t, "Low", key, dead), nil},
		{"unverified root", caOf(t, "Low", key, dead), []attest.Anchor{referred(dead, "dead", false, "g")}},
		{"expired root", caOf(t, "Low", key, stale), []attest.Anchor{referred(stale, "stale", true, "g")}},
		{"expired cross-certificate", caOf(t, "Low", key, good, expired), nil},
		{"cross-certificate that is no CA", caOf(t, "Low", key, good, notCA, noCertSign), nil},
		{"root that allows no intermediate", caOf(t, "Low", key, strict), []attest.Anchor{referred(strict, "strict", true, "g")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leaf := device(t, "dev", alive)
			known := attest.Known{Anchors: append(slices.Clone(tt.extra), anchors...)}
			for _, presented := range [][]*x509.Certificate{chain(leaf, alive, tt.other), chain(leaf, tt.other, alive)} {
				if ref, d := decide(t, presented, known); d.Refused() || ref != groupRef("g") {
					t.Errorf("decided by %v: %v; want acceptance", ref, d.LogValue())
				}
			}
			if _, d := decide(t, chain(leaf, tt.other), known); !d.Refused() {
				t.Errorf("accepted by the dead path alone: %v", d.LogValue())
			}
		})
	}
}

// TestRenewedSigningCertificate has both certificates of one CA key in one group, as
// when a CA certificate is being rolled.
func TestRenewedSigningCertificate(t *testing.T) {
	key, root := newKey(t), ca(t, "Root", nil)
	old, renewed := caOf(t, "Low", key, root, expired), caOf(t, "Low", key, root)
	leaf := device(t, "dev", renewed)
	for _, anchors := range [][]attest.Anchor{
		{grouped(old, "g"), grouped(renewed, "g"), verified(root, "root")},
		{grouped(renewed, "g"), grouped(old, "g"), verified(root, "root")},
		{referred(old, "old", true, "g"), referred(renewed, "new", true, "g")},
	} {
		if ref, d := decide(t, chain(leaf), attest.Known{Anchors: anchors}); d.Refused() || ref != groupRef("g") {
			t.Errorf("decided by %v: %v; want acceptance", ref, d.LogValue())
		}
	}
}

// TestGroupsDoNotBindIndividuals has a group's certificate on a way that leads
// nowhere: it decides for nobody who has an enrollment of his own.
func TestGroupsDoNotBindIndividuals(t *testing.T) {
	key, good, dead := newKey(t), ca(t, "Good", nil), ca(t, "Dead", nil)
	alive, lost := caOf(t, "Low", key, good), caOf(t, "Low", key, dead)
	leaf := device(t, "dev", alive)
	known := attest.Known{Individual: names("good", ""), Anchors: []attest.Anchor{grouped(lost, "g"), verified(good, "good")}}
	if ref, d := decide(t, chain(leaf, alive), known); d.Refused() || ref != individualRef("dev") {
		t.Errorf("decided by %v: %v; want acceptance by the individual enrollment", ref, d.LogValue())
	}
	_, d := decide(t, chain(leaf, lost), known)
	for _, c := range d.Checks {
		if c.Name == "enrollment" && c.Detail != "individual enrollment dev" {
			t.Errorf("check %v, want none on a group", c)
		}
	}
}

func TestKeyTypes(t *testing.T) {
	for _, kind := range []pki.KeyType{pki.P256, pki.P384, pki.RSA2048} {
		t.Run(string(kind), func(t *testing.T) {
			root := issue(t, pki.Request{Kind: pki.Root, CommonName: "Root", KeyType: kind})
			low := issue(t, pki.Request{Kind: pki.Intermediate, CommonName: "Low", KeyType: kind, Issuer: root.Issuer()})
			leaf := issue(t, pki.Request{Kind: pki.Device, CommonName: "dev", KeyType: kind, Issuer: low.Issuer()})
			known := attest.Known{Anchors: []attest.Anchor{referred(&party{cert: root.Certificate}, "root", true, "g")}}
			_, d := attest.X509(attest.X509Evidence{ID: "dev", Chain: leaf.Chain}, known, time.Now())
			if wellFormed(t, d); d.Refused() {
				t.Errorf("decision = %v", d.LogValue())
			}
		})
	}
	t.Run("Ed25519", func(t *testing.T) {
		edKey := func() ed25519.PrivateKey {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return key
		}
		root := caOf(t, "Root", edKey(), nil)
		leaf := sign(t, "dev", edKey(), root)
		if _, d := decide(t, chain(leaf), attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}}); d.Refused() {
			t.Errorf("decision = %v", d.LogValue())
		}
	})
}

func issue(t *testing.T, r pki.Request) *pki.Issued {
	t.Helper()
	issued, err := pki.Issue(r)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func TestEnabled(t *testing.T) {
	for _, tt := range []struct {
		status dps.ProvisioningStatus
		want   bool
	}{{dps.StatusEnabled, true}, {dps.StatusNull, true}, {"", true}, {dps.StatusDisabled, false}} {
		d := &dps.Decision{}
		if got := attest.Enabled(d, dps.Enrollment{Ref: groupRef("g"), Status: tt.status}); got != tt.want || d.Refused() == tt.want {
			t.Errorf("Enabled(%q) = %v: %v, want %v", tt.status, got, d.LogValue(), tt.want)
		}
		if wellFormed(t, d); !tt.want && (d.Reason != dps.ReasonDisabled || d.Answer != unauthorized) {
			t.Errorf("refusal = %v, answer %q", d.LogValue(), d.Answer)
		}
	}
}

func TestNoEvidence(t *testing.T) {
	d := &dps.Decision{}
	attest.NoEvidence(d)
	if wellFormed(t, d); d.Reason != dps.ReasonNoEvidence || d.Answer != unauthorized {
		t.Errorf("refusal = %v, answer %q", d.LogValue(), d.Answer)
	}
}

func TestSameProof(t *testing.T) {
	for _, tt := range []struct {
		shown, registered string
		want              dps.Reason
	}{
		{"AA", "AA", dps.ReasonNone},
		{"AA", "BB", dps.ReasonOperationOwner},
		{"", "BB", dps.ReasonOperationOwner},
		{"", "", dps.ReasonOperationOwner},
	} {
		d := attest.SameProof(tt.shown, tt.registered)
		if wellFormed(t, d); d.Reason != tt.want {
			t.Errorf("SameProof(%q, %q) = %v, want %q", tt.shown, tt.registered, d.LogValue(), tt.want)
		}
	}
}
