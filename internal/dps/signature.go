package dps

import (
	"crypto"
	"crypto/dsa" //nolint:staticcheck // to name what is not supported
	"crypto/ecdh"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of RSA-PSS
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// SignatureProblem says why the signature of a certificate was not accepted.
type SignatureProblem int

// The problems.
const (
	SignatureMismatch    SignatureProblem = iota + 1 // another key made it, or the certificate was changed
	SignatureWeak                                    // it uses a hash that proves nothing
	SignatureUnsupported                             // this program cannot verify its algorithm
	SignerKeyWeak                                    // the signer's key is too short
	SignerKeyUnsupported                             // this program cannot use the signer's key
)

// SignatureError is the error of CheckSignature.
type SignatureError struct {
	Problem SignatureProblem
	Detail  string // the algorithm or key in question: "SHA1-RSA"; "" for SignatureMismatch
}

// Error describes the problem as a fragment that can follow "the certificate".
func (e *SignatureError) Error() string {
	switch e.Problem {
	case SignatureWeak:
		return "is signed with " + e.Detail + ", which is too weak"
	case SignatureUnsupported:
		return "is signed with " + e.Detail + ", which is not supported"
	case SignerKeyWeak:
		return fmt.Sprintf("is signed with %s, at least %d bits are required", e.Detail, MinRSABits)
	case SignerKeyUnsupported:
		return "is signed with " + e.Detail + ", which is not supported"
	default:
		return "is signed with another key"
	}
}

// MinRSABits is the least size of an RSA key that is accepted, in bits: crypto/rsa
// refuses smaller ones.
const MinRSABits = 1024

// CheckSignature reports whether signer's key signed child, by a *SignatureError if it
// did not or if that cannot be told. Nothing else of the certificates is looked at.
//
// RSA-PSS is accepted with a salt of any length; crypto/x509 knows only salts as long
// as the hash, and OpenSSL's default is longer.
func CheckSignature(child, signer *x509.Certificate) error {
	if err := algorithmProblem(child); err != nil {
		return err
	}
	if err := keyProblem(signer); err != nil {
		return err
	}
	if child.SignatureAlgorithm == x509.UnknownSignatureAlgorithm {
		return checkPSS(child, signer)
	}
	if signer.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature) != nil {
		return &SignatureError{Problem: SignatureMismatch}
	}
	return nil
}

// algorithmProblem says what is wrong with the algorithm of child's signature, nil if
// it can be verified.
func algorithmProblem(child *x509.Certificate) error {
	switch child.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return &SignatureError{Problem: SignatureWeak, Detail: child.SignatureAlgorithm.String()}
	case x509.DSAWithSHA256:
		return &SignatureError{Problem: SignatureUnsupported, Detail: child.SignatureAlgorithm.String()}
	case x509.UnknownSignatureAlgorithm:
		if p, err := pssOf(child); err != nil || p.hash() == 0 {
			return &SignatureError{Problem: SignatureUnsupported, Detail: SignatureName(child)}
		}
	}
	return nil
}

// keyProblem says what is wrong with the key of a signer, nil if it can be used.
func keyProblem(signer *x509.Certificate) error {
	switch key := signer.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < MinRSABits {
			return &SignatureError{Problem: SignerKeyWeak, Detail: fmt.Sprintf("an RSA key of %d bits", key.N.BitLen())}
		}
	case nil, *dsa.PublicKey, *ecdh.PublicKey:
		return &SignatureError{Problem: SignerKeyUnsupported, Detail: "a key of type " + KeyName(signer)}
	}
	return nil
}

// KeyName returns what people call the type of a certificate's key: "RSA",
// "Ed448", or its object identifier.
func KeyName(c *x509.Certificate) string {
	if c.PublicKeyAlgorithm != x509.UnknownPublicKeyAlgorithm {
		return c.PublicKeyAlgorithm.String()
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &spki); err != nil {
		return "unknown"
	}
	return algorithmName(spki.Algorithm.Algorithm)
}

// SignatureName returns what people call the algorithm of a certificate's signature:
// "SHA256-RSA", "RSA-PSS with a salt of 222 bytes".
func SignatureName(c *x509.Certificate) string {
	if c.SignatureAlgorithm != x509.UnknownSignatureAlgorithm {
		return c.SignatureAlgorithm.String()
	}
	id, err := algorithmOf(c)
	if err != nil {
		return "an unknown algorithm"
	}
	if !id.Algorithm.Equal(oidPSS) {
		return algorithmName(id.Algorithm)
	}
	p, err := pssOf(c)
	if err != nil {
		return "RSA-PSS with parameters that cannot be read"
	}
	return fmt.Sprintf("RSA-PSS with hash %s, mask hash %s and a salt of %d bytes",
		algorithmName(p.Hash.Algorithm), algorithmName(p.maskHash()), p.Salt)
}

// algorithmName returns the usual name of an algorithm that crypto/x509 has none for,
// else its object identifier.
func algorithmName(id asn1.ObjectIdentifier) string {
	if name, ok := algorithmNames[id.String()]; ok {
		return name
	}
	return "algorithm " + id.String()
}

// Source: RFC 3279, RFC 4055, RFC 5758, RFC 8410, RFC 9881; GM/T 0006.
var algorithmNames = map[string]string{
	"1.2.840.113549.1.1.10":  "RSA-PSS",
	"1.2.840.113549.1.1.14":  "SHA224-RSA",
	"1.2.840.113549.1.1.15":  "SHA512/224-RSA",
	"1.2.840.113549.1.1.16":  "SHA512/256-RSA",
	"1.2.840.10045.4.3.1":    "ECDSA-SHA224",
	"2.16.840.1.101.3.4.3.1": "DSA-SHA224",
	"2.16.840.1.101.3.4.3.9": "ECDSA-SHA3-224", "2.16.840.1.101.3.4.3.10": "ECDSA-SHA3-256",
	"2.16.840.1.101.3.4.3.11": "ECDSA-SHA3-384", "2.16.840.1.101.3.4.3.12": "ECDSA-SHA3-512",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44", "2.16.840.1.101.3.4.3.18": "ML-DSA-65", "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
	"1.3.101.110": "X25519", "1.3.101.111": "X448", "1.3.101.113": "Ed448",
	"1.2.156.10197.1.501": "SM2-SM3",
	"1.3.14.3.2.26":       "SHA-1", "2.16.840.1.101.3.4.2.4": "SHA-224", "2.16.840.1.101.3.4.2.1": "SHA-256",
	"2.16.840.1.101.3.4.2.2": "SHA-384", "2.16.840.1.101.3.4.2.3": "SHA-512",
}

var (
	oidPSS  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidSHA1 = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
)

func algorithmOf(c *x509.Certificate) (pkix.AlgorithmIdentifier, error) {
	var outer struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	_, err := asn1.Unmarshal(c.Raw, &outer)
	return outer.Algorithm, err
}

// pss are the parameters of an RSA-PSS signature.
// Source: RFC 4055, section 3.1.
type pss struct {
	Hash    pkix.AlgorithmIdentifier `asn1:"explicit,tag:0,optional"`
	Mask    pkix.AlgorithmIdentifier `asn1:"explicit,tag:1,optional"`
	Salt    int                      `asn1:"explicit,tag:2,optional,default:20"`
	Trailer int                      `asn1:"explicit,tag:3,optional,default:1"`
}

var errNotPSS = errors.New("no RSA-PSS signature")

// pssOf reads the parameters of c's signature. It fails when that is no RSA-PSS.
func pssOf(c *x509.Certificate) (pss, error) {
	id, err := algorithmOf(c)
	if err != nil {
		return pss{}, err
	}
	if !id.Algorithm.Equal(oidPSS) || len(id.Parameters.FullBytes) == 0 {
		return pss{}, errNotPSS
	}
	p := pss{Hash: pkix.AlgorithmIdentifier{Algorithm: oidSHA1}} // the default
	rest, err := asn1.Unmarshal(id.Parameters.FullBytes, &p)
	if err == nil && len(rest) > 0 {
		err = errNotPSS
	}
	if len(p.Hash.Algorithm) == 0 {
		p.Hash.Algorithm = oidSHA1
	}
	return p, err
}

// maskHash returns the hash of the mask, SHA-1 where none is named.
func (p pss) maskHash() asn1.ObjectIdentifier {
	var hash pkix.AlgorithmIdentifier
	if !p.Mask.Algorithm.Equal(oidMGF1) {
		return oidSHA1
	}
	if _, err := asn1.Unmarshal(p.Mask.Parameters.FullBytes, &hash); err != nil {
		return oidSHA1
	}
	return hash.Algorithm
}

// hash returns the hash to verify with, 0 if crypto/rsa cannot, or if it is weak.
func (p pss) hash() crypto.Hash {
	if !p.maskHash().Equal(p.Hash.Algorithm) || p.Trailer != 1 || p.Salt < 0 {
		return 0
	}
	switch algorithmName(p.Hash.Algorithm) {
	case "SHA-256":
		return crypto.SHA256
	case "SHA-384":
		return crypto.SHA384
	case "SHA-512":
		return crypto.SHA512
	default:
		return 0
	}
}

// checkPSS verifies an RSA-PSS signature that crypto/x509 does not.
func checkPSS(child, signer *x509.Certificate) error {
	mismatch := &SignatureError{Problem: SignatureMismatch}
	p, err := pssOf(child)
	key, ok := signer.PublicKey.(*rsa.PublicKey)
	if err != nil || !ok {
		return mismatch
	}
	h := p.hash().New()
	h.Write(child.RawTBSCertificate)
	options := &rsa.PSSOptions{Hash: p.hash(), SaltLength: p.Salt}
	if p.Salt == 0 {
		options.SaltLength = rsa.PSSSaltLengthAuto // 0 means auto to crypto/rsa
	}
	if rsa.VerifyPSS(key, p.hash(), h.Sum(nil), child.Signature, options) != nil {
		return mismatch
	}
	return nil
}
