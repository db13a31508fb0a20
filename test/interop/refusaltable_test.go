package interop_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	updateVar   = "MOORING_TEST_UPDATE" // when set, the table is written and not compared
	refusalPage = "../../docs/sdk-refusals.md"
)

// TestRefusals lets nobody in, over every transport with every SDK, and compares what
// was answered and raised with the table in the documentation.
func TestRefusals(t *testing.T) {
	w := newClosedWorld(t)
	sections := make([]string, len(deviceSDKs()))
	t.Run("sdk", func(t *testing.T) { // ends when the parallel ones in it have
		for i, sdk := range deviceSDKs() {
			attempts := w.attempts(t, sdk)
			t.Run(sdk.name, func(t *testing.T) {
				t.Parallel()
				sdk.require(t)
				sections[i] = w.section(t, sdk, attempts)
			})
		}
	})
	if t.Failed() || slices.Contains(sections, "") {
		return
	}
	page := refusalIntroduction + strings.Join(sections, "")
	if os.Getenv(updateVar) != "" {
		writeFile(t, filepath.Dir(refusalPage), filepath.Base(refusalPage), []byte(page))
		return
	}
	compareWithPage(t, page)
}

// attempt is a device that is refused, and how that ended.
type attempt struct {
	refusalCase
	device
	outcome registration
}

// attempts prepares a device for every case and transport of an SDK.
func (w *closedWorld) attempts(t *testing.T, sdk deviceSDK) []*attempt {
	t.Helper()
	var all []*attempt
	for i, c := range refusalCases {
		for _, transport := range sdk.transports {
			d := c.enroll(w, t, fmt.Sprintf("%s-%s-%d", sdk.name, transport, i))
			d.transport = transport
			w.secrets = append(w.secrets, d.key)
			all = append(all, &attempt{refusalCase: c, device: d})
		}
	}
	return all
}

// section tries all attempts and returns the SDK's part of the page. Attempts of
// different transports, and those that do not trust the service, are tried in programs
// of their own, at the same time.
func (w *closedWorld) section(t *testing.T, sdk deviceSDK, all []*attempt) string {
	t.Helper()
	var version string
	t.Run("transport", func(t *testing.T) {
		for _, transport := range sdk.transports {
			for _, distrust := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, distrust %v", transport, distrust), func(t *testing.T) {
					t.Parallel()
					r := w.try(t, sdk, batch{trace: true, distrust: distrust}, pick(all, transport, distrust))
					if transport == sdk.transports[0] && !distrust {
						version = r.SDK
					}
				})
			}
		}
	})
	if t.Failed() {
		return ""
	}
	return fmt.Sprintf("\n## %s\n\n%s", version, refusalTable(all))
}

// pick returns those of the attempts that are tried in one program.
func pick(all []*attempt, transport string, distrust bool) []*attempt {
	return slices.DeleteFunc(slices.Clone(all), func(a *attempt) bool {
		return a.transport != transport || a.distrust != distrust
	})
}

// try tries attempts in one program, writes how they ended, and checks what holds for
// all: none hangs, none is let in, none stands in the hub.
func (w *closedWorld) try(t *testing.T, sdk deviceSDK, b batch, some []*attempt) report {
	t.Helper()
	for _, a := range some {
		b.devices = append(b.devices, a.device)
	}
	r := sdk.run(w.service, t, b)
	for i, a := range some {
		a.outcome = r.Outcomes[i]
		if a.outcome.Hung || a.outcome.Error == nil {
			t.Errorf("%s: hung = %v, let in = %+v", a.name, a.outcome.Hung, a.outcome.Assigned)
		}
		if a.outcome.Answer.ErrorCode != 0 && a.outcome.Answer.TrackingID == "" {
			t.Errorf("%s: an error code and no tracking ID", a.name)
		}
		w.hubCall(t, "/devices/"+a.device.id(), http.StatusNotFound, nil)
	}
	return r
}

const refusalIntroduction = `# What the official SDKs report when a device is refused

What Mooring answers to a device that it refuses, and what the program on the device then
reports. The device is not told which check failed; ` + "`mooring why`" + ` says it, for
the registration ID or for the tracking ID of the answer. The Node.js SDK has that ID in the
body of the answer, ` + "`err.result`" + ` or ` + "`err.responseBody`" + `; the Python SDK has it in its debug log; the Java SDK
has it in the message of the exception's cause. [refusals.md](refusals.md) has every reason, also those before a request.

- Over MQTT a request is answered on the topic ` + "`$dps/registrations/res/{status}/`" + `; CONNACK is the answer to
  CONNECT itself. *disabled* is no error status: it is the final answer to a poll.
- No SDK has a name for *disabled*: Python and Node.js report an answer that they do not understand, and
  Java an exception without a message. They do the same with DPS.
- Names in ` + "`<...>`" + ` stand for what differs from one call to the next.

The tests of the official SDKs (` + "`make interop`" + `) compare this page with what happens, and
write it anew when ` + "`" + updateVar + "`" + ` is set.
`

// refusalTable returns the table of one SDK.
func refusalTable(all []*attempt) string {
	var b strings.Builder
	b.WriteString("| case | transport | Mooring answers | the SDK raises |\n|---|---|---|---|\n")
	for _, c := range refusalCases {
		b.WriteString(refusalRows(c.name, all))
	}
	return b.String()
}

// refusalRows returns the rows of one case. Transports that do not differ share one.
func refusalRows(name string, all []*attempt) string {
	transports := map[string][]string{} // by what was seen
	var order []string
	for _, a := range all {
		if a.name != name {
			continue
		}
		seen := fmt.Sprintf("%s | %s", a.outcome.Answer, a.masked())
		if !slices.Contains(order, seen) {
			order = append(order, seen)
		}
		transports[seen] = append(transports[seen], transportNames[a.transport])
	}
	var b strings.Builder
	for _, seen := range order {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, strings.Join(transports[seen], ", "), seen)
	}
	return b.String()
}

// transportNames are the transports as people call them.
var transportNames = map[string]string{overHTTPS: "HTTPS", overMQTT: "MQTT", overMQTTWS: "MQTT over WebSocket"}

// String returns the answer as a cell of the table.
func (a answer) String() string {
	switch {
	case a.Untold:
		return "not repeated by the SDK"
	case a.Connack != 0:
		return fmt.Sprintf("CONNACK %d", a.Connack)
	case a.ErrorCode != 0:
		return fmt.Sprintf("%d, `errorCode` %d", a.StatusCode, a.ErrorCode)
	case a.StatusCode != 0:
		return fmt.Sprintf("%d, `status` %q", a.StatusCode, a.Status)
	}
	return "nothing: no TLS"
}

// varying are the parts of messages that differ from one call, or one version of
// OpenSSL and Node.js, to the next.
var varying = []struct {
	part *regexp.Regexp
	mask string
}{
	{regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`), "<tracking ID>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(` \(_ssl\.c:\d+\)`), ""},
	{regexp.MustCompile(`; if the root CA is installed locally, .*`), ""},
}

// masked returns the SDK's error as a cell of the table.
func (a *attempt) masked() string {
	text := strings.ReplaceAll(a.outcome.Error.String(), a.device.id(), "<registration ID>")
	for _, v := range varying {
		text = v.part.ReplaceAllString(text, v.mask)
	}
	return "`" + strings.NewReplacer("|", `\|`, "\n", " ").Replace(text) + "`"
}

// compareWithPage compares what was seen with the documentation, line by line.
func compareWithPage(t *testing.T, page string) {
	t.Helper()
	written, err := os.ReadFile(refusalPage)
	if err != nil {
		t.Fatal(err)
	}
	want, got := strings.Split(string(written), "\n"), strings.Split(page, "\n")
	for i := range max(len(want), len(got)) {
		var w, g string
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			t.Errorf("%s line %d is\n%s\nbut this was seen (%s=1 writes it):\n%s", refusalPage, i+1, w, updateVar, g)
		}
	}
}
