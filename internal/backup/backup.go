// Package backup reads and writes backup files: some files and a manifest, encrypted
// together with a passphrase.
//
// A backup file of format 2, which Create writes, is an age file
// (https://age-encryption.org/v1) for one passphrase. Inside is a tar archive: manifest.json,
// then the files in the manifest's order, each with its path, size and mode. So "age -d" and
// "tar" read it without this package. Files of format 1 can still be opened.
package backup

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Errors of a file that cannot be restored.
var (
	// ErrNotBackup says that the file is none of ours, or of a format that this
	// program does not know.
	ErrNotBackup = errors.New("not a backup file that this program can read")
	// ErrPassphrase says that the passphrase does not open the file. A changed byte
	// in the header of the file looks the same.
	ErrPassphrase = errors.New("the passphrase is wrong, or the beginning of the file is damaged")
	// ErrDamaged says that the file was cut or altered.
	ErrDamaged = errors.New("the file is damaged: it is truncated or was modified")
)

var errTrailing = fmt.Errorf("%w: it has data after the last file of its manifest", ErrNotBackup)

// archive is the content of a backup file. Every byte that it gives is authentic; that nothing
// is missing is known when end returns nil.
type archive interface {
	// manifest reads the manifest. It is called once, and first.
	manifest() (Manifest, error)
	// next returns a reader that begins with the content of the next file. What precedes it was
	// read to its end. A content that ends early is an error.
	next(f File) (io.Reader, error)
	// end reads the rest, and fails if that holds anything.
	end() error
}

// unlocked opens the content of a file whose key is known, given the file from its beginning.
type unlocked func(io.Reader) (archive, error)

// unlock finds out what format a file has, and opens its header.
func unlock(r io.ReaderAt, passphrase []byte) (unlocked, error) {
	begin := make([]byte, max(len(magic1), len(magic2)))
	n, err := r.ReadAt(begin, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	const most = 64 << 10 // bytes of a header
	header := io.NewSectionReader(r, 0, most)
	switch text := string(begin[:n]); {
	case strings.HasPrefix(text, magic1):
		return unlock1(header, passphrase)
	case strings.HasPrefix(text, magic2):
		return unlock2(header, passphrase)
	}
	return nil, ErrNotBackup
}

// short says of content that ends too early that it is damaged.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrDamaged
	}
	return err
}
