package sqlite_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// Remnants are counted by hub and state, and go with their hub.
func TestCountRemnants(t *testing.T) {
	p := newPlace(t)
	s := p.openWith(t, newSetup())
	const in = dps.DefaultInstance
	hub := dps.LinkedHub{
		Instance: in, ID: "hub-1", Kind: dps.KindIoTHub, HostName: "plant.example", Weight: 1,
		Access: &dps.HubAccess{Endpoint: "plant.example", KeyName: "p", Key: dps.NewKey()},
	}
	configure := func(c dps.HubsChange) {
		t.Helper()
		now, err := s.Instance(t.Context(), in)
		must(t, err)
		change := dps.InstanceChange{Instance: now, IfMatch: now.ETag, Hubs: c}
		change.Instance.ETag = dps.NewETag()
		must(t, s.Configure(t.Context(), change))
	}
	configure(dps.HubsChange{Link: []dps.LinkedHub{hub}})
	db := database(t, p.path)
	for i, state := range []dps.RemnantState{dps.Leaving, dps.Leaving, dps.Placing} {
		_, err := db.ExecContext(
			t.Context(),
			`INSERT INTO remnants (instance, hub, device_id, id_key, id, state, stale, since, attempts, due, last_error, owner, busy_until)
			VALUES ('default', 'hub-1', $1, $1, $1, $2, 0, 0, 0, 0, '', '', 0)`,
			fmt.Sprint("d", i),
			string(state),
		)
		must(t, err)
	}
	want := func(state dps.RemnantState, all map[dps.HubID]int) {
		t.Helper()
		got, err := s.CountRemnants(t.Context(), in, state)
		if err != nil || !maps.Equal(got, all) {
			t.Errorf("%s: %v, %v, want %v", state, got, err, all)
		}
	}
	want(dps.Leaving, map[dps.HubID]int{"hub-1": 2})
	want(dps.Placing, map[dps.HubID]int{"hub-1": 1})
	configure(dps.HubsChange{Unlink: []dps.HubUnlink{{Hub: hub}}})
	want(dps.Leaving, map[dps.HubID]int{})
}

// The key of a hub over the wire is not in the database as it is.
func TestHubKeyIsSealed(t *testing.T) {
	p := newPlace(t)
	setup := newSetup()
	key := dps.NewKey()
	setup.Hub = dps.LinkedHub{
		Instance: dps.DefaultInstance, ID: dps.EmbeddedHub, Kind: dps.KindIoTHub, HostName: "plant.example", Weight: 1,
		Access: &dps.HubAccess{Endpoint: "plant.example", KeyName: "p", Key: key},
	}
	p.openWith(t, setup)
	var plain int
	err := database(t, p.path).QueryRowContext(t.Context(),
		`SELECT count(*) FROM hubs WHERE keys IS NULL OR instr(keys, $1) > 0 OR instr(keys, $2) > 0`, key.Reveal(), []byte(key.Base64())).Scan(&plain)
	if err != nil || plain != 0 {
		t.Errorf("%d keys are not sealed, %v", plain, err)
	}
}
