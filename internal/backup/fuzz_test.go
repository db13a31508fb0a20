package backup_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mooring-iot/mooring/internal/backup"
)

// FuzzRestore alters a small backup file, by one byte and by its length: no other
// file than the one that was made opens. What is altered is told by numbers, since
// each fuzzing process makes a file of its own.
func FuzzRestore(f *testing.F) {
	_, text := create(f, 10, 300)
	f.Add(uint32(0), byte(0), uint32(1<<31))
	f.Add(uint32(len(text)-1), byte(1), uint32(1<<31)) //nolint:gosec // a few hundred bytes
	f.Add(uint32(0), byte(0), uint32(len(text)-1))     //nolint:gosec // a few hundred bytes
	f.Add(uint32(0), byte(0), uint32(backup.HeaderSize))
	f.Fuzz(func(t *testing.T, at uint32, bits byte, keep uint32) {
		altered := append([]byte(nil), text...)
		altered[int(at)%len(altered)] ^= bits
		altered = altered[:min(len(altered), int(keep))]
		if costs(altered, text) {
			return // TestParameters; here they would only cost time
		}
		if _, err := openBytes(t, altered); (err == nil) != bytes.Equal(altered, text) {
			t.Errorf("opened with %v", err)
		}
	})
}

// FuzzForeign opens anything: it is refused, or whole.
func FuzzForeign(f *testing.F) {
	_, text := create(f, 10, 300)
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, foreign []byte) {
		if costs(foreign, text) {
			return
		}
		if b, err := openBytes(t, foreign); err == nil {
			if err := b.Extract(t.Context(), filepath.Join(t.TempDir(), "dir")); errors.Is(err, backup.ErrDamaged) {
				t.Errorf("opened, but Extract = %v", err)
			}
		}
	})
}

// magic begins every backup; behind it stand 9 bytes that say what the key costs.
const magic = "mooring backup 1\n"

// costs reports whether altered asks for another effort than text.
func costs(altered, text []byte) bool {
	const from, to = len(magic), len(magic) + 9
	return len(altered) >= to && !bytes.Equal(altered[from:to], text[from:to])
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
