package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/internal/durable"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/internal/store/sqlite/pagesum"
)

// firstStartName is the name of a file that is there from the beginning of a first start to its end: a
// start that finds it goes on with what one that was interrupted began.
const firstStartName = "first-start"

// authorityName is the name of the file with the CA certificates, in the directory tls.
const authorityName = "ca.cert.pem"

func (d dataDir) firstStartFile() string { return filepath.Join(d.path, firstStartName) }

// checkPieces refuses a data directory that was in use and lacks a part that the service cannot do
// without: a new part in its place would hide the loss. What may be created anew is named by
// recreate. ownTLS says that the service issues its own server certificates.
func (d dataDir) checkPieces(recreate []config.Part, ownTLS bool) error {
	if exists(d.firstStartFile()) {
		return nil
	}
	state := d.databaseState()
	if state == "" {
		return d.checkBeside(recreate, ownTLS)
	}
	left := d.pieces()
	if len(left) == 0 {
		return d.beginFirstStart()
	}
	if !slices.Contains(recreate, config.PartDatabase) {
		return fmt.Errorf("--data: %s %s, but the directory was in use: it contains %s. %s; or start with a new, empty database: "+
			"mooring serve --data %s --recreate database", d.database(), state, strings.Join(left, ", "), d.restoreHint(), d.path)
	}
	if err := d.setAside(); err != nil {
		return err
	}
	return d.beginFirstStart()
}

// databaseState says what is wrong with the database file; "" when it is there and not empty.
func (d dataDir) databaseState() string {
	info, err := os.Stat(d.database())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "is missing"
	case err == nil && info.Size() == 0:
		return "is empty"
	}
	return ""
}

// pieces are the names of what a service leaves beside its database.
func (d dataDir) pieces() []string {
	var found []string
	for _, path := range []string{
		d.masterKeyFile(), d.authorityFile(), d.runtimeFile(), d.database() + "-wal", d.database() + pagesum.Suffix,
	} {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			name, _ := filepath.Rel(d.path, path)
			found = append(found, filepath.ToSlash(name))
		}
	}
	return found
}

// checkBeside looks at what a database needs beside it.
func (d dataDir) checkBeside(recreate []config.Part, ownTLS bool) error {
	if !exists(d.masterKeyFile()) {
		return d.noMasterKey()
	}
	if !ownTLS || slices.Contains(recreate, config.PartTLS) || d.authorityLeft() {
		return nil
	}
	r, err := d.readRuntime()
	if err != nil || !isAuthorityFile(r.CAFile) { // there never was one, or the directory was restored
		return nil //nolint:nilerr // the file is written again
	}
	return fmt.Errorf("--data: the service's own CA is missing: %s. Clients trust no other CA. %s; "+
		"or create a new CA, which you must then give to every client: mooring serve --data %s --recreate tls",
		d.authorityFile(), d.restoreHint(), d.path)
}

// isAuthorityFile reports whether a path is the authorityFile of a data directory: this one, maybe
// before it was moved.
func isAuthorityFile(path string) bool {
	return strings.HasSuffix(filepath.ToSlash(path), "/tls/"+authorityName)
}

// authorityFile has the CA certificates of the service's own TLS authority.
func (d dataDir) authorityFile() string { return filepath.Join(d.tls(), authorityName) }

// authorityLeft reports whether anything of the TLS authority is there; it knows itself what it lacks.
func (d dataDir) authorityLeft() bool {
	found, err := filepath.Glob(filepath.Join(d.tls(), "ca*.pem"))
	return err == nil && len(found) > 0
}

func (d dataDir) noMasterKey() error {
	return fmt.Errorf("%s is missing, and the secrets in %s cannot be read without it. Put that file back. %s",
		d.masterKeyFile(), d.database(), d.restoreHint())
}

// restoreHint is how to get back what is lost.
func (d dataDir) restoreHint() string {
	return fmt.Sprintf("To restore a backup, move the directory away and run: mooring restore FILE --data %s", d.path)
}

// beginFirstStart notes, durably, that what is created from here on is not complete.
func (d dataDir) beginFirstStart() error {
	f, err := os.OpenFile(d.firstStartFile(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	return durable.SyncDir(d.path)
}

// endFirstStart notes that the directory is complete.
func (d dataDir) endFirstStart() error {
	err := os.Remove(d.firstStartFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// setAside renames what belongs to a database that is lost: a new one must not find it.
func (d dataDir) setAside() error {
	for _, suffix := range []string{"", "-wal", "-shm", pagesum.Suffix} {
		path := d.database() + suffix
		if err := os.Rename(path, path+".lost"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("renaming the files of the lost database: %w", err)
		}
	}
	return nil
}

// mayCreate fails when a database without a service was not expected.
func (d dataDir) mayCreate(recreate []config.Part) error {
	if exists(d.firstStartFile()) || slices.Contains(recreate, config.PartDatabase) {
		return nil
	}
	return fmt.Errorf("--data: %s contains no service: its tables are empty. %s; or start a new service in it: "+
		"mooring serve --data %s --recreate database", d.database(), d.restoreHint(), d.path)
}

// checkDatabase fails, with a remedy, when there is no database to be read.
func (d dataDir) checkDatabase() error {
	state := d.databaseState()
	switch {
	case state == "":
		return nil
	case len(d.pieces()) == 0:
		return fmt.Errorf("%s contains no database: no service has run on it; start one with: mooring serve --data %s", d.path, d.path)
	}
	return fmt.Errorf("%s %s. %s", d.database(), state, d.restoreHint())
}

// explainDamage adds what to do to the error of a damaged database.
func (d dataDir) explainDamage(err error) error {
	if errors.Is(err, sqlite.ErrDamaged) {
		return fmt.Errorf("%w. %s", err, d.restoreHint())
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
