package attest

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/sas"
)

// KeyEvidence is a SAS token that a device brought, unchecked.
type KeyEvidence struct {
	Scope dps.IDScope        // what the connection says, not the token
	ID    dps.RegistrationID // the same
	Token string
}

// resource is what a device's token has to be for.
// Source: azure-docs, articles/iot-dps/concepts-symmetric-key-attestation.md.
func (ev KeyEvidence) resource() string {
	return string(ev.Scope) + "/registrations/" + string(ev.ID)
}

// Token checks what needs no key: that the token can be read, is for this device,
// and has not expired at now. What it returns is not proved yet.
func Token(d *dps.Decision, ev KeyEvidence, now time.Time) sas.Token {
	token, err := sas.Parse(ev.Token)
	switch {
	case err != nil:
		refuseToken(d, "token", err.Error(), dps.ReasonTokenMalformed, "Generate the token with a device SDK.")
	case !strings.EqualFold(token.Resource, ev.resource()):
		refuseToken(d, "token resource", fmt.Sprintf("the token is for %q, not for %q", clip(token.Resource), ev.resource()),
			dps.ReasonTokenResource, "Use the same ID scope and registration ID in the token and in the connection.")
	case token.Expired(now):
		refuseToken(
			d,
			"token expiry",
			"expired at "+stamp(token.Expiry),
			dps.ReasonTokenExpired,
			"Check the device's clock; tokens are accepted until 5 minutes after their expiry.",
		)
	default:
		d.Pass("token", "for this device, until "+stamp(token.Expiry))
	}
	return token
}

// clip limits the length of text that a device sent. It also cuts at the first "&": in a
// token that was escaped as a whole, the signature follows.
func clip(text string) string {
	const most = 200
	text, _, _ = strings.Cut(text, "&")
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}

func refuseToken(d *dps.Decision, check, detail string, reason dps.Reason, remedy string) {
	d.Refuse(check, detail, dps.Verdict{Reason: reason, Answer: answerUnauthorized, Remedy: remedy})
}

// IndividualKey checks that one of the enrollment's keys signed the token. Both are
// always tried, in constant time.
func IndividualKey(d *dps.Decision, token sas.Token, e dps.Enrollment) {
	d.Entry = e.Ref
	if e.Attestation.Type != dps.SymmetricKey {
		refuseToken(d, "enrollment", fmt.Sprintf("%s uses the attestation %s, but the device sent a SAS token", e.Ref, e.Attestation.Type),
			dps.ReasonOtherAttestation, "Change the enrollment's attestation to symmetricKey, or delete the enrollment so that a group applies.")
		return
	}
	d.Pass("enrollment", e.Ref.String())
	if !signed(token, *e.Attestation.SymmetricKey) {
		refuseToken(d, "signature", "the token is not signed with a key of the "+e.Ref.String(),
			dps.ReasonWrongKey, "Configure the device with the primary or secondary key of its enrollment.")
		return
	}
	d.Pass("signature", "by a key of the enrollment")
}

func signed(token sas.Token, keys dps.KeyPair) bool {
	return token.Verify(keys.Primary.Reveal(), keys.Secondary.Reveal())
}

// GroupKey checks that the key of the device, derived from one of the group's, signed the
// token, and returns the derived keys. The registration ID counts as the device spells
// it, then in lower case.
func GroupKey(d *dps.Decision, token sas.Token, id dps.RegistrationID, group dps.Enrollment) dps.KeyPair {
	d.Entry = group.Ref
	if group.Attestation.Type != dps.SymmetricKey {
		refuseToken(d, "enrollment",
			fmt.Sprintf("%s uses the attestation %s, but the device sent a SAS token", group.Ref, group.Attestation.Type),
			dps.ReasonOtherAttestation, "Register the device again with the group's attestation type.")
		return dps.KeyPair{}
	}
	d.Pass("enrollment", group.Ref.String())
	for _, spelling := range spellings(id) {
		if keys := DerivedKeys(*group.Attestation.SymmetricKey, spelling); signed(token, keys) {
			d.Pass("signature", "by the device's key under the group")
			return keys
		}
	}
	refuseToken(d, "signature",
		fmt.Sprintf("the token is not signed with a key that is derived for %q from the keys of the %s", id, group.Ref), dps.ReasonWrongKey,
		"Derive the device's key again (mooring enrollment-group compute-device-key), and register the device again.")
	return dps.KeyPair{}
}

// NoGroup refuses a token that no group's key accounts for; groups is how many there are.
func NoGroup(d *dps.Decision, id dps.RegistrationID, groups int) {
	detail := fmt.Sprintf("no individual enrollment %q, and the token is not signed with a key derived for it from the keys of %s",
		id, countGroups(groups))
	if groups == 0 {
		detail = fmt.Sprintf("no individual enrollment %q, and no enrollment group with symmetric keys", id)
	}
	d.Refuse("enrollment", detail, dps.Verdict{
		Reason: dps.ReasonNoEnrollment, Answer: answerUnauthorized,
		Remedy: "Derive the device's key from its group's key and this registration ID (mooring enrollment-group compute-device-key), " +
			"or enroll the device.",
	})
}

// GroupKeys are the keys of one group, ready to derive those of many devices.
type GroupKeys struct {
	Group dps.EntryRef
	macs  []hash.Hash // keyed; never written to, so that clones can be made at the same time
}

// NewGroupKeys prepares the keys of a group that attests by them.
func NewGroupKeys(group dps.Enrollment) GroupKeys {
	g := GroupKeys{Group: group.Ref}
	for _, key := range []dps.Secret{group.Attestation.SymmetricKey.Primary, group.Attestation.SymmetricKey.Secondary} {
		if !key.IsZero() {
			g.macs = append(g.macs, hmac.New(sha256.New, key.Reveal()))
		}
	}
	return g
}

// Derivations returns how many keys Signed derives for id.
func (g GroupKeys) Derivations(id dps.RegistrationID) int { return len(g.macs) * len(spellings(id)) }

// Signed reports whether a key derived for id signed the token. It derives one key for
// each key of the group and each spelling of id, and checks the signature with it.
func (g GroupKeys) Signed(token sas.Token, id dps.RegistrationID) bool {
	found := false
	for _, spelling := range spellings(id) {
		for _, keyed := range g.macs {
			if token.Verify(derive(keyed, spelling)) {
				found = true
			}
		}
	}
	return found
}

// derive is dps.DeriveKey with a key that was prepared.
func derive(keyed hash.Hash, id dps.RegistrationID) []byte {
	cloner, _ := keyed.(hash.Cloner) // as every hash of the standard library
	mac, err := cloner.Clone()
	if err != nil {
		panic(err) // only hashes that cannot be cloned have one
	}
	mac.Write([]byte(id))
	return mac.Sum(nil)
}

func spellings(id dps.RegistrationID) []dps.RegistrationID {
	if folded := dps.RegistrationID(id.Key()); folded != id {
		return []dps.RegistrationID{id, folded}
	}
	return []dps.RegistrationID{id}
}

// DerivedKeys returns both keys of a device under a group's keys.
func DerivedKeys(group dps.KeyPair, id dps.RegistrationID) dps.KeyPair {
	return dps.KeyPair{Primary: dps.DeriveKey(group.Primary, id), Secondary: dps.DeriveKey(group.Secondary, id)}
}

func countGroups(n int) string {
	if n == 1 {
		return "the only group with symmetric keys"
	}
	return fmt.Sprintf("the %d groups with symmetric keys", n)
}
