package tlsauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
)

const rsaBits = 2048

// kind is an algorithm of keys. Each has a CA and a server certificate that it issues,
// so that a client needs only one algorithm to verify the chain.
type kind struct {
	caKey     string // file name
	server    string // start of the file names
	algorithm x509.PublicKeyAlgorithm
	usage     x509.KeyUsage // of the server certificate
	generate  func() (crypto.Signer, error)
}

// kinds lists them, the preferred first.
func kinds() []kind {
	return []kind{
		{
			caKey:     "ca.key.pem",
			server:    "server-ecdsa",
			algorithm: x509.ECDSA,
			usage:     x509.KeyUsageDigitalSignature,
			generate:  func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		},
		{
			caKey:     "ca-rsa.key.pem",
			server:    "server-rsa",
			algorithm: x509.RSA,
			usage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
			generate:  func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, rsaBits) },
		},
	}
}

// algorithmOf returns the algorithm of a public key, of those that kinds have.
func algorithmOf(key crypto.PublicKey) x509.PublicKeyAlgorithm {
	switch key.(type) {
	case *ecdsa.PublicKey:
		return x509.ECDSA
	case *rsa.PublicKey:
		return x509.RSA
	}
	return x509.UnknownPublicKeyAlgorithm
}

// sameKey says whether two public keys are equal.
func sameKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
