package certfile

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// parseDER reads one certificate, with nothing behind it.
func parseDER(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		return cert, nil
	}
	if other := otherFormat(der); other != nil {
		return nil, other
	}
	if n := behindCertificate(der); n > 0 {
		return nil, fmt.Errorf("has %d bytes after the certificate; use PEM for a file with several certificates", n)
	}
	return nil, fmt.Errorf("must be an X.509 certificate; %s", strings.TrimPrefix(clip(err.Error()), "x509: "))
}

// behindCertificate returns how many bytes follow a certificate, 0 if der does not
// begin with one.
func behindCertificate(der []byte) int {
	var first asn1.RawValue
	rest, err := asn1.Unmarshal(der, &first)
	if err != nil || len(rest) == 0 {
		return 0
	}
	if _, err := x509.ParseCertificate(first.FullBytes); err != nil {
		return 0
	}
	return len(rest)
}

// Errors of other formats, each with the command that leads to a certificate.
var (
	errPKCS7 = errors.New("is a PKCS#7 (.p7b) file; " +
		"convert it with: openssl pkcs7 -inform DER -in FILE -print_certs -out cert.pem")
	errPKCS7Text = errors.New("is a PKCS#7 (.p7b) file; convert it with: openssl pkcs7 -in FILE -print_certs -out cert.pem")
	errPKCS12    = errors.New("is a PKCS#12 (.pfx, .p12) file; " +
		"extract the certificate with: openssl pkcs12 -in FILE -clcerts -nokeys -out cert.pem")
	errJKS = errors.New("is a Java keystore; " +
		"export the certificate with: keytool -exportcert -rfc -keystore FILE -alias ALIAS -file cert.pem")
	errCSR = errors.New("is a certificate request (CSR), not a certificate; let a CA issue the certificate, " +
		"for example with: openssl x509 -req -in FILE -CA ca.pem -CAkey ca.key -out cert.pem")
	errCRL        = errors.New("is a certificate revocation list (CRL), not a certificate")
	errPublicKey  = errors.New("is a public key, not a certificate")
	errPrivateKey = errors.New("holds a private key, not a certificate; send the certificate, and replace the key if it left its machine")
)

// otherFormat returns the error that names the format of der, nil if it is unknown.
func otherFormat(der []byte) error {
	switch {
	case isPKCS7(der):
		return errPKCS7
	case isPKCS12(der):
		return errPKCS12
	case bytes.HasPrefix(der, []byte("\xfe\xed\xfe\xed")):
		return errJKS
	case isPrivateKey(der):
		return errPrivateKey
	}
	if _, err := x509.ParseCertificateRequest(der); err == nil {
		return errCSR
	}
	if _, err := x509.ParseRevocationList(der); err == nil {
		return errCRL
	}
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return errPublicKey
	}
	return nil
}

// isPKCS7 recognizes a ContentInfo by its object identifier, below 1.2.840.113549.1.7.
// Source: RFC 5652 section 3.
func isPKCS7(der []byte) bool {
	return bytes.HasPrefix(content(der), []byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"))
}

// isPKCS12 recognizes a PFX: version 3, then a sequence.
// Source: RFC 7292 section 4.
func isPKCS12(der []byte) bool { return bytes.HasPrefix(content(der), []byte("\x02\x01\x03\x30")) }

// content returns what is in the outermost sequence of DER, or of BER with a length
// that is not given, nil if there is none.
func content(der []byte) []byte {
	const sequence, long, short = 0x30, 0x80, 2
	if len(der) < short || der[0] != sequence {
		return nil
	}
	skip := short
	if der[1] > long {
		skip += int(der[1] & (long - 1))
	}
	if skip > len(der) {
		return nil
	}
	return der[skip:]
}

func isPrivateKey(der []byte) bool {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return true
	}
	// Source: RFC 5958 section 3, EncryptedPrivateKeyInfo.
	var sealed struct {
		Algorithm struct {
			ID         asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		Data []byte
	}
	rest, err := asn1.Unmarshal(der, &sealed)
	return err == nil && len(rest) == 0
}
