// Package oldbackup writes backup files of format 1, which the product only reads. It follows the
// description of that format in internal/backup, and shares no code with it.
package oldbackup

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"

	"golang.org/x/crypto/argon2"

	"github.com/mooring-iot/mooring/internal/backup"
)

// Sizes, in bytes.
const (
	HeaderSize = len(magic) + 4 + 4 + 1 + saltSize + sha256.Size
	ChunkSize  = 64 << 10
	SealedSize = ChunkSize + 16

	magic    = "mooring backup 1\n"
	saltSize = 16
	keySize  = 32
)

// KDF are the parameters of Argon2id.
type KDF struct {
	Time    uint32 // passes
	Memory  uint32 // KiB
	Threads uint8
}

// Content is what a file of format 1 holds: the manifest with its length, and the files.
func Content(m backup.Manifest, files ...[]byte) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	content := append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...) //nolint:gosec // a few hundred bytes
	for _, file := range files {
		content = append(content, file...)
	}
	return content, nil
}

// Write writes a file with that content, whatever it is.
func Write(w io.Writer, passphrase []byte, kdf KDF, content []byte) error {
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	master := argon2.IDKey(passphrase, salt, kdf.Time, kdf.Memory, kdf.Threads, keySize)
	if err := writeHeader(w, master, kdf, salt); err != nil {
		return err
	}
	aead, err := newAEAD(master)
	if err != nil {
		return err
	}
	for number := uint64(0); ; number++ {
		n := min(len(content), ChunkSize)
		last := n == len(content)
		if _, err := w.Write(aead.Seal(nil, nonce(number, last), content[:n], nil)); err != nil || last {
			return err
		}
		content = content[n:]
	}
}

func writeHeader(w io.Writer, master []byte, kdf KDF, salt []byte) error {
	key, err := hkdf.Expand(sha256.New, master, "mooring backup header", keySize)
	if err != nil {
		return err
	}
	header := binary.BigEndian.AppendUint32([]byte(magic), kdf.Time)
	header = binary.BigEndian.AppendUint32(header, kdf.Memory)
	header = append(append(header, kdf.Threads), salt...)
	mac := hmac.New(sha256.New, key)
	mac.Write(header)
	_, err = w.Write(mac.Sum(header))
	return err
}

func newAEAD(master []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, master, "mooring backup chunks", keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func nonce(number uint64, last bool) []byte {
	n := binary.BigEndian.AppendUint64(make([]byte, 3, 12), number)
	if last {
		return append(n, 1)
	}
	return append(n, 0)
}
