package service_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
)

// TestAPIShowsNoInternals holds that users of the package can name every type that it
// exports: no exported declaration mentions an internal package.
func TestAPIShowsNoInternals(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.FileExports(file) // only what is exported stays
		seen += len(file.Decls)
		internals := internalImports(file)
		for _, decl := range file.Decls {
			for _, sel := range mentions(decl) {
				if internals[sel] {
					t.Errorf("%s: an exported declaration mentions the internal package %s", name, sel)
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no exported declaration was found")
	}
}

// internalImports returns the local names of a file's internal imports.
func internalImports(file *ast.File) map[string]bool {
	names := make(map[string]bool)
	for _, spec := range file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !strings.Contains(p, "/internal/") {
			continue
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = true
	}
	return names
}

// mentions returns the packages that a declaration names outside function bodies.
func mentions(decl ast.Decl) []string {
	if f, ok := decl.(*ast.FuncDecl); ok {
		f.Body = nil
	}
	var names []string
	ast.Inspect(decl, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok {
				names = append(names, id.Name)
			}
		}
		return true
	})
	return names
}
