package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/backup"
	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/test/oldbackup"
)

var phrase = []byte("correct horse battery staple")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newApp returns a service on data that does not run yet.
func newApp(t *testing.T, data string) *app.App {
	t.Helper()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.AddFlags(flags)
	must(t, flags.Parse([]string{"--data", data, "--https", "127.0.0.1:0", "--mqtt", "off", "--portal", "off"}))
	c, err := config.Load(flags, func(string) string { return "" })
	must(t, err)
	a, err := app.New(t.Context(), app.Options{Config: c, Version: "test", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	return a
}

// newData returns a data directory that was served once.
func newData(t *testing.T) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	must(t, newApp(t, data).Close())
	return data
}

func writeBackup(t *testing.T, data string) (app.Backup, error) {
	t.Helper()
	return app.WriteBackup(t.Context(), app.BackupOptions{
		Data: data, File: filepath.Join(t.TempDir(), "a.backup"), Passphrase: phrase, Version: "1.2.3", Now: time.Now,
	})
}

func restore(t *testing.T, file, data string) error {
	t.Helper()
	_, err := app.Restore(t.Context(), app.RestoreOptions{File: file, Data: data, Passphrase: phrase})
	return err
}

// tree returns the content of every file below dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(text)
		return err
	}))
	return files
}

// Everything in a data directory is either in a backup, or known to be made again: whoever
// adds a file decides which.
func TestBackupHoldsEveryFile(t *testing.T) {
	data := newData(t)
	made, err := writeBackup(t, data)
	must(t, err)
	for name := range tree(t, data) {
		again := []string{"lock", "runtime.json", "mooring.db-wal", "mooring.db-shm", "mooring.db-sums"}
		kept := slices.ContainsFunc(made.Files, func(f backup.File) bool { return f.Name == name })
		if kept == slices.Contains(again, name) {
			t.Errorf("%s is in the backup: %v", name, kept)
		}
	}
}

// What is restored is the same service: files, identity, keys.
func TestRestore(t *testing.T) {
	data := newData(t)
	made, err := writeBackup(t, data)
	must(t, err)
	before, err := app.ReadInfo(t.Context(), data)
	must(t, err)
	empty := t.TempDir()
	absent := filepath.Join(t.TempDir(), "new", "data")
	for _, target := range []string{absent, empty} {
		must(t, restore(t, made.File, target))
		if info, err := os.Stat(target); err != nil || target == absent && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, %v", target, info.Mode(), err)
		}
		want, got := tree(t, data), tree(t, target)
		for _, name := range []string{"runtime.json", "lock", "mooring.db-wal", "mooring.db-shm", "mooring.db-sums"} {
			delete(want, name)
			delete(got, name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("files (-want +got):\n%.2000s", diff)
		}
		checkSameService(t, before, target)
	}
}

// A backup of format 1 is restored as well.
func TestRestoreFormat1(t *testing.T) {
	data := newData(t)
	made, err := writeBackup(t, data)
	must(t, err)
	before, err := app.ReadInfo(t.Context(), data)
	must(t, err)
	b, err := backup.Open(t.Context(), made.File, phrase)
	must(t, err)
	dir := t.TempDir()
	must(t, errors.Join(b.Extract(t.Context(), dir), b.Close()))
	var files [][]byte
	for _, f := range made.Files {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Name)))
		must(t, err)
		files = append(files, text)
	}
	content, err := oldbackup.Content(made.Manifest, files...)
	must(t, err)
	var old bytes.Buffer
	must(t, oldbackup.Write(&old, phrase, oldbackup.KDF{Time: 1, Memory: 64, Threads: 4}, content))
	file := filepath.Join(t.TempDir(), "old.backup")
	must(t, os.WriteFile(file, old.Bytes(), 0o600))
	target := filepath.Join(t.TempDir(), "data")
	must(t, restore(t, file, target))
	checkSameService(t, before, target)
}

func checkSameService(t *testing.T, before app.Info, target string) {
	t.Helper()
	a := newApp(t, target)
	if a.FirstStart() {
		t.Error("the restored service starts as a new one")
	}
	must(t, a.Close())
	after, err := app.ReadInfo(t.Context(), target)
	must(t, err)
	key := func(i app.Info) string {
		_, key, _ := strings.Cut(i.ConnectionStrings["provisioningserviceowner"], "SharedAccessKey=")
		return key
	}
	if after.IDScope != before.IDScope || key(after) != key(before) || key(after) == "" {
		t.Errorf("the restored service is %s, the first was %s", after.IDScope, before.IDScope)
	}
}

// A backup that is made while devices register holds all that was acknowledged
// before it began.
func TestBackupUnderLoad(t *testing.T) {
	data := newData(t)
	lock := flock.New(filepath.Join(data, "lock"))
	if locked, err := lock.TryLock(); err != nil || !locked {
		t.Fatal("locking:", err)
	}
	defer lock.Unlock()
	store := openStore(t, data)
	ctx, stop := context.WithCancel(t.Context())
	var acknowledged atomic.Int64
	enough := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := store.Commit(context.WithoutCancel(ctx), registration(fmt.Sprintf("device-%d-%d", w, i))); err != nil {
					t.Error(err)
					return
				}
				if acknowledged.Add(1) == 500 {
					close(enough)
				}
			}
		})
	}
	<-enough
	before := acknowledged.Load()
	made, err := writeBackup(t, data)
	stop()
	writers.Wait()
	must(t, err)
	if made.Records.Registrations < before {
		t.Errorf("%d registrations of %d", made.Records.Registrations, before)
	}
	if err := restore(t, made.File, data); err == nil || !strings.Contains(err.Error(), "in use by a running mooring process") {
		t.Errorf("restoring over a service: %v", err)
	}
	target := filepath.Join(t.TempDir(), "data")
	must(t, restore(t, made.File, target))
	shot, err := openStore(t, target).Snapshot(t.Context())
	must(t, err)
	must(t, errors.Join(shot.Check(t.Context()), shot.Close()))
	if got := shot.Counts().Registrations; got != made.Records.Registrations {
		t.Errorf("restored %d registrations of %d", got, made.Records.Registrations)
	}
}

type silent struct{}

func (silent) Committed(int, time.Duration, error) {}

func openStore(t *testing.T, data string) *sqlite.Store {
	t.Helper()
	key, err := seal.OpenKey(filepath.Join(data, "master.key"), false)
	must(t, err)
	s, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(data, "mooring.db"), Key: key, Observer: silent{}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func registration(id string) dps.RegistrationChange {
	now := time.Now().UTC()
	return dps.RegistrationChange{Registration: dps.Registration{
		Instance: dps.DefaultInstance, ID: dps.RegistrationID(id), Entry: dps.EntryRef{Kind: dps.Group, ID: "line"},
		Attestation: dps.X509, Evidence: "x509:" + dps.ThumbprintOf([]byte(id)).String(),
		Status: dps.Assigned, Operation: dps.NewOperationID(), ETag: dps.NewETag(), Created: now, Updated: now,
		Assignment: &dps.Assignment{Hub: dps.EmbeddedHub, DeviceID: dps.DeviceID(id), Substatus: dps.InitialAssignment},
	}}
}

// What is not empty is left as it is.
func TestRestoreIntoFull(t *testing.T) {
	data := newData(t)
	made, err := writeBackup(t, data)
	must(t, err)
	foreign := t.TempDir()
	must(t, os.WriteFile(filepath.Join(foreign, "notes.txt"), []byte("mine"), 0o600))
	file := filepath.Join(foreign, "notes.txt")
	for _, target := range []string{data, foreign, file} {
		before := tree(t, filepath.Dir(target))
		if err := restore(t, made.File, target); err == nil {
			t.Errorf("restored into %s", target)
		}
		if diff := cmp.Diff(before, tree(t, filepath.Dir(target))); diff != "" {
			t.Errorf("changed (-before +after):\n%.2000s", diff)
		}
	}
}

// A file that cannot be restored leaves no trace.
func TestRestoreRefuses(t *testing.T) {
	made, err := writeBackup(t, newData(t))
	must(t, err)
	text, err := os.ReadFile(made.File)
	must(t, err)
	altered := bytes.Clone(text)
	altered[len(altered)/2] ^= 1
	tests := []struct {
		name   string
		text   []byte
		phrase []byte
		want   error
	}{
		{"wrong passphrase", text, []byte("wrong horse battery staple"), backup.ErrPassphrase},
		{"cut", text[:len(text)-1], phrase, backup.ErrDamaged},
		{"altered", altered, phrase, backup.ErrDamaged},
		{"a database", []byte("SQLite format 3\x00"), phrase, backup.ErrNotBackup},
	}
	for _, tt := range tests {
		dir := t.TempDir()
		file := filepath.Join(t.TempDir(), "b.backup")
		must(t, os.WriteFile(file, tt.text, 0o600))
		_, err := app.Restore(t.Context(), app.RestoreOptions{File: file, Data: filepath.Join(dir, "a", "data"), Passphrase: tt.phrase})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%s: left behind: %v, %v", tt.name, entries, err)
		}
	}
}

// A backup that another program made is refused when this one could not serve it.
func TestRestoreRefusesWhatItDoesNotKnow(t *testing.T) {
	known, err := sqlite.SchemaVersion()
	must(t, err)
	tests := []struct {
		name   string
		schema int64
		files  []string
		want   string
	}{
		{"newer schema", known + 1, []string{"master.key", "mooring.db"}, "created by mooring 9.9.9"},
		{"another file", known, []string{"master.key", "mooring.db", "runtime.json"}, "runtime.json"},
		{"no key", known, []string{"mooring.db"}, "lacks master.key"},
		{"no database", known, []string{"master.key"}, "lacks mooring.db"},
	}
	for _, tt := range tests {
		o := backup.CreateOptions{
			Passphrase: phrase, WorkFactor: backup.DefaultWorkFactor, Manifest: backup.Manifest{Version: "9.9.9", Schema: tt.schema},
		}
		for _, name := range tt.files {
			o.Manifest.Files = append(o.Manifest.Files, backup.File{Name: name, Mode: 0o600})
			o.Contents = append(o.Contents, nothing)
		}
		dir := t.TempDir()
		file, data := filepath.Join(dir, "a.backup"), filepath.Join(dir, "data")
		_, err := backup.Create(t.Context(), file, o)
		must(t, err)
		if err := restore(t, file, data); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the directory was made: %v", tt.name, err)
		}
	}
}

// What cannot be used is not backed up.
func TestBackupRefuses(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(data string) error
		want  string
	}{
		{"nothing there", os.RemoveAll, "nothing to back up"},
		{"no master key", func(data string) error { return os.Remove(filepath.Join(data, "master.key")) }, "master.key is missing"},
		{"another master key", func(data string) error {
			key := strings.Repeat("A", 43) + "=\n"
			return os.WriteFile(filepath.Join(data, "master.key"), []byte(key), 0o600)
		}, "another master key"},
		{"no database", func(data string) error { return os.Remove(filepath.Join(data, "mooring.db")) }, "nothing to back up"},
	}
	for _, tt := range tests {
		data := newData(t)
		must(t, tt.spoil(data))
		made, err := writeBackup(t, data)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if _, err := os.Stat(made.File); made.File != "" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: there is a file: %v", tt.name, err)
		}
	}
}

func nothing(context.Context, io.Writer) error { return nil }
