package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/wire"
)

// allocateOptions are what the allocate command takes.
type allocateOptions struct {
	request wire.AllocateRequest
	payload string
	login   login
	json    bool
}

func allocateCommand(e *env) *cobra.Command {
	var o allocateOptions
	cmd := &cobra.Command{
		Use: "allocate [REGISTRATION-ID]", Short: "Show which hub a device would get, and why",
		Long: `Dry run: show which hub a device would get if it registered now, and why: the policy, the
candidate hubs, the hubs that were excluded, and what would happen to the twin. Nothing is
changed. The credentials of the device are not checked.

The enrollment is the individual one of the registration ID, or the group of its
registration record; for a new device of a group, give --enrollment-group-id. Under custom
allocation the webhook decides; it is called only with --call-webhook.

The target is the service of --login, or of MOORING_CONNECTION_STRING, or the running
service of the data directory. The policy needs the right EnrollmentRead.`,
		Example: `  mooring allocate sensor-7
  mooring allocate sensor-9 --enrollment-group-id line-7 --remote-address 10.20.3.4
  mooring allocate sensor-7 --call-webhook --payload '{"model": "P9"}' --json`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args) },
	}
	addDataFlag(cmd)
	addLoginFlags(cmd, &o.login)
	flags := cmd.Flags()
	flags.StringVar(&o.request.RegistrationID, "registration-id", "", "registration ID of the device; the same as the first argument")
	flags.StringVar(&o.request.EnrollmentGroupID, "enrollment-group-id", "", "enrollment group that the device would come through")
	flags.StringVar(&o.request.RemoteAddress, "remote-address", "", "IP address that the device would call from, for geoLatency")
	flags.StringVar(
		&o.request.APIVersion,
		"device-api-version",
		"",
		"api-version that the device would speak; 2018-04-01 and before may keep a device where it is",
	)
	flags.StringVar(&o.payload, "payload", "", "JSON that the device would send to the webhook, or @file")
	flags.BoolVar(&o.request.CallWebhook, "call-webhook", false, "call the webhook of a custom allocation")
	flags.BoolVar(&o.json, "json", false, "print the service's own JSON")
	azNames(cmd)
	completeRegistrations(cmd, e, "registration-id", &o.login)
	completeGroups(cmd, e, "enrollment-group-id", &o.login)
	completeWords(cmd, "device-api-version", wire.DeviceVersions)
	return cmd
}

func (o *allocateOptions) run(cmd *cobra.Command, e *env, args []string) error {
	if err := o.read(cmd, args); err != nil {
		return err
	}
	client, err := newServiceClient(cmd, e, o.login)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
	defer cancel()
	answer, err := client.Allocate(ctx, o.request)
	if err != nil {
		return explainTrust(err)
	}
	if o.json {
		return printJSON(e, answer)
	}
	return printAllocation(e, answer)
}

// read checks what can be seen to be wrong without the service.
func (o *allocateOptions) read(cmd *cobra.Command, args []string) error {
	var err error
	if o.request.RegistrationID, err = oneID(cmd, "registration-id", o.request.RegistrationID, args); err != nil {
		return err
	}
	if _, err := dps.ParseRegistrationID(o.request.RegistrationID); err != nil {
		return usageError{command: cmd.CommandPath(), err: err}
	}
	if o.payload == "" {
		return nil
	}
	text, err := textOrFile("--payload", o.payload)
	if err != nil {
		return err
	}
	if o.request.Payload, err = jsonText(text); err != nil {
		return usagef(cmd, "--payload: %w", err)
	}
	return nil
}

func printAllocation(e *env, a *wire.AllocateAnswer) error {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	line := liner(w)
	line("Registration ID", a.RegistrationID)
	line("Enrollment", a.EnrollmentID)
	line("Enrollment group", a.EnrollmentGroupID)
	line("Allocation policy", a.AllocationPolicy)
	line("Candidates", strings.Join(a.Candidates, ", "))
	if c := a.Current; c != nil {
		hub := c.IotHubHostName
		if hub == "" {
			hub = "a hub that is no longer linked"
		}
		line("Now at", fmt.Sprintf("%s as %s (%s)", hub, c.DeviceID, c.Substatus))
	}
	line("Outcome", allocationText(a))
	line("Hub", a.IotHubHostName)
	line("Device ID", a.DeviceID)
	line("Substatus", a.Substatus)
	line("Twin", allocationData[a.DeviceData])
	line("Webhook's twin", string(a.InitialTwin))
	line("Webhook's payload", string(a.Payload))
	if a.ErrorCode != 0 || a.ErrorMessage != "" {
		line("Error", fmt.Sprintf("%d %s", a.ErrorCode, a.ErrorMessage))
	}
	for i, s := range a.Why {
		name := ""
		if i == 0 {
			name = "Why"
		}
		fmt.Fprintf(w, "%s\t%s: %s\n", name, s.Step, s.Text)
	}
	return w.Flush()
}

// allocationTexts say outcomes for people, allocationData what becomes of the twin.
var (
	allocationTexts = map[string]string{
		"assigned": "the device gets its first hub", "stays": "the device stays at its hub", "moves": "the device moves to another hub",
		"undecided": "the webhook decides; --call-webhook asks it", "failed": "the registration fails", "disabled": "the enrollment is disabled",
	}
	allocationData = map[string]string{
		"initialTwin": "new, with the initial twin", "kept": "stays as it is at the hub", "migrated": "follows to the new hub",
		"reset": "left behind; new, with the initial twin",
	}
)

func allocationText(a *wire.AllocateAnswer) string {
	if text, ok := allocationTexts[a.Outcome]; ok {
		return text
	}
	return a.Outcome
}
