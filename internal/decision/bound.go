package decision

import (
	"strings"
	"unicode"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Bounds of what is kept of one refusal. Devices choose much of it, of any length.
const (
	maxTexts   = 4096 // bytes of all texts together
	maxText    = 512  // bytes of one
	maxName    = 256  // bytes of one name of a certificate
	maxChecks  = 24
	maxAddress = 128
	maxNames   = 40 // of one list of a ClientHello
)

// budget hands out what is left of maxTexts.
type budget int

// take returns as much of text as there is room for, without control characters, and
// in memory of its own: it does not keep a megabyte alive of which it is a part.
func (b *budget) take(text string, most int) string {
	most = min(most, int(*b))
	clipped := len(text) > most
	if clipped {
		text = text[:most]
	}
	text = strings.Map(plain, strings.ToValidUTF8(text, ""))
	if *b -= budget(len(text)); *b < 0 {
		*b = 0
	}
	if clipped {
		return text + "..."
	}
	return strings.Clone(text)
}

// plain puts a blank in the place of what is not to be printed.
func plain(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// bounded returns what is kept of r. What matters most comes first: the check that
// failed, the remedy, the device's own certificate.
func bounded(r dps.Refusal) dps.Refusal {
	b := budget(maxTexts)
	r.ID = dps.RegistrationID(strings.Clone(string(r.ID)))
	r.Remote, r.TrackingID = b.take(r.Remote, maxAddress), b.take(r.TrackingID, maxAddress)
	d := &r.Decision
	checks := middleOut(d.Checks)
	d.Checks = make([]dps.Check, len(checks))
	for i := len(checks) - 1; i >= 0; i-- {
		d.Checks[i] = dps.Check{Name: b.take(checks[i].Name, maxName), OK: checks[i].OK, Detail: b.take(checks[i].Detail, maxText)}
		if i == len(checks)-1 {
			d.Remedy, d.Answer = b.take(d.Remedy, maxText), b.take(d.Answer, maxName)
		}
	}
	r.Evidence = b.evidence(r.Evidence)
	return r
}

// middleOut returns checks without those in the middle that are too many.
func middleOut(checks []dps.Check) []dps.Check {
	const half = maxChecks / 2
	if len(checks) <= maxChecks {
		return checks
	}
	return append(checks[:half:half], checks[len(checks)-half:]...)
}

// hello returns what is kept of a ClientHello: nil of none.
func (b *budget) hello(h *dps.ClientHello) *dps.ClientHello {
	if h == nil {
		return nil
	}
	return &dps.ClientHello{
		ServerName: b.take(h.ServerName, maxName), Versions: b.names(h.Versions), CipherSuites: b.names(h.CipherSuites),
		Groups: b.names(h.Groups), SignatureSchemes: b.names(h.SignatureSchemes), Protocols: b.names(h.Protocols),
	}
}

// names returns as many of a list as there is room for.
func (b *budget) names(all []string) []string {
	var kept []string
	for _, name := range all[:min(len(all), maxNames)] {
		if *b <= 0 {
			break
		}
		kept = append(kept, b.take(name, maxAddress))
	}
	return kept
}

func (b *budget) evidence(e dps.EvidenceSummary) dps.EvidenceSummary {
	if e.Token != nil {
		e.Token = &dps.TokenInfo{Resource: b.take(e.Token.Resource, maxName), KeyName: b.take(e.Token.KeyName, maxName), Expiry: e.Token.Expiry}
	}
	chain := e.Chain
	e.Chain = make([]dps.CertificateInfo, len(chain))
	for i, c := range chain {
		c.Subject, c.Issuer, c.Serial = b.take(c.Subject, maxName), b.take(c.Issuer, maxName), b.take(c.Serial, maxAddress)
		e.Chain[i] = c
	}
	e.Hello = b.hello(e.Hello)
	return e
}
