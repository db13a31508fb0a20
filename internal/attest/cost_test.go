package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"testing"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// hugeKey has a public key of 8192 bits, which takes 30 times as long to verify with as
// one of 2048, and signs nothing.
type hugeKey struct{ rsa.PublicKey }

func (k hugeKey) Public() crypto.PublicKey { return &k.PublicKey }

func (hugeKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return make([]byte, 1024), nil
}

func newHugeKey(t testing.TB) hugeKey {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 8191))
	if err != nil {
		t.Fatal(err)
	}
	n.SetBit(n.SetBit(n, 8191, 1), 0, 1)
	return hugeKey{rsa.PublicKey{N: n, E: 65537}}
}

// useless is a CA certificate with a huge key and a signature that is none.
func useless(t testing.TB, subject, issuer string) *party {
	t.Helper()
	key := newHugeKey(t)
	return rawCert{
		subject: nameOf(t, 12, subject), issuer: nameOf(t, 12, issuer), key: key.Public(), algorithm: ecdsaSHA256(),
		extensions: caExtensions(t), sign: func([]byte) []byte { return make([]byte, 64) },
	}.build(t, key)
}

// strangersKey is a key that reports when it is used.
type strangersKey struct {
	countingCurve
	t testing.TB
}

func (k strangersKey) ScalarBaseMult(b []byte) (x, y *big.Int) {
	k.t.Error("a signature was verified with a key that a stranger chose")
	return k.countingCurve.ScalarBaseMult(b)
}

// TestStrangersKeysAreNotUsed presents signers that no known CA signed, in every way in
// which their names fit.
func TestStrangersKeysAreNotUsed(t *testing.T) {
	root := ca(t, "Root", nil)
	rootChecks := 0
	counted(t, []*x509.Certificate{root.cert}, &rootChecks)
	known := attest.Known{Links: &attest.Links{}, Anchors: []attest.Anchor{referred(root, "root", true, "g")}}
	for name, names := range map[string][2]string{
		"all above the leaf, below the known root": {"Signer", "Root"}, "all above the leaf, of their own": {"Signer", "Signer"},
		"named like the root": {"Root", "Root"}, "above the leaf, of an unknown root": {"Signer", "Nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			stranger := ca(t, names[0], nil)
			certs := chain(device(t, "dev", stranger))
			for range 9 {
				certs = append(certs, useless(t, names[0], names[1]).cert)
			}
			for _, c := range certs[1:] {
				if _, ok := c.PublicKey.(*rsa.PublicKey); !ok {
					t.Fatalf("key of type %T", c.PublicKey)
				}
				c.PublicKey = watched(t)
			}
			for round := range 3 {
				rootChecks = 0
				_, d := decide(t, certs, known)
				if !d.Refused() {
					t.Fatalf("accepted: %v", d.LogValue())
				}
				if most := map[bool]int{true: 8, false: 2}[round == 0]; rootChecks > most {
					t.Errorf("round %d: %d signatures were verified, at most %d wanted", round, rootChecks, most)
				}
			}
		})
	}
}

// watched returns a public key that reports its use.
func watched(t testing.TB) crypto.PublicKey {
	t.Helper()
	pub, ok := newKey(t).Public().(*ecdsa.PublicKey)
	if !ok {
		t.Fatal("no ECDSA key")
	}
	return &ecdsa.PublicKey{Curve: strangersKey{countingCurve{pub.Curve, new(int)}, t}, X: pub.X, Y: pub.Y} //nolint:staticcheck // to notice
}

// A chain that was refused costs no signature check when it comes again, on whatever
// connection; one that was accepted only the leaf's.
func TestSameChainAgain(t *testing.T) {
	root := ca(t, "Root", nil)
	low := ca(t, "Low", root)
	links := &attest.Links{}
	checks := 0
	good := chain(device(t, "dev", low), low)
	bad := chain(device(t, "dev", ca(t, "Low", nil)), low)
	counted(t, []*x509.Certificate{root.cert, low.cert}, &checks)
	known := attest.Known{Links: links, Anchors: []attest.Anchor{referred(root, "root", true, "g")}}
	for _, tt := range []struct {
		name        string
		chain       []*x509.Certificate
		first, next int
	}{{"good", good, 2, 1}, {"bad", bad, 1, 0}} {
		for round, want := range []int{tt.first, tt.next, tt.next} {
			checks = 0
			if decide(t, tt.chain, known); checks != want {
				t.Errorf("%s, round %d: %d signatures were verified, want %d", tt.name, round, checks, want)
			}
		}
	}
	if links.Failures() != 1 {
		t.Errorf("%d failures are remembered, want 1", links.Failures())
	}
}

// Several CAs of one name without key identifiers: the signer is found among the first,
// and what cannot be tried is said.
func TestTooManySigners(t *testing.T) {
	for _, tt := range []struct {
		others int
		want   dps.Reason
	}{{7, dps.ReasonNone}, {8, dps.ReasonTooManySigners}, {30, dps.ReasonTooManySigners}} {
		signer := ca(t, "Plant", nil)
		known := attest.Known{}
		for i := range tt.others {
			known.Anchors = append(known.Anchors, referred(ca(t, "Plant", nil), "plant", true, fmt.Sprint(i)))
		}
		known.Anchors = append(known.Anchors, referred(signer, "mine", true, "g"))
		leaf := issuedAs(t, "dev", &party{cert: &x509.Certificate{}, key: signer.key}, signer.cert.RawSubject) // without key IDs
		_, d := decide(t, chain(leaf), known)
		if d.Reason != tt.want {
			t.Errorf("%d others: %v, want %q", tt.others, d.LogValue(), tt.want)
		}
	}
}
