package wire_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/wire"
)

// oldClients are TLS clients that DPS serves, or once served, and that Go refuses by default.
var oldClients = []struct {
	name, reason string
	edit         func(*tls.Config)
}{
	// The only suites of the NetX Duo samples.
	{"ECDHE-RSA-AES128-CBC-SHA256", "tls-cipher-suite", suites(tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256)},
	{"RSA-AES128-CBC-SHA256", "tls-cipher-suite", suites(tls.TLS_RSA_WITH_AES_128_CBC_SHA256)},
	{"ECDHE-ECDSA-AES128-CBC-SHA256", "tls-cipher-suite", suites(tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256)},
	{"RSA-AES128-GCM-SHA256", "tls-cipher-suite", suites(tls.TLS_RSA_WITH_AES_128_GCM_SHA256)},
	{"RSA-3DES", "tls-cipher-suite", suites(tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA)},
	{"TLS 1.1", "tls-version", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }},
	{"TLS 1.0", "tls-version", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }},
}

func suites(ids ...uint16) func(*tls.Config) {
	return func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, ids }
}

// addresses are those of both listeners for devices.
func (w *world) addresses() map[string]string {
	return map[string]string{"https": w.addr, "mqtt": w.info.Listeners["mqtt"]}
}

// handshake shakes hands by a client's configuration.
func (w *world) handshake(t *testing.T, address string, edit func(*tls.Config)) error {
	t.Helper()
	config := &tls.Config{RootCAs: w.roots, ServerName: "localhost"} //nolint:gosec // old versions are what is tested
	edit(config)
	c, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

func TestOldTLSClients(t *testing.T) {
	t.Parallel()
	strict, compat := newWorld(t), newWorld(t, "--tls-compat")
	if log := compat.log.String(); !strings.Contains(log, "--tls-compat is on") || strings.Contains(strict.log.String(), "tls-compat") {
		t.Errorf("the start does not say that TLS is weak: %s", log)
	}
	for _, tt := range oldClients {
		for transport := range strict.addresses() {
			t.Run(tt.name+" "+transport, func(t *testing.T) {
				if err := compat.handshake(t, compat.addresses()[transport], tt.edit); err != nil {
					t.Errorf("with --tls-compat: %v", err)
				}
				if err := strict.handshake(t, strict.addresses()[transport], tt.edit); err == nil {
					t.Error("without --tls-compat the client is let in")
				}
				strict.recorded(t, tt.reason, transport)
			})
		}
	}
	for transport, address := range compat.addresses() {
		if err := compat.handshake(t, address, func(*tls.Config) {}); err != nil {
			t.Errorf("a client of today, %s: %v", transport, err)
		}
	}
}

// recorded fails the test unless a refusal with a reason is the latest over a transport.
func (w *world) recorded(t *testing.T, reason, transport string) wire.Decision {
	t.Helper()
	for range 100 {
		for _, d := range w.decisions(t, "remote=127.0.0.1&reason="+reason) {
			if d.Transport == transport {
				return d
			}
		}
	}
	t.Errorf("no %s over %s is recorded", reason, transport)
	return wire.Decision{}
}

// decisions returns the first page of what a query selects.
func (w *world) decisions(t *testing.T, query string) []wire.Decision {
	t.Helper()
	var page wire.DecisionPage
	if res := w.ask(t, wire.DecisionsPath+"?"+query); res.status != 200 || json.Unmarshal([]byte(res.body), &page) != nil {
		t.Fatalf("%s: %d %s", query, res.status, res.body)
	}
	return page.Value
}

// A client whose only signatures are SHA-1 gets one with --tls-compat; then it fails for
// another reason, because the test rewrites its ClientHello.
func TestSHA1Signatures(t *testing.T) {
	t.Parallel()
	if got := sha1Handshake(t, newWorld(t, "--tls-compat")); got == "tls-signature-algorithm" {
		t.Error("with --tls-compat SHA-1 is refused")
	}
}

// sha1Handshake shakes hands with a ClientHello that only has SHA-1, and returns the reason.
func sha1Handshake(t *testing.T, w *world) string {
	t.Helper()
	raw, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.info.Listeners["mqtt"])
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	config := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12} //nolint:gosec // SHA-1 is what is tested
	c := tls.Client(offering(13, 2, 3, 2, 1)(raw), config)                        // ECDSA and RSA with SHA-1
	if err := c.HandshakeContext(t.Context()); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("handshake: %v", err)
	}
	_ = raw.Close()
	for range 1000 {
		if all := w.decisions(t, "remote=127.0.0.1"); len(all) > 0 {
			return all[0].Reason
		}
	}
	t.Fatal("nothing is recorded")
	return ""
}
