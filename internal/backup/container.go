// Package backup reads and writes backup files: some files and a manifest, sealed
// together under a passphrase.
//
// A backup file is a header, then chunks. The header is the magic line, the
// parameters of Argon2id (RFC 9106) with a random salt, and an HMAC over both. The
// passphrase and the header give two keys, by HKDF (RFC 5869): that of the HMAC, and
// that of the chunks. Each chunk is chunkSize bytes of content, the last one less or as
// many, under AES-256-GCM; its nonce is the number of the chunk and a flag for the last one
// (the STREAM construction: Hoang, Reyhanitabar, Rogaway and Vizár, "Online
// Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015), so that no
// chunk can be changed, moved, left out or added.
package backup

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
)

// Sizes, in bytes.
const (
	magic      = "mooring backup 1\n"
	saltSize   = 16
	paramsSize = 4 + 4 + 1
	signedSize = len(magic) + paramsSize + saltSize
	headerSize = signedSize + sha256.Size
	keySize    = 32
	tagSize    = 16
	chunkSize  = 64 << 10
	nonceSize  = 12
)

// Errors of a file that cannot be restored.
var (
	// ErrNotBackup says that the file is none of ours, or of a format that this
	// program does not know.
	ErrNotBackup = errors.New("not a backup file that this program can read")
	// ErrPassphrase says that the passphrase does not open the file. A changed byte
	// in the first few of the file looks the same.
	ErrPassphrase = errors.New("the passphrase is wrong, or the beginning of the file is damaged")
	// ErrDamaged says that the file was cut or altered.
	ErrDamaged = errors.New("the file is damaged: it is truncated or was modified")
)

// KDF are the parameters of Argon2id: what one guess at a passphrase costs.
type KDF struct {
	Time    uint32 // passes
	Memory  uint32 // KiB
	Threads uint8
}

// DefaultKDF returns the second recommendation of RFC 9106, section 4.
func DefaultKDF() KDF { return KDF{Time: 3, Memory: 64 << 10, Threads: 4} }

// check bounds what a file may make its reader spend.
func (k KDF) check() error {
	const maxTime, maxMemory, maxThreads = 16, 512 << 10, 16
	if k.Time < 1 || k.Time > maxTime || k.Threads < 1 || k.Threads > maxThreads ||
		k.Memory < 8*uint32(k.Threads) || k.Memory > maxMemory {
		return fmt.Errorf("%w: its key would cost %d passes over %d KiB in %d threads", ErrNotBackup, k.Time, k.Memory, k.Threads)
	}
	return nil
}

// keys are what a passphrase gives for one file.
type keys struct {
	header []byte // of the HMAC
	chunks cipher.AEAD
}

func (k KDF) keys(passphrase, salt []byte) (keys, error) {
	master := argon2.IDKey(passphrase, salt, k.Time, k.Memory, k.Threads, keySize)
	header, err := hkdf.Expand(sha256.New, master, "mooring backup header", keySize)
	if err != nil {
		return keys{}, err
	}
	chunks, err := hkdf.Expand(sha256.New, master, "mooring backup chunks", keySize)
	if err != nil {
		return keys{}, err
	}
	block, err := aes.NewCipher(chunks)
	if err != nil {
		return keys{}, err
	}
	aead, err := cipher.NewGCM(block)
	return keys{header: header, chunks: aead}, err
}

// sign returns the HMAC of the part of a header that precedes it.
func (k keys) sign(signed []byte) []byte {
	mac := hmac.New(sha256.New, k.header)
	mac.Write(signed)
	return mac.Sum(nil)
}

// newHeader returns a header with a fresh salt, and its keys.
func newHeader(passphrase []byte, kdf KDF) ([]byte, keys, error) {
	if err := kdf.check(); err != nil {
		return nil, keys{}, err
	}
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	header := make([]byte, 0, headerSize)
	header = append(header, magic...)
	header = binary.BigEndian.AppendUint32(header, kdf.Time)
	header = binary.BigEndian.AppendUint32(header, kdf.Memory)
	header = append(header, kdf.Threads)
	header = append(header, salt...)
	k, err := kdf.keys(passphrase, salt)
	return append(header, k.sign(header)...), k, err
}

// readHeader reads and checks the header.
func readHeader(r io.Reader, passphrase []byte) (keys, error) {
	header := make([]byte, headerSize)
	n, err := io.ReadFull(r, header)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return keys{}, err
	}
	if !bytes.HasPrefix(header[:n], []byte(magic)) {
		return keys{}, ErrNotBackup
	}
	if n < headerSize {
		return keys{}, ErrDamaged
	}
	params := header[len(magic):]
	kdf := KDF{Time: binary.BigEndian.Uint32(params), Memory: binary.BigEndian.Uint32(params[4:]), Threads: params[8]}
	if err := kdf.check(); err != nil {
		return keys{}, err
	}
	k, err := kdf.keys(passphrase, params[paramsSize:paramsSize+saltSize])
	if err != nil {
		return keys{}, err
	}
	if !hmac.Equal(k.sign(header[:signedSize]), header[signedSize:]) {
		return keys{}, ErrPassphrase
	}
	return k, nil
}

// nonce is that of one chunk.
type nonce [nonceSize]byte

// chunkNonce returns the nonce of a chunk: its number, from 0, in eleven bytes, of
// which eight outlast every disk, and whether it is the last one.
func chunkNonce(number uint64, last bool) nonce {
	var n nonce
	binary.BigEndian.PutUint64(n[nonceSize-9:], number)
	if last {
		n[nonceSize-1] = 1
	}
	return n
}

// sealer writes chunks.
type sealer struct {
	w      io.Writer
	keys   keys
	number uint64
	plain  []byte // at most chunkSize
	sealed []byte // reused
}

// newSealer writes the header to w. What is written to it afterwards is buffered;
// close writes the last chunk.
func newSealer(w io.Writer, passphrase []byte, kdf KDF) (*sealer, error) {
	header, k, err := newHeader(passphrase, kdf)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(header); err != nil {
		return nil, err
	}
	return &sealer{w: w, keys: k, plain: make([]byte, 0, chunkSize), sealed: make([]byte, 0, chunkSize+tagSize)}, nil
}

// Write seals p as chunks fill up. A full chunk waits for the next byte, as it may be the last.
func (s *sealer) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if len(s.plain) == chunkSize {
			if err := s.flush(false); err != nil {
				return total - len(p), err
			}
		}
		n := min(len(p), chunkSize-len(s.plain))
		s.plain = append(s.plain, p[:n]...)
		p = p[n:]
	}
	return total, nil
}

func (s *sealer) close() error { return s.flush(true) }

func (s *sealer) flush(last bool) error {
	n := chunkNonce(s.number, last)
	s.sealed = s.keys.chunks.Seal(s.sealed[:0], n[:], s.plain, nil)
	s.number++
	s.plain = s.plain[:0]
	_, err := s.w.Write(s.sealed)
	return err
}

// opener reads chunks. Every byte it gives is authentic; that nothing is missing is
// known at io.EOF, which comes after the last chunk alone.
type opener struct {
	r      *bufio.Reader
	keys   keys
	number uint64
	sealed []byte // reused
	plain  []byte // what of the chunk was not read yet
	last   bool   // the chunk was the last one
	err    error  // sticks
}

func newOpener(r io.Reader, k keys) *opener {
	return &opener{r: bufio.NewReaderSize(r, chunkSize+tagSize), keys: k, sealed: make([]byte, chunkSize+tagSize)}
}

// Read fails with ErrDamaged where the file was cut or altered.
func (o *opener) Read(p []byte) (int, error) {
	for len(o.plain) == 0 && o.err == nil {
		o.err = o.fill()
	}
	if len(o.plain) == 0 {
		return 0, o.err
	}
	n := copy(p, o.plain)
	o.plain = o.plain[n:]
	return n, nil
}

// fill opens the next chunk. The last one is that which the file ends with.
func (o *opener) fill() error {
	if o.last {
		return io.EOF
	}
	n, err := io.ReadFull(o.r, o.sealed)
	switch {
	case errors.Is(err, io.EOF): // a file that ends where a chunk should begin
		return ErrDamaged
	case errors.Is(err, io.ErrUnexpectedEOF):
		o.last = true
	case err != nil:
		return err
	default:
		_, err := o.r.Peek(1)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		o.last = err != nil
	}
	nonce := chunkNonce(o.number, o.last)
	o.number++
	if o.plain, err = o.keys.chunks.Open(o.sealed[:0], nonce[:], o.sealed[:n], nil); err != nil {
		o.plain = nil
		return ErrDamaged
	}
	return nil
}
