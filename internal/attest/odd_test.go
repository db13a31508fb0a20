package attest_test

import (
	"crypto"
	"crypto/dsa" //nolint:staticcheck // to be refused
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"
)

// rawCert is a certificate that crypto/x509 reads and does not make.
type rawCert struct {
	subject, issuer []byte // DER; CN=dev where nil
	key             crypto.PublicKey
	spki            []byte // instead of key
	algorithm       pkix.AlgorithmIdentifier
	extensions      []pkix.Extension
	sign            func(tbs []byte) []byte
}

// build returns the certificate; holder is the private key that it belongs to.
func (r rawCert) build(t testing.TB, holder crypto.Signer) *party {
	t.Helper()
	lastSerial++
	name := func(raw []byte) asn1.RawValue {
		if raw == nil {
			raw = nameOf(t, asn1.TagUTF8String, "dev")
		}
		return asn1.RawValue{FullBytes: raw}
	}
	spki := r.spki
	if spki == nil {
		var err error
		if spki, err = x509.MarshalPKIXPublicKey(r.key); err != nil {
			t.Fatal(err)
		}
	}
	tbs := marshal(t, struct {
		Version    int `asn1:"explicit,tag:0"`
		Serial     *big.Int
		Algorithm  pkix.AlgorithmIdentifier
		Issuer     asn1.RawValue
		Validity   struct{ From, To time.Time }
		Subject    asn1.RawValue
		Key        asn1.RawValue
		Extensions []pkix.Extension `asn1:"omitempty,explicit,tag:3"`
	}{
		2, big.NewInt(lastSerial), r.algorithm, name(r.issuer),
		struct{ From, To time.Time }{started, ended},
		name(r.subject),
		asn1.RawValue{FullBytes: spki},
		r.extensions,
	})
	signature := r.sign(tbs)
	der := marshal(t, struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, r.algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	return &party{cert: parse(t, der), key: holder}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// nameOf returns a name of one common name, whose value has the string type tag.
func nameOf(t testing.TB, tag int, cn string) []byte {
	t.Helper()
	return marshal(t, pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: tag, Bytes: []byte(cn)}}}})
}

// issuedAs issues a certificate by issuer, whose name it spells otherwise.
func issuedAs(t testing.TB, name string, issuer *party, spelled []byte, edits ...edit) *party {
	t.Helper()
	other := &party{cert: &x509.Certificate{RawSubject: spelled, SubjectKeyId: issuer.cert.SubjectKeyId}, key: issuer.key}
	return sign(t, name, newKey(t), other, edits...)
}

func algorithm(id ...int) pkix.AlgorithmIdentifier { return pkix.AlgorithmIdentifier{Algorithm: id} }

// hashed signs the SHA-256 of what is signed.
func hashed(t testing.TB, key crypto.Signer, options crypto.SignerOpts) func([]byte) []byte {
	t.Helper()
	return func(tbs []byte) []byte {
		sum := sha256.Sum256(tbs)
		sig, err := key.Sign(rand.Reader, sum[:], options)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
}

var (
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidMGF1   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
)

// pss is the algorithm of an RSA-PSS signature.
func pss(t testing.TB, hash, maskHash asn1.ObjectIdentifier, salt int) pkix.AlgorithmIdentifier {
	t.Helper()
	id := func(oid asn1.ObjectIdentifier, parameters []byte) pkix.AlgorithmIdentifier {
		return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: parameters}}
	}
	null := []byte{5, 0}
	parameters := marshal(t, struct {
		Hash pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
		Mask pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
		Salt int                      `asn1:"explicit,tag:2"`
	}{id(hash, null), id(oidMGF1, marshal(t, id(maskHash, null))), salt})
	return id(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, parameters)
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// dsaSPKI is a DSA key that crypto/x509 reads; nothing is ever signed with it.
func dsaSPKI(t testing.TB) []byte {
	t.Helper()
	key := dsa.PublicKey{Parameters: dsa.Parameters{P: big.NewInt(7919), Q: big.NewInt(37), G: big.NewInt(5)}, Y: big.NewInt(25)}
	parameters := marshal(t, struct{ P, Q, G *big.Int }{key.P, key.Q, key.G})
	point := marshal(t, key.Y)
	return marshal(t, struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}, Parameters: asn1.RawValue{FullBytes: parameters}},
		asn1.BitString{Bytes: point, BitLength: 8 * len(point)},
	})
}

// unknownSPKI is a key of an algorithm that crypto/x509 does not know.
func unknownSPKI(t testing.TB, id ...int) []byte {
	t.Helper()
	return marshal(t, struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}{algorithm(id...), asn1.BitString{Bytes: make([]byte, 57), BitLength: 8 * 57}})
}

var p256 = elliptic.P256()

// caExtensions make a CA certificate.
func caExtensions(t testing.TB) []pkix.Extension {
	t.Helper()
	return []pkix.Extension{{
		Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true,
		Value: marshal(t, struct {
			CA bool
		}{true}),
	}}
}

func ecdsaSHA256() pkix.AlgorithmIdentifier { return algorithm(1, 2, 840, 10045, 4, 3, 2) }

func newP256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(p256, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
