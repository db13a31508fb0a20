package attest_test

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/pki"
)

// A signature that held once is not taken for another certificate or another key.
func TestLinksRememberOnlyWhatHeld(t *testing.T) {
	issue := func(kind pki.Kind, name string, issuer *pki.Issuer) *pki.Issued {
		t.Helper()
		issued, err := pki.Issue(pki.Request{Kind: kind, CommonName: name, Issuer: issuer})
		if err != nil {
			t.Fatal(err)
		}
		return issued
	}
	root, impostor := issue(pki.Root, "Root", nil), issue(pki.Root, "Root", nil)
	line := issue(pki.Intermediate, "Line", root.Issuer())
	leaf := issue(pki.Device, "dev", line.Issuer())
	links := &attest.Links{}
	try := func(anchor *pki.Issued, chain ...*x509.Certificate) dps.Reason {
		t.Helper()
		known := attest.Known{Links: links, Anchors: []attest.Anchor{{
			Anchor:      dps.Anchor{Certificate: dps.Certificate{DER: anchor.Certificate.Raw}, CA: "root", Verified: true, Group: "group"},
			Certificate: anchor.Certificate,
		}}}
		_, d := attest.X509(attest.X509Evidence{ID: "dev", Chain: chain}, known, time.Now())
		return d.Reason
	}
	for range 2 {
		if reason := try(root, leaf.Certificate, line.Certificate); reason != dps.ReasonNone {
			t.Fatalf("good chain: %s", reason)
		}
	}
	if reason := try(impostor, leaf.Certificate, line.Certificate); reason != dps.ReasonSignature {
		t.Errorf("root of the same name with another key: %q, want %q", reason, dps.ReasonSignature)
	}
	forged := *line.Certificate
	forged.Raw = append([]byte(nil), forged.Raw...)
	forged.Raw[len(forged.Raw)-1] ^= 1
	forged.Signature = append([]byte(nil), forged.Signature...)
	forged.Signature[len(forged.Signature)-1] ^= 1
	if reason := try(root, leaf.Certificate, &forged); reason != dps.ReasonSignature {
		t.Errorf("altered intermediate: %q, want %q", reason, dps.ReasonSignature)
	}
}

// However many chains strangers make up, what is remembered stays bounded, and right.
func TestLinksAreBounded(t *testing.T) {
	links := &attest.Links{}
	root, err := pki.Issue(pki.Request{Kind: pki.Root, CommonName: "Root"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		line, err := pki.Issue(pki.Request{Kind: pki.Intermediate, CommonName: fmt.Sprint("Line ", i), Issuer: root.Issuer()})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := links.Check(line.Certificate, root.Certificate); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := links.Len(); n != 50 {
		t.Errorf("%d links are remembered, want 50", n)
	}
	for i := range 3 * attest.MaxLinks {
		links.Remember(i)
	}
	if n := links.Len(); n > 2*attest.MaxLinks {
		t.Errorf("%d links are remembered, want at most %d", n, 2*attest.MaxLinks)
	}
}
