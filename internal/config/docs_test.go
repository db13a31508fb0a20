package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mooring-iot/mooring/internal/config"
)

var docs = filepath.Join("..", "..", "docs")

func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func noEnv(string) string { return "" }

// The table of the page is the table of the code.
func TestPageListsFields(t *testing.T) {
	code := func(text string) string {
		if text == "" {
			return " "
		}
		return " `" + text + "` "
	}
	var want, got []string
	for _, f := range config.Fields() {
		key := ""
		if f.InFile {
			key = f.Name
		}
		want = append(
			want,
			strings.Join([]string{"", code("--" + f.Name), code(f.Env), code(key), code(f.Default), " " + f.Usage + " ", ""}, "|"),
		)
	}
	for line := range strings.SplitSeq(page(t), "\n") {
		if strings.HasPrefix(line, "| `") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/configuration.md (-want +got):\n%s", diff)
	}
}

func TestPageExample(t *testing.T) {
	_, rest, _ := strings.Cut(page(t), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/configuration.md has no YAML example")
	}
	path := filepath.Join(t.TempDir(), "mooring.yaml")
	writeFile(t, path, example)
	if _, err := config.Load(flags(t, []string{"--config=" + path}), noEnv); err != nil {
		t.Error(err)
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(docs, "examples", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		if _, err := config.Load(flags(t, []string{"--config=" + file}), noEnv); err != nil {
			t.Error(err)
		}
	}
}
