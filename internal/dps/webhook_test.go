package dps_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

func TestWebhookRules(t *testing.T) {
	t.Parallel()
	tests := []struct {
		url  string
		with dps.WebhookRules
		want string // part of the error; "" when allowed
	}{
		{"https://f.example/api?code=x", dps.WebhookRules{}, ""},
		{"https://f.example:8443", dps.WebhookRules{}, ""},
		{"https://192.168.1.7/api", dps.WebhookRules{}, ""},
		{"https://[2001:db8::1]:8443/api", dps.WebhookRules{}, ""},
		{"http://f.example", dps.WebhookRules{}, "must be https"},
		{"http://f.example", dps.WebhookRules{HTTP: true}, ""},
		{"ftp://f.example", dps.WebhookRules{HTTP: true}, "absolute https URL"},
		{"https:opaque", dps.WebhookRules{}, "absolute https URL"},
		{"https://:443/x", dps.WebhookRules{}, "absolute https URL"},
		{"/api", dps.WebhookRules{}, "absolute https URL"},
		{"", dps.WebhookRules{}, "absolute https URL"},
		{"https://f.example/" + strings.Repeat("a", 2048), dps.WebhookRules{}, "absolute https URL"},
		{"https://u@f.example", dps.WebhookRules{}, "user information"},
		{"https://localhost", dps.WebhookRules{}, "this machine"},
		{"https://a.LOCALHOST.", dps.WebhookRules{}, "this machine"},
		{"https://localhost", dps.WebhookRules{Loopback: true}, ""},
		{"https://127.9.9.9", dps.WebhookRules{HTTP: true, LinkLocal: true}, "this machine"},
		{"https://[::1]", dps.WebhookRules{}, "this machine"},
		{"https://0.0.0.0", dps.WebhookRules{}, "this machine"},
		{"https://[::ffff:127.0.0.1]", dps.WebhookRules{}, "this machine"},
		{"https://169.254.169.254", dps.WebhookRules{HTTP: true, Loopback: true}, "link-local"},
		{"https://[fe80::1%25eth0]", dps.WebhookRules{}, "link-local"},
		{"https://169.254.169.254", dps.WebhookRules{LinkLocal: true}, ""},
		{"https://224.0.0.1", dps.WebhookRules{HTTP: true, Loopback: true, LinkLocal: true}, "multicast"},
		{"https://[64:ff9b::7f00:1]", dps.WebhookRules{}, "this machine (127.0.0.1)"},
		{"https://[64:ff9b::7f00:1]", dps.WebhookRules{Loopback: true}, ""},
		{"https://[2002:a9fe:a9fe::]", dps.WebhookRules{Loopback: true}, "link-local"},
		{"https://255.255.255.255", dps.WebhookRules{}, "broadcast"},
	}
	for _, tt := range tests {
		err := tt.with.CheckURL("webhookUrl", tt.url)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s with %+v: %v", tt.url, tt.with, err)
		case tt.want != "" && (dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(dps.MessageOf(err), "webhookUrl: ") ||
			!strings.Contains(dps.MessageOf(err), tt.want)):
			t.Errorf("%s with %+v: %v, want Invalid with %q", tt.url, tt.with, err, tt.want)
		}
	}
	for addr, allowed := range map[string]bool{
		"64:ff9b::a9fe:a9fe": false, "64:ff9b::7f00:1": false, "64:ff9b:1::a9fe:a9fe": false, "64:ff9b:1:ffff::7f00:1": false, // NAT64
		"2002:7f00:1::": false, "2002:a9fe:a9fe::1": false, "::127.0.0.1": false, "::169.254.169.254": false, "::ffff:0:7f00:1": false,
		"64:ff9b::c0a8:107": true, "2002:c0a8:107::1": true, "::1": false, "::": false, "0.1.2.3": false, "::ffff:0.0.0.0": false,
		"fd20:ce::254": false, "192.0.0.192": false, "64:ff9b::a83f:8110": false, // of Azure, by NAT64
	} {
		if err := (dps.WebhookRules{}).CheckAddr("a", netip.MustParseAddr(addr)); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed %v", addr, err, allowed)
		}
	}
	for addr, allowed := range map[string]bool{
		"fd00::1": true, "fd00:ec2::254": false, "168.63.129.16": false, "::ffff:169.254.169.254": false, "fe80::1%eth0": false,
	} {
		if err := (dps.WebhookRules{}).CheckAddr("a", netip.MustParseAddr(addr)); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed %v", addr, err, allowed)
		}
	}
}

// This machine has other addresses than loopback, and translators lead to them too.
func TestWebhookRulesOwnAddresses(t *testing.T) {
	t.Parallel()
	own := map[netip.Addr]bool{
		netip.MustParseAddr("192.168.1.7"): true, netip.MustParseAddr("2001:db8::7"): true, netip.MustParseAddr("2002:c0a8:6401::1"): true,
	}
	rules := dps.WebhookRules{Own: func(a netip.Addr) bool { return own[a.Unmap().WithZone("")] }}
	allowed := rules
	allowed.Loopback = true
	for text, want := range map[string]bool{
		"192.168.1.7": false, "::ffff:192.168.1.7": false, "64:ff9b::c0a8:107": false, "2002:c0a8:107::1": false, "2001:db8::7": false,
		"2002:c0a8:6401::1": false, "192.168.1.8": true, "2001:db8::8": true,
	} {
		addr := netip.MustParseAddr(text)
		err := rules.CheckAddr("webhookUrl", addr)
		if (err == nil) != want || err != nil && !strings.Contains(dps.MessageOf(err), "this machine") {
			t.Errorf("%s: %v, want allowed %v", text, err, want)
		}
		if err := allowed.CheckAddr("webhookUrl", addr); err != nil {
			t.Errorf("%s with loopback allowed: %v", text, err)
		}
	}
	if err := rules.CheckURL("webhookUrl", "https://192.168.1.7/api"); dps.CodeOf(err) != dps.Invalid {
		t.Errorf("URL of this machine: %v", err)
	}
}
