package backup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/backup"
)

var (
	phrase = []byte("correct horse battery staple")
	cheap  = backup.KDF{Time: 1, Memory: 8, Threads: 1}
)

// random returns bytes that depend on n alone.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

// options return what Create needs for files of these sizes.
func options(sizes ...int) backup.CreateOptions {
	o := backup.CreateOptions{Passphrase: phrase, KDF: cheap, Manifest: backup.Manifest{
		Made: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Version: "1.2.3", Schema: 7, IDScope: "0ne00000001",
		Records: backup.Records{Enrollments: 5, Registrations: 4},
	}}
	for i, size := range sizes {
		o.Manifest.Files = append(o.Manifest.Files, backup.File{Name: fmt.Sprintf("dir-%d/file", i), Size: int64(size), Mode: 0o600})
		o.Contents = append(o.Contents, func(_ context.Context, w io.Writer) error {
			_, err := w.Write(random(size))
			return err
		})
	}
	return o
}

// create returns the path of a backup file, and its bytes.
func create(t testing.TB, sizes ...int) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.backup")
	size, err := backup.Create(t.Context(), path, options(sizes...))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(text)) != size {
		t.Errorf("Create says %d bytes, the file has %d", size, len(text))
	}
	return path, text
}

// openBytes opens a backup file of that content.
func openBytes(t testing.TB, text []byte) (*backup.Backup, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b.backup")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := backup.Open(t.Context(), path, phrase)
	if err == nil {
		t.Cleanup(func() { _ = b.Close() })
	}
	return b, err
}

// fullChunks returns sizes of one file with which the content fills n chunks exactly.
func fullChunks(t testing.TB, n int) int {
	t.Helper()
	size := n*backup.ChunkSize - 400
	_, text := create(t, size)
	return size + backup.HeaderSize + n*backup.SealedSize - len(text)
}

func TestRoundTrip(t *testing.T) {
	full := fullChunks(t, 2)
	for _, sizes := range [][]int{{}, {0}, {1}, {3, 0, 70_000}, {full - 1}, {full}, {full + 1}, {5, 1 << 20}} {
		path, text := create(t, sizes...)
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v: the file has mode %v, %v", sizes, info.Mode(), err)
		}
		if bytes.Contains(text, []byte("0ne00000001")) {
			t.Errorf("%v: the manifest can be read without the passphrase", sizes)
		}
		b, err := backup.Open(t.Context(), path, phrase)
		if err != nil {
			t.Fatalf("%v: %v", sizes, err)
		}
		if diff := cmp.Diff(options(sizes...).Manifest, b.Manifest()); diff != "" {
			t.Errorf("%v: manifest (-want +got):\n%s", sizes, diff)
		}
		dir := t.TempDir()
		if err := errors.Join(b.Extract(t.Context(), dir), b.Close()); err != nil {
			t.Fatalf("%v: %v", sizes, err)
		}
		for i, size := range sizes {
			got, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("dir-%d", i), "file"))
			if err != nil || !bytes.Equal(got, random(size)) {
				t.Errorf("%v: file %d is another, %v", sizes, i, err)
			}
		}
	}
}

func TestModes(t *testing.T) {
	o := options(1, 1, 1)
	for i, mode := range []fs.FileMode{0o600, 0o644, 0o777} {
		o.Manifest.Files[i].Mode = mode
	}
	path, dir := filepath.Join(t.TempDir(), "a.backup"), t.TempDir()
	if _, err := backup.Create(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	b, err := backup.Open(t.Context(), path, phrase)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Extract(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for i, want := range []fs.FileMode{0o600, 0o644, 0o644} {
		info, err := os.Stat(filepath.Join(dir, fmt.Sprintf("dir-%d", i), "file"))
		if err != nil || info.Mode() != want {
			t.Errorf("file %d has mode %v, want %v, %v", i, info.Mode(), want, err)
		}
	}
}

func TestWrongPassphrase(t *testing.T) {
	path, _ := create(t, 100)
	for _, wrong := range []string{"", "correct horse battery stapl", "correct horse battery staple "} {
		if _, err := backup.Open(t.Context(), path, []byte(wrong)); !errors.Is(err, backup.ErrPassphrase) {
			t.Errorf("Open with %q: %v, want ErrPassphrase", wrong, err)
		}
	}
}

// Every file that is shorter is refused: all of them for a small file, and those around
// each boundary for a large one.
func TestCut(t *testing.T) {
	_, small := create(t, 10, 20)
	for n := range len(small) {
		checkRefused(t, fmt.Sprintf("small file cut to %d bytes", n), small[:n])
	}
	_, large := create(t, fullChunks(t, 3))
	for chunk := range 4 {
		boundary := backup.HeaderSize + chunk*backup.SealedSize
		for _, n := range []int{boundary - 1, boundary, boundary + 1, boundary + 17, boundary + backup.SealedSize/2} {
			if n < len(large) {
				checkRefused(t, fmt.Sprintf("large file cut to %d of %d bytes", n, len(large)), large[:n])
			}
		}
	}
}

func checkRefused(t *testing.T, what string, text []byte) {
	t.Helper()
	_, err := openBytes(t, text)
	if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrPassphrase) && !errors.Is(err, backup.ErrNotBackup) {
		t.Errorf("%s: %v, want a refusal", what, err)
	}
}

// Every changed byte is refused: all of them for a small file, a sample for a large one.
func TestFlipped(t *testing.T) {
	_, small := create(t, 10, 20)
	const params = len("mooring backup 1\n") // a changed cost of the key is another test
	for i := range small {
		if i < params || i >= params+9 {
			checkRefused(t, fmt.Sprintf("byte %d flipped", i), flip(small, i))
		}
	}
	_, large := create(t, 3*backup.ChunkSize)
	for i := backup.HeaderSize; i < len(large); i += 1009 {
		checkRefused(t, fmt.Sprintf("byte %d flipped", i), flip(large, i))
	}
	checkRefused(t, "last byte flipped", flip(large, len(large)-1))
}

func flip(text []byte, i int) []byte {
	flipped := bytes.Clone(text)
	flipped[i] ^= 1 << (i % 8)
	return flipped
}

// What a file asks of its reader is bounded, and bound to the rest of the file.
func TestParameters(t *testing.T) {
	_, text := create(t, 10)
	at := len("mooring backup 1\n")
	tests := []struct {
		name string
		kdf  backup.KDF
		want error
	}{
		{"other time", backup.KDF{Time: 2, Memory: 8, Threads: 1}, backup.ErrPassphrase},
		{"other memory", backup.KDF{Time: 1, Memory: 16, Threads: 1}, backup.ErrPassphrase},
		{"no time", backup.KDF{Time: 0, Memory: 8, Threads: 1}, backup.ErrNotBackup},
		{"no threads", backup.KDF{Time: 1, Memory: 8, Threads: 0}, backup.ErrNotBackup},
		{"years", backup.KDF{Time: 1 << 31, Memory: 8, Threads: 1}, backup.ErrNotBackup},
		{"terabytes", backup.KDF{Time: 1, Memory: 1 << 30, Threads: 1}, backup.ErrNotBackup},
		{"many threads", backup.KDF{Time: 1, Memory: 1 << 16, Threads: 255}, backup.ErrNotBackup},
		{"too little memory", backup.KDF{Time: 1, Memory: 7, Threads: 1}, backup.ErrNotBackup},
	}
	for _, tt := range tests {
		altered := bytes.Clone(text)
		binary.BigEndian.PutUint32(altered[at:], tt.kdf.Time)
		binary.BigEndian.PutUint32(altered[at+4:], tt.kdf.Memory)
		altered[at+8] = tt.kdf.Threads
		if _, err := openBytes(t, altered); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// Whole chunks that are moved, left out, doubled, added or from another file are refused.
func TestChunksMoved(t *testing.T) {
	_, text := create(t, fullChunks(t, 4))
	_, other := create(t, fullChunks(t, 4))
	header, chunks := split(text)
	_, foreign := split(other)
	join := func(chunks ...[]byte) []byte { return bytes.Join(append([][]byte{header}, chunks...), nil) }
	tests := map[string][]byte{
		"swapped":              join(chunks[1], chunks[0], chunks[2], chunks[3]),
		"first left out":       join(chunks[1:]...),
		"middle left out":      join(chunks[0], chunks[1], chunks[3]),
		"last left out":        join(chunks[:3]...),
		"doubled":              join(chunks[0], chunks[1], chunks[1], chunks[2], chunks[3]),
		"last doubled":         join(chunks[0], chunks[1], chunks[2], chunks[3], chunks[3]),
		"of another file":      join(chunks[0], foreign[1], chunks[2], chunks[3]),
		"last of another file": join(chunks[0], chunks[1], chunks[2], foreign[3]),
		"all of another file":  join(foreign...),
		"a byte more":          append(bytes.Clone(text), 0),
		"nothing":              header,
	}
	for name, altered := range tests {
		if _, err := openBytes(t, altered); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
	}
	if _, err := openBytes(t, join(chunks...)); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func split(text []byte) (header []byte, chunks [][]byte) {
	return text[:backup.HeaderSize], slices.Collect(slices.Chunk(text[backup.HeaderSize:], backup.SealedSize))
}

// A file that changes between the two readings is refused while it is restored.
func TestChangedMeanwhile(t *testing.T) {
	path, text := create(t, 3*backup.ChunkSize)
	b, err := backup.Open(t.Context(), path, phrase)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := os.WriteFile(path, flip(text, 2*backup.ChunkSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Extract(t.Context(), t.TempDir()); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("Extract = %v, want ErrDamaged", err)
	}
}

func TestNotABackup(t *testing.T) {
	for _, text := range []string{"", "mooring", "SQLite format 3\x00", "mooring backup 2\n" + string(random(1000))} {
		if _, err := openBytes(t, []byte(text)); !errors.Is(err, backup.ErrNotBackup) {
			t.Errorf("%.20q: %v, want ErrNotBackup", text, err)
		}
	}
	if _, err := backup.Open(t.Context(), t.TempDir(), phrase); !errors.Is(err, backup.ErrNotBackup) {
		t.Errorf("a directory: %v, want ErrNotBackup", err)
	}
	if _, err := backup.Open(t.Context(), filepath.Join(t.TempDir(), "none"), phrase); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v, want ErrNotExist", err)
	}
}

// sealed returns a file with this manifest and content, made by somebody who knows the
// passphrase.
func sealed(t testing.TB, manifest, content []byte) []byte {
	t.Helper()
	plain := binary.BigEndian.AppendUint32(nil, uint32(len(manifest)))
	var out bytes.Buffer
	if err := backup.Seal(&out, phrase, cheap, slices.Concat(plain, manifest, content)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Whatever a manifest says, nothing is written outside the directory.
func TestHostileManifest(t *testing.T) {
	file := func(name string, size int64) backup.File { return backup.File{Name: name, Size: size, Mode: 0o600} }
	tests := []struct {
		name  string
		files []backup.File
		want  error
	}{
		{"absolute", []backup.File{file("/etc/passwd", 4)}, backup.ErrNotBackup},
		{"above", []backup.File{file("../x", 4)}, backup.ErrNotBackup},
		{"above, later", []backup.File{file("tls/../../x", 4)}, backup.ErrNotBackup},
		{"the directory", []backup.File{file(".", 4)}, backup.ErrNotBackup},
		{"no name", []backup.File{file("", 4)}, backup.ErrNotBackup},
		{"twice", []backup.File{file("a", 2), file("a", 2)}, backup.ErrNotBackup},
		{"negative", []backup.File{file("a", -4)}, backup.ErrNotBackup},
		{"a directory's mode", []backup.File{{Name: "a", Size: 4, Mode: fs.ModeDir | 0o700}}, backup.ErrNotBackup},
		{"set-user-ID", []backup.File{{Name: "a", Size: 4, Mode: fs.ModeSetuid | 0o700}}, backup.ErrNotBackup},
		{"longer", []backup.File{file("a", 5)}, backup.ErrDamaged},
		{"shorter", []backup.File{file("a", 3)}, backup.ErrNotBackup},
	}
	for _, tt := range tests {
		manifest, err := json.Marshal(backup.Manifest{Files: tt.files})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openBytes(t, sealed(t, manifest, []byte("data"))); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := openBytes(t, sealed(t, []byte("{"), nil)); !errors.Is(err, backup.ErrNotBackup) {
		t.Errorf("half a manifest: %v, want ErrNotBackup", err)
	}
	var out bytes.Buffer
	if err := backup.Seal(&out, phrase, cheap, []byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if _, err := openBytes(t, out.Bytes()); !errors.Is(err, backup.ErrNotBackup) {
		t.Errorf("a manifest of 4 GB: %v, want ErrNotBackup", err)
	}
}

// A backup that fails leaves nothing, and none replaces a file.
func TestCreateFails(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("broken")
	tests := []struct {
		name   string
		ctx    context.Context
		change func(o *backup.CreateOptions)
	}{
		{"canceled", canceled, func(*backup.CreateOptions) {}},
		{"longer", t.Context(), func(o *backup.CreateOptions) { o.Manifest.Files[1].Size-- }},
		{"shorter", t.Context(), func(o *backup.CreateOptions) { o.Manifest.Files[1].Size++ }},
		{"unreadable", t.Context(), func(o *backup.CreateOptions) {
			o.Contents[1] = func(context.Context, io.Writer) error { return broken }
		}},
		{"bad name", t.Context(), func(o *backup.CreateOptions) { o.Manifest.Files[0].Name = "../x" }},
		{"no content", t.Context(), func(o *backup.CreateOptions) { o.Contents = nil }},
		{"no cost", t.Context(), func(o *backup.CreateOptions) { o.KDF = backup.KDF{} }},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		o := options(10, 200_000)
		tt.change(&o)
		if _, err := backup.Create(tt.ctx, filepath.Join(dir, "a.backup"), o); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
		checkEmpty(t, tt.name, dir)
	}
	path, text := create(t, 10)
	if _, err := backup.Create(t.Context(), path, options(10)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another file: %v, want ErrExist", err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
		t.Errorf("the other file is not what it was: %v", err)
	}
}

func checkEmpty(t *testing.T, what, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%s: left behind: %v, %v", what, entries, err)
	}
}

// Memory does not grow with what is backed up.
func TestMemory(t *testing.T) {
	const size, most = 256 << 20, 4 << 20 // bytes
	o := options(0)
	o.Manifest.Files[0].Size = size
	block := random(4096) // a page
	o.Contents[0] = func(_ context.Context, w io.Writer) error {
		for range size / len(block) {
			if _, err := w.Write(block); err != nil {
				return err
			}
		}
		return nil
	}
	path, dir := filepath.Join(t.TempDir(), "a.backup"), t.TempDir()
	var b *backup.Backup
	steps := []struct {
		name string
		run  func() error
	}{
		{"Create", func() error { _, err := backup.Create(t.Context(), path, o); return err }},
		{"Open", func() (err error) { b, err = backup.Open(t.Context(), path, phrase); return err }},
		{"Extract", func() error { return errors.Join(b.Extract(t.Context(), dir), b.Close()) }},
	}
	for _, step := range steps {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := step.run(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > most {
			t.Errorf("%s allocates %d bytes for %d bytes of content", step.name, took, size)
		}
	}
}
