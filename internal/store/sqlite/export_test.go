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
