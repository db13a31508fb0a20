package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/app"
)

func infoCommand(e *env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Print endpoints, ID scope and connection strings",
		Long: `Print the settings that devices and scripts need for the service of a data directory,
running or not. The output contains keys: treat it as a secret.`,
		Example: `  mooring info
  mooring info --data /var/lib/mooring --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, err := readInfo(cmd, e)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(e, info.Info)
			}
			printInfo(e, info.Info)
			if !info.Running {
				fmt.Fprintln(e.err, "The service is not running. These are the values of its last run.")
			}
			return nil
		},
	}
	addDataFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// readInfo reads the data directory that a command names.
func readInfo(cmd *cobra.Command, e *env) (app.Info, error) {
	dir, err := dataDirectory(cmd, e)
	if err != nil {
		return app.Info{}, err
	}
	return app.ReadInfo(cmd.Context(), dir)
}

// printJSON writes a value, alone on stdout.
func printJSON(e *env, v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
