package sqlite

import (
	"maps"
	"slices"
)

// Statements returns the texts of every statement that was prepared. Call it when
// nothing runs.
func (s *Store) Statements() []string {
	all := slices.Collect(maps.Keys(s.readers.statements))
	return append(all, slices.Collect(maps.Keys(s.writer.statements))...)
}
