package pki

import (
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mooring-iot/mooring/internal/certfile"
)

// maxFile is the most bytes read from a file.
const maxFile = 1 << 20

// Endings of the names of files, after the slug.
const (
	certSuffix  = ".cert.pem"
	keySuffix   = ".key.pem"
	chainSuffix = ".chain.pem"
)

// Files are the paths of what was written for one certificate.
type Files struct {
	Certificate string // the certificate alone
	Key         string // its private key: PKCS#8, readable by its owner only
	Chain       string // Issued.Chain; "" for what needs none
}

// CertificatePEM returns the certificate alone.
func (i *Issued) CertificatePEM() []byte { return encodeCertificates(i.Certificate) }

// ChainPEM returns Chain, which is what SDKs take as a device's certificate.
func (i *Issued) ChainPEM() []byte { return encodeCertificates(i.Chain...) }

// KeyPEM returns the private key as PKCS#8, not encrypted.
func (i *Issued) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(i.Key)
	if err != nil {
		return nil, fmt.Errorf("encoding the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// SHA1Thumbprint returns the SHA-1 of the certificate in upper-case hexadecimal.
func (i *Issued) SHA1Thumbprint() string {
	sum := sha1.Sum(i.Certificate.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// SHA256Thumbprint returns the SHA-256 of the certificate in upper-case hexadecimal.
func (i *Issued) SHA256Thumbprint() string {
	sum := sha256.Sum256(i.Certificate.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// Write writes the certificate, the key and, for an intermediate and for a device
// under a CA, the chain into dir under names made by Slug. A missing dir is created
// for its owner only. It never overwrites: when one of the files exists nothing is
// written and the error is fs.ErrExist. On any error none of its files stay.
func (i *Issued) Write(dir string) (Files, error) {
	key, err := i.KeyPEM()
	if err != nil {
		return Files{}, err
	}
	base := filepath.Join(dir, Slug(i.Kind, i.Certificate.Subject.CommonName))
	files := Files{Certificate: base + certSuffix, Key: base + keySuffix}
	todo := []pendingFile{
		{files.Certificate, 0o644, i.CertificatePEM()},
		{files.Key, 0o600, key},
	}
	if i.hasChainFile() {
		files.Chain = base + chainSuffix
		todo = append(todo, pendingFile{files.Chain, 0o644, i.ChainPEM()})
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, err
	}
	if err := writeAll(todo); err != nil {
		return Files{}, err
	}
	return files, nil
}

// hasChainFile reports whether i is shown to others together with its intermediates.
func (i *Issued) hasChainFile() bool {
	return i.Kind == Intermediate || i.Kind == Device && !i.selfSigned
}

// pendingFile is a file about to be written.
type pendingFile struct {
	path string
	mode fs.FileMode
	data []byte
}

// writeAll writes all files or, when it fails, none.
func writeAll(files []pendingFile) error {
	var existing []string
	for _, f := range files {
		if _, err := os.Lstat(f.path); err == nil {
			existing = append(existing, f.path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(existing) > 0 {
		return fmt.Errorf("nothing written; files are never overwritten: %s: %w",
			strings.Join(existing, ", "), fs.ErrExist)
	}
	for n, f := range files {
		if err := writeNew(f); err != nil {
			return errors.Join(err, removeAll(files[:n]))
		}
	}
	return nil
}

// writeNew writes f, which must not exist; when it fails it leaves no file behind.
func writeNew(f pendingFile) error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	_, err = file.Write(f.data)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(f.path))
	}
	return nil
}

// removeAll removes files that were written.
func removeAll(files []pendingFile) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, os.Remove(f.path))
	}
	return errors.Join(errs...)
}

// ReadKey reads a private key from a PEM file of at most 1 MB: PKCS#8, PKCS#1 or
// SEC 1, not encrypted. Other PEM blocks in the file are passed over.
func ReadKey(file string) (crypto.Signer, error) {
	data, err := readLimited(file)
	if err != nil {
		return nil, err
	}
	if data, err = certfile.Text(data); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		key, err := parseKey(block)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return key, nil
	}
	return nil, fmt.Errorf("%s: has no private key in PEM form", file)
}

// parseKey returns the private key in block.
func parseKey(block *pem.Block) (crypto.Signer, error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, errors.New("the private key is encrypted; decrypt it first: openssl pkey -in FILE -out PLAIN")
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return signer, nil
}

// readCertificates reads all certificates of a file, at least one. The private key may
// be beside them.
func readCertificates(file string) ([]*x509.Certificate, error) {
	data, err := readLimited(file)
	if err != nil {
		return nil, err
	}
	certs, err := certfile.ReadWithKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return certs, nil
}

// readLimited reads a file of at most maxFile bytes.
func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: is larger than 1 MB", path)
	}
	return data, nil
}

// encodeCertificates returns certs as PEM, one after the other.
func encodeCertificates(certs ...*x509.Certificate) []byte { return certfile.Encode(certs) }
