package dps

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // a thumbprint that clients show, not a signature
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
)

// Thumbprint is the SHA-256 of a certificate's DER bytes.
type Thumbprint [sha256.Size]byte

// ThumbprintOf returns the thumbprint of DER bytes.
func ThumbprintOf(der []byte) Thumbprint { return sha256.Sum256(der) }

// String returns 64 upper-case hexadecimal digits.
func (t Thumbprint) String() string { return strings.ToUpper(hex.EncodeToString(t[:])) }

// SHA1Thumbprint returns the SHA-1 of DER bytes as 40 upper-case hexadecimal digits.
func SHA1Thumbprint(der []byte) string {
	sum := sha1.Sum(der) //nolint:gosec // see import
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// Certificate is an X.509 certificate that an operator gave us.
type Certificate struct{ DER []byte }

// Thumbprint returns the SHA-256 of the certificate.
func (c Certificate) Thumbprint() Thumbprint { return ThumbprintOf(c.DER) }

// Parse returns the decoded certificate.
func (c Certificate) Parse() (*x509.Certificate, error) {
	parsed, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return nil, fmt.Errorf("parsing certificate %s: %w", c.Thumbprint(), err)
	}
	return parsed, nil
}

// Equal reports whether two certificates have the same bytes.
func (c Certificate) Equal(other Certificate) bool { return bytes.Equal(c.DER, other.DER) }

// ParseCertificate decodes a certificate as clients send it: PEM text, base64 of
// DER, or base64 of PEM text. Of several certificates in a PEM text the first
// counts. field is named in the error, which has the code Invalid.
func ParseCertificate(field, text string) (Certificate, error) {
	der, err := certificateDER(field, strings.TrimSpace(text))
	if err != nil {
		return Certificate{}, err
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return Certificate{}, notACertificate(field, der, err)
	}
	return Certificate{DER: der}, nil
}

const pemBegin = "-----BEGIN"

func certificateDER(field, text string) ([]byte, error) {
	if strings.Contains(text, pemBegin) { // tools write remarks before the first block
		return firstPEM(field, []byte(text))
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil || len(raw) == 0 {
		return nil, Invalidf(field, "must be a certificate as PEM, base64 of DER or base64 of PEM; this is not a valid base64 string value")
	}
	if trimmed := bytes.TrimSpace(raw); bytes.HasPrefix(trimmed, []byte(pemBegin)) {
		return firstPEM(field, trimmed)
	}
	return raw, nil
}

// firstPEM returns the first certificate of a PEM text. A private key anywhere in
// the text, damaged or not, is refused: whoever sends one did not mean to.
func firstPEM(field string, text []byte) ([]byte, error) {
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		return nil, privateKeyGiven(field)
	}
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			return nil, Invalidf(field, "holds no PEM block of type CERTIFICATE")
		}
		if block.Type == "CERTIFICATE" {
			return block.Bytes, nil
		}
	}
}

func privateKeyGiven(field string) error {
	return Invalidf(field, "holds a private key; send only the certificate, and consider that key exposed")
}

func notACertificate(field string, der []byte, cause error) error {
	if looksLikePrivateKey(der) {
		return privateKeyGiven(field)
	}
	return &Error{
		Code: Invalid, Err: cause,
		Message: field + ": must be an X.509 certificate; " + strings.TrimPrefix(cause.Error(), "x509: "),
	}
}

func looksLikePrivateKey(der []byte) bool {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return true
	}
	_, err := x509.ParsePKCS1PrivateKey(der)
	return err == nil
}

// SignedWithSHA1 reports whether the issuer of c hashed it with SHA-1. Such a
// signature proves nothing, and x509.Certificate.CheckSignature still takes it.
func SignedWithSHA1(c *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return true
	default:
		return false
	}
}

// CommonName returns the subject's common name, "" if it has none.
func (c Certificate) CommonName() string {
	parsed, err := c.Parse()
	if err != nil {
		return ""
	}
	return parsed.Subject.CommonName
}

// attributeNames are the short names of .NET's X500DistinguishedName.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "S", "2.5.4.9": "STREET",
	"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "T", "2.5.4.42": "G", "2.5.4.4": "SN", "2.5.4.5": "SERIALNUMBER",
	"1.2.840.113549.1.9.1": "E", "0.9.2342.19200300.100.1.25": "DC",
}

// DistinguishedName writes a DER-encoded name with the most specific part first,
// parts separated by comma and blank: "CN=sensor-7, O=Contoso". Attributes of one
// part are joined by " + ".
func DistinguishedName(raw []byte) string {
	if name, ok := plainName(raw); ok {
		return name
	}
	return anyName(raw)
}

// anyName is DistinguishedName for names of every kind.
func anyName(raw []byte) string {
	var seq pkix.RDNSequence
	if _, err := asn1.Unmarshal(raw, &seq); err != nil {
		return ""
	}
	var parts []string
	for i := len(seq) - 1; i >= 0; i-- {
		attrs := make([]string, len(seq[i]))
		for j, attr := range seq[i] {
			attrs[j] = AttributeText(attr)
		}
		parts = append(parts, strings.Join(attrs, " + "))
	}
	return strings.Join(parts, ", ")
}

// AttributeText writes one attribute of a distinguished name: "CN=sensor-7".
func AttributeText(attr pkix.AttributeTypeAndValue) string {
	name, ok := attributeNames[attr.Type.String()]
	if !ok {
		name = "OID." + attr.Type.String()
	}
	return attributeText(name, fmt.Sprint(attr.Value))
}

func attributeText(name, value string) string {
	if value == "" || value != strings.TrimSpace(value) || strings.ContainsAny(value, ",+\"=\n<>#;") {
		value = `"` + strings.ReplaceAll(value, `"`, `""`) + `"`
	}
	return name + "=" + value
}

// HasThumbprint reports whether text is the certificate's SHA-256 or SHA-1
// thumbprint in hexadecimal, in any case.
func (c Certificate) HasThumbprint(text string) bool {
	return strings.EqualFold(text, c.Thumbprint().String()) || strings.EqualFold(text, SHA1Thumbprint(c.DER))
}
