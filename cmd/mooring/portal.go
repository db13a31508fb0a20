package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/app"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func portalCommand(e *env) *cobra.Command {
	return group("portal", "The web pages for operators", `The portal is a web page for operators; 'mooring info' prints its address.`,
		portalReset(e))
}

func portalReset(e *env) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "reset-password", Short: "Generate a new one-time password for the portal",
		Long: `Generate a new one-time password for the portal, if the password is lost. It must be changed
at the first sign-in; until then 'mooring info' prints it again. The old password stops
working, and all sessions end.`,
		Example: `  mooring portal reset-password
  mooring portal reset-password --data /var/lib/mooring`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, err := readInfo(cmd, e)
			if err != nil {
				return err
			}
			answer, err := resetPortal(cmd, e, info)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(e, answer)
			}
			fmt.Fprintf(e.out, "Portal password  %s\n", answer.Password)
			if info.PortalURL != "" {
				fmt.Fprintf(e.err, "Sign in at %s and choose your own password.\n", info.PortalURL)
			}
			return nil
		},
	}
	addDataFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// resetPortal asks the service that runs, and works on the data directory itself where
// none does.
func resetPortal(cmd *cobra.Command, e *env, info app.Info) (wire.PortalPassword, error) {
	var answer wire.PortalPassword
	if !info.Running {
		var err error
		answer.Password, err = app.ResetPortalPassword(cmd.Context(), info.Data, slog.New(slog.NewTextHandler(e.err, nil)))
		return answer, err
	}
	info, client, err := running(cmd, e)
	if err != nil {
		return answer, err
	}
	control, err := service.NewClientWithToken(
		info.ServiceEndpoint,
		service.StaticToken(info.ControlPlane.Token),
		&service.Options{HTTPClient: client},
	)
	if err != nil {
		return answer, err
	}
	res, err := control.Do(cmd.Context(), service.Request{Method: http.MethodPost, Path: wire.ResetPortalPath})
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(res.Body, &answer); err != nil {
		return answer, fmt.Errorf("reading the service's answer: %w", err)
	}
	return answer, nil
}
