package sqlite

import (
	"context"
	"maps"
	"slices"

	"github.com/mooring-iot/mooring/internal/decision"
	"github.com/mooring-iot/mooring/internal/dps"
)

// Statements returns the texts of every statement that was prepared. Call it when
// nothing runs.
func (s *Store) Statements() []string {
	all := slices.Collect(maps.Keys(s.readers.statements))
	return append(all, slices.Collect(maps.Keys(s.writer.statements))...)
}

// DecisionsText returns the statement by which decisions are found.
func (s *Store) DecisionsText(f decision.Filter, after *decision.Cursor) string {
	st := decisionsStatement(dps.DefaultInstance, f, 10, after)
	return st.text()
}

// Panic makes a change that writes and then panics.
func (s *Store) Panic(ctx context.Context) error {
	return s.change(ctx, func(t tx) error {
		if err := t.exec(`DELETE FROM policies`); err != nil {
			return err
		}
		panic("out of cheese")
	})
}

// Settings is what a Store remembers of instances and hubs.
type Settings struct{ c settings }

// Instance is instance.
func (s *Settings) Instance(scope dps.IDScope) (in dps.Instance, changes uint64, ok bool) {
	return s.c.instance(scope)
}

// HubsOf is hubsOf.
func (s *Settings) HubsOf(in dps.InstanceID) (hubs []dps.LinkedHub, changes uint64, ok bool) {
	return s.c.hubsOf(in)
}

// KeepInstance is keepInstance.
func (s *Settings) KeepInstance(in dps.Instance, changes uint64) { s.c.keepInstance(in, changes) }

// KeepHubs is keepHubs.
func (s *Settings) KeepHubs(in dps.InstanceID, hubs []dps.LinkedHub, changes uint64) {
	s.c.keepHubs(in, hubs, changes)
}

// Forget is forget.
func (s *Settings) Forget() { s.c.forget() }

// Pragma returns a setting of the connection that writes and of one that reads.
func (s *Store) Pragma(ctx context.Context, name string) (writer, reader string, err error) {
	if err = s.writer.conn.QueryRowContext(ctx, "PRAGMA "+name).Scan(&writer); err != nil {
		return "", "", err
	}
	err = s.readers.db.QueryRowContext(ctx, "PRAGMA "+name).Scan(&reader)
	return writer, reader, err
}
