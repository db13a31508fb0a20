package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/transfer"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

// standardInput as the name of a file.
const standardInput = "-"

// importOptions are what import takes.
type importOptions struct {
	kind          dps.EntryKind
	file, format  string
	refused       string
	login         login
	replace, json bool
}

func importCommand(e *env, kind dps.EntryKind) *cobra.Command {
	o := importOptions{kind: kind}
	command := strings.ReplaceAll(noun(kind), " ", "-")
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import " + noun(kind) + "s from a file",
		Long: `Import any number of ` + noun(kind) + `s from a file: JSON (.jsonl, .ndjson or .json: one record
per line, or one array) or CSV (.csv, with a header; see docs/import-export.md). The file
is UTF-8. Only Mooring supports this.

An existing record that is identical is skipped. One that differs is refused, unless
--replace is given. To resume an import that was interrupted, run the same command again;
it continues at the position in FILE.progress.

Refused records are written to FILE.refused.jsonl or .csv, each below the reason. Correct
them there and import that file.`,
		Example: "  mooring " + command + " import devices.csv\n  mooring " + command + " import --replace devices.jsonl",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "" {
				return usagef(cmd, "the file name is missing; use %s for standard input", standardInput)
			}
			return noArgs(cmd, args[1:])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return o.run(cmd, e)
		},
	}
	addDataFlag(cmd)
	addLoginFlags(cmd, &o.login)
	addFormatFlag(cmd, &o.format)
	flags := cmd.Flags()
	flags.BoolVar(&o.replace, "replace", false, "replace existing records that differ")
	flags.StringVar(&o.refused, "refused", "", "file for refused records (default: FILE.refused.jsonl or .csv)")
	flags.BoolVar(&o.json, "json", false, "print the counts as JSON")
	return cmd
}

func addFormatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "", "jsonl or csv (default: by the file name)")
}

// chooseFormat returns the format of a flag, else of a file's name, else fallback.
func chooseFormat(cmd *cobra.Command, flag, file string, fallback transfer.Format) (transfer.Format, error) {
	switch f := transfer.Format(strings.ToLower(flag)); f {
	case transfer.JSONLines, transfer.CSV:
		return f, nil
	case "":
	default:
		return "", usagef(cmd, "--format: must be jsonl or csv, not %q", flag)
	}
	if f, ok := transfer.FormatOf(file); ok {
		return f, nil
	}
	if fallback == "" {
		return "", usagef(cmd, "cannot tell the format from the name %s; give --format jsonl or csv", file)
	}
	return fallback, nil
}

// importReport is what an import came to.
type importReport struct {
	Created     int    `json:"created"`
	Replaced    int    `json:"replaced"`
	Unchanged   int    `json:"unchanged"`
	Refused     int    `json:"refused"`
	RefusedFile string `json:"refusedFile,omitempty"` // when there are any
}

func (r importReport) records() int { return r.Created + r.Replaced + r.Unchanged + r.Refused }

func (o *importOptions) run(cmd *cobra.Command, e *env) (err error) {
	fallback := transfer.Format("")
	if strings.EqualFold(filepath.Ext(o.file), ".json") {
		fallback = transfer.JSONLines // which may be an array
	}
	format, err := chooseFormat(cmd, o.format, o.file, fallback)
	if err != nil {
		return err
	}
	where, err := serviceName(cmd, e, o.login)
	if err != nil {
		return err
	}
	source, err := openImport(
		e,
		o.file,
		importIdentity{Service: where, Kind: o.kind, Format: format, Replace: o.replace},
		o.refusedFile(format),
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	client, err := newServiceClient(cmd, e, o.login)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	meter := newImportMeter(e, source)
	err = o.send(cmd.Context(), client, source, meter)
	meter.end()
	if err != nil {
		return source.interrupted(explainTrust(err))
	}
	if err := source.finish(); err != nil {
		return err
	}
	return o.print(e, source.report())
}

// refusedFile is where refused lines go.
func (o *importOptions) refusedFile(format transfer.Format) string {
	base := o.file
	if base == standardInput {
		base = "import"
	}
	return cmp.Or(o.refused, base+".refused."+string(format))
}

// serviceName names the service that newServiceClient finds, the same in every run.
func serviceName(cmd *cobra.Command, e *env, l login) (string, error) {
	text, _, err := l.text(e)
	if err != nil || text != "" {
		return strings.ToLower(hostIn(text)), err // newServiceClient says what is wrong with it
	}
	info, err := readInfo(cmd, e)
	return info.IDScope, err
}

// send sends what is left of the source, part by part. The next part is read while
// the service works on one.
func (o *importOptions) send(ctx context.Context, client *service.Client, source *importSource, meter *importMeter) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts, read := make(chan *importPart), make(chan error, 1)
	go func() { // ends with ctx at the latest
		defer close(parts)
		read <- source.parts(ctx, parts)
	}()
	target := records(client, o.kind)
	for part := range parts {
		if err := o.sendPart(ctx, target, source, part); err != nil {
			cancel()
			<-read //nolint:errcheck // what ended it is err
			return err
		}
		meter.show()
	}
	return <-read
}

func (o *importOptions) sendPart(ctx context.Context, target *service.Enrollments, source *importSource, part *importPart) error {
	result := &wire.ImportResult{}
	if len(part.records) > 0 {
		var err error
		if result, err = target.Import(ctx, source.Format.ContentType(), part.body, o.replace); err != nil {
			return err
		}
	}
	return source.acknowledge(part, result)
}

func (o *importOptions) print(e *env, r importReport) error {
	if o.json {
		if err := printJSON(e, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(e.out, "Imported %s: %d created, %d replaced, %d unchanged, %d refused.\n",
			o.file, r.Created, r.Replaced, r.Unchanged, r.Refused)
	}
	if r.Refused > 0 {
		lines := "1 line was"
		if r.Refused > 1 {
			lines = fmt.Sprintf("%d lines were", r.Refused)
		}
		return fmt.Errorf("%s refused; see %s for the reasons, correct the lines there and import that file", lines, r.RefusedFile)
	}
	return nil
}

// openFile opens the file to import.
func openFile(e *env, name string) (*os.File, io.Reader, error) {
	if name == standardInput {
		return nil, e.in, nil
	}
	f, err := os.Open(name)
	return f, f, err
}
