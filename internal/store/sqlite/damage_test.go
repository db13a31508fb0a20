package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
	"github.com/mooring-iot/mooring/internal/store/sqlite/pagesum"
)

const damageDevices = 120

// answers reads everything and returns what was answered, by what was asked, and the errors.
func answers(t *testing.T, s *sqlite.Store) (map[string]string, map[string]error) {
	t.Helper()
	got, errs := make(map[string]string), make(map[string]error)
	note := func(what string, value any, err error) {
		if err != nil {
			errs[what] = err
			return
		}
		got[what] = fmt.Sprintf("%+v", value)
	}
	ctx, in := t.Context(), dps.DefaultInstance
	instance, err := s.Instance(ctx, in)
	note("instance", fmt.Sprint(instance, instance.TokenKey.Base64()), err)
	policy, err := s.Policy(ctx, in, dps.OwnerPolicy)
	note("policy", fmt.Sprint(policy, policy.Keys.Primary.Base64()), err)
	hubs, err := s.Hubs(ctx, in)
	note("hubs", hubs, err)
	cas, err := s.CACertificates(ctx, in)
	note("CA certificates", cas, err)
	for i := range damageDevices {
		id := fmt.Sprintf("device-%d", i)
		e, err := s.Enrollment(ctx, in, dps.EntryRef{Kind: dps.Individual, ID: id})
		key := ""
		if a := e.Attestation.SymmetricKey; a != nil {
			key = a.Primary.Base64()
		}
		note("enrollment "+id, fmt.Sprint(e.Ref, e.Status, e.ETag, key), err)
		reg, err := s.Registration(ctx, in, dps.RegistrationID(id))
		note("registration "+id, fmt.Sprint(reg.ID, reg.Entry, reg.Status, reg.ETag, reg.Operation, reg.Evidence, reg.Updated), err)
		device, err := s.HubDevice(ctx, in, dps.EmbeddedHub, dps.DeviceID(id))
		note("device "+id, fmt.Sprint(device.DeviceID, device.ETag, device.Authentication, device.Created), err)
	}
	return got, errs
}

// image is a copy of the files of a database: by name.
type image map[string][]byte

// takeImage copies the files as a crash leaves them: without the index of the log.
func takeImage(t *testing.T, path string) image {
	t.Helper()
	files := image{}
	for _, suffix := range []string{"", "-wal", pagesum.Suffix} {
		text, err := os.ReadFile(path + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		must(t, err)
		files[suffix] = text
	}
	return files
}

func (m image) write(t *testing.T, path string) {
	t.Helper()
	for suffix, text := range m {
		must(t, os.WriteFile(path+suffix, text, 0o600))
	}
}

// flipped returns a copy with one byte of a file changed.
func (m image) flipped(suffix string, offset int, by byte) image {
	other := maps.Clone(m)
	other[suffix] = bytes.Clone(m[suffix])
	other[suffix][offset] ^= by
	return other
}

// damageImages are a database that was closed and one whose process was killed, both filled.
func damageImages(t *testing.T, p *place) (closed, killed image, want map[string]string) {
	t.Helper()
	s := p.openWith(t, newSetup())
	put := func(i int) {
		id := fmt.Sprintf("device-%d", i)
		must(t, s.PutEnrollment(t.Context(), withKeys(id, dps.NewKeyPair()), ""))
		must(t, s.Commit(t.Context(), newRegistration(id)))
	}
	ca := dps.CACertificate{
		Instance: dps.DefaultInstance, Name: "root", Certificate: selfSigned(t), Verified: true,
		ETag: dps.NewETag(), Created: start, Updated: start,
	}
	must(t, s.PutCACertificate(t.Context(), ca, ""))
	for i := range damageDevices {
		put(i)
	}
	killed = takeImage(t, p.path)
	want, errs := answers(t, s)
	if len(errs) > 0 {
		t.Fatalf("before any damage: %v", errs)
	}
	must(t, s.Close())
	return takeImage(t, p.path), killed, want
}

// One changed byte anywhere in the database or its log is never served: what is answered is what was
// stored, and everything else is an error that says so, to the caller and to the operator.
func TestFlippedByte(t *testing.T) {
	p := newPlace(t)
	closed, killed, want := damageImages(t, p)
	if len(killed["-wal"]) == 0 {
		t.Fatal("the killed process left no log")
	}
	random := rand.New(rand.NewPCG(1, 2))
	type trial struct {
		name   string
		image  image
		suffix string
	}
	reported := make(map[string]int)
	for _, tr := range []trial{
		{"database of a closed process", closed, ""},
		{"database of a killed process", killed, ""},
		{"log of a killed process", killed, "-wal"},
	} {
		t.Run(tr.name, func(t *testing.T) {
			for range trials() {
				offset, by := random.IntN(len(tr.image[tr.suffix])), byte(1+random.IntN(255))
				if flipTrial(t, p, tr.image.flipped(tr.suffix, offset, by), want) {
					reported[tr.name]++
				}
				if t.Failed() {
					t.Fatalf("offset %d of %q, byte changed by %#x", offset, tr.suffix, by)
				}
			}
		})
	}
	if reported["log of a killed process"] == 0 || reported["database of a closed process"] == 0 {
		t.Errorf("no damage was ever reported: %v", reported)
	}
}

func trials() int {
	if testing.Short() {
		return 15
	}
	return 60
}

// flipTrial opens a damaged image, compares every answer, and reports whether the damage was.
func flipTrial(t *testing.T, p *place, m image, want map[string]string) bool {
	t.Helper()
	q := *p
	q.path = filepath.Join(t.TempDir(), "mooring.db")
	m.write(t, q.path)
	o := q.options()
	s, err := sqlite.Open(t.Context(), o)
	if err != nil {
		if !errors.Is(err, sqlite.ErrDamaged) {
			t.Errorf("Open: %v, want ErrDamaged", err)
		}
		return true
	}
	defer func() { _ = s.Close() }()
	got, errs := answers(t, s)
	for what, err := range errs {
		if !errors.Is(err, sqlite.ErrDamaged) || dps.CodeOf(err) != dps.Internal {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, answer := range got {
		if errs[what] == nil && answer != want[what] {
			t.Errorf("%s: %s, want %s", what, answer, want[what])
		}
	}
	if len(errs) > 0 && s.Damage() == nil {
		t.Error("answers failed, and Damage knows of nothing")
	}
	return len(errs) > 0
}

// A byte that changes in the log while the database is open is found by the next read of it, and is
// not moved into the database.
func TestFlippedByteWhileOpen(t *testing.T) {
	p := newPlace(t)
	var mu sync.Mutex
	var found []error
	o := p.options()
	o.Damaged = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		found = append(found, err)
	}
	s, err := sqlite.Open(t.Context(), o)
	must(t, err)
	defer s.Close()
	must(t, s.Create(t.Context(), newSetup()))
	shot, err := s.Snapshot(t.Context()) // a reader keeps what follows out of the database
	must(t, err)
	must(t, s.PutEnrollment(t.Context(), withKeys("device", dps.NewKeyPair()), ""))
	log, err := os.ReadFile(p.path + "-wal")
	must(t, err)
	at := bytes.LastIndex(log, []byte(`"provisioningStatus":"enabled"`))
	if at < 0 {
		t.Fatal("the log does not hold the enrollment")
	}
	f, err := os.OpenFile(p.path+"-wal", os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("X"), int64(at)+25)
	must(t, errors.Join(err, f.Close(), shot.Close()))

	reader, err := sqlite.OpenReadOnly(p.path, p.key, p.now)
	must(t, err)
	defer reader.Close()
	ref := dps.EntryRef{Kind: dps.Individual, ID: "device"}
	if e, err := reader.Enrollment(t.Context(), dps.DefaultInstance, ref); !errors.Is(err, sqlite.ErrDamaged) {
		t.Errorf("enrollment = %+v, %v, want ErrDamaged", e, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(found) == 0 || s.Damage() == nil {
		t.Errorf("reported %v, Damage %v", found, s.Damage())
	}
}

// Pieces of a data directory that do not belong together are refused.
func TestOpenRefusesWhatDoesNotBelongTogether(t *testing.T) {
	p := newPlace(t)
	_, killed, _ := damageImages(t, p)
	without := func(suffix string) image {
		m := maps.Clone(killed)
		delete(m, suffix)
		return m
	}
	cut := func(suffix string, n int) image {
		m := maps.Clone(killed)
		m[suffix] = m[suffix][:n]
		return m
	}
	other := newPlace(t)
	_, foreign, _ := damageImages(t, other)
	mixed := maps.Clone(killed)
	mixed["-wal"] = foreign["-wal"]
	for _, tt := range []struct {
		name string
		m    image
		want string
	}{
		{"no log", without("-wal"), "mooring.db-wal is missing"},
		{"an empty log", cut("-wal", 0), "mooring.db-wal is missing or empty"},
		{"a log that is cut", cut("-wal", 32), "committed frames"},
		{"another database's log", mixed, "another database"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := *p
			q.path = filepath.Join(t.TempDir(), "mooring.db")
			tt.m.write(t, q.path)
			_, err := sqlite.Open(t.Context(), q.options())
			if !errors.Is(err, sqlite.ErrDamaged) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: %v, want ErrDamaged with %q", err, tt.want)
			}
		})
	}
	t.Run("no checksums", func(t *testing.T) { // an earlier version's, or removed on purpose
		q := *p
		q.path = filepath.Join(t.TempDir(), "mooring.db")
		without(pagesum.Suffix).write(t, q.path)
		s := q.open(t)
		if _, errs := answers(t, s); len(errs) > 0 {
			t.Errorf("answers: %v", errs)
		}
	})
}

// After a crash the whole file is checked in the background, and damage that nobody read is found;
// so is damage in a database of an earlier version, which has no checksums: by its structure.
func TestCheckAfterCrash(t *testing.T) {
	p := newPlace(t)
	closed, killed, _ := damageImages(t, p)
	for _, tt := range []struct {
		name string
		m    image
		want string // of the log of the service; "" for damage
	}{
		{"sound", killed, "the database check found no damage"},
		{"sound, without checksums", func() image { m := maps.Clone(closed); delete(m, pagesum.Suffix); return m }(), "the database check found no damage"},
		{"damaged", crashed(closed), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := *p
			q.path = filepath.Join(t.TempDir(), "mooring.db")
			tt.m.write(t, q.path)
			lines := newLines()
			damage := make(chan error, 100)
			o := q.options()
			o.Log, o.Damaged = slog.New(slog.NewTextHandler(lines, nil)), func(err error) { damage <- err }
			s, err := sqlite.Open(t.Context(), o)
			must(t, err)
			defer s.Close()
			select {
			case err := <-damage:
				if tt.want != "" {
					t.Errorf("damage: %v", err)
				}
			case <-lines.seen(tt.want):
			case <-time.After(20 * time.Second):
				t.Errorf("nothing was said; log: %s", lines)
			}
		})
	}
}

// crashed is an image whose last page is damaged, and whose process did not end well.
func crashed(m image) image {
	m = m.flipped("", len(m[""])-1, 1)
	sums := bytes.Clone(m[pagesum.Suffix])
	pagesum.SetPending(sums)
	m[pagesum.Suffix] = sums
	return m
}

// lines is a log that says when a text was written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	wait map[string]chan struct{}
}

func newLines() *lines { return &lines{wait: make(map[string]chan struct{})} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.text.Write(b)
	for text, c := range l.wait {
		if text != "" && strings.Contains(l.text.String(), text) {
			close(c)
			delete(l.wait, text)
		}
	}
	return n, err
}

func (l *lines) seen(text string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	if text != "" && strings.Contains(l.text.String(), text) {
		close(c)
		return c
	}
	l.wait[text] = c
	return c
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// The checksums do not depend on what SQLite keeps in memory: a database that was written in many
// small steps, closed and opened again, has one for every page.
func TestEveryPageHasAChecksum(t *testing.T) {
	p := newPlace(t)
	closed, _, _ := damageImages(t, p)
	const pageSize = 8192
	pages := len(closed[""]) / pageSize
	sums := closed[pagesum.Suffix][4096:]
	if len(sums) < 4*pages {
		t.Fatalf("%d checksums of %d pages", len(sums)/4, pages)
	}
	for i := range pages {
		if bytes.Equal(sums[4*i:4*i+4], make([]byte, 4)) {
			t.Errorf("page %d has no checksum", i+1)
		}
	}
	if pages < 2 {
		t.Errorf("%d pages", pages)
	}
}
