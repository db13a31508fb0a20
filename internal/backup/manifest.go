package backup

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"
)

// Bounds of a manifest.
const (
	maxManifest = 1 << 20 // bytes
	maxFiles    = 10_000
)

// Manifest says what a backup holds.
type Manifest struct {
	Made    time.Time `json:"made"`    // the moment whose state it is
	Version string    `json:"version"` // of the program that made it
	Schema  int64     `json:"schema"`  // version of the database's schema
	IDScope string    `json:"idScope"` // of the default instance
	Records Records   `json:"records"`
	Files   []File    `json:"files"` // in the order of their contents
}

// Records says how many records the database holds.
type Records struct {
	Enrollments      int64 `json:"enrollments"`
	EnrollmentGroups int64 `json:"enrollmentGroups"`
	Registrations    int64 `json:"registrations"`
	CACertificates   int64 `json:"caCertificates"`
	Policies         int64 `json:"policies"`
	LinkedHubs       int64 `json:"linkedHubs"`
	HubDevices       int64 `json:"hubDevices"`
}

// File is one file of a backup.
type File struct {
	Name string      `json:"name"` // path below the data directory, with slashes
	Size int64       `json:"size"` // bytes
	Mode fs.FileMode `json:"mode"` // permission bits
}

// Total is the number of bytes of all files.
func (m Manifest) Total() int64 {
	var total int64
	for _, f := range m.Files {
		total += f.Size
	}
	return total
}

// check refuses a manifest whose files would not stay inside the directory that they
// are restored to.
func (m Manifest) check() error {
	if len(m.Files) > maxFiles {
		return fmt.Errorf("a backup of %d files", len(m.Files))
	}
	seen := make(map[string]bool)
	for _, f := range m.Files {
		switch {
		case !fs.ValidPath(f.Name) || f.Name == "." || f.Name == manifestName || path.Clean(f.Name) != f.Name:
			return fmt.Errorf("a file named %q", f.Name)
		case seen[f.Name]:
			return fmt.Errorf("two files named %q", f.Name)
		case f.Size < 0:
			return fmt.Errorf("a size of %d bytes", f.Size)
		case f.Mode != f.Mode.Perm():
			return fmt.Errorf("a file of mode %v", f.Mode)
		}
		seen[f.Name] = true
	}
	return nil
}

// readManifest reads the JSON of a manifest, which has that many bytes.
func readManifest(r io.Reader, size int64) (Manifest, error) {
	var m Manifest
	if size > maxManifest {
		return m, fmt.Errorf("%w: a manifest of %d bytes", ErrNotBackup, size)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return m, short(err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%w: reading its manifest: %w", ErrNotBackup, err)
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("%w: it has %w", ErrNotBackup, err)
	}
	return m, nil
}
