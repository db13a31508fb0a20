package main

import (
	"go/format"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRewrite shows each kind of mutant, with the switch that it is behind.
func TestRewrite(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		kinds      []string
		want       string
	}{
		{
			"condition", "if a == b { c() }",
			[]string{"if never: a == b", "if always: a == b", "left out: c()"},
			"if ((((a == b) || mutantOn(2))) && !mutantOn(1)) { if !mutantOn(3) { c() } }",
		},
		{
			"conjunction", "x = a && b",
			[]string{"left out: x = a && b", "operand left out: a", "operand left out: b"},
			"if !mutantOn(1) { x = ((a) || mutantOn(2)) && ((b) || mutantOn(3)) }",
		},
		{
			"disjunction", "x = a || b",
			[]string{"left out: x = a || b", "operand left out: a", "operand left out: b"},
			"if !mutantOn(1) { x = ((a) && !mutantOn(2)) || ((b) && !mutantOn(3)) }",
		},
		{"boundary", "y := a < b", []string{"boundary: a < b"}, "y := (mutantOn(1) && (a <= b) || !mutantOn(1) && (a < b))"},
		{"comparison", "y := a != b", []string{"negated: a != b"}, "y := ((a != b) != mutantOn(1))"},
		{
			"cases", "switch { case a: }",
			[]string{"case never: a", "case always: a"},
			"switch { case ((((a) || mutantOn(2))) && !mutantOn(1)): }",
		},
		{"cases of a value", "switch x { case a: }", nil, "switch x { case a: }"},
		{
			"loop", "for a { continue }",
			[]string{"loop left out: a", "left out: continue"},
			"for ((a) && !mutantOn(1)) { if !mutantOn(2) { continue } }",
		},
		{
			"statements", "x++; defer f()",
			[]string{"left out: x++", "left out: defer f()"},
			"if !mutantOn(1) { x++ }; if !mutantOn(2) { defer f() }",
		},
		{
			"logs and locks", "log.Info(1); mu.Lock(); defer mu.Unlock(); panic(1)", nil,
			"log.Info(1); mu.Lock(); defer mu.Unlock(); panic(1)",
		},
		{"no return values", "return", nil, "return"},
		{
			"function in a function", "f(func() (a, b int, err error) { return 1, 2, nil })",
			[]string{"left out: f(func() (a, b int, err error) { return 1, 2, nil })", "zero value: return 1, 2, nil"},
			"if !mutantOn(1) { f(func() (a, b int, err error) { " +
				"if mutantOn(2) { return func() (_ int, _ int, _ error) { return }() }; return 1, 2, nil }) }",
		},
		{"truth", "f := func() bool { return true }", []string{"negated: true"}, "f := func() bool { return ((true) != mutantOn(1)) }"},
		{"nothing to make zero", "f := func() (T, error) { return T{}, nil }", nil, "f := func() (T, error) { return T{}, nil }"},
		{"constants", "const c = a == b", nil, "const c = a == b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, found, err := rewrite("p/f.go", []byte("package p\n\nfunc (r *T) F() { "+tt.body+" }\n"), 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, m := range found {
				kinds = append(kinds, strings.TrimPrefix(m.description, "p/f.go: T.F: "))
			}
			if diff := cmp.Diff(tt.kinds, kinds); diff != "" {
				t.Errorf("mutants (-want +got):\n%s", diff)
			}
			if want := "package p\n\nfunc (r *T) F() { " + tt.want + " }\n"; string(out) != want {
				t.Errorf("source:\n%s\nwant:\n%s", out, want)
			}
			if _, err := format.Source(out); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDescriptionsAreStable holds that the line of a mutant is no part of its description, and
// that two that look alike have different ones.
func TestDescriptionsAreStable(t *testing.T) {
	const body = "package p\n\nfunc F() { a++; a++ }\n"
	_, found, err := rewrite("p/f.go", []byte(body), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, moved, err := rewrite("p/f.go", []byte("// Moved.\n\n"+body), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || found[0].description == found[1].description {
		t.Fatalf("mutants = %+v", found)
	}
	for i := range found {
		if found[i].description != moved[i].description || found[i].line == moved[i].line {
			t.Errorf("mutant %+v, moved %+v", found[i], moved[i])
		}
	}
}

// TestAnswersToErrors holds which mutants only a failure below reaches.
func TestAnswersToErrors(t *testing.T) {
	const src = "package p\n\nfunc F() error { if err := f(); err != nil { g(); return err }; h(); return nil }\n"
	_, found, err := rewrite("p/f.go", []byte(src), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, m := range found {
		got[strings.TrimPrefix(m.description, "p/f.go: F: ")] = m.ofError
	}
	want := map[string]bool{
		"if never: err != nil": true, "if always: err != nil": false, "left out: g()": true, "zero value: return err": true,
		"left out: h()": false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in the answer to an error (-want +got):\n%s", diff)
	}
}

func TestSkippedLines(t *testing.T) {
	skipped := make(map[string]map[int]bool)
	out := []byte("# x\np/f.go:3:9: undefined: y\np/f.go:3:20: undefined: z\n")
	if !skip(skipped, out) || !skipped["f.go"][3] || skip(skipped, out) {
		t.Errorf("skipped = %v", skipped)
	}
	_, found, err := rewrite("p/f.go", []byte("package p\n\nfunc F() {\n\ta++\n\tb++\n}\n"), 1, map[int]bool{4: true})
	if err != nil || len(found) != 1 || found[0].line != 5 {
		t.Errorf("mutants = %+v, %v", found, err)
	}
}
