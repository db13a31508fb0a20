package app_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/config"
)

// tryApp opens a service on data with more flags, and closes it. It returns its notes.
func tryApp(t *testing.T, data string, more ...string) ([]string, error) {
	t.Helper()
	a, err := openApp(t, data, more...)
	if err != nil {
		return nil, err
	}
	return a.Notes(), a.Close()
}

func openApp(t *testing.T, data string, more ...string) (*app.App, error) {
	t.Helper()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	config.AddFlags(flags)
	args := append([]string{"--data", data, "--https", "127.0.0.1:0", "--mqtt", "off", "--portal", "off"}, more...)
	must(t, flags.Parse(args))
	c, err := config.Load(flags, func(string) string { return "" })
	must(t, err)
	return app.New(t.Context(), app.Options{Config: c, Version: "test", Log: slog.New(slog.DiscardHandler)})
}

// A data directory that was in use and lacks a part is refused, with the part and the way out; nothing in
// it is changed. A part is created again only on demand.
func TestMissingPieces(t *testing.T) {
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, data string) {
			for _, name := range names {
				must(t, os.RemoveAll(filepath.Join(data, name)))
			}
		}
	}
	cut := func(name string, size int64) func(*testing.T, string) {
		return func(t *testing.T, data string) { must(t, os.Truncate(filepath.Join(data, name), size)) }
	}
	tests := []struct {
		name     string
		spoil    func(*testing.T, string)
		want     []string // of the message
		recreate string   // the part to be created again; "" if none may be
	}{
		{"no database", remove("mooring.db"), []string{"mooring.db is missing", "master.key", "mooring restore", "--recreate database"}, "database"},
		{"an empty database", cut("mooring.db", 0), []string{"mooring.db is empty", "mooring restore", "--recreate database"}, "database"},
		{"only the master key left", remove("mooring.db", "mooring.db-sums", "tls", "runtime.json"), []string{"mooring.db is missing", "master.key"}, "database"},
		{"only the TLS authority left", remove("mooring.db", "mooring.db-sums", "master.key", "runtime.json"), []string{"tls/ca.cert.pem"}, "database"},
		{"only the addresses left", remove("mooring.db", "mooring.db-sums", "master.key", "tls"), []string{"runtime.json"}, "database"},
		{"no master key", remove("master.key"), []string{"master.key is missing", "mooring restore"}, ""},
		{"an empty master key", cut("master.key", 0), []string{"master.key is damaged"}, ""},
		{"no TLS authority", remove("tls"), []string{"own CA is missing", "ca.cert.pem", "--recreate tls"}, "tls"},
		{"a cut TLS certificate", cut("tls/ca.cert.pem", 100), []string{"ca.cert.pem", "restore it from a backup"}, ""},
		{"a cut TLS key", cut("tls/ca.key.pem", 20), []string{"ca.key.pem", "restore it from a backup"}, ""},
		{"half a database", cut("mooring.db", 8192*3), []string{"database is damaged", "mooring restore"}, ""},
		{"a piece of a database", cut("mooring.db", 50), []string{"database is damaged", "mooring restore"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := newData(t)
			tt.spoil(t, data)
			before := tree(t, data)
			_, err := tryApp(t, data)
			if err == nil {
				t.Fatal("started")
			}
			for _, word := range tt.want {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error = %q, want %q in it", err, word)
				}
			}
			for name, text := range before {
				if got, ok := tree(t, data)[name]; (!ok || got != text) && !strings.HasPrefix(name, "mooring.db-") {
					t.Errorf("%s was changed", name)
				}
			}
			if tt.recreate == "" {
				return
			}
			_, err = tryApp(t, data, "--recreate", tt.recreate)
			must(t, err)
			_, err = tryApp(t, data)
			must(t, err)
		})
	}
}

// A directory that was moved misses its CA as well as one that was not.
func TestMovedWithoutAuthority(t *testing.T) {
	data := newData(t)
	moved := filepath.Join(t.TempDir(), "moved")
	must(t, os.Rename(data, moved))
	must(t, os.RemoveAll(filepath.Join(moved, "tls")))
	if _, err := tryApp(t, moved); err == nil || !strings.Contains(err.Error(), "own CA is missing") {
		t.Errorf("error = %v, want the missing CA", err)
	}
	_, err := tryApp(t, moved, "--recreate", "tls")
	must(t, err)
}

// Files of two installations do not make one.
func TestPiecesOfTwoInstallations(t *testing.T) {
	one, other := newData(t), newData(t)
	text, err := os.ReadFile(filepath.Join(other, "mooring.db"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(one, "mooring.db"), text, 0o600))
	if _, err := tryApp(t, one); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("another's database beside these checksums: %v", err)
	}
	must(t, os.Remove(filepath.Join(one, "mooring.db-sums")))
	_, err = tryApp(t, one)
	if err == nil || !strings.Contains(err.Error(), "master.key") || !strings.Contains(err.Error(), "do not match") {
		t.Errorf("another's database: %v", err)
	}
}

// Commands that read say what is missing too, and create nothing.
func TestMissingDatabaseInCommands(t *testing.T) {
	data := newData(t)
	must(t, os.Remove(filepath.Join(data, "mooring.db")))
	_, infoErr := app.ReadInfo(t.Context(), data)
	_, backupErr := writeBackup(t, data)
	_, resetErr := app.ResetPortalPassword(t.Context(), data, slog.New(slog.DiscardHandler))
	for what, err := range map[string]error{"info": infoErr, "backup": backupErr, "reset-password": resetErr} {
		if err == nil || !strings.Contains(err.Error(), "mooring.db is missing") || !strings.Contains(err.Error(), "mooring restore") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "mooring.db")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a command created a database")
	}
}

// What others may do with the files of a service is taken away where that does no harm, and refused
// where they could have read a key.
func TestModes(t *testing.T) {
	for _, tt := range []struct {
		name string
		path string
		mode os.FileMode
		want os.FileMode // after the start; 0: refused
	}{
		{"directory", "", 0o755, 0o700},
		{"directory of everybody", "", 0o777, 0o700},
		{"database", "mooring.db", 0o644, 0o600},
		{"database of everybody", "mooring.db", 0o666, 0o600},
		{"checksums", "mooring.db-sums", 0o664, 0o600},
		{"addresses", "runtime.json", 0o644, 0o600},
		{"directory of certificates", "tls", 0o777, 0o755},
		{"certificate", "tls/ca.cert.pem", 0o666, 0o644},
		{"key of the authority", "tls/ca.key.pem", 0o640, 0},
		{"key of the server", "tls/server-ecdsa.key.pem", 0o604, 0},
		{"master key", "master.key", 0o640, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := newData(t)
			path := filepath.Join(data, tt.path)
			must(t, os.Chmod(path, tt.mode))
			_, err := tryApp(t, data)
			if tt.want == 0 {
				if err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
					t.Errorf("error = %v, want the command that closes %s", err, path)
				}
				return
			}
			must(t, err)
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != tt.want {
				t.Errorf("mode %v, %v, want %v", info.Mode(), err, tt.want)
			}
		})
	}
}

// A directory with other files keeps its mode; where everybody may write, it is refused.
func TestForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
	must(t, os.Chmod(dir, 0o755))
	_, err := tryApp(t, dir)
	must(t, err)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	must(t, os.Chmod(dir, 0o777))
	if _, err := tryApp(t, dir); err == nil || !strings.Contains(err.Error(), "every user may write") {
		t.Errorf("a directory of everybody: %v", err)
	}
}

// What killed commands leave, keys among it, is gone after the next start, and after the next restore.
func TestLeftovers(t *testing.T) {
	data := newData(t)
	left := func() []string {
		paths := []string{
			filepath.Join(filepath.Dir(data), ".data.restore-123", "master.key"),
			filepath.Join(data, ".restore-123", "master.key"),
			filepath.Join(data, ".master.key.123"),
			filepath.Join(data, "tls", ".ca.key.pem.123"),
		}
		for _, path := range paths {
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, []byte("secret"), 0o600))
		}
		return paths
	}
	gone := func(what string, paths []string) {
		t.Helper()
		for _, path := range paths {
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("after %s, %s is there", what, path)
			}
		}
	}
	paths := left()
	_, err := tryApp(t, data)
	must(t, err)
	gone("a start", paths)

	made, err := writeBackup(t, data)
	must(t, err)
	must(t, os.RemoveAll(data))
	paths = left()[:2]
	must(t, os.RemoveAll(filepath.Join(data, "tls")))
	must(t, os.Remove(filepath.Join(data, ".master.key.123")))
	must(t, restore(t, made.File, data))
	gone("a restore", paths)
	_, err = tryApp(t, data)
	must(t, err)
}

// A first start that was interrupted goes on; so does one that found a directory that exists.
func TestInterruptedFirstStart(t *testing.T) {
	data := newData(t)
	must(t, os.WriteFile(filepath.Join(data, "first-start"), nil, 0o600))
	for _, name := range []string{"mooring.db", "mooring.db-sums", "runtime.json"} {
		must(t, os.Remove(filepath.Join(data, name)))
	}
	_, err := tryApp(t, data)
	must(t, err)
	if _, err := os.Stat(filepath.Join(data, "first-start")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the first start did not end")
	}
}

// The service says what its addresses and its name do not do together.
func TestNotes(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string // in a note; "" for no note
	}{
		{"loopback", nil, ""},
		{"every address", []string{"--https", ":0"}, "the server certificate is for localhost only"},
		{"every address, with a name", []string{"--https", ":0", "--hostname", "dps.example"}, ""},
		{"no device can connect", []string{"--https", "off", "--portal", "127.0.0.1:0"}, "no device or SDK can connect"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			notes, err := tryApp(t, filepath.Join(t.TempDir(), "data"), tt.args...)
			must(t, err)
			text := strings.Join(notes, "\n")
			if tt.want == "" && text != "" || !strings.Contains(text, tt.want) {
				t.Errorf("notes %q, want %q", text, tt.want)
			}
		})
	}
}

// The flags that a note suggests keep the listeners of this start and their ports.
func TestNotesKeepPorts(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"both", []string{"--https", ":0", "--mqtt", ":0"}, `reach \S+:(\d+), .* set --https 127\.0\.0\.1:(\d+) --mqtt 127\.0\.0\.1:[1-9]\d*\.$`},
		{"HTTPS alone", []string{"--https", ":0", "--mqtt", "off"}, `reach \S+:(\d+), .* set --https 127\.0\.0\.1:(\d+)\.$`},
		{"MQTT alone", []string{"--https", "off", "--mqtt", ":0"}, `reach \S+:(\d+), .* set --mqtt 127\.0\.0\.1:(\d+)\.$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			notes, err := tryApp(t, filepath.Join(t.TempDir(), "data"), append(tt.args, "--portal", "127.0.0.1:0")...)
			must(t, err)
			found := regexp.MustCompile(tt.want).FindStringSubmatch(strings.Join(notes, "\n"))
			if found == nil || found[1] != found[2] {
				t.Errorf("notes %q, want %s", notes, tt.want)
			}
		})
	}
}

func TestReadyz(t *testing.T) {
	data := newData(t)
	a, err := openApp(t, data, "--portal", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	info, err := a.Info(t.Context())
	must(t, err)
	if status, text := get(t, info.PortalURL+"/readyz"); status != http.StatusOK || text != "ready\n" {
		t.Errorf("readyz: %d %q", status, text)
	}
	stop()
	must(t, <-ended)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(text)
}
