package dps

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// CodeLifetime is how long a verification code can be used.
const CodeLifetime = 7 * 24 * time.Hour

// Challenge is an outstanding proof of possession: the owner of the CA's key
// issues a certificate whose common name is Code.
type Challenge struct {
	Code    string // 48 upper-case hexadecimal digits
	Expires time.Time
}

// NewChallenge returns a fresh challenge that starts at now.
func NewChallenge(now time.Time) Challenge {
	var b [24]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return Challenge{Code: strings.ToUpper(hex.EncodeToString(b[:])), Expires: now.Add(CodeLifetime)}
}

// CACertificate is an uploaded CA certificate. It may anchor device chains once
// possession of its key is proved.
type CACertificate struct {
	Instance    InstanceID
	Name        CAName
	Certificate Certificate
	Verified    bool
	Challenge   *Challenge // nil when none is outstanding

	ETag             ETag
	Created, Updated time.Time
}

// clockSkew is how far the clock of a CA may be ahead of ours.
const clockSkew = 5 * time.Minute

// Answer checks a verification certificate against the outstanding challenge: it is
// valid now, its only common name is the code, its issuer is the CA, and the CA's key
// signed it.
//
// It fails with Invalid and says which of these is wrong.
// Source: azure-docs, articles/iot-dps/how-to-verify-certificates.md.
func (c CACertificate) Answer(proof Certificate, now time.Time) error {
	if c.Challenge == nil {
		return Invalidf("certificate", "there is no verification code for %s; generate one first", c.Name)
	}
	if !now.Before(c.Challenge.Expires) {
		return Invalidf("certificate", "the verification code of %s expired at %s; generate a new one",
			c.Name, c.Challenge.Expires.UTC().Format(time.RFC3339))
	}
	leaf, err := proof.Parse()
	if err != nil {
		return err
	}
	if err := c.namedByCode(leaf); err != nil {
		return err
	}
	if err := validNow(leaf, now); err != nil {
		return err
	}
	return signedBy(leaf, c)
}

// namedByCode refuses a verification certificate with another common name than the code,
// or with several.
func (c CACertificate) namedByCode(leaf *x509.Certificate) error {
	names := CommonNames(leaf)
	if len(names) > 1 {
		return Invalidf("certificate", "it has %d common names; the verification code of %s must be the only one", len(names), c.Name)
	}
	if len(names) == 0 || !strings.EqualFold(names[0], c.Challenge.Code) {
		return Invalidf("certificate", "its common name must be the verification code of %s", c.Name)
	}
	return nil
}

// validNow refuses a verification certificate outside its validity, which may be an old
// one in other hands.
func validNow(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return Invalidf("certificate", "it expired at %s; issue a new one for the code", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Add(clockSkew).Before(leaf.NotBefore):
		return Invalidf("certificate", "it is not valid before %s; issue it with an earlier start, or check the clocks",
			leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

func signedBy(leaf *x509.Certificate, c CACertificate) error {
	ca, err := c.Certificate.Parse()
	if err != nil {
		return err
	}
	if NameKey(leaf.RawIssuer) != NameKey(ca.RawSubject) {
		return Invalidf("certificate", "its issuer must be the subject of %s, %q", c.Name, DistinguishedName(ca.RawSubject))
	}
	// The signature alone: what counts is possession of the key, and CA certificates
	// without extensions are accepted.
	err = CheckSignature(leaf, ca)
	if problem, ok := errors.AsType[*SignatureError](err); ok && problem.Problem != SignatureMismatch {
		return Invalidf("certificate", "it %s; sign it with RSA or ECDSA and SHA-256", problem)
	}
	if err != nil {
		return &Error{Code: Invalid, Err: err, Message: "certificate: it is not signed by the key of " + string(c.Name)}
	}
	return nil
}

// Anchor is a stored certificate that may sign devices: an uploaded CA
// certificate, the signing certificate of an enrollment group, or both at once.
type Anchor struct {
	Certificate Certificate
	CA          CAName   // name of the uploaded CA certificate, "" if it is none
	Also        []CAName // its other names, where it was uploaded several times
	Verified    bool     // possession of the CA's key was proved
	Group       string   // ID of the enrollment group that it decides for, "" if none
}
