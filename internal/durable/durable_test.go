package durable_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/durable"
)

const path = "dir/file"

// newDir returns a directory of these files and links, as the working directory.
func newDir(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.Mkdir("dir", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// tree returns the files of the working directory.
func tree(t *testing.T) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestWrite(t *testing.T) {
	tests := []struct {
		name   string
		before map[string]string
		file   durable.File
		want   error
		after  map[string]string
	}{
		{"new", nil, durable.File{}, nil, map[string]string{path: "new"}},
		{"replaced", map[string]string{path: "old, and longer"}, durable.File{}, nil, map[string]string{path: "new"}},
		{"new, kept", nil, durable.File{Keep: true}, nil, map[string]string{path: "new"}},
		{"another there", map[string]string{path: "old"}, durable.File{Keep: true}, fs.ErrExist, map[string]string{path: "old"}},
		{"named temporary file", nil, durable.File{Temp: "dir/t"}, nil, map[string]string{path: "new"}},
		{
			"what a crash left",
			map[string]string{path: "old", "dir/t": "left, and longer"},
			durable.File{Temp: "dir/t"},
			nil,
			map[string]string{path: "new"},
		},
		{"elsewhere", nil, durable.File{Temp: "t", Keep: true}, nil, map[string]string{path: "new"}},
		{
			"elsewhere, another there",
			map[string]string{path: "old"},
			durable.File{Temp: "t", Keep: true},
			fs.ErrExist,
			map[string]string{path: "old"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			newDir(t, tt.before)
			tt.file.Path, tt.file.Mode = path, 0o644
			if err := tt.file.WriteBytes([]byte("new")); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(tt.after, tree(t)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// The mode is the one that was asked for, and nobody else reads what is not finished.
func TestMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("has no such modes")
	}
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o666, 0o400} {
		for _, temp := range []string{"", "dir/t"} {
			newDir(t, map[string]string{"dir/t": "left"})
			if err := os.Chmod("dir/t", 0o666); err != nil {
				t.Fatal(err)
			}
			if err := (durable.File{Path: path, Mode: mode, Temp: temp}).WriteBytes(nil); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != mode {
				t.Errorf("mode %v, want %v, %v", info.Mode(), mode, err)
			}
		}
	}
}

// A link at the path of the temporary file is not followed.
func TestTempIsLink(t *testing.T) {
	newDir(t, map[string]string{"other": "mine"})
	if err := os.Symlink("../other", "dir/t"); err != nil {
		t.Skip(err)
	}
	if err := (durable.File{Path: path, Mode: 0o600, Temp: "dir/t"}).WriteBytes([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"other": "mine", path: "new"}, tree(t)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// A content that fails midway, and a directory that is not there, change nothing.
func TestFails(t *testing.T) {
	broken := errors.New("broken")
	half := func(w io.Writer) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		return broken
	}
	before := map[string]string{path: "old"}
	for _, f := range []durable.File{{}, {Temp: "dir/t"}, {Keep: true}} {
		newDir(t, before)
		f.Path, f.Mode = path, 0o600
		if err := f.Write(half); !errors.Is(err, broken) {
			t.Errorf("%+v: %v, want the failure of the content", f, err)
		}
		f.Path = "none/file"
		if f.Temp != "" {
			f.Temp = "none/t"
		}
		if err := f.WriteBytes(nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: %v, want ErrNotExist", f, err)
		}
		if diff := cmp.Diff(before, tree(t)); diff != "" {
			t.Errorf("%+v: files (-want +got):\n%s", f, diff)
		}
	}
	newDir(t, nil)
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (durable.File{Path: path, Mode: 0o600}).WriteBytes(nil); err == nil {
		t.Error("a directory was replaced")
	}
	if got := tree(t); len(got) > 0 {
		t.Errorf("left behind: %v", got)
	}
}
