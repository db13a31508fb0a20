package register

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"

	"github.com/mooring-iot/mooring/internal/attest"
	"github.com/mooring-iot/mooring/internal/dps"
)

// maxSigners bounds how many certificates signers remembers in each half, but for those of
// one last name: about 25 MB in all.
const maxSigners = 2048

// signers remembers the stored certificates that signed the devices that came last, decoded:
// there may be thousands of one name. They hold as long as the store says that none was
// changed.
type signers struct {
	store Records

	mu       sync.Mutex // guards the others
	now, old map[signerName]namesakes
	size     int // certificates in now
}

// signerName is the name of a signer, as dps.NameKey.
type signerName struct {
	instance dps.InstanceID
	subject  string
}

// namesakes are all stored certificates of one name as they were at one version.
type namesakes struct {
	version int64
	anchors []attest.Anchor
}

// above returns the stored certificates that can stand above chain: those with
// the name of an issuer, then the issuers of these, and so on.
func (s *signers) above(ctx context.Context, in dps.InstanceID, chain []*x509.Certificate) ([]attest.Anchor, error) {
	version, err := s.store.SignerChanges(ctx, in)
	if err != nil {
		return nil, err
	}
	w := wanted{asked: make(map[string]bool)}
	for _, c := range chain {
		w.add(dps.NameKey(c.RawIssuer), c.RawIssuer)
	}
	if leaf := chain[0]; leaf.IsCA {
		w.add(dps.NameKey(leaf.RawSubject), leaf.RawSubject) // a device may present a CA's certificate as its own
	}
	var all []attest.Anchor
	for range attest.MaxChain {
		if len(w.keys) == 0 {
			break
		}
		found, err := s.named(ctx, in, version, w)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		w.keys, w.names = nil, nil
		for i := range found {
			w.add(found[i].Issuer(), found[i].Certificate.RawIssuer)
		}
	}
	return all, nil
}

// wanted are names whose signers are not looked up yet.
type wanted struct {
	asked map[string]bool // those that were looked up, too
	keys  []string        // as dps.NameKey
	names [][]byte        // the same, DER
}

func (w *wanted) add(key string, name []byte) {
	if !w.asked[key] {
		w.asked[key] = true
		w.keys, w.names = append(w.keys, key), append(w.names, name)
	}
}

// named returns the certificates that have one of the names.
func (s *signers) named(ctx context.Context, in dps.InstanceID, version int64, w wanted) ([]attest.Anchor, error) {
	var all []attest.Anchor
	var missing [][]byte
	for i, key := range w.keys {
		if known, ok := s.at(signerName{in, key}, version); ok {
			all = append(all, known...)
		} else {
			missing = append(missing, w.names[i])
		}
	}
	if len(missing) == 0 {
		return all, nil
	}
	found, err := s.store.Anchors(ctx, in, missing)
	if err != nil {
		return nil, err
	}
	groups, err := bySubject(found)
	if err != nil {
		return nil, err
	}
	for _, key := range w.keys {
		if anchors := groups[key]; len(anchors) > 0 {
			s.keep(signerName{in, key}, namesakes{version: version, anchors: anchors})
			all = append(all, anchors...)
		}
	}
	return all, nil
}

// bySubject decodes certificates.
func bySubject(found []dps.Anchor) (map[string][]attest.Anchor, error) {
	groups := make(map[string][]attest.Anchor)
	var failed error
	for _, stored := range found {
		a, err := attest.NewAnchor(stored)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		groups[a.Subject()] = append(groups[a.Subject()], a)
	}
	if failed != nil {
		return nil, failed
	}
	return groups, nil
}

// at returns the certificates of a name as they are at version or later, if they are
// remembered.
func (s *signers) at(name signerName, version int64) ([]attest.Anchor, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.now[name]
	if !ok {
		if known, ok = s.old[name]; ok && known.version >= version {
			s.add(name, known) // still in use: it outlives the older half
		}
	}
	return known.anchors, ok && known.version >= version
}

func (s *signers) keep(name signerName, n namesakes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now[name].version <= n.version {
		s.add(name, n)
	}
}

// add remembers the certificates of a name; mu is held.
func (s *signers) add(name signerName, n namesakes) {
	if s.now == nil || s.size >= maxSigners {
		s.old, s.now, s.size = s.now, make(map[signerName]namesakes), 0
	}
	s.size += len(n.anchors) - len(s.now[name].anchors)
	s.now[name] = n
}
