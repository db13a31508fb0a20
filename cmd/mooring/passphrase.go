package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// passphraseVar names the environment variable that holds a passphrase.
const passphraseVar = "MOORING_PASSPHRASE"

// Bounds of a passphrase, in bytes. The file is sealed by nothing else, and whoever gets
// hold of it may guess for years.
const (
	minPassphrase = 12
	maxPassphrase = 4 << 10
)

func addPassphraseFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().
		StringVar(file, "passphrase-file", "", "file that holds the passphrase in one line (default: "+passphraseVar+", else asked for)")
}

// passphraseSource says where a passphrase comes from.
type passphraseSource struct {
	file  string // of the flag, "" if not given
	fresh bool   // it is to be chosen now: asked for twice, and not too short
}

// read returns the passphrase: from the file, else the environment, else the terminal.
func (s passphraseSource) read(cmd *cobra.Command, e *env) ([]byte, error) {
	phrase, err := s.find(cmd, e)
	if err != nil {
		return nil, err
	}
	switch {
	case len(phrase) > maxPassphrase:
		return nil, fmt.Errorf("the passphrase is longer than %d bytes", maxPassphrase)
	case s.fresh && len(phrase) < minPassphrase:
		return nil, fmt.Errorf("the passphrase is too short: it needs at least %d characters", minPassphrase)
	case len(phrase) == 0:
		return nil, errors.New("the passphrase is empty")
	}
	return phrase, nil
}

func (s passphraseSource) find(cmd *cobra.Command, e *env) ([]byte, error) {
	if s.file != "" {
		return readPassphraseFile(s.file)
	}
	if phrase := e.getenv(passphraseVar); phrase != "" {
		return []byte(phrase), nil
	}
	terminal, ok := e.in.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return nil, usagef(cmd, "no passphrase: give --passphrase-file or %s, or run the command on a terminal", passphraseVar)
	}
	return s.ask(cmd.Context(), e, terminal)
}

// readPassphraseFile returns the content of a file without the end of its line.
func readPassphraseFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	defer f.Close()
	const lineEnd = 2
	text, err := io.ReadAll(io.LimitReader(f, maxPassphrase+lineEnd+1))
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if bytes.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%s has more than one line: a passphrase has one", path)
	}
	return text, nil
}

// ask asks on the terminal, twice for a fresh one.
func (s passphraseSource) ask(ctx context.Context, e *env, terminal *os.File) ([]byte, error) {
	phrase, err := prompt(ctx, e, terminal, "Passphrase: ")
	if err != nil || !s.fresh {
		return phrase, err
	}
	again, err := prompt(ctx, e, terminal, "Repeat the passphrase: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(phrase, again) {
		return nil, errors.New("the two passphrases differ")
	}
	return phrase, nil
}

// prompt reads one line without echo, or gives up when ctx ends.
func prompt(ctx context.Context, e *env, terminal *os.File, text string) ([]byte, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(e.err, text)
	defer fmt.Fprintln(e.err)
	type answer struct {
		phrase []byte
		err    error
	}
	answers := make(chan answer, 1)
	// Nothing interrupts a read of a terminal: this one ends with the process then.
	go func() {
		phrase, err := term.ReadPassword(fd)
		answers <- answer{phrase, err}
	}()
	select {
	case a := <-answers:
		return a.phrase, a.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}
