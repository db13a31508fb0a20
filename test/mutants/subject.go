package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// switchText is the Go file that every mutated package gets.
//
//go:embed switch.txt
var switchText string

// subject is a package with its mutants, compiled.
type subject struct {
	path     string // relative to the module: internal/sas
	dir      string
	name     string // of the package
	files    []string
	work     string // for the binary and what its tests write
	suites   []suite
	tested   []string      // the packages with tests, itself first
	patience time.Duration // how much longer than slowdown times a run with a mutant may take
	mutants  []mutant
	tests    []test
}

// suite is a test binary: that of the package, or of another one that tests it too.
type suite struct {
	dir    string // where its tests run
	binary string
	flags  []string
}

// test is a top-level test with what it reaches.
type test struct {
	suite   suite
	name    string
	took    time.Duration
	reaches map[int]bool
}

// load finds out what a package is made of. Its tests are its own and those of the packages
// that follow it: "internal/attest,test/pkits".
func load(ctx context.Context, list, work string) (*subject, error) {
	path, others, _ := strings.Cut(list, ",")
	out, err := exec.CommandContext(ctx, "go", "list", "-json=Dir,Name,GoFiles", "./"+path).Output()
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", path, err)
	}
	var p struct {
		Dir, Name string
		GoFiles   []string
	}
	if err := json.Unmarshal(out, &p); err != nil {
		return nil, err
	}
	s := &subject{path: path, dir: p.Dir, name: p.Name, files: p.GoFiles, work: filepath.Join(work, strings.ReplaceAll(path, "/", "_"))}
	s.tested = append([]string{path}, strings.FieldsFunc(others, func(r rune) bool { return r == ',' })...)
	return s, os.MkdirAll(filepath.Join(s.work, "tmp"), 0o700)
}

// maxBuilds is how often a package is compiled: each time without what did not compile before.
const maxBuilds = 8

// build compiles the test binaries with all mutants in them.
func (s *subject) build(ctx context.Context) error {
	skipped := make(map[string]map[int]bool)
	for range maxBuilds {
		overlay, err := s.write(skipped)
		if err != nil {
			return err
		}
		out, err := s.compile(ctx, overlay)
		if err == nil {
			return nil
		}
		if !skip(skipped, out) {
			return fmt.Errorf("compiling the tests of %s with its mutants: %w\n%s", s.path, err, out)
		}
	}
	return fmt.Errorf("%s does not compile with its mutants", s.path)
}

// compile makes the suites, or returns what the compiler said.
func (s *subject) compile(ctx context.Context, overlay string) (said []byte, err error) {
	s.suites = nil
	root := strings.TrimSuffix(s.dir, filepath.FromSlash("/"+s.path))
	for i, path := range s.tested {
		t := suite{dir: filepath.Join(root, filepath.FromSlash(path)), binary: filepath.Join(s.work, strconv.Itoa(i)+".test")}
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", t.binary, "./"+path)
		if out, err := cmd.CombinedOutput(); err != nil {
			return out, err
		}
		t.flags = s.quiet(ctx, t)
		s.suites = append(s.suites, t)
	}
	return nil, nil
}

// write writes the mutated files and returns the overlay that puts them over the real ones.
func (s *subject) write(skipped map[string]map[int]bool) (overlay string, err error) {
	replace := make(map[string]string)
	s.mutants = nil
	first := 1
	for _, file := range s.files {
		src, err := os.ReadFile(filepath.Join(s.dir, file))
		if err != nil {
			return "", err
		}
		out, found, err := rewrite(s.path+"/"+file, src, first, skipped[file])
		if err != nil {
			return "", err
		}
		first += len(found)
		s.mutants = append(s.mutants, found...)
		if replace[filepath.Join(s.dir, file)], err = s.put(file, out); err != nil {
			return "", err
		}
	}
	text := strings.NewReplacer("PACKAGE", s.name, "MUTANTS", strconv.Itoa(first)).Replace(switchText)
	if replace[filepath.Join(s.dir, "mutant_switch.go")], err = s.put("mutant_switch.go", []byte(text)); err != nil {
		return "", err
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return s.put("overlay.json", data)
}

func (s *subject) put(name string, data []byte) (path string, err error) {
	path = filepath.Join(s.work, name)
	return path, os.WriteFile(path, data, 0o600)
}

// place is where the compiler found something wrong.
var place = regexp.MustCompile(`([\w.]+\.go):(\d+):\d+:`)

// skip adds the lines that the compiler complains of, and reports whether there are new ones.
func skip(skipped map[string]map[int]bool, out []byte) (more bool) {
	for _, m := range place.FindAllSubmatch(out, -1) {
		file := string(m[1])
		line, err := strconv.Atoi(string(m[2]))
		if err != nil || skipped[file][line] {
			continue
		}
		if skipped[file] == nil {
			skipped[file] = make(map[int]bool)
		}
		skipped[file][line], more = true, true
	}
	return more
}

// quiet returns the flags under which failing tests leave nothing in the source tree, and
// random ones are the same each time.
func (s *subject) quiet(ctx context.Context, t suite) []string {
	flags := []string{"-rapid.nofailfile", "-rapid.seed=1"}
	if s.command(ctx, t, 0, append(flags, "-test.list", "^$")...).Run() != nil {
		return nil
	}
	return flags
}

// command runs a test binary with one mutant; 0 is none.
func (s *subject) command(ctx context.Context, t suite, mutant int, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, t.binary, args...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), "MUTANT="+strconv.Itoa(mutant), "TMPDIR="+filepath.Join(s.work, "tmp"))
	cmd.WaitDelay = time.Second
	return cmd
}

// trial is the longest time that one test may take before there is a mutant.
const trial = 5 * time.Minute

// observe runs each test by itself and notes what it reaches, and how long it takes. Tests that
// fail without a mutant say nothing about one, and are named.
func (s *subject) observe(ctx context.Context) (failing []string, err error) {
	for _, suite := range s.suites {
		out, err := s.command(ctx, suite, 0, "-test.list", ".").Output()
		if err != nil {
			return nil, fmt.Errorf("listing the tests of %s: %w", s.path, err)
		}
		for name := range strings.Lines(string(out)) {
			name = strings.TrimSpace(name)
			if strings.HasPrefix(name, "Benchmark") || name == "" {
				continue
			}
			t, passed, err := s.watch(ctx, suite, name)
			switch {
			case err != nil:
				return nil, err
			case passed:
				s.tests = append(s.tests, t)
			default:
				failing = append(failing, name)
			}
		}
	}
	slices.SortStableFunc(s.tests, func(a, b test) int { return cmp.Compare(a.took, b.took) })
	return failing, ctx.Err()
}

// watch runs one test without a mutant.
func (s *subject) watch(ctx context.Context, in suite, name string) (t test, passed bool, err error) {
	reached := filepath.Join(s.work, "reached")
	cmd := s.command(ctx, in, 0, append(in.flags[:len(in.flags):len(in.flags)], "-test.run", "^"+name+"$", "-test.timeout", trial.String())...)
	cmd.Env = append(cmd.Env, "MUTANT_REACHED="+reached)
	begun := time.Now()
	passed = cmd.Run() == nil
	t = test{suite: in, name: name, took: time.Since(begun)}
	if t.reaches, err = readReached(reached); err != nil {
		return t, false, err
	}
	if err := os.Remove(reached); err != nil && !errors.Is(err, os.ErrNotExist) {
		return t, false, err
	}
	return t, passed, nil
}

func readReached(path string) (map[int]bool, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	reached := make(map[int]bool)
	for line := range bytes.Lines(data) {
		n, err := strconv.Atoi(strings.TrimSpace(string(line)))
		if err != nil {
			return nil, err
		}
		reached[n] = true
	}
	return reached, nil
}

// outcome is what became of a mutant.
type outcome string

// The outcomes.
const (
	killed    outcome = "killed"
	timedOut  outcome = "timed out"
	survived  outcome = "survived"
	unreached outcome = "not reached"
)

// Bounds of one run with a mutant.
const (
	quick    = 500 * time.Millisecond // tests up to this long run together, before the others
	slowdown = 5                      // times as long as without the mutant
)

// try runs the tests that reach a mutant, the quick ones first, until one fails.
func (s *subject) try(ctx context.Context, m mutant) outcome {
	fast := make(map[string][]test)
	var slow [][]test
	for _, t := range s.tests {
		switch {
		case !t.reaches[m.id]:
		case t.took <= quick:
			fast[t.suite.binary] = append(fast[t.suite.binary], t)
		default:
			slow = append(slow, []test{t})
		}
	}
	var groups [][]test
	for _, suite := range s.suites {
		if quickOnes := fast[suite.binary]; len(quickOnes) > 0 {
			groups = append(groups, quickOnes)
		}
	}
	end := unreached
	for _, group := range append(groups, slow...) {
		if end = s.run(ctx, m, group); end != survived {
			return end
		}
	}
	return end
}

// run runs tests of one suite with a mutant.
func (s *subject) run(ctx context.Context, m mutant, tests []test) outcome {
	limit := s.patience
	names := make([]string, 0, len(tests))
	for _, t := range tests {
		limit += slowdown * t.took
		names = append(names, t.name)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	in := tests[0].suite
	args := append(in.flags[:len(in.flags):len(in.flags)], "-test.failfast", "-test.run", "^("+strings.Join(names, "|")+")$")
	err := s.command(ctx, in, m.id, args...).Run()
	switch {
	case ctx.Err() != nil:
		return timedOut
	case err != nil:
		return killed
	default:
		return survived
	}
}
