package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

const (
	movedDevices = 100                     // their enrollments are on many pages
	readVar      = "MOORING_TEST_READ_DIR" // set in the other process of TestReadOnlyBesideUnfinishedCheckpoint
)

// While a reader keeps a part of the log from being moved into the database, pages of the other part are in
// the database file and not synced. Another process that reads them finds their checksums.
func TestReadOnlyBesideUnfinishedCheckpoint(t *testing.T) {
	if dir := os.Getenv(readVar); dir != "" {
		readBeside(t, dir)
		return
	}
	dir := t.TempDir()
	p := placeAt(t, dir)
	key, err := seal.OpenKey(filepath.Join(dir, "master.key"), true)
	must(t, err)
	p.key = key
	s := p.openWith(t, newSetup())
	put := func(id string) {
		t.Helper()
		must(t, s.PutEnrollment(t.Context(), withKeys(id, dps.NewKeyPair()), ""))
	}
	first, err := s.Snapshot(t.Context()) // nothing is moved yet
	must(t, err)
	for i := range movedDevices {
		put(fmt.Sprintf("moved-%d", i))
	}
	second, err := s.Snapshot(t.Context()) // nothing from here on is moved
	must(t, err)
	put("kept")
	must(t, first.Close())
	awaitMoved(t, p.path)

	other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	other.Env = append(os.Environ(), readVar+"="+dir)
	if text, err := other.CombinedOutput(); err != nil {
		t.Errorf("the other process: %v\n%s", err, text)
	}
	must(t, errors.Join(second.Close(), s.Close()))
}

// awaitMoved returns when the checkpoint that begins every 250 ms wrote the database file. Pages that later
// changes touched as well stay in the log: it looks for any enrollment.
func awaitMoved(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		text, err := os.ReadFile(path)
		must(t, err)
		if bytes.Contains(text, []byte("moved-")) {
			return
		}
	}
	t.Fatal("no checkpoint")
}

// readBeside reads everything as "mooring backup" does.
func readBeside(t *testing.T, dir string) {
	t.Helper()
	key, err := seal.OpenKey(filepath.Join(dir, "master.key"), false)
	must(t, err)
	s, err := sqlite.OpenReadOnly(filepath.Join(dir, "mooring.db"), key, time.Now)
	must(t, err)
	defer s.Close()
	for i := range movedDevices {
		id := fmt.Sprintf("moved-%d", i)
		if _, err := s.Enrollment(t.Context(), dps.DefaultInstance, dps.EntryRef{Kind: dps.Individual, ID: id}); err != nil {
			t.Errorf("enrollment %s: %v", id, err)
		}
	}
	shot, err := s.Snapshot(t.Context())
	must(t, err)
	defer shot.Close()
	if err := shot.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
}
