package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxReply bounds what a person types at a question, in bytes.
const maxReply = 1 << 10

func addYesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "delete without asking")
}

// confirmDelete asks the person at the terminal before what is deleted. Where there is
// no terminal nobody can be asked: --yes is then part of the command line.
func confirmDelete(cmd *cobra.Command, e *env, what string, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(e.in) {
		return usagef(cmd, "--yes is required without a terminal, to delete %s", what)
	}
	return askDelete(e, what)
}

// askDelete reads the answer to its question; all but yes means no.
func askDelete(e *env, what string) error {
	fmt.Fprintf(e.err, "Delete %s? [y/N] ", what)
	line, err := bufio.NewReader(io.LimitReader(e.in, maxReply)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	default:
		return fmt.Errorf("%s was not deleted", what)
	}
}

func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
