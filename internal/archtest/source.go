package archtest

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Packages reads the import clauses of every Go file of the module that stands at
// root; nested modules, testdata, node_modules and directories that the go command
// skips are left out. Packages come sorted by path.
func Packages(root string) ([]Package, error) {
	module, err := modulePath(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	found := make(map[string]map[string]bool) // package to its imports
	err = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skip(root, file)
		}
		if filepath.Ext(file) != ".go" || strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "_") {
			return nil
		}
		relative, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(relative)
		if found[pkg] == nil {
			found[pkg] = make(map[string]bool)
		}
		return addImports(found[pkg], file, module)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the module's packages: %w", err)
	}
	var packages []Package
	for _, pkg := range slices.Sorted(maps.Keys(found)) {
		packages = append(packages, Package{Path: pkg, Imports: slices.Sorted(maps.Keys(found[pkg]))})
	}
	return packages, nil
}

// skip returns fs.SkipDir for directories that hold no packages of the module.
func skip(root, dir string) error {
	if dir == root {
		return nil
	}
	name := filepath.Base(dir)
	if name == "testdata" || name == "node_modules" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// addImports adds what file imports of module; a test file adds nothing.
func addImports(imports map[string]bool, file, module string) error {
	if strings.HasSuffix(file, "_test.go") {
		return nil
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if inside, ok := strings.CutPrefix(imported, module+"/"); ok {
			imports[path.Clean(inside)] = true
		}
	}
	return nil
}

// modulePath returns the module line of a go.mod file.
func modulePath(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(content)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", fmt.Errorf("%s has no module line", file)
}
