package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// explained has the reasons why some mutants survive, by their descriptions.
type explained map[string]string

// readExplained reads a file of descriptions, each followed by an indented reason. Empty lines
// and lines that begin with # do not count.
func readExplained(path string) (explained, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseExplained(string(data))
}

func parseExplained(text string) (explained, error) {
	all := make(explained)
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "" || strings.HasPrefix(line, "#"):
		case line != strings.TrimLeft(line, " \t"):
			if last == "" {
				return nil, fmt.Errorf("%q is the reason of no mutant", trimmed)
			}
			all[last] = strings.TrimSpace(all[last] + " " + trimmed)
		default:
			if _, again := all[line]; again {
				return nil, fmt.Errorf("%q is explained twice", line)
			}
			last = line
			all[last] = ""
		}
	}
	for description, reason := range all {
		if reason == "" {
			return nil, fmt.Errorf("%q has no reason", description)
		}
	}
	return all, nil
}

// stale fails where a package has no mutant of a description any more.
func (x explained) stale(path string, mutants []mutant) error {
	known := make(map[string]bool)
	for _, m := range mutants {
		known[m.description] = true
	}
	var errs []error
	for _, description := range slices.Sorted(maps.Keys(x)) {
		file, _, _ := strings.Cut(description, ": ")
		if i := strings.LastIndexByte(file, '/'); i >= 0 && file[:i] == path && !known[description] {
			errs = append(errs, fmt.Errorf("explained, but there is no such mutant: %s", description))
		}
	}
	return errors.Join(errs...)
}
