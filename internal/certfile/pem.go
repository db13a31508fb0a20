package certfile

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const (
	pemBegin         = "-----BEGIN"
	labelCertificate = "CERTIFICATE"
	keySuffix        = "PRIVATE KEY"
)

// What the label of a block means. Source: RFC 7468; OpenSSL, include/openssl/pem.h.
var (
	// certificateLabels are taken. The second is what OpenSSL wrote before 1998.
	certificateLabels = map[string]bool{labelCertificate: true, "X509 CERTIFICATE": true}

	// parameterLabels are passed over: tools write public parameters of keys beside
	// certificates.
	parameterLabels = map[string]bool{"EC PARAMETERS": true, "DH PARAMETERS": true, "X9.42 DH PARAMETERS": true, "DSA PARAMETERS": true}

	// otherLabels are of formats with an error of their own.
	otherLabels = map[string]error{
		"PKCS7": errPKCS7Text, "PKCS #7 SIGNED DATA": errPKCS7Text, "CMS": errPKCS7Text,
		"CERTIFICATE REQUEST": errCSR, "NEW CERTIFICATE REQUEST": errCSR, "X509 CRL": errCRL,
		"PUBLIC KEY": errPublicKey, "RSA PUBLIC KEY": errPublicKey,
		"TRUSTED CERTIFICATE": errors.New("is a certificate with OpenSSL's trust settings; " +
			"remove these with: openssl x509 -in FILE -out cert.pem"),
	}
)

// block is a PEM block as it is in the text.
type block struct {
	number, line int // of the block among blocks and of its BEGIN line, from 1
	label        string
	body         []string // its lines
}

// problem is the error of a block that cannot be read.
func (b block) problem(format string, args ...any) error {
	return fmt.Errorf("has a PEM block that cannot be read: block %d (%s, line %d): %w",
		b.number, clip(b.label), b.line, fmt.Errorf(format, args...))
}

// Lines that begin and end a block, and lines that were meant to.
var (
	boundary = regexp.MustCompile(`^-----(BEGIN|END) ((?:-?[^-\r\n])*)-----[ \t]*$`)
	indented = regexp.MustCompile(`^\s+-----(BEGIN|END) [^\r\n]*?-----[ \t]*$`)
	damaged  = regexp.MustCompile(`(?i:[-\x{2010}-\x{2015}\x{2212}]{2,}\s*(BEGIN|END)\b)` +
		`|[\x{2010}-\x{2015}\x{2212}]\s*(BEGIN|END)\b` +
		`|\b(BEGIN|END) [A-Z0-9. ]*[-\x{2010}-\x{2015}\x{2212}]{2,}` +
		`|^\s*(BEGIN|END) CERTIFICATE\s*$`)
	escaped  = regexp.MustCompile(`-----BEGIN [^-\r\n]*-----\s*\\+[rn]`)
	oneLine  = regexp.MustCompile(`-----BEGIN [^-\r\n]*-----[ \t]*[A-Za-z0-9+/]`)
	urlCoded = regexp.MustCompile(`-----BEGIN(%20|\+)[A-Z]`)
)

// damagedText refuses text whose line breaks or lines of dashes went wrong on the way,
// so that no block begins in it, or none that can be told from the next.
func damagedText(text []byte) error {
	switch {
	case urlCoded.Match(text):
		return errors.New("is URL-encoded; decode it with: " +
			"python3 -c 'import sys, urllib.parse; print(urllib.parse.unquote(sys.stdin.read()))' < FILE > cert.pem")
	case escaped.Match(text):
		return errors.New(`has the two characters \n in place of line breaks; convert it with: printf '%b\n' "$(cat FILE)" > cert.pem`)
	case oneLine.Match(text):
		return errors.New("has no line breaks, or spaces in their place; convert it with: " +
			`sed -E 's/ *(-----(BEGIN|END) [A-Z0-9 ]*-----) */\n\1\n/g' FILE > cert.pem`)
	}
	for n, line := range lines(text) {
		if damaged.MatchString(line) && !boundary.MatchString(line) {
			return badBoundary(n+1, line)
		}
	}
	return nil
}

// badBoundary is the error of a line that was meant to begin or end a block.
func badBoundary(number int, line string) error {
	if indented.MatchString(line) {
		return fmt.Errorf("has an indented line %d; remove the blanks before it with: sed 's/^[[:space:]]*//' FILE > cert.pem", number)
	}
	return fmt.Errorf("has a damaged line %d: want -----BEGIN CERTIFICATE----- or -----END CERTIFICATE-----, "+
		"with five hyphens on each side and nothing else on the line", number)
}

// lines cuts text at any kind of line break. A byte order mark at the start of a line
// was the start of a file before files were joined.
func lines(text []byte) []string {
	s := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\n"+string(bomUTF8), "\n").Replace(string(text))
	return strings.Split(s, "\n")
}

func readPEM(text []byte, keys bool) ([]*x509.Certificate, error) {
	if !keys {
		if err := findPrivateKey(text); err != nil {
			return nil, err
		}
	}
	if err := damagedText(text); err != nil {
		return nil, err
	}
	blocks, err := cut(lines(text))
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, b := range blocks {
		if parameterLabels[b.label] || keys && strings.HasSuffix(b.label, keySuffix) {
			continue
		}
		cert, err := b.certificate()
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("holds no certificate: no PEM block has the label CERTIFICATE")
	}
	return certs, nil
}

// findPrivateKey refuses text with a block of a private key, whole or damaged.
func findPrivateKey(text []byte) error {
	at := bytes.Index(text, []byte(keySuffix+"-----"))
	if at < 0 {
		return nil
	}
	before := text[:at]
	return holdsKey(max(bytes.Count(before, []byte(pemBegin)), 1), len(lines(before)))
}

func holdsKey(number, line int) error {
	return fmt.Errorf("holds a private key (PEM block %d, line %d); "+
		"remove it and send only the certificate, and replace the key if it left its machine", number, line)
}

// cut returns the blocks of a text. Text around blocks is a remark, as OpenSSL writes
// them; a line that begins or ends a block has to have its counterpart.
func cut(text []string) ([]block, error) {
	var all []block
	var open *block
	for n, line := range text {
		m := boundary.FindStringSubmatch(line)
		switch {
		case m == nil && open != nil:
			open.body = append(open.body, line)
		case m == nil:
		case m[1] == "BEGIN" && open != nil:
			return nil, open.problem("its END line is missing: line %d begins another block", n+1)
		case m[1] == "BEGIN":
			open = &block{number: len(all) + 1, line: n + 1, label: m[2]}
		case open == nil:
			return nil, fmt.Errorf("has a PEM block that cannot be read: line %d ends block %d, and no line begins it", n+1, len(all)+1)
		case m[2] != open.label:
			return nil, open.problem("its END line %d has another label, %q", n+1, clip(m[2]))
		default:
			all, open = append(all, *open), nil
		}
	}
	if open != nil {
		return nil, open.problem("its END line is missing: the text is cut off")
	}
	return all, nil
}

// certificate reads the block as a certificate.
func (b block) certificate() (*x509.Certificate, error) {
	if err := otherLabels[b.label]; err != nil {
		return nil, fmt.Errorf("has a PEM block that is not a certificate: block %d (%s, line %d) %w", b.number, b.label, b.line, err)
	}
	if !certificateLabels[b.label] {
		return nil, b.problem("the label must be %s", labelCertificate)
	}
	der, err := b.decode()
	if err != nil {
		return nil, err
	}
	cert, err := parseDER(der)
	if errors.Is(err, errPrivateKey) {
		return nil, holdsKey(b.number, b.line)
	}
	if err != nil {
		return nil, b.problem("it %w", err)
	}
	return cert, nil
}

// decode returns the bytes of a block. Headers, as RFC 1421 has them, are passed over.
func (b block) decode() ([]byte, error) {
	var text strings.Builder
	inHeaders := true
	for n, line := range b.body {
		inHeaders = inHeaders && strings.Contains(line, ":")
		if inHeaders {
			continue
		}
		for _, c := range line {
			if c == ' ' || c == '\t' {
				continue
			}
			if !strings.ContainsRune(alphabet, c) {
				return nil, b.problem("its base64 is damaged: line %d has the character %q", b.line+1+n, c)
			}
			text.WriteRune(c)
		}
	}
	der, err := base64.StdEncoding.DecodeString(text.String())
	if err != nil || len(der) == 0 {
		return nil, b.problem("its base64 is damaged: characters are missing or left over")
	}
	return der, nil
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
