package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/backup"
)

// backupAnswer is what backup and restore print with --json.
type backupAnswer struct {
	File          string         `json:"file"`
	Size          int64          `json:"size"` // bytes
	DataDirectory string         `json:"dataDirectory"`
	Made          time.Time      `json:"made"`
	Version       string         `json:"version"`
	Schema        int64          `json:"schema"`
	IDScope       string         `json:"idScope"`
	Records       backup.Records `json:"records"`
}

func newBackupAnswer(b app.Backup) backupAnswer {
	return backupAnswer{
		File: b.File, Size: b.Size, DataDirectory: b.Data,
		Made: b.Made, Version: b.Version, Schema: b.Schema, IDScope: b.IDScope, Records: b.Records,
	}
}

func backupCommand(e *env) *cobra.Command {
	var asJSON bool
	var source passphraseSource
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Back up everything to one encrypted file, while the service runs",
		Long: `Back up the database, the master key and the TLS authority to one new file, whether the
service runs or not. The backup contains everything that was acknowledged before the
command started.

The file is encrypted with a passphrase: from --passphrase-file, from MOORING_PASSPHRASE,
or typed on the terminal. Without the passphrase the file cannot be read. Store it safely,
separate from the file.

The file is a tar archive, encrypted with age (age-encryption.org). Without mooring,
'age -d FILE | tar -x' reads it.`,
		Example: `  mooring backup /backups/mooring-monday.backup
  mooring backup --data /var/lib/mooring --passphrase-file /run/secrets/backup monday.backup`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			source.fresh = true
			return runBackup(cmd, e, args[0], source, asJSON)
		},
	}
	addDataFlag(cmd)
	addPassphraseFlag(cmd, &source.file)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// oneFile wants one positional argument, the name of a file.
func oneFile(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0 || args[0] == "":
		return usagef(cmd, "the name of the backup file is missing")
	case len(args) > 1:
		return usagef(cmd, "unexpected argument %q", args[1])
	}
	return nil
}

func runBackup(cmd *cobra.Command, e *env, file string, source passphraseSource, asJSON bool) error {
	dir, err := dataDirectory(cmd, e)
	if err != nil {
		return err
	}
	if err := backup.CheckFree(file); err != nil { // before a passphrase is asked for
		return err
	}
	phrase, err := source.read(cmd, e)
	if err != nil {
		return err
	}
	made, err := app.WriteBackup(cmd.Context(), app.BackupOptions{
		Data: dir, File: file, Passphrase: phrase, Version: version, Now: time.Now,
	})
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e, newBackupAnswer(made))
	}
	fmt.Fprintf(e.out, "Backed up %s to %s.\n\n", made.Data, made.File)
	printBackup(e.out, made)
	return nil
}

func printBackup(out io.Writer, b app.Backup) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Made\t%s by mooring %s\n", b.Made.Format(time.RFC3339), b.Version)
	fmt.Fprintf(w, "Size\t%d bytes\n", b.Size)
	fmt.Fprintf(w, "ID scope\t%s\n", b.IDScope)
	for _, row := range []struct {
		name  string
		count int64
	}{
		{"Enrollments", b.Records.Enrollments},
		{"Enrollment groups", b.Records.EnrollmentGroups},
		{"Registrations", b.Records.Registrations},
		{"CA certificates", b.Records.CACertificates},
		{"Policies", b.Records.Policies},
		{"Linked hubs", b.Records.LinkedHubs},
		{"Devices in embedded hubs", b.Records.HubDevices},
	} {
		fmt.Fprintf(w, "%s\t%d\n", row.name, row.count)
	}
	_ = w.Flush() // to the terminal: nothing to do about a failure
}
