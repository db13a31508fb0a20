package attest

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"

	"github.com/mooring-iot/mooring/internal/dps"
)

// MaxLinks is the bound of each half of Links.
const MaxLinks = maxLinks

// Check is what a walk asks.
func (l *Links) Check(child, signer *x509.Certificate) error {
	_, err := l.check(signatureOf(child, signer), child, signer)
	return err
}

// Len returns how many signatures are remembered that hold.
func (l *Links) Len() int { return len(l.held.now) + len(l.held.old) }

// Failures returns how many signatures are remembered that do not hold.
func (l *Links) Failures() int { return len(l.failed.now) + len(l.failed.old) }

// Remember adds a made-up signature.
func (l *Links) Remember(i int) {
	var s signature
	binary.BigEndian.PutUint64(s.child[:], uint64(i)) //nolint:gosec // a number of a test
	l.held.add(s)
	l.failed.add(s)
}

func signatureOf(child, signer *x509.Certificate) signature {
	return signature{child: dps.ThumbprintOf(child.Raw), signer: dps.ThumbprintOf(signer.RawSubjectPublicKeyInfo)}
}

// CheckNames checks the names of a leaf with the extension san below a signer with the
// extension constraints, both DER.
func CheckNames(san, constraints []byte) error {
	leaf := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: san}}, RawSubject: []byte{0x30, 0}}
	signer := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidNameConstraints, Value: constraints}}, RawSubject: []byte{0x30, 0}}
	return checkNames(newNode(leaf, nil), []*node{newNode(signer, nil)})
}
