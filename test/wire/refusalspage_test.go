package wire_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

const (
	updateVar    = "MOORING_TEST_UPDATE" // when set, the page is written and not compared
	refusalsPage = "../../docs/refusals.md"
)

// heard is what a client received on the wire.
type heard struct {
	text   string // as the page has it
	answer string // what the record of the refusal has to say of it
}

// attempt is a way to be refused for a reason.
type attempt struct {
	reason dps.Reason
	over   []string // transports
	// make is refused over a transport of a world, and returns what the device heard. Only
	// where mark occurs in names, these differ from one attempt to the next.
	make func(t *testing.T, w *world, transport, mark string) heard
}

// seen is a row of the page for one transport.
type seen struct {
	reason dps.Reason
	text   string // what follows the transports
	first  int    // of the attempt
}

// page collects what was seen.
type page struct {
	mooring  string
	tracked  map[string]bool // tracking IDs of refusals that were seen
	asked    map[dps.Reason]bool
	attempts int
	rows     []seen
	over     map[seen][]string
}

// TestRefusalsPage makes a service refuse a device for every reason, over every transport on
// which that can happen, and compares what the device received and what the record says with
// the documentation.
//
// It does not run in parallel with others: --tls-compat permits SHA-1 in the whole process.
func TestRefusalsPage(t *testing.T) {
	t.Setenv("GODEBUG", "")
	p := &page{
		mooring: buildMooring(t), tracked: map[string]bool{}, asked: map[dps.Reason]bool{}, over: map[seen][]string{},
	}
	for _, part := range []struct {
		name     string
		flags    []string
		attempts func(*testing.T, *world) []attempt
	}{
		{"handshakes", nil, handshakeAttempts},
		{"connections", nil, connectionAttempts},
		{"requests", nil, requestAttempts},
		{"certificates", nil, certificateAttempts},
		{"tokens", nil, tokenAttempts},
		{"many groups", nil, searchAttempts},
		{"one registration a minute", []string{"--registration-rate", "1"}, rateAttempts},
		{"identities move", nil, moveAttempts},
		{"identities stay", []string{"--takeover", "refuse"}, holdAttempts},
	} {
		t.Run(part.name, func(t *testing.T) { p.play(t, newWorld(t, part.flags...), part.attempts) })
	}
	if t.Failed() {
		return
	}
	for _, r := range dps.Reasons() {
		if !p.asked[r] {
			t.Errorf("nothing here is refused for the reason %s", r)
		}
	}
	text := refusalsIntroduction + p.sections(t)
	if !t.Failed() {
		compareRefusalsPage(t, text)
	}
}

// play makes all attempts of a part.
func (p *page) play(t *testing.T, w *world, attempts func(*testing.T, *world) []attempt) {
	t.Helper()
	for _, a := range attempts(t, w) {
		p.attempts++
		for i, transport := range a.over {
			mark := fmt.Sprint(7300000 + 10*p.attempts + i)
			h := a.make(t, w, transport, mark)
			d := p.find(t, w, a.reason, transport)
			if d.Answer != h.answer {
				t.Errorf("%s over %s: the device received %q, and the record says %q", a.reason, transport, h.answer, d.Answer)
			}
			p.note(t, w, d, h, mark)
		}
	}
}

// find returns the refusal that was not seen before.
func (p *page) find(t *testing.T, w *world, reason dps.Reason, transport string) wire.Decision {
	t.Helper()
	var found []wire.Decision
	eventually(t, "a record of "+string(reason)+" over "+transport, func() bool {
		found = slices.DeleteFunc(w.decisions(t, "remote=127.0.0.1"), func(d wire.Decision) bool { return p.tracked[d.TrackingID] })
		return len(found) > 0
	})
	for _, d := range found {
		p.tracked[d.TrackingID] = true
	}
	d, text := found[0], dps.Reason(found[0].Reason).Text()
	if len(found) > 1 || d.Reason != string(reason) || d.Transport != transport || d.Summary != text.Summary || text.Summary == "" {
		t.Fatalf("want one record, %s over %s: %+v", reason, transport, found)
	}
	return d
}

// note makes a row of a refusal, and asks 'mooring why' about the first of a reason.
func (p *page) note(t *testing.T, w *world, d wire.Decision, h heard, mark string) {
	t.Helper()
	reason, last := dps.Reason(d.Reason), d.Checks[len(d.Checks)-1]
	if d.Remedy == "" || last.Detail == "" {
		t.Errorf("incomplete: %+v", d)
	}
	if !p.asked[reason] {
		p.asked[reason] = true
		out, err := exec.CommandContext(t.Context(), p.mooring, "why", "--data", w.data, d.TrackingID).Output()
		for _, want := range []string{d.Reason, d.Summary, d.Remedy, d.Answer, last.Name, last.Detail} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("mooring why lacks %q: %v\n%s", want, err, out)
			}
		}
	}
	explained := cell(d.Summary) + " *" + cell(last.Name+": "+w.masked(last.Detail, mark)) + "*"
	text := strings.Join([]string{cell(w.masked(h.text, mark)), explained, cell(w.masked(d.Remedy, mark))}, " | ")
	row := seen{reason: reason, text: text, first: p.attempts}
	if i := slices.IndexFunc(p.rows, func(s seen) bool { return s.reason == reason && s.text == text }); i >= 0 {
		row = p.rows[i]
	} else {
		p.rows = append(p.rows, row)
	}
	if name := transportNames[d.Transport]; !slices.Contains(p.over[row], name) {
		p.over[row] = append(p.over[row], name)
	}
}

var transportNames = map[string]string{"https": "HTTPS", "mqtt": "MQTT", "mqtt-ws": "MQTT over WebSocket"}

// everyTransport is where a request can be refused.
var everyTransport = []string{"https", "mqtt", "mqtt-ws"}

// varying are parts of texts that differ from one run to the next.
var varying = []struct {
	part *regexp.Regexp
	mask string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`\b[0-9A-Fa-f]{64}\b`), "<thumbprint>"},
	{regexp.MustCompile(`\b\d+\.[0-9a-f]{16}\.[0-9a-zA-Z-]+`), "<operation ID>"},
}

// masked replaces what differs from one run to the next.
func (w *world) masked(text, mark string) string {
	for _, separator := range []string{"-", " ", ""} {
		text = strings.ReplaceAll(text, separator+mark, "")
	}
	text = strings.ReplaceAll(text, w.info.IDScope, "<ID scope>")
	for _, v := range varying {
		text = v.part.ReplaceAllString(text, v.mask)
	}
	return text
}

// cell writes a text into a table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`, "$", `\$`).Replace(text)
}

// stages are the tables of the page.
var stages = []struct {
	title, text string
	reasons     []dps.Reason
}{
	{
		"TLS handshake",
		"MQTT over WebSocket uses the HTTPS listener, so its rows are those of HTTPS. The registration ID is known only if the client's " +
			"certificate was readable; use `mooring why --remote ADDRESS`.",
		[]dps.Reason{
			dps.ReasonNotTLS, dps.ReasonTLSVersion, dps.ReasonTLSCipherSuite, dps.ReasonTLSGroup, dps.ReasonTLSSignatureAlgorithm,
			dps.ReasonTLSProtocol, dps.ReasonServerRejected, dps.ReasonClientAlert, dps.ReasonHandshakeAborted, dps.ReasonHandshakeInvalid,
			dps.ReasonCertificateUnreadable, dps.ReasonClientKeyMismatch, dps.ReasonClientKeyUnsupported,
		},
	},
	{
		"MQTT connection",
		"A refused CONNECT is answered with a CONNACK code. After CONNECT, MQTT 3.1.1 has no error answer except for SUBSCRIBE: the " +
			"service closes the connection.",
		[]dps.Reason{
			dps.ReasonWebSocketRefused, dps.ReasonMQTTVersion, dps.ReasonPacketMalformed, dps.ReasonUsernameMalformed, dps.ReasonHubLogin,
			dps.ReasonClientIDMismatch, dps.ReasonTopicUnknown, dps.ReasonQoS2, dps.ReasonSubscriptionRefused, dps.ReasonNotSubscribed,
		},
	},
	{
		"Requests",
		"HTTPS returns the status and the body as usual. MQTT returns both on the topic `$dps/registrations/res/{status}/`.",
		[]dps.Reason{
			dps.ReasonPathUnknown, dps.ReasonAPIVersion, dps.ReasonRegistrationIDMalformed, dps.ReasonBodyMalformed, dps.ReasonScopeUnknown,
			dps.ReasonOperationUnknown, dps.ReasonNotRegistered, dps.ReasonOperationOwner, dps.ReasonThrottled,
		},
	},
	{
		"Enrollment",
		"`disabled` is not an error status: it is the final answer to a poll.",
		[]dps.Reason{
			dps.ReasonNoEvidence, dps.ReasonNoEnrollment, dps.ReasonOtherAttestation, dps.ReasonDisabled,
		},
	},
	{
		"X.509 certificates",
		"The device only receives a general message. The details stay with the operator.",
		[]dps.Reason{
			dps.ReasonChainTooLong, dps.ReasonNameMismatch, dps.ReasonOtherCertificate, dps.ReasonCertificateTaken, dps.ReasonSignerAsDevice,
			dps.ReasonLeafNotYetValid, dps.ReasonLeafExpired, dps.ReasonSignerNotYetValid, dps.ReasonSignerExpired, dps.ReasonIssuerMissing,
			dps.ReasonSignature, dps.ReasonWeakSignature, dps.ReasonUnsupportedSignature, dps.ReasonTooManySigners, dps.ReasonNotCA,
			dps.ReasonChainRule, dps.ReasonCANotVerified, dps.ReasonOtherCA,
		},
	},
	{
		"SAS tokens",
		"Over MQTT the token is the password. It is checked when the device sends a request, not in CONNECT, as DPS does.",
		[]dps.Reason{
			dps.ReasonTokenMalformed, dps.ReasonTokenResource, dps.ReasonTokenExpired, dps.ReasonGroupSearch, dps.ReasonWrongKey,
		},
	},
	{
		"Hub identity",
		"`identity-moved` is not a refusal: the device was assigned, and the record tells the operator who lost the identity.",
		[]dps.Reason{dps.ReasonIdentityHeld, dps.ReasonIdentityMoved},
	},
}

// sections returns the tables.
func (p *page) sections(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	placed := map[dps.Reason]bool{}
	for _, s := range stages {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| reason | transport | device receives | why says | remedy |\n|---|---|---|---|---|\n", s.title, s.text)
		for _, reason := range s.reasons {
			placed[reason] = true
			rows := slices.DeleteFunc(slices.Clone(p.rows), func(r seen) bool { return r.reason != reason })
			slices.SortStableFunc(rows, func(a, b seen) int { return cmp.Compare(a.first, b.first) })
			for _, row := range rows {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", reason, strings.Join(p.over[row], ", "), row.text)
			}
		}
	}
	for _, r := range dps.Reasons() {
		if !placed[r] {
			t.Errorf("no table of the page has the reason %s", r)
		}
	}
	return b.String()
}

const refusalsIntroduction = `# Why a device is refused

Refusals are recorded from the TLS handshake to the hub identity. The few that leave no record are listed in
[When a device is refused](operations.md#when-a-device-is-refused). To look one up:

- ` + "`mooring why REGISTRATION-ID`" + ` shows the latest refusals of a device.
- ` + "`mooring why TRACKING-ID`" + ` shows one refusal. The tracking ID is in the answer to the device and in the log.
- ` + "`mooring why --remote ADDRESS`" + ` shows the latest refusals from an IP address. Use it for a device that cannot connect.
- The portal shows the same under **Refusals**, and ` + "`GET /mooring/v1/decisions`" + ` returns it as JSON.

The tables list every reason. *Device receives* is what was received on the wire. *Why says* is the meaning of the
reason, and in italics an example of the check that failed. *Remedy* is what ` + "`mooring why`" + ` recommends in that
example. Names and times are examples: ` + "`dev`" + ` is the device, ` + "`Root`" + ` and ` + "`Mid`" + ` are CAs.

What the SDKs raise for these answers is in [What the official SDKs report](sdk-refusals.md). A device that passes
all checks can still fail to be assigned, for example because its hub is not reachable; its registration record
has the error (` + "`mooring registration show`" + `).

This page is generated: ` + "`" + updateVar + "=1 go test ./test/wire -run TestRefusalsPage`" + ` writes it, and without the variable
the test compares it with what the service does.
`

// compareRefusalsPage compares the page with the documentation, line by line, or writes it.
func compareRefusalsPage(t *testing.T, text string) {
	t.Helper()
	if os.Getenv(updateVar) != "" {
		if err := os.WriteFile(refusalsPage, []byte(text), 0o644); err != nil { //nolint:gosec // documentation is for everybody
			t.Fatal(err)
		}
		return
	}
	written, err := os.ReadFile(refusalsPage)
	if err != nil {
		t.Fatal(err)
	}
	want, got := strings.Split(string(written), "\n"), strings.Split(text, "\n")
	for i := range max(len(want), len(got)) {
		var w, g string
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			t.Errorf("%s line %d is\n%s\nbut this was seen (%s=1 writes it):\n%s", refusalsPage, i+1, w, updateVar, g)
		}
	}
}
