// Package seal keeps secrets unreadable at rest: it encrypts them under a master
// key that lives in a file of its own, apart from the records.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
)

// keySize is that of AES-256, in bytes.
const keySize = 32

// version is the first byte of every sealed value: AES-256-GCM with a random nonce
// of 12 bytes, which follows it; then come the ciphertext and its tag of 16 bytes.
const version = 1

const redacted = "[master key]"

// ErrOpen says that a sealed value cannot be opened. Which of the possible reasons
// it was cannot be known.
var ErrOpen = errors.New("sealed value is damaged, belongs to another record, or was sealed under another master key")

// Key is a master key. It prints as redacted, whatever the verb.
//
// One key seals at most 2^32 values, so that random nonces do not meet (NIST SP
// 800-38D, section 8.3); nothing counts them.
type Key struct {
	aead cipher.AEAD
}

// newKey takes keySize random bytes.
func newKey(raw []byte) (*Key, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Key{aead: aead}, nil
}

// Seal encrypts plain and binds it to aad, which names the record that the secret
// belongs to and is not part of the result. Sealing the same twice gives different
// results; both stay valid.
func (k *Key) Seal(plain, aad []byte) []byte {
	sealed := make([]byte, 1, 1+len(plain)+k.aead.Overhead())
	sealed[0] = version
	return k.aead.Seal(sealed, nil, plain, bind(aad))
}

// Open returns what Seal was given. It fails with ErrOpen unless sealed is whole,
// aad is the one of Seal, and the key is the same.
func (k *Key) Open(sealed, aad []byte) ([]byte, error) {
	if len(sealed) < 1+k.aead.Overhead() {
		return nil, ErrOpen
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("sealed value has version %d, and this program supports %d: %w", sealed[0], version, ErrOpen)
	}
	plain, err := k.aead.Open(nil, nil, sealed[1:], bind(aad))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// bind puts the version under the protection of the tag.
func bind(aad []byte) []byte {
	return append([]byte{version}, aad...)
}

// String hides the key.
func (Key) String() string { return redacted }

// GoString hides the key from %#v.
func (Key) GoString() string { return redacted }

// LogValue hides the key from structured logs.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format hides the key from every other verb: %d would print the round keys.
func (Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }
