package dps_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mooring-iot/mooring/internal/dps"
)

// TestEveryReasonHasItsText walks the set of reasons as the source declares it.
func TestEveryReasonHasItsText(t *testing.T) {
	declared := declaredReasons(t)
	all := dps.Reasons()
	if len(declared) < 20 {
		t.Fatalf("only %d reasons are declared: the test looks in the wrong place", len(declared))
	}
	seen := make(map[string]dps.Reason)
	for _, r := range declared {
		text := r.Text()
		if !slices.Contains(all, r) || text.Summary == "" || text.Remedy == "" {
			t.Errorf("%q has no sentence, no remedy, or is not among Reasons", r)
			continue
		}
		for _, sentence := range []string{text.Summary, text.Remedy} {
			if !strings.HasSuffix(sentence, ".") || strings.Contains(sentence, ". ") {
				t.Errorf("%q: %q is not one sentence", r, sentence)
			}
			if before, again := seen[sentence]; again {
				t.Errorf("%q says the same as %q: %q", r, before, sentence)
			}
			seen[sentence] = r
		}
	}
	if len(all) != len(declared) {
		t.Errorf("%d reasons have a text, %d are declared", len(all), len(declared))
	}
	if dps.ReasonNone.Text() != (dps.ReasonText{}) {
		t.Error("no reason has a text")
	}
}

// declaredReasons reads the constants of type Reason but ReasonNone.
func declaredReasons(t *testing.T) []dps.Reason {
	t.Helper()
	var all []dps.Reason
	for _, name := range []string{"decision.go", "contact.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, reasonsIn(t, file)...)
	}
	return all
}

func reasonsIn(t *testing.T, file *ast.File) []dps.Reason {
	t.Helper()
	var all []dps.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Reason" {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is no literal", spec.Names[0])
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		if value != "" {
			all = append(all, dps.Reason(value))
		}
		return true
	})
	return all
}

func TestSourceOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:4711": "192.0.2.7", "192.0.2.7": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:4711": "2001:db8:1:2::/64", "2001:db8:1:2::": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1": "fe80::/64", "fe80::2%lo": "fe80::/64", "pipe": "pipe", "": "", "192.0.2.7:": "192.0.2.7:",
	} {
		if got := dps.SourceOf(remote); got != want {
			t.Errorf("SourceOf(%q) = %q, want %q", remote, got, want)
		}
	}
}
