package dps

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // a thumbprint that clients show, not a signature
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mooring-iot/mooring/internal/certfile"
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

// Certificate is an X.509 certificate from an operator.
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

// ParseCertificate reads the one certificate that a member holds: PEM text, base64 of
// DER, or base64 of PEM text. Of several certificates the first counts, and the others
// have to form a chain under it: each signed the one before. field is named in the
// error, which has the code Invalid.
func ParseCertificate(field, text string) (Certificate, error) {
	all, err := ParseCertificates(field, []byte(text))
	if err != nil {
		return Certificate{}, err
	}
	parsed := make([]*x509.Certificate, len(all))
	for i, c := range all {
		if parsed[i], err = c.Parse(); err != nil {
			return Certificate{}, err
		}
	}
	if _, err := certfile.One(parsed); err != nil {
		return Certificate{}, &Error{Code: Invalid, Message: field + ": " + err.Error()}
	}
	return all[0], nil
}

// ParseCertificates returns all certificates of a text or a file, PEM, DER or base64 of
// either, at least one. field is named in the error, which has the code Invalid.
func ParseCertificates(field string, data []byte) ([]Certificate, error) {
	parsed, err := certfile.Read(data)
	if err != nil {
		return nil, &Error{Code: Invalid, Message: field + ": " + err.Error()}
	}
	all := make([]Certificate, len(parsed))
	for i, c := range parsed {
		all[i] = Certificate{DER: c.Raw}
	}
	return all, nil
}

// Unused says, for a file of which only the first certificate is used, what the other
// ones are: one sentence each.
func Unused(all []Certificate) []string {
	var out []string
	for i := 1; i < len(all); i++ {
		relation := "it did not sign the certificate before it"
		child, err := all[i-1].Parse()
		issuer, issuerErr := all[i].Parse()
		if err == nil && issuerErr == nil && certfile.Signed(issuer, child) {
			relation = "it signed the certificate before it"
		}
		out = append(out, fmt.Sprintf("Certificate %d of the file (%s) is not used: %s.", i+1, all[i].Name(), relation))
	}
	return out
}

// SignedWithSHA1 reports whether the issuer of c hashed it with SHA-1. Such a
// signature proves nothing, but x509.Certificate.CheckSignature accepts it.
func SignedWithSHA1(c *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return true
	default:
		return false
	}
}

// CommonName returns the subject's common name, "" if it has none or several.
func (c Certificate) CommonName() string {
	parsed, err := c.Parse()
	if err != nil {
		return ""
	}
	if names := CommonNames(parsed); len(names) == 1 {
		return names[0]
	}
	return ""
}

// CommonNames returns every common name of the subject. With several, software does not
// agree on the one that counts: crypto/x509 uses the last, others the first.
func CommonNames(c *x509.Certificate) []string {
	var all []string
	for _, attr := range c.Subject.Names {
		if attr.Type.Equal(oidCommonName) {
			all = append(all, fmt.Sprint(attr.Value))
		}
	}
	return all
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// SignerProblem says why devices that c signed are refused: it is not the certificate of
// a CA, or of one that may sign certificates. "" means that they are not.
// Source: RFC 5280, sections 4.2.1.3 and 4.2.1.9.
func SignerProblem(c *x509.Certificate) string {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return "is not a CA certificate: its basicConstraints do not say CA:TRUE"
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return "must not sign certificates: its keyUsage lacks keyCertSign"
	default:
		return ""
	}
}

// SaysNothing reports whether c is self-issued and has no extensions, so that it does not
// say whether it is a CA. DPS takes it for a signing certificate.
// Source: azure-sdk-for-python, sdk/iot/azure-iot-deviceprovisioning, tests/utility/common.py.
func SaysNothing(c *x509.Certificate) bool {
	return len(c.Extensions) == 0 && bytes.Equal(c.RawSubject, c.RawIssuer)
}

// Name returns a display name: the common name, else the whole
// distinguished name, else the thumbprint.
func (c Certificate) Name() string {
	if cn := c.CommonName(); cn != "" {
		return cn
	}
	if h, err := c.Header(); err == nil && h.Subject() != "" {
		return h.Subject()
	}
	return SHA1Thumbprint(c.DER)
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
