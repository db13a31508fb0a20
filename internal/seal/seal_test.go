package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mooring-iot/mooring/internal/seal"
)

// open returns a fresh key and its file.
func open(t testing.TB) (*seal.Key, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.key")
	key, err := seal.OpenKey(path, true)
	if err != nil {
		t.Fatal(err)
	}
	return key, path
}

func TestSealOpen(t *testing.T) {
	key, path := open(t)
	again, err := seal.OpenKey(path, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, plain := range []string{"", "secret", strings.Repeat("long", 5000)} {
		sealed := key.Seal([]byte(plain), []byte("record 1"))
		if len(plain) > 0 && bytes.Contains(sealed, []byte(plain)) {
			t.Errorf("Seal(%.10q) holds the plain text", plain)
		}
		got, err := again.Open(sealed, []byte("record 1"))
		if err != nil || string(got) != plain {
			t.Errorf("Open(Seal(%.10q)) = %.10q, %v", plain, got, err)
		}
	}
	if bytes.Equal(key.Seal([]byte("a"), nil), key.Seal([]byte("a"), nil)) {
		t.Error("sealing twice gave the same bytes")
	}
}

func TestOpenRefuses(t *testing.T) {
	key, _ := open(t)
	other, _ := open(t)
	aad := []byte("record 1")
	sealed := key.Seal([]byte("secret"), aad)
	flipped := func(i int) []byte {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		return b
	}
	tests := []struct {
		name   string
		key    *seal.Key
		sealed []byte
		aad    []byte
	}{
		{"other record", key, sealed, []byte("record 2")},
		{"no record", key, sealed, nil},
		{"other key", other, sealed, aad},
		{"other version", key, flipped(0), aad},
		{"changed nonce", key, flipped(1), aad},
		{"changed text", key, flipped(14), aad},
		{"changed tag", key, flipped(len(sealed) - 1), aad},
		{"cut short", key, sealed[:len(sealed)-1], aad},
		{"one byte more", key, append(bytes.Clone(sealed), 0), aad},
		{"only a version", key, sealed[:1], aad},
		{"nothing", key, nil, aad},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if plain, err := tt.key.Open(tt.sealed, tt.aad); !errors.Is(err, seal.ErrOpen) || plain != nil {
				t.Errorf("Open = %q, %v, want ErrOpen", plain, err)
			}
		})
	}
}

func TestOpenKeyCreates(t *testing.T) {
	_, path := open(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode = %o, want 600", got)
	}
	before := read(t, path)
	if _, err := seal.OpenKey(path, true); err != nil {
		t.Error(err)
	}
	if read(t, path) != before {
		t.Error("an existing key was changed")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("directory holds %v, %v, want the key alone", entries, err)
	}
}

func TestOpenKeyCreatesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	keys := make([]*seal.Key, 8)
	errs := make([]error, len(keys))
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() { keys[i], errs[i] = seal.OpenKey(path, true) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	sealed := keys[0].Seal([]byte("secret"), nil)
	for i, key := range keys {
		if _, err := key.Open(sealed, nil); err != nil {
			t.Errorf("process %d has another key: %v", i, err)
		}
	}
}

func TestOpenKeyRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(make([]byte, 32))
	tests := []struct {
		name, content string
		mode          fs.FileMode
		want          string // a part of the error
	}{
		{"readable by the group", good, 0o640, "chmod 600"},
		{"readable by others", good, 0o604, "chmod 600"},
		{"writable by others", good, 0o602, "chmod 600"},
		{"empty", "", 0o600, "is damaged"},
		{"half written", good[:20], 0o600, "is damaged"},
		{"too short", base64.StdEncoding.EncodeToString(make([]byte, 16)), 0o600, "is damaged"},
		{"too long", base64.StdEncoding.EncodeToString(make([]byte, 33)), 0o600, "is damaged"},
		{"very long", strings.Repeat(good, 1000), 0o600, "is damaged"},
		{"not base64", strings.Repeat("?", 44), 0o600, "is damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "master.key")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := seal.OpenKey(path, true)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("OpenKey error = %v, want %q in it", err, tt.want)
			}
			if err != nil && tt.content != "" && strings.Contains(err.Error(), tt.content) {
				t.Errorf("error shows the key: %v", err)
			}
			if read(t, path) != tt.content {
				t.Error("the file was changed")
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		if _, err := seal.OpenKey(filepath.Join(t.TempDir(), "x"), false); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error = %v, want fs.ErrNotExist", err)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		if _, err := seal.OpenKey(filepath.Join(t.TempDir(), "x", "y"), true); err == nil {
			t.Error("no error")
		}
	})
	t.Run("a directory", func(t *testing.T) {
		if _, err := seal.OpenKey(t.TempDir(), true); err == nil || !strings.Contains(err.Error(), "regular file") {
			t.Errorf("error = %v", err)
		}
	})
}

func TestKeyPrintsRedacted(t *testing.T) {
	key, _ := open(t)
	const want = "[master key]"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		if got := fmt.Sprintf(verb, key); got != want {
			t.Errorf("%s prints %q", verb, got)
		}
		if got := fmt.Sprintf(verb, *key); got != want {
			t.Errorf("%s of the value prints %q", verb, got)
		}
	}
	if key.String() != want || key.GoString() != want {
		t.Errorf("String = %q, GoString = %q", key, key.GoString())
	}
	var text, logged bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "key", key)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("m", "key", *key)
	if !strings.Contains(text.String(), want) || !strings.Contains(logged.String(), want) {
		t.Errorf("logged %q and %q", text.String(), logged.String())
	}
}

func FuzzOpen(f *testing.F) {
	key, _ := open(f)
	f.Add([]byte{}, []byte{})
	f.Add([]byte{1}, []byte("record"))
	f.Add(bytes.Repeat([]byte{1}, 64), []byte("record"))
	f.Fuzz(func(t *testing.T, data, aad []byte) {
		if plain, err := key.Open(data, aad); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("Open(%x) = %x, %v: nobody sealed that", data, plain, err)
		}
		got, err := key.Open(key.Seal(data, aad), aad)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("Open(Seal(%x)) = %x, %v", data, got, err)
		}
	})
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
