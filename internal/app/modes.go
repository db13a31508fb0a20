package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/gofrs/flock"
)

// Bits of a mode.
const (
	anyOthers   fs.FileMode = 0o077 // whatever group and others may do
	othersWrite fs.FileMode = 0o022
	worldWrite  fs.FileMode = 0o002
)

// ownNames are the names, or their beginnings, of everything that Mooring puts into a data directory.
var ownNames = []string{
	lockName, firstStartName, "runtime.json", "master.key", ".master.key.", "mooring.db", ".room.", "tls", stagePrefix,
}

// protect makes a data directory that was there before accessible to its owner alone, and refuses one that
// others may write where that cannot, or must not, be changed: whoever may write it can replace the
// database and the keys. Others may list a directory that also holds other files.
func (d dataDir) protect(log *slog.Logger) error {
	if goruntime.GOOS == "windows" { // which has no such bits
		return nil
	}
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if mode&anyOthers == 0 {
		return nil
	}
	own, err := d.holdsOnlyOwn()
	if err != nil {
		return err
	}
	if own && os.Chmod(d.path, 0o700) == nil {
		log.Warn("the data directory was accessible to other users; its mode was changed", "directory", d.path,
			"from", fmt.Sprintf("%04o", mode), "to", "0700")
		return nil
	}
	switch {
	case mode&worldWrite != 0:
		return fmt.Errorf("--data: every user may write to %s (mode %04o): run chmod o-w on it, or use a directory inside it: --data %s",
			d.path, mode, filepath.Join(d.path, "mooring"))
	case mode&othersWrite != 0:
		log.Warn("the group of the data directory may write to it", "directory", d.path, "mode", fmt.Sprintf("%04o", mode))
	}
	return nil
}

// holdsOnlyOwn reports whether a directory is empty, or holds nothing but the files of a service.
func (d dataDir) holdsOnlyOwn() (bool, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		own := false
		for _, name := range ownNames {
			own = own || strings.HasPrefix(e.Name(), name)
		}
		if !own {
			return false, nil
		}
	}
	return true, nil
}

// protectFiles checks the modes of the files: keys that others could read are refused, as nobody knows
// who did; everything else is closed to others, with a warning.
func (d dataDir) protectFiles(log *slog.Logger) error {
	if goruntime.GOOS == "windows" {
		return nil
	}
	var errs []error
	walk := func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == d.path:
			return nil
		case e.IsDir() && path != d.tls():
			return fs.SkipDir
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
			return err
		}
		errs = append(errs, d.protectFile(path, info.Mode().Perm(), log))
		return nil
	}
	return errors.Join(append(errs, filepath.WalkDir(d.path, walk))...)
}

func (d dataDir) protectFile(path string, mode fs.FileMode, log *slog.Logger) error {
	inTLS := strings.HasPrefix(path, d.tls())
	switch {
	case strings.HasSuffix(path, ".key.pem") && inTLS:
		if mode&anyOthers != 0 {
			return fmt.Errorf("%s is accessible to other users (mode %04o); run: chmod 600 %[1]s", path, mode)
		}
		return nil
	case path == d.masterKeyFile():
		return nil // seal.OpenKey looks at the open file
	case !d.isOwn(path):
		return nil
	}
	forbidden := anyOthers
	if inTLS { // certificates are public
		forbidden = othersWrite
	}
	if mode&forbidden == 0 {
		return nil
	}
	if err := os.Chmod(path, mode&^forbidden); err != nil {
		return fmt.Errorf("%s is accessible to other users (mode %04o): %w", path, mode, err)
	}
	log.Warn("a file was accessible to other users; its mode was changed", "file", path,
		"from", fmt.Sprintf("%04o", mode), "to", fmt.Sprintf("%04o", mode&^forbidden))
	return nil
}

// isOwn reports whether a path is one of a service.
func (d dataDir) isOwn(path string) bool {
	name, err := filepath.Rel(d.path, path)
	if err != nil {
		return false
	}
	for _, own := range ownNames {
		if strings.HasPrefix(name, own) {
			return true
		}
	}
	return false
}

// removeLeftovers removes what processes that were killed left behind: directories of a restore, which
// hold the master key, beside d and in it, and files that were about to be given their names. The
// lock of d is held.
func (d dataDir) removeLeftovers(log *slog.Logger) error {
	inside, err := filepath.Glob(filepath.Join(escapeGlob(d.path), stagePrefix+"*"))
	errs := []error{err}
	for _, path := range inside {
		errs = append(errs, removeLeftover(path, log))
	}
	for _, pattern := range []string{
		filepath.Join(escapeGlob(d.path), ".master.key.*"), filepath.Join(escapeGlob(d.path), ".room.*"),
		filepath.Join(escapeGlob(d.tls()), ".*.pem.*"),
		escapeGlob(d.runtimeFile()) + ".new",
	} {
		files, err := filepath.Glob(pattern)
		errs = append(errs, err)
		for _, path := range files {
			errs = append(errs, removeLeftover(path, log))
		}
	}
	return errors.Join(append(errs, d.removeStages(log))...)
}

// stagePattern matches the directories beside d that restores work in.
func (d dataDir) stagePattern() string { return "." + filepath.Base(d.path) + ".restore-" }

// removeStages removes the directories beside d whose restore does not run any more: each holds the lock
// of its own.
func (d dataDir) removeStages(log *slog.Logger) error {
	stages, err := filepath.Glob(filepath.Join(escapeGlob(filepath.Dir(d.path)), escapeGlob(d.stagePattern())+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range stages {
		lock := flock.New(filepath.Join(path, lockName), flock.SetPermissions(0o600))
		free, err := lock.TryLock()
		if err != nil || !free {
			continue // of a restore that runs, or of another user
		}
		errs = append(errs, removeLeftover(path, log), lock.Unlock())
	}
	return errors.Join(errs...)
}

func removeLeftover(path string, log *slog.Logger) error {
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("removing temporary files of an interrupted command: %w", err)
	}
	log.Warn("removed temporary files of an interrupted command", "path", path)
	return nil
}

// escapeGlob quotes a path that is a part of a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
