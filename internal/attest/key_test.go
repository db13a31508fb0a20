package attest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

// counting holds the bytes 00 to 3F, the key of the vectors.
var counting = func() dps.Secret {
	b := make([]byte, 64)
	for i := range b {
		b[i] = byte(i)
	}
	return dps.NewSecret(b)
}()

// signedAt is a time at which the tokens of the vectors hold.
var signedAt = time.Unix(1700000000, 0).Add(-time.Minute)

// keyEntry is an enrollment with keys.
func keyEntry(kind dps.EntryKind, id string, keys dps.KeyPair) dps.Enrollment {
	return dps.Enrollment{
		Ref:         dps.EntryRef{Kind: kind, ID: id},
		Attestation: dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys},
	}
}

// The tokens of every client, spelled as it spells them, over a key that is known.
// The signatures were made with Python's hmac module.
func TestTokensOfClients(t *testing.T) {
	const raw = "+JnrFt/Sz94qn7GaDcn7l3+YZ20QU636RCNbRAyVV70="
	const upper, lower = "nT38Uuif0Y77ux9ffqM2KQar60U6OOQhrHWw1LErsnQ=", "N1FV0vGHtJU8esxl4A1rkKjf3t7mBchvwymvE8xXG88="
	upperHex := strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D")
	lowerHex := strings.NewReplacer("+", "%2b", "/", "%2f", "=", "%3d")
	for _, tt := range []struct{ client, token string }{
		{"Python", "sr=0ne00000001%2Fregistrations%2Fdev-1&sig=" + upperHex.Replace(upper) + "&se=1700000000"},
		{"Node", "sr=0ne00000001/registrations/dev-1&sig=" + upperHex.Replace(raw) + "&skn=registration&se=1700000000"},
		{"Node, encoded", "sr=0ne00000001%2Fregistrations%2Fdev-1&sig=" + upperHex.Replace(upper) + "&se=1700000000&skn=registration"},
		{"Java", "sr=0ne00000001/registrations/dev-1&sig=" + upperHex.Replace(raw) + "&se=1700000000&skn="},
		{"C", "sr=0ne00000001%2fregistrations%2fdev-1&sig=" + lowerHex.Replace(lower) + "&se=1700000000&skn=registration"},
		{"C#", "sr=0ne00000001%2Fregistrations%2Fdev-1&sig=" + lowerHex.Replace(upper) + "&se=1700000000&skn=registration"},
		{"signature not escaped", "sr=0ne00000001/registrations/dev-1&sig=" + raw + "&se=1700000000&skn=registration"},
	} {
		for _, keys := range []dps.KeyPair{{Primary: counting, Secondary: dps.NewKey()}, {Primary: dps.NewKey(), Secondary: counting}} {
			d := &dps.Decision{}
			ev := attest.KeyEvidence{Scope: "0ne00000001", ID: "dev-1", Token: "SharedAccessSignature " + tt.token}
			attest.IndividualKey(d, attest.Token(d, ev, signedAt), keyEntry(dps.Individual, "dev-1", keys))
			if d.Refused() || len(d.Checks) != 3 {
				t.Errorf("%s: %+v", tt.client, d)
			}
		}
	}
}

// Edge puts the resource into lower case before it signs, and the ID of a
// connection may be spelled in another case than the token's.
func TestResourceInOtherCase(t *testing.T) {
	keys := dps.NewKeyPair()
	for _, resource := range []string{"0neabc/registrations/dev-a", "0neABC/registrations/Dev-A", "0NEABC/REGISTRATIONS/DEV-A"} {
		d := &dps.Decision{}
		ev := attest.KeyEvidence{Scope: "0neABC", ID: "Dev-A", Token: sas.Sign(resource, "", keys.Primary.Reveal(), now)}
		attest.IndividualKey(d, attest.Token(d, ev, now), keyEntry(dps.Individual, "dev-a", keys))
		if d.Refused() {
			t.Errorf("%s: %+v", resource, d)
		}
	}
}

func TestTokenRefused(t *testing.T) {
	key := dps.NewKey().Reveal()
	token := func(resource string, expiry time.Time) string { return sas.Sign(resource, "registration", key, expiry) }
	good := token("0ne1/registrations/dev-1", now.Add(time.Hour))
	for _, tt := range []struct {
		name, token string
		want        dps.Reason
	}{
		{"good", good, dps.ReasonNone},
		{"no token", "open sesame", dps.ReasonTokenMalformed},
		{"scheme alone", "SharedAccessSignature", dps.ReasonTokenMalformed},
		{"cut off", good[:40], dps.ReasonTokenMalformed},
		{"too long", good + "&x=" + strings.Repeat("x", sas.MaxLength), dps.ReasonTokenMalformed},
		{"another device", token("0ne1/registrations/dev-2", now.Add(time.Hour)), dps.ReasonTokenResource},
		{"another scope", token("0ne2/registrations/dev-1", now.Add(time.Hour)), dps.ReasonTokenResource},
		{"a hub", token("hub.example.com/devices/dev-1", now.Add(time.Hour)), dps.ReasonTokenResource},
		{"all devices", token("0ne1/registrations", now.Add(time.Hour)), dps.ReasonTokenResource},
		{"something below", token("0ne1/registrations/dev-1/x", now.Add(time.Hour)), dps.ReasonTokenResource},
		{"very long resource", token("0ne1/registrations/"+strings.Repeat("d", 3000), now.Add(time.Hour)), dps.ReasonTokenResource},
		{"expires now", token("0ne1/registrations/dev-1", now), dps.ReasonNone},
		{"late, within leeway", token("0ne1/registrations/dev-1", now.Add(-sas.Leeway)), dps.ReasonNone},
		{"late", token("0ne1/registrations/dev-1", now.Add(-sas.Leeway-time.Second)), dps.ReasonTokenExpired},
		{"long ago", token("0ne1/registrations/dev-1", time.Unix(1, 0)), dps.ReasonTokenExpired},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &dps.Decision{}
			attest.Token(d, attest.KeyEvidence{Scope: "0ne1", ID: "dev-1", Token: tt.token}, now)
			explained(t, d, tt.want)
			if text := d.LogValue().String(); strings.Contains(text, "sig=") || len(text) > 1000 {
				t.Errorf("the log would say %s", text)
			}
		})
	}
}

// explained checks a decision's reason, and that a refusal says what to do.
func explained(t *testing.T, d *dps.Decision, want dps.Reason) {
	t.Helper()
	if d.Reason != want || (d.Remedy != "") != (want != dps.ReasonNone) || (d.Answer == "Unauthorized") != (want != dps.ReasonNone) {
		t.Errorf("decision = %+v, want reason %q", d, want)
	}
}

func TestIndividualKeyRefused(t *testing.T) {
	keys := dps.NewKeyPair()
	certified := dps.Enrollment{
		Ref:         dps.EntryRef{Kind: dps.Individual, ID: "dev-1"},
		Attestation: dps.Attestation{Type: dps.X509, X509: &dps.X509Attestation{}},
	}
	endorsed := dps.Enrollment{Ref: certified.Ref, Attestation: dps.Attestation{Type: dps.TPM, TPM: &dps.TPMAttestation{}}}
	for _, tt := range []struct {
		name  string
		key   dps.Secret
		entry dps.Enrollment
		want  dps.Reason
	}{
		{"primary", keys.Primary, keyEntry(dps.Individual, "dev-1", keys), dps.ReasonNone},
		{"secondary", keys.Secondary, keyEntry(dps.Individual, "dev-1", keys), dps.ReasonNone},
		{"wrong key", dps.NewKey(), keyEntry(dps.Individual, "dev-1", keys), dps.ReasonWrongKey},
		{"derived of its own", dps.DeriveKey(keys.Primary, "dev-1"), keyEntry(dps.Individual, "dev-1", keys), dps.ReasonWrongKey},
		{"one key, and it is another", keys.Secondary, keyEntry(dps.Individual, "dev-1", dps.KeyPair{Primary: keys.Primary}), dps.ReasonWrongKey},
		{"certificate wanted", keys.Primary, certified, dps.ReasonOtherAttestation},
		{"TPM wanted", keys.Primary, endorsed, dps.ReasonOtherAttestation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &dps.Decision{}
			attest.IndividualKey(d, tokenOf(t, tt.key, "dev-1"), tt.entry)
			explained(t, d, tt.want)
		})
	}
}

// tokenOf is a token that a device signed, already read.
func tokenOf(t *testing.T, key dps.Secret, id dps.RegistrationID) sas.Token {
	t.Helper()
	token, err := sas.Parse(sas.Sign("0ne1/registrations/"+string(id), "", key.Reveal(), now))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// The vector of the documentation.
// Source: azure-docs, articles/iot-dps/how-to-legacy-device-symm-key.md.
func TestDerivedKeyOfTheDocumentation(t *testing.T) {
	group, err := dps.ParseKey("key", "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==")
	if err != nil {
		t.Fatal(err)
	}
	const id, want = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6", "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="
	if got := attest.DerivedKeys(dps.KeyPair{Primary: group, Secondary: group}, id); got.Primary.Base64() != want ||
		got.Secondary.Base64() != want {
		t.Errorf("derived keys are not %s", want)
	}
	d := &dps.Decision{}
	line := keyEntry(dps.Group, "line", dps.KeyPair{Primary: group})
	attest.GroupKey(d, tokenOf(t, dps.DeriveKey(group, id), id), id, line)
	if d.Refused() || d.Entry.ID != "line" || !attest.NewGroupKeys(line).Signed(tokenOf(t, dps.DeriveKey(group, id), id), id) {
		t.Errorf("decision %+v", d)
	}
}

func TestGroupKey(t *testing.T) {
	keys, single := dps.NewKeyPair(), dps.KeyPair{Primary: dps.NewKey()}
	for _, tt := range []struct {
		name  string
		group dps.KeyPair
		key   dps.Secret
		id    dps.RegistrationID
		keyed dps.RegistrationID // "" when refused
	}{
		{"primary", keys, dps.DeriveKey(keys.Primary, "dev"), "dev", "dev"},
		{"secondary", keys, dps.DeriveKey(keys.Secondary, "dev"), "dev", "dev"},
		{"one key", single, dps.DeriveKey(single.Primary, "dev"), "dev", "dev"},
		{"as spelled", keys, dps.DeriveKey(keys.Primary, "Dev-A"), "Dev-A", "Dev-A"},
		{"in lower case", keys, dps.DeriveKey(keys.Primary, "dev-a"), "Dev-A", "dev-a"},
		{"in another case", keys, dps.DeriveKey(keys.Primary, "DEV-A"), "Dev-A", ""},
		{"of another device", keys, dps.DeriveKey(keys.Primary, "other"), "dev", ""},
		{"the group's key itself", keys, keys.Primary, "dev", ""},
		{"no key", single, dps.NewKey(), "dev", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, group, token := &dps.Decision{}, keyEntry(dps.Group, "line", tt.group), tokenOf(t, tt.key, tt.id)
			got := attest.GroupKey(d, token, tt.id, group)
			if found := attest.NewGroupKeys(group).Signed(token, tt.id); found == d.Refused() {
				t.Errorf("a search says %v, the group %v", found, d.LogValue())
			}
			if tt.keyed == "" {
				explained(t, d, dps.ReasonWrongKey)
				return
			}
			explained(t, d, dps.ReasonNone)
			want := attest.DerivedKeys(tt.group, tt.keyed)
			if got.Primary.Base64() != want.Primary.Base64() || got.Secondary.Base64() != want.Secondary.Base64() {
				t.Errorf("the hub gets other keys than those derived for %q", tt.keyed)
			}
		})
	}
	d := &dps.Decision{}
	certified := dps.Enrollment{Ref: groupRef("g"), Attestation: dps.Attestation{Type: dps.X509, X509: &dps.X509Attestation{}}}
	attest.GroupKey(d, tokenOf(t, keys.Primary, "dev"), "dev", certified)
	explained(t, d, dps.ReasonOtherAttestation)
}

func TestNoGroup(t *testing.T) {
	for groups, want := range map[int]string{
		0: `no individual enrollment "dev", and no enrollment group with symmetric keys`,
		1: `and the token is not signed with a key derived for it from the keys of the only group with symmetric keys`,
		7: `and the token is not signed with a key derived for it from the keys of the 7 groups with symmetric keys`,
	} {
		d := &dps.Decision{}
		attest.NoGroup(d, "dev", groups)
		if explained(t, d, dps.ReasonNoEnrollment); !strings.HasSuffix(lastCheck(d).Detail, want) {
			t.Errorf("%d groups: %q, want %q", groups, lastCheck(d).Detail, want)
		}
	}
}

func TestOtherKindOfProof(t *testing.T) {
	d := &dps.Decision{}
	attest.OtherKindOfProof(d, dps.SymmetricKey, dps.X509)
	explained(t, d, dps.ReasonOperationOwner)
	if want := "the device showed a token, and registered with a client certificate"; lastCheck(d).Detail != want {
		t.Errorf("detail = %q, want %q", lastCheck(d).Detail, want)
	}
}
