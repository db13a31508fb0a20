// Package archtest keeps the shape of the house: which package of this module may
// import which other. The rules are the table in docs/architecture.md, read from
// there, so that the page and the code cannot drift apart. The checks run as tests.
package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Package is one package of the module as its sources declare it, whatever their
// build constraints. Paths are relative to the module ("internal/dps").
type Package struct {
	Path string
	// Imports are the packages of this module that non-test files import, sorted.
	// Test files are exempt from the table and leave no trace here.
	Imports []string
}

// Names that say nothing about what is inside.
var forbiddenNames = []string{"util", "utils", "common", "helper", "helpers", "types", "core"}

// Adapters join the rules to a technology. They never meet but in the composition
// root. A trailing slash takes in every package below.
var adapters = []string{
	"internal/serviceapi", "internal/controlapi", "internal/deviceapi", "internal/mooringapi",
	"internal/store/", "internal/hub/",
}

// Packages made for tests alone.
var testOnly = []string{"internal/store/storetest", "internal/hub/hubtest", "test/"}

// Check returns one sentence for each breach of the table or of the fixed rules, in
// a stable order; none means that the house is in order.
func Check(table Table, packages []Package) []string {
	breaches := table.unused(packages)
	for _, p := range packages {
		breaches = append(breaches, checkName(p)...)
		breaches = append(breaches, table.checkImports(p)...)
		breaches = append(breaches, checkTestOnly(p)...)
		breaches = append(breaches, checkAdapters(p)...)
	}
	return breaches
}

// unused reports rows that stand for no package.
func (t Table) unused(packages []Package) []string {
	var breaches []string
	for _, row := range t {
		if !slices.ContainsFunc(packages, func(p Package) bool { return within(p.Path, row.Package) }) {
			breaches = append(breaches, fmt.Sprintf("the table has a row for %s, which does not exist", row.Package))
		}
	}
	return breaches
}

// checkImports holds p against its row.
func (t Table) checkImports(p Package) []string {
	row, ok := t.row(p.Path)
	if !ok {
		return []string{fmt.Sprintf("%s has no row in the table", p.Path)}
	}
	var breaches []string
	for _, imported := range p.Imports {
		if !row.allows(imported) {
			breaches = append(breaches, fmt.Sprintf("%s imports %s, which its row does not allow", p.Path, imported))
		}
	}
	return breaches
}

// checkName refuses directory names that promise nothing.
func checkName(p Package) []string {
	for element := range strings.SplitSeq(p.Path, "/") {
		if slices.Contains(forbiddenNames, element) {
			return []string{fmt.Sprintf("%s: %q says nothing about what is inside", p.Path, element)}
		}
	}
	return nil
}

// checkTestOnly keeps test packages out of the product, whatever the table says.
func checkTestOnly(p Package) []string {
	if withinAny(p.Path, testOnly) {
		return nil
	}
	var breaches []string
	for _, imported := range p.Imports {
		if withinAny(imported, testOnly) {
			breaches = append(breaches, fmt.Sprintf("%s imports %s outside its tests", p.Path, imported))
		}
	}
	return breaches
}

// checkAdapters lets adapters meet only in internal/app and in commands: an adapter
// imports no other, and nothing else imports two of them.
func checkAdapters(p Package) []string {
	if within(p.Path, "internal/app") || within(p.Path, "cmd/") || withinAny(p.Path, testOnly) {
		return nil
	}
	var found []string
	if isAdapter(p.Path) {
		found = append(found, p.Path)
	}
	for _, imported := range p.Imports {
		if isAdapter(imported) && !within(imported, p.Path+"/") {
			found = append(found, imported)
		}
	}
	if len(found) < 2 {
		return nil
	}
	return []string{fmt.Sprintf("%s: adapters meet outside internal/app: %s", p.Path, strings.Join(found, ", "))}
}

func isAdapter(pkg string) bool {
	return withinAny(pkg, adapters) && !withinAny(pkg, testOnly)
}

// within reports whether pkg is pattern or, when pattern ends in a slash, below it.
func within(pkg, pattern string) bool {
	if strings.HasSuffix(pattern, "/") {
		return strings.HasPrefix(pkg, pattern)
	}
	return pkg == path.Clean(pattern)
}

func withinAny(pkg string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return within(pkg, pattern) })
}
