package attest

import (
	"crypto/x509"
	"errors"
	"sync"

	"github.com/mooring-iot/mooring/internal/dps"
)

// maxLinks bounds each half of what Links remembers of one outcome: about 600 KB in all.
const maxLinks = 2048

// Links remembers which key signed which CA certificate, and which key did not sign
// which certificate. Both are true for ever. The same few intermediates are in the
// chains of a whole fleet: checking them once saves a device's registration a tenth of
// its cost. And whoever sends the same useless chain again costs no signature check.
// An outcome is remembered by all bytes of certificate and key; whether a certificate
// may sign, and whether it has expired, is checked every time.
//
// It is safe for concurrent use. The zero value is ready; nil remembers nothing.
type Links struct {
	held, failed memory // apart, so that what strangers send displaces nothing of use
}

// signature is one signature that was checked.
type signature struct {
	child  dps.Thumbprint // of the whole certificate, its signature included
	signer dps.Thumbprint // of the key that may have made it, as SubjectPublicKeyInfo
}

// check reports why signer did not sign child, as dps.CheckSignature does; key is theirs.
// fresh tells whether a signature was verified for it.
func (l *Links) check(key signature, child, signer *x509.Certificate) (fresh bool, err error) {
	if l == nil {
		return true, dps.CheckSignature(child, signer)
	}
	switch {
	case child.IsCA && l.held.has(key):
		return false, nil
	case l.failed.has(key):
		return false, &dps.SignatureError{Problem: dps.SignatureMismatch}
	}
	err = dps.CheckSignature(child, signer)
	switch {
	case err != nil && isMismatch(err):
		l.failed.add(key)
	case err != nil:
		return false, err // the algorithm or the key: nothing was verified
	case child.IsCA:
		l.held.add(key)
	}
	return true, err
}

func isMismatch(err error) bool {
	problem, ok := errors.AsType[*dps.SignatureError](err)
	return ok && problem.Problem == dps.SignatureMismatch
}

// memory is a bounded set that keeps what is in use.
type memory struct {
	mu       sync.RWMutex
	now, old map[signature]struct{}
}

func (m *memory) has(key signature) bool {
	m.mu.RLock()
	_, now := m.now[key]
	_, old := m.old[key]
	m.mu.RUnlock()
	if old && !now {
		m.add(key) // still in use: it outlives the older half
	}
	return now || old
}

func (m *memory) add(key signature) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.now) >= maxLinks || m.now == nil {
		m.old, m.now = m.now, make(map[signature]struct{})
	}
	m.now[key] = struct{}{}
}
