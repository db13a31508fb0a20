package tlsauth

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Modes of the files.
const (
	dirMode    fs.FileMode = 0o755
	publicMode fs.FileMode = 0o644
	secretMode fs.FileMode = 0o600
)

// maxFile bounds what is read of a PEM file, in bytes; a chain of ten has about 20 kB.
const maxFile = 1 << 20

// readFile returns the content of a regular file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return content, err
}
