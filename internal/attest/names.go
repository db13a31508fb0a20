package attest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mooring-iot/mooring/internal/dps"
)

// The forms of a GeneralName.
// Source: RFC 5280, section 4.2.1.6.
const (
	formOther     = asn1.Tag(0)
	formX400      = asn1.Tag(3)
	formDirectory = asn1.Tag(4)
	formEDI       = asn1.Tag(5)
	formID        = asn1.Tag(8)
)

// unsupportedForms are the forms whose constraints cannot be checked: a name of such
// a form below a constraint on it is refused, as RFC 5280 section 4.2.1.10 demands.
var unsupportedForms = map[asn1.Tag]string{formOther: "otherName", formX400: "x400Address", formEDI: "ediPartyName", formID: "registeredID"}

// generalName is one name with its form. crypto/x509 has no room for some forms.
type generalName struct {
	form asn1.Tag
	der  cryptobyte.String // content; of a directory name the DER of the name
}

// constraint are the name constraints of one certificate, but those on DNS names and IP
// addresses: for these crypto/x509 does what RFC 5280 says. It does not know
// directory names, and applies constraints on the host of an e-mail address or URI to
// hosts below that one too.
type constraint struct {
	cert                *x509.Certificate
	permitted, excluded [][]string        // directory names, as dps.NameParts
	forms               map[asn1.Tag]bool // the unsupported forms that are constrained
}

// checkNames checks the directory names of every certificate of a path against the
// constraints above it. Self-issued signers are exempt: RFC 5280 section 6.1.3 (b).
func checkNames(leaf *node, path []*node) error {
	below := []*node{leaf}
	for _, n := range path {
		rule, err := constraintOf(n.cert)
		if err != nil {
			return fmt.Errorf("%s has nameConstraints that cannot be read", subject(n.cert))
		}
		for _, b := range below {
			if err := rule.allows(b.cert); err != nil {
				return fmt.Errorf("%s %w %s", subject(b.cert), err, subject(n.cert))
			}
		}
		if !n.selfIssued() {
			below = append(below, n)
		}
	}
	return nil
}

var errNames = errors.New("malformed names")

// constraintOf reads the name constraints of c.
// Source: RFC 5280, section 4.2.1.10.
func constraintOf(c *x509.Certificate) (constraint, error) {
	rule := constraint{cert: c, forms: make(map[asn1.Tag]bool)}
	value := extension(c, oidNameConstraints)
	if value == nil {
		return rule, nil
	}
	outer := cryptobyte.String(value)
	var both cryptobyte.String
	if !outer.ReadASN1(&both, asn1.SEQUENCE) {
		return rule, errNames
	}
	for tag := range asn1.Tag(2) {
		var subtrees cryptobyte.String
		var there bool
		if !both.ReadOptionalASN1(&subtrees, &there, tag.Constructed().ContextSpecific()) {
			return rule, errNames
		}
		for !subtrees.Empty() {
			var subtree cryptobyte.String
			if !subtrees.ReadASN1(&subtree, asn1.SEQUENCE) {
				return rule, errNames
			}
			base, ok := readName(&subtree)
			if !ok || !subtree.Empty() { // minimum and maximum are not used: RFC 5280
				return rule, errNames
			}
			if !rule.add(base, tag == 0) {
				return rule, errNames
			}
		}
	}
	return rule, nil
}

func (r *constraint) add(base generalName, permitted bool) bool {
	if unsupportedForms[base.form] != "" {
		r.forms[base.form] = true
	}
	if base.form != formDirectory {
		return true
	}
	parts, ok := dps.NameParts(base.der)
	if permitted {
		r.permitted = append(r.permitted, parts)
	} else {
		r.excluded = append(r.excluded, parts)
	}
	return ok
}

// readName reads one GeneralName.
func readName(from *cryptobyte.String) (generalName, bool) {
	var value cryptobyte.String
	var tag asn1.Tag
	if !from.ReadAnyASN1(&value, &tag) {
		return generalName{}, false
	}
	const number = 0x1f // of a tag, without class and form
	return generalName{form: tag & number, der: value}, true
}

// altNames returns the names of c's subject alternative name.
func altNames(c *x509.Certificate) ([]generalName, error) {
	value := extension(c, oidSubjectAltName)
	if value == nil {
		return nil, nil
	}
	outer := cryptobyte.String(value)
	var seq cryptobyte.String
	if !outer.ReadASN1(&seq, asn1.SEQUENCE) {
		return nil, errNames
	}
	var all []generalName
	for !seq.Empty() {
		name, ok := readName(&seq)
		if !ok {
			return nil, errNames
		}
		all = append(all, name)
	}
	return all, nil
}

// allows reports why c's names break the constraints.
func (r constraint) allows(c *x509.Certificate) error {
	alternatives, err := altNames(c)
	if err != nil {
		return errors.New("has a subject alternative name that cannot be read, below")
	}
	directories := []generalName{{form: formDirectory, der: c.RawSubject}}
	for _, name := range alternatives {
		if r.forms[name.form] {
			return fmt.Errorf("has a name of the form %s, whose constraints are not supported, below", unsupportedForms[name.form])
		}
		if name.form == formDirectory {
			directories = append(directories, name)
		}
	}
	for _, name := range directories {
		parts, ok := dps.NameParts(name.der)
		if !ok || len(parts) > 0 && !within(parts, r.permitted, r.excluded, startsWith) { // an empty one is no name
			return errors.New("has a directory name outside the name constraints of")
		}
	}
	for _, address := range emails(c) {
		if !within(address, r.cert.PermittedEmailAddresses, r.cert.ExcludedEmailAddresses, emailWithin) {
			return fmt.Errorf("has the e-mail address %q, outside the name constraints of", address)
		}
	}
	for _, uri := range c.URIs {
		if r.hasURIs() && !isHostName(uri.Hostname()) || !within(uri, r.cert.PermittedURIDomains, r.cert.ExcludedURIDomains, uriWithin) {
			return fmt.Errorf("has the URI %q, outside the name constraints of", uri)
		}
	}
	return nil
}

// within reports whether a name is permitted and not excluded.
func within[N, B any](name N, permitted, excluded []B, inside func(N, B) bool) bool {
	by := func(base B) bool { return inside(name, base) }
	return !slices.ContainsFunc(excluded, by) && (len(permitted) == 0 || slices.ContainsFunc(permitted, by))
}

func startsWith(parts, base []string) bool {
	return len(base) <= len(parts) && slices.Equal(base, parts[:len(base)])
}

// emails returns the e-mail addresses of c. Those in the subject are constrained where
// there are none in the subject alternative name.
// Source: RFC 5280, section 4.2.1.10.
func emails(c *x509.Certificate) []string {
	if len(c.EmailAddresses) > 0 {
		return c.EmailAddresses
	}
	var found []string
	for _, a := range c.Subject.Names {
		if text, ok := a.Value.(string); ok && a.Type.String() == "1.2.840.113549.1.9.1" {
			found = append(found, text)
		}
	}
	return found
}

// emailWithin compares with a mailbox, all mailboxes of a host, or those of all hosts
// below a domain.
func emailWithin(address, base string) bool {
	at := strings.LastIndexByte(address, '@')
	if i := strings.LastIndexByte(base, '@'); i >= 0 {
		return at >= 0 && address[:at] == base[:i] && strings.EqualFold(address[at:], base[i:])
	}
	return hostWithin(address[at+1:], base)
}

// uriWithin compares the host of a URI.
func uriWithin(uri *url.URL, base string) bool { return hostWithin(uri.Hostname(), base) }

// hostWithin compares with a host, or with all hosts below a domain, which begins with a
// period.
func hostWithin(host, base string) bool {
	if strings.HasPrefix(base, ".") {
		return len(host) > len(base) && strings.EqualFold(host[len(host)-len(base):], base)
	}
	return strings.EqualFold(host, base)
}

func (r constraint) hasURIs() bool {
	return len(r.cert.PermittedURIDomains)+len(r.cert.ExcludedURIDomains) > 0
}

// isHostName reports whether a URI has a host that can be compared: one without host,
// or with an IP address, breaks every constraint on URIs.
// Source: RFC 5280, section 4.2.1.10.
func isHostName(host string) bool { return host != "" && net.ParseIP(host) == nil }
