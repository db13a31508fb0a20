package tlsauth

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/mooring-iot/mooring/internal/durable"
)

// A CA of the service may certify some names only: clients that trust it, in a system's store for
// example, trust it for nothing else. These are the domains of the host names that it was made for, and
// addresses of private networks.
//
// A host name outside of them needs a new certificate of the CA. It has the same key and name, so that
// certificates that the CA issued stay valid under both; but a client that trusts the earlier one accepts
// no server certificate with the new name in it. Therefore each host name belongs to the earliest
// generation of the CA that permits it, and each generation has a server certificate of its own: a client
// that connects by a name is shown one that its CA file permits, whichever generation that is.
// Source: RFC 5280, section 4.2.1.10.

// privateNetworks are those whose addresses every CA permits.
// Source: RFC 1918, RFC 3927, RFC 4193, RFC 4291 and RFC 1122.
var privateNetworks = []string{
	"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10",
}

// constrain adds to a template what a CA may certify: what an earlier certificate permitted, and the names.
func constrain(template *x509.Certificate, n names, earlier *x509.Certificate) {
	template.PermittedDNSDomains, template.PermittedIPRanges = []string{"localhost"}, nil
	for _, text := range privateNetworks {
		_, network, err := net.ParseCIDR(text)
		if err == nil {
			template.PermittedIPRanges = append(template.PermittedIPRanges, network)
		}
	}
	if earlier != nil {
		template.PermittedDNSDomains, template.PermittedIPRanges = earlier.PermittedDNSDomains, earlier.PermittedIPRanges
	}
	for _, name := range n.dns {
		if !permitsDNS(template, name) {
			template.PermittedDNSDomains = append(slices.Clip(template.PermittedDNSDomains), domainOf(name))
		}
	}
	for _, ip := range n.ips {
		if !permitsIP(template, ip) {
			template.PermittedIPRanges = append(slices.Clip(template.PermittedIPRanges), onlyIP(ip))
		}
	}
	// Libraries on devices that do not know the extension refuse a certificate in which it is critical.
	template.PermittedDNSDomainsCritical = false
}

// domainOf returns the registered domain of a host name, below which further names may come; a name without
// one is permitted alone.
func domainOf(host string) string {
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return domain
	}
	return host
}

func onlyIP(ip net.IP) *net.IPNet {
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	bits := 8 * len(ip)
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)}
}

// permitsDNS reports whether a CA may certify a DNS name. One without constraints may certify all.
func permitsDNS(ca *x509.Certificate, name string) bool {
	return len(ca.PermittedDNSDomains) == 0 || slices.ContainsFunc(ca.PermittedDNSDomains, func(domain string) bool {
		return strings.EqualFold(name, domain) || strings.HasSuffix(strings.ToLower(name), "."+strings.ToLower(domain))
	})
}

func permitsIP(ca *x509.Certificate, ip net.IP) bool {
	return len(ca.PermittedIPRanges) == 0 || slices.ContainsFunc(ca.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(ip) })
}

// permits reports whether a CA may certify all names.
func permits(ca *x509.Certificate, n names) bool {
	return !slices.ContainsFunc(n.dns, func(name string) bool { return !permitsDNS(ca, name) }) &&
		!slices.ContainsFunc(n.ips, func(ip net.IP) bool { return !permitsIP(ca, ip) })
}

// group is the names of one server certificate of each kind.
type group struct {
	names
	generation int // of the CA that permits them, from 0
}

// groups splits names by the earliest generation that permits each. The last one permits all.
func (a *authority) groups(n names) []group {
	generations := append(slices.Clip(a.earlier), a.cas[0].cert)
	all := make([]group, len(generations))
	for _, name := range n.dns {
		i := slices.IndexFunc(generations, func(ca *x509.Certificate) bool { return permitsDNS(ca, name) })
		all[i].dns = append(all[i].dns, name)
	}
	for _, ip := range n.ips {
		i := slices.IndexFunc(generations, func(ca *x509.Certificate) bool { return permitsIP(ca, ip) })
		all[i].addIP(ip)
	}
	var used []group
	for i, g := range all {
		if g.generation = i; len(g.dns)+len(g.ips) == 0 {
			continue
		}
		switch {
		case slices.Contains(g.dns, n.first) || slices.ContainsFunc(g.ips, func(ip net.IP) bool { return ip.String() == n.first }):
			g.first = n.first
		case len(g.dns) > 0:
			g.first = g.dns[0]
		default:
			g.first = g.ips[0].String()
		}
		used = append(used, g)
	}
	return used
}

// earlierFile has the certificates that the CA of the first kind had before the one that it has now.
func (a *authority) earlierFile() string {
	return filepath.Join(filepath.Dir(a.certFile), "ca-earlier.cert.pem")
}

// loadEarlier reads the earlier generations. A file that cannot be read costs clients that trust them only.
func (a *authority) loadEarlier() error {
	text, err := readFile(a.earlierFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !sameKey(cert.PublicKey, a.cas[0].key.Public()) {
			return fmt.Errorf("%s is damaged, or of another authority: restore it from a backup, or remove it: "+
				"clients that were given an earlier CA file then need %s", a.earlierFile(), a.certFile)
		}
		if !cert.Equal(a.cas[0].cert) { // a crash in between left it in both files
			a.earlier = append(a.earlier, cert)
		}
	}
	return nil
}

// extend gives the CAs new certificates when the present ones do not permit all names. The earlier
// certificate is written first: after a crash it is in both files.
func (a *authority) extend(n names, now time.Time, log *slog.Logger) error {
	present := a.cas[0].cert
	if permits(present, n) {
		return nil
	}
	fresh, err := a.certificates(n, now)
	if err != nil {
		return err
	}
	earlier := append(slices.Clip(a.earlier), present)
	if err := (durable.File{Path: a.earlierFile(), Mode: publicMode}).WriteBytes(encodeAll(earlier)); err != nil {
		return err
	}
	if err := a.put(fresh); err != nil {
		return err
	}
	a.earlier = earlier
	log.Warn("the TLS authority did not permit a host name and has new certificates with the same keys: "+
		"give the CA file to clients that use the new name; clients with the earlier file still accept the earlier names",
		"file", a.certFile, "names", n.dns, "permitted", a.cas[0].cert.PermittedDNSDomains)
	return nil
}

// certificates makes certificates for all CAs that permit names.
func (a *authority) certificates(n names, now time.Time) ([]*x509.Certificate, error) {
	var fresh []*x509.Certificate
	for _, c := range a.cas {
		cert, err := c.certificate(n, now)
		if err != nil {
			return nil, fmt.Errorf("issuing the certificate of %s: %w", c.keyFile, err)
		}
		fresh = append(fresh, cert)
	}
	return fresh, nil
}

// put writes the certificates of all CAs, and takes them over.
func (a *authority) put(certs []*x509.Certificate) error {
	if err := (durable.File{Path: a.certFile, Mode: publicMode}).WriteBytes(encodeAll(certs)); err != nil {
		return err
	}
	for i, c := range a.cas {
		c.cert = certs[i]
	}
	return nil
}

func encodeAll(certs []*x509.Certificate) (text []byte) {
	for _, cert := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw})...)
	}
	return text
}
