package device_test

import (
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestPublicAPI walks everything that a user of the package can name or reach, and
// fails when a type of an internal package, or of any package that is not of the
// standard library, is part of it.
func TestPublicAPI(t *testing.T) {
	pkg, err := importer.ForCompiler(token.NewFileSet(), "gc", exports(t)).Import("github.com/mooring-iot/mooring/device")
	if err != nil {
		t.Fatal(err)
	}
	w := walker{t: t, own: pkg, seen: map[types.Type]bool{}}
	for _, name := range pkg.Scope().Names() {
		if object := pkg.Scope().Lookup(name); object.Exported() {
			w.walk(name, object.Type())
		}
	}
	if len(w.seen) < 20 {
		t.Errorf("only %d types were seen", len(w.seen))
	}
}

// exports returns a function that opens what the compiler wrote about a package.
func exports(t *testing.T) func(path string) (io.ReadCloser, error) {
	t.Helper()
	list, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

// walker visits types through exported members.
type walker struct {
	t    *testing.T
	own  *types.Package
	seen map[types.Type]bool
}

func (w *walker) walk(path string, typ types.Type) {
	if w.seen[typ] {
		return
	}
	w.seen[typ] = true
	switch typ := typ.(type) {
	case *types.Named:
		w.named(path, typ)
	case *types.Alias:
		w.walk(path, types.Unalias(typ))
	case *types.Pointer:
		w.walk(path, typ.Elem())
	case *types.Slice:
		w.walk(path, typ.Elem())
	case *types.Array:
		w.walk(path, typ.Elem())
	case *types.Map:
		w.walk(path, typ.Key())
		w.walk(path, typ.Elem())
	case *types.Chan:
		w.walk(path, typ.Elem())
	case *types.Struct:
		for field := range typ.Fields() {
			if field.Exported() {
				w.walk(path+"."+field.Name(), field.Type())
			}
		}
	case *types.Signature:
		for _, tuple := range []*types.Tuple{typ.Params(), typ.Results()} {
			for v := range tuple.Variables() {
				w.walk(path, v.Type())
			}
		}
	case *types.Interface:
		for method := range typ.Methods() {
			if method.Exported() {
				w.walk(path+"."+method.Name(), method.Type())
			}
		}
	}
}

// named checks where a type comes from, and goes into it when it is our own.
func (w *walker) named(path string, typ *types.Named) {
	from := typ.Obj().Pkg()
	if from == nil {
		return // error and its like
	}
	if from != w.own {
		if strings.Contains(from.Path(), ".") || strings.Contains(from.Path(), "internal") {
			w.t.Errorf("%s shows %s", path, typ)
		}
		return
	}
	w.walk(path, typ.Underlying())
	for method := range typ.Methods() {
		if method.Exported() {
			w.walk(path+"."+method.Name(), method.Type())
		}
	}
}
