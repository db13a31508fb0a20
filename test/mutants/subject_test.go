package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sample is a package whose tests notice some of its mutants.
var sample = map[string]string{
	"go.mod": "module example.org/sample\n\ngo 1.26\n",
	"p/p.go": `package p

// Most is never compiled with its mutant: the name of its type is taken in its body.
func Most(most level) level { level := most; return level }

type level int

func Allowed(n int) bool {
	if n < 0 {
		return false
	}
	for n > 100 {
		n--
	}
	return n <= 10 || n == 50
}

func unused(n int) bool { return n == 7 }
`,
	"p/p_test.go": `package p

import "testing"

func TestAllowed(t *testing.T) {
	if Allowed(-1) || !Allowed(10) || Allowed(11) || Allowed(200) || Most(3) != 3 {
		t.Error("wrong")
	}
}

func TestBroken(t *testing.T) { t.Error("broken") }
`,
	"explained.txt": "p/p.go: unused: negated: n == 7\n\tnobody calls it\np/p.go: unused: zero value: return n == 7\n\tas above\n",
}

// TestRun tries the mutants of a small module: what is killed, what survives, what is never
// reached, and what ends in no time.
func TestRun(t *testing.T) {
	root := t.TempDir()
	for name, text := range sample {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(root)
	var out strings.Builder
	err := run(t.Context(), []string{"-patience", "1s", "-explained", "explained.txt", "p"}, &out)
	if err == nil || !strings.Contains(err.Error(), "at least 95.0 %") {
		t.Errorf("error = %v", err)
	}
	for _, want := range []string{
		"p: TestBroken fails without a mutant and is left out\n",
		"not reached (0.0 s), line 15: p/p.go: Allowed: operand left out: n == 50\n",
		": p/p.go: Allowed: boundary: n < 0\n",
		"1 by time-out", "2 explained",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output does not say %q:\n%s", want, out.String())
		}
	}
	for _, bad := range []string{"if never: n < 0", "operand left out: n <= 10", "unused", "Most"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("output says %q:\n%s", bad, out.String())
		}
	}
	if err := run(t.Context(), []string{"-patience", "1s", "-explained", "explained.txt", "-threshold", "40", "p"}, &out); err != nil {
		t.Errorf("below the threshold: %v", err)
	}
}

func TestExplained(t *testing.T) {
	got, err := parseExplained("# head\n\na/b.go: F: left out: x()\n    because\n    of this\n")
	if err != nil || len(got) != 1 || got["a/b.go: F: left out: x()"] != "because of this" {
		t.Errorf("explained = %v, %v", got, err)
	}
	if err := got.stale("a", nil); err == nil {
		t.Error("a mutant that is gone may stay explained")
	}
	if err := got.stale("a", []mutant{{description: "a/b.go: F: left out: x()"}}); err != nil {
		t.Error(err)
	}
	if err := got.stale("other", nil); err != nil {
		t.Errorf("of another package: %v", err)
	}
	for _, bad := range []string{"x\n", "  reason\n", "x\n  r\nx\n  r\n"} {
		if _, err := parseExplained(bad); err == nil {
			t.Errorf("parseExplained(%q) is taken", bad)
		}
	}
}

func TestSampleIsRepeatable(t *testing.T) {
	all := make([]mutant, 100)
	for i := range all {
		all[i].id = i
	}
	o := options{sample: 10, seed: 3, match: regexp.MustCompile("")}
	first, second := o.choose(all), o.choose(all)
	o.seed = 4
	other := o.choose(all)
	same, differs := true, false
	for i := range first {
		same = same && first[i].id == second[i].id
		differs = differs || first[i].id != other[i].id
	}
	all[7].description = "a/b.go: F: x"
	o.match = regexp.MustCompile(`^a/b\.go`)
	if only := o.choose(all); len(only) != 1 || only[0].id != 7 {
		t.Errorf("of one file: %v", only)
	}
	if len(first) != 10 || !same || !differs {
		t.Errorf("%v, %v, %v", first, second, other)
	}
}

func TestScore(t *testing.T) {
	var s score
	for range 19 {
		s.count(mutant{}, killed, false)
	}
	s.count(mutant{}, survived, true)
	s.count(mutant{ofError: true}, unreached, false)
	if s.percent() != 100 {
		t.Errorf("score = %v", s)
	}
	s.count(mutant{}, unreached, false)
	if s.percent() != 95 {
		t.Errorf("score = %v", s)
	}
	if (score{}).percent() != 100 {
		t.Error("nothing to try is no failure")
	}
}
