package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/mooring-iot/mooring/internal/durable"
	"github.com/mooring-iot/mooring/internal/seal"
)

// dataDir is the directory of everything that lasts.
type dataDir struct {
	path    string
	lock    *flock.Flock // held by the process that serves it
	created bool         // by this process
}

// How long and how often a start asks for the lock: not at once, as a command that
// looks whether the service runs holds it for a moment.
const (
	lockPatience = time.Second
	lockRetry    = 20 * time.Millisecond
)

// lockName is the name of the file whose lock is held by the process that serves.
const lockName = "lock"

// openDataDir creates the directory if it is absent and locks it: one process
// serves it at a time.
func openDataDir(ctx context.Context, path string) (dataDir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return dataDir{}, err
	}
	created := !exists(abs)
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return dataDir{}, fmt.Errorf("--data: cannot create the data directory: %w", err)
	}
	d := dataDir{path: abs, created: created, lock: flock.New(filepath.Join(abs, lockName), flock.SetPermissions(0o600))}
	wait, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	locked, err := d.lock.TryLockContext(wait, lockRetry)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return dataDir{}, fmt.Errorf("--data: cannot lock %s: %w", abs, err)
	}
	if !locked {
		return dataDir{}, fmt.Errorf(
			"--data: %s is in use by another mooring process; stop that process, or use another directory",
			abs,
		)
	}
	return d, nil
}

func (d dataDir) unlock() error { return d.lock.Unlock() }

func (d dataDir) database() string { return filepath.Join(d.path, "mooring.db") }

func (d dataDir) tls() string { return filepath.Join(d.path, "tls") }

func (d dataDir) masterKey(create bool) (*seal.Key, error) {
	// A database without its key is lost: a new key would only hide that.
	if d.databaseState() == "" {
		create = false
	}
	key, err := seal.OpenKey(d.masterKeyFile(), create)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, d.noMasterKey()
	}
	return key, err
}

func (d dataDir) masterKeyFile() string { return filepath.Join(d.path, "master.key") }

// explain adds the file that is to blame to the error of a database that another
// master key sealed.
func (d dataDir) explain(err error) error {
	if errors.Is(err, seal.ErrOpen) {
		return fmt.Errorf("%s and %s do not match: use the files of one installation or of one backup: %w",
			d.masterKeyFile(), d.database(), err)
	}
	return err
}

// runtime is what a running service tells commands on the same machine.
type runtime struct {
	Hostnames []string          `json:"hostnames"`
	Listeners map[string]string `json:"listeners"`           // real addresses
	CAFile    string            `json:"caFile"`              // what clients must trust; "" if unknown
	TrustFile string            `json:"trustFile,omitempty"` // what commands on this machine trust; CAFile if ""
	CAIssuer  string            `json:"caIssuer,omitempty"`  // of the operator's certificate, where CAFile is unknown
}

func (a *App) runtime() (runtime, error) {
	r := runtime{Hostnames: a.options.Config.Hostnames, Listeners: make(map[string]string)}
	if err := a.describeTrust(&r); err != nil {
		return runtime{}, err
	}
	for _, s := range a.servers {
		r.Listeners[s.name] = s.listener.Addr().String()
	}
	return r, nil
}

func (d dataDir) runtimeFile() string { return filepath.Join(d.path, "runtime.json") }

// writeRuntime replaces the file in one step: readers see the old one or the new.
func (d dataDir) writeRuntime(r runtime) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	// Nothing is written where nothing is new: a service with fixed addresses starts
	// again on a full disk too.
	if old, err := os.ReadFile(d.runtimeFile()); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return durable.File{Path: d.runtimeFile(), Mode: 0o600, Temp: d.runtimeFile() + ".new"}.WriteBytes(text)
}

func (d dataDir) readRuntime() (runtime, error) {
	var r runtime
	text, err := os.ReadFile(d.runtimeFile())
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("no service has run on %s yet; start it with: mooring serve --data %s", d.path, d.path)
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil || len(r.Hostnames) == 0 {
		return r, fmt.Errorf("%s is damaged; start the service once to write it again: mooring serve --data %s", d.runtimeFile(), d.path)
	}
	return r, nil
}
