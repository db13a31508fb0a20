package backup_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/backup"
	"github.com/mooring-iot/mooring/test/oldbackup"
)

// What one guess at a passphrase costs in tests.
const cheap = 2

var cheapKDF = oldbackup.KDF{Time: 1, Memory: 8, Threads: 1}

// Sizes of a chunk in both formats, in bytes.
const (
	chunkSize  = 64 << 10
	sealedSize = chunkSize + 16
)

// format is one format of backup files.
type format struct {
	name string
	// create returns a file that holds files of these sizes.
	create func(t testing.TB, sizes ...int) []byte
	// seal returns a file with this manifest and one file, made by somebody who knows the
	// passphrase.
	seal func(t testing.TB, manifest, content []byte) []byte
	// header is the size of what precedes the chunks.
	header func(text []byte) int
	// slack is how much of chunks is not content, at most.
	slack int
}

var formats = []format{
	{
		"format 1", createOld, sealOld,
		func([]byte) int { return oldbackup.HeaderSize }, 400,
	},
	{
		"format 2", func(t testing.TB, sizes ...int) []byte { _, text := create(t, sizes...); return text }, sealArchive,
		func(text []byte) int {
			mac := bytes.Index(text, []byte("\n--- ")) + 1
			return mac + bytes.IndexByte(text[mac:], '\n') + 1 + 16 // and a nonce
		}, 4096,
	},
}

func createOld(t testing.TB, sizes ...int) []byte {
	t.Helper()
	var files [][]byte
	for _, size := range sizes {
		files = append(files, random(size))
	}
	content, err := oldbackup.Content(options(sizes...).Manifest, files...)
	if err != nil {
		t.Fatal(err)
	}
	return oldFile(t, content)
}

func oldFile(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := oldbackup.Write(&out, phrase, cheapKDF, content); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func sealOld(t testing.TB, manifest, content []byte) []byte {
	t.Helper()
	plain := binary.BigEndian.AppendUint32(nil, uint32(len(manifest))) //nolint:gosec // small
	return oldFile(t, slices.Concat(plain, manifest, content))
}

// sealArchive names the one entry as the manifest does, if that can be read.
func sealArchive(t testing.TB, manifest, content []byte) []byte {
	t.Helper()
	var m backup.Manifest
	name := "a"
	if err := json.Unmarshal(manifest, &m); err == nil && len(m.Files) > 0 {
		name = m.Files[0].Name
	}
	return encrypted(t, archive(t, entry("manifest.json", manifest), entry(name, content)))
}

// member is an entry of a tar archive.
type member struct {
	tar.Header
	content []byte
}

func entry(name string, content []byte) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o600}, content}
}

func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// encrypted returns an age file of any content, for these recipients or else for the passphrase.
func encrypted(t testing.TB, content []byte, recipients ...age.Recipient) []byte {
	t.Helper()
	if len(recipients) == 0 {
		r, err := age.NewScryptRecipient(string(phrase))
		if err != nil {
			t.Fatal(err)
		}
		r.SetWorkFactor(cheap)
		recipients = append(recipients, r)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipients...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t testing.TB, text []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "b.backup")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// fullChunks returns the size of one file with which the content fills n chunks exactly.
func (f format) fullChunks(t testing.TB, n int) int {
	t.Helper()
	size := n*chunkSize - f.slack
	text := f.create(t, size)
	return size + f.header(text) + n*sealedSize - len(text)
}

func (f format) split(text []byte) (header []byte, chunks [][]byte) {
	n := f.header(text)
	return text[:n], slices.Collect(slices.Chunk(text[n:], sealedSize))
}

// eachFormat runs a test for every format that can be read.
func eachFormat(t *testing.T, run func(t *testing.T, f format)) {
	t.Helper()
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) { run(t, f) })
	}
}

// Whole chunks that are moved, left out, doubled, added or from another file are refused.
func TestChunksMoved(t *testing.T) {
	eachFormat(t, func(t *testing.T, f format) {
		text := f.create(t, f.fullChunks(t, 4))
		header, chunks := f.split(text)
		_, foreign := f.split(f.create(t, f.fullChunks(t, 4)))
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
	})
}

// What a file of format 1 asks of its reader is bounded, and bound to the rest of the file.
func TestParameters(t *testing.T) {
	text := createOld(t, 10)
	at := len("mooring backup 1\n")
	tests := []struct {
		name string
		kdf  oldbackup.KDF
		want error
	}{
		{"other time", oldbackup.KDF{Time: 2, Memory: 8, Threads: 1}, backup.ErrPassphrase},
		{"other memory", oldbackup.KDF{Time: 1, Memory: 16, Threads: 1}, backup.ErrPassphrase},
		{"no time", oldbackup.KDF{Time: 0, Memory: 8, Threads: 1}, backup.ErrNotBackup},
		{"no threads", oldbackup.KDF{Time: 1, Memory: 8, Threads: 0}, backup.ErrNotBackup},
		{"years", oldbackup.KDF{Time: 1 << 31, Memory: 8, Threads: 1}, backup.ErrNotBackup},
		{"terabytes", oldbackup.KDF{Time: 1, Memory: 1 << 30, Threads: 1}, backup.ErrNotBackup},
		{"many threads", oldbackup.KDF{Time: 1, Memory: 1 << 16, Threads: 255}, backup.ErrNotBackup},
		{"too little memory", oldbackup.KDF{Time: 1, Memory: 7, Threads: 1}, backup.ErrNotBackup},
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

// What an age file asks of its reader is bounded, and bound to the rest of the file.
func TestAgeHeader(t *testing.T) {
	_, text := create(t, 10)
	line := bytes.SplitN(text, []byte("\n"), 3)[1]
	salt := string(line[:len(line)-len("2")])
	with := func(stanza string) []byte { return bytes.Replace(text, line, []byte(stanza), 1) }
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		text []byte
		want error
	}{
		{"other work factor", with(salt + "3"), backup.ErrPassphrase},
		{"2 GiB", with(salt + "21"), backup.ErrNotBackup},
		{"beyond all numbers", with(salt + "99999999999999999999"), backup.ErrNotBackup},
		{"no work factor", with(salt + "0"), backup.ErrDamaged},
		{"a work factor that is spelled otherwise", with(salt + "02"), backup.ErrDamaged},
		{"no salt", with("-> scrypt"), backup.ErrDamaged},
		{"another kind of recipient", with("-> ssh-rsa"), backup.ErrNotBackup},
		{"for a key", encrypted(t, []byte("data"), other.Recipient()), backup.ErrNotBackup},
		{"an endless header", slices.Concat(text[:30], bytes.Repeat([]byte("A"), 1<<20)), backup.ErrDamaged},
		{"two recipients", with(string(line) + "\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n" + string(line)), backup.ErrNotBackup},
	}
	for _, tt := range tests {
		if _, err := openBytes(t, tt.text); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// A backup is opened by age and tar alone.
func TestPlainAge(t *testing.T) {
	sizes := []int{10, 0, 200_000}
	_, text := create(t, sizes...)
	id, err := age.NewScryptIdentity(string(phrase))
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(bytes.NewReader(text), id)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	files := tar.NewReader(r)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %o %d %v", h.Name, h.Mode, h.Size, h.ModTime.UTC()))
		if i := len(got) - 2; i >= 0 {
			if !bytes.Equal(content, random(sizes[i])) {
				t.Errorf("%s has another content", h.Name)
			}
			continue
		}
		var m backup.Manifest
		if err := json.Unmarshal(content, &m); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(options(sizes...).Manifest, m); diff != "" {
			t.Errorf("manifest (-want +got):\n%s", diff)
		}
		got[0] = h.Name
	}
	const made = "2026-03-01 12:00:00 +0000 UTC"
	want := []string{"manifest.json", "dir-0/file 600 10 " + made, "dir-1/file 600 0 " + made, "dir-2/file 600 200000 " + made}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// A file that the last program with format 1 made is still read.
func TestFormat1File(t *testing.T) {
	b, err := backup.Open(t.Context(), filepath.Join("testdata", "format-1.backup"), phrase)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	sizes := []int{10, 0, 300}
	if diff := cmp.Diff(options(sizes...).Manifest, b.Manifest()); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	dir := t.TempDir()
	if err := b.Extract(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, dir, sizes)
}

func checkFiles(t *testing.T, dir string, sizes []int) {
	t.Helper()
	for i, size := range sizes {
		got, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("dir-%d", i), "file"))
		if err != nil || !bytes.Equal(got, random(size)) {
			t.Errorf("%v: file %d is another, %v", sizes, i, err)
		}
	}
}

// An archive that somebody else made, who knows the passphrase, is as the manifest says, or refused.
func TestHostileArchive(t *testing.T) {
	manifest := entry("manifest.json", []byte(`{"files":[{"name":"a","size":4,"mode":384},{"name":"b","size":0,"mode":384}]}`))
	a, b := entry("a", []byte("data")), entry("b", nil)
	as := func(m member, change func(*tar.Header)) member { change(&m.Header); return m }
	whole := archive(t, manifest, a, b)
	zeros := make([]byte, 9216) // as GNU tar adds
	tests := []struct {
		name    string
		content []byte
		want    error
	}{
		{"as it should be", whole, nil},
		{"more zeros", slices.Concat(whole, zeros), nil},
		{"something after the zeros", slices.Concat(whole, zeros, []byte("x")), backup.ErrNotBackup},
		{"another archive after the zeros", slices.Concat(whole, whole), backup.ErrNotBackup},
		{"no manifest", archive(t, a, b), backup.ErrNotBackup},
		{"manifest last", archive(t, a, b, manifest), backup.ErrNotBackup},
		{"other order", archive(t, manifest, b, a), backup.ErrNotBackup},
		{"one lacks", archive(t, manifest, a), backup.ErrNotBackup},
		{"one more", archive(t, manifest, a, b, entry("c", nil)), backup.ErrNotBackup},
		{"longer", archive(t, manifest, entry("a", []byte("data!")), b), backup.ErrNotBackup},
		{"another name", archive(t, manifest, entry("./a", []byte("data")), b), backup.ErrNotBackup},
		{"a link", archive(t, manifest, as(entry("a", nil), func(h *tar.Header) {
			h.Typeflag, h.Linkname = tar.TypeSymlink, "/etc/passwd"
		}), b), backup.ErrNotBackup},
		{"a directory", archive(t, manifest, a, as(b, func(h *tar.Header) { h.Typeflag = tar.TypeDir })), backup.ErrNotBackup},
		{"cut in a header", whole[:700], backup.ErrNotBackup},
		{"cut in a content", archive(t, manifest, a)[:512*4-510], backup.ErrDamaged},
		{"no archive", random(2000), backup.ErrNotBackup},
		{"nothing", nil, backup.ErrNotBackup},
		{"a large manifest", archive(t, entry("manifest.json", make([]byte, 1<<20+1))), backup.ErrNotBackup},
	}
	for _, tt := range tests {
		if _, err := openBytes(t, encrypted(t, tt.content)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// An entry that has less bytes than its file is refused before its zeros are written.
func TestSparseArchive(t *testing.T) {
	manifest := entry("manifest.json", []byte(`{"files":[{"name":"a","size":1099511627776,"mode":384}]}`))
	// GNU's sparse files of version 1.0, in records of PAX: archive/tar reads them and does not write them.
	records := "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n21 GNU.sparse.name=a\n37 GNU.sparse.realsize=1099511627776\n"
	pax := tarHead(paxHeader(t, archive(t, entry("PaxHeaders/a", []byte(records)))))
	content := slices.Concat(tarHead(archive(t, manifest)), pax, archive(t, entry("a", padded("1\n1099511627776\n0\n"))))
	_, err := openBytes(t, encrypted(t, content))
	if !errors.Is(err, backup.ErrNotBackup) || !bytes.Contains([]byte(err.Error()), []byte("no plain file")) {
		t.Errorf("%v, want ErrNotBackup for an entry that is no plain file", err)
	}
}

// padded fills up the map of a sparse file.
func padded(text string) []byte { return append([]byte(text), make([]byte, 512-len(text))...) }

// tarHead is an archive without the zeros at its end.
func tarHead(text []byte) []byte { return text[:len(text)-1024] }

// paxHeader makes the first entry the extended header of the next one.
func paxHeader(t *testing.T, text []byte) []byte {
	t.Helper()
	const flag, sum, end = 156, 148, 512
	text[flag] = tar.TypeXHeader
	copy(text[sum:], "        ")
	total := 0
	for _, b := range text[:end] {
		total += int(b)
	}
	copy(text[sum:], fmt.Sprintf("%06o\x00 ", total))
	return text
}
