package dps_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
)

func TestNewHubAuthentication(t *testing.T) {
	t.Parallel()
	sha1, sha256 := strings.Repeat("aB", 20), strings.Repeat("0f", 32)
	tests := []struct {
		kind, primary, secondary string
		want                     dps.HubAuthType // "" is refused
	}{
		{"", "", "", dps.HubAuthSAS},
		{"", sha1, "", dps.HubAuthSelfSigned},
		{"", "", sha256, dps.HubAuthSelfSigned},
		{"sas", "", "", dps.HubAuthSAS},
		{"SAS", sha1, sha1, dps.HubAuthSAS},
		{"selfSigned", sha1, sha256, dps.HubAuthSelfSigned},
		{"SelfSigned", "", sha256, dps.HubAuthSelfSigned},
		{"certificateAuthority", sha1, "", dps.HubAuthCA},
		{"none", "", "", dps.HubAuthNone},
		{"selfSigned", "", "", ""},
		{"selfSigned", sha1 + "0", "", ""},
		{"selfSigned", sha1, "xyz", ""},
		{"", "not hexadecimal", "", ""},
		{"x509", sha1, "", ""},
	}
	for _, tt := range tests {
		got, err := dps.NewHubAuthentication(tt.kind, tt.primary, tt.secondary, dps.NewKeyPair())
		if tt.want == "" {
			if dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(dps.MessageOf(err), "authentication.") {
				t.Errorf("%q %q %q: %v, want Invalid", tt.kind, tt.primary, tt.secondary, err)
			}
			continue
		}
		if err != nil || got.Type != tt.want {
			t.Errorf("%q %q %q: %q, %v, want %q", tt.kind, tt.primary, tt.secondary, got.Type, err, tt.want)
		}
		if got.Keys.Primary.IsZero() == (tt.want == dps.HubAuthSAS) {
			t.Errorf("%q: the keys are kept where they do not belong, or lost", tt.kind)
		}
		if tt.want == dps.HubAuthSelfSigned && (got.PrimaryThumbprint != tt.primary || got.SecondaryThumbprint != tt.secondary) ||
			tt.want != dps.HubAuthSelfSigned && got.PrimaryThumbprint+got.SecondaryThumbprint != "" {
			t.Errorf("%q: thumbprints %q, %q", tt.kind, got.PrimaryThumbprint, got.SecondaryThumbprint)
		}
	}
}

func TestWritten(t *testing.T) {
	t.Parallel()
	later := created.Add(time.Hour)
	d := newDevice(dps.Twin{})
	got, err := d.Written(dps.HubDeviceDraft{}, later)
	if err != nil || got.ETag == d.ETag || !got.Updated.Equal(later) || !got.Authentication.Equal(d.Authentication) || got.Disabled ||
		!got.StatusUpdated.IsZero() {
		t.Errorf("nothing written: %+v, %v", got, err)
	}
	yes, no := true, false
	got, err = got.Written(dps.HubDeviceDraft{Disabled: &yes, StatusReason: "lost", IotEdge: &yes}, later)
	if err != nil || !got.Disabled || got.StatusReason != "lost" || !got.StatusUpdated.Equal(later) || !got.IotEdge {
		t.Errorf("disabled: %+v, %v", got, err)
	}
	if again, err := got.Written(dps.HubDeviceDraft{Disabled: &yes}, later.Add(time.Hour)); err != nil || !again.StatusUpdated.Equal(later) ||
		again.StatusReason != "" {
		t.Errorf("disabled again: %+v, %v", again, err)
	}
	if back, err := got.Written(dps.HubDeviceDraft{Disabled: &no}, later.Add(time.Hour)); err != nil || back.Disabled ||
		!back.StatusUpdated.Equal(later.Add(time.Hour)) {
		t.Errorf("enabled: %+v, %v", back, err)
	}
	if _, err := d.Written(dps.HubDeviceDraft{StatusReason: strings.Repeat("é", 128)}, later); err != nil {
		t.Errorf("the longest reason: %v", err)
	}
	if _, err := d.Written(dps.HubDeviceDraft{StatusReason: strings.Repeat("é", 129)}, later); dps.CodeOf(err) != dps.Invalid {
		t.Errorf("a longer reason: %v", err)
	}
}

// Keys that a client leaves out stay; where there are none they are generated.
func TestWrittenKeys(t *testing.T) {
	t.Parallel()
	d := newDevice(dps.Twin{})
	key := dps.NewKey()
	one := dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: dps.KeyPair{Primary: key}}
	got, err := d.Written(dps.HubDeviceDraft{Authentication: &one}, created)
	if err != nil || got.Authentication.Keys.Primary.Base64() != key.Base64() ||
		got.Authentication.Keys.Secondary.Base64() != d.Authentication.Keys.Secondary.Base64() {
		t.Errorf("one key: %v", err)
	}
	none := dps.HubAuthentication{Type: dps.HubAuthNone}
	got, err = got.Written(dps.HubDeviceDraft{Authentication: &none}, created)
	if err != nil || !got.Authentication.Keys.Primary.IsZero() {
		t.Errorf("no authentication keeps keys: %v", err)
	}
	sas := dps.HubAuthentication{Type: dps.HubAuthSAS}
	got, err = got.Written(dps.HubDeviceDraft{Authentication: &sas}, created)
	if err != nil || got.Authentication.Keys.Primary.IsZero() || got.Authentication.Keys.Secondary.IsZero() ||
		got.Authentication.Keys.Primary.Base64() == key.Base64() {
		t.Errorf("keys are not generated: %v", err)
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	const parent, other = "ms-azure-iot-edge://gateway-1", "ms-azure-iot-edge://gateway-2"
	own := func(d dps.HubDevice) string { return "ms-azure-iot-edge://dev-" + d.GenerationID }
	text := func(s string) *string { return &s }
	list := func(s ...string) *[]string { return &s }
	yes, no := true, false
	leaf := newDevice(dps.Twin{})
	edge := leaf
	edge.IotEdge = true
	child, edgeChild := leaf, edge
	child.Parent, edgeChild.Parent = parent, parent
	tests := []struct {
		name   string
		start  dps.HubDevice
		draft  dps.HubDeviceDraft
		parent string
		field  string // named by the refusal, "" if there is none
	}{
		{name: "nothing", start: child, parent: parent},
		{name: "leaf, by scope", start: leaf, draft: dps.HubDeviceDraft{Scope: text(parent)}, parent: parent},
		{name: "leaf, by parents", start: leaf, draft: dps.HubDeviceDraft{ParentScopes: list(parent)}, parent: parent},
		{name: "leaf, by both", start: leaf, draft: dps.HubDeviceDraft{Scope: text(parent), ParentScopes: list(parent)}, parent: parent},
		{name: "leaf, by an empty scope and parents", start: leaf, draft: dps.HubDeviceDraft{Scope: text(""), ParentScopes: list(parent)}, parent: parent},
		{name: "leaf, by a scope and no parents", start: leaf, draft: dps.HubDeviceDraft{Scope: text(parent), ParentScopes: list()}, parent: parent},
		{name: "leaf, another", start: child, draft: dps.HubDeviceDraft{Scope: text(other)}, parent: other},
		{name: "leaf, removed by scope", start: child, draft: dps.HubDeviceDraft{Scope: text("")}},
		{name: "leaf, removed by parents", start: child, draft: dps.HubDeviceDraft{ParentScopes: list()}},
		{name: "leaf, differing", start: leaf, draft: dps.HubDeviceDraft{Scope: text(parent), ParentScopes: list(other)}, field: "parentScopes"},
		{name: "leaf, no scope of an edge device", start: leaf, draft: dps.HubDeviceDraft{Scope: text("gateway")}, field: "deviceScope"},
		{name: "the scheme alone", start: leaf, draft: dps.HubDeviceDraft{Scope: text("ms-azure-iot-edge://")}, field: "deviceScope"},
		{name: "too long", start: leaf, draft: dps.HubDeviceDraft{ParentScopes: list(parent + strings.Repeat("x", 300))}, field: "parentScopes"},
		{name: "two parents", start: leaf, draft: dps.HubDeviceDraft{ParentScopes: list(parent, other)}, field: "parentScopes"},
		{name: "edge, its own scope sent back", start: edgeChild, draft: dps.HubDeviceDraft{Scope: text(own(edge)), ParentScopes: list(parent)}, parent: parent},
		{name: "edge, by parents", start: edge, draft: dps.HubDeviceDraft{ParentScopes: list(parent)}, parent: parent},
		{name: "edge, a scope of another", start: edge, draft: dps.HubDeviceDraft{Scope: text(parent)}, field: "deviceScope"},
		{name: "no edge device any more, its scope sent back", start: edge, draft: dps.HubDeviceDraft{IotEdge: &no, Scope: text(own(edge))}},
		{name: "a leaf becomes an edge device", start: child, draft: dps.HubDeviceDraft{IotEdge: &yes}, parent: parent},
	}
	for _, tt := range tests {
		got, err := tt.start.Written(tt.draft, created)
		if tt.field != "" {
			if dps.CodeOf(err) != dps.Invalid || !strings.HasPrefix(dps.MessageOf(err), tt.field+":") {
				t.Errorf("%s: %v, want %s refused", tt.name, err, tt.field)
			}
			continue
		}
		wantScope := tt.parent
		if got.IotEdge {
			wantScope = own(got)
		}
		if err != nil || got.Parent != tt.parent || got.Scope() != wantScope {
			t.Errorf("%s: parent %q, scope %q, %v; want %q, %q", tt.name, got.Parent, got.Scope(), err, tt.parent, wantScope)
		}
	}
}
