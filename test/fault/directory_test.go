package fault_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// refuses fails the test unless `serve` ends by itself with exit code 1 and a message
// that names what it is about.
func refuses(t *testing.T, data string, names ...string) {
	t.Helper()
	p := launch(t, data)
	if code := p.exitCode(t); code != 1 {
		t.Errorf("exit code = %d, want 1", code)
	}
	for _, name := range names {
		if !strings.Contains(p.stderr.String(), name) {
			t.Errorf("the message does not name %q: %s", name, p.stderr.String())
		}
	}
}

// TestSecondProcess starts a second process on a data directory that is served.
func TestSecondProcess(t *testing.T) {
	s := startService(t, t.TempDir())
	ca := prepare(t, s)
	l := newLedger()
	l.registerAll(t, s, ca, "before", 10)
	runtime, err := os.ReadFile(s.runtimeFile())
	if err != nil {
		t.Fatal(err)
	}

	refuses(t, s.data, s.data, "another mooring process")

	s.checkReady(t)
	now, err := os.ReadFile(s.runtimeFile())
	if err != nil || !bytes.Equal(now, runtime) {
		t.Errorf("runtime.json of the first process was changed (%v)", err)
	}
	l.registerAll(t, s, ca, "after", 10)
	l.verify(t, s)
	s.stop(t)
}

// TestLockOfAMoment holds the lock for a moment while the service starts, as `mooring
// info` does when it looks whether a process holds it.
func TestLockOfAMoment(t *testing.T) {
	s := startService(t, t.TempDir())
	s.stop(t)
	lock := flock.New(filepath.Join(s.data, "lock"))
	if held, err := lock.TryLock(); !held || err != nil {
		t.Fatalf("locking the directory: %v, %v", held, err)
	}
	release := time.AfterFunc(200*time.Millisecond, func() { _ = lock.Unlock() })
	defer release.Stop()
	s.start(t)
	s.stop(t)
}

// TestMasterKey takes away the master key of a database, or spoils it: without it the
// service must not start, and must not make a new one.
func TestMasterKey(t *testing.T) {
	s := startService(t, t.TempDir())
	ca := prepare(t, s)
	l := newLedger()
	l.registerAll(t, s, ca, "device", 10)
	if err := l.enroll(t.Context(), s, 1); err != nil {
		t.Fatal(err)
	}
	s.stop(t)
	path := filepath.Join(s.data, "master.key")
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	other := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)) + "\n"
	tests := []struct {
		name    string
		content []byte // none: no file
		mode    fs.FileMode
		says    string
	}{
		{"missing", nil, 0, "is missing"},
		{"empty", []byte{}, 0o600, "damaged"},
		{"cut", right[:len(right)/2], 0o600, "damaged"},
		{"no base64", []byte("not a key\n"), 0o600, "damaged"},
		{"of another installation", []byte(other), 0o600, "another master key"},
		{"open to the group", right, 0o640, "chmod 600"},
		{"open to all", right, 0o644, "chmod 600"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			placeKey(t, path, tt.content, tt.mode)
			before := readTree(t, s.data)
			refuses(t, s.data, path, tt.says)
			for name, content := range readTree(t, s.data) {
				if was, ok := before[name]; !ok || was != content {
					t.Errorf("%s was written", name)
				}
				delete(before, name)
			}
			for name := range before {
				t.Errorf("%s was removed", name)
			}
		})
	}

	placeKey(t, path, right, 0o600)
	s.start(t)
	l.verify(t, s)
	s.stop(t)
}

// placeKey replaces the key file; nil content removes it.
func placeKey(t *testing.T, path string, content []byte, mode fs.FileMode) {
	t.Helper()
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && content != nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err == nil && content != nil {
		err = os.Chmod(path, mode) // whatever the umask
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readTree returns the content of all files below dir.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
