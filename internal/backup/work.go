package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// workPrefix begins the name of a directory in which a backup is written, beside its file.
const workPrefix = ".mooring-backup-"

// work is a directory in which a backup is written. The process that does so holds its lock:
// without that, it was left by one that was killed.
type work struct {
	path string
	lock *flock.Flock
}

func workLock(path string) *flock.Flock {
	return flock.New(filepath.Join(path, "lock"), flock.SetPermissions(0o600))
}

// openWork creates a directory and takes its lock. Another backup that looks for abandoned
// directories may be faster, at most once each time that one begins.
func openWork(dir string) (*work, error) {
	const attempts = 3
	var failed error
	for range attempts {
		path, err := os.MkdirTemp(dir, workPrefix+"*") // mode 0700
		if err != nil {
			return nil, err
		}
		w := &work{path: path, lock: workLock(path)}
		locked, err := w.lock.TryLock()
		if err == nil && locked {
			return w, nil
		}
		failed = errors.Join(fmt.Errorf("%s is in use by another backup", path), err, os.RemoveAll(path))
	}
	return nil, failed
}

// file is the path of the file that is being written.
func (w *work) file() string { return filepath.Join(w.path, "backup") }

func (w *work) close() error { return errors.Join(w.lock.Unlock(), os.RemoveAll(w.path)) }

// removeAbandoned removes what backups that were killed left in dir. What cannot be removed, as
// that of another user, is in nobody's way: it stays for the next backup.
func removeAbandoned(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), workPrefix) {
			continue
		}
		w := &work{path: filepath.Join(dir, e.Name())}
		w.lock = workLock(w.path)
		if free, err := w.lock.TryLock(); err == nil && free {
			_ = w.close()
		}
	}
}
