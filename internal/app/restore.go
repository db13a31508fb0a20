package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/backup"
	"github.com/mooring-iot/mooring/internal/durable"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// RestoreOptions say what to restore, and where to; all are required.
type RestoreOptions struct {
	File       string
	Data       string // absent, or an empty directory
	Passphrase []byte
}

// Restore makes a data directory from a backup file. Nothing is written before the
// whole file was found authentic and fit for this program. The directory is
// complete when it gets its name; one that existed is completed in an order in which no
// start takes a part for the whole. It is locked meanwhile.
func Restore(ctx context.Context, o RestoreOptions) (restored Backup, err error) {
	data, err := filepath.Abs(o.Data)
	if err != nil {
		return restored, err
	}
	file, err := filepath.Abs(o.File)
	if err != nil {
		return restored, err
	}
	d := dataDir{path: data}
	if err := d.removeStages(slog.New(slog.DiscardHandler)); err != nil {
		return restored, err
	}
	exists, err := d.checkEmpty()
	if err != nil {
		return restored, err
	}
	b, err := backup.Open(ctx, file, o.Passphrase)
	if err != nil {
		return restored, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	restored = Backup{Manifest: b.Manifest(), Data: data, File: file}
	if err := d.checkManifest(restored.Manifest); err != nil {
		return restored, fmt.Errorf("%s: %w", file, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return restored, err
	}
	restored.Size = info.Size()
	if exists {
		return restored, d.restoreInside(ctx, b)
	}
	return restored, d.restoreBeside(ctx, b)
}

// checkEmpty reports whether the directory exists; then it must hold nothing but a
// lock that nobody holds, and what an interrupted restore left. It changes nothing.
func (d dataDir) checkEmpty() (exists bool, err error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(entries, isLock) {
		running, err := d.running()
		if err != nil {
			return true, err
		}
		if running {
			return true, fmt.Errorf("%s is in use by a running mooring process; restore into another directory", d.path)
		}
	}
	if i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return !isLock(e) && !isStage(e) }); i >= 0 {
		return true, fmt.Errorf(
			"%s is not empty (it holds %s); restore into a directory that is absent or empty; nothing was changed",
			d.path,
			entries[i].Name(),
		)
	}
	return true, nil
}

func isLock(e fs.DirEntry) bool { return e.Name() == lockName }

// stagePrefix begins the name of a directory in which a restore works, inside the data directory.
const stagePrefix = ".restore-"

func isStage(e fs.DirEntry) bool { return e.IsDir() && strings.HasPrefix(e.Name(), stagePrefix) }

// checkManifest refuses what this program could not serve.
func (d dataDir) checkManifest(m backup.Manifest) error {
	known, err := sqlite.SchemaVersion()
	if err != nil {
		return err
	}
	if m.Schema > known {
		return fmt.Errorf(
			"created by mooring %s with schema version %d; this program supports version %d: restore it with that version of mooring or a newer one",
			m.Version,
			m.Schema,
			known,
		)
	}
	needed := []string{filepath.Base(d.database()), filepath.Base(d.masterKeyFile())}
	for _, f := range m.Files {
		i := slices.Index(needed, f.Name)
		if i < 0 && path.Dir(f.Name) != filepath.Base(d.tls()) {
			return fmt.Errorf("created by mooring %s, and contains the file %s, which this version does not support", m.Version, f.Name)
		}
		if i >= 0 {
			needed = slices.Delete(needed, i, i+1)
		}
	}
	if len(needed) > 0 {
		return fmt.Errorf("it lacks %s", needed[0])
	}
	return nil
}

// extract writes what a backup holds into a directory, but for who was signed in at the
// portal when it was made: they may have been signed out since, and with good reason.
func extract(ctx context.Context, b *backup.Backup, dir string) error {
	if err := b.Extract(ctx, dir); err != nil {
		return err
	}
	database := dataDir{path: dir}.database()
	if err := sqlite.EndSessions(ctx, database); err != nil {
		return fmt.Errorf("%s: ending the portal sessions: %w", database, err)
	}
	return nil
}

// restoreBeside fills a directory beside an absent one, and gives it its name.
func (d dataDir) restoreBeside(ctx context.Context, b *backup.Backup) (err error) {
	parent := filepath.Dir(d.path)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(parent, d.stagePattern()+"*") // mode 0700
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }() // gone already when all went well
	stage, err := openDataDir(ctx, temp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.unlock()) }()
	if err := extract(ctx, b, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, d.path); err != nil {
		return err
	}
	return durable.SyncDir(parent)
}

// restoreInside fills an empty directory: it may be a mount point, or its parent not
// ours to write.
func (d dataDir) restoreInside(ctx context.Context, b *backup.Backup) (err error) {
	locked, err := openDataDir(ctx, d.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, locked.unlock()) }()
	if _, err := os.Stat(d.database()); err == nil {
		return fmt.Errorf("%s is no longer empty; nothing was changed", d.path)
	}
	if err := d.removeLeftovers(slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(d.path, stagePrefix+"*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if err := extract(ctx, b, temp); err != nil {
		return err
	}
	if err := d.takeOver(temp); err != nil {
		return err
	}
	return durable.SyncDir(d.path)
}

// takeOver moves all that is in temp into d, the database first and the master key
// last: a start refuses one without the other. What was moved is removed on failure.
func (d dataDir) takeOver(temp string) error {
	for _, to := range []string{d.database(), d.tls(), d.masterKeyFile()} {
		from := filepath.Join(temp, filepath.Base(to))
		if err := os.Rename(from, to); err != nil && (to != d.tls() || !errors.Is(err, fs.ErrNotExist)) {
			return errors.Join(err, os.RemoveAll(d.database()), os.RemoveAll(d.tls()))
		}
	}
	return nil
}
