package sqlite_test

import (
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// place is where a store's files lie; it can be opened again and again.
type place struct {
	path     string
	key      *seal.Key
	now      func() time.Time
	observer *commits
}

func newPlace(tb testing.TB) *place {
	tb.Helper()
	return placeAt(tb, tb.TempDir())
}

func placeAt(tb testing.TB, dir string) *place {
	tb.Helper()
	key, err := seal.OpenKey(filepath.Join(tb.TempDir(), "master.key"), true)
	if err != nil {
		tb.Fatal(err)
	}
	return &place{
		path: filepath.Join(dir, "mooring.db"), key: key, observer: &commits{},
		now: func() time.Time { return start },
	}
}

func (p *place) options() sqlite.Options {
	return sqlite.Options{Path: p.path, Key: p.key, Observer: p.observer, Log: slog.New(slog.DiscardHandler), Now: p.now}
}

// open returns a store that is closed when the test ends, at the latest.
func (p *place) open(tb testing.TB) *sqlite.Store {
	tb.Helper()
	s, err := sqlite.Open(tb.Context(), p.options())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// openKeeping is open with a time to keep audit entries.
func (p *place) openKeeping(tb testing.TB, retention time.Duration) *sqlite.Store {
	tb.Helper()
	o := p.options()
	o.AuditRetention = retention
	s, err := sqlite.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// openWith returns a store with the instance "default".
func (p *place) openWith(tb testing.TB, setup dps.Setup) *sqlite.Store {
	tb.Helper()
	s := p.open(tb)
	if err := s.Create(tb.Context(), setup); err != nil {
		tb.Fatal(err)
	}
	return s
}

func newSetup() dps.Setup {
	const in = dps.DefaultInstance
	return dps.Setup{
		Instance: dps.NewInstance(in, start),
		Policy:   dps.Policy{Instance: in, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub:      dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "localhost", Weight: 1, ApplyPolicy: true},
		HubPolicy: dps.HubPolicy{
			Instance: in,
			Hub:      dps.EmbeddedHub,
			Name:     dps.HubOwnerPolicy,
			Rights:   dps.HubOwnerRights,
			Keys:     dps.NewKeyPair(),
		},
	}
}

// newRegistration returns the change of a device that registers for the first time.
func newRegistration(id string) dps.RegistrationChange {
	const in = dps.DefaultInstance
	identity := dps.HubIdentity{DeviceID: dps.DeviceID(id), Authentication: dps.SelfSigned(dps.ThumbprintOf([]byte(id)))}
	return dps.RegistrationChange{
		Registration: dps.Registration{
			Instance: in, ID: dps.RegistrationID(id), Entry: dps.EntryRef{Kind: dps.Group, ID: "line"},
			Attestation: dps.X509, Evidence: "x509:" + dps.ThumbprintOf([]byte(id)).String(),
			Status: dps.Assigned, Operation: dps.NewOperationID(), ETag: dps.NewETag(), Created: start, Updated: start,
			Assignment: &dps.Assignment{Hub: dps.EmbeddedHub, DeviceID: dps.DeviceID(id), Substatus: dps.InitialAssignment},
		},
		Device: new(dps.NewHubDevice(dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub}, identity, dps.Twin{}, start)),
	}
}

// withKeys returns an individual enrollment that attests by keys.
func withKeys(id string, keys dps.KeyPair) dps.Enrollment {
	return dps.Enrollment{
		Instance: dps.DefaultInstance, Ref: dps.EntryRef{Kind: dps.Individual, ID: id}, Status: dps.StatusEnabled,
		Attestation: dps.Attestation{Type: dps.SymmetricKey, SymmetricKey: &keys},
		ETag:        dps.NewETag(), Created: start, Updated: start,
	}
}

// commits counts what the writer did.
type commits struct {
	mu      sync.Mutex // guards all
	commits int
	changes int
	failed  int
	largest int
}

func (c *commits) Committed(changes int, _ time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits++
	c.changes += changes
	c.largest = max(c.largest, changes)
	if err != nil {
		c.failed++
	}
}

func (c *commits) count() (commits, changes, failed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commits, c.changes, c.failed
}

// checkStored fails unless exactly the registrations that are true in want are
// there, each with its device.
func checkStored(t *testing.T, s *sqlite.Store, want map[string]bool) {
	t.Helper()
	for id, there := range want {
		_, err := s.Registration(t.Context(), dps.DefaultInstance, dps.RegistrationID(id))
		_, deviceErr := s.HubDevice(t.Context(), dps.DefaultInstance, dps.EmbeddedHub, dps.DeviceID(id))
		gone := dps.CodeOf(err) == dps.RegistrationNotFound && dps.CodeOf(deviceErr) == dps.DeviceNotFound
		if there && (err != nil || deviceErr != nil) || !there && !gone {
			t.Errorf("%s, stored %t: registration %v, device %v", id, there, err, deviceErr)
		}
	}
}
