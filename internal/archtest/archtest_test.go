package archtest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/archtest"
)

// TestHouse holds this module against docs/architecture.md.
func TestHouse(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := archtest.ParseTable(string(page))
	if err != nil {
		t.Fatalf("docs/architecture.md: %v", err)
	}
	packages, err := archtest.Packages(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, breach := range archtest.Check(table, packages) {
		t.Errorf("%s (see docs/architecture.md)", breach)
	}
}

func TestCheck(t *testing.T) {
	const rows = `
		| cmd/mooring | the binary | anything |
		| wire | the contract | nothing |
		| internal/dps | the nouns | nothing |
		| internal/register | a verb | dps |
		| internal/serviceapi | an adapter | dps, register, store/sqlite |
		| internal/store/sqlite | an adapter | dps |
		| internal/store/storetest | a suite | dps, register |
		| internal/app | the root | anything but cmd/ |
		| test/ | the whole | anything |`
	tests := []struct {
		name string
		pkg  archtest.Package
		want string // a part of the only breach; none when empty
	}{
		{"allowed", pkg("internal/register", "internal/dps"), ""},
		{"not allowed", pkg("internal/register", "wire"), "internal/register imports wire, which its row"},
		{"nothing means nothing", pkg("internal/dps", "wire"), "internal/dps imports wire"},
		{"no row", pkg("internal/portal"), "internal/portal has no row"},
		{"parent's row is not the child's", pkg("internal/register/sub"), "internal/register/sub has no row"},
		{"pattern row", pkg("test/interop", "internal/app"), ""},
		{"anything", pkg("cmd/mooring", "internal/serviceapi", "internal/store/sqlite"), ""},
		{"anything but", pkg("internal/app", "cmd/mooring"), "internal/app imports cmd/mooring"},
		{"root joins adapters", pkg("internal/app", "internal/serviceapi", "internal/store/sqlite"), ""},
		{"adapters never meet", pkg("internal/serviceapi", "internal/store/sqlite"), "adapters meet outside internal/app"},
		{"suite stays in tests", pkg("cmd/mooring", "internal/store/storetest"), "outside its tests"},
		{"test packages stay in tests", pkg("internal/app", "test/interop"), "outside its tests"},
		{"empty name", pkg("test/util"), `"util" says nothing`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := mustParse(t, rows)
			got := archtest.Check(table, withTheRest(table, tt.pkg))
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("Check() = %q, want no breach", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Errorf("Check() = %q, want one breach with %q", got, tt.want)
			}
		})
	}
}

func TestCheckRowWithoutPackage(t *testing.T) {
	table := mustParse(t, "| wire | the contract | nothing |\n| internal/ghost | gone | nothing |")
	got := archtest.Check(table, []archtest.Package{{Path: "wire"}})
	want := []string{"the table has a row for internal/ghost, which does not exist"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Check() (-want +got):\n%s", diff)
	}
}

func TestParseTable(t *testing.T) {
	page := "# A page\n\n| other | table |\n|---|---|\n| a | b |\n\n" +
		"| package | purpose | may import |\n|---|---|---|\n" +
		"| `cmd/mooring` | the binary | anything |\n" +
		"| `wire` | the contract | nothing |\n" +
		"| `internal/dps` | nouns, and codes | nothing |\n" +
		"| `internal/app` | the root | anything but `cmd/` |\n" +
		"| `internal/translate` | both ways | `dps`, `wire` |\n\nProse.\n\n| more | tables |\n"
	want := archtest.Table{
		{Package: "cmd/mooring", Purpose: "the binary", Anything: true},
		{Package: "wire", Purpose: "the contract"},
		{Package: "internal/dps", Purpose: "nouns, and codes"},
		{Package: "internal/app", Purpose: "the root", Anything: true, Except: []string{"cmd/"}},
		{Package: "internal/translate", Purpose: "both ways", Allowed: []string{"internal/dps", "wire"}},
	}
	got, err := archtest.ParseTable(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, equateEmpty()); diff != "" {
		t.Errorf("ParseTable() (-want +got):\n%s", diff)
	}
}

func TestParseTableRefuses(t *testing.T) {
	tests := []struct{ name, rows, want string }{
		{"no table", "", "no table"},
		{"missing cell", "| wire | nothing |", "want package, purpose"},
		{"empty cell", "| wire | | nothing |", "want package, purpose"},
		{"doubled row", "| wire | a | nothing |\n| wire | b | nothing |", "two rows"},
		{"unknown import", "| wire | a | ghost |", `"ghost", which has no row`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := archtest.ParseTable(head + tt.rows)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseTable() error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestPackages(t *testing.T) {
	root := t.TempDir()
	write(t, root, "go.mod", "module example.org/m\n\ngo 1.26.0\n")
	write(t, root, "wire/wire.go", "package wire\n")
	write(t, root, "internal/a/a.go", "package a\n\nimport (\n\t\"fmt\"\n\n\t_ \"example.org/m/wire\"\n)\n")
	write(t, root, "internal/a/a_windows.go", "package a\n\nimport _ \"example.org/m/internal/b\"\n")
	write(t, root, "internal/a/a_test.go", "package a_test\n\nimport _ \"example.org/m/test/c\"\n")
	write(t, root, "internal/b/b.go", "package b\n\nimport _ \"example.org/mother\"\n")
	write(t, root, "test/c/c_test.go", "package c_test\n")
	write(t, root, "tools/go.mod", "module example.org/m/tools\n")
	write(t, root, "tools/tools.go", "package tools\n")
	for _, skipped := range []string{"internal/a/testdata", "node_modules/x", ".cache/x", "_old"} {
		write(t, root, skipped+"/x.go", "not Go")
	}
	want := []archtest.Package{
		{Path: "internal/a", Imports: []string{"internal/b", "wire"}},
		{Path: "internal/b"},
		{Path: "test/c"},
		{Path: "wire"},
	}
	got, err := archtest.Packages(root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, equateEmpty()); diff != "" {
		t.Errorf("Packages() (-want +got):\n%s", diff)
	}
}

const head = "| package | purpose | may import |\n|---|---|---|\n"

func pkg(path string, imports ...string) archtest.Package {
	return archtest.Package{Path: path, Imports: imports}
}

func mustParse(t *testing.T, rows string) archtest.Table {
	t.Helper()
	table, err := archtest.ParseTable(head + strings.TrimSpace(rows))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// withTheRest returns p and, for each row that p is not, a package without imports.
func withTheRest(table archtest.Table, p archtest.Package) []archtest.Package {
	packages := []archtest.Package{p}
	for _, row := range table {
		switch {
		case strings.HasSuffix(row.Package, "/"):
			packages = append(packages, archtest.Package{Path: row.Package + "x"})
		case row.Package != p.Path:
			packages = append(packages, archtest.Package{Path: row.Package})
		}
	}
	return packages
}

// equateEmpty takes a nil list for an empty one.
func equateEmpty() cmp.Option {
	return cmp.FilterValues(
		func(a, b []string) bool { return len(a) == 0 && len(b) == 0 },
		cmp.Comparer(func(_, _ []string) bool { return true }),
	)
}

func write(t *testing.T, root, name, content string) {
	t.Helper()
	file := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
