package tlsauth

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"
)

// serverLife is how long a server certificate is valid: what the CA/Browser Forum
// allowed and clients check.
// Source: https://support.apple.com/en-us/102028 (at most 398 days).
const serverLife = 397 * 24 * time.Hour

// names are those of a server certificate.
type names struct {
	first string
	dns   []string
	ips   []net.IP
}

func parseNames(hosts []string) (names, error) {
	if len(hosts) == 0 {
		return names{}, errors.New("a server certificate needs a host name")
	}
	n := names{first: hosts[0]}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			n.addIP(ip)
			continue
		}
		if !slices.Contains(n.dns, host) {
			n.dns = append(n.dns, host)
		}
		if host == "localhost" {
			n.addIP(net.IPv4(127, 0, 0, 1))
			n.addIP(net.IPv6loopback)
		}
	}
	return n, nil
}

func (n *names) addIP(ip net.IP) {
	if !slices.ContainsFunc(n.ips, ip.Equal) {
		n.ips = append(n.ips, ip)
	}
}

// match says whether cert is for exactly these names, in any order.
func (n *names) match(cert *x509.Certificate) bool {
	if len(cert.DNSNames) != len(n.dns) || len(cert.IPAddresses) != len(n.ips) {
		return false
	}
	for _, name := range n.dns {
		if !slices.Contains(cert.DNSNames, name) {
			return false
		}
	}
	for _, ip := range n.ips {
		if !slices.ContainsFunc(cert.IPAddresses, ip.Equal) {
			return false
		}
	}
	return true
}

// issuer keeps server certificates of the own authority in files.
type issuer struct {
	dir   string
	names names
	own   *authority
	now   func() time.Time
	log   *slog.Logger
}

func newIssuer(o Options, n names, own *authority) *issuer {
	return &issuer{dir: o.Dir, names: n, own: own, now: o.Now, log: o.Log}
}

func (s *issuer) rename(_ []string, n names) { s.names = n }

// refresh issues what is stale and returns the certificates of all kinds.
func (s *issuer) refresh() outcome {
	if err := s.own.extend(s.names, s.now(), s.log); err != nil {
		return outcome{fresh: true, err: fmt.Errorf("issuing certificates of the TLS authority: %w", err)}
	}
	var all [][]*tls.Certificate
	for _, g := range s.own.groups(s.names) {
		var certs []*tls.Certificate
		for _, c := range s.own.cas {
			cert, err := s.ensure(c, g)
			if err != nil {
				return outcome{fresh: true, err: fmt.Errorf("issuing %s: %w", s.certFile(c, g), err)}
			}
			certs = append(certs, cert)
		}
		all = append(all, certs)
	}
	return outcome{certs: all, fresh: true}
}

func (s *issuer) certFile(c *ca, g group) string { return s.file(c, g, ".cert.pem") }
func (s *issuer) keyFile(c *ca, g group) string  { return s.file(c, g, ".key.pem") }

func (s *issuer) file(c *ca, g group, suffix string) string {
	name := c.server
	if g.generation > 0 {
		name += fmt.Sprintf("-%d", g.generation+1)
	}
	return filepath.Join(s.dir, name+suffix)
}

// ensure returns the certificate in the files, or issues a new one where that may not
// be served.
func (s *issuer) ensure(c *ca, g group) (*tls.Certificate, error) {
	cert, err := loadPair(s.certFile(c, g), s.keyFile(c, g))
	if err == nil {
		err = s.check(cert.Leaf, c, g)
	}
	if err == nil {
		return cert, nil
	}
	reason := err.Error()
	if errors.Is(err, fs.ErrNotExist) {
		reason = "it does not exist"
	}
	if cert, err = s.issue(c, g); err != nil {
		return nil, err
	}
	s.log.Info("server certificate issued", "file", s.certFile(c, g), "reason", reason,
		"names", g.dns, "addresses", g.ips, "not_after", cert.Leaf.NotAfter)
	return cert, nil
}

// check returns why a certificate has to be issued again, or nil.
func (s *issuer) check(leaf *x509.Certificate, c *ca, g group) error {
	now := s.now()
	third := leaf.NotAfter.Sub(leaf.NotBefore) / 3
	switch {
	case leaf.PublicKeyAlgorithm != c.algorithm:
		return fmt.Errorf("its key algorithm is %s", leaf.PublicKeyAlgorithm)
	case leaf.CheckSignatureFrom(c.cert) != nil:
		return errors.New("it is from another authority")
	case !g.match(leaf):
		return errors.New("the host names changed")
	case leaf.NotAfter.Sub(now) < third:
		return errors.New("it expires soon")
	case now.Before(leaf.NotBefore):
		return errors.New("it is not valid yet")
	}
	return nil
}

// issue makes a certificate with a key of its own and writes both, the key first. After
// a crash between the two they do not match, which is found at the next start.
func (s *issuer) issue(c *ca, g group) (*tls.Certificate, error) {
	key, err := c.serverKey()
	if err != nil {
		return nil, err
	}
	der, err := s.sign(c, g, key.Public())
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := writeKey(s.keyFile(c, g), key); err != nil {
		return nil, err
	}
	if err := writeCert(s.certFile(c, g), der); err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func (s *issuer) sign(c *ca, g group, key crypto.PublicKey) ([]byte, error) {
	start := s.now().Add(-backdate)
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{Organization: []string{"Mooring"}},
		NotBefore:             start,
		NotAfter:              start.Add(serverLife),
		KeyUsage:              c.usage,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              g.dns,
		IPAddresses:           g.ips,
	}
	// OpenSSL checks the common name of a certificate without DNS names against the DNS names that its CA
	// permits, and refuses an address there.
	// Source: OpenSSL, NAME_CONSTRAINTS_check_CN.
	const maxCommonName = 64 // RFC 5280, appendix A.1
	if len(g.first) <= maxCommonName && net.ParseIP(g.first) == nil {
		template.Subject.CommonName = g.first
	}
	return x509.CreateCertificate(rand.Reader, template, c.cert, key, c.key)
}

// loadPair reads a certificate chain and its key, which must match.
func loadPair(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := readFile(certFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	return &cert, nil
}
