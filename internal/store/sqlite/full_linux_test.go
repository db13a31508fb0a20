package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// smallDisk returns a directory on a file system of its own.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		const text = "cannot mount a small disk: %v"
		if strings.Contains(os.Getenv("MOORING_TEST_REQUIRE"), "fault") {
			t.Fatalf(text, err)
		}
		t.Skipf(text, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the space that is left in dir and returns what gives it back.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	f, err := os.CreateTemp(dir, "ballast")
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return func() {
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// A full disk refuses changes for a while, and that is all: what was acknowledged
// stays, what was refused is not there, and space brings the service back.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t)
	p := placeAt(t, dir)
	s := p.openWith(t, newSetup())
	ctx := t.Context()
	stored := make(map[string]bool)
	for i := range 100 {
		id := fmt.Sprintf("before-%d", i)
		if err := s.Commit(ctx, newRegistration(id)); err != nil {
			t.Fatal(err)
		}
		stored[id] = true
	}
	for round := range 3 {
		empty := fill(t, dir)
		refused := 0
		for i := 0; refused < 20; i++ {
			id := fmt.Sprintf("full-%d-%d", round, i)
			err := s.Commit(ctx, newRegistration(id))
			stored[id] = err == nil
			if err != nil {
				refused++
				wantCode(t, "on a full disk", err, dps.Unavailable)
			}
		}
		checkStored(t, s, stored)
		empty()
		id := fmt.Sprintf("after-%d", round)
		if err := s.Commit(ctx, newRegistration(id)); err != nil {
			t.Fatalf("with space again: %v", err)
		}
		stored[id] = true
	}
	if _, _, failed := p.observer.count(); failed == 0 {
		t.Error("the observer heard of no failure")
	}
	checkStored(t, s, stored)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	checkStored(t, p.open(t), stored)
	if _, err := os.Stat(filepath.Join(dir, "mooring.db")); err != nil {
		t.Error(err)
	}
}
