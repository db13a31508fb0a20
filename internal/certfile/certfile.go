// Package certfile reads X.509 certificates as people and programs hand them in: PEM
// text, DER, or base64 of either. It accounts for every PEM block, so that a damaged
// block never makes another certificate the first one, and its errors name the format
// of what is not a certificate with the command that converts it.
//
// Errors are fragments that follow the name of the file or member: "is empty",
// "has a PEM block that cannot be read: ...". None repeats what a private key holds.
// The caller bounds the size of the input.
package certfile

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Read returns all certificates of data in their order, at least one. A private key
// anywhere in data is an error.
func Read(data []byte) ([]*x509.Certificate, error) { return read(data, false) }

// ReadWithKey is Read for a file that may hold the private key beside its
// certificates, as servers use them. PEM blocks of private keys are passed over.
func ReadWithKey(data []byte) ([]*x509.Certificate, error) { return read(data, true) }

func read(data []byte, keys bool) ([]*x509.Certificate, error) {
	text, err := Text(data)
	if err != nil {
		return nil, err
	}
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("is empty")
	case isBinary(text):
		return single(data)
	case bytes.Contains(text, []byte(pemBegin)):
		return readPEM(text, keys)
	default:
		return readBase64(text, keys)
	}
}

// isBinary reports whether data is DER or another binary format: text has no control
// characters but white space.
func isBinary(data []byte) bool {
	const start = 16
	for _, c := range data[:min(len(data), start)] {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' {
			return true
		}
	}
	return false
}

// single reads DER.
func single(der []byte) ([]*x509.Certificate, error) {
	cert, err := parseDER(der)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{cert}, nil
}

// readBase64 reads base64 of DER or of PEM text, in one line or several.
func readBase64(text []byte, keys bool) ([]*x509.Certificate, error) {
	if err := damagedText(text); err != nil {
		return nil, err
	}
	joined := bytes.Join(bytes.Fields(text), nil)
	if isHex(joined) {
		return nil, errors.New("is hexadecimal; convert it with: xxd -r -p FILE > cert.der")
	}
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(joined)))
	n, err := base64.StdEncoding.Decode(raw, joined)
	if err != nil || n == 0 {
		return nil, errors.New("must be PEM, DER or base64 of either; this is not a valid base64 string value")
	}
	raw = raw[:n]
	inner, err := Text(raw)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(inner, []byte(pemBegin)) && !isBinary(inner) {
		return readPEM(inner, keys)
	}
	return single(raw)
}

func isHex(text []byte) bool {
	const prefix = "3082" // of every certificate in hexadecimal
	if !bytes.HasPrefix(text, []byte(prefix)) {
		return false
	}
	return len(bytes.Trim(text, "0123456789abcdefABCDEF:")) == 0
}

// Byte order marks.
var (
	bomUTF8    = []byte("\xef\xbb\xbf")
	bomUTF16LE = []byte("\xff\xfe")
	bomUTF16BE = []byte("\xfe\xff")
)

// Text returns data without the byte order mark of UTF-8 that it may begin with. It
// refuses text in UTF-16, as PowerShell and Notepad may write it. Binary data comes
// back as it is.
func Text(data []byte) ([]byte, error) {
	encoding := ""
	switch {
	case bytes.HasPrefix(data, bomUTF16LE), bytes.HasPrefix(data, bomUTF16BE):
		encoding = "UTF-16"
	case zeroes(data, 1):
		encoding = "UTF-16LE"
	case zeroes(data, 0):
		encoding = "UTF-16BE"
	}
	if encoding != "" {
		return nil, fmt.Errorf("is in UTF-16; convert it with: iconv -f %s -t UTF-8 FILE > cert.pem", encoding)
	}
	return bytes.TrimPrefix(data, bomUTF8), nil
}

// zeroes reports whether data begins with letters of ASCII in UTF-16: every second
// byte, from the one at offset on, is zero.
func zeroes(data []byte, offset int) bool {
	const look = 8
	if len(data) < look {
		return false
	}
	for i := offset; i < look; i += 2 {
		if data[i] != 0 || data[i^1] == 0 {
			return false
		}
	}
	return true
}

// maxChain is the most certificates that CheckChain takes, as each costs a signature
// check.
const maxChain = 16

// One returns the certificate that counts where one is expected: the first. Others have
// to be a chain above it, as CheckChain has it.
func One(certs []*x509.Certificate) (*x509.Certificate, error) {
	if err := CheckChain(certs); err != nil {
		return nil, fmt.Errorf("holds %d certificates where one is expected, and they are not a chain: %w; send the expected certificate alone",
			len(certs), err)
	}
	return certs[0], nil
}

// CheckChain reports why certs are not a chain above the first: each has to have signed
// the one before it.
func CheckChain(certs []*x509.Certificate) error {
	if len(certs) > maxChain {
		return fmt.Errorf("a chain has at most %d certificates", maxChain)
	}
	for i := range len(certs) - 1 {
		if !Signed(certs[i+1], certs[i]) {
			return fmt.Errorf("certificate %d (%s) did not sign certificate %d (%s)",
				i+2, clip(certs[i+1].Subject.String()), i+1, clip(certs[i].Subject.String()))
		}
	}
	return nil
}

// Signed reports whether the key of issuer signed child and the names agree. It says
// nothing about validity, or whether issuer may sign.
func Signed(issuer, child *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, child.RawIssuer) &&
		issuer.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) == nil
}

// Encode returns certs as PEM text, one after the other.
func Encode(certs []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: labelCertificate, Bytes: c.Raw}))
	}
	return b.Bytes()
}

// clip bounds text from outside that an error repeats.
func clip(text string) string {
	const most = 80
	text = strings.ToValidUTF8(text, "?")
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
