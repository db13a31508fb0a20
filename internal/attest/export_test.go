package attest

import (
	"crypto/x509"
	"encoding/binary"
)

// MaxLinks is the bound of each half of Links.
const MaxLinks = maxLinks

// Check is what a walk asks.
func (l *Links) Check(child, signer *x509.Certificate) error { return l.check(child, signer) }

// Len returns how many signatures are remembered.
func (l *Links) Len() int { return len(l.now) + len(l.old) }

// Remember adds a made-up signature.
func (l *Links) Remember(i int) {
	var s signature
	binary.BigEndian.PutUint64(s.child[:], uint64(i)) //nolint:gosec // a number of a test
	l.add(s)
}
