package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/internal/config"
	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/internal/obs"
	"github.com/mooring-iot/mooring/wire"
)

func serveCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: `Run the service until SIGTERM or Ctrl-C.

The first start creates the data directory: a TLS authority, an ID scope, a connection
string, and an embedded hub that devices are assigned to. Later starts keep them.

Every flag is also an environment variable (MOORING_DATA, MOORING_HTTPS, ...) and a
key of the --config file. Flags override environment variables, which override the
file.`,
		Example: `  mooring serve
  mooring serve --hostname dps.example.com --data /var/lib/mooring`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags(), e.getenv)
			if err != nil {
				return usageError{command: cmd.CommandPath(), err: err}
			}
			return serve(cmd.Context(), e, c)
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

func serve(ctx context.Context, e *env, c config.Config) error {
	a, err := app.New(ctx, app.Options{Config: c, Version: version, Log: obs.NewLogger(e.err, c.LogLevel, string(c.LogFormat))})
	if err != nil {
		return err
	}
	if err := announce(ctx, e, a, c); err != nil {
		return errors.Join(err, a.Close())
	}
	return a.Run(ctx)
}

// announce tells whoever started the service how to use it. Secrets are shown at
// the first start only: later ones are often under a supervisor that keeps output.
func announce(ctx context.Context, e *env, a *app.App, c config.Config) error {
	info, err := a.Info(ctx)
	if err != nil {
		return err
	}
	for _, note := range a.Notes() {
		fmt.Fprintln(e.out, note)
	}
	if a.FirstStart() {
		created := "filled the existing directory"
		if a.CreatedData() {
			created = "created"
		}
		fmt.Fprintf(e.out, "Mooring is ready. First start: %s %s.\n\n", created, c.Data)
		printInfo(e, info)
		fmt.Fprintf(e.out, "\nTo print this again: mooring info --data %s\n", c.Data)
		return nil
	}
	fmt.Fprintf(e.out, "Mooring is ready: %s, ID scope %s.\n", info.ServiceEndpoint, info.IDScope)
	if info.PortalURL != "" {
		fmt.Fprintf(e.out, "Portal: %s\n", info.PortalURL)
	}
	fmt.Fprintf(e.out, "To see connection strings: mooring info --data %s\n", c.Data)
	return nil
}

// caFileText is the CA file, or what is known where the operator's certificate came without one.
func caFileText(info wire.Info) string {
	if info.CAFile != "" {
		return info.CAFile
	}
	return fmt.Sprintf(
		"none known; clients must trust the CA that issued the certificate of --tls-cert (%s); set --tls-ca to show its file here",
		info.CAIssuer)
}

func printInfo(e *env, info wire.Info) {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Service endpoint\t%s\n", info.ServiceEndpoint)
	fmt.Fprintf(w, "Device endpoint\t%s\n", info.DeviceEndpoint)
	fmt.Fprintf(w, "ID scope\t%s\n", info.IDScope)
	for _, name := range sortedKeys(info.ConnectionStrings) {
		fmt.Fprintf(w, "Connection string\t%s\n", info.ConnectionStrings[name])
	}
	for _, hub := range info.Hubs {
		if text, ok := hub.ConnectionStrings[dps.HubOwnerPolicy]; ok { // --json has the other policies
			fmt.Fprintf(w, "Hub %s\t%s\n", hub.HostName, text)
		}
	}
	fmt.Fprintf(w, "CA file for clients\t%s\n", caFileText(info))
	if info.PortalURL != "" {
		fmt.Fprintf(w, "Portal\t%s\n", info.PortalURL)
		if info.PortalPassword != "" {
			fmt.Fprintf(w, "Portal password\t%s (one-time; choose your own at the first sign-in)\n", info.PortalPassword)
		}
		fmt.Fprintf(w, "Health and metrics\t%s/healthz, /readyz, /metrics\n", info.PortalURL)
	}
	_ = w.Flush() // to the terminal: nothing to do about a failure
}
