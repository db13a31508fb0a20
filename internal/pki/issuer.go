package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Authority is a CA certificate and the way from it towards its root.
type Authority struct {
	Certificate *x509.Certificate

	// Chain is Certificate and the CAs above it, each followed by the one that signed
	// it, without the self-signed root: empty when Certificate is the root.
	Chain []*x509.Certificate

	// ChainFile is the file beside the one asked for that Chain was taken from, or "".
	ChainFile string
}

// Issuer is an authority together with its private key.
type Issuer struct {
	Authority
	Key crypto.Signer
}

// ReadAuthority reads a CA from a PEM file of at most 1 MB. The first certificate is
// the CA, and each further one must have signed the one before it. When NAME.cert.pem
// holds an intermediate alone and NAME.chain.pem beside it begins with the same
// certificate, the chain is taken from there.
func ReadAuthority(file string) (*Authority, error) {
	path, err := readCertificates(file)
	if err != nil {
		return nil, err
	}
	a := &Authority{Certificate: path[0]}
	if err := checkCA(a.Certificate); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	from := file
	if len(path) == 1 && !isSelfSigned(a.Certificate) {
		whole, beside, err := readChainBeside(file, a.Certificate)
		if err != nil {
			return nil, err
		}
		if whole != nil {
			path, from, a.ChainFile = whole, beside, beside
		}
	}
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	for _, c := range path {
		if !isSelfSigned(c) {
			a.Chain = append(a.Chain, c)
		}
	}
	return a, nil
}

// readChainBeside returns the certificates of the chain file that belongs to the
// certificate file, and its name; none when there is no such file or it is about
// another certificate than cert.
func readChainBeside(file string, cert *x509.Certificate) ([]*x509.Certificate, string, error) {
	base, ok := strings.CutSuffix(file, certSuffix)
	if !ok {
		return nil, "", nil
	}
	path, err := readCertificates(base + chainSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading the chain beside %s: %w", file, err)
	}
	if !path[0].Equal(cert) {
		return nil, "", nil
	}
	return path, base + chainSuffix, nil
}

// checkCA reports why c may not sign certificates.
func checkCA(c *x509.Certificate) error {
	if !c.BasicConstraintsValid || !c.IsCA {
		return fmt.Errorf("%q is not a CA certificate: its basic constraints do not say CA:TRUE", displayName(c))
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%q may not sign certificates: its key usage lacks keyCertSign", displayName(c))
	}
	return nil
}

// checkPath reports a certificate that is not followed by the one that signed it.
func checkPath(path []*x509.Certificate) error {
	for i, c := range path[1:] {
		if err := path[i].CheckSignatureFrom(c); err != nil {
			return fmt.Errorf("certificate %d (%q) did not sign certificate %d (%q): %w",
				i+2, displayName(c), i+1, displayName(path[i]), err)
		}
	}
	return nil
}

// NewIssuer joins an authority and its private key. It fails when the key is another's.
func NewIssuer(a *Authority, key crypto.Signer) (*Issuer, error) {
	if !samePublicKey(key.Public(), a.Certificate.PublicKey) {
		return nil, fmt.Errorf("the key does not match the CA certificate %q", displayName(a.Certificate))
	}
	return &Issuer{Authority: *a, Key: key}, nil
}

// Warnings says what about the issuer will make cert fail although it is well signed:
// an issuer outside its validity at now, or one that expires before cert does.
func (a *Authority) Warnings(cert *x509.Certificate, now time.Time) []string {
	ca := a.Certificate
	switch {
	case now.After(ca.NotAfter):
		return []string{fmt.Sprintf("the CA %q expired at %s", displayName(ca), ca.NotAfter.Format(time.RFC3339))}
	case now.Before(ca.NotBefore):
		return []string{fmt.Sprintf("the CA %q is not valid before %s", displayName(ca), ca.NotBefore.Format(time.RFC3339))}
	case cert.NotAfter.After(ca.NotAfter):
		return []string{fmt.Sprintf("the CA %q expires at %s, before this certificate does",
			displayName(ca), ca.NotAfter.Format(time.RFC3339))}
	}
	return nil
}

// mayIssue reports why i must not sign r.
func (i *Issuer) mayIssue(r Request) error {
	if err := checkCA(i.Certificate); err != nil {
		return err
	}
	subject := pkix.Name{CommonName: r.CommonName}
	if strings.EqualFold(subject.String(), i.Certificate.Subject.String()) { // names match without case, RFC 5280 section 7.1
		return fmt.Errorf("%q is also the name of the CA that signs it: with equal names a certificate looks self-signed",
			r.CommonName)
	}
	if r.Kind == Intermediate {
		return i.checkDepth()
	}
	return nil
}

// checkDepth reports a CA in the chain whose path length forbids one more CA below i.
// A root that issued an intermediate is not seen here: chains leave it out.
func (i *Issuer) checkDepth() error {
	path := i.Chain
	if len(path) == 0 {
		path = []*x509.Certificate{i.Certificate}
	}
	for depth, c := range path {
		limited := c.MaxPathLen > 0 || c.MaxPathLenZero
		if limited && depth+1 > c.MaxPathLen {
			return fmt.Errorf("the CA %q allows %d CAs below it (pathlen), and this would be number %d",
				displayName(c), c.MaxPathLen, depth+1)
		}
	}
	return nil
}

// keyID returns what certificates signed by i carry as their authority key identifier.
func (i *Issuer) keyID() ([]byte, error) {
	if len(i.Certificate.SubjectKeyId) > 0 {
		return bytes.Clone(i.Certificate.SubjectKeyId), nil
	}
	return keyID(i.Certificate.PublicKey)
}

// displayName returns what people call the holder of c.
func displayName(c *x509.Certificate) string {
	if c.Subject.CommonName != "" {
		return c.Subject.CommonName
	}
	return c.Subject.String()
}
