package backup

import "io"

// Sizes that tests aim at.
const (
	HeaderSize = headerSize
	ChunkSize  = chunkSize
	SealedSize = chunkSize + tagSize
)

// Seal writes a file whose content is plain, whatever that is.
func Seal(w io.Writer, passphrase []byte, kdf KDF, plain []byte) error {
	s, err := newSealer(w, passphrase, kdf)
	if err != nil {
		return err
	}
	if _, err := s.Write(plain); err != nil {
		return err
	}
	return s.close()
}
