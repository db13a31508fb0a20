package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/app"
)

func restoreCommand(e *env) *cobra.Command {
	var asJSON bool
	var source passphraseSource
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Create a data directory from a backup",
		Long: `Create a data directory from a file of 'mooring backup'. The directory must not exist, or be
empty. The whole file is checked first: with a wrong passphrase, or a truncated or altered
file, nothing is written.

A service on the new directory has the same ID scope, keys, records and CA as the one that
was backed up.`,
		Example: `  mooring restore /backups/mooring-monday.backup --data /var/lib/mooring
  mooring serve --data /var/lib/mooring`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRestore(cmd, e, args[0], source, asJSON)
		},
	}
	addDataFlag(cmd)
	addPassphraseFlag(cmd, &source.file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runRestore(cmd *cobra.Command, e *env, file string, source passphraseSource, asJSON bool) error {
	dir, err := dataDirectory(cmd, e)
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); err != nil { // before a passphrase is asked for
		return err
	}
	phrase, err := source.read(cmd, e)
	if err != nil {
		return err
	}
	restored, err := app.Restore(cmd.Context(), app.RestoreOptions{File: file, Data: dir, Passphrase: phrase})
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e, newBackupAnswer(restored))
	}
	fmt.Fprintf(e.out, "Restored %s to %s.\n\n", restored.File, restored.Data)
	printBackup(e.out, restored)
	fmt.Fprintf(e.out, "\nTo start the service: mooring serve --data %s\n", dir)
	return nil
}
