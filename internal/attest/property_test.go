package attest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// tower is a root, the intermediates under it (the one next to the leaf last) and a
// device under those.
type tower struct {
	root    *party
	between []*party
	leaf    *party
}

func drawTower(rt *rapid.T, t testing.TB) tower {
	w := tower{root: ca(t, "Root", nil)}
	signer := w.root
	sameNames, keyIDs, most := rapid.Bool().Draw(rt, "same names"), rapid.Bool().Draw(rt, "key IDs"), 8
	if sameNames && !keyIDs {
		most = 3 // nothing tells them apart, and the tries are bounded
	}
	for i := range rapid.IntRange(0, most).Draw(rt, "depth") {
		name := fmt.Sprintf("CA %d", i)
		if sameNames {
			name = "CA"
		}
		issuer := signer
		signer = ca(t, name, issuer, func(c *x509.Certificate) {
			if keyIDs { // else CreateCertificate leaves the issuer's out where issuer and subject are equal
				c.AuthorityKeyId = issuer.cert.SubjectKeyId
			}
		})
		w.between = append(w.between, signer)
	}
	w.leaf = device(t, "dev", signer)
	return w
}

// known returns what is stored when the group is on the CA at position group: 0 is
// the root, then the intermediates downwards.
func (w tower) known(group int) attest.Known {
	if group == 0 {
		return attest.Known{Anchors: []attest.Anchor{referred(w.root, "root", true, "g")}}
	}
	return attest.Known{Anchors: []attest.Anchor{verified(w.root, "root"), grouped(w.between[group-1], "g")}}
}

// presented returns leaf and intermediates in random order, the leaf first.
func (w tower) presented(rt *rapid.T) []*x509.Certificate {
	return append(chain(w.leaf), rapid.Permutation(chain(w.between...)).Draw(rt, "order")...)
}

func TestAnyChainIsAccepted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawTower(rt, t)
		group := rapid.IntRange(0, len(w.between)).Draw(rt, "group")
		ref, d := decide(t, w.presented(rt), w.known(group))
		if d.Refused() || ref != groupRef("g") {
			rt.Fatalf("decided by %v: %v", ref, d.LogValue())
		}
	})
}

func TestAnyBrokenChainIsRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawTower(rt, t)
		group := rapid.IntRange(0, len(w.between)).Draw(rt, "group")
		presented, known := w.presented(rt), w.known(group)
		// What is stored is not needed from the device: leave that whole.
		needed := slices.DeleteFunc(slices.Clone(presented), func(c *x509.Certificate) bool {
			return slices.ContainsFunc(known.Anchors, func(a attest.Anchor) bool { return a.Certificate.Equal(c) })
		})
		victim := rapid.SampledFrom(needed).Draw(rt, "victim")
		i := slices.Index(presented, victim)
		if i > 0 && rapid.Bool().Draw(rt, "drop") {
			presented = slices.Delete(presented, i, i+1)
		} else {
			presented[i] = flipSignature(rt, t, victim)
		}
		if ref, d := decide(t, presented, known); !d.Refused() {
			rt.Fatalf("accepted by %v: %v", ref, d.LogValue())
		}
	})
}

// flipSignature returns c with one bit of its signature, which ends the DER, changed.
func flipSignature(rt *rapid.T, t testing.TB, c *x509.Certificate) *x509.Certificate {
	der := slices.Clone(c.Raw)
	at := rapid.IntRange(1, len(c.Signature)).Draw(rt, "byte from the end")
	der[len(der)-at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
	return parse(t, der)
}

// countingCurve is P-256 that counts its use: one ScalarBaseMult is one signature
// checked.
type countingCurve struct {
	elliptic.Curve
	checks *int
}

// slowParams are those of P-256 at another address, which crypto/ecdsa takes for an
// unknown curve.
var slowParams = *elliptic.P256().Params()

func (countingCurve) Params() *elliptic.CurveParams { return &slowParams }

func (c countingCurve) ScalarBaseMult(k []byte) (x, y *big.Int) {
	*c.checks++
	return c.Curve.ScalarBaseMult(k) //nolint:staticcheck // to count
}

// counted returns certs with keys that count.
func counted(t testing.TB, certs []*x509.Certificate, checks *int) []*x509.Certificate {
	t.Helper()
	for _, c := range certs {
		pub, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok {
			t.Fatalf("key of type %T", c.PublicKey)
		}
		c.PublicKey = &ecdsa.PublicKey{Curve: countingCurve{pub.Curve, checks}, X: pub.X, Y: pub.Y} //nolint:staticcheck // to count
	}
	return certs
}

func TestSignatureChecksOfAnHonestChain(t *testing.T) {
	w := tower{root: ca(t, "Root", nil)}
	top := ca(t, "Top", w.root)
	w.between = []*party{top, ca(t, "Low", top)}
	w.leaf = device(t, "dev", w.between[1])
	checks := 0
	certs := counted(t, chain(w.leaf, w.between[1], top, w.root), &checks)
	known := attest.Known{Anchors: []attest.Anchor{grouped(w.between[1], "low"), referred(w.root, "root", true, "all")}}
	if _, d := decide(t, certs, known); d.Refused() || checks != 3 {
		t.Errorf("%d signatures checked, want one for each of 3 links: %v", checks, d.LogValue())
	}
}

// TestManyNamesakes has a hundred enrolled CAs of one name: what one device costs
// does not grow with them, and it finds its own.
func TestManyNamesakes(t *testing.T) {
	root := ca(t, "Root", nil)
	known := attest.Known{}
	var mine *party
	for i := range 100 {
		mine = ca(t, "Plant", root)
		known.Anchors = append(known.Anchors, grouped(mine, fmt.Sprintf("plant-%d", i)))
	}
	known.Anchors = append(known.Anchors, verified(root, "root"))
	leaf, checks := device(t, "dev", mine), 0
	for _, a := range known.Anchors {
		counted(t, []*x509.Certificate{a.Certificate}, &checks)
	}
	ref, d := decide(t, chain(leaf), known)
	if d.Refused() || ref != groupRef("plant-99") || checks != 2 {
		t.Errorf("decided by %v after %d signatures: %v; want plant-99 after 2", ref, checks, d.LogValue())
	}
}

// TestWorkIsBounded presents ten certificates of one name that all could have
// signed each other, so that the ways through them are countless.
func TestWorkIsBounded(t *testing.T) {
	const bound = 8
	for same := 0; same <= 9; same++ {
		t.Run(fmt.Sprintf("%d of one key", same), func(t *testing.T) {
			key, checks := newKey(t), 0
			certs := chain(caOf(t, "dev", key, nil))
			for i := range 9 {
				signer := key
				if i >= same {
					signer = newKey(t)
				}
				certs = append(certs, sign(t, "dev", signer, nil, noKeyIDs).cert)
			}
			counted(t, certs, &checks)
			for order := range 4 {
				checks = 0
				slices.Reverse(certs[1+order:])
				known := attest.Known{
					Anchors: []attest.Anchor{{Anchor: dps.Anchor{CA: "x", Verified: true, Group: "g"}, Certificate: ca(t, "dev", nil).cert}},
				}
				_, d := decide(t, certs, known)
				if !d.Refused() || checks > bound {
					t.Errorf("%d signatures checked, at most %d wanted: %v", checks, bound, d.LogValue())
				}
			}
		})
	}
}
