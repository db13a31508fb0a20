package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, what string, err error, want dps.Code) {
	t.Helper()
	if err == nil || dps.CodeOf(err) != want {
		t.Errorf("%s: error = %v, want code %v", what, err, want)
	}
}

func TestReopenKeepsEverything(t *testing.T) {
	p, setup := newPlace(t), newSetup()
	s := p.openWith(t, setup)
	keys := dps.NewKeyPair()
	if err := s.PutEnrollment(t.Context(), withKeys("sensor", keys), ""); err != nil {
		t.Fatal(err)
	}
	change := newRegistration("sensor")
	if err := s.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = p.open(t)
	in, err := s.InstanceByScope(t.Context(), setup.Instance.Scope)
	if err != nil || in.TokenKey.Base64() != setup.Instance.TokenKey.Base64() {
		t.Errorf("instance = %+v, %v", in, err)
	}
	policy, err := s.Policy(t.Context(), in.ID, dps.OwnerPolicy)
	if err != nil || policy.Keys.Primary.Base64() != setup.Policy.Keys.Primary.Base64() {
		t.Errorf("policy = %+v, %v", policy, err)
	}
	e, err := s.Enrollment(t.Context(), in.ID, dps.EntryRef{Kind: dps.Individual, ID: "sensor"})
	if err != nil || e.Attestation.SymmetricKey.Secondary.Base64() != keys.Secondary.Base64() {
		t.Errorf("enrollment = %+v, %v", e, err)
	}
	reg, err := s.Operation(t.Context(), in.ID, "sensor", change.Registration.Operation)
	if err != nil || reg.ETag != change.Registration.ETag {
		t.Errorf("operation = %+v, %v", reg, err)
	}
	if d, err := s.HubDevice(t.Context(), in.ID, dps.EmbeddedHub, "sensor"); err != nil || d.ETag != change.Device.ETag {
		t.Errorf("device = %+v, %v", d, err)
	}
}

// database opens the file without the store.
func database(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// What is acknowledged has to outlive a loss of power: each commit waits for the disk.
// Source: https://www.sqlite.org/pragma.html#pragma_synchronous (2 is FULL).
func TestDurabilityOfConnections(t *testing.T) {
	s := newPlace(t).open(t)
	for _, tt := range []struct{ pragma, writer, reader string }{
		{"synchronous", "2", "2"},
		{"journal_mode", "wal", "wal"},
		{"foreign_keys", "1", "1"},
		{"query_only", "0", "1"},
	} {
		writer, reader, err := s.Pragma(t.Context(), tt.pragma)
		if err != nil || writer != tt.writer || reader != tt.reader {
			t.Errorf("%s = %s to write and %s to read, %v; want %s and %s", tt.pragma, writer, reader, err, tt.writer, tt.reader)
		}
	}
}

func TestOpenRefusesANewerSchema(t *testing.T) {
	p := newPlace(t)
	if err := p.open(t).Close(); err != nil {
		t.Fatal(err)
	}
	_, err := database(t, p.path).ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sqlite.Open(t.Context(), p.options())
	if err == nil {
		t.Fatal("opened")
	}
	for _, word := range []string{p.path, "version 9999", "newer"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error = %q, want it to say %q", err, word)
		}
	}
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	p := newPlace(t)
	if err := os.WriteFile(p.path, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), p.options()); err == nil || !strings.Contains(err.Error(), p.path) {
		t.Errorf("error = %v, want one that names the file", err)
	}
	p.path = filepath.Join(t.TempDir(), "absent", "mooring.db")
	if _, err := sqlite.Open(t.Context(), p.options()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in an absent directory: error = %v", err)
	}
}

func TestOpenTakesOddPaths(t *testing.T) {
	p := placeAt(t, t.TempDir())
	p.path = filepath.Join(t.TempDir(), "odd ?#%20&ü.db")
	p.openWith(t, newSetup())
	if _, err := os.Stat(p.path); err != nil {
		t.Error(err)
	}
}

// gated is an observer that holds the writer up at its first commit.
type gated struct {
	commits
	once sync.Once
	held chan struct{} // closed when the writer waits
	open chan struct{} // closed to let it go on
}

func (g *gated) Committed(changes int, took time.Duration, err error) {
	g.commits.Committed(changes, took, err)
	g.once.Do(func() {
		close(g.held)
		<-g.open
	})
}

// Everyone who comes while a commit is under way is carried by the next one, and
// those whose change fails disturb nobody.
func TestGroupCommit(t *testing.T) {
	p := newPlace(t)
	must(t, p.openWith(t, newSetup()).Close())
	synctest.Test(t, func(t *testing.T) {
		const writers = 300
		gate := &gated{held: make(chan struct{}), open: make(chan struct{})}
		o := p.options()
		o.Observer = gate
		s, err := sqlite.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()

		var all sync.WaitGroup
		all.Go(func() { _ = s.Commit(t.Context(), newRegistration("first")) })
		<-gate.held
		results := make([]error, writers)
		for i := range writers {
			change := newRegistration(fmt.Sprintf("sensor-%d", i))
			if i%3 == 0 {
				change.IfMatch = dps.NewETag() // there is no such version
			}
			all.Go(func() { results[i] = s.Commit(t.Context(), change) })
		}
		synctest.Wait() // all of them wait for the writer
		close(gate.open)
		all.Wait()

		if n, changes, failed := gate.count(); n != 2 || changes != writers+1 || failed != 0 {
			t.Errorf("%d commits with %d changes, %d failed; want 2 with %d, none failed", n, changes, failed, writers+1)
		}
		for i, err := range results {
			id := dps.RegistrationID(fmt.Sprintf("sensor-%d", i))
			_, missing := s.Registration(t.Context(), dps.DefaultInstance, id)
			_, noDevice := s.HubDevice(t.Context(), dps.DefaultInstance, dps.EmbeddedHub, dps.DeviceID(id))
			if i%3 == 0 {
				wantCode(t, "wrong version", err, dps.ConcurrentChange)
				wantCode(t, "its registration", missing, dps.RegistrationNotFound)
				wantCode(t, "its device", noDevice, dps.DeviceNotFound)
			} else if err := errors.Join(err, missing, noDevice); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	})
}

func TestACallerThatGaveUpIsNotQueued(t *testing.T) {
	p := newPlace(t)
	must(t, p.openWith(t, newSetup()).Close())
	synctest.Test(t, func(t *testing.T) {
		const queue = 4096 // as many as may wait
		gate := &gated{held: make(chan struct{}), open: make(chan struct{})}
		o := p.options()
		o.Observer = gate
		s, err := sqlite.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var all sync.WaitGroup
		all.Go(func() { _ = s.Sweep(t.Context()) })
		<-gate.held
		for range queue {
			all.Go(func() { _ = s.DeleteEnrollment(t.Context(), dps.DefaultInstance, dps.EntryRef{}, "") })
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if err := s.Commit(ctx, newRegistration("late")); !errors.Is(err, context.Canceled) {
				t.Errorf("error = %v, want context.Canceled", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(gate.open)
		all.Wait()
		_, err = s.Registration(t.Context(), dps.DefaultInstance, "late")
		wantCode(t, "late", err, dps.RegistrationNotFound)
	})
}

// Whoever was told that a change is stored finds it after a restart; whoever comes
// too late is told so.
func TestCloseWhileWriting(t *testing.T) {
	p := newPlace(t)
	s := p.openWith(t, newSetup())
	const writers, before = 32, 400
	var mu sync.Mutex
	var acknowledged []dps.RegistrationID
	enough := make(chan struct{})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := 0; ; i++ {
				change := newRegistration(fmt.Sprintf("sensor-%d-%d", w, i))
				if err := s.Commit(context.Background(), change); err != nil {
					wantCode(t, "late change", err, dps.Unavailable)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, change.Registration.ID)
				if len(acknowledged) == before {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	wantCode(t, "after Close", s.Commit(t.Context(), newRegistration("late")), dps.Unavailable)

	s = p.open(t)
	for _, id := range acknowledged {
		if _, err := s.Registration(t.Context(), dps.DefaultInstance, id); err != nil {
			t.Fatalf("acknowledged %s: %v", id, err)
		}
	}
	devices, err := s.HubDevices(t.Context(), dps.DefaultInstance, dps.EmbeddedHub, "", 1<<20)
	if err != nil || len(devices) != len(acknowledged) {
		t.Errorf("%d devices, %v; want %d, as many as were acknowledged", len(devices), err, len(acknowledged))
	}
}

func TestCloseTwice(t *testing.T) {
	s := newPlace(t).open(t)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_ = s.Close() // no panic, no hang
}

// No secret can be read from the files, open or closed.
func TestSecretsAreSealed(t *testing.T) {
	p, setup := newPlace(t), newSetup()
	s := p.openWith(t, setup)
	const query = "code=quite-a-secret-query"
	e := withKeys("sensor", dps.NewKeyPair())
	e.Placement.Custom = &dps.CustomAllocation{WebhookURL: "https://allocate.example.com/api?" + query, APIVersion: "2019-03-31"}
	change := newRegistration("sensor")
	change.Device.Authentication = dps.HubAuthentication{Type: dps.HubAuthSAS, Keys: dps.NewKeyPair()}
	if err := errors.Join(s.PutEnrollment(t.Context(), e, ""), s.Commit(t.Context(), change)); err != nil {
		t.Fatal(err)
	}
	var needles []string
	for _, pair := range []dps.KeyPair{
		setup.Policy.Keys, setup.HubPolicy.Keys, *e.Attestation.SymmetricKey, change.Device.Authentication.Keys,
		{Primary: setup.Instance.TokenKey, Secondary: setup.Instance.TokenKey},
	} {
		for _, k := range []dps.Secret{pair.Primary, pair.Secondary} {
			needles = append(needles, string(k.Reveal()), k.Base64(), fmt.Sprintf("%x", k.Reveal()), fmt.Sprintf("%X", k.Reveal()))
		}
	}
	needles = append(needles, query)

	scan := func(when string, wantNames ...string) {
		names, err := filepath.Glob(p.path + "*")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wantNames {
			if !slices.Contains(names, want) {
				t.Errorf("%s: files = %q, want %q among them", when, names, want)
			}
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for i, needle := range needles {
				if strings.Contains(string(content), needle) {
					t.Errorf("%s: %s holds secret %d in plain", when, filepath.Base(name), i)
				}
			}
		}
	}
	scan("open", p.path, p.path+"-wal")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	scan("closed", p.path)
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes")
	}
	p := newPlace(t)
	p.openWith(t, newSetup())
	for _, name := range []string{p.path, p.path + "-wal", p.path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", filepath.Base(name), info.Mode().Perm())
		}
	}
}

func TestAnotherMasterKeyOpensNothing(t *testing.T) {
	p, setup := newPlace(t), newSetup()
	s := p.openWith(t, setup)
	change := newRegistration("sensor")
	change.Device.Authentication.Keys = dps.NewKeyPair()
	if err := errors.Join(s.PutEnrollment(t.Context(), withKeys("sensor", dps.NewKeyPair()), ""), s.Commit(t.Context(), change)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	key, err := seal.OpenKey(filepath.Join(t.TempDir(), "other.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	p.key = key
	s = p.open(t)
	const in = dps.DefaultInstance
	for name, read := range map[string]func() error{
		"instance":     func() error { _, err := s.Instance(t.Context(), in); return err },
		"scope":        func() error { _, err := s.InstanceByScope(t.Context(), setup.Instance.Scope); return err },
		"policy":       func() error { _, err := s.Policy(t.Context(), in, dps.OwnerPolicy); return err },
		"policies":     func() error { _, err := s.Policies(t.Context(), in); return err },
		"hub policy":   func() error { _, err := s.HubPolicy(t.Context(), in, dps.EmbeddedHub, dps.HubOwnerPolicy); return err },
		"hub policies": func() error { _, err := s.HubPolicies(t.Context(), in, dps.EmbeddedHub); return err },
		"enrollment": func() error {
			_, err := s.Enrollment(t.Context(), in, dps.EntryRef{Kind: dps.Individual, ID: "sensor"})
			return err
		},
		"device":  func() error { _, err := s.HubDevice(t.Context(), in, dps.EmbeddedHub, "sensor"); return err },
		"devices": func() error { _, err := s.HubDevices(t.Context(), in, dps.EmbeddedHub, "", 1); return err },
	} {
		if err := read(); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: error = %v, want %v", name, err, seal.ErrOpen)
		}
	}
}

// A sealed secret opens in its own record only.
func TestSecretsDoNotMove(t *testing.T) {
	p := newPlace(t)
	s := p.openWith(t, newSetup())
	if err := errors.Join(
		s.PutEnrollment(t.Context(), withKeys("mine", dps.NewKeyPair()), ""),
		s.PutEnrollment(t.Context(), withKeys("yours", dps.NewKeyPair()), ""),
	); err != nil {
		t.Fatal(err)
	}
	_, err := database(t, p.path).ExecContext(t.Context(),
		`UPDATE enrollments SET secrets = (SELECT secrets FROM enrollments WHERE id = 'mine') WHERE id = 'yours'`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Enrollment(t.Context(), dps.DefaultInstance, dps.EntryRef{Kind: dps.Individual, ID: "yours"}); !errors.Is(
		err,
		seal.ErrOpen,
	) {
		t.Errorf("error = %v, want %v", err, seal.ErrOpen)
	}
}

func TestOpenReadOnly(t *testing.T) {
	p, setup := newPlace(t), newSetup()
	s := p.openWith(t, setup)
	r, err := sqlite.OpenReadOnly(p.path, p.key, p.now)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx := t.Context()
	if err := r.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"one", "two"} {
		change := newRegistration(id)
		if err := s.Commit(ctx, change); err != nil {
			t.Fatal(err)
		}
		if reg, err := r.Registration(ctx, dps.DefaultInstance, dps.RegistrationID(id)); err != nil || reg.ETag != change.Registration.ETag {
			t.Errorf("fresh record = %+v, %v", reg, err)
		}
	}
	e, ca := withKeys("x", dps.NewKeyPair()), dps.CACertificate{Name: "x"}
	ca.Certificate = selfSigned(t)
	for name, err := range map[string]error{
		"Commit":              r.Commit(ctx, newRegistration("three")),
		"PutEnrollment":       r.PutEnrollment(ctx, e, ""),
		"DeleteEnrollment":    r.DeleteEnrollment(ctx, e.Instance, e.Ref, e.ETag),
		"PutCACertificate":    r.PutCACertificate(ctx, ca, ""),
		"DeleteCACertificate": r.DeleteCACertificate(ctx, ca.Instance, ca.Name, ""),
		"Create":              r.Create(ctx, setup),
		"RenameHub":           second(r.RenameHub(ctx, dps.DefaultInstance, dps.EmbeddedHub, "x")),
		"Sweep":               r.Sweep(ctx),
	} {
		wantCode(t, name, err, dps.Unavailable)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Commit(ctx, newRegistration("four")); err != nil {
		t.Errorf("writing after the reader left: %v", err)
	}
}

// Looking at a directory that was never served leaves nothing behind.
func TestOpenReadOnlyCreatesNothing(t *testing.T) {
	p := newPlace(t)
	if _, err := sqlite.OpenReadOnly(p.path, p.key, p.now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error = %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := os.Stat(p.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file exists now: %v", err)
	}
}

// The background sweep runs by itself.
func TestSweepInTheBackground(t *testing.T) {
	p := newPlace(t)
	must(t, p.openWith(t, newSetup()).Close())
	synctest.Test(t, func(t *testing.T) {
		p.now = func() time.Time { return start.Add(2 * dps.OperationLifetime) }
		s := p.open(t)
		first := newRegistration("sensor")
		second := newRegistration("sensor")
		second.IfMatch, second.DeviceMatch = first.Registration.ETag, first.Device.ETag
		if err := errors.Join(s.Commit(t.Context(), first), s.Commit(t.Context(), second)); err != nil {
			t.Fatal(err)
		}
		db := database(t, p.path)
		count := func() (n int) {
			if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM operations`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := count(); n != 1 {
			t.Fatalf("%d superseded operations, want 1", n)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // of the bubble
		synctest.Wait()
		if n := count(); n != 0 {
			t.Errorf("%d superseded operations after the sweep, want 0", n)
		}
		db.Close()
		s.Close()
	})
}

func second[T any](_ T, err error) error { return err }
