// Package oddcert makes certificates as devices in the field have them, and as libraries
// refuse to write them. Tests use it: crypto/x509 can parse few of them.
package oddcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	encoding "encoding/asn1"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Kind is what is odd about a certificate.
type Kind string

// The kinds.
const (
	NegativeSerial     Kind = "negative-serial"
	UnderscoreName     Kind = "underscore-in-printable-string"
	Latin1Name         Kind = "latin-1-in-printable-string"
	UniversalName      Kind = "universal-string"
	TimeFraction       Kind = "time-with-fraction"
	ExplicitParameters Kind = "explicit-ec-parameters"
	SpaceInURI         Kind = "space-in-uri"
	AddressAsText      Kind = "ip-address-as-text"
	TwoAlgorithms      Kind = "two-signature-algorithms"
)

// Kinds returns every kind.
func Kinds() []Kind {
	return []Kind{
		NegativeSerial, UnderscoreName, Latin1Name, UniversalName, TimeFraction, ExplicitParameters, SpaceInURI, AddressAsText, TwoAlgorithms,
	}
}

// Make returns the DER of a self-signed certificate of a device, valid for a year on both
// sides of now, and its key.
func Make(kind Kind, commonName string) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tbs, err := body(kind, commonName, key)
	if err != nil {
		return nil, nil, err
	}
	digest := sha256.Sum256(tbs)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return nil, nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		algorithm(b, ecdsaSHA256)
		b.AddASN1BitString(signature)
	})
	der, err := b.Bytes()
	return der, key, err
}

// Object identifiers.
var (
	ecdsaSHA256    = encoding.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	ecdsaSHA384    = encoding.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	ecPublicKey    = encoding.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	primeField     = encoding.ObjectIdentifier{1, 2, 840, 10045, 1, 1}
	prime256v1     = encoding.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	nameCommon     = encoding.ObjectIdentifier{2, 5, 4, 3}
	nameOrg        = encoding.ObjectIdentifier{2, 5, 4, 10}
	subjectAltName = encoding.ObjectIdentifier{2, 5, 29, 17}
)

func algorithm(b *cryptobyte.Builder, id encoding.ObjectIdentifier) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(id) })
}

// body returns the part that is signed.
func body(kind Kind, commonName string, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, inner := big.NewInt(time.Now().UnixNano()), ecdsaSHA256
	if kind == NegativeSerial {
		serial = big.NewInt(-12345)
	}
	if kind == TwoAlgorithms {
		inner = ecdsaSHA384
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
		b.AddASN1BigInt(serial)
		algorithm(b, inner)
		name(b, kind, commonName)
		validity(b, kind)
		name(b, kind, commonName)
		publicKey(b, kind, point)
		altName(b, kind)
	})
	return b.Bytes()
}

func name(b *cryptobyte.Builder, kind Kind, commonName string) {
	tag, value := asn1.UTF8String, []byte(commonName)
	switch kind {
	case UnderscoreName:
		tag = asn1.PrintableString
	case UniversalName:
		tag, value = asn1.Tag(28), nil
		for _, r := range commonName {
			value = append(value, byte(r>>24), byte(r>>16), byte(r>>8), byte(r)) //nolint:gosec // that is the encoding
		}
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if kind == Latin1Name {
			attribute(b, nameOrg, asn1.PrintableString, []byte("M\xfcller GmbH"))
		}
		attribute(b, nameCommon, tag, value)
	})
}

func attribute(b *cryptobyte.Builder, id encoding.ObjectIdentifier, tag asn1.Tag, value []byte) {
	b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(value) })
		})
	})
}

func validity(b *cryptobyte.Builder, kind Kind) {
	from, to := time.Now().UTC().AddDate(-1, 0, 0), time.Now().UTC().AddDate(1, 0, 0)
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, t := range []time.Time{from, to} {
			if kind == TimeFraction {
				b.AddASN1(asn1.GeneralizedTime, func(b *cryptobyte.Builder) { b.AddBytes([]byte(t.Format("20060102150405.0Z"))) })
				continue
			}
			b.AddASN1UTCTime(t)
		}
	})
}

func publicKey(b *cryptobyte.Builder, kind Kind, point []byte) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(ecPublicKey)
			if kind == ExplicitParameters {
				explicit(b)
				return
			}
			b.AddASN1ObjectIdentifier(prime256v1)
		})
		b.AddASN1BitString(point)
	})
}

// explicit writes P-256 without its name (X9.62, ECParameters).
func explicit(b *cryptobyte.Builder) {
	p := elliptic.P256().Params()
	a := new(big.Int).Sub(p.P, big.NewInt(3))
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(primeField)
			b.AddASN1BigInt(p.P)
		})
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1OctetString(a.FillBytes(make([]byte, 32)))
			b.AddASN1OctetString(p.B.FillBytes(make([]byte, 32)))
		})
		base := append([]byte{4}, p.Gx.FillBytes(make([]byte, 32))...)
		b.AddASN1OctetString(append(base, p.Gy.FillBytes(make([]byte, 32))...))
		b.AddASN1BigInt(p.N)
		b.AddASN1Int64(1)
	})
}

// Tags of general names (RFC 5280 section 4.2.1.6).
const (
	tagURI = 6
	tagIP  = 7
)

func altName(b *cryptobyte.Builder, kind Kind) {
	tag, value := uint8(tagURI), "http://my device/"
	switch kind {
	case SpaceInURI:
	case AddressAsText:
		tag, value = tagIP, "192.168.1.10"
	default:
		return
	}
	b.AddASN1(asn1.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(subjectAltName)
				b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1(asn1.Tag(tag).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
					})
				})
			})
		})
	})
}
