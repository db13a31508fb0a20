package dps

import (
	"crypto/rand"
	"strings"
	"time"
)

// PortalAccount is the one account of an instance's portal. It has a password that was
// given out, or one that its owner chose.
type PortalAccount struct {
	Instance InstanceID
	OneTime  Secret // given out, and good until another is chosen; none after that
	Hash     Secret // of the chosen password; none before that
	Version  ETag   // another one with each password: sessions of an earlier one are over
	Changed  time.Time
}

// MustChange reports whether the password is still the one that was given out.
func (a PortalAccount) MustChange() bool { return !a.OneTime.IsZero() }

// PortalSession is a signed-in browser.
type PortalSession struct {
	Instance InstanceID
	ID       string // hash of the token that the browser holds, which itself is not kept
	Version  ETag   // of the account, when the browser signed in
	Created  time.Time
	Used     time.Time
	Expires  time.Time // it is removed from then on
}

// Form of a one-time password: four times five characters of 32, none of which is
// easily taken for another. That is 100 bits.
const (
	oneTimeAlphabet = "abcdefghjkmnpqrstuvwxyz023456789"
	oneTimeGroups   = 4
	oneTimeGroup    = 5
)

// NewOneTimePassword returns a random password for one use.
func NewOneTimePassword() Secret {
	var random [oneTimeGroups * oneTimeGroup]byte
	_, _ = rand.Read(random[:]) // crypto/rand.Read never fails
	var b strings.Builder
	for i, r := range random {
		if i > 0 && i%oneTimeGroup == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(oneTimeAlphabet[int(r)%len(oneTimeAlphabet)])
	}
	return NewSecret([]byte(b.String()))
}
