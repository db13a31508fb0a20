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

	"github.com/mooring-iot/mooring/internal/durable"
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
	out := durable.File{Path: path, Mode: 0o600, Temp: work.file(), Keep: true}
	var written count
	err = out.Write(func(w io.Writer) error {
		return write(ctx, io.MultiWriter(w, &written), o)
	})
	if err != nil {
		return 0, err
	}
	return int64(written), nil
}

// count counts what is written, in bytes.
type count int64

func (c *count) Write(p []byte) (int, error) {
	*c += count(len(p))
	return len(p), nil
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
