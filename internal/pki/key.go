package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
)

// KeyType names an algorithm and a size of private keys.
type KeyType string

// The key types. What they sign is hashed with SHA-256, by P384 with SHA-384.
const (
	P256    KeyType = "p256"
	P384    KeyType = "p384"
	RSA2048 KeyType = "rsa2048"
	RSA3072 KeyType = "rsa3072"
	RSA4096 KeyType = "rsa4096"
)

// KeyTypes returns all key types, the default first.
func KeyTypes() []KeyType {
	return []KeyType{P256, P384, RSA2048, RSA3072, RSA4096}
}

// ParseKeyType returns the key type called s, in lower case. Its error continues a
// sentence about s.
func ParseKeyType(s string) (KeyType, error) {
	if slices.Contains(KeyTypes(), KeyType(s)) {
		return KeyType(s), nil
	}
	var names []string
	for _, t := range KeyTypes() {
		names = append(names, string(t))
	}
	return "", fmt.Errorf("must be one of %s", strings.Join(names, ", "))
}

// isRSA reports whether keys of this type are RSA keys.
func (t KeyType) isRSA() bool { return strings.HasPrefix(string(t), "rsa") }

// generateKey makes a private key.
func generateKey(t KeyType) (crypto.Signer, error) {
	switch t {
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("key type %q is not known", t)
}

// keyID returns the identifier of a public key: the leftmost 160 bits of the SHA-256
// of its bit string, RFC 7093 section 2 method 1.
func keyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding the public key: %w", err)
	}
	var info struct { // SubjectPublicKeyInfo, RFC 5280 section 4.1
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}
	sum := sha256.Sum256(info.PublicKey.Bytes)
	return sum[:20], nil
}

// samePublicKey reports whether a and b are the same public key.
func samePublicKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
