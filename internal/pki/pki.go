// Package pki makes X.509 certificates for trying out device provisioning: roots,
// intermediates, device certificates and proofs of possession. What it issues is
// correct by construction, except for the validity: expired and not yet valid
// certificates can be made on purpose.
package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ClockSkew is how far before now a certificate becomes valid when nothing else is
// asked, so that peers whose clocks are a little slow accept it at once.
const ClockSkew = 5 * time.Minute

// Kind says what a certificate is for; it fixes the extensions and the rule for the
// common name.
type Kind uint8

// The kinds of certificate.
const (
	Root         Kind = iota // self-signed CA
	Intermediate             // CA signed by another CA
	Device                   // leaf of one device, signed by a CA or by itself
	Verification             // leaf that proves possession of a CA's key
)

// String returns the kind in lower case, as the pki command calls it.
func (k Kind) String() string {
	switch k {
	case Root:
		return "root"
	case Intermediate:
		return "intermediate"
	case Device:
		return "device"
	case Verification:
		return "verification"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// DefaultDays is how many days a certificate of this kind is valid when nothing else
// is asked.
func (k Kind) DefaultDays() int {
	switch k {
	case Root:
		return 3650
	case Intermediate:
		return 1825
	case Device:
		return 365
	default:
		return 2
	}
}

// isCA reports whether certificates of this kind sign others.
func (k Kind) isCA() bool { return k == Root || k == Intermediate }

// Request says which certificate to issue.
type Request struct {
	Kind       Kind
	CommonName string  // the whole subject; CheckCommonName has its rule
	KeyType    KeyType // of the new key; empty means P256

	// NotBefore and NotAfter bound the validity, in whole seconds. A zero NotBefore
	// means ClockSkew before now. A zero NotAfter means the kind's DefaultDays, counted
	// from NotBefore if that is given and else from now.
	NotBefore, NotAfter time.Time

	// Issuer signs the certificate; nil means that it signs itself. A root has none,
	// an intermediate and a verification need one, a device may have one.
	Issuer *Issuer
}

// Issued is a new certificate with its private key.
type Issued struct {
	Kind        Kind
	Certificate *x509.Certificate
	Key         crypto.Signer

	// Chain is Certificate, then its intermediates, each followed by the one that
	// signed it, without the self-signed root: the order of RFC 8446 section 4.4.2.
	Chain []*x509.Certificate

	selfSigned bool
}

// Issue makes a key and a certificate for it. It touches no files. It fails when r
// contradicts itself or its issuer may not sign such a certificate; whether the
// issuer is valid at the time is not checked, see Issuer.Warnings.
func Issue(r Request) (*Issued, error) {
	r = r.withDefaults(time.Now())
	if err := r.check(); err != nil {
		return nil, err
	}
	key, err := generateKey(r.KeyType)
	if err != nil {
		return nil, err
	}
	template, err := r.template(key.Public())
	if err != nil {
		return nil, err
	}
	parent, signer := template, key
	if r.Issuer != nil {
		parent, signer = r.Issuer.Certificate, r.Issuer.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading back the certificate: %w", err)
	}
	issued := &Issued{Kind: r.Kind, Certificate: cert, Key: key, selfSigned: r.Issuer == nil}
	issued.Chain = []*x509.Certificate{cert}
	if r.Issuer != nil {
		issued.Chain = append(issued.Chain, r.Issuer.Chain...)
	}
	return issued, nil
}

// Issuer returns i as the issuer of further certificates. Those are refused by Issue
// unless i is a CA.
func (i *Issued) Issuer() *Issuer {
	a := Authority{Certificate: i.Certificate}
	if !i.selfSigned {
		a.Chain = i.Chain
	}
	return &Issuer{Authority: a, Key: i.Key}
}

// TLSCertificate returns the chain and the key for a TLS client.
func (i *Issued) TLSCertificate() tls.Certificate {
	c := tls.Certificate{PrivateKey: i.Key, Leaf: i.Certificate}
	for _, cert := range i.Chain {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// withDefaults fills what r leaves open.
func (r Request) withDefaults(now time.Time) Request {
	if r.KeyType == "" {
		r.KeyType = P256
	}
	start := r.NotBefore
	if r.NotBefore.IsZero() {
		start, r.NotBefore = now, now.Add(-ClockSkew)
	}
	if r.NotAfter.IsZero() {
		r.NotAfter = start.AddDate(0, 0, r.Kind.DefaultDays())
	}
	r.NotBefore = r.NotBefore.UTC().Truncate(time.Second)
	r.NotAfter = r.NotAfter.UTC().Truncate(time.Second)
	return r
}

// check reports what makes r impossible.
func (r Request) check() error {
	if err := CheckCommonName(r.Kind, r.CommonName); err != nil {
		return fmt.Errorf("common name %q %w", r.CommonName, err)
	}
	if !r.NotAfter.After(r.NotBefore) {
		return fmt.Errorf("the validity ends (%s) before it begins (%s)",
			r.NotAfter.Format(time.RFC3339), r.NotBefore.Format(time.RFC3339))
	}
	if r.NotAfter.Year() > 9999 { // RFC 5280 section 4.1.2.5
		return errors.New("the validity must end before the year 10000")
	}
	switch {
	case r.Kind > Verification:
		return fmt.Errorf("%s is not a kind of certificate", r.Kind)
	case r.Kind == Root && r.Issuer != nil:
		return errors.New("a root signs itself and has no issuer")
	case (r.Kind == Intermediate || r.Kind == Verification) && r.Issuer == nil:
		return fmt.Errorf("a certificate of kind %s needs an issuer", r.Kind)
	case r.Issuer != nil:
		return r.Issuer.mayIssue(r)
	}
	return nil
}

// template returns the certificate to sign, for the public key pub.
func (r Request) template(pub crypto.PublicKey) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	subjectID, err := keyID(pub)
	if err != nil {
		return nil, err
	}
	authorityID := subjectID
	if r.Issuer != nil {
		if authorityID, err = r.Issuer.keyID(); err != nil {
			return nil, err
		}
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: r.CommonName},
		NotBefore:             r.NotBefore,
		NotAfter:              r.NotAfter,
		BasicConstraintsValid: true,
		IsCA:                  r.Kind.isCA(),
		SubjectKeyId:          subjectID,
		AuthorityKeyId:        authorityID,
	}
	r.setUsage(t)
	return t, nil
}

// setUsage says in t what the key may be used for. A CA has no path length, so that
// chains can be of any depth, and no extended usage, so that it restricts nothing.
func (r Request) setUsage(t *x509.Certificate) {
	if r.Kind.isCA() {
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		return
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	if r.KeyType.isRSA() {
		t.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

// newSerial returns a random positive number of at most 128 bits. RFC 5280 section
// 4.1.2.2 allows 20 octets, sign included.
func newSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	limit.Sub(limit, big.NewInt(1))
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, fmt.Errorf("generating a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil // never zero
}

// isSelfSigned reports whether c is signed by its own key. A signature of an
// algorithm that is no longer verified (SHA-1) is taken on its name.
func isSelfSigned(c *x509.Certificate) bool {
	if !bytes.Equal(c.RawSubject, c.RawIssuer) {
		return false
	}
	err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	var insecure x509.InsecureAlgorithmError
	return err == nil || errors.As(err, &insecure)
}
