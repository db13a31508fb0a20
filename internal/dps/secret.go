package dps

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Secret is key material. It prints and logs as "[redacted]" and refuses to
// become JSON; Reveal gives the bytes to those who need them.
type Secret struct {
	_ [0]func() // not comparable: == would compare addresses

	// key is behind a pointer, and a string, because fmt calls no method of an
	// unexported field, nor where the verb does not fit: it then writes an address.
	key *string
}

// NewSecret returns b as a secret.
func NewSecret(b []byte) Secret {
	if len(b) == 0 {
		return Secret{}
	}
	return Secret{key: new(string(b))}
}

// Reveal returns the key material.
func (s Secret) Reveal() []byte {
	if s.key == nil {
		return nil
	}
	return []byte(*s.key)
}

// Base64 returns the key material as clients write it.
func (s Secret) Base64() string { return base64.StdEncoding.EncodeToString(s.Reveal()) }

// IsZero reports whether there is no key.
func (s Secret) IsZero() bool { return s.key == nil }

// String returns a placeholder.
func (Secret) String() string { return "[redacted]" }

// Format writes a placeholder whatever the verb: %d would else print the bytes.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue returns a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalJSON refuses: a secret becomes JSON only where it is revealed.
func (Secret) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a secret cannot be encoded as JSON")
}

// Bounds of a symmetric key's length, in bytes, and the length that we generate.
// Source: azure-docs, articles/iot-dps/concepts-symmetric-key-attestation.md.
const (
	minKeyBytes       = 16
	maxKeyBytes       = 64
	generatedKeyBytes = 64
)

// ParseKey decodes the base64 text of a symmetric key; field is named in the
// error. "" is no key.
func ParseKey(field, text string) (Secret, error) {
	if text == "" {
		return Secret{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Secret{}, Invalidf(field, "must be base64")
	}
	if len(b) < minKeyBytes || len(b) > maxKeyBytes {
		return Secret{}, Invalidf(field, "must be base64 of %d to %d bytes, not %d", minKeyBytes, maxKeyBytes, len(b))
	}
	return NewSecret(b), nil
}

// NewKey returns a random symmetric key.
func NewKey() Secret {
	b := make([]byte, generatedKeyBytes)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return NewSecret(b)
}

// KeyPair is two keys of equal power: one can be replaced while the other works.
type KeyPair struct{ Primary, Secondary Secret }

// NewKeyPair returns two random keys.
func NewKeyPair() KeyPair { return KeyPair{Primary: NewKey(), Secondary: NewKey()} }

// Fill returns p with its missing keys taken from other, and those that both
// lack generated.
func (p KeyPair) Fill(other KeyPair) KeyPair {
	p.Primary = firstKey(p.Primary, other.Primary)
	p.Secondary = firstKey(p.Secondary, other.Secondary)
	return p
}

func firstKey(keys ...Secret) Secret {
	for _, k := range keys {
		if !k.IsZero() {
			return k
		}
	}
	return NewKey()
}

// DeriveKey returns the key of one device under a group's key: HMAC-SHA256 of
// the registration ID, as spelled.
// Source: azure-docs, articles/iot-dps/concepts-symmetric-key-attestation.md, "Group enrollments".
//
// No group key derives no key.
func DeriveKey(group Secret, id RegistrationID) Secret {
	if group.IsZero() {
		return Secret{}
	}
	mac := hmac.New(sha256.New, group.Reveal())
	mac.Write([]byte(id))
	return NewSecret(mac.Sum(nil))
}
