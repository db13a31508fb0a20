package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const (
	cliPage   = "../../docs/cli.md"
	updateVar = "MOORING_TEST_UPDATE" // when set, the page is written and not compared
)

const cliIntroduction = `# The command line

Every command of ` + "`mooring`" + `, as ` + "`--help`" + ` prints it. This page is generated:
` + "`MOORING_TEST_UPDATE=1 go test ./cmd/mooring -run TestDocs`" + ` writes it anew.

- Exit codes: 0 done; 1 understood and failed, with the reason on stderr; 2 wrong usage.
- With ` + "`--json`" + ` stdout holds the service's own JSON and nothing else; hints go to stderr.
- An identifier is a flag as in ` + "`az iot`" + `, or the first argument. The short names of
  ` + "`az iot`" + ` work too: ` + "`--eid`, `--at`, `--cp`, `--ps`, `--ap`, `--ih`, `--tags`" + ` and so on.
- A value that begins with @ is the name of a file that holds it, where the help says so.
`

// TestDocs holds that the page lists the commands that there are, and that each has an
// example.
func TestDocs(t *testing.T) {
	var discard bytes.Buffer
	root := rootCommand(&env{getenv: func(string) string { return "" }, in: strings.NewReader(""), out: &discard, err: &discard})
	page := cliIntroduction + cliIndex(root)
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "help" {
			page += cliSection(t, cmd, "##")
		}
	}
	if os.Getenv(updateVar) != "" {
		if err := os.WriteFile(cliPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	stored, err := os.ReadFile(cliPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(stored) != page {
		t.Errorf("docs/cli.md is not what the commands say; write it anew with %s=1", updateVar)
	}
}

// cliIndex is a table of all commands that do something.
func cliIndex(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("\n| command | purpose |\n|---|---|\n")
	walk(root, func(cmd *cobra.Command) {
		if !cmd.HasAvailableSubCommands() {
			fmt.Fprintf(&b, "| `%s` | %s |\n", cmd.CommandPath(), strings.ReplaceAll(cmd.Short, "|", `\|`))
		}
	})
	return b.String()
}

// walk calls visit for each command below parent that people see.
func walk(parent *cobra.Command, visit func(*cobra.Command)) {
	for _, cmd := range parent.Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "help" {
			visit(cmd)
			walk(cmd, visit)
		}
	}
}

// cliSection documents a command and what is below it.
func cliSection(t *testing.T, cmd *cobra.Command, heading string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s %s\n\n", heading, cmd.CommandPath())
	if text := strings.TrimSpace(cmd.Long); cmd.Parent().Name() == "completion" {
		fmt.Fprintf(&b, "%s.\n", cmd.Short) // cobra's own text is a manual of the shell
	} else {
		fmt.Fprintf(&b, "%s\n", text)
	}
	if cmd.HasAvailableSubCommands() {
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				b.WriteString(cliSection(t, sub, heading+"#"))
			}
		}
		return b.String()
	}
	if cmd.Example == "" {
		t.Errorf("%s: its help has no example", cmd.CommandPath())
	}
	cmd.InitDefaultHelpFlag()
	fmt.Fprintf(&b, "\n```\n%s\n\n%s\n\n%s```\n", cmd.UseLine(), strings.TrimRight(cmd.Example, "\n"), cmd.NonInheritedFlags().FlagUsages())
	return b.String()
}
