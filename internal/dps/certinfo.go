package dps

import (
	"encoding/hex"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// CertificateInfo is the description of a certificate.
type CertificateInfo struct {
	Subject, Issuer     string // distinguished name, most specific part first
	SHA1, SHA256        string // upper-case hexadecimal
	Serial              string // upper-case hexadecimal
	NotBefore, NotAfter time.Time
	Version             int
}

// Info returns the description of the certificate.
func (c Certificate) Info() (CertificateInfo, error) {
	h, err := c.Header()
	if err != nil {
		return CertificateInfo{}, err
	}
	from, to, err := h.Validity()
	if err != nil {
		return CertificateInfo{}, err
	}
	return CertificateInfo{
		Subject: h.Subject(), Issuer: h.Issuer(), SHA1: SHA1Thumbprint(c.DER), SHA256: c.Thumbprint().String(), Serial: h.Serial(),
		NotBefore: from, NotAfter: to, Version: h.Version,
	}, nil
}

// CertificateHeader has the fields of a certificate before its public key.
type CertificateHeader struct {
	Version int

	serial                    *big.Int
	issuer, subject, validity cryptobyte.String // DER, the last without its tag
}

var errHeader = errors.New("x509: malformed certificate")

// Header reads the fields before the public key and skips the rest, which is 20 times
// faster than Parse. Stored certificates were parsed completely before they were stored.
// Source: RFC 5280 section 4.1.
func (c Certificate) Header() (CertificateHeader, error) {
	var h CertificateHeader
	outer := cryptobyte.String(c.DER)
	var cert, tbs cryptobyte.String
	h.serial = new(big.Int)
	if !outer.ReadASN1(&cert, asn1.SEQUENCE) || !outer.Empty() ||
		!cert.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!tbs.ReadOptionalASN1Integer(&h.Version, asn1.Tag(0).Constructed().ContextSpecific(), 0) ||
		!tbs.ReadASN1Integer(h.serial) ||
		!tbs.SkipASN1(asn1.SEQUENCE) || // algorithm of the signature
		!tbs.ReadASN1Element(&h.issuer, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&h.validity, asn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&h.subject, asn1.SEQUENCE) {
		return CertificateHeader{}, errHeader
	}
	h.Version++ // counted from 0
	return h, nil
}

// Validity returns the start and the end of the validity.
func (h CertificateHeader) Validity() (notBefore, notAfter time.Time, err error) {
	rest := h.validity
	if !readTime(&rest, &notBefore) || !readTime(&rest, &notAfter) {
		return time.Time{}, time.Time{}, errHeader
	}
	return notBefore, notAfter, nil
}

func readTime(from *cryptobyte.String, t *time.Time) bool {
	if from.PeekASN1Tag(asn1.UTCTime) {
		return from.ReadASN1UTCTime(t)
	}
	return from.ReadASN1GeneralizedTime(t)
}

// Subject returns the name of the holder, as DistinguishedName writes it.
func (h CertificateHeader) Subject() string { return DistinguishedName(h.subject) }

// Issuer returns the name of the issuer, as DistinguishedName writes it.
func (h CertificateHeader) Issuer() string { return DistinguishedName(h.issuer) }

// Serial returns the serial number in upper-case hexadecimal, with a minus sign where it is
// negative.
func (h CertificateHeader) Serial() string {
	b := h.serial.Bytes()
	if len(b) == 0 {
		return "00"
	}
	sign := ""
	if h.serial.Sign() < 0 {
		sign = "-"
	}
	return sign + strings.ToUpper(hex.EncodeToString(b))
}

// shortName returns the short name of the attribute 2.5.4.n whose object identifier
// has that DER, "" for others.
func shortName(id []byte) string {
	if len(id) != 3 || id[0] != 2*40+5 || id[1] != 4 || id[2] >= 0x80 {
		return ""
	}
	return attributeNames["2.5.4."+strconv.Itoa(int(id[2]))]
}

// plainName writes a name whose parts have one known attribute each, a text without
// anything special. ok is false for every other name.
func plainName(raw []byte) (name string, ok bool) {
	rest := cryptobyte.String(raw)
	var seq cryptobyte.String
	if !rest.ReadASN1(&seq, asn1.SEQUENCE) {
		return "", false
	}
	for !seq.Empty() {
		var part, attribute, kind, value cryptobyte.String
		var tag asn1.Tag
		if !seq.ReadASN1(&part, asn1.SET) || !part.ReadASN1(&attribute, asn1.SEQUENCE) || !part.Empty() ||
			!attribute.ReadASN1(&kind, asn1.OBJECT_IDENTIFIER) || !attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
			return "", false
		}
		short := shortName(kind)
		if short == "" || !plainValue(value, tag) {
			return "", false
		}
		text := attributeText(short, string(value))
		if name != "" {
			text += ", " + name
		}
		name = text
	}
	return name, true
}

// plainValue reports whether a value is text that needs no decoding: valid UTF-8, or
// characters that every string type allows.
func plainValue(value []byte, tag asn1.Tag) bool {
	if tag == asn1.UTF8String {
		return utf8.Valid(value)
	}
	if tag != asn1.PrintableString {
		return false
	}
	for _, c := range value {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == ' ' || c == '-' || c == '.' || c == ':') {
			return false
		}
	}
	return true
}
