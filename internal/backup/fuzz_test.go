package backup_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mooring-iot/mooring/internal/backup"
)

// FuzzRestore alters a small backup file: no other file than the one that was made
// opens.
func FuzzRestore(f *testing.F) {
	_, text := create(f, 10, 300)
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Add(text[:backup.HeaderSize])
	f.Add(flip(text, len(text)-1))
	f.Add([]byte("mooring backup 1\n"))
	f.Fuzz(func(t *testing.T, altered []byte) {
		const at = len("mooring backup 1\n")
		if len(altered) >= at+9 && !bytes.Equal(altered[at:at+9], text[at:at+9]) {
			return // TestParameters; here they would only cost time
		}
		if _, err := openBytes(t, altered); (err == nil) != bytes.Equal(altered, text) {
			t.Errorf("opened with %v", err)
		}
	})
}

// FuzzManifest seals any content: what opens also extracts, below its directory.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"files":[{"name":"a","size":4,"mode":384}]}`), []byte("data"))
	f.Add([]byte(`{"files":[{"name":"a","size":2},{"name":"a/b","size":2}]}`), []byte("data"))
	f.Add([]byte(`{"files":[{"name":"../a","size":4}]}`), []byte("data"))
	f.Add([]byte(`{}`), []byte{})
	f.Fuzz(func(t *testing.T, manifest, content []byte) {
		b, err := openBytes(t, sealed(t, manifest, content))
		if err != nil {
			return
		}
		outer := t.TempDir()
		dir := filepath.Join(outer, "dir")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := b.Extract(t.Context(), dir); errors.Is(err, backup.ErrDamaged) {
			t.Errorf("opened, but Extract = %v", err)
		}
		if entries, err := os.ReadDir(outer); err != nil || len(entries) != 1 {
			t.Errorf("written outside: %v, %v", entries, err)
		}
		if size := len(content); int64(size) != b.Manifest().Total() {
			t.Errorf("files of %d bytes from a content of %d", b.Manifest().Total(), size)
		}
	})
}
