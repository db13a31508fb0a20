package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mooring-iot/mooring/internal/dps"
	"github.com/mooring-iot/mooring/service"
	"github.com/mooring-iot/mooring/wire"
)

func registrationCommand(e *env) *cobra.Command {
	return group("registration", "Show and delete registration records",
		`Show and delete the registration records of devices: the assigned hub, the status and the
time.

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
		Use: "show [REGISTRATION-ID]", Short: "Show a registration record",
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
	var filter service.RegistrationFilter
	cmd := &cobra.Command{
		Use: "list [ENROLLMENT-ID]", Short: "List registration records",
		Long: `List the registration records of an enrollment group: all of them, or those that a query
selects. Without a group, find records by status, by device ID, or by the beginning of
the registration ID, whatever enrollment they belong to; only Mooring offers this.

For one device use 'mooring registration show'.`,
		Example: `  mooring registration list line-7
  mooring registration list line-7 --query "SELECT * FROM registrations WHERE status = 'failed'"
  mooring registration list --status failed
  mooring registration list --device-id pump-7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if found, err := o.findRecords(cmd, e, args, filter); found || err != nil {
				return explainTrust(err)
			}
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
	f := cmd.Flags()
	f.StringVar(&id, "enrollment-id", "", "ID of the enrollment group; the same as the first argument")
	f.StringVar(&filter.Status, "status", "", "find records with this status: assigning, failed or disabled")
	f.StringVarP(&filter.DeviceID, "device-id", "d", "", "find records with this device ID at any hub")
	f.StringVar(&filter.StartsWith, "starts-with", "", "find records whose registration ID begins with this")
	completeWords(cmd, "status", []string{"assigning", "failed", "disabled"})
	completeEnrollments(cmd, e, dps.Group, &o.login)
	return cmd
}

// findFlags find records without a group.
var findFlags = []string{"status", "device-id", "starts-with"}

// findRecords lists what a filter selects across enrollments; it reports false when the
// command line has no filter.
func (o *listOptions) findRecords(cmd *cobra.Command, e *env, args []string, filter service.RegistrationFilter) (bool, error) {
	var given []string
	for _, name := range findFlags {
		if cmd.Flags().Changed(name) {
			given = append(given, "--"+name)
		}
	}
	switch {
	case len(given) == 0:
		return false, nil
	case len(given) > 1:
		return false, usagef(cmd, "%s: give only one", strings.Join(given, " and "))
	case len(args) > 0 || cmd.Flags().Changed("enrollment-id") || cmd.Flags().Changed("query"):
		return false, usagef(cmd, "%s searches all enrollments; leave out the group and --query", given[0])
	case filter.Status+filter.DeviceID+filter.StartsWith == "":
		return false, usagef(cmd, "%s: is empty", given[0])
	}
	if err := o.check(cmd); err != nil {
		return false, err
	}
	client, err := newServiceClient(cmd, e, o.login)
	if err != nil {
		return false, err
	}
	defer client.CloseIdleConnections()
	filter.PageSize = o.asked().PageSize
	return true, printList(e, *o, recordsFound(cmd.Context(), client.Registrations(), filter), recordTable)
}

// recordsFound returns the records of all pages of a filter.
func recordsFound(
	ctx context.Context, from *service.Registrations, filter service.RegistrationFilter,
) iter.Seq2[wire.RegistrationRecord, error] {
	return func(yield func(wire.RegistrationRecord, error) bool) {
		for {
			page, err := from.Find(ctx, filter)
			if err != nil {
				yield(wire.RegistrationRecord{}, err)
				return
			}
			for _, r := range page.Value {
				if !yield(r, nil) {
					return
				}
			}
			if filter.Continuation = page.Continuation; filter.Continuation == "" {
				return
			}
		}
	}
}

var recordTable = table[wire.RegistrationRecord]{
	header: "REGISTRATION ID\tENROLLMENT\tSTATUS\tHUB\tDEVICE ID\tERROR\tUPDATED",
	none:   "There are no registrations to list.",
	row: func(r wire.RegistrationRecord) []string {
		failure := ""
		if r.ErrorCode != 0 {
			failure = strconv.Itoa(r.ErrorCode)
		}
		return []string{
			r.RegistrationID, cmp.Or(r.EnrollmentGroupID, r.EnrollmentID), r.Status, r.AssignedHub, r.DeviceID, failure,
			shortTime(r.LastUpdatedDateTimeUTC),
		}
	},
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
		Long: `Delete the registration record of a device. The device keeps its identity at the hub and
can register again, as if for the first time. On a terminal the command asks for
confirmation; otherwise --yes is required.`,
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
