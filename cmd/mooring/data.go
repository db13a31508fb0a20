package main

import (
	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/config"
)

const dataFlag = "data"

// addDataFlag gives a command the flag that names the local data directory.
func addDataFlag(cmd *cobra.Command) {
	cmd.Flags().String(dataFlag, "", "data directory of the service (default "+config.DefaultData+")")
}

// dataDirectory returns the data directory that a command is about: of the flag,
// else of MOORING_DATA, else the default.
func dataDirectory(cmd *cobra.Command, e *env) string {
	dir, _ := cmd.Flags().GetString(dataFlag) // the flag is always there
	return config.DataDir(dir, e.getenv)
}
