package signin

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Costs of a hash.
// Source: OWASP, Password Storage Cheat Sheet, Argon2id.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashThreads = 1
	hashSize    = 32
	saltSize    = 16
)

// Bounds of the costs that a stored hash may ask for.
const (
	maxHashMemory  = 256 << 10
	maxHashTime    = 16
	maxHashThreads = 16
	maxHashSize    = 64
)

// hashOf returns the hash of a password in PHC string form:
//
//	$argon2id$v=19$m=19456,t=2,p=1$salt$hash
//
// Source: github.com/P-H-C/phc-string-format, phc-sf-spec.md.
func hashOf(password string) (string, error) {
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	sum := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashThreads, hashSize)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashTime, hashThreads,
		enc.EncodeToString(salt), enc.EncodeToString(sum)), nil
}

// hash is a parsed PHC string.
type hash struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

var errHash = errors.New("the stored password is no argon2id hash of ours")

func parseHash(text string) (hash, error) {
	var h hash
	parts := strings.Split(text, "$")
	const members = 6 // the first is empty
	if len(parts) != members || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil {
		return h, errHash
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return h, errHash
	}
	if h.sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return h, errHash
	}
	if !h.affordable() {
		return h, errHash
	}
	return h, nil
}

// affordable reports whether a hash asks for costs that can be borne.
func (h hash) affordable() bool {
	costs := h.memory > 0 && h.memory <= maxHashMemory && h.time > 0 && h.time <= maxHashTime && h.threads > 0 && h.threads <= maxHashThreads
	return costs && len(h.sum) >= saltSize && len(h.sum) <= maxHashSize
}

// matches reports whether a hash is that of password.
func matches(text, password string) bool {
	h, err := parseHash(text)
	if err != nil {
		return false
	}
	sum := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.sum))) //nolint:gosec // bounded by parseHash
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}
