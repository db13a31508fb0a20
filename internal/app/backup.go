package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/mooring-iot/mooring/internal/backup"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// BackupOptions say what to back up, and where to; all are required.
type BackupOptions struct {
	Data       string // the data directory
	File       string // to be created
	Passphrase []byte
	Version    string // of this program
	Now        func() time.Time
}

// Backup is a backup file and what it holds.
type Backup struct {
	backup.Manifest
	Data string // the data directory, absolute
	File string // absolute
	Size int64  // of the file, in bytes
}

// WriteBackup writes a backup of a data directory, whether it is served or not. It holds
// everything that was acknowledged before the call: the database, the master key,
// and the TLS authority with its certificates. Left out is what the next start makes
// again: the lock, and the addresses of the last start.
//
// It fails, leaving no file, when the database or its master key is missing or damaged, and
// with fs.ErrExist when there is something at the file's path.
func WriteBackup(ctx context.Context, o BackupOptions) (made Backup, err error) {
	data, err := filepath.Abs(o.Data)
	if err != nil {
		return made, err
	}
	file, err := filepath.Abs(o.File)
	if err != nil {
		return made, err
	}
	if err := backup.CheckFree(file); err != nil {
		return made, err
	}
	d := dataDir{path: data}
	store, err := d.openComplete()
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	in, err := store.Instance(ctx, dps.DefaultInstance)
	if err != nil {
		return made, fmt.Errorf("reading %s: %w", d.database(), d.explain(err))
	}
	made = Backup{Data: data, File: file, Manifest: backup.Manifest{Version: o.Version, Made: o.Now().UTC(), IDScope: string(in.Scope)}}
	return made, d.backup(ctx, store, o.Passphrase, &made)
}

// openComplete opens the database, which must be there with its master key.
func (d dataDir) openComplete() (*sqlite.Store, error) {
	if err := d.checkDatabase(); err != nil {
		return nil, fmt.Errorf("nothing to back up: %w", err)
	}
	key, err := d.masterKey(false)
	if err != nil {
		return nil, err
	}
	return sqlite.OpenReadOnly(d.database(), key, time.Now)
}

// backup writes the file and completes made.
func (d dataDir) backup(ctx context.Context, store *sqlite.Store, passphrase []byte, made *Backup) (err error) {
	shot, err := store.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shot.Close()) }()
	if err := shot.Check(ctx); err != nil {
		return fmt.Errorf("%s: %w", d.database(), err)
	}
	// After the snapshot: what it holds was made later than these files.
	files, contents, err := d.smallFiles()
	if err != nil {
		return err
	}
	made.Schema, made.Records = shot.Schema(), records(shot.Counts())
	made.Files = append(files, backup.File{Name: filepath.Base(d.database()), Size: shot.Size(), Mode: 0o600})
	made.Size, err = backup.Create(ctx, made.File, backup.CreateOptions{
		Passphrase: passphrase, WorkFactor: backup.DefaultWorkFactor, Manifest: made.Manifest, Contents: append(contents, shot.Write),
	})
	return err
}

func records(c sqlite.Counts) backup.Records {
	return backup.Records{
		Enrollments: c.Enrollments, EnrollmentGroups: c.EnrollmentGroups, Registrations: c.Registrations,
		CACertificates: c.CACertificates, Policies: c.Policies, LinkedHubs: c.LinkedHubs, HubDevices: c.HubDevices,
	}
}

// smallFiles reads every file of a backup but the database.
func (d dataDir) smallFiles() ([]backup.File, []backup.Content, error) {
	names := []string{filepath.Base(d.masterKeyFile())}
	entries, err := os.ReadDir(d.tls())
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // there is none beside certificates of the operator
		return nil, nil, err
	}
	for _, e := range entries {
		// A dot begins the name of a file that is being written.
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, path.Join(filepath.Base(d.tls()), e.Name()))
		}
	}
	var files []backup.File
	var contents []backup.Content
	for _, name := range names {
		file, content, err := d.smallFile(name)
		if err != nil {
			return nil, nil, err
		}
		files, contents = append(files, file), append(contents, content)
	}
	return files, contents, nil
}

// maxSmallFile bounds a key or certificate file, in bytes.
const maxSmallFile = 1 << 20

func (d dataDir) smallFile(name string) (backup.File, backup.Content, error) {
	f, err := os.Open(filepath.Join(d.path, filepath.FromSlash(name)))
	if err != nil {
		return backup.File{}, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return backup.File{}, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err != nil {
		return backup.File{}, nil, err
	}
	if len(text) > maxSmallFile {
		return backup.File{}, nil, fmt.Errorf("%s is larger than %d bytes", f.Name(), maxSmallFile)
	}
	content := func(_ context.Context, w io.Writer) error {
		_, err := w.Write(text)
		return err
	}
	return backup.File{Name: name, Size: int64(len(text)), Mode: info.Mode().Perm()}, content, nil
}
