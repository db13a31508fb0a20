package backup_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/mooring-iot/mooring/internal/backup"
)

// FuzzRestore alters a small backup file, by one byte and by its length: no other
// file than the one that was made opens. What is altered is told by numbers, since
// each fuzzing process makes a file of its own.
func FuzzRestore(f *testing.F) {
	var files [][]byte
	for _, format := range formats {
		files = append(files, format.create(f, 10, 300))
	}
	for i, text := range files {
		old := i == 0
		header := formats[i].header(text)
		f.Add(old, uint32(0), byte(0), uint32(1<<31))
		f.Add(old, uint32(len(text)-1), byte(1), uint32(1<<31)) //nolint:gosec // a few hundred bytes
		f.Add(old, uint32(0), byte(0), uint32(len(text)-1))     //nolint:gosec // a few hundred bytes
		f.Add(old, uint32(0), byte(0), uint32(header))          //nolint:gosec // a few hundred bytes
	}
	f.Fuzz(func(t *testing.T, old bool, at uint32, bits byte, keep uint32) {
		text := files[1]
		if old {
			text = files[0]
		}
		altered := bytes.Clone(text)
		altered[int(at)%len(altered)] ^= bits
		altered = altered[:min(len(altered), int(keep))]
		if costs(altered, files[0]) {
			return // TestParameters; here they would only cost time
		}
		if _, err := openBytes(t, altered); (err == nil) != bytes.Equal(altered, text) {
			t.Errorf("opened with %v", err)
		}
	})
}

// FuzzForeign opens anything: it is refused, or whole.
func FuzzForeign(f *testing.F) {
	old := createOld(f, 10, 300)
	_, text := create(f, 10, 300)
	for _, text := range [][]byte{old, text} {
		f.Add(text)
		f.Add(text[:len(text)/2])
	}
	f.Add([]byte(oldMagic))
	f.Add([]byte("age-encryption.org/v1\n-> X25519 AAAA\nAAAA\n--- AAAA\n"))
	f.Fuzz(func(t *testing.T, foreign []byte) {
		if costs(foreign, old) {
			return
		}
		if b, err := openBytes(t, foreign); err == nil {
			if err := b.Extract(t.Context(), filepath.Join(t.TempDir(), "dir")); errors.Is(err, backup.ErrDamaged) {
				t.Errorf("opened, but Extract = %v", err)
			}
		}
	})
}

// oldMagic begins every file of format 1; behind it stand 9 bytes that say what the key costs.
const oldMagic = "mooring backup 1\n"

var expensive = regexp.MustCompile(`scrypt \S+ [0-9]{2}`)

// costs reports whether a file asks for more effort than those of tests do: one of format 1 for
// another effort than old, or an age file for a work factor of two digits.
func costs(altered, old []byte) bool {
	const from, to = len(oldMagic), len(oldMagic) + 9
	if bytes.HasPrefix(altered, []byte(oldMagic)) {
		return len(altered) >= to && !bytes.Equal(altered[from:to], old[from:to])
	}
	return expensive.Match(altered)
}

// FuzzManifest seals any manifest and content, in both formats: what opens also extracts, below its
// directory.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"files":[{"name":"a","size":4,"mode":384}]}`), []byte("data"))
	f.Add([]byte(`{"files":[{"name":"a","size":2},{"name":"a/b","size":2}]}`), []byte("data"))
	f.Add([]byte(`{"files":[{"name":"../a","size":4}]}`), []byte("data"))
	f.Add([]byte(`{}`), []byte{})
	f.Fuzz(func(t *testing.T, manifest, content []byte) {
		var m backup.Manifest
		_ = json.Unmarshal(manifest, &m)
		for _, text := range [][]byte{sealOld(t, manifest, content), encrypted(t, slice(t, m, manifest, content))} {
			if b, err := openBytes(t, text); err == nil {
				checkExtract(t, b)
				if size := len(content); int64(size) != b.Manifest().Total() {
					t.Errorf("files of %d bytes from a content of %d", b.Manifest().Total(), size)
				}
			}
		}
	})
}

// slice cuts content into the files of a manifest, as far as it goes; the last one has the rest.
func slice(t *testing.T, m backup.Manifest, manifest, content []byte) []byte {
	t.Helper()
	members := []member{entry("manifest.json", manifest)}
	for i, file := range m.Files {
		n := len(content)
		if i < len(m.Files)-1 && file.Size >= 0 && file.Size < int64(n) {
			n = int(file.Size)
		}
		if !validName(file.Name) {
			break
		}
		members, content = append(members, entry(file.Name, content[:n])), content[n:]
	}
	if len(content) > 0 {
		members = append(members, entry("rest", content))
	}
	return archive(t, members...)
}

// validName reports whether archive/tar writes a name as it is.
func validName(name string) bool {
	return name != "" && name[len(name)-1] != '/' && !bytes.ContainsRune([]byte(name), 0)
}

func checkExtract(t *testing.T, b *backup.Backup) {
	t.Helper()
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
}

// FuzzArchive encrypts any content: what opens also extracts, below its directory.
func FuzzArchive(f *testing.F) {
	manifest := entry("manifest.json", []byte(`{"files":[{"name":"a","size":4,"mode":384}]}`))
	f.Add(archive(f, manifest, entry("a", []byte("data"))))
	f.Add(archive(f, manifest, entry("../a", []byte("data"))))
	f.Add(archive(f, entry("manifest.json", []byte(`{"files":[{"name":"../a","size":4}]}`)), entry("../a", []byte("data"))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		if b, err := openBytes(t, encrypted(t, content)); err == nil {
			checkExtract(t, b)
		}
	})
}
