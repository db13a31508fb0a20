package main

import (
	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/config"
)

// addDataFlag gives a command the flag that names the local data directory.
func addDataFlag(cmd *cobra.Command) { config.AddDataFlag(cmd.Flags()) }

// dataDirectory returns the data directory that a command is about: of the flag,
// else of MOORING_DATA, else the default.
func dataDirectory(cmd *cobra.Command, e *env) (string, error) {
	dir, err := config.DataDir(cmd.Flags(), e.getenv)
	if err != nil {
		return "", usageError{command: cmd.CommandPath(), err: err}
	}
	return dir, nil
}
