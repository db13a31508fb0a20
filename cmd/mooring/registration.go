package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func registrationCommand(e *env) *cobra.Command {
	return group("registration", "See and delete registration records",
		`See and delete the registration records of devices: where each was assigned, and
when.

`+whichService, registrationShow(e), registrationList(e), registrationDelete(e))
}

// registrationOptions are what the commands on one registration record take.
type registrationOptions struct {
	id, etag  string
	login     login
	yes, json bool
}

func addRegistrationFlags(cmd *cobra.Command, e *env, o *registrationOptions) {
	addDataFlag(cmd)
	addLoginFlags(cmd, &o.login)
	cmd.Flags().StringVar(&o.id, "registration-id", "", "registration ID of the device; the same as the first argument")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the service's own JSON")
	azNames(cmd)
	completeRegistrations(cmd, e, "registration-id", &o.login)
}

// onRegistration runs act on the record that the command line names.
func onRegistration(
	e *env,
	o *registrationOptions,
	act func(context.Context, *service.Registrations) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := o.read(cmd, e, args); err != nil {
			return err
		}
		client, err := newServiceClient(cmd, e, o.login)
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
		defer cancel()
		return explainTrust(act(ctx, client.Registrations()))
	}
}

// read checks what can be seen to be wrong without the service.
func (o *registrationOptions) read(cmd *cobra.Command, e *env, args []string) error {
	var err error
	if o.id, err = oneID(cmd, "registration-id", o.id, args); err != nil {
		return err
	}
	if _, err := dps.ParseRegistrationID(o.id); err != nil {
		return usageError{command: cmd.CommandPath(), err: err}
	}
	if cmd.Flags().Lookup("yes") != nil {
		return confirmDelete(cmd, e, "registration "+o.id, o.yes)
	}
	return nil
}

func registrationShow(e *env) *cobra.Command {
	var o registrationOptions
	cmd := &cobra.Command{
		Use: "show [REGISTRATION-ID]", Short: "Show what became of a device",
		Long:    "Show the registration record of a device.",
		Example: "  mooring registration show sensor-7",
	}
	cmd.RunE = onRegistration(e, &o, func(ctx context.Context, records *service.Registrations) error {
		r, err := records.Get(ctx, o.id)
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(e, r)
		}
		return printRegistration(e, r)
	})
	addRegistrationFlags(cmd, e, &o)
	return cmd
}

func printRegistration(e *env, r *wire.RegistrationState) error {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	line := liner(w)
	line("Registration ID", r.RegistrationID)
	line("Status", r.Status)
	line("Substatus", r.Substatus)
	line("Hub", r.AssignedHub)
	line("Device ID", r.DeviceID)
	if r.ErrorCode != 0 || r.ErrorMessage != "" {
		line("Error", fmt.Sprintf("%d %s", r.ErrorCode, r.ErrorMessage))
	}
	line("Payload", string(r.Payload))
	line("Created", shortTime(r.CreatedDateTimeUTC))
	line("Updated", shortTime(r.LastUpdatedDateTimeUTC))
	line("ETag", r.ETag)
	return w.Flush()
}

func registrationList(e *env) *cobra.Command {
	var o listOptions
	var id string
	cmd := &cobra.Command{
		Use: "list [ENROLLMENT-ID]", Short: "List the devices that came through an enrollment group",
		Long: `List the registration records of the devices that came through an enrollment group,
all of them or those that a query selects. (What became of the device of an individual
enrollment, 'mooring registration show' says.)`,
		Example: `  mooring registration list line-7
  mooring registration list line-7 --query "SELECT * FROM registrations WHERE status = 'failed'"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			through, err := oneID(cmd, "enrollment-id", id, args)
			if err != nil {
				return err
			}
			if _, err := dps.ParseEntryID(dps.Group, "--enrollment-id", through); err != nil {
				return usagef(cmd, "%s", dps.MessageOf(err))
			}
			if err := o.check(cmd); err != nil {
				return err
			}
			client, err := newServiceClient(cmd, e, o.login)
			if err != nil {
				return err
			}
			defer client.CloseIdleConnections()
			found, err := peeked(client.Registrations().Query(cmd.Context(), through, o.asked()))
			if err == nil && found == nil { // nothing is printed before the group is known to exist
				err = groupExists(cmd.Context(), client, through)
				found = func(func(*wire.RegistrationState, error) bool) {}
			}
			if err != nil {
				return explainTrust(err)
			}
			return explainTrust(printList(e, o, found, registrationTable))
		},
	}
	addListFlags(cmd, &o)
	cmd.Flags().StringVar(&id, "enrollment-id", "", "ID of the enrollment group; the same as the first argument")
	completeEnrollments(cmd, e, dps.Group, &o.login)
	return cmd
}

// groupExists tells a group without registrations from a name that was mistyped: services
// answer both alike. Who may not read groups is not told.
func groupExists(ctx context.Context, client *service.Client, id string) error {
	_, err := client.Groups().Get(ctx, id)
	if refused, ok := errors.AsType[*service.Error](err); ok && refused.Status == http.StatusNotFound {
		return err
	}
	return nil
}

// peeked returns a sequence whose first element was fetched; nil when there is none.
func peeked[T any](all iter.Seq2[T, error]) (iter.Seq2[T, error], error) {
	next, stop := iter.Pull2(all)
	first, err, ok := next()
	if !ok || err != nil {
		stop()
		return nil, err
	}
	return func(yield func(T, error) bool) {
		defer stop()
		for v, err := first, error(nil); yield(v, err); {
			var ok bool
			if v, err, ok = next(); !ok {
				return
			}
		}
	}, nil
}

var registrationTable = table[*wire.RegistrationState]{
	header: "REGISTRATION ID\tSTATUS\tHUB\tDEVICE ID\tUPDATED",
	none:   "There are no registrations to list.",
	row: func(r *wire.RegistrationState) []string {
		return []string{r.RegistrationID, r.Status, r.AssignedHub, r.DeviceID, shortTime(r.LastUpdatedDateTimeUTC)}
	},
}

func registrationDelete(e *env) *cobra.Command {
	var o registrationOptions
	cmd := &cobra.Command{
		Use: "delete [REGISTRATION-ID]", Short: "Delete a registration record",
		Long: `Delete the registration record of a device. The device stays on its hub and may
register again, as if for the first time. A terminal is asked first; without one, --yes
is required.`,
		Example: "  mooring registration delete sensor-7 --yes",
	}
	cmd.RunE = onRegistration(e, &o, func(ctx context.Context, records *service.Registrations) error {
		if err := records.Delete(ctx, o.id, o.etag); err != nil {
			return err
		}
		if !o.json {
			fmt.Fprintf(e.out, "Registration %s is deleted.\n", o.id)
		}
		return nil
	})
	addRegistrationFlags(cmd, e, &o)
	addDeleteVersionFlag(cmd, &o.etag)
	addYesFlag(cmd, &o.yes)
	return cmd
}
