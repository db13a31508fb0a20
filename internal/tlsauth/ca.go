package tlsauth

import (
	"bytes"
	"crypto"
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
	"sync"
	"time"

	"github.com/mooring-iot/mooring/internal/durable"
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

// authority is the service's own: a CA of each kind. Clients were told to trust both, so
// they are made once and never replaced.
//
// Each CA has its key in a file. One more file holds the certificates of all, in the
// order of kinds: it is what clients trust. Creation writes the keys, in that order too,
// and then the certificates in one piece. So the certificates are there exactly when
// creation was finished, and all that a crash leaves is the first of these files without
// the later ones: the next start makes the missing ones.
type authority struct {
	certFile string
	cas      []*ca
	earlier  []*x509.Certificate // earlier generations of the first CA, see constraints.go
}

// ca is the CA of one kind.
type ca struct {
	kind
	keyFile string
	key     crypto.Signer // nil while there is none
	cert    *x509.Certificate
	spare   crypto.Signer // a new key for a server certificate; nil when used
}

// openAuthority loads the authority of o.Dir, or creates it where there is none.
func openAuthority(o Options, n names) (*authority, error) {
	a := &authority{certFile: filepath.Join(o.Dir, "ca.cert.pem")}
	for _, k := range kinds() {
		a.cas = append(a.cas, &ca{kind: k, keyFile: filepath.Join(o.Dir, k.caKey)})
	}
	if err := os.MkdirAll(o.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("opening TLS authority: %w", err)
	}
	if err := a.loadOrCreate(n, o.Now()); err != nil {
		return nil, fmt.Errorf("opening TLS authority: %w", err)
	}
	if err := a.loadEarlier(); err != nil {
		return nil, fmt.Errorf("opening TLS authority: %w", err)
	}
	a.warn(o.Log, o.Now())
	return a, nil
}

// loadOrCreate looks at the files. Keys without certificates get certificates, whose
// names and keys are those that clients may already trust. Certificates without one of
// the keys cannot be helped.
func (a *authority) loadOrCreate(n names, now time.Time) error {
	certs, err := readFile(a.certFile)
	unfinished := errors.Is(err, fs.ErrNotExist)
	if err != nil && !unfinished {
		return err
	}
	for _, c := range a.cas {
		if err := a.loadKey(c); err != nil {
			return err
		}
	}
	if err := a.checkOrder(!unfinished); err != nil {
		return err
	}
	if unfinished {
		return a.create(n, now)
	}
	return a.parseCerts(certs)
}

// loadKey reads the key of c if there is one.
func (a *authority) loadKey(c *ca) error {
	text, err := readFile(c.keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(text); block != nil && block.Type == pemKey {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		signer, ok := key.(crypto.Signer)
		if err == nil && ok && algorithmOf(signer.Public()) == c.algorithm {
			c.key = signer
			return nil
		}
	}
	return fmt.Errorf("%s is damaged: restore it from a backup; %s", c.keyFile, a.startOver())
}

// checkOrder refuses a file that is there while one that is written before it is not: no
// crash during creation leaves that.
func (a *authority) checkOrder(certs bool) error {
	missing := ""
	for _, c := range a.cas {
		switch {
		case c.key == nil && missing == "":
			missing = c.keyFile
		case c.key != nil && missing != "":
			return a.lost(missing, c.keyFile)
		}
	}
	if certs && missing != "" {
		return a.lost(missing, a.certFile)
	}
	return nil
}

func (a *authority) lost(missing, present string) error {
	return fmt.Errorf("%s exists, but %s is missing: restore that key from a backup; %s", present, missing, a.startOver())
}

// startOver is the way out for an operator who has no backup.
func (a *authority) startOver() string {
	files := a.certFile
	for _, c := range a.cas {
		files += ", " + c.keyFile
	}
	return "or, to create a new authority that every client must trust again, remove " + files
}

// parseCerts wants the certificates of all CAs in their order, and nothing else.
func (a *authority) parseCerts(text []byte) error {
	for _, c := range a.cas {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != pemCertificate {
			return a.damagedCerts()
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !cert.IsCA {
			return a.damagedCerts()
		}
		if !sameKey(c.key.Public(), cert.PublicKey) {
			return fmt.Errorf("%s is not the key of its certificate in %s: restore all files from one backup; %s",
				c.keyFile, a.certFile, a.startOver())
		}
		c.cert, text = cert, rest
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return a.damagedCerts()
	}
	return nil
}

func (a *authority) damagedCerts() error {
	return fmt.Errorf(
		"%s is damaged, or does not hold exactly the %d certificates of the authority: restore it from a backup; or remove it and restart: "+
			"it is then created again from the keys beside it, with the same names",
		a.certFile,
		len(a.cas),
	)
}

// create makes what is missing: keys, and the certificates of all.
func (a *authority) create(n names, now time.Time) error {
	for _, c := range a.cas {
		if c.key == nil {
			if err := c.newKeys(); err != nil {
				return err
			}
		}
	}
	certs, err := a.certificates(n, now)
	if err != nil {
		return err
	}
	return a.put(certs)
}

// newKeys makes the key and, as a new CA has a server certificate to issue, one for that
// at the same time: the first start waits for RSA keys.
func (c *ca) newKeys() error {
	var (
		wg               sync.WaitGroup
		keyErr, spareErr error
	)
	wg.Go(func() { c.spare, spareErr = c.generate() })
	c.key, keyErr = c.generate()
	wg.Wait()
	if err := errors.Join(keyErr, spareErr); err != nil {
		return err
	}
	return writeKey(c.keyFile, c.key)
}

// serverKey returns a new key for a server certificate.
func (c *ca) serverKey() (crypto.Signer, error) {
	if key := c.spare; key != nil {
		c.spare = nil
		return key, nil
	}
	return c.generate()
}

// certificate makes a certificate for the key that permits names, and what the present one permits. Its
// own name follows from the key.
func (c *ca) certificate(n names, now time.Time) (*x509.Certificate, error) {
	id, err := keyID(c.key.Public())
	if err != nil {
		return nil, err
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
	constrain(template, n, c.cert)
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// warn tells the operator in time that a new authority is needed. The certificates were
// made together, so that one warning says it for all.
func (a *authority) warn(log *slog.Logger, now time.Time) {
	cert := a.cas[0].cert
	if now.Add(serverLife).After(cert.NotAfter) {
		log.Warn("the TLS authority expires soon: remove its certificates and keys to create a new one, and install its CA file on all clients",
			"file", a.certFile, "not_after", cert.NotAfter)
	}
	if now.Before(cert.NotBefore) {
		log.Warn("the TLS authority is not valid yet: check the clock", "file", a.certFile, "not_before", cert.NotBefore)
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
	return durable.File{Path: path, Mode: secretMode}.WriteBytes(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}))
}

func writeCert(path string, der []byte) error {
	return durable.File{Path: path, Mode: publicMode}.WriteBytes(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}))
}
