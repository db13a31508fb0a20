package attest_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// provedBy returns what the check of the proof of possession says.
func provedBy(d *dps.Decision) string {
	for _, c := range d.Checks {
		if c.Name == "proof of possession" {
			return c.Detail
		}
	}
	return ""
}

// TestFirstWayThatHolds holds that the walk ends at the first way that holds, and goes on past
// those that do not.
func TestFirstWayThatHolds(t *testing.T) {
	key, lowKey := newKey(t), newKey(t)
	first, second := caOf(t, "Root", key, nil), caOf(t, "Root", key, nil)
	late, early := caOf(t, "Root", key, nil, expired), caOf(t, "Root", key, nil, notYetValid)
	leaf := device(t, "dev", first)
	both := func(a, b *party) attest.Known {
		return attest.Known{Anchors: []attest.Anchor{referred(a, "a", true, "g"), referred(b, "b", true, "g")}}
	}
	for _, tt := range []struct {
		name   string
		known  attest.Known
		reason dps.Reason
		by     string
	}{
		{"both hold", both(first, second), dps.ReasonNone, "CA certificate a is verified"},
		{"the first has expired", both(late, second), dps.ReasonNone, "CA certificate b is verified"},
		{"the second has expired", both(first, late), dps.ReasonNone, "CA certificate a is verified"},
		{"neither holds", both(late, early), dps.ReasonSignerExpired, "CA certificate a is verified"},
		{"neither holds, in the other order", both(early, late), dps.ReasonSignerNotYetValid, "CA certificate a is verified"},
	} {
		if _, d := decide(t, chain(leaf), tt.known); d.Reason != tt.reason || provedBy(d) != tt.by {
			t.Errorf("%s: %v, want %q by %q", tt.name, d.LogValue(), tt.reason, tt.by)
		}
	}

	x, y := ca(t, "X", nil), ca(t, "Y", nil)
	lowX, lowY := caOf(t, "Low", lowKey, x), caOf(t, "Low", lowKey, y)
	dev := device(t, "dev", lowX)
	for name, order := range map[string][]*party{"dead end first": {dev, lowX, lowY}, "dead end last": {dev, lowY, lowX}} {
		_, d := decide(t, chain(order...), attest.Known{
			Individual: pins("dev", dev, nil), Anchors: []attest.Anchor{uploaded(x, "x"), verified(y, "y")},
		})
		if d.Refused() || provedBy(d) != "CA certificate y is verified" {
			t.Errorf("%s: %v", name, d.LogValue())
		}
	}
}

// TestFirstOfTwoLongWays is TestFirstWayThatHolds where the ways part below their ends.
func TestFirstOfTwoLongWays(t *testing.T) {
	key := newKey(t)
	x, y := ca(t, "X", nil), ca(t, "Y", nil)
	lowX, lowY := caOf(t, "Low", key, x), caOf(t, "Low", key, y)
	dev := device(t, "dev", lowX)
	known := attest.Known{Individual: pins("dev", dev, nil), Anchors: []attest.Anchor{verified(x, "x"), verified(y, "y")}}
	for by, order := range map[string][]*party{"x": {dev, lowX, lowY}, "y": {dev, lowY, lowX}} {
		if _, d := decide(t, chain(order...), known); d.Refused() || provedBy(d) != "CA certificate "+by+" is verified" {
			t.Errorf("%v, want the way to %s", d.LogValue(), by)
		}
	}
}

// TestNamesakeOfTheSigner holds that of two stored CAs of one name only the one that signed is
// above what it signed, whichever of them is good enough.
func TestNamesakeOfTheSigner(t *testing.T) {
	signer, namesake := ca(t, "Root", nil), ca(t, "Root", nil)
	leaf := device(t, "dev", signer)
	low := ca(t, "Low", signer)
	below := device(t, "dev", low)
	for name, presented := range map[string][]*x509.Certificate{"of a device": chain(leaf), "of an intermediate": chain(below, low)} {
		for _, anchors := range [][]attest.Anchor{
			{uploaded(signer, "signer"), referred(namesake, "namesake", true, "g")},
			{referred(namesake, "namesake", true, "g"), uploaded(signer, "signer")},
		} {
			if _, d := decide(t, presented, attest.Known{Anchors: anchors}); !d.Refused() {
				t.Errorf("the namesake of the signer %s: %v", name, d.LogValue())
			}
		}
	}
}

// TestFurthestDeadEnd holds which of several ways that end nowhere is explained: the one that
// led furthest, and of those the first.
func TestFurthestDeadEnd(t *testing.T) {
	key := newKey(t)
	x, y, z := ca(t, "X", nil), ca(t, "Y", nil), ca(t, "Z", nil)
	lowX, lowY := caOf(t, "Low", key, x), caOf(t, "Low", key, y)
	middle := ca(t, "Middle", z)
	lowZ := caOf(t, "Low", key, middle)
	dev := device(t, "dev", lowX)
	known := attest.Known{
		Individual: pins("dev", dev, nil),
		Anchors:    []attest.Anchor{uploaded(x, "x"), uploaded(y, "y"), uploaded(z, "z")},
	}
	for _, tt := range []struct {
		name  string
		chain []*x509.Certificate
		want  string
	}{
		{"one way", chain(dev, lowX), "CA certificate x is uploaded"},
		{"two of a length", chain(dev, lowX, lowY), "CA certificate x is uploaded"},
		{"two of a length, the other first", chain(dev, lowY, lowX), "CA certificate y is uploaded"},
		{"the longer one last", chain(dev, lowX, lowZ, middle), "CA certificate z is uploaded"},
		{"the longer one first", chain(dev, lowZ, middle, lowX), "CA certificate z is uploaded"},
	} {
		if _, d := decide(t, tt.chain, known); !strings.HasPrefix(lastCheck(d).Detail, tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, d.LogValue(), tt.want)
		}
	}
}

// TestWhatLinksRemember holds what is remembered of a signature: what held of a CA certificate,
// what did not hold of any, and nothing of those that could not be verified.
func TestWhatLinksRemember(t *testing.T) {
	root := ca(t, "Root", nil)
	low, leaf := ca(t, "Low", root), device(t, "dev", root)
	other, weak := ca(t, "Root", nil), withSHA1(t, low, root)
	for _, tt := range []struct {
		name           string
		child, signer  *party
		holds          bool
		held, failures int
	}{
		{"a CA certificate", low, root, true, 1, 0},
		{"a device certificate", leaf, root, true, 0, 0},
		{"another key", low, other, false, 0, 1},
		{"another key, of a device", leaf, other, false, 0, 1},
		{"an algorithm that proves nothing", weak, root, false, 0, 0},
	} {
		links := &attest.Links{}
		for range 2 {
			if err := links.Check(tt.child.cert, tt.signer.cert); (err == nil) != tt.holds {
				t.Errorf("%s: %v", tt.name, err)
			}
			if links.Len() != tt.held || links.Failures() != tt.failures {
				t.Errorf("%s: %d that hold and %d that do not are remembered, want %d and %d",
					tt.name, links.Len(), links.Failures(), tt.held, tt.failures)
			}
		}
	}
}

// TestLinksInUseStay holds that what is in use outlives what is not, at the exact bound.
func TestLinksInUseStay(t *testing.T) {
	root := ca(t, "Root", nil)
	low := ca(t, "Low", root)
	links := &attest.Links{}
	must := func() {
		t.Helper()
		if err := links.Check(low.cert, root.cert); err != nil {
			t.Fatal(err)
		}
	}
	must()
	for i := range attest.MaxLinks { // fills the first half, and begins the second
		links.Remember(i)
	}
	if n := links.Len(); n != attest.MaxLinks+1 {
		t.Fatalf("%d links are remembered, want %d", n, attest.MaxLinks+1)
	}
	must() // in use: it moves to the half that is younger
	if n := links.Len(); n != attest.MaxLinks+2 {
		t.Errorf("%d links are remembered, want %d: one is in both halves", n, attest.MaxLinks+2)
	}
	for i := range attest.MaxLinks - 1 {
		links.Remember(attest.MaxLinks + i)
	}
	if n := links.Len(); n != attest.MaxLinks+1 {
		t.Errorf("%d links are remembered, want %d: the older half is gone", n, attest.MaxLinks+1)
	}
}

// TestLongestChain holds that as many certificates as allowed are accepted, and counted.
func TestLongestChain(t *testing.T) {
	self := device(t, "dev", nil)
	_, d := decide(t, slices.Repeat(chain(self), attest.MaxChain), attest.Known{Individual: pins("dev", self, nil)})
	if d.Refused() || d.Checks[0].Detail != "10 certificates presented" {
		t.Errorf("decision = %v", d.LogValue())
	}
}

// TestRulesThatAreThere holds that only rules that a chain has are said to hold.
func TestRulesThatAreThere(t *testing.T) {
	limited, strict := ca(t, "Root", nil, permittedMail("x.example")), ca(t, "Root", nil, requirePolicy(t))
	for name, tt := range map[string]struct {
		root *party
		want string
	}{
		"neither":     {ca(t, "Root", nil), "signers"},
		"constraints": {limited, "signers, name constraints"},
		"policies":    {strict, "signers, certificate policies"},
	} {
		leaf := device(t, "dev", tt.root, policy)
		_, d := decide(t, chain(leaf), attest.Known{Anchors: []attest.Anchor{referred(tt.root, "root", true, "g")}})
		if got := strings.Join(checkNames(d), ", "); d.Refused() || !strings.HasSuffix(got, ", "+tt.want) {
			t.Errorf("%s: checks %s, want %s at the end", name, got, tt.want)
		}
	}
}

// TestAnchorOfAStoredCertificate holds that a stored certificate is read once, and that what is
// none is an error.
func TestAnchorOfAStoredCertificate(t *testing.T) {
	root := ca(t, "Root", nil)
	stored := dps.Anchor{CA: "root", Verified: true, Group: "g", Certificate: dps.Certificate{DER: root.cert.Raw}}
	a, err := attest.NewAnchor(stored)
	if err != nil || !a.Certificate.Equal(root.cert) || a.CA != "root" || a.Subject() != dps.NameKey(root.cert.RawSubject) {
		t.Errorf("anchor = %+v, %v", a, err)
	}
	if _, d := decide(t, chain(device(t, "dev", root)), attest.Known{Anchors: []attest.Anchor{a}}); d.Refused() {
		t.Errorf("decision = %v", d.LogValue())
	}
	stored.Certificate.DER = stored.Certificate.DER[1:]
	if _, err := attest.NewAnchor(stored); err == nil {
		t.Error("a broken certificate is an anchor")
	}
}
