package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mooring-iot/mooring/internal/durable"
)

// On a disk that fills up, the old file stays, and nothing else.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
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
	f := durable.File{Path: filepath.Join(dir, "file"), Mode: 0o600}
	if err := f.WriteBytes([]byte("old")); err != nil {
		t.Fatal(err)
	}
	for _, f.Temp = range []string{"", filepath.Join(dir, "t")} {
		if err := f.WriteBytes(make([]byte, 1<<20)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v, want ENOSPC", err)
		}
		if text, err := os.ReadFile(f.Path); err != nil || string(text) != "old" {
			t.Errorf("%q, %v, want the old file", text, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("left behind: %v, %v", entries, err)
		}
	}
}
