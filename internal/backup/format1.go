package backup

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
)

// Format 1, of the first versions of this program, is read and no longer written. It is a
// header, then chunks. The header is the magic line, the parameters of Argon2id (RFC 9106)
// with a random salt, and an HMAC over both. The passphrase and the header give two keys, by
// HKDF (RFC 5869): that of the HMAC, and that of the chunks. Each chunk is chunkSize bytes of
// content, the last one less or as many, under AES-256-GCM; its nonce is the number of the
// chunk and a flag for the last one (the STREAM construction: Hoang, Reyhanitabar, Rogaway
// and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015).
// The content is the length of the manifest in four bytes, the manifest, and the files.
const magic1 = "mooring backup 1\n"

// Sizes of format 1, in bytes.
const (
	saltSize   = 16
	paramsSize = 4 + 4 + 1
	signedSize = len(magic1) + paramsSize + saltSize
	headerSize = signedSize + sha256.Size
	keySize    = 32
	tagSize    = 16
	chunkSize  = 64 << 10
	nonceSize  = 12
)

// kdf are the parameters of Argon2id: what one guess at a passphrase costs.
type kdf struct {
	time    uint32 // passes
	memory  uint32 // KiB
	threads uint8
}

// check bounds what a file may make its reader spend.
func (k kdf) check() error {
	const maxTime, maxMemory, maxThreads = 16, 512 << 10, 16
	if k.time < 1 || k.time > maxTime || k.threads < 1 || k.threads > maxThreads ||
		k.memory < 8*uint32(k.threads) || k.memory > maxMemory {
		return fmt.Errorf("%w: its key derivation requires %d passes over %d KiB in %d threads", ErrNotBackup, k.time, k.memory, k.threads)
	}
	return nil
}

// keys are what a passphrase gives for one file.
type keys struct {
	header []byte // of the HMAC
	chunks cipher.AEAD
}

func (k kdf) keys(passphrase, salt []byte) (keys, error) {
	master := argon2.IDKey(passphrase, salt, k.time, k.memory, k.threads, keySize)
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

// signed reports whether header ends in the HMAC of what precedes it.
func (k keys) signed(header []byte) bool {
	mac := hmac.New(sha256.New, k.header)
	mac.Write(header[:signedSize])
	return hmac.Equal(mac.Sum(nil), header[signedSize:])
}

// unlock1 reads the header of a file of format 1, and returns how to open its content.
func unlock1(r io.Reader, passphrase []byte) (unlocked, error) {
	k, err := readHeader(r, passphrase)
	if err != nil {
		return nil, err
	}
	return func(r io.Reader) (archive, error) {
		if _, err := io.CopyN(io.Discard, r, int64(headerSize)); err != nil {
			return nil, short(err)
		}
		return archive1{newOpener(r, k)}, nil
	}, nil
}

// readHeader reads and checks the header.
func readHeader(r io.Reader, passphrase []byte) (keys, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return keys{}, short(err)
	}
	params := header[len(magic1):]
	cost := kdf{time: binary.BigEndian.Uint32(params), memory: binary.BigEndian.Uint32(params[4:]), threads: params[8]}
	if err := cost.check(); err != nil {
		return keys{}, err
	}
	k, err := cost.keys(passphrase, params[paramsSize:paramsSize+saltSize])
	if err != nil {
		return keys{}, err
	}
	if !k.signed(header) {
		return keys{}, ErrPassphrase
	}
	return k, nil
}

// archive1 is the content of a file of format 1.
type archive1 struct{ *opener }

func (a archive1) manifest() (Manifest, error) {
	var size uint32
	if err := binary.Read(a.opener, binary.BigEndian, &size); err != nil {
		return Manifest{}, short(err)
	}
	return readManifest(a.opener, int64(size))
}

// next returns the whole rest of the content; the caller knows how much of it is the file's.
func (a archive1) next(File) (io.Reader, error) { return a.opener, nil }

// end fails unless nothing is left, which the last chunk says.
func (a archive1) end() error {
	switch n, err := a.Read(make([]byte, 1)); {
	case n > 0:
		return errTrailing
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
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
