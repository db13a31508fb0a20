package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/backup"
)

var phrase = []byte("correct horse battery staple")

// random returns bytes that depend on n alone.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

// options return what Create needs for files of these sizes.
func options(sizes ...int) backup.CreateOptions {
	o := backup.CreateOptions{Passphrase: phrase, WorkFactor: cheap, Manifest: backup.Manifest{
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

func TestRoundTrip(t *testing.T) {
	eachFormat(t, func(t *testing.T, f format) {
		full := f.fullChunks(t, 2)
		for _, sizes := range [][]int{{}, {0}, {1}, {3, 0, 70_000}, {full - 512}, {full - 1}, {full}, {full + 1}, {5, 1 << 20}} {
			text := f.create(t, sizes...)
			if bytes.Contains(text, []byte("0ne00000001")) {
				t.Errorf("%v: the manifest can be read without the passphrase", sizes)
			}
			b, err := openBytes(t, text)
			if err != nil {
				t.Fatalf("%v: %v", sizes, err)
			}
			if diff := cmp.Diff(options(sizes...).Manifest, b.Manifest()); diff != "" {
				t.Errorf("%v: manifest (-want +got):\n%s", sizes, diff)
			}
			dir := t.TempDir()
			if err := b.Extract(t.Context(), dir); err != nil {
				t.Fatalf("%v: %v", sizes, err)
			}
			checkFiles(t, dir, sizes)
		}
	})
	path, _ := create(t, 3)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
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
	eachFormat(t, func(t *testing.T, f format) {
		path := write(t, f.create(t, 100))
		for _, wrong := range []string{"", "correct horse battery stapl", "correct horse battery staple "} {
			if _, err := backup.Open(t.Context(), path, []byte(wrong)); !errors.Is(err, backup.ErrPassphrase) {
				t.Errorf("Open with %q: %v, want ErrPassphrase", wrong, err)
			}
		}
	})
}

// Every file that is shorter is refused: all of them for a small file, and those around
// each boundary for a large one.
func TestCut(t *testing.T) {
	eachFormat(t, func(t *testing.T, f format) {
		checkRefused := refuser(t)
		small := f.create(t, 10, 20)
		for n := range len(small) {
			checkRefused(fmt.Sprintf("small file cut to %d bytes", n), small[:n])
		}
		large := f.create(t, f.fullChunks(t, 3))
		for chunk := range 4 {
			boundary := f.header(large) + chunk*sealedSize
			for _, n := range []int{boundary - 1, boundary, boundary + 1, boundary + 17, boundary + sealedSize/2} {
				if n < len(large) {
					checkRefused(fmt.Sprintf("large file cut to %d of %d bytes", n, len(large)), large[:n])
				}
			}
		}
	})
}

// refuser returns a check that a file of that content is refused.
func refuser(t *testing.T) func(what string, text []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b.backup")
	return func(what string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := backup.Open(t.Context(), path, phrase)
		if err == nil {
			_ = b.Close()
		}
		if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrPassphrase) && !errors.Is(err, backup.ErrNotBackup) {
			t.Errorf("%s: %v, want a refusal", what, err)
		}
	}
}

// Every changed byte is refused: all of them for a small file, a sample for a large one.
func TestFlipped(t *testing.T) {
	eachFormat(t, func(t *testing.T, f format) {
		checkRefused := refuser(t)
		small := f.create(t, 10, 20)
		const params = len("mooring backup 1\n") // a changed cost of the key is another test
		for i := range small {
			if f.name != "format 1" || i < params || i >= params+9 {
				checkRefused(fmt.Sprintf("byte %d flipped", i), flip(small, i))
			}
		}
		large := f.create(t, 3*chunkSize)
		for i := f.header(large); i < len(large); i += 1009 {
			checkRefused(fmt.Sprintf("byte %d flipped", i), flip(large, i))
		}
		checkRefused("last byte flipped", flip(large, len(large)-1))
	})
}

func flip(text []byte, i int) []byte {
	flipped := bytes.Clone(text)
	flipped[i] ^= 1 << (i % 8)
	return flipped
}

// A file that changes between the two readings is refused while it is restored.
func TestChangedMeanwhile(t *testing.T) {
	eachFormat(t, func(t *testing.T, f format) {
		text := f.create(t, 3*chunkSize)
		path := write(t, text)
		b, err := backup.Open(t.Context(), path, phrase)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, altered := range [][]byte{flip(text, 2*chunkSize), text[:2*chunkSize], f.create(t, 3*chunkSize), nil} {
			if err := os.WriteFile(path, altered, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := b.Extract(t.Context(), t.TempDir()); !errors.Is(err, backup.ErrDamaged) {
				t.Errorf("Extract = %v, want ErrDamaged", err)
			}
		}
	})
}

func TestNotABackup(t *testing.T) {
	for _, text := range []string{
		"", "mooring", "SQLite format 3\x00", "mooring backup 2\n" + string(random(1000)), "age-encryption.org/v2\n",
	} {
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
	eachFormat(t, func(t *testing.T, f format) {
		for _, tt := range tests {
			manifest, err := json.Marshal(backup.Manifest{Files: tt.files})
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if f.name != "format 1" { // whose files have no other size than that of the manifest
				want = backup.ErrNotBackup
			}
			if _, err := openBytes(t, f.seal(t, manifest, []byte("data"))); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", tt.name, err, want)
			}
		}
		if _, err := openBytes(t, f.seal(t, []byte("{"), nil)); !errors.Is(err, backup.ErrNotBackup) {
			t.Errorf("half a manifest: %v, want ErrNotBackup", err)
		}
	})
	if _, err := openBytes(t, oldFile(t, []byte{0xff, 0xff, 0xff, 0xff})); !errors.Is(err, backup.ErrNotBackup) {
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
		{"no cost", t.Context(), func(o *backup.CreateOptions) { o.WorkFactor = 0 }},
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

// What a backup that was killed left beside its file is removed by the next one, whatever that is
// called; what one that runs has there stays.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	dead, alive := filepath.Join(dir, ".mooring-backup-1"), filepath.Join(dir, ".mooring-backup-2")
	for _, work := range []string{dead, alive} {
		if err := os.Mkdir(work, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"lock", "backup"} {
			if err := os.WriteFile(filepath.Join(work, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	lock := flock.New(filepath.Join(alive, "lock"))
	if locked, err := lock.TryLock(); err != nil || !locked {
		t.Fatal("locking:", err)
	}
	defer lock.Unlock()
	if _, err := backup.Create(t.Context(), filepath.Join(dir, "a.backup"), options(10)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{".mooring-backup-2", "a.backup"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// A backup that is killed while it is written leaves what the next one finds.
func TestWorkDirectory(t *testing.T) {
	dir := t.TempDir()
	o := options(10)
	inner := o.Contents[0]
	o.Contents[0] = func(ctx context.Context, w io.Writer) error {
		if _, err := backup.Create(ctx, filepath.Join(dir, "b.backup"), options(10)); err != nil {
			t.Error(err)
		}
		found, err := filepath.Glob(filepath.Join(dir, ".mooring-backup-*", "lock"))
		if err != nil || len(found) != 1 {
			t.Errorf("%v, %v, want one lock", found, err)
		}
		return inner(ctx, w)
	}
	if _, err := backup.Create(t.Context(), filepath.Join(dir, "a.backup"), o); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// Memory does not grow with what is backed up.
func TestMemory(t *testing.T) {
	const size, most = 256 << 20, 32 << 20 // bytes
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
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > most {
			t.Errorf("%s needs %d bytes for %d bytes of content", step.name, grown, size)
		}
	}
}
