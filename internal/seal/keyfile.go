package seal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mooring-iot/mooring/internal/durable"
)

// OpenKey reads the master key from the file at path: 32 random bytes in base64 on
// one line, readable by its owner alone. If there is no such file and create is
// true, it makes one, durably; a file that exists is never changed.
//
// It fails when the file is absent (fs.ErrNotExist) and create is false, is
// malformed, or is open to group or others. Errors never quote the content.
func OpenKey(path string, create bool) (*Key, error) {
	key, err := readKey(path)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err := createKey(path); err != nil {
			return nil, fmt.Errorf("creating master key: %w", err)
		}
		key, err = readKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening master key: %w", err)
	}
	return key, nil
}

func readKey(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkMode(f); err != nil {
		return nil, err
	}
	const limit = 256 // far more than a key, and no more is read
	text, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != keySize {
		return nil, fmt.Errorf(
			"%s is damaged: want %d bytes in base64 on one line; restore it from a backup, as nothing sealed can be read without it",
			path,
			keySize,
		)
	}
	return newKey(raw)
}

// checkMode looks at the open file, so that nobody can exchange it in between.
func checkMode(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", f.Name())
	}
	const others = 0o077
	if mode := info.Mode().Perm(); mode&others != 0 && runtime.GOOS != "windows" { // which has no such bits
		return fmt.Errorf("%s is accessible to other users (mode %04o); run: chmod 600 %[1]s", f.Name(), mode)
	}
	return nil
}

// createKey writes a fresh key. The file appears at path whole or not at all, and
// if another process was first, its file stays.
func createKey(path string) error {
	raw := make([]byte, keySize)
	rand.Read(raw) // never fails
	file := durable.File{Path: path, Mode: 0o600, Keep: true}
	if err := file.WriteBytes([]byte(base64.StdEncoding.EncodeToString(raw) + "\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.SyncDir(filepath.Dir(path)) // of the other process's file too
}
