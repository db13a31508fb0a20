package device

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
)

// Credential is what a device proves its identity with: X509, SymmetricKey or
// GroupKey.
type Credential interface {
	// prepare returns the proof for a registration ID, which is "" when the
	// credential is to tell it.
	prepare(registrationID string) (proof, error)
}

// proof is a credential ready for use. Exactly one of certificate and key is set.
type proof struct {
	registrationID string
	certificate    *tls.Certificate
	key            []byte
}

// X509 is a certificate with its private key. The chain goes from the device's own
// certificate towards the root, with the intermediates that the service does not
// hold. The private key is any crypto.Signer, so it may live in a TPM or HSM.
func X509(cert tls.Certificate) Credential { return certificate{cert} }

// SymmetricKey is the device's own key, decoded from base64.
func SymmetricKey(key []byte) Credential { return symmetricKey{key} }

// GroupKey is the key of an enrollment group, decoded from base64; the device's own
// is derived from it. A device that holds the group's key can speak for all of the
// group: better give it the result of DeriveKey.
func GroupKey(key []byte) Credential { return groupKey{key} }

// DeriveKey returns the key of one device of an enrollment group: the HMAC-SHA256 of
// the registration ID under the group's key. Both keys are decoded.
// Source: azure-docs, articles/iot-dps/concepts-symmetric-key-attestation.md.
func DeriveKey(groupKey []byte, registrationID string) []byte {
	mac := hmac.New(sha256.New, groupKey)
	mac.Write([]byte(registrationID))
	return mac.Sum(nil)
}

type certificate struct{ tls.Certificate }

func (c certificate) prepare(id string) (proof, error) {
	if len(c.Certificate.Certificate) == 0 {
		return proof{}, badOption("Credential", "the X.509 chain is empty")
	}
	if _, ok := c.PrivateKey.(crypto.Signer); !ok {
		return proof{}, badOption("Credential", "a private key of type %T cannot sign", c.PrivateKey)
	}
	leaf := c.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(c.Certificate.Certificate[0]); err != nil {
			return proof{}, badOption("Credential", "%w", err)
		}
	}
	if id == "" {
		if commonNames(leaf) > 1 {
			return proof{}, badOption("RegistrationID", "is required: the certificate has several common names")
		}
		id = leaf.Subject.CommonName
	}
	return proof{registrationID: id, certificate: &c.Certificate}, nil
}

// commonNames counts the common names of a subject.
func commonNames(c *x509.Certificate) (n int) {
	for _, attr := range c.Subject.Names {
		if attr.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
			n++
		}
	}
	return n
}

// redacted is what a key prints as, whatever the verb.
const redacted = "[key]"

type symmetricKey struct{ key []byte }

func (k symmetricKey) prepare(id string) (proof, error) {
	if len(k.key) == 0 {
		return proof{}, badOption("Credential", "the key is empty")
	}
	return proof{registrationID: id, key: k.key}, nil
}

// Format keeps the key out of logs.
func (symmetricKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

type groupKey struct{ key []byte }

func (k groupKey) prepare(id string) (proof, error) {
	if len(k.key) == 0 {
		return proof{}, badOption("Credential", "the group's key is empty")
	}
	return proof{registrationID: id, key: DeriveKey(k.key, id)}, nil
}

// Format keeps the key out of logs.
func (groupKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// Format keeps the private key out of logs.
func (certificate) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[certificate]")) }
