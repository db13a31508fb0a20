package attest_test

import (
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

// TestRemedyOfADisabledEnrollment holds that the command is that of its kind.
func TestRemedyOfADisabledEnrollment(t *testing.T) {
	for kind, command := range map[dps.EntryKind]string{
		dps.Individual: "mooring enrollment update x --", dps.Group: "mooring enrollment-group update x --",
	} {
		d := &dps.Decision{}
		e := dps.Enrollment{Ref: dps.EntryRef{Kind: kind, ID: "x"}, Status: dps.StatusDisabled}
		if attest.Enabled(d, e) || !strings.Contains(d.Remedy, command) {
			t.Errorf("%s: remedy = %q, want %q in it", kind, d.Remedy, command)
		}
	}
}

func TestGone(t *testing.T) {
	d := &dps.Decision{}
	attest.Gone(d, groupRef("line"))
	if d.Reason != dps.ReasonNoEnrollment || d.Entry != groupRef("line") || lastCheck(d).Detail != "enrollment group line was deleted" {
		t.Errorf("decision = %+v", d)
	}
	wellFormed(t, d)
}

func TestSameProofSaysWhatWasShown(t *testing.T) {
	for shown, want := range map[string]string{"": "nothing shown", "x509:AA": "x509:AA"} {
		if d := attest.SameProof(shown, "x509:BB"); !d.Refused() || lastCheck(d).Detail != want {
			t.Errorf("%q: %+v, want detail %q", shown, d, want)
		}
	}
}

// TestDetailOfAnotherResource holds how much of what a device sent is repeated: 200 bytes, and
// nothing behind a "&", where a signature may follow.
func TestDetailOfAnotherResource(t *testing.T) {
	long := strings.Repeat("d", 200)
	for resource, want := range map[string]string{
		"hub/devices/x":       `"hub/devices/x"`,
		"hub&sig=secret&se=1": `"hub"`,
		long:                  `"` + long + `"`,
		long + "d":            `"` + long + `..."`,
	} {
		d := &dps.Decision{}
		ev := attest.KeyEvidence{Scope: "0ne1", ID: "dev", Token: sas.Sign(resource, "", dps.NewKey().Reveal(), now)}
		attest.Token(d, ev, now)
		if got := "the token is for " + want + `, not for "0ne1/registrations/dev"`; lastCheck(d).Detail != got {
			t.Errorf("detail = %s, want %s", lastCheck(d).Detail, got)
		}
	}
}

// TestChecksOfKeys holds which checks a token that is good has passed, and whose decision it is.
func TestChecksOfKeys(t *testing.T) {
	keys := dps.NewKeyPair()
	d := &dps.Decision{}
	attest.IndividualKey(d, tokenOf(t, keys.Primary, "dev-1"), keyEntry(dps.Individual, "dev-1", keys))
	if d.Entry != individualRef("dev-1") || strings.Join(checkNames(d), ", ") != "enrollment, signature" {
		t.Errorf("individual: %+v", d)
	}
	d = &dps.Decision{}
	got := attest.GroupKey(d, tokenOf(t, dps.DeriveKey(keys.Primary, "dev-1"), "dev-1"), "dev-1", keyEntry(dps.Group, "line", keys))
	if d.Entry != groupRef("line") || strings.Join(checkNames(d), ", ") != "enrollment, signature" || got.Primary.IsZero() {
		t.Errorf("group: %+v", d)
	}
}

// TestDerivations holds how many keys a search derives: one for each key of the group and each
// spelling of the ID.
func TestDerivations(t *testing.T) {
	both, one := dps.NewKeyPair(), dps.KeyPair{Primary: dps.NewKey()}
	for _, tt := range []struct {
		keys dps.KeyPair
		id   dps.RegistrationID
		want int
	}{
		{both, "dev", 2}, {both, "Dev", 4}, {one, "dev", 1}, {one, "Dev", 2},
	} {
		if got := attest.NewGroupKeys(keyEntry(dps.Group, "g", tt.keys)).Derivations(tt.id); got != tt.want {
			t.Errorf("%s: %d derivations, want %d", tt.id, got, tt.want)
		}
	}
}

// TestDetailsOfChains holds what a refused chain is told, word by word where one case differs
// from the next.
func TestDetailsOfChains(t *testing.T) {
	root := ca(t, "Root", nil)
	low := ca(t, "Low", root)
	self, leaf := device(t, "dev", nil), device(t, "dev", low)
	impostor := ca(t, "Root", nil)
	nameless := device(t, "", nil)
	individual := individualRef("dev")
	runRefusals(t, []refusal{
		{
			name: "its own issuer, without an enrollment", chain: chain(self), reason: dps.ReasonNoEnrollment, answer: unauthorized,
			check: "enrollment", detail: "no group for the certificate, which names itself as its issuer",
			remedy: "or issue the device a certificate of a CA that is enrolled",
		},
		{
			name: "a chain without an enrollment", chain: chain(leaf, low, root), reason: dps.ReasonNoEnrollment, answer: unauthorized,
			check: "enrollment", detail: "no group for a certificate of its chain, which ends at CN=Root",
			remedy: "or an enrollment group for a CA of its chain",
		},
		{
			name: "a group on a root that is not uploaded", chain: chain(leaf, low),
			known: attest.Known{Anchors: []attest.Anchor{grouped(root, "g")}},
			ref:   groupRef("g"), reason: dps.ReasonCANotVerified, answer: noCA, check: "proof of possession",
			detail: "which the enrollment group g holds, but which is not uploaded", remedy: "then prove possession",
		},
		{
			name: "the enrollment names other CAs", chain: chain(leaf, low),
			known: attest.Known{Individual: names("other", ""), Anchors: []attest.Anchor{verified(root, "root")}},
			ref:   individual, reason: dps.ReasonOtherCA, answer: noCA, check: "proof of possession",
			detail: "reaches none of the enrollment's CA certificates: [other]",
			remedy: "the device a certificate of a CA that the enrollment names",
		},
		{
			name: "a root of the same name was not presented", chain: chain(device(t, "dev", impostor)),
			known:  attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}},
			reason: dps.ReasonSignature, answer: mismatch, check: "signature",
			detail: `CN=dev names the issuer "CN=Root", but was signed with another key`,
		},
		{
			name: "no common name", chain: chain(nameless), reason: dps.ReasonNameMismatch, answer: invalid,
			check: "common name", detail: `the leaf has no common name, the registration ID is "dev"`,
		},
	})
	_, d := decide(t, chain(leaf, low), attest.Known{Anchors: []attest.Anchor{grouped(low, "g"), uploaded(root, "plant")}})
	if got := strings.Join(checkNames(d), ", "); !strings.HasSuffix(got, "enrollment, proof of possession") ||
		d.Checks[len(d.Checks)-2].Detail != "enrollment group g" {
		t.Errorf("checks = %s: %v; want the group that the chain passed", got, d.LogValue())
	}
	_, d = decide(t, chain(leaf, low), attest.Known{Anchors: []attest.Anchor{referred(root, "root", true, "g")}})
	if !strings.Contains(d.LogValue().String(), "leaf signed by CN=Low, signed by CN=Root") {
		t.Errorf("decision = %v; want it to say who signed whom", d.LogValue())
	}
}
