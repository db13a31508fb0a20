package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Content writes the content of one file; it must be as long as the manifest says.
type Content func(ctx context.Context, w io.Writer) error

// CreateOptions are what Create needs; all are required.
type CreateOptions struct {
	Passphrase []byte
	WorkFactor int // of scrypt: DefaultWorkFactor, except in tests
	Manifest   Manifest
	Contents   []Content // one for each file of the manifest
}

// Create writes a backup file to path, readable by its owner alone, and returns its size
// in bytes when it is on the disk. It appears whole or not at all, and never in
// place of another: a file that exists is fs.ErrExist.
//
// Memory does not grow with the contents.
func Create(ctx context.Context, path string, o CreateOptions) (size int64, err error) {
	if err := CheckFree(path); err != nil {
		return 0, err
	}
	dir := filepath.Dir(path)
	removeAbandoned(dir)
	work, err := openWork(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, work.close()) }()
	temp, err := os.OpenFile(work.file(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	err = write(ctx, temp, o)
	if err == nil {
		err = temp.Sync()
	}
	info, statErr := temp.Stat()
	if err := errors.Join(err, statErr, temp.Close()); err != nil {
		return 0, err
	}
	if err := publish(temp.Name(), path); err != nil {
		return 0, err
	}
	return info.Size(), SyncDir(dir)
}

// CheckFree fails with fs.ErrExist when there is something at path.
func CheckFree(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w; a backup never replaces another file", path, fs.ErrExist)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// publish gives a finished file its name, unless another has it by now. File systems
// without hard links leave a moment between the look and the renaming.
func publish(temp, path string) error {
	err := os.Link(temp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := CheckFree(path); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

func write(ctx context.Context, f io.Writer, o CreateOptions) error {
	if len(o.Contents) != len(o.Manifest.Files) {
		return fmt.Errorf("%d contents for %d files", len(o.Contents), len(o.Manifest.Files))
	}
	out := bufio.NewWriterSize(f, bufferSize)
	w, err := newWriter2(out, o)
	if err != nil {
		return err
	}
	for i, file := range o.Manifest.Files {
		if err := w.next(file); err != nil {
			return fmt.Errorf("copying %s: %w", file.Name, err)
		}
		counted := &counter{ctx: ctx, w: w.tar, left: file.Size}
		if err := o.Contents[i](ctx, counted); err != nil {
			return fmt.Errorf("copying %s: %w", file.Name, err)
		}
		if counted.left != 0 {
			return fmt.Errorf("copying %s: it is %d bytes shorter than expected", file.Name, counted.left)
		}
	}
	if err := w.close(); err != nil {
		return err
	}
	return out.Flush()
}

const bufferSize = 256 << 10 // bytes

// counter takes as many bytes as are left, until ctx ends.
type counter struct {
	ctx  context.Context // of the call that it lives for
	w    io.Writer
	left int64
}

func (c *counter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	if int64(len(p)) > c.left {
		return 0, errors.New("it is longer than expected")
	}
	n, err := c.w.Write(p)
	c.left -= int64(n)
	return n, err
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
