package iothub_test

import (
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/mooring-iot/mooring/internal/access"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/hub/embedded"
	"github.com/mooring-iot/mooring/internal/hub/hubtest"
	"github.com/mooring-iot/mooring/internal/seal"
	"github.com/mooring-iot/mooring/internal/store/sqlite"
)

type deaf struct{}

func (deaf) Committed(int, time.Duration, error) {}

// embeddedWorld is an embedded hub of a service elsewhere, on its store.
func embeddedWorld(t *testing.T) hubtest.World {
	t.Helper()
	key, err := seal.OpenKey(filepath.Join(t.TempDir(), "master.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	store, err := sqlite.Open(
		t.Context(),
		sqlite.Options{Path: filepath.Join(t.TempDir(), "m.db"), Key: key, Observer: deaf{}, Log: log, Now: time.Now},
	)
	if err != nil {
		t.Fatal(err)
	}
	in := dps.NewInstance(dps.DefaultInstance, time.Now())
	policy := dps.HubPolicy{
		Instance: in.ID,
		Hub:      dps.EmbeddedHub,
		Name:     dps.HubOwnerPolicy,
		Rights:   dps.HubOwnerRights,
		Keys:     dps.NewKeyPair(),
	}
	err = store.Create(t.Context(), dps.Setup{
		Instance: in, HubPolicy: policy,
		Policy: dps.Policy{Instance: in.ID, Name: dps.OwnerPolicy, Rights: dps.OwnerRights, Keys: dps.NewKeyPair()},
		Hub:    dps.LinkedHub{Instance: in.ID, ID: dps.EmbeddedHub, Kind: dps.KindEmbedded, HostName: hubName, Weight: 1, ApplyPolicy: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(embedded.New(embedded.Options{
		Store: store, Log: log, Now: time.Now, Hub: embedded.ByHost(store, in.ID),
		Guard: access.New(access.Options{Store: store, Names: []string{hubName}, Now: time.Now}),
	}))
	t.Cleanup(func() {
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fake{server: server}
	link := f.link()
	link.Access.Key = policy.Keys.Primary
	return hubtest.World{Remote: f.pool(t, nil).Hub(link), Link: link, Client: f.client()}
}

func TestEmbedded(t *testing.T) { hubtest.Run(t, embeddedWorld) }
