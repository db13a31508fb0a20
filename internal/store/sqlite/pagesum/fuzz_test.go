package pagesum_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mooring-iot/mooring/internal/store/sqlite/pagesum"
)

// Whatever is in the files, opening them ends with a guard or an error, and never keeps a lock on the
// path.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("SQLite format 3\x00\x20\x00"), []byte{0x37, 0x7f, 6, 0x82}, []byte("mooring sums v1\n"))
	f.Add([]byte{}, []byte{}, make([]byte, 5000))
	f.Fuzz(func(t *testing.T, db, log, sums []byte) {
		path := filepath.Join(t.TempDir(), "m.db")
		for suffix, text := range map[string][]byte{"": db, "-wal": log, pagesum.Suffix: sums} {
			if err := os.WriteFile(path+suffix, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		g, err := pagesum.Open(pagesum.Options{Path: path})
		if err != nil {
			if !errors.Is(err, pagesum.ErrDamaged) {
				t.Errorf("Open: %v, want ErrDamaged", err)
			}
			return
		}
		if _, err := g.Scan(t.Context()); err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		again, err := pagesum.Open(pagesum.Options{Path: path})
		if err != nil {
			t.Fatalf("opened once, and then: %v", err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOneWriterOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	g, err := pagesum.Open(pagesum.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pagesum.Open(pagesum.Options{Path: path}); err == nil {
		t.Error("two guards write one file")
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := pagesum.Open(pagesum.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
