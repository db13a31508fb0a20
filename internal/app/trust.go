package app

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/mooring-iot/mooring/internal/certfile"
)

// describeTrust says which CA clients must trust, and what commands on this machine trust.
func (a *App) describeTrust(r *runtime) (err error) {
	c := a.options.Config
	if c.TLSCert == "" {
		r.CAFile, err = filepath.Abs(a.tls.CAFile())
		return err
	}
	ca, issuer, err := operatorTrust(c.TLSCert, c.TLSCA)
	if err != nil {
		return err
	}
	r.CAIssuer = issuer
	if r.TrustFile, err = filepath.Abs(c.TLSCert); err != nil {
		return err
	}
	if ca != "" {
		if r.CAFile, err = filepath.Abs(ca); err != nil {
			return err
		}
		r.TrustFile = r.CAFile
	}
	return nil
}

// operatorTrust returns the file of the CA that clients must trust for an operator's certificate: the one
// that was given or, where its chain ends with a root, the chain itself. Otherwise the file is unknown, and
// the name of the CA that issued the chain is returned: a server certificate is no CA file, as most
// clients accept no other end of a chain than a root.
func operatorTrust(certFile, caFile string) (ca, issuer string, err error) {
	chain, err := readCertificates(certFile)
	if err != nil {
		return "", "", fmt.Errorf("--tls-cert: %w", err)
	}
	last := chain[len(chain)-1]
	if caFile == "" {
		selfSigned := last.CheckSignature(last.SignatureAlgorithm, last.RawTBSCertificate, last.Signature) == nil
		if bytes.Equal(last.RawSubject, last.RawIssuer) && selfSigned {
			return certFile, "", nil
		}
		return "", last.Issuer.String(), nil
	}
	roots, err := readCertificates(caFile)
	if err != nil {
		return "", "", fmt.Errorf("--tls-ca: %w", err)
	}
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: chain[0].NotAfter}
	for _, c := range roots {
		o.Roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return "", "", fmt.Errorf("--tls-ca: clients that trust %s would refuse the certificate of --tls-cert: %w", caFile, err)
	}
	return caFile, "", nil
}

// readCertificates returns the certificates of a file, at least one.
func readCertificates(name string) ([]*x509.Certificate, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSmallFile))
	if err != nil {
		return nil, err
	}
	all, err := certfile.ReadWithKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return all, nil
}
