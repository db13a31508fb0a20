package decision_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

// floodVariable is how many refusals the flood has, of a tenth as many devices.
const floodVariable = "MOORING_TEST_REFUSALS"

type deaf struct{}

func (deaf) Committed(int, time.Duration, error) {}

// openStore returns a real store with an instance, and the path of its file.
func openStore(t *testing.T) (*sqlite.Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	key, err := seal.OpenKey(path+".key", true)
	must(t, err)
	s, err := sqlite.Open(
		t.Context(),
		sqlite.Options{Path: path, Key: key, Observer: deaf{}, Log: slog.New(slog.DiscardHandler), Now: time.Now},
	)
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	must(t, s.Create(t.Context(), dps.Setup{
		Instance: dps.NewInstance(in, time.Now()), Policy: dps.Policy{Instance: in, Name: "p", Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub:       dps.LinkedHub{Instance: in, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: "hub.example", Weight: 1},
		HubPolicy: dps.HubPolicy{Instance: in, Hub: dps.EmbeddedHub, Name: "p", Rights: dps.HubOwnerRights, Keys: dps.NewKeyPair()},
	}))
	return s, path
}

// TestFloodStaysWithinBounds refuses many devices many times: neither the number of
// entries nor the memory grows with it, and every refusal is either kept or counted.
func TestFloodStaysWithinBounds(t *testing.T) {
	t.Parallel()
	refusals := 20_000
	if text := os.Getenv(floodVariable); text != "" {
		var err error
		refusals, err = strconv.Atoi(text)
		must(t, err)
	}
	const limit = 1000
	s, path := openStore(t)
	o := &observer{}
	log := decision.New(decision.Options{Store: s, Observer: o, Log: slog.New(slog.DiscardHandler), Now: time.Now, Limit: limit})
	started := time.Now()
	var inRefused time.Duration
	for i := range refusals {
		r := refusal(fmt.Sprintf("device-%d", i%(refusals/10)), i)
		r.Remote = fmt.Sprintf("10.0.%d.%d:4711", i%16, i%7)
		before := time.Now()
		log.Refused(r)
		inRefused += time.Since(before)
		if i%5000 == 4999 {
			must(t, log.Flush(t.Context()))
		}
	}
	must(t, log.Flush(t.Context()))
	took := time.Since(started)

	all, err := s.Decisions(t.Context(), in, decision.Filter{}, 2*limit, nil)
	must(t, err)
	devices, sources := make(map[string]int), make(map[string]int)
	for _, e := range all {
		devices[e.ID.Key()]++
		sources[dps.SourceOf(e.Remote)]++
	}
	if len(all) != limit {
		t.Errorf("%d entries, want the limit of %d", len(all), limit)
	}
	caps := decision.CapsOf(limit)
	for id, n := range devices {
		if n > caps.PerDevice {
			t.Errorf("device %s has %d entries", id, n)
		}
	}
	for address, n := range sources {
		if n > caps.PerSource {
			t.Errorf("source %s has %d entries", address, n)
		}
	}
	if o.recorded+o.dropped != int64(refusals) || o.dropped != log.Dropped() {
		t.Errorf("recorded %d and dropped %d of %d", o.recorded, o.dropped, refusals)
	}
	info, err := os.Stat(path)
	must(t, err)
	const roof = 20 << 20
	if info.Size() > roof {
		t.Errorf("the database has %d bytes", info.Size())
	}
	t.Logf("%d refusals in %v, %v each for who refuses; recorded %d, dropped %d; database %d KiB",
		refusals, took, inRefused/time.Duration(refusals), o.recorded, o.dropped, info.Size()>>10)
}

// TestHostileRefusalsAreSmallOnDisk keeps what is as large as a device can make it.
func TestHostileRefusalsAreSmallOnDisk(t *testing.T) {
	t.Parallel()
	s, path := openStore(t)
	log := decision.New(decision.Options{Store: s, Observer: &observer{}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Limit: 1000})
	size := func() int64 {
		must(t, log.Flush(t.Context()))
		var total int64
		for _, file := range []string{path, path + "-wal"} {
			if info, err := os.Stat(file); err == nil {
				total = max(total, info.Size())
			}
		}
		return total
	}
	const count, each = 500, 16 << 10
	huge := strings.Repeat("\"<\u2028\\", 10_000)
	before := size()
	for i := range count {
		r := refusal(fmt.Sprintf("%d%s", i, strings.Repeat("x", 120)), 0)
		r.Remote = fmt.Sprintf("192.0.%d.%d:1", i/256, i%256)
		r.Decision.Entry = dps.EntryRef{Kind: dps.Group, ID: strings.Repeat("g", 128)}
		for range 30 {
			r.Decision.Checks = append(r.Decision.Checks, dps.Check{Name: huge, Detail: huge})
			r.Evidence.Chain = append(
				r.Evidence.Chain,
				dps.CertificateInfo{Subject: huge, Issuer: huge, Serial: huge, SHA1: strings.Repeat("A", 40), SHA256: strings.Repeat("B", 64)},
			)
		}
		r.Evidence.Chain = r.Evidence.Chain[:10]
		log.Refused(r)
	}
	if grown := size() - before; grown > count*each {
		t.Errorf("%d bytes for each refusal, want at most %d", grown/count, each)
	}
	all, err := s.Decisions(t.Context(), in, decision.Filter{}, 1000, nil)
	if must(t, err); len(all) != count {
		t.Errorf("%d are kept", len(all))
	}
}
