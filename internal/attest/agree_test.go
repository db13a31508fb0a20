package attest_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// forest is a random PKI: several roots and CAs, some with several certificates, and what
// its certificates get wrong.
type forest struct {
	t     testing.TB
	rand  *rand.Rand
	keys  []crypto.Signer
	roots []*party
	cas   []*party // below the roots, in the order in which they were issued
}

var policyA, policyB = mustOID(1, 3, 6, 1, 4, 1, 99999, 1), mustOID(1, 3, 6, 1, 4, 1, 99999, 2)

func mustOID(arcs ...uint64) x509.OID {
	id, err := x509.OIDFromInts(arcs)
	if err != nil {
		panic(err)
	}
	return id
}

func (f *forest) chance(percent int) bool { return f.rand.IntN(100) < percent }

// flaws returns what is wrong or restricted with one certificate, mostly nothing.
func (f *forest) flaws(isCA bool) []edit {
	var edits []edit
	add := func(percent int, e edit) {
		if f.chance(percent) {
			edits = append(edits, e)
		}
	}
	add(4, expired)
	add(4, notYetValid)
	add(60, func(c *x509.Certificate) { c.Policies = []x509.OID{policyA} })
	add(10, func(c *x509.Certificate) { c.Policies = []x509.OID{policyB} })
	if !isCA {
		add(50, func(c *x509.Certificate) {
			c.DNSNames = []string{[]string{"a.example", "x.a.example", "b.example"}[f.rand.IntN(3)]}
		})
		return edits
	}
	add(4, noCertSign)
	if f.chance(4) {
		edits = append(edits, notCA)
	} else {
		add(15, pathLen(f.rand.IntN(3)))
	}
	add(12, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"a.example"} })
	add(12, func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"x.a.example"} })
	if f.chance(12) {
		value := []byte{0x30, 3, 0x80, 1, byte(f.rand.IntN(3))} // policyConstraints: requireExplicitPolicy
		edits = append(edits, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 36}, Critical: true, Value: value})
		})
	}
	return edits
}

func newForest(t testing.TB, r *rand.Rand, keys []crypto.Signer) *forest {
	f := &forest{t: t, rand: r, keys: keys}
	for i := range 2 {
		f.roots = append(f.roots, caOf(t, fmt.Sprintf("Root %d", i), keys[i], nil))
	}
	for range 6 {
		i := 2 + f.rand.IntN(4) // fewer names than certificates: some CAs have several
		f.cas = append(f.cas, caOf(t, fmt.Sprintf("CA %d", i), keys[i], f.signer(), f.flaws(true)...))
	}
	return f
}

func (f *forest) signer() *party {
	if n := f.rand.IntN(len(f.cas) + len(f.roots)); n < len(f.cas) {
		return f.cas[n]
	}
	return f.roots[f.rand.IntN(len(f.roots))]
}

// presented is what a device shows: its certificate, and some CAs in random order.
func (f *forest) presented(leaf *party) []*x509.Certificate {
	shown := []*x509.Certificate{leaf.cert}
	for _, i := range f.rand.Perm(len(f.cas)) {
		if f.chance(85) {
			shown = append(shown, f.cas[i].cert)
		}
	}
	for _, r := range f.roots {
		if f.chance(30) {
			shown = append(shown, r.cert)
		}
	}
	return shown
}

// byLibrary reports whether crypto/x509 finds a chain to a root.
func byLibrary(shown []*x509.Certificate, roots ...*party) bool {
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range shown[1:] {
		o.Intermediates.AddCert(c)
	}
	for _, r := range roots {
		o.Roots.AddCert(r.cert)
	}
	_, err := shown[0].Verify(o)
	return err == nil
}

// Where crypto/x509 applies, it and this package accept the same chains: no rule is left
// out, and no device is refused without need.
func TestAgreesWithTheLibrary(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the seed is told
	var keys []crypto.Signer
	for range 7 {
		keys = append(keys, newKey(t))
	}
	accepted, total := 0, 60*forests
	for range forests {
		f := newForest(t, r, keys)
		for range 60 {
			leaf := sign(t, "dev", keys[6], f.signer(), f.flaws(false)...)
			shown := f.presented(leaf)
			trusted := f.roots[:1+r.IntN(2)]
			var known attest.Known
			for i, root := range trusted {
				known.Anchors = append(known.Anchors, referred(root, dps.CAName(fmt.Sprintf("root-%d", i)), true, fmt.Sprintf("g%d", i)))
			}
			want := byLibrary(shown, trusted...)
			if want {
				accepted++
			}
			_, d := decide(t, shown, known)
			if got := !d.Refused(); got != want {
				t.Errorf("seed %d: accepted = %v, crypto/x509 says %v: %v", seed, got, want, d.LogValue())
			}
		}
	}
	if accepted < total/10 || accepted > total*9/10 {
		t.Errorf("%d of %d chains are good: the test shows little", accepted, total)
	}
	t.Logf("%d of %d chains were accepted", accepted, total)
}

// forests is how many PKIs are made; each signs 60 devices.
const forests = 15
