package handshake

import (
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mooring-iot/mooring/internal/dps"
)

// defect is what crypto/x509 says of a certificate that it refuses, and what to do about it.
type defect struct{ piece, detail, remedy string }

// defects are those that certificates of real devices had. Others keep the words of
// crypto/x509.
var defects = []defect{
	{
		"invalid PrintableString", "a name in the certificate is marked as PrintableString and contains a character that this type does not " +
			"allow, such as _ or @ or a Latin-1 letter",
		"Reissue the certificate with the name as UTF8String, or without such characters; ArduinoECCX08 writes every name as PrintableString.",
	},
	{"negative serial number", "the serial number is negative", "Reissue the certificate with a positive serial number."},
	{
		"malformed GeneralizedTime", "a validity date is a GeneralizedTime in a form that RFC 5280 does not allow, such as with fractions of " +
			"a second",
		"Reissue the certificate with dates without fractions of a second (UTCTime before 2050).",
	},
	{
		"malformed UTCTime", "a validity date is a UTCTime in a form that RFC 5280 does not allow",
		"Reissue the certificate with dates of the form YYMMDDHHMMSSZ.",
	},
	{
		"invalid ECDSA parameters", "the public key describes its elliptic curve by explicit parameters instead of naming it",
		"Reissue the certificate with a named curve (OpenSSL: -pkeyopt ec_param_enc:named_curve).",
	},
	{
		"unsupported elliptic curve", "the public key is on an elliptic curve that is not supported",
		"Reissue the certificate with a key on P-256, P-384 or P-521.",
	},
	{
		"cannot parse IP address", "an IP address in the subject alternative name is written as text instead of 4 or 16 bytes",
		"Reissue the certificate with the address in binary form (OpenSSL: IP:192.0.2.1), or as a DNS name.",
	},
	{
		"cannot parse URI", "a URI in the subject alternative name is not valid, for example because it contains a space",
		"Reissue the certificate with a valid, percent-encoded URI.",
	},
	{
		"cannot parse dnsName", "a DNS name in the subject alternative name contains characters that are not allowed",
		"Reissue the certificate with ASCII DNS names.",
	},
	{
		"cannot parse rfc822Name", "an e-mail address in the subject alternative name contains characters that are not allowed",
		"Reissue the certificate with ASCII e-mail addresses.",
	},
	{
		"inner and outer signature algorithm", "the signature algorithm inside the certificate differs from the one outside",
		"Reissue the certificate; the tool that issued it writes two different signature algorithms.",
	},
	{
		"unsupported string type", "a name in the certificate has a string type that is not supported, such as UniversalString",
		"Reissue the certificate with the name as UTF8String.",
	},
}

// unreadable says why crypto/x509 refuses a certificate, and what to do about it.
func unreadable(cause string) (detail, remedy string) {
	for _, d := range defects {
		if strings.Contains(cause, d.piece) {
			return d.detail + " (" + cause + ")", d.remedy
		}
	}
	return cause, ""
}

// Record and message types (RFC 5246 sections 6.2.1 and 7.4).
const (
	recordAlert        = 21
	recordHandshake    = 22
	messageCertificate = 11
)

// plainAlert is the length of a record with an alert that is not encrypted, in bytes.
const plainAlert = 7

// maxGlimpsed is how many certificates of a chain are looked at.
const maxGlimpsed = 10

// glimpseChain reads the first certificate message in plain-text TLS records, and returns
// what it shows, with the common name of the first certificate. Nothing has to be well formed.
func glimpseChain(flight []byte) (e dps.EvidenceSummary, commonName string) {
	var list cryptobyte.String
	messages := handshakeBytes(flight)
	for {
		var kind uint8
		var body cryptobyte.String
		if !messages.ReadUint8(&kind) || !messages.ReadUint24LengthPrefixed(&body) {
			return e, ""
		}
		if kind == messageCertificate {
			if !body.ReadUint24LengthPrefixed(&list) {
				return e, ""
			}
			break
		}
	}
	for !list.Empty() {
		var der cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) {
			break
		}
		if e.Presented++; e.Presented > maxGlimpsed {
			continue
		}
		info, name := glimpse(der)
		if e.Presented == 1 {
			commonName = name
		}
		e.Chain = append(e.Chain, info)
	}
	return e, commonName
}

// handshakeBytes joins the handshake records at the beginning of a stream.
func handshakeBytes(stream []byte) cryptobyte.String {
	rest := cryptobyte.String(stream)
	var joined []byte
	for {
		var kind uint8
		var version uint16
		var fragment cryptobyte.String
		if !rest.ReadUint8(&kind) || kind != recordHandshake || !rest.ReadUint16(&version) || !rest.ReadUint16LengthPrefixed(&fragment) {
			return joined
		}
		joined = append(joined, fragment...)
	}
}

// glimpse describes a certificate as far as it can be read, and returns the common name of
// its subject.
func glimpse(der []byte) (info dps.CertificateInfo, commonName string) {
	c := dps.Certificate{DER: der}
	info = dps.CertificateInfo{SHA1: dps.SHA1Thumbprint(der), SHA256: c.Thumbprint().String()}
	if h, err := c.Header(); err == nil {
		info.Version, info.Serial = h.Version, h.Serial()
		info.NotBefore, info.NotAfter, _ = h.Validity()
	}
	outer := cryptobyte.String(der)
	var cert, tbs, issuer, subject cryptobyte.String
	if !outer.ReadASN1(&cert, asn1.SEQUENCE) || !cert.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) ||
		!tbs.SkipASN1(asn1.INTEGER) || !tbs.SkipASN1(asn1.SEQUENCE) ||
		!tbs.ReadASN1(&issuer, asn1.SEQUENCE) || !tbs.SkipASN1(asn1.SEQUENCE) || !tbs.ReadASN1(&subject, asn1.SEQUENCE) {
		return info, ""
	}
	info.Issuer, _ = glimpseName(issuer)
	info.Subject, commonName = glimpseName(subject)
	return info, commonName
}

// attributes are the types that names of devices have, by the last byte of 2.5.4.n.
var attributes = map[byte]string{3: "CN", 5: "serialNumber", 6: "C", 7: "L", 8: "ST", 10: "O", 11: "OU"}

// glimpseName writes a name, most specific part first, whatever its string types.
func glimpseName(name cryptobyte.String) (text, commonName string) {
	var parts []string
	for !name.Empty() {
		var set, attribute, kind, value cryptobyte.String
		var tag asn1.Tag
		if !name.ReadASN1(&set, asn1.SET) || !set.ReadASN1(&attribute, asn1.SEQUENCE) ||
			!attribute.ReadASN1(&kind, asn1.OBJECT_IDENTIFIER) || !attribute.ReadAnyASN1(&value, &tag) {
			break
		}
		short := ""
		if len(kind) == 3 && kind[0] == 0x55 && kind[1] == 4 {
			short = attributes[kind[2]]
		}
		if short == "" {
			continue
		}
		shown := glimpseText(value, tag)
		if short == "CN" {
			commonName = shown
		}
		parts = append([]string{short + "=" + shown}, parts...)
	}
	return strings.Join(parts, ", "), commonName
}

// String types of names (X.680) with more than one byte for a character.
const (
	universalString = asn1.Tag(28)
	bmpString       = asn1.Tag(30)
)

// glimpseText reads a string of any type. One byte for a character is UTF-8, or Latin-1
// where it cannot be UTF-8.
func glimpseText(value []byte, tag asn1.Tag) string {
	width := 1
	switch tag {
	case universalString:
		width = 4
	case bmpString:
		width = 2
	default:
		if text := string(value); strings.ToValidUTF8(text, "") == text {
			return text
		}
	}
	var b strings.Builder
	for ; len(value) >= width; value = value[width:] {
		r := rune(0)
		for _, octet := range value[:width] {
			r = r<<8 | rune(octet)
		}
		b.WriteRune(r)
	}
	return b.String()
}
