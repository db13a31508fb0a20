// Package durable writes files that are on the disk, whole, or not there.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// createMode is that of a temporary file: nobody else reads what is not finished.
const createMode fs.FileMode = 0o600

// File is a file to be written.
type File struct {
	Path string
	Mode fs.FileMode // permission bits

	// Temp is the path at which it is written first, on the file system of Path. What is there,
	// as after a crash, is removed. Empty means a new name beside Path, ".name.*"; then a
	// crash leaves that file behind.
	Temp string

	// Keep says never to replace a file: one at Path is fs.ErrExist.
	Keep bool
}

// Write writes what write gives it, and returns when content and name are on the disk. After a
// crash at any point there is the old file or the new one, whole. On failure the old one stays,
// and no temporary file is left.
func (f File) Write(write func(io.Writer) error) error {
	temp, err := f.openTemp()
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone already when all went well, or its second name
	if f.Mode != createMode {                     // not every file system has modes
		err = temp.Chmod(f.Mode)
	}
	if err == nil {
		err = write(temp)
	}
	if err == nil {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := f.publish(temp.Name()); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(f.Path))
}

// WriteBytes is Write for a content that is in memory.
func (f File) WriteBytes(content []byte) error {
	return f.Write(func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// openTemp creates the temporary file, for its owner alone.
func (f File) openTemp() (*os.File, error) {
	if f.Temp == "" {
		return os.CreateTemp(filepath.Dir(f.Path), "."+filepath.Base(f.Path)+".*") // mode 0600
	}
	if err := os.Remove(f.Temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(f.Temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, createMode)
}

// publish gives a finished file its name. File systems without hard links leave a moment between
// the look for another file and the renaming.
func (f File) publish(temp string) error {
	if !f.Keep {
		return os.Rename(temp, f.Path)
	}
	err := os.Link(temp, f.Path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	switch _, err := os.Lstat(f.Path); {
	case err == nil:
		return fmt.Errorf("%s: %w", f.Path, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return os.Rename(temp, f.Path)
}

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" { // which cannot, and need not
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
