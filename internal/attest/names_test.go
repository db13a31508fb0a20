package attest_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

func mail(addresses ...string) edit {
	return func(c *x509.Certificate) { c.EmailAddresses = addresses }
}

// subjectMail puts an e-mail address into the subject, as certificates of the last century do.
func subjectMail(address string) edit {
	return func(c *x509.Certificate) {
		c.Subject.ExtraNames = append(c.Subject.ExtraNames,
			pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "dev"},
			pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 12}, Value: "a@elsewhere.example"}, // a title
			pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: address})
	}
}

func uris(all ...string) edit {
	return func(c *x509.Certificate) {
		for _, text := range all {
			u, err := url.Parse(text)
			if err != nil {
				panic(err) // the texts are constants
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

func permittedMail(c ...string) edit {
	return func(t *x509.Certificate) { t.PermittedEmailAddresses = c }
}

func permittedURIs(c ...string) edit {
	return func(t *x509.Certificate) { t.PermittedURIDomains = c }
}

// TestNameRules holds which names are within constraints on e-mail addresses, URIs and
// directory names.
// Source: RFC 5280, section 4.2.1.10.
func TestNameRules(t *testing.T) {
	excludedMail := func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"bad.example"} }
	excludedURIs := func(c *x509.Certificate) { c.ExcludedURIDomains = []string{"bad.example"} }
	none := func(*x509.Certificate) {}
	for _, tt := range []struct {
		name  string
		limit edit
		leaf  edit
		want  bool
	}{
		{"a mailbox", permittedMail("a@x.example"), mail("a@x.example"), true},
		{"its host in another case", permittedMail("a@x.example"), mail("a@X.Example"), true},
		{"its name in another case", permittedMail("a@x.example"), mail("A@x.example"), false},
		{"another mailbox of its host", permittedMail("a@x.example"), mail("b@x.example"), false},
		{"the same mailbox of another host", permittedMail("a@x.example"), mail("a@y.example"), false},
		{"one of two mailboxes", permittedMail("a@x.example"), mail("a@x.example", "b@x.example"), false},
		{"no mailbox", permittedMail("a@x.example"), none, true},
		{"all mailboxes of a host", permittedMail("x.example"), mail("b@x.example"), true},
		{"a mailbox of a host below", permittedMail("x.example"), mail("b@y.x.example"), false},
		{"mailboxes of a domain", permittedMail(".x.example"), mail("b@y.x.example"), true},
		{"a domain is no host", permittedMail(".x.example"), mail("b@x.example"), false},
		{"what only ends like the domain", permittedMail(".x.example"), mail("b@yx.example"), false},
		{"an excluded host", excludedMail, mail("b@bad.example"), false},
		{"no excluded host", excludedMail, mail("b@good.example"), true},
		{"in the subject", permittedMail("x.example"), subjectMail("a@x.example"), true},
		{"in the subject, another", permittedMail("x.example"), subjectMail("a@y.example"), false},
		{
			"in the subject, where there are alternative names", permittedMail("x.example"),
			func(c *x509.Certificate) { mail("a@x.example")(c); subjectMail("a@y.example")(c) }, true,
		},
		{"the host of a URI", permittedURIs("x.example"), uris("spiffe://x.example/a"), true},
		{"its host with a port and in another case", permittedURIs("x.example"), uris("https://X.example:8443/a"), true},
		{"a host below", permittedURIs("x.example"), uris("https://y.x.example/"), false},
		{"a host of a domain", permittedURIs(".x.example"), uris("https://y.x.example/"), true},
		{"an excluded URI", excludedURIs, uris("https://bad.example/"), false},
		{"no excluded URI", excludedURIs, uris("https://good.example/"), true},
		{"a URI without a host", excludedURIs, uris("urn:uuid:1"), false},
		{"a URI with an address", excludedURIs, uris("https://192.0.2.1/"), false},
		{"a URI without a host, where only mailboxes are constrained", excludedMail, uris("urn:uuid:1"), true},
		{"an organization", directoryLimit(t, true, 0), organization("Contoso"), true}, // and a common name below it
		{"no organization", directoryLimit(t, true, 0), none, false},
		{"another organization", directoryLimit(t, true, 0), organization("Fabrikam"), false},
		{"an excluded organization", directoryLimit(t, true, 1), none, true},
		{"a directory name among the alternative names", directoryLimit(t, true, 1), directoryName(t, "Contoso"), false},
		{"another directory name", directoryLimit(t, true, 1), directoryName(t, "Fabrikam"), true},
		{"a directory name further down", directoryLimit(t, true, 1), directoryName(t, "Contoso", "Line 1"), false},
		{"a directory name further up", directoryLimit(t, true, 1), directoryName(t), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := ca(t, "Root", nil, tt.limit)
			known := attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}}
			_, d := decide(t, chain(device(t, "dev", root, tt.leaf)), known)
			if d.Refused() == tt.want || lastCheck(d).Name != "name constraints" {
				t.Errorf("decision = %v, want accepted = %v", d.LogValue(), tt.want)
			}
			if d.Refused() && (d.Reason != dps.ReasonChainRule || !strings.Contains(lastCheck(d).Detail, "CN=dev")) {
				t.Errorf("decision = %v; want it to say whose name breaks the rule", d.LogValue())
			}
		})
	}
}

// directoryName is an alternative name of organizations, the widest first.
func directoryName(t *testing.T, organizations ...string) edit {
	t.Helper()
	return extensionOf(false, marshal(t, []asn1.RawValue{directoryOf(t, organizations...)}), 2, 5, 29, 17)
}

func directoryOf(t *testing.T, organizations ...string) asn1.RawValue {
	t.Helper()
	name := pkix.RDNSequence{}
	for _, o := range organizations {
		name = append(name, pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: o}})
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: marshal(t, name)}
}

// TestNamesOfSigners holds that constraints apply to the signers below too, but not to those
// that issued themselves.
// Source: RFC 5280, section 6.1.3 (b).
func TestNamesOfSigners(t *testing.T) {
	inside := func(c *x509.Certificate) { mail("a@x.example")(c) }
	for _, tt := range []struct {
		name string
		low  string
		edit edit
		want bool
	}{
		{"a signer within", "Low", inside, true},
		{"a signer outside", "Low", mail("a@y.example"), false},
		{"a renewed root outside", "Root", mail("a@y.example"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := ca(t, "Root", nil, permittedMail("x.example"))
			low := ca(t, tt.low, root, tt.edit)
			known := attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}}
			_, d := decide(t, chain(device(t, "dev", low, inside), low), known)
			if d.Refused() == tt.want {
				t.Errorf("decision = %v, want accepted = %v", d.LogValue(), tt.want)
			}
		})
	}
}

// TestBrokenNames holds that names and constraints that cannot be read are refused, not
// skipped.
func TestBrokenNames(t *testing.T) {
	sequence := func(content ...byte) []byte { return append([]byte{0x30, byte(len(content))}, content...) }
	tagged := func(tag byte, content ...byte) []byte { return append([]byte{tag, byte(len(content))}, content...) }
	dnsName := tagged(0x82, 'x')
	noLimit := sequence()
	for _, tt := range []struct {
		name        string
		san, limits []byte
		want        string // "" is accepted
	}{
		{"nothing in them", sequence(), noLimit, ""},
		{"a name without a limit", sequence(dnsName...), noLimit, ""},
		{"limits are no sequence", sequence(), tagged(0x31), "has nameConstraints that cannot be read"},
		{"limits are cut off", sequence(), []byte{0x30, 5}, "has nameConstraints that cannot be read"},
		{"permitted subtrees are cut off", sequence(), sequence(0xa0, 5), "has nameConstraints that cannot be read"},
		{"a subtree is no sequence", sequence(), sequence(tagged(0xa0, tagged(0x31)...)...), "has nameConstraints that cannot be read"},
		{"a subtree without a name", sequence(), sequence(tagged(0xa0, sequence()...)...), "has nameConstraints that cannot be read"},
		{
			"a subtree with a minimum", sequence(), sequence(tagged(0xa0, sequence(slices.Concat(dnsName, tagged(0x80, 1))...)...)...),
			"has nameConstraints that cannot be read",
		},
		{
			"a directory name that is none", sequence(), sequence(tagged(0xa0, sequence(tagged(0xa4, 5, 0)...)...)...),
			"has nameConstraints that cannot be read",
		},
		{"a limit on DNS names", sequence(), sequence(tagged(0xa0, sequence(dnsName...)...)...), ""},
		{"names are no sequence", tagged(0x31), noLimit, "has a subject alternative name that cannot be read"},
		{"a name is cut off", sequence(0x82, 5), noLimit, "has a subject alternative name that cannot be read"},
		{
			"a directory name that cannot be read", sequence(tagged(0xa4, 5, 0)...), noLimit,
			"has a directory name outside the name constraints of",
		},
	} {
		err := attest.CheckNames(tt.san, tt.limits)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestNamesOfALeafNamedLikeItsIssuer holds that a device certificate is never exempt from the
// constraints, not even one that has its issuer's name.
// Source: RFC 5280, section 6.1.3 (b): the final certificate is checked.
func TestNamesOfALeafNamedLikeItsIssuer(t *testing.T) {
	root := ca(t, "dev", nil, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"x.example"} }, permittedMail("x.example"))
	known := attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}}
	for _, tt := range []struct {
		name string
		leaf edit
		want bool
	}{
		{"a DNS name within", func(c *x509.Certificate) { c.DNSNames = []string{"a.x.example"} }, true},
		{"a DNS name outside", func(c *x509.Certificate) { c.DNSNames = []string{"a.y.example"} }, false},
		{"a mailbox within", mail("a@x.example"), true},
		{"a mailbox outside", mail("a@y.example"), false},
	} {
		if _, d := decide(t, chain(device(t, "dev", root, tt.leaf)), known); d.Refused() == tt.want {
			t.Errorf("%s: %v, want accepted = %v", tt.name, d.LogValue(), tt.want)
		}
	}
}
