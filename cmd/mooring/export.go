package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/durable"
	"github.com/mooring-iot/mooring/internal/transfer"
)

// standardOutput is the name of the file that stands for the standard output.
const standardOutput = "-"

// exportOptions are what export takes.
type exportOptions struct {
	kind           dps.EntryKind
	output, format string
	login          login
	withKeys       bool
}

func exportCommand(e *env, kind dps.EntryKind) *cobra.Command {
	o := exportOptions{kind: kind}
	command := strings.ReplaceAll(noun(kind), " ", "-")
	cmd := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Export " + noun(kind) + "s to a file",
		Long: `Export all ` + noun(kind) + `s, sorted by ID, as JSON Lines or CSV, to the file or to
standard output. Certificates are included; etags, timestamps and states are not, so the
same records produce the same file. Only Mooring supports this.

Symmetric keys, and the query part of webhook URLs, which may contain a key, are included
only with --with-keys: keep such a file secret. Importing a file without keys into another
service generates new ones.`,
		Example: "  mooring " + command + " export " + command + "s.jsonl\n" +
			"  mooring " + command + " export --with-keys --format csv > " + command + "s.csv",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 || o.output != "" {
				var err error
				if o.output, err = oneID(cmd, "output", o.output, args); err != nil {
					return err
				}
			}
			return o.run(cmd, e)
		},
	}
	addDataFlag(cmd)
	addLoginFlags(cmd, &o.login)
	addFormatFlag(cmd, &o.format)
	cmd.Flags().StringVarP(&o.output, "output", "o", "",
		"file to write, replacing an existing one; the same as the first argument (default: standard output)")
	cmd.Flags().BoolVar(&o.withKeys, "with-keys", false, "include symmetric keys")
	return cmd
}

func (o *exportOptions) run(cmd *cobra.Command, e *env) error {
	format, err := chooseFormat(cmd, o.format, o.output, transfer.JSONLines)
	if err != nil {
		return err
	}
	client, err := newServiceClient(cmd, e, o.login)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	export := func(w io.Writer) error {
		return explainTrust(records(client, o.kind).Export(cmd.Context(), w, format.ContentType(), o.withKeys))
	}
	if o.output == "" || o.output == standardOutput {
		return export(e.out)
	}
	// Until the file is whole, one that is there stays; only its owner may read it.
	return durable.File{Path: o.output, Mode: 0o600, Temp: o.output + ".tmp"}.Write(export)
}
