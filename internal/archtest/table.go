package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Table is the package table of docs/architecture.md, in the page's order.
type Table []Row

// Row says what one package is for and what it may import of this module.
type Row struct {
	// Package is a path relative to the module, or "dir/" for every package below dir.
	Package string
	Purpose string
	// Anything allows every import but those in Except.
	Anything bool
	// Except holds what "anything but ..." names, as paths or "dir/" patterns.
	Except []string
	// Allowed holds the full relative paths that may be imported.
	Allowed []string
}

// The table's header; what precedes and follows the table is prose.
var header = []string{"package", "purpose", "may import"}

// ParseTable reads the table out of a Markdown page. The third column is "nothing",
// "anything", "anything but a, b", or a list of packages, where internal/ may be left
// out. It fails when there is no such table, when a row is malformed or doubled, and
// when a row allows a package that has no row itself.
func ParseTable(markdown string) (Table, error) {
	var table Table
	inside := false
	for line := range strings.Lines(markdown) {
		cells := split(line)
		switch {
		case slices.Equal(cells, header):
			inside = true
		case !inside || isRuler(cells):
		case cells == nil:
			return table.resolve()
		default:
			row, err := parseRow(cells)
			if err != nil {
				return nil, err
			}
			table = append(table, row)
		}
	}
	return table.resolve()
}

// split returns the trimmed cells of a table line without code quotes, or nil.
func split(line string) []string {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "|") || !strings.HasSuffix(line, "|") || len(line) < 2 {
		return nil
	}
	cells := strings.Split(line[1:len(line)-1], "|")
	for i, cell := range cells {
		cells[i] = strings.TrimSpace(strings.ReplaceAll(cell, "`", ""))
	}
	return cells
}

// isRuler reports whether cells are the |---|---| line below a header.
func isRuler(cells []string) bool {
	return len(cells) > 0 && strings.Trim(strings.Join(cells, ""), "-: ") == ""
}

func parseRow(cells []string) (Row, error) {
	if len(cells) != len(header) || slices.Contains(cells, "") {
		return Row{}, fmt.Errorf("row %q: want package, purpose and what it may import", strings.Join(cells, " | "))
	}
	row := Row{Package: cells[0], Purpose: cells[1]}
	rest, anything := strings.CutPrefix(cells[2], "anything")
	switch {
	case anything:
		row.Anything = true
		row.Except = list(strings.TrimPrefix(strings.TrimSpace(rest), "but "))
	case cells[2] != "nothing":
		row.Allowed = list(cells[2])
	}
	return row, nil
}

// list splits a comma-separated cell.
func list(cell string) []string {
	return strings.FieldsFunc(cell, func(r rune) bool { return r == ',' || r == ' ' })
}

// resolve turns the short names of the third column into paths.
func (t Table) resolve() (Table, error) {
	if len(t) == 0 {
		return nil, fmt.Errorf("no table with the columns %s", strings.Join(header, ", "))
	}
	seen := make(map[string]bool)
	for _, row := range t {
		if seen[row.Package] {
			return nil, fmt.Errorf("%s has two rows", row.Package)
		}
		seen[row.Package] = true
	}
	for _, row := range t {
		for i, name := range row.Allowed {
			switch {
			case seen[name]:
			case seen["internal/"+name]:
				row.Allowed[i] = "internal/" + name
			default:
				return nil, fmt.Errorf("%s may import %q, which has no row", row.Package, name)
			}
		}
	}
	return t, nil
}

// row returns the row of pkg; one that names it wins over a pattern.
func (t Table) row(pkg string) (Row, bool) {
	for _, match := range []func(Row) bool{
		func(r Row) bool { return r.Package == pkg },
		func(r Row) bool { return within(pkg, r.Package) },
	} {
		if i := slices.IndexFunc(t, match); i >= 0 {
			return t[i], true
		}
	}
	return Row{}, false
}

func (r Row) allows(imported string) bool {
	if r.Anything {
		return !withinAny(imported, r.Except)
	}
	return withinAny(imported, r.Allowed)
}
