// Command mutants changes the product in one place at a time and tells which changes no test
// notices. Run it as "make mutants"; CONTRIBUTING.md says how to read what it prints.
//
// It is not gremlins (github.com/go-gremlins/gremlins): that leaves out no statements and
// swallows no errors, cannot be told why a mutant survives, and compiles the tests once for
// each mutant.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"time"
)

type options struct {
	sample    int
	seed      uint64
	threshold float64
	patience  time.Duration
	list      bool
	match     *regexp.Regexp
	explained explained
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.IntVar(&o.sample, "sample", 0, "try so many mutants of each package; 0 is all")
	flags.Uint64Var(&o.seed, "seed", 1, "chooses the sample")
	flags.Float64Var(&o.threshold, "threshold", 95, "fail below this percentage of killed mutants")
	flags.DurationVar(&o.patience, "patience", 10*time.Second, "a mutant's tests may take five times as long as without it, and so much more")
	flags.BoolVar(&o.list, "list", false, "list the mutants and try none")
	match := flags.String("match", "", "try only the mutants whose description matches this regular expression")
	file := flags.String("explained", "test/mutants/explained.txt", "file that says which mutants may survive, and why")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name packages, such as internal/sas")
	}
	var err error
	if o.match, err = regexp.Compile(*match); err != nil {
		return fmt.Errorf("-match: %w", err)
	}
	if o.explained, err = readExplained(*file); err != nil {
		return fmt.Errorf("%s: %w", *file, err)
	}
	work, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	var all score
	for _, list := range flags.Args() {
		one, err := o.mutate(ctx, list, work, out)
		if err != nil {
			return err
		}
		if !o.list {
			fmt.Fprintf(out, "%s: %s\n", list, one)
		}
		all.add(one)
	}
	if o.list {
		return nil
	}
	fmt.Fprintf(out, "in all: %s\n", all)
	if all.percent() < o.threshold {
		return fmt.Errorf("%.1f %% of the mutants are killed; at least %.1f %% are required", all.percent(), o.threshold)
	}
	return nil
}

// mutate tries the mutants of one package.
func (o options) mutate(ctx context.Context, list, work string, out io.Writer) (s score, err error) {
	p, err := load(ctx, list, work)
	if err != nil {
		return s, err
	}
	p.patience = o.patience
	if err := p.build(ctx); err != nil {
		return s, err
	}
	s.found = len(p.mutants)
	if err := o.explained.stale(p.path, p.mutants); err != nil {
		return s, err
	}
	if o.list {
		for _, m := range p.mutants {
			fmt.Fprintln(out, m.description)
		}
		return s, nil
	}
	failing, err := p.observe(ctx)
	if err != nil {
		return s, err
	}
	for _, name := range failing {
		fmt.Fprintf(out, "%s: %s fails without a mutant and is left out\n", p.path, name)
	}
	for _, m := range o.choose(p.mutants) {
		begun := time.Now()
		end := p.try(ctx, m)
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		reason := o.explained[m.description]
		s.count(m, end, reason != "")
		if (end == survived || end == unreached && !m.ofError) && reason == "" {
			fmt.Fprintf(out, "%s (%.1f s), line %d: %s\n", end, time.Since(begun).Seconds(), m.line, m.description)
		}
	}
	return s, nil
}

// choose returns the sample.
func (o options) choose(all []mutant) []mutant {
	all = slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return !o.match.MatchString(m.description) })
	if o.sample <= 0 || o.sample >= len(all) {
		return all
	}
	random := rand.New(rand.NewPCG(o.seed, o.seed)) //nolint:gosec // to be the same again
	chosen := make([]mutant, 0, o.sample)
	for _, i := range random.Perm(len(all))[:o.sample] {
		chosen = append(chosen, all[i])
	}
	return chosen
}
