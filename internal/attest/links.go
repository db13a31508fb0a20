package attest

import (
	"crypto/x509"
	"sync"

	"github.com/mooring-iot/mooring/internal/dps"
)

// maxLinks bounds each half of what Links remembers: about 300 KB in all.
const maxLinks = 2048

// Links remembers which key signed which CA certificate. That a signature holds is
// true for ever, and the same few intermediates stand in the chains of a whole
// fleet: checking them once saves a device's registration a tenth of its cost. Only
// signatures that held are remembered, by all bytes of certificate and key; whether a
// certificate may sign, and whether its time is over, is looked at every time.
//
// It is safe for concurrent use. The zero value is ready; nil remembers nothing.
type Links struct {
	mu       sync.RWMutex
	now, old map[signature]struct{}
}

// signature is one signature that held.
type signature struct {
	child  dps.Thumbprint // of the whole certificate, its signature included
	signer dps.Thumbprint // of the key that made it, as SubjectPublicKeyInfo
}

// check reports why signer did not sign child, as checkSignature does.
func (l *Links) check(child, signer *x509.Certificate) error {
	if l == nil || !child.IsCA {
		return checkSignature(child, signer)
	}
	key := signature{child: dps.ThumbprintOf(child.Raw), signer: dps.ThumbprintOf(signer.RawSubjectPublicKeyInfo)}
	if l.holds(key) {
		return nil
	}
	if err := checkSignature(child, signer); err != nil {
		return err
	}
	l.add(key)
	return nil
}

func (l *Links) holds(key signature) bool {
	l.mu.RLock()
	_, now := l.now[key]
	_, old := l.old[key]
	l.mu.RUnlock()
	if old && !now {
		l.add(key) // still in use: it outlives the older half
	}
	return now || old
}

func (l *Links) add(key signature) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.now) >= maxLinks || l.now == nil {
		l.old, l.now = l.now, make(map[signature]struct{})
	}
	l.now[key] = struct{}{}
}
