package app_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A restore that the disk is too small for leaves nothing that could be taken for a data
// directory, and works where there is space.
func TestRestoreOnFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		const text = "cannot mount a small disk: %v"
		if strings.Contains(os.Getenv("MOORING_TEST_REQUIRE"), "fault") {
			t.Fatalf(text, err)
		}
		t.Skipf(text, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	made, err := writeBackup(t, newData(t))
	must(t, err)
	for _, target := range []string{filepath.Join(disk, "absent"), disk} { // the second one is a mount point
		if err := restore(t, made.File, target); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v, want ENOSPC", target, err)
		}
		entries, err := os.ReadDir(disk)
		left := slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == "lock" })
		if err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v, %v", target, left, err)
		}
	}
	must(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT, "size=4m"))
	must(t, restore(t, made.File, disk))
	if newApp(t, disk).Close() != nil {
		t.Error("the restored service does not start")
	}
}
