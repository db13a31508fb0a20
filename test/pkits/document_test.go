package pkits_test

import (
	"fmt"
	"slices"
	"strings"
)

const head = `# Path validation: NIST PKITS

<!-- Written by go test ./test/pkits -update; that test compares it. -->

Mooring validates the certificate chain of a device as RFC 5280 describes it, with the rules of DPS on top (which enrollment
decides, proof of possession). The Public Key Interoperability Test Suite of NIST (PKITS 1.0.1) tests such validation. ` + "`make test`" + `
runs its applicable sections: each end entity of the suite registers as a device, under an enrollment group of the suite's trust
anchor, and presents every certificate that may be part of its chain.

The initial settings are those that DPS has: any policy is acceptable, and nothing is inhibited from the start. Cases of sections 4.8
to 4.12 that the suite repeats with other settings run once.

| section | | cases | as the suite says | deviations | not applicable |
|---|---|---|---|---|---|
`

const middle = `
Sections 4.4 (basic CRLs), 4.14 (distribution points) and 4.15 (delta CRLs) do not apply: CRLs are not read. To revoke a device or a CA,
disable or delete its enrollment.

`

// render writes docs/pkits.md.
func render(all []outcome) string {
	var b strings.Builder
	b.WriteString(head)
	var cases, right, wrong, skipped int
	for _, s := range suite {
		n := count(all, s)
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d |\n", s.number, s.title, len(s.cases), n.right, n.wrong, n.skipped)
		cases, right, wrong, skipped = cases+len(s.cases), right+n.right, wrong+n.wrong, skipped+n.skipped
	}
	fmt.Fprintf(&b, "| | all | %d | %d | %d | %d |\n%s", cases, right, wrong, skipped, middle)
	b.WriteString("## Deviations\n\n| case | the suite says | Mooring | reason |\n|---|---|---|---|\n")
	for _, o := range all {
		if reason, ok := deviations[o.name]; ok {
			fmt.Fprintf(&b, "| %s %s | %s | %s | %s |\n", o.section.number, o.name,
				verdict(o.section.wantAccepted(o.name)), verdict(o.accepted), reason)
		}
	}
	b.WriteString("\n## Cases that need CRLs\n\n| case | about |\n|---|---|\n")
	for _, o := range all {
		if about, ok := o.section.revocation[o.name]; ok {
			fmt.Fprintf(&b, "| %s %s | %s |\n", o.section.number, o.name, about)
		}
	}
	b.WriteString("\n## Checks that fail in the refused cases\n\n| case | check |\n|---|---|\n")
	for _, o := range all {
		if _, skipped := o.section.revocation[o.name]; !o.accepted && !skipped {
			fmt.Fprintf(&b, "| %s %s | %s |\n", o.section.number, o.name, strings.ReplaceAll(o.said, "|", `\|`))
		}
	}
	return b.String()
}

type counts struct{ right, wrong, skipped int }

func count(all []outcome, s section) counts {
	var n counts
	for _, o := range all {
		_, isSkipped := s.revocation[o.name]
		switch {
		case o.section.number != s.number || !slices.Contains(s.cases, o.name):
		case isSkipped:
			n.skipped++
		case o.accepted == s.wantAccepted(o.name):
			n.right++
		default:
			n.wrong++
		}
	}
	return n
}

func verdict(accepted bool) string {
	if accepted {
		return "accepted"
	}
	return "refused"
}
