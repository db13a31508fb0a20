package decision_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mooring-iot/mooring/internal/dps"
)

// FuzzTexts keeps whatever a device may have sent: it stays small, text, and on one line.
func FuzzTexts(f *testing.F) {
	f.Add("CN=sensor-7", "the leaf's is \"x\"", "0ne/registrations/x", 3)
	f.Add(strings.Repeat("\xff\x00", 3000), strings.Repeat("ü", 300), "\u2028\n", 50)
	f.Fuzz(func(t *testing.T, name, detail, resource string, times int) {
		w := newWorld(t)
		r := refusal("a", 0)
		r.Evidence.Token = &dps.TokenInfo{Resource: resource, KeyName: name}
		r.Evidence.Hello = &dps.ClientHello{ServerName: name}
		for range max(0, min(times, 100)) {
			r.Decision.Checks = append(r.Decision.Checks, dps.Check{Name: name, Detail: detail})
			r.Evidence.Chain = append(r.Evidence.Chain, dps.CertificateInfo{Subject: name, Issuer: detail})
			r.Evidence.Hello.Protocols = append(r.Evidence.Hello.Protocols, resource)
		}
		w.Refused(r)
		e, err := w.Entry(t.Context(), in, "a-0")
		must(t, err)
		texts := []string{e.Evidence.Token.Resource, e.Evidence.Token.KeyName}
		for _, c := range e.Decision.Checks {
			texts = append(texts, c.Name, c.Detail)
		}
		for _, c := range e.Evidence.Chain {
			texts = append(texts, c.Subject, c.Issuer)
		}
		texts = append(append(texts, e.Evidence.Hello.ServerName), e.Evidence.Hello.Protocols...)
		for _, text := range texts {
			if len(text) > 520 || !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\n\r\t\x1b") {
				t.Errorf("kept %q", text)
			}
		}
		if size := len(strings.Join(texts, "")) - 3*len(texts); size > 4200 {
			t.Errorf("%d bytes are kept", size)
		}
	})
}
