package tlsauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	caYears = 10
	// backdate makes a new certificate good for clients whose clock is a little slow.
	backdate = time.Hour
)

// Types of PEM blocks.
const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY" // PKCS #8
)

// authority is the CA of the service's own. Clients were told to trust it, so it is
// made once and never replaced.
type authority struct {
	certFile, keyFile string
	cert              *x509.Certificate
	key               *ecdsa.PrivateKey
}

// openCA loads the CA of o.Dir, or creates it where there is none.
func openCA(o Options) (*authority, error) {
	ca := &authority{
		certFile: filepath.Join(o.Dir, "ca.cert.pem"),
		keyFile:  filepath.Join(o.Dir, "ca.key.pem"),
	}
	if err := os.MkdirAll(o.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("opening TLS authority: %w", err)
	}
	if err := ca.loadOrCreate(o.Now()); err != nil {
		return nil, fmt.Errorf("opening TLS authority: %w", err)
	}
	ca.warn(o.Log, o.Now())
	return ca, nil
}

// loadOrCreate looks at the files. The key is written first, so a key alone is what a
// crash during creation leaves: it gets its certificate, whose name and key are those
// that clients may already trust. A certificate alone cannot be helped.
func (ca *authority) loadOrCreate(now time.Time) error {
	certPEM, certErr := readFile(ca.certFile)
	keyPEM, keyErr := readFile(ca.keyFile)
	noCert, noKey := errors.Is(certErr, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist)
	switch {
	case noCert && noKey:
		return ca.create(now)
	case noKey && certErr == nil:
		return fmt.Errorf("%s is there, but its key %s is not: restore the key from a backup; or, for a new authority that all clients must trust anew, remove %[1]s",
			ca.certFile, ca.keyFile)
	case keyErr != nil:
		return keyErr
	case !noCert && certErr != nil:
		return certErr
	}
	if err := ca.parseKey(keyPEM); err != nil {
		return err
	}
	if noCert {
		return ca.certify(now)
	}
	return ca.parseCert(certPEM)
}

func (ca *authority) parseKey(text []byte) error {
	if block, _ := pem.Decode(text); block != nil && block.Type == pemKey {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if ec, ok := key.(*ecdsa.PrivateKey); ok && err == nil {
			ca.key = ec
			return nil
		}
	}
	return fmt.Errorf("%s is damaged: restore it from a backup; or, for a new authority that all clients must trust anew, remove it together with %s",
		ca.keyFile, ca.certFile)
}

func (ca *authority) parseCert(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemCertificate {
		return ca.damagedCert()
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !cert.IsCA {
		return ca.damagedCert()
	}
	if !ca.key.PublicKey.Equal(cert.PublicKey) {
		return fmt.Errorf("%s is not the key of %s: restore both from one backup; or, for a new authority that all clients must trust anew, remove both",
			ca.keyFile, ca.certFile)
	}
	ca.cert = cert
	return nil
}

func (ca *authority) damagedCert() error {
	return fmt.Errorf("%s is damaged: restore it from a backup; or remove it and start again: it is then made anew from %s, under the same name",
		ca.certFile, ca.keyFile)
}

func (ca *authority) create(now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca.key = key
	if err := writeKey(ca.keyFile, key); err != nil {
		return err
	}
	return ca.certify(now)
}

// certify writes a certificate for the key. Its name follows from the key.
func (ca *authority) certify(now time.Time) error {
	id, err := keyID(&ca.key.PublicKey)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "Mooring TLS Authority " + hex.EncodeToString(id[:4])},
		SubjectKeyId:          id,
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(caYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return writeCert(ca.certFile, der)
}

// warn tells the operator in time that a new authority is needed.
func (ca *authority) warn(log *slog.Logger, now time.Time) {
	if now.Add(serverLife).After(ca.cert.NotAfter) {
		log.Warn("the TLS authority ends soon: remove both of its files for a new one, and let all clients trust that",
			"file", ca.certFile, "not_after", ca.cert.NotAfter)
	}
	if now.Before(ca.cert.NotBefore) {
		log.Warn("the TLS authority is not valid yet: check the clock", "file", ca.certFile, "not_before", ca.cert.NotBefore)
	}
}

// keyID is 20 bytes of the SHA-256 of the public key, an identifier like those of
// RFC 7093, section 2.
func keyID(key crypto.PublicKey) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(spki)
	return sum[:20], nil
}

// newSerial returns a positive number of 126 random bits.
// Source: RFC 5280, section 4.1.2.2.
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

func writeKey(path string, key crypto.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), secretMode)
}

func writeCert(path string, der []byte) error {
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}), publicMode)
}
