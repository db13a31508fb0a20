package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/mooring-iot/mooring/internal/durable"
)

// Backup is an open backup file, every byte of which was found authentic.
type Backup struct {
	file     *os.File
	open     unlocked
	manifest Manifest
}

// Open opens the backup file at path and reads all of it once, writing nothing. It fails
// with ErrNotBackup, ErrPassphrase or ErrDamaged when it cannot be restored. Memory does
// not grow with the file.
func Open(ctx context.Context, path string, passphrase []byte) (*Backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b := &Backup{file: f}
	if err := b.verify(ctx, passphrase); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return b, nil
}

func (b *Backup) verify(ctx context.Context, passphrase []byte) error {
	info, err := b.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", ErrNotBackup)
	}
	if b.open, err = unlock(b.file, passphrase); err != nil {
		return err
	}
	nowhere := func(File) (io.WriteCloser, error) { return discard{}, nil }
	b.manifest, err = b.read(ctx, nowhere)
	return err
}

// discard is a file that is read for its authenticity alone.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (discard) Close() error { return nil }

// Manifest says what the backup holds.
func (b *Backup) Manifest() Manifest { return b.manifest }

// Close closes the file.
func (b *Backup) Close() error { return b.file.Close() }

// Extract writes all files below dir, which exists, and returns when they are on the
// disk. It checks once more what it reads: a file that changed since Open is
// ErrDamaged. On failure, what was written so far is left behind.
func (b *Backup) Extract(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	create := func(f File) (io.WriteCloser, error) { return createFile(root, f) }
	if _, err := b.read(ctx, create); err != nil {
		return fmt.Errorf("restoring %s: %w", b.file.Name(), err)
	}
	return b.syncDirs(dir)
}

// syncDirs makes the names of all files durable.
func (b *Backup) syncDirs(dir string) error {
	names := []string{"."}
	for _, f := range b.manifest.Files {
		for parent := path.Dir(f.Name); parent != "."; parent = path.Dir(parent) {
			names = append(names, parent)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := durable.SyncDir(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return nil
}

// syncedFile is on the disk when it is closed.
type syncedFile struct{ *os.File }

func (f syncedFile) Close() error { return errors.Join(f.Sync(), f.File.Close()) }

func createFile(root *os.Root, f File) (io.WriteCloser, error) {
	const dirMode, fileMode fs.FileMode = 0o755, 0o644 // at most
	name := filepath.FromSlash(f.Name)
	if err := root.MkdirAll(filepath.Dir(name), dirMode); err != nil {
		return nil, err
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Chmod(f.Mode & fileMode); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return syncedFile{file}, nil
}

// read reads the whole content, each file into what create makes for it.
func (b *Backup) read(ctx context.Context, create func(File) (io.WriteCloser, error)) (Manifest, error) {
	if _, err := b.file.Seek(0, io.SeekStart); err != nil {
		return Manifest{}, err
	}
	a, err := b.open(bufio.NewReaderSize(b.file, chunkSize))
	if err != nil {
		return Manifest{}, err
	}
	m, err := a.manifest()
	if err != nil {
		return m, err
	}
	for _, f := range m.Files {
		if err := readFile(ctx, a, f, create); err != nil {
			return m, err
		}
	}
	return m, a.end()
}

func readFile(ctx context.Context, a archive, f File, create func(File) (io.WriteCloser, error)) error {
	r, err := a.next(f)
	if err != nil {
		return err
	}
	w, err := create(f)
	if err != nil {
		return err
	}
	return errors.Join(copyFile(ctx, w, r, f.Size), w.Close())
}

func copyFile(ctx context.Context, w io.Writer, r io.Reader, size int64) error {
	_, err := io.CopyN(&counter{ctx: ctx, w: w, left: size}, r, size)
	return short(err)
}
