package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mooring-iot/mooring/internal/backup"
)

// A disk that fills up while a backup is made, or restored, is an error; of a backup
// nothing is left.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
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
	if _, err := backup.Create(t.Context(), filepath.Join(dir, "a.backup"), options(4<<20)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Create = %v, want ENOSPC", err)
	}
	checkEmpty(t, "Create on a full disk", dir)
	path, _ := create(t, 4<<20)
	b, err := backup.Open(t.Context(), path, phrase)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Extract(t.Context(), dir); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Extract = %v, want ENOSPC", err)
	}
}
